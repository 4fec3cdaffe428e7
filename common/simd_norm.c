#include "common/simd.h"
#include "common/simd_math.h"

static const float norm_eps = 1e-5f;

/* z = (x - mean) * a + b of channel c of image n: norm, gamma, beta and FiLM in one. */
static void group_affine(const GroupNormShape *s, const float *gamma, const float *beta, const void *film, int64_t n, int64_t c,
                         float rstd, float *a, float *b)
{
    float scale = film ? 1 + load(s->dtype, film, n * 2 * s->C + c) : 1;
    float shift = film ? load(s->dtype, film, n * 2 * s->C + s->C + c) : 0;
    *a = rstd * gamma[c] * scale;
    *b = beta[c] * scale + shift;
}

static Status group_norm(Kernels *k, const GroupNormShape *s, const void *x, const float *gamma, const float *beta,
                         const void *film, void *y, float *stats)
{
    (void)k;
    int64_t width = s->C / s->groups;
#pragma omp parallel for schedule(static)
    for (int64_t ng = 0; ng < s->N * s->groups; ng++) {
        int64_t n = ng / s->groups, c0 = ng % s->groups * width;
        double sum = 0, squares = 0, count = (double)(s->pixels * width);
        for (int64_t p = 0; p < s->pixels; p++)
            for (int64_t c = c0; c < c0 + width; c++) sum += load(s->dtype, x, (n * s->pixels + p) * s->C + c);
        double mean = sum / count;
        for (int64_t p = 0; p < s->pixels; p++)
            for (int64_t c = c0; c < c0 + width; c++) {
                double d = load(s->dtype, x, (n * s->pixels + p) * s->C + c) - mean;
                squares += d * d;
            }
        stats[2 * ng] = (float)mean;
        stats[2 * ng + 1] = (float)(1 / sqrt(squares / count + norm_eps));
        for (int64_t c = c0; c < c0 + width; c++) {
            float a, b;
            group_affine(s, gamma, beta, film, n, c, stats[2 * ng + 1], &a, &b);
            for (int64_t p = 0; p < s->pixels; p++) {
                int64_t at = (n * s->pixels + p) * s->C + c;
                store(s->dtype, y, at, act_forward(s->act, (float)(load(s->dtype, x, at) - mean) * a + b));
            }
        }
    }
    return STATUS_OK;
}

static Status group_norm_backward(Kernels *k, const GroupNormShape *s, const void *x, const float *gamma, const float *beta,
                                  const void *film, const float *stats, const void *d_y, void *d_x, float *d_gamma,
                                  float *d_beta, void *d_film)
{
    (void)k;
    int64_t width = s->C / s->groups;
#pragma omp parallel for schedule(static)
    for (int64_t g = 0; g < s->groups; g++)
        for (int64_t n = 0; n < s->N; n++) {
            float mean = stats[2 * (n * s->groups + g)], rstd = stats[2 * (n * s->groups + g) + 1];
            double s1 = 0, s2 = 0, count = (double)(s->pixels * width);
            for (int64_t c = g * width; c < (g + 1) * width; c++) {
                float a, b, scale = film ? 1 + load(s->dtype, film, n * 2 * s->C + c) : 1;
                double sum = 0, dot = 0;
                group_affine(s, gamma, beta, film, n, c, rstd, &a, &b);
                for (int64_t p = 0; p < s->pixels; p++) {
                    int64_t at = (n * s->pixels + p) * s->C + c;
                    float d = load(s->dtype, x, at) - mean;
                    float dz = load(s->dtype, d_y, at) * act_derivative(s->act, d * a + b);
                    sum += dz;
                    dot += dz * d * rstd;
                }
                s1 += sum * scale * gamma[c];
                s2 += dot * scale * gamma[c];
                if (d_gamma) d_gamma[c] += (float)(dot * scale);
                if (d_beta) d_beta[c] += (float)(sum * scale);
                if (d_film) {
                    store(s->dtype, d_film, n * 2 * s->C + c, (float)(dot * gamma[c] + sum * beta[c]));
                    store(s->dtype, d_film, n * 2 * s->C + s->C + c, (float)sum);
                }
            }
            for (int64_t c = g * width; d_x && c < (g + 1) * width; c++) {
                float a, b;
                group_affine(s, gamma, beta, film, n, c, rstd, &a, &b);
                for (int64_t p = 0; p < s->pixels; p++) {
                    int64_t at = (n * s->pixels + p) * s->C + c;
                    float d = load(s->dtype, x, at) - mean;
                    float dz = load(s->dtype, d_y, at) * act_derivative(s->act, d * a + b);
                    store(s->dtype, d_x, at, (float)(dz * a - rstd * (s1 + d * rstd * s2) / count));
                }
            }
        }
    return STATUS_OK;
}

static Status layer_norm(Kernels *k, DType type, int64_t rows, int64_t C, const void *x, const float *gamma, const float *beta,
                         void *y, float *stats)
{
    (void)k;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        double mean = 0, squares = 0;
        for (int64_t c = 0; c < C; c++) mean += load(type, x, r * C + c) / (double)C;
        for (int64_t c = 0; c < C; c++) squares += (load(type, x, r * C + c) - mean) * (load(type, x, r * C + c) - mean);
        stats[2 * r] = (float)mean;
        stats[2 * r + 1] = (float)(1 / sqrt(squares / (double)C + norm_eps));
        for (int64_t c = 0; c < C; c++)
            store(type, y, r * C + c, (float)(load(type, x, r * C + c) - mean) * stats[2 * r + 1] * gamma[c] + beta[c]);
    }
    return STATUS_OK;
}

static Status layer_norm_backward(Kernels *k, DType type, int64_t rows, int64_t C, const void *x, const float *gamma,
                                  const float *stats, const void *d_y, void *d_x, float *d_gamma, float *d_beta)
{
    (void)k;
    for (int64_t r = 0; r < rows; r++) {
        double s1 = 0, s2 = 0, mean = stats[2 * r], rstd = stats[2 * r + 1];
        for (int64_t c = 0; c < C; c++) {
            double g = load(type, d_y, r * C + c), xhat = (load(type, x, r * C + c) - mean) * rstd;
            s1 += g * gamma[c];
            s2 += g * gamma[c] * xhat;
            if (d_gamma) d_gamma[c] += (float)(g * xhat);
            if (d_beta) d_beta[c] += (float)g;
        }
        for (int64_t c = 0; d_x && c < C; c++) {
            double g = load(type, d_y, r * C + c), xhat = (load(type, x, r * C + c) - mean) * rstd;
            store(type, d_x, r * C + c, (float)(rstd * (g * gamma[c] - (s1 + xhat * s2) / (double)C)));
        }
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
