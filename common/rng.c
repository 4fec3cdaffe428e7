#include "common/rng.h"

#include <Random123/philox.h>
#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    LANES = 64,             /* Philox blocks per batch: enough for the loops below to be vectorised */
    BATCH = 4 * LANES,      /* numbers per batch */
    PARALLEL_FROM = 1 << 15 /* numbers; below this a team of threads costs more than it saves */
};

void rng_bits(const RngKey *key, uint32_t index, uint32_t out[4])
{
    philox4x32_ctr_t counter = {{index, key->step, key->image, key->stream}};
    philox4x32_key_t seed = {{(uint32_t)key->seed, (uint32_t)(key->seed >> 32)}};
    philox4x32_ctr_t bits = philox4x32_R(10, counter, seed);
    memcpy(out, bits.v, sizeof bits.v);
}

static float unit_float(uint32_t bits)
{
    return (float)(int32_t)(bits >> 8) * 0x1p-24f;
}

float rng_uniform(const RngKey *key, uint32_t index)
{
    uint32_t bits[4];
    rng_bits(key, index / 4, bits);
    return unit_float(bits[index % 4]);
}

/* Scales 64 bits instead of rejecting, so that one index is one draw; the bias is below n / 2^64. */
uint32_t rng_below(const RngKey *key, uint32_t index, uint32_t n)
{
    assert(n >= 1);
    uint32_t bits[4];
    rng_bits(key, index, bits);
    uint64_t high = (uint64_t)bits[0] * n, low = ((uint64_t)bits[1] * n) >> 32;
    return (uint32_t)((high + low) >> 32);
}

/* bits[w][b]: word w of Philox block first + b. */
static void batch_bits(const RngKey *key, uint32_t first, uint32_t bits[4][LANES])
{
    philox4x32_key_t seed = {{(uint32_t)key->seed, (uint32_t)(key->seed >> 32)}};
    for (uint32_t b = 0; b < LANES; b++) {
        philox4x32_ctr_t counter = {{first + b, key->step, key->image, key->stream}};
        philox4x32_ctr_t r = philox4x32_R(10, counter, seed);
        for (int w = 0; w < 4; w++) bits[w][b] = r.v[w];
    }
}

/* Natural logarithm of u in (0,1], normal numbers only: the mantissa in [sqrt(1/2), sqrt(2)) by log((1+s)/(1-s)). */
static inline float log_unit(float u)
{
    union {
        float f;
        int32_t i;
    } v = {.f = u};
    int32_t exponent = (v.i - 0x3f3504f3) >> 23;
    v.i -= exponent * (1 << 23);
    float s = (v.f - 1) / (v.f + 1), s2 = s * s;
    float p = s2 * (0.6666666666f + s2 * (0.4000000000f + s2 * (0.2857142857f + s2 * 0.2309f)));
    return (float)exponent * 0.69314718f + (2 * s + s * p);
}

/* sin and cos of 2 pi turn / 2^32: quarter turns come off in whole numbers, the rest by Taylor series up to pi/4. */
static inline void sin_cos_turn(uint32_t turn, float *sine, float *cosine)
{
    uint32_t quarter = (turn + (1u << 29)) >> 30;
    float a = (float)(int32_t)(turn - (quarter << 30)) * 1.46291807926715968e-9f; /* 2 pi / 2^32 */
    float a2 = a * a;
    float s = a + a * a2 * (-1.6666667e-1f + a2 * (8.3333333e-3f + a2 * (-1.9841270e-4f + a2 * 2.7557319e-6f)));
    float c = 1 + a2 * (-0.5f + a2 * (4.1666667e-2f + a2 * (-1.3888889e-3f + a2 * 2.4801587e-5f)));
    float swapped_s = quarter & 1 ? c : s, swapped_c = quarter & 1 ? s : c;
    *sine = quarter & 2 ? -swapped_s : swapped_s;
    *cosine = (quarter + 1) & 2 ? -swapped_c : swapped_c;
}

/* Box-Muller: words 0 and 2 give the radius (31 bits, so up to 6.6 standard deviations), words 1 and 3 the angle. */
static void batch_normal(const RngKey *key, uint32_t first, float out[BATCH])
{
    uint32_t bits[4][LANES];
    float value[4][LANES];
    batch_bits(key, first, bits);
    for (int w = 0; w < 4; w += 2) {
        for (int b = 0; b < LANES; b++) {
            float u = ((float)(int32_t)(bits[w][b] >> 1) + 0.5f) * 0x1p-31f;
            float radius = sqrtf(-2 * log_unit(u)), sine, cosine;
            sin_cos_turn(bits[w + 1][b], &sine, &cosine);
            value[w][b] = radius * cosine;
            value[w + 1][b] = radius * sine;
        }
    }
    for (int b = 0; b < LANES; b++)
        for (int w = 0; w < 4; w++) out[4 * b + w] = value[w][b];
}

static void batch_uniform(const RngKey *key, uint32_t first, float out[BATCH])
{
    uint32_t bits[4][LANES];
    batch_bits(key, first, bits);
    for (int b = 0; b < LANES; b++)
        for (int w = 0; w < 4; w++) out[4 * b + w] = unit_float(bits[w][b]);
}

static void fill(const RngKey *key, float *out, int64_t n, void (*batch)(const RngKey *, uint32_t, float *))
{
    assert(n >= 0 && n <= (int64_t)4 << 32); /* a key's sequence has 2^32 blocks of 4 */
    int64_t batches = n / BATCH;
#pragma omp parallel for schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < batches; i++) batch(key, (uint32_t)(i * LANES), out + i * BATCH);
    if (n % BATCH) {
        float last[BATCH];
        batch(key, (uint32_t)(batches * LANES), last);
        memcpy(out + batches * BATCH, last, (size_t)(n % BATCH) * sizeof *out);
    }
}

void rng_normal(const RngKey *key, float *out, int64_t n)
{
    fill(key, out, n, batch_normal);
}

void rng_uniforms(const RngKey *key, float *out, int64_t n)
{
    fill(key, out, n, batch_uniform);
}
