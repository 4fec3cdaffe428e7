#include "common/simd.h"
#include "common/simd_math.h"

#include <string.h>

static void upsample2x(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *x, void *y)
{
    size_t size = (size_t)C * dtype_size(type);
#pragma omp parallel for schedule(static) if (N * 4 * H * W * C >= PARALLEL_FROM)
    for (int64_t row = 0; row < N * 2 * H; row++)
        for (int64_t ox = 0; ox < 2 * W; ox++)
            memcpy((char *)y + (size_t)(row * 2 * W + ox) * size,
                   (const char *)x + (size_t)(row / 2 * W + ox / 2) * size, size);
}

/* Row `row` of y (rows,W,C) = factor * the sums of the 2x2 blocks of x (2*rows,2*W,C). */
FORCE_INLINE void sum_blocks(DType type, int64_t row, int64_t W, int64_t C, float factor, const void *x, void *y)
{
    for (int64_t ox = 0; ox < W; ox++) {
        int64_t at = (row * 4 * W + 2 * ox) * C, below = at + 2 * W * C, to = (row * W + ox) * C;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) {
            float upper = load(type, x, at + c) + load(type, x, at + C + c);
            float lower = load(type, x, below + c) + load(type, x, below + C + c);
            store_result(type, y, to + c, factor * (upper + lower));
        }
    }
}

static void upsample2x_backward(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *d_y, void *d_x)
{
#pragma omp parallel for schedule(static) if (N * 4 * H * W * C >= PARALLEL_FROM)
    for (int64_t row = 0; row < N * H; row++) WITH_DTYPE(type, TYPE, sum_blocks(TYPE, row, W, C, 1, d_y, d_x));
}

static void avg_pool2x(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *x, void *y)
{
#pragma omp parallel for schedule(static) if (N * 4 * H * W * C >= PARALLEL_FROM)
    for (int64_t row = 0; row < N * H; row++) WITH_DTYPE(type, TYPE, sum_blocks(TYPE, row, W, C, 0.25f, x, y));
}

FORCE_INLINE void spread_row(DType type, int64_t row, int64_t W, int64_t C, const void *d_y, void *d_x)
{
    for (int64_t ox = 0; ox < 2 * W; ox++) {
        int64_t from = (row / 2 * W + ox / 2) * C, to = (row * 2 * W + ox) * C;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) store_result(type, d_x, to + c, 0.25f * load(type, d_y, from + c));
    }
}

static void avg_pool2x_backward(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *d_y, void *d_x)
{
#pragma omp parallel for schedule(static) if (N * 4 * H * W * C >= PARALLEL_FROM)
    for (int64_t row = 0; row < N * 2 * H; row++) WITH_DTYPE(type, TYPE, spread_row(TYPE, row, W, C, d_y, d_x));
}

/* --- bilinear, as torch.nn.functional.interpolate with align_corners=False --- */

typedef struct Tap {
    int64_t low, high; /* neighbours */
    float t;           /* weight of high */
} Tap;

/* Where output position o of `out` reads among `in` inputs: half-pixel centres, the border repeated. */
static Tap bilinear_tap(int64_t in, int64_t out, int64_t o)
{
    float scale = (float)in / (float)out, at = ((float)o + 0.5f) * scale - 0.5f;
    if (at < 0) at = 0;
    Tap tap = {.low = (int64_t)at};
    if (tap.low > in - 1) tap.low = in - 1;
    tap.high = tap.low + (tap.low < in - 1);
    tap.t = at - (float)tap.low;
    return tap;
}

/* Weight of input i in an output with this tap. */
static float tap_weight(Tap tap, int64_t i)
{
    return (tap.low == i ? 1 - tap.t : 0) + (tap.high == i ? tap.t : 0);
}

/* Outputs *from...*to are all that input i can have a weight in. */
static void tap_range(int64_t in, int64_t out, int64_t i, int64_t *from, int64_t *to)
{
    double scale = (double)out / (double)in;
    int64_t first = (int64_t)(((double)i - 0.5) * scale) - 2, last = (int64_t)(((double)i + 1.5) * scale) + 3;
    *from = i == 0 || first < 0 ? 0 : first;
    *to = i == in - 1 || last > out ? out : last;
}

/* Row `row` of y (N*H2,W2,C). */
FORCE_INLINE void resize_row(DType type, int64_t row, int64_t H, int64_t W, int64_t C, const void *x, int64_t H2,
                             int64_t W2, void *y)
{
    Tap v = bilinear_tap(H, H2, row % H2);
    int64_t top = (row / H2 * H + v.low) * W * C, bottom = (row / H2 * H + v.high) * W * C;
    for (int64_t ox = 0; ox < W2; ox++) {
        Tap h = bilinear_tap(W, W2, ox);
        int64_t low = h.low * C, high = h.high * C, to = (row * W2 + ox) * C;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) {
            float a = load(type, x, top + low + c) * (1 - h.t) + load(type, x, top + high + c) * h.t;
            float b = load(type, x, bottom + low + c) * (1 - h.t) + load(type, x, bottom + high + c) * h.t;
            store_result(type, y, to + c, a * (1 - v.t) + b * v.t);
        }
    }
}

static void resize_bilinear(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *x, int64_t H2,
                            int64_t W2, void *y)
{
#pragma omp parallel for schedule(static) if (N * H2 * W2 * C >= PARALLEL_FROM)
    for (int64_t row = 0; row < N * H2; row++) WITH_DTYPE(type, TYPE, resize_row(TYPE, row, H, W, C, x, H2, W2, y));
}

enum { BLOCK = 64 }; /* channels summed at a time */

/* Pixel ix of row `row` of d_x (N*H,W,C), channels c0...c0+width: gathers from the outputs that read it. */
FORCE_INLINE void gather_gradient(DType type, int64_t row, int64_t ix, int64_t c0, int64_t width, int64_t H, int64_t W,
                                  int64_t C, const void *d_y, int64_t H2, int64_t W2, void *d_x)
{
    float sum[BLOCK] = {0};
    int64_t y0, y1, x0, x1;
    tap_range(H, H2, row % H, &y0, &y1);
    tap_range(W, W2, ix, &x0, &x1);
    for (int64_t oy = y0; oy < y1; oy++) {
        float vertical = tap_weight(bilinear_tap(H, H2, oy), row % H);
        for (int64_t ox = x0; vertical != 0 && ox < x1; ox++) {
            float weight = vertical * tap_weight(bilinear_tap(W, W2, ox), ix);
            int64_t at = ((row / H * H2 + oy) * W2 + ox) * C + c0;
            if (weight == 0) continue;
#pragma omp simd
            for (int64_t c = 0; c < width; c++) sum[c] += weight * load(type, d_y, at + c);
        }
    }
#pragma omp simd
    for (int64_t c = 0; c < width; c++) store_result(type, d_x, (row * W + ix) * C + c0 + c, sum[c]);
}

static void resize_bilinear_backward(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *d_y,
                                     int64_t H2, int64_t W2, void *d_x)
{
#pragma omp parallel for schedule(static) if (N * H2 * W2 * C >= PARALLEL_FROM)
    for (int64_t row = 0; row < N * H; row++)
        for (int64_t ix = 0; ix < W; ix++)
            for (int64_t c = 0; c < C; c += BLOCK) {
                int64_t width = C - c < BLOCK ? C - c : BLOCK;
                WITH_DTYPE(type, TYPE, gather_gradient(TYPE, row, ix, c, width, H, W, C, d_y, H2, W2, d_x));
            }
}

void SIMD_NAME(simd_resample_install)(Kernels *k)
{
    k->upsample2x = upsample2x;
    k->upsample2x_backward = upsample2x_backward;
    k->avg_pool2x = avg_pool2x;
    k->avg_pool2x_backward = avg_pool2x_backward;
    k->resize_bilinear = resize_bilinear;
    k->resize_bilinear_backward = resize_bilinear_backward;
}
