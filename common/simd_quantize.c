/* Activations in 8 bits: y = round(x / scale) + zero, between 0 and 255. */
#include "common/simd.h"
#include "common/simd_math.h"

enum { BLOCK = 4096, LANES = 16 }; /* elements per turn of a thread, and at once */

/* Lanes of their own instead of a reduction, which clang 14 would not vectorise. */
FORCE_INLINE void range_block(DType type, int64_t from, int64_t to, const void *x, float *lo, float *hi)
{
    float least[LANES] = {0}, most[LANES] = {0};
    int64_t whole = from + (to - from) / LANES * LANES;
    for (int64_t i = from; i < whole; i += LANES) {
#pragma omp simd
        for (int j = 0; j < LANES; j++) {
            float v = load(type, x, i + j);
            least[j] = v < least[j] ? v : least[j];
            most[j] = v > most[j] ? v : most[j];
        }
    }
    for (int64_t i = whole; i < to; i++) {
        least[0] = fminf(least[0], load(type, x, i));
        most[0] = fmaxf(most[0], load(type, x, i));
    }
    for (int j = 0; j < LANES; j++) {
        *lo = fminf(*lo, least[j]);
        *hi = fmaxf(*hi, most[j]);
    }
}

static void range(DType type, int64_t n, const void *x, float out[2])
{
    float lo = 0, hi = 0;
#pragma omp parallel for schedule(static) reduction(min : lo) reduction(max : hi) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i += BLOCK)
        WITH_DTYPE(type, TYPE, range_block(TYPE, i, i + BLOCK < n ? i + BLOCK : n, x, &lo, &hi));
    out[0] = lo;
    out[1] = hi;
}

FORCE_INLINE void quantize_block(DType type, int64_t from, int64_t to, const void *x, float factor, float shift, uint8_t *y)
{
#pragma omp simd
    for (int64_t i = from; i < to; i++) {
        float v = load(type, x, i) * factor + shift;
        v = v < 0 ? 0 : v;
        v = v > 255 ? 255 : v;
        y[i] = (uint8_t)(int32_t)v;
    }
}

static void quantize(DType type, int64_t n, const void *x, float scale, int zero, uint8_t *y)
{
    float factor = 1 / scale, shift = (float)zero + 0.5f; /* cut off instead of rounded */
#pragma omp parallel for schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i += BLOCK)
        WITH_DTYPE(type, TYPE, quantize_block(TYPE, i, i + BLOCK < n ? i + BLOCK : n, x, factor, shift, y));
}

void SIMD_NAME(simd_quantize_install)(Kernels *k)
{
    k->range = range;
    k->quantize = quantize;
}
