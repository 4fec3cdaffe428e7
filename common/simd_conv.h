/* Private to simd_conv.c and simd_linear.c: one engine for convolution, linear layers and their gradients.
 *
 * Channels last makes a convolution a matrix product without copying patches: the `kernel` pixels under an output pixel
 * in one row are contiguous, `kernel * Cin` floats, and the next output pixel's begin stride * Cin later. So input rows
 * are converted to f32 once, with their zero border, and fed to tile_product() as overlapping rows, one segment per
 * kernel row. A linear layer is a 1x1 convolution; those are cut into rows of FLAT_WIDTH pixels regardless of the
 * image's shape. */
#ifndef GLIDE_COMMON_SIMD_CONV_H
#define GLIDE_COMMON_SIMD_CONV_H

#include "common/simd_gemm.h"

#include <omp.h>
#include <string.h>

enum { FLAT_WIDTH = 64, BLOCK_PIXELS = 64, GRADIENT_FLOATS = 1 << 17, BIAS_SPANS = 16 };

typedef struct ConvGeometry {
    int64_t N, H, W, Cin, in_pixels;  /* what is read; rows beyond in_pixels = N*H*W at most count as zero */
    int64_t H2, W2, Cout, out_pixels; /* what is computed */
    int64_t kernel, stride;
    int64_t
        dilation; /* zeros between the pixels of what is read, plus 1: for gradients of a convolution with a stride */
} ConvGeometry;

static inline int64_t conv_round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static inline int64_t conv_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline ConvGeometry geometry_flat(int64_t pixels, int64_t Cin, int64_t Cout)
{
    int64_t H = (pixels + FLAT_WIDTH - 1) / FLAT_WIDTH;
    return (ConvGeometry){1, H, FLAT_WIDTH, Cin, pixels, H, FLAT_WIDTH, Cout, pixels, 1, 1, 1};
}

static inline ConvGeometry geometry_forward(const ConvShape *s)
{
    if (s->kernel == 1 && s->stride == 1) return geometry_flat(s->N * s->H * s->W, s->Cin, s->Cout);
    int64_t H2 = (s->H + s->stride - 1) / s->stride, W2 = (s->W + s->stride - 1) / s->stride;
    return (ConvGeometry){s->N, s->H,    s->W,           s->Cin,    s->N * s->H * s->W, H2,
                          W2,   s->Cout, s->N * H2 * W2, s->kernel, s->stride,          1};
}

/* The gradient of the input is a convolution of d_y, spread out by the stride, with the mirrored kernel. */
static inline ConvGeometry geometry_backward(const ConvShape *s)
{
    ConvGeometry f = geometry_forward(s);
    return (ConvGeometry){f.N, f.H2, f.W2, f.Cout, f.out_pixels, f.H, f.W, f.Cin, f.in_pixels, f.kernel, 1, f.stride};
}

/* Too little work for a team of threads. */
static inline bool conv_is_small(const ConvGeometry *g)
{
    return g->out_pixels * g->Cout * g->Cin * g->kernel * g->kernel < 1 << 18;
}

/* out (floats) = x[at...at+count) */
static inline void read_floats(DType type, const void *x, int64_t at, int64_t count, float *out)
{
    if (type == DTYPE_F32)
        memcpy(out, (const float *)x + at, sizeof(float) * (size_t)count);
    else
#pragma omp simd
        for (int64_t i = 0; i < count; i++) out[i] = load(DTYPE_BF16, x, at + i);
}

/* Pixels first...first+count of row y of image n, in dilated coordinates, Cin floats each; zeros where there are none.
 */
static inline void read_pixels(const ConvGeometry *g, DType type, const void *x, int64_t n, int64_t y, int64_t first,
                               int64_t count, float *out)
{
    memset(out, 0, sizeof(float) * (size_t)(count * g->Cin));
    if (y < 0 || y % g->dilation || y / g->dilation >= g->H) return;
    int64_t row = (n * g->H + y / g->dilation) * g->W, end = conv_min(g->W, g->in_pixels - row);
    if (g->dilation == 1) {
        int64_t from = first > 0 ? first : 0, to = conv_min(first + count, end);
        if (from < to) read_floats(type, x, (row + from) * g->Cin, (to - from) * g->Cin, out + (from - first) * g->Cin);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t at = (first + i) / g->dilation;
        if (first + i < 0 || (first + i) % g->dilation || at >= end) continue;
        read_floats(type, x, (row + at) * g->Cin, g->Cin, out + i * g->Cin);
    }
}

/* --- forward, and the gradient of the input --- */

/* Element (to, from, tap) of the weights is at value[to * to_stride + from * from_stride + tap]. */
typedef struct ConvWeights {
    const float *value;
    int64_t to_stride, from_stride;
    bool mirrored;
} ConvWeights;

typedef struct ConvJob {
    ConvGeometry g;
    DType type, out_type, residual_type;
    const void *x, *residual;
    void *y;
    const float *bias;
    float *packed;      /* (panels,kernel*kernel,Cin,TILE_COLUMNS) */
    int64_t row_floats; /* of a block's input row */
} ConvJob;

static inline void pack_panel(const ConvJob *job, const ConvWeights *w, int64_t panel)
{
    int64_t taps = job->g.kernel * job->g.kernel, Cin = job->g.Cin;
    float *packed = job->packed + panel * taps * Cin * TILE_COLUMNS;
    int64_t columns = conv_min(TILE_COLUMNS, job->g.Cout - panel * TILE_COLUMNS);
    if (columns < TILE_COLUMNS) memset(packed, 0, sizeof(float) * (size_t)(taps * Cin * TILE_COLUMNS));
    for (int64_t ci = 0; ci < Cin; ci++)
        for (int64_t tap = 0; tap < taps; tap++) {
            const float *from = w->value + panel * TILE_COLUMNS * w->to_stride + ci * w->from_stride + tap;
            float *to = packed + ((w->mirrored ? taps - 1 - tap : tap) * Cin + ci) * TILE_COLUMNS;
            for (int64_t j = 0; j < columns; j++) to[j] = from[j * w->to_stride];
        }
}

FORCE_INLINE void write_tile(DType type, DType residual_type, const ConvJob *job, const float *tile, int64_t pixel, int64_t rows,
                             int64_t column, int64_t columns)
{
    for (int64_t m = 0; m < rows; m++) {
        int64_t at = (pixel + m) * job->g.Cout + column;
        const float *sum = tile + m * TILE_COLUMNS, *bias = job->bias ? job->bias + column : NULL;
        if (bias && job->residual)
#pragma omp simd
            for (int64_t j = 0; j < columns; j++)
                store(type, job->y, at + j, sum[j] + bias[j] + load(residual_type, job->residual, at + j));
        else if (bias)
#pragma omp simd
            for (int64_t j = 0; j < columns; j++) store(type, job->y, at + j, sum[j] + bias[j]);
        else if (job->residual)
#pragma omp simd
            for (int64_t j = 0; j < columns; j++)
                store(type, job->y, at + j, sum[j] + load(residual_type, job->residual, at + j));
        else
#pragma omp simd
            for (int64_t j = 0; j < columns; j++) store(type, job->y, at + j, sum[j]);
    }
}

/* Output pixels first...first+BLOCK_PIXELS of one row. */
static inline void convolve_block(const ConvJob *job, int64_t row, int64_t first, float *rows)
{
    const ConvGeometry *g = &job->g;
    int64_t pixel = row * g->W2 + first, count = conv_min(conv_min(BLOCK_PIXELS, g->W2 - first), g->out_pixels - pixel);
    int64_t pad = g->kernel / 2, length = g->kernel * g->Cin;
    for (int64_t ky = 0; ky < g->kernel; ky++)
        read_pixels(g, job->type, job->x, row / g->H2, row % g->H2 * g->stride + ky - pad, first * g->stride - pad,
                    job->row_floats / g->Cin, rows + ky * job->row_floats);
    for (int64_t column = 0; column < g->Cout; column += TILE_COLUMNS)
        for (int64_t m = 0; m < count; m += TILE_ROWS) {
            float tile[TILE_ROWS * TILE_COLUMNS];
            Product p = {.a = rows + m * g->stride * g->Cin,
                         .a_segment = job->row_floats,
                         .a_row = g->stride * g->Cin,
                         .a_k = 1,
                         .b = job->packed + column * g->kernel * length,
                         .b_segment = length * TILE_COLUMNS,
                         .b_k = TILE_COLUMNS,
                         .segments = g->kernel,
                         .K = length};
            int64_t columns = conv_min(TILE_COLUMNS, g->Cout - column);
            tile_product(&p, tile, TILE_COLUMNS, false);
            int64_t tile_rows = conv_min(TILE_ROWS, count - m);
            if (job->residual_type == job->out_type)
                WITH_DTYPE(job->out_type, TYPE, write_tile(TYPE, TYPE, job, tile, pixel + m, tile_rows, column, columns));
            else
                write_tile(job->out_type, job->residual_type, job, tile, pixel + m, tile_rows, column, columns);
        }
}

static inline Status convolve(Kernels *k, ConvJob *job, const ConvWeights *weights)
{
    const ConvGeometry *g = &job->g;
    int64_t panels = (g->Cout + TILE_COLUMNS - 1) / TILE_COLUMNS,
            packed = panels * g->kernel * g->kernel * g->Cin * TILE_COLUMNS;
    int64_t across = (conv_round_up(conv_min(BLOCK_PIXELS, g->W2), TILE_ROWS) - 1) * g->stride + g->kernel;
    job->row_floats = across * g->Cin;
    int64_t each = conv_round_up(g->kernel * job->row_floats, 16), blocks = (g->W2 + BLOCK_PIXELS - 1) / BLOCK_PIXELS;
    float *scratch = kernels_scratch(k, sizeof(float) * (size_t)(packed + omp_get_max_threads() * each));
    if (!scratch) return STATUS_NO_MEMORY;
    job->packed = scratch;
    bool small = conv_is_small(g);
#pragma omp parallel if (!small)
    {
        float *rows = scratch + packed + omp_get_thread_num() * each;
#pragma omp for schedule(static)
        for (int64_t panel = 0; panel < panels; panel++) pack_panel(job, weights, panel);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < g->N * g->H2 * blocks; i++)
            convolve_block(job, i / blocks, i % blocks * BLOCK_PIXELS, rows);
    }
    return STATUS_OK;
}

/* --- gradient of the weights --- */

/* A few rows of the output at a time (some rows of one image, or several whole images): their d_y and the input rows
 * under them are converted, then every tile of the gradient, which one thread owns, adds the products of all those
 * pixels. */
typedef struct GradientJob {
    ConvGeometry g;
    DType type, out_type;
    const void *x, *d_y;
    int64_t rows, images; /* output rows per image, images, at a time */
    int64_t x_row, x_rows,
        y_row;            /* floats of a row of x with its border, such rows per image; floats of a row of d_y */
    int64_t Cout, length; /* padded: rows and columns of sums */
    float *x_floats, *y_floats;
    float *sums; /* (kernel,Cout,length) */
} GradientJob;

static inline void read_gradient_row(const GradientJob *job, int64_t n, int64_t y, float *out)
{
    const ConvGeometry *g = &job->g;
    int64_t row = (n * g->H2 + y) * g->W2;
    for (int64_t ox = 0; ox < g->W2; ox++) {
        float *pixel = out + ox * job->Cout;
        if (y < g->H2 && row + ox < g->out_pixels) {
            read_floats(job->out_type, job->d_y, (row + ox) * g->Cout, g->Cout, pixel);
            memset(pixel + g->Cout, 0, sizeof(float) * (size_t)(job->Cout - g->Cout));
        } else
            memset(pixel, 0, sizeof(float) * (size_t)job->Cout);
    }
}

/* Row i of those at a time, of x and of d_y: row i / images of each image's. */
static inline void read_chunk_row(const GradientJob *job, int64_t n, int64_t y, int64_t i)
{
    const ConvGeometry *g = &job->g;
    int64_t image = i / job->x_rows, r = i % job->x_rows, pad = g->kernel / 2;
    read_pixels(g, job->type, job->x, n + image, y * g->stride + r - pad, -pad, job->x_row / g->Cin,
                job->x_floats + i * job->x_row);
    if (r < job->rows) read_gradient_row(job, n + image, y + r, job->y_floats + (image * job->rows + r) * job->y_row);
}

static inline void add_gradient_tile(const GradientJob *job, int64_t images, int64_t ky, int64_t co, int64_t column)
{
    float *sums = job->sums + (ky * job->Cout + co) * job->length + column;
    for (int64_t image = 0; image < images; image++) {
        Product p = {.a = job->y_floats + image * job->rows * job->y_row + co,
                     .a_segment = job->y_row,
                     .a_row = 1,
                     .a_k = job->Cout,
                     .b = job->x_floats + (image * job->x_rows + ky) * job->x_row + column,
                     .b_segment = job->g.stride * job->x_row,
                     .b_k = job->g.stride * job->g.Cin,
                     .segments = job->rows,
                     .K = job->g.W2};
        tile_product(&p, sums, job->length, true);
    }
}

static inline void add_to_weights(const GradientJob *job, int64_t co, float *d_weight)
{
    int64_t kernel = job->g.kernel, Cin = job->g.Cin;
    for (int64_t ci = 0; ci < Cin; ci++)
        for (int64_t ky = 0; ky < kernel; ky++)
            for (int64_t kx = 0; kx < kernel; kx++)
                d_weight[((co * Cin + ci) * kernel + ky) * kernel + kx] +=
                    job->sums[(ky * job->Cout + co) * job->length + kx * Cin + ci];
}

/* d_weight (Cout,Cin,kernel,kernel) += gradient */
static inline Status convolve_weights(Kernels *k, GradientJob *job, float *d_weight, pthread_mutex_t *lock)
{
    const ConvGeometry *g = &job->g;
    job->Cout = conv_round_up(g->Cout, TILE_ROWS);
    job->length = conv_round_up(g->kernel * g->Cin, TILE_COLUMNS);
    job->x_row = ((g->W2 - 1) * g->stride + g->kernel) * g->Cin;
    job->y_row = g->W2 * job->Cout;
    int64_t per_row = g->stride * job->x_row + job->y_row;
    job->rows = conv_min(g->H2, 1 + GRADIENT_FLOATS / per_row);
    job->x_rows = (job->rows - 1) * g->stride + g->kernel;
    job->images = job->rows < g->H2 ? 1 : conv_min(g->N, 1 + GRADIENT_FLOATS / (per_row * job->rows));
    /* the last tile of columns reads past the last row of x */
    int64_t x_floats = conv_round_up(job->images * job->x_rows * job->x_row + TILE_COLUMNS, 16);
    int64_t y_floats = conv_round_up(job->images * job->rows * job->y_row, 16),
            sums = g->kernel * job->Cout * job->length;
    float *scratch = kernels_scratch(k, sizeof(float) * (size_t)(x_floats + y_floats + sums));
    if (!scratch) return STATUS_NO_MEMORY;
    job->x_floats = scratch;
    job->y_floats = scratch + x_floats;
    job->sums = scratch + x_floats + y_floats;
    memset(job->sums, 0, sizeof(float) * (size_t)sums);
    memset(job->x_floats + x_floats - TILE_COLUMNS - 16, 0, sizeof(float) * (TILE_COLUMNS + 16));
    int64_t co_tiles = job->Cout / TILE_ROWS, column_tiles = job->length / TILE_COLUMNS;
    bool small = conv_is_small(g);
#pragma omp parallel if (!small)
    for (int64_t n = 0; n < g->N; n += job->images)
        for (int64_t y = 0; y < g->H2; y += job->rows) {
            int64_t images = conv_min(job->images, g->N - n);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < images * job->x_rows; i++) read_chunk_row(job, n, y, i);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < g->kernel * co_tiles * column_tiles; i++)
                add_gradient_tile(job, images, i / (co_tiles * column_tiles), i / column_tiles % co_tiles * TILE_ROWS,
                                  i % column_tiles * TILE_COLUMNS);
        }
    if (lock) pthread_mutex_lock(lock);
#pragma omp parallel for schedule(static) if (!small)
    for (int64_t co = 0; co < g->Cout; co++) add_to_weights(job, co, d_weight);
    if (lock) pthread_mutex_unlock(lock);
    return STATUS_OK;
}

/* sums += the rows' sums of d_y (rows,Cout), from row `from` to row `to` */
FORCE_INLINE void sum_columns(DType type, const void *d_y, int64_t Cout, int64_t from, int64_t to, double *sums)
{
    for (int64_t c0 = 0; c0 < Cout; c0 += 64) {
        int64_t width = conv_min(64, Cout - c0);
        for (int64_t r0 = from; r0 < to; r0 += 64) {
            float sum[64] = {0};
            for (int64_t r = r0; r < conv_min(r0 + 64, to); r++)
                for (int64_t c = 0; c < width; c++) sum[c] += load(type, d_y, r * Cout + c0 + c);
            for (int64_t c = 0; c < width; c++) sums[c0 + c] += (double)sum[c];
        }
    }
}

/* d_bias (Cout) += column sums of d_y (rows,Cout), in a fixed number of parts */
static inline Status bias_gradient(Kernels *k, DType type, const void *d_y, int64_t rows, int64_t Cout, float *d_bias)
{
    double *sums = kernels_scratch(k, sizeof(double) * (size_t)(BIAS_SPANS * Cout)); /* (BIAS_SPANS,Cout) */
    if (!sums) return STATUS_NO_MEMORY;
    memset(sums, 0, sizeof(double) * (size_t)(BIAS_SPANS * Cout));
#pragma omp parallel for schedule(static) if (rows * Cout >= PARALLEL_FROM)
    for (int64_t i = 0; i < BIAS_SPANS; i++)
        WITH_DTYPE(type, TYPE,
                   sum_columns(TYPE, d_y, Cout, rows * i / BIAS_SPANS, rows * (i + 1) / BIAS_SPANS, sums + i * Cout));
    for (int64_t i = 0; i < BIAS_SPANS; i++)
        for (int64_t c = 0; c < Cout; c++) sums[c] += i ? sums[i * Cout + c] : 0;
    for (int64_t c = 0; c < Cout; c++) d_bias[c] += (float)sums[c];
    return STATUS_OK;
}

#endif
