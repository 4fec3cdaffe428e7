#include "common/simd.h"
#include "common/simd_math.h"

#include <string.h>

static void upsample2x(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *x, void *y)
{
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < N * 2 * H; row++)
        for (int64_t ox = 0; ox < 2 * W; ox++) {
            size_t size = (size_t)C * dtype_size(type);
            memcpy((char *)y + (size_t)(row * 2 * W + ox) * size,
                   (const char *)x + (size_t)(row / 2 * W + ox / 2) * size, size);
        }
}

/* y (rows H, W) = factor * sum of the 2x2 blocks of x (rows 2H, 2W) */
static void sum_blocks(DType type, int64_t N, int64_t H, int64_t W, int64_t C, float factor, const void *x, void *y)
{
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < N * H; row++)
        for (int64_t ox = 0; ox < W; ox++)
            for (int64_t c = 0; c < C; c++) {
                int64_t at = (row * 4 * W + 2 * ox) * C + c, down = 2 * W * C;
                store(type, y, (row * W + ox) * C + c,
                      factor * (load(type, x, at) + load(type, x, at + C) + load(type, x, at + down) +
                                load(type, x, at + down + C)));
            }
}

static void upsample2x_backward(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *d_y, void *d_x)
{
    sum_blocks(type, N, H, W, C, 1, d_y, d_x);
}

static void avg_pool2x(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *x, void *y)
{
    sum_blocks(type, N, H, W, C, 0.25f, x, y);
}

static void avg_pool2x_backward(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *d_y, void *d_x)
{
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < N * 2 * H; row++)
        for (int64_t ox = 0; ox < 2 * W; ox++)
            for (int64_t c = 0; c < C; c++)
                store(type, d_x, (row * 2 * W + ox) * C + c, 0.25f * load(type, d_y, (row / 2 * W + ox / 2) * C + c));
}

typedef struct Tap {
    int64_t low, high; /* neighbours */
    float t;           /* weight of high */
} Tap;

/* Where output position o of `out` reads among `in` inputs (half-pixel centres, clamped at the border). */
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

static void resize_bilinear(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *x, int64_t H2,
                            int64_t W2, void *y)
{
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < N * H2; row++) {
        Tap v = bilinear_tap(H, H2, row % H2);
        int64_t top = (row / H2 * H + v.low) * W * C, bottom = (row / H2 * H + v.high) * W * C;
        for (int64_t ox = 0; ox < W2; ox++) {
            Tap h = bilinear_tap(W, W2, ox);
            for (int64_t c = 0; c < C; c++) {
                float a = load(type, x, top + h.low * C + c) * (1 - h.t) + load(type, x, top + h.high * C + c) * h.t;
                float b =
                    load(type, x, bottom + h.low * C + c) * (1 - h.t) + load(type, x, bottom + h.high * C + c) * h.t;
                store(type, y, (row * W2 + ox) * C + c, a * (1 - v.t) + b * v.t);
            }
        }
    }
}

static void resize_bilinear_backward(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *d_y,
                                     int64_t H2, int64_t W2, void *d_x)
{
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < N * H; row++)
        for (int64_t ix = 0; ix < W; ix++)
            for (int64_t c = 0; c < C; c++) {
                float sum = 0;
                for (int64_t oy = 0; oy < H2; oy++) {
                    Tap v = bilinear_tap(H, H2, oy);
                    float wv = (v.low == row % H ? 1 - v.t : 0) + (v.high == row % H ? v.t : 0);
                    for (int64_t ox = 0; wv != 0 && ox < W2; ox++) {
                        Tap h = bilinear_tap(W, W2, ox);
                        float wh = (h.low == ix ? 1 - h.t : 0) + (h.high == ix ? h.t : 0);
                        if (wh != 0) sum += wv * wh * load(type, d_y, ((row / H * H2 + oy) * W2 + ox) * C + c);
                    }
                }
                store(type, d_x, (row * W + ix) * C + c, sum);
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
