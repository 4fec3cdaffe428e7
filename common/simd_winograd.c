/* 3x3 convolutions in f32 with a quarter of the multiplications: Winograd's F(4x4,3x3) (arXiv 1509.09308).
 *
 * A tile of 4x4 results comes from 6x6 pixels d and the 3x3 weights g: Y = A^T [(G g G^T) * (B^T d B)] A, where * goes element by
 * element, that is, 36 matrix products over channels. The transforms evaluate polynomials at 0, +-5/8, +-3/2 and infinity: with the
 * usual 0, +-1, +-2 the largest errors are three times as large (measured; SPEED.md). The sums over channels have one order, so a
 * picture's bits depend neither on its batch nor on threads.
 *
 * Some tiles at a time: their transforms v (36,rows,Cin), the products m (36,rows,columns), then the results. */
#include "common/simd.h"
#include "common/simd_gemm.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { OUT = 4, IN = 6, POSITIONS = IN * IN, LEAST_SIDE = 16, LEAST_CHANNELS = 64, CHANNEL_UNIT = 16, PAD = 48 };
enum { CHUNK_FLOATS = 3 << 20, MOST_ROWS = 256 }; /* of v and m together, so that they stay in the cache; of tiles at a time */

#define POINT_A   0.625f
#define POINT_B   1.5f
#define SQUARE_A  (POINT_A * POINT_A)
#define SQUARE_B  (POINT_B * POINT_B)
#define SQUARES   (SQUARE_A + SQUARE_B)
#define SQUARE_AB (SQUARE_A * SQUARE_B)

typedef struct Job {
    const ConvShape *s;
    const float *x, *bias, *residual;
    const float *u; /* (panels,36,Cin,TILE_COLUMNS): weights, transformed */
    float *y, *v, *m;
    int64_t across, down;  /* tiles of an image */
    int64_t first, count;  /* tiles in work */
    int64_t columns;       /* Cout rounded up to whole panels */
    int64_t v_step, m_step; /* floats from position to position; no power of two, or all 36 fall into one set of the cache */
} Job;

/* --- transforms along one axis ----------------------------------------------------------------------- */

/* B^T d */
FORCE_INLINE void transform_in(const Vec *d, int64_t step, Vec *t, int64_t t_step)
{
    Vec d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
    Vec even_a = d4 - SQUARE_B * d2, odd_a = POINT_A * (d3 - SQUARE_B * d1);
    Vec even_b = d4 - SQUARE_A * d2, odd_b = POINT_B * (d3 - SQUARE_A * d1);
    t[0] = SQUARE_AB * d0 - SQUARES * d2 + d4;
    t[t_step] = even_a + odd_a;
    t[2 * t_step] = even_a - odd_a;
    t[3 * t_step] = even_b + odd_b;
    t[4 * t_step] = even_b - odd_b;
    t[5 * t_step] = SQUARE_AB * d1 - SQUARES * d3 + d5;
}

/* A^T m */
FORCE_INLINE void transform_out(const Vec *m, int64_t step, Vec *y, int64_t y_step)
{
    Vec even_a = m[step] + m[2 * step], odd_a = POINT_A * (m[step] - m[2 * step]);
    Vec even_b = m[3 * step] + m[4 * step], odd_b = POINT_B * (m[3 * step] - m[4 * step]);
    y[0] = m[0] + even_a + even_b;
    y[y_step] = odd_a + odd_b;
    y[2 * y_step] = SQUARE_A * even_a + SQUARE_B * even_b;
    y[3 * y_step] = SQUARE_A * odd_a + SQUARE_B * odd_b + m[5 * step];
}

/* --- weights ----------------------------------------------------------------------------------------- */

/* G g G^T of one pair of channels, in double: it is done once. */
static void transform_weights(const float *g, double out[POSITIONS])
{
    const double a = (double)POINT_A, b = (double)POINT_B, a2 = a * a, b2 = b * b;
    const double fa = 2 * a2 * (a2 - b2), fb = 2 * b2 * (b2 - a2);
    const double G[IN][3] = {{1 / (a2 * b2), 0, 0},         {1 / fa, a / fa, a2 / fa},  {1 / fa, -a / fa, a2 / fa},
                             {1 / fb, b / fb, b2 / fb}, {1 / fb, -b / fb, b2 / fb}, {0, 0, 1}};
    double half[IN][3];
    for (int i = 0; i < IN; i++)
        for (int x = 0; x < 3; x++)
            half[i][x] = G[i][0] * (double)g[x] + G[i][1] * (double)g[3 + x] + G[i][2] * (double)g[6 + x];
    for (int i = 0; i < IN; i++)
        for (int j = 0; j < IN; j++) out[i * IN + j] = half[i][0] * G[j][0] + half[i][1] * G[j][1] + half[i][2] * G[j][2];
}

static int64_t panels_of(int64_t Cout)
{
    return (Cout + TILE_COLUMNS - 1) / TILE_COLUMNS;
}

static void pack_panel(const float *values, int64_t Cin, int64_t Cout, int64_t panel, float *out)
{
    double one[POSITIONS];
    for (int64_t j = 0; j < TILE_COLUMNS; j++) {
        int64_t co = panel * TILE_COLUMNS + j;
        for (int64_t ci = 0; ci < Cin; ci++) {
            if (co < Cout) transform_weights(values + (co * Cin + ci) * 9, one);
            else memset(one, 0, sizeof one);
            for (int64_t p = 0; p < POSITIONS; p++) out[(p * Cin + ci) * TILE_COLUMNS + j] = (float)one[p];
        }
    }
}

static const char packed_key; /* its address says whose copy it is */

static struct ParamPacked *packed_slot(Param *w)
{
    struct ParamPacked *slot = NULL;
    for (int i = 0; i < PARAM_MAX_PACKED; i++) {
        if (w->packed[i].key == &packed_key) return &w->packed[i];
        if (!w->packed[i].key && !slot) slot = &w->packed[i];
    }
    if (slot) return slot;
    slot = &w->packed[0];
    slot->destroy(slot->data);
    *slot = (struct ParamPacked){0};
    return slot;
}

static Status packed_weights(Kernels *k, const ConvShape *s, Param *w, const float **out)
{
    struct ParamPacked *slot = packed_slot(w);
    int64_t panels = panels_of(s->Cout), each = POSITIONS * s->Cin * TILE_COLUMNS;
    if (!slot->key) {
        float *block = aligned_alloc(64, sizeof *block * (size_t)(panels * each));
        if (!block) return status_fail(STATUS_NO_MEMORY, "out of memory: packed weights of %s", w->name);
        *slot = (struct ParamPacked){.key = &packed_key, .data = block, .destroy = free, .version = w->version - 1};
    }
    if (slot->version != w->version) {
        float *copy = w->value ? NULL : kernels_scratch(k, w->size * sizeof *copy);
        if (copy) param_read_all(w, copy);
        else if (!w->value) return STATUS_NO_MEMORY;
        const float *values = w->value ? w->value : copy;
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < panels; i++) pack_panel(values, s->Cin, s->Cout, i, (float *)slot->data + i * each);
        param_leave(w);
        slot->version = w->version;
    }
    *out = slot->data;
    return STATUS_OK;
}

/* --- the three phases --------------------------------------------------------------------------------- */

static void read_tile(const Job *job, int64_t row)
{
    const ConvShape *s = job->s;
    int64_t tile = job->first + row, n = tile / (job->across * job->down), at = tile % (job->across * job->down);
    int64_t top = at / job->across * OUT - 1, left = at % job->across * OUT - 1;
    for (int64_t c = 0; c < s->Cin; c += VEC_FLOATS) {
        Vec d[POSITIONS], t[POSITIONS];
        for (int i = 0; i < IN; i++)
            for (int j = 0; j < IN; j++) {
                int64_t y = top + i, x = left + j;
                bool inside = y >= 0 && y < s->H && x >= 0 && x < s->W;
                d[i * IN + j] = inside ? *(const Vec *)(job->x + ((n * s->H + y) * s->W + x) * s->Cin + c) : (Vec){0};
            }
        for (int j = 0; j < IN; j++) transform_in(d + j, IN, t + j, IN);
        for (int i = 0; i < IN; i++) transform_in(t + i * IN, 1, d + i * IN, 1);
        for (int p = 0; p < POSITIONS; p++) *(Vec *)(job->v + p * job->v_step + row * s->Cin + c) = d[p];
    }
}

static void multiply(const Job *job, int64_t position, int64_t panel)
{
    int64_t Cin = job->s->Cin;
    Product p = {.a_row = Cin, .a_k = 1, .b_k = TILE_COLUMNS, .segments = 1, .K = Cin};
    p.b = job->u + (panel * POSITIONS + position) * Cin * TILE_COLUMNS;
    float *m = job->m + position * job->m_step + panel * TILE_COLUMNS;
    for (int64_t row = 0; row < job->count; row += TILE_ROWS) {
        p.a = job->v + position * job->v_step + row * Cin;
        tile_product(&p, m + row * job->columns, job->columns, false);
    }
}

static void write_pixel(const Job *job, int64_t at, int64_t c, Vec sum)
{
    if (job->bias) sum += *(const Vec *)(job->bias + c);
    if (job->residual) sum += *(const Vec *)(job->residual + at + c);
    *(Vec *)(job->y + at + c) = sum;
}

static void write_tile(const Job *job, int64_t row)
{
    const ConvShape *s = job->s;
    int64_t tile = job->first + row, n = tile / (job->across * job->down), at = tile % (job->across * job->down);
    int64_t top = at / job->across * OUT, left = at % job->across * OUT;
    for (int64_t c = 0; c < s->Cout; c += VEC_FLOATS) {
        Vec m[POSITIONS], t[OUT * IN], y[OUT * OUT];
        for (int p = 0; p < POSITIONS; p++) m[p] = *(const Vec *)(job->m + p * job->m_step + row * job->columns + c);
        for (int j = 0; j < IN; j++) transform_out(m + j, IN, t + j, IN);
        for (int i = 0; i < OUT; i++) transform_out(t + i * IN, 1, y + i * OUT, 1);
        for (int i = 0; i < OUT && top + i < s->H; i++)
            for (int j = 0; j < OUT && left + j < s->W; j++)
                write_pixel(job, ((n * s->H + top + i) * s->W + left + j) * s->Cout, c, y[i * OUT + j]);
    }
}

/* --- the entry ---------------------------------------------------------------------------------------- */

/* Not the number of pictures: the bits must not depend on it. Weights that are being trained change before they are used often. */
static bool is_served(const ConvShape *s, const Param *w)
{
    return s->dtype == DTYPE_F32 && s->out_dtype == DTYPE_F32 && s->kernel == 3 && s->stride == 1 && !w->grad &&
           s->H >= LEAST_SIDE && s->W >= LEAST_SIDE && s->Cin >= LEAST_CHANNELS && s->Cout >= LEAST_CHANNELS &&
           s->Cin % CHANNEL_UNIT == 0 && s->Cout % CHANNEL_UNIT == 0;
}

static Status job_init(Kernels *k, Job *job, int64_t tiles)
{
    int64_t per_row = POSITIONS * (job->s->Cin + job->columns), rows = CHUNK_FLOATS / per_row;
    rows = rows > MOST_ROWS ? MOST_ROWS : rows > tiles ? tiles : rows < TILE_ROWS ? TILE_ROWS : rows;
    rows = (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    job->count = rows;
    job->v_step = rows * job->s->Cin + PAD;
    job->m_step = rows * job->columns + PAD;
    job->v = kernels_scratch(k, sizeof(float) * (size_t)(POSITIONS * (job->v_step + job->m_step)));
    job->m = job->v + POSITIONS * job->v_step;
    return job->v ? STATUS_OK : STATUS_NO_MEMORY;
}

static Status conv2d(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias, const void *residual,
                     void *y)
{
    if (!is_served(s, weight)) return k->conv2d_direct(k, s, x, weight, bias, residual, y);
    Job job = {.s = s, .x = x, .bias = bias ? bias->value : NULL, .residual = residual, .y = y};
    job.across = (s->W + OUT - 1) / OUT;
    job.down = (s->H + OUT - 1) / OUT;
    job.columns = panels_of(s->Cout) * TILE_COLUMNS;
    int64_t tiles = s->N * job.across * job.down, panels = panels_of(s->Cout);
    TRY(packed_weights(k, s, weight, &job.u));
    TRY(job_init(k, &job, tiles));
    int64_t most = job.count;
#pragma omp parallel firstprivate(job)
    for (job.first = 0; job.first < tiles; job.first += most) {
        job.count = tiles - job.first < most ? tiles - job.first : most;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < job.count; i++) read_tile(&job, i);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < POSITIONS * panels; i++) multiply(&job, i / panels, i % panels);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < job.count; i++) write_tile(&job, i);
    }
    return STATUS_OK;
}

void SIMD_NAME(simd_winograd_install)(Kernels *k)
{
    k->conv2d_direct = k->conv2d;
    k->conv2d = conv2d;
}
