#include "common/simd.h"
#include "common/simd_math.h"

#include <omp.h>
#include <string.h>

/* Group norm reads x twice. First the moments: per channel, f32 sums over CHUNK rows of the distance to the chunk's
 * first row (so that a mean far above the deviation costs no digits, and an outlier in the first row at most a factor
 * CHUNK), joined in double by Chan's formula. Then y = act((x - center) * a + b), where a and b hold gamma, beta and
 * FiLM. An image is cut into spans of rows that do not depend on the batch or the threads; their results are joined in
 * order. */

enum { CHUNK = 32, BLOCK = 256, SPAN_ELEMENTS = 1 << 14 };

static const double norm_eps = 1e-5;

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows per span: a multiple of CHUNK, about SPAN_ELEMENTS elements. */
static int64_t span_rows(int64_t C)
{
    int64_t chunks = SPAN_ELEMENTS / (C * CHUNK);
    return CHUNK * (chunks > 0 ? chunks : 1);
}

/* What all parts of one call know. */
typedef struct NormJob {
    const GroupNormShape *s;
    const void *x, *film, *d_y;
    const float *gamma, *beta;
    void *y, *d_x, *d_film;
    float *stats;
    int64_t span, spans; /* rows per span, spans per image */
    double *sums;     /* (N,spans,2,C): per span, mean and squared deviations; or sums of d_z and d_z * (x - center) */
    double *d_affine; /* (N,2,C): contributions to d_gamma and d_beta */
    float *affine;    /* (N,5,C): center, a, b; for the backward pass also the two factors of d_x */
} NormJob;

typedef void (*NormPart)(const NormJob *job, int64_t n, int64_t span);

/* For every image: reduce each span, then finish (span is 0), then apply to each span. */
static void run_images(const NormJob *job, NormPart reduce, NormPart finish, NormPart apply)
{
    int64_t N = job->s->N, threads = omp_get_max_threads();
    bool small = N * job->s->pixels * job->s->C < PARALLEL_FROM;
    if (small || N % threads == 0 || N >= 4 * threads) { /* an image stays in one core's cache */
#pragma omp parallel for schedule(static) if (!small)
        for (int64_t n = 0; n < N; n++) {
            for (int64_t i = 0; i < job->spans; i++) reduce(job, n, i);
            finish(job, n, 0);
            for (int64_t i = 0; i < job->spans; i++) apply(job, n, i);
        }
        return;
    }
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < N * job->spans; i++) reduce(job, i / job->spans, i % job->spans);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < N; n++) finish(job, n, 0);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < N * job->spans; i++) apply(job, i / job->spans, i % job->spans);
    }
}

static double *span_sums(const NormJob *job, int64_t n, int64_t span)
{
    return job->sums + (n * job->spans + span) * 2 * job->s->C;
}

static Status prepare(Kernels *k, NormJob *job)
{
    const GroupNormShape *s = job->s;
    job->span = span_rows(s->C);
    job->spans = (s->pixels + job->span - 1) / job->span;
    size_t sums = (size_t)(s->N * job->spans * 2 * s->C), d_affine = (size_t)(s->N * 2 * s->C);
    double *scratch =
        kernels_scratch(k, (sums + d_affine) * sizeof(double) + (size_t)(s->N * 5 * s->C) * sizeof(float));
    if (!scratch) return STATUS_NO_MEMORY;
    job->sums = scratch;
    job->d_affine = scratch + sums;
    job->affine = (float *)(scratch + sums + d_affine);
    return STATUS_OK;
}

/* Of x and film. */
static DType x_type(const NormJob *job)
{
    return job->s->x_f32 ? DTYPE_F32 : job->s->dtype;
}

/* 1 + scale, and shift, of channel c of image n. */
static void film_of(const NormJob *job, int64_t n, int64_t c, double *scale, double *shift)
{
    int64_t at = n * 2 * job->s->C + c;
    *scale = job->film ? 1 + (double)load(x_type(job), job->film, at) : 1;
    *shift = job->film ? (double)load(x_type(job), job->film, at + job->s->C) : 0;
}

/* --- forward --- */

/* Sums over `rows` rows of x, starting at element `at`, of the distance to the first row and of its square. */
FORCE_INLINE void chunk_sums(DType type, const void *x, int64_t at, int64_t C, int64_t rows, int64_t width, float *sum,
                             float *squares)
{
    int64_t r = 0;
    memset(sum, 0, sizeof(float) * (size_t)width);
    memset(squares, 0, sizeof(float) * (size_t)width);
    for (; r + 4 <= rows; r += 4) {
        int64_t row = at + r * C;
#pragma omp simd
        for (int64_t c = 0; c < width; c++) {
            float first = load(type, x, at + c);
            float d0 = load(type, x, row + c) - first, d1 = load(type, x, row + C + c) - first;
            float d2 = load(type, x, row + 2 * C + c) - first, d3 = load(type, x, row + 3 * C + c) - first;
            sum[c] += (d0 + d1) + (d2 + d3);
            squares[c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
        }
    }
    for (; r < rows; r++)
#pragma omp simd
        for (int64_t c = 0; c < width; c++) {
            float d = load(type, x, at + r * C + c) - load(type, x, at + c);
            sum[c] += d;
            squares[c] += d * d;
        }
}

FORCE_INLINE void span_moments(DType type, const NormJob *job, int64_t n, int64_t span)
{
    int64_t C = job->s->C, from = span * job->span, to = min_of(from + job->span, job->s->pixels);
    double *mean = span_sums(job, n, span), *squares = mean + C;
    float sum[BLOCK], square[BLOCK];
    memset(mean, 0, sizeof(double) * 2 * (size_t)C);
    for (int64_t c0 = 0; c0 < C; c0 += BLOCK)
        for (int64_t row = from; row < to; row += CHUNK) {
            int64_t width = min_of(BLOCK, C - c0), rows = min_of(CHUNK, to - row),
                    at = (n * job->s->pixels + row) * C + c0;
            chunk_sums(type, job->x, at, C, rows, width, sum, square);
            double share = 1 / (double)rows, weight = (double)rows / (double)(row - from + rows);
            double spread = weight * (double)(row - from);
#pragma omp simd
            for (int64_t c = 0; c < width; c++) {
                double offset = (double)sum[c] * share,
                       delta = (double)load(type, job->x, at + c) + offset - mean[c0 + c];
                mean[c0 + c] += delta * weight;
                squares[c0 + c] += (double)square[c] - (double)sum[c] * offset + delta * delta * spread;
            }
        }
}

static void reduce_forward(const NormJob *job, int64_t n, int64_t span)
{
    WITH_DTYPE(x_type(job), TYPE, span_moments(TYPE, job, n, span));
}

/* Joins the moments of the spans into those of the first one. */
static void join_spans(const NormJob *job, int64_t n)
{
    int64_t C = job->s->C;
    double *mean = span_sums(job, n, 0), *squares = mean + C;
    for (int64_t i = 1; i < job->spans; i++) {
        const double *other = span_sums(job, n, i);
        double before = (double)(i * job->span), rows = (double)min_of(job->span, job->s->pixels - i * job->span);
        double weight = rows / (before + rows), spread = weight * before;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) {
            double delta = other[c] - mean[c];
            mean[c] += delta * weight;
            squares[c] += other[C + c] + delta * delta * spread;
        }
    }
}

static void finish_forward(const NormJob *job, int64_t n, int64_t span)
{
    const GroupNormShape *s = job->s;
    int64_t C = s->C, width = C / s->groups;
    const double *means = span_sums(job, n, span), *squares = means + C;
    float *center = job->affine + n * 5 * C, *a = center + C, *b = a + C;
    join_spans(job, n);
    for (int64_t g = 0; g < s->groups; g++) {
        double mean = 0, sum = 0;
        for (int64_t c = g * width; c < (g + 1) * width; c++) mean += means[c] / (double)width;
        for (int64_t c = g * width; c < (g + 1) * width; c++)
            sum += squares[c] + (double)s->pixels * (means[c] - mean) * (means[c] - mean);
        double rstd = 1 / sqrt(sum / (double)(s->pixels * width) + norm_eps);
        float *stats = job->stats + 2 * (n * s->groups + g);
        stats[0] = (float)mean;
        stats[1] = (float)rstd;
        for (int64_t c = g * width; c < (g + 1) * width; c++) {
            double scale, shift;
            film_of(job, n, c, &scale, &shift);
            center[c] = (float)mean; /* what is lost here goes into b */
            a[c] = (float)(rstd * (double)job->gamma[c] * scale);
            b[c] = (float)((double)job->beta[c] * scale + shift - (double)a[c] * (mean - (double)center[c]));
        }
    }
}

FORCE_INLINE void span_forward(DType x_dtype, DType type, Activation act, const NormJob *job, int64_t n, int64_t span)
{
    int64_t C = job->s->C, first = n * job->s->pixels, from = span * job->span;
    const float *center = job->affine + n * 5 * C, *a = center + C, *b = a + C;
    for (int64_t row = first + from; row < first + min_of(from + job->span, job->s->pixels); row++)
#pragma omp simd
        for (int64_t c = 0; c < C; c++)
            store_result(type, job->y, row * C + c,
                         act_forward(type, act, (load(x_dtype, job->x, row * C + c) - center[c]) * a[c] + b[c]));
}

static void apply_forward(const NormJob *job, int64_t n, int64_t span)
{
    if (job->s->x_f32 && job->s->dtype == DTYPE_BF16)
        WITH_ACTIVATION(job->s->act, ACT, span_forward(DTYPE_F32, DTYPE_BF16, ACT, job, n, span));
    else
        WITH_DTYPE(job->s->dtype, TYPE, WITH_ACTIVATION(job->s->act, ACT, span_forward(TYPE, TYPE, ACT, job, n, span)));
}

static Status group_norm(Kernels *k, const GroupNormShape *s, const void *x, const float *gamma, const float *beta,
                         const void *film, void *y, float *stats)
{
    NormJob job = {.s = s, .x = x, .film = film, .gamma = gamma, .beta = beta, .y = y, .stats = stats};
    TRY(prepare(k, &job));
    run_images(&job, reduce_forward, finish_forward, apply_forward);
    return STATUS_OK;
}

/* --- backward: z = (x - center) * a + b is computed again, d_z = d_y * act'(z) --- */

static void set_affine(const NormJob *job, int64_t n)
{
    const GroupNormShape *s = job->s;
    float *center = job->affine + n * 5 * s->C, *a = center + s->C, *b = a + s->C;
    for (int64_t c = 0; c < s->C; c++) {
        const float *stats = job->stats + 2 * (n * s->groups + c / (s->C / s->groups));
        double scale, shift;
        film_of(job, n, c, &scale, &shift);
        center[c] = stats[0];
        a[c] = (float)((double)stats[1] * (double)job->gamma[c] * scale);
        b[c] = (float)((double)job->beta[c] * scale + shift);
    }
}

FORCE_INLINE void span_gradient_sums(DType type, Activation act, const NormJob *job, int64_t n, int64_t span)
{
    int64_t C = job->s->C, from = span * job->span, to = min_of(from + job->span, job->s->pixels);
    const float *center = job->affine + n * 5 * C, *a = center + C, *b = a + C;
    double *sums = span_sums(job, n, span), *dots = sums + C;
    float sum[BLOCK], dot[BLOCK];
    memset(sums, 0, sizeof(double) * 2 * (size_t)C);
    for (int64_t c0 = 0; c0 < C; c0 += BLOCK)
        for (int64_t first = from; first < to; first += CHUNK) {
            int64_t width = min_of(BLOCK, C - c0), last = min_of(first + CHUNK, to);
            memset(sum, 0, sizeof sum);
            memset(dot, 0, sizeof dot);
            for (int64_t row = first; row < last; row++) {
                int64_t at = (n * job->s->pixels + row) * C + c0;
#pragma omp simd
                for (int64_t c = 0; c < width; c++) {
                    float d = load(type, job->x, at + c) - center[c0 + c];
                    float d_z = load(type, job->d_y, at + c) * act_derivative(type, act, d * a[c0 + c] + b[c0 + c]);
                    sum[c] += d_z;
                    dot[c] += d_z * d;
                }
            }
            for (int64_t c = 0; c < width; c++) sums[c0 + c] += (double)sum[c];
            for (int64_t c = 0; c < width; c++) dots[c0 + c] += (double)dot[c];
        }
}

static void reduce_backward(const NormJob *job, int64_t n, int64_t span)
{
    WITH_DTYPE(job->s->dtype, TYPE, WITH_ACTIVATION(job->s->act, ACT, span_gradient_sums(TYPE, ACT, job, n, span)));
}

/* With g = gamma (1 + scale): d_x = rstd (g d_z - mean(g d_z) - xhat mean(g d_z xhat)), means over the group. */
static void finish_backward(const NormJob *job, int64_t n, int64_t span)
{
    const GroupNormShape *s = job->s;
    int64_t C = s->C, width = C / s->groups;
    double *sums = span_sums(job, n, span), *dots = sums + C, *d_gamma = job->d_affine + n * 2 * C,
           *d_beta = d_gamma + C;
    float *factor = job->affine + n * 5 * C + 3 * C, *offset = factor + C;
    for (int64_t i = 1; i < job->spans; i++)
        for (int64_t c = 0; c < 2 * C; c++) sums[c] += span_sums(job, n, i)[c];
    for (int64_t g = 0; g < s->groups; g++) {
        double rstd = job->stats[2 * (n * s->groups + g) + 1], sum = 0, dot = 0,
               share = 1 / (double)(s->pixels * width);
        for (int64_t c = g * width; c < (g + 1) * width; c++) {
            double scale, shift, gamma = job->gamma[c];
            film_of(job, n, c, &scale, &shift);
            dots[c] *= rstd;
            sum += sums[c] * gamma * scale * share;
            dot += dots[c] * gamma * scale * share;
            d_gamma[c] = dots[c] * scale;
            d_beta[c] = sums[c] * scale;
            if (!job->d_film) continue;
            store(s->dtype, job->d_film, n * 2 * C + c, (float)(dots[c] * gamma + sums[c] * (double)job->beta[c]));
            store(s->dtype, job->d_film, n * 2 * C + C + c, (float)sums[c]);
        }
        for (int64_t c = g * width; c < (g + 1) * width; c++) {
            factor[c] = (float)(-rstd * rstd * dot);
            offset[c] = (float)(-rstd * sum);
        }
    }
}

FORCE_INLINE void span_backward(DType type, Activation act, const NormJob *job, int64_t n, int64_t span)
{
    int64_t C = job->s->C, image = n * job->s->pixels, from = span * job->span;
    const float *center = job->affine + n * 5 * C, *a = center + C, *b = a + C, *factor = b + C, *offset = factor + C;
    for (int64_t row = image + from; row < image + min_of(from + job->span, job->s->pixels); row++)
#pragma omp simd
        for (int64_t c = 0; c < C; c++) {
            float d = load(type, job->x, row * C + c) - center[c];
            float d_z = load(type, job->d_y, row * C + c) * act_derivative(type, act, d * a[c] + b[c]);
            store_result(type, job->d_x, row * C + c, d_z * a[c] + (d * factor[c] + offset[c]));
        }
}

static void apply_backward(const NormJob *job, int64_t n, int64_t span)
{
    if (!job->d_x) return;
    WITH_DTYPE(job->s->dtype, TYPE, WITH_ACTIVATION(job->s->act, ACT, span_backward(TYPE, ACT, job, n, span)));
}

static Status group_norm_backward(Kernels *k, const GroupNormShape *s, const void *x, const float *gamma,
                                  const float *beta, const void *film, const float *stats, const void *d_y, void *d_x,
                                  float *d_gamma, float *d_beta, void *d_film)
{
    NormJob job = {.s = s,
                   .x = x,
                   .film = film,
                   .gamma = gamma,
                   .beta = beta,
                   .d_y = d_y,
                   .d_x = d_x,
                   .d_film = d_film,
                   .stats = (float *)(uintptr_t)stats}; /* only read */
    TRY(prepare(k, &job));
    for (int64_t n = 0; n < s->N; n++) set_affine(&job, n);
    run_images(&job, reduce_backward, finish_backward, apply_backward);
    for (int64_t c = 0; c < s->C; c++) {
        double gamma_sum = 0, beta_sum = 0;
        for (int64_t n = 0; n < s->N; n++) {
            gamma_sum += job.d_affine[n * 2 * s->C + c];
            beta_sum += job.d_affine[n * 2 * s->C + s->C + c];
        }
        if (d_gamma) d_gamma[c] += (float)gamma_sum;
        if (d_beta) d_beta[c] += (float)beta_sum;
    }
    return STATUS_OK;
}

/* --- layer norm: row by row, a row stays in the first cache --- */

FORCE_INLINE void layer_norm_row(DType type, int64_t C, const void *x, int64_t at, const float *gamma,
                                 const float *beta, void *y, float *stats)
{
    float sum = 0, rest = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < C; c++) sum += load(type, x, at + c);
    float mean = sum / (float)C;
#pragma omp simd reduction(+ : rest, squares)
    for (int64_t c = 0; c < C; c++) {
        float d = load(type, x, at + c) - mean;
        rest += d;
        squares += d * d;
    }
    rest /= (float)C; /* what rounding took from the mean */
    float rstd = (float)(1 / sqrt((double)(squares / (float)C - rest * rest) + norm_eps)), offset = -rest * rstd;
    stats[0] = mean + rest;
    stats[1] = rstd;
#pragma omp simd
    for (int64_t c = 0; c < C; c++)
        store_result(type, y, at + c, ((load(type, x, at + c) - mean) * rstd + offset) * gamma[c] + beta[c]);
}

static Status layer_norm(Kernels *k, DType type, int64_t rows, int64_t C, const void *x, const float *gamma,
                         const float *beta, void *y, float *stats)
{
    (void)k;
#pragma omp parallel for schedule(static) if (rows * C >= PARALLEL_FROM)
    for (int64_t r = 0; r < rows; r++)
        WITH_DTYPE(type, TYPE, layer_norm_row(TYPE, C, x, r * C, gamma, beta, y, stats + 2 * r));
    return STATUS_OK;
}

/* d_gamma and d_beta get the row's contributions. */
FORCE_INLINE void layer_norm_backward_row(DType type, int64_t C, const void *x, const void *d_y, int64_t at,
                                          const float *gamma, const float *stats, void *d_x, float *d_gamma,
                                          float *d_beta)
{
    float mean = stats[0], rstd = stats[1], sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
    for (int64_t c = 0; c < C; c++) {
        float d = load(type, d_y, at + c), xhat = (load(type, x, at + c) - mean) * rstd;
        d_beta[c] += d;
        d_gamma[c] += d * xhat;
        sum += d * gamma[c];
        dot += d * gamma[c] * xhat;
    }
    if (!d_x) return;
    sum *= rstd / (float)C;
    dot *= rstd / (float)C;
#pragma omp simd
    for (int64_t c = 0; c < C; c++) {
        float xhat = (load(type, x, at + c) - mean) * rstd;
        store_result(type, d_x, at + c, load(type, d_y, at + c) * gamma[c] * rstd - (sum + xhat * dot));
    }
}

static Status layer_norm_backward(Kernels *k, DType type, int64_t rows, int64_t C, const void *x, const float *gamma,
                                  const float *stats, const void *d_y, void *d_x, float *d_gamma, float *d_beta)
{
    int64_t chunks = (rows + CHUNK - 1) / CHUNK;
    float *sums = kernels_scratch(k, sizeof(float) * (size_t)(chunks * 2 * C)); /* (chunks,2,C) */
    if (!sums) return STATUS_NO_MEMORY;
    memset(sums, 0, sizeof(float) * (size_t)(chunks * 2 * C));
#pragma omp parallel for schedule(static) if (rows * C >= PARALLEL_FROM)
    for (int64_t i = 0; i < chunks; i++)
        for (int64_t r = i * CHUNK; r < min_of((i + 1) * CHUNK, rows); r++)
            WITH_DTYPE(type, TYPE,
                       layer_norm_backward_row(TYPE, C, x, d_y, r * C, gamma, stats + 2 * r, d_x, sums + i * 2 * C,
                                               sums + (i * 2 + 1) * C));
    for (int64_t c = 0; c < C; c++) {
        double gamma_sum = 0, beta_sum = 0;
        for (int64_t i = 0; i < chunks; i++) {
            gamma_sum += (double)sums[i * 2 * C + c];
            beta_sum += (double)sums[(i * 2 + 1) * C + c];
        }
        if (d_gamma) d_gamma[c] += (float)gamma_sum;
        if (d_beta) d_beta[c] += (float)beta_sum;
    }
    return STATUS_OK;
}

void SIMD_NAME(simd_norm_install)(Kernels *k)
{
    k->group_norm = group_norm;
    k->group_norm_backward = group_norm_backward;
    k->layer_norm = layer_norm;
    k->layer_norm_backward = layer_norm_backward;
}
