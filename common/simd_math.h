/* Private to simd_*.c: loads and stores of either dtype, and branch-free exp, sigmoid and normal distribution that
 * compilers vectorise. Everything is forced inline, so a constant DType or Activation leaves no test in the loop;
 * kernels write their loops once and call them with constants (see WITH_DTYPE). */
#ifndef GLIDE_COMMON_SIMD_MATH_H
#define GLIDE_COMMON_SIMD_MATH_H

#include "common/kernels.h"

#include <math.h>

#define FORCE_INLINE static inline __attribute__((always_inline))

/* Below this many elements a team of threads costs more than it saves. */
#define PARALLEL_FROM (1 << 14)

/* Makes `call` with TYPE, a constant, equal to `type`. */
#define WITH_DTYPE(type, TYPE, call)                                                                                   \
    do {                                                                                                               \
        if ((type) == DTYPE_F32) {                                                                                     \
            const DType TYPE = DTYPE_F32;                                                                              \
            call;                                                                                                      \
        } else {                                                                                                       \
            const DType TYPE = DTYPE_BF16;                                                                             \
            call;                                                                                                      \
        }                                                                                                              \
    } while (0)

/* The same for an activation. */
#define WITH_ACTIVATION(act, ACT, call)                                                                                \
    do {                                                                                                               \
        if ((act) == ACT_SILU) {                                                                                       \
            const Activation ACT = ACT_SILU;                                                                           \
            call;                                                                                                      \
        } else if ((act) == ACT_GELU) {                                                                                \
            const Activation ACT = ACT_GELU;                                                                           \
            call;                                                                                                      \
        } else {                                                                                                       \
            const Activation ACT = ACT_NONE;                                                                           \
            call;                                                                                                      \
        }                                                                                                              \
    } while (0)

/* Element i of an f32 or bf16 array. */
FORCE_INLINE float load(DType type, const void *x, int64_t i)
{
    return type == DTYPE_F32 ? ((const float *)x)[i] : bf16_to_f32(((const uint16_t *)x)[i]);
}

FORCE_INLINE void store(DType type, void *y, int64_t i, float value)
{
    if (type == DTYPE_F32)
        ((float *)y)[i] = value;
    else
        ((uint16_t *)y)[i] = f32_to_bf16(value);
}

/* For results of arithmetic on bf16 values: a NaN among them has zeros in its lower half, so rounding cannot carry
 * through it, and the test for NaN, an eighth of a loop like SiLU's, is left out. */
FORCE_INLINE void store_result(DType type, void *y, int64_t i, float value)
{
    union {
        float f;
        uint32_t u;
    } v = {.f = value};
    if (type == DTYPE_F32)
        ((float *)y)[i] = value;
    else
        ((uint16_t *)y)[i] = (uint16_t)((v.u + 0x7fff + ((v.u >> 16) & 1)) >> 16);
}

/* e^x for x in [-87,87] within 1e-7 relative, or 1.4e-5 for results that will be bf16; beyond, the value at the limit,
 * and NaN gives some number. x = n ln 2 + r: the magic number leaves n in the low bits, a polynomial gives e^r. The
 * clamps compare bits as integers because compilers turn floating ones into branches: the first one sees negative
 * floats as large unsigned numbers, the second one sees them as negative ones. */
FORCE_INLINE float exp_clamped(DType result, float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23 */
    const uint32_t lowest = 0xc2ae0000u;
    const int32_t highest = 0x42ae0000;
    union {
        float f;
        uint32_t u;
        int32_t i;
    } v = {.f = x}, shifted, power;
    v.u = v.u < lowest ? v.u : lowest;
    v.i = v.i < highest ? v.i : highest;
    shifted.f = v.f * 1.44269504f + magic;
    power.u = (shifted.u << 23) + 0x3f800000u;
    float n = shifted.f - magic, p;
    if (result == DTYPE_BF16) {
        float r = v.f - n * 0.693147181f;
        p = 0.0417920112f;
        p = p * r + 0.167419137f;
        p = p * r + 0.5f;
        p = p * r + 1.0f;
        return (p * r + 1.0f) * power.f;
    }
    float r = (v.f - n * 0.693359375f) + n * 2.12194440e-4f;
    p = 0.00139261836f;
    p = p * r + 0.00836317905f;
    p = p * r + 0.0416665546f;
    p = p * r + 0.16666577f;
    p = p * r + 0.5f;
    return (1.0f + (r + r * r * p)) * power.f;
}

FORCE_INLINE float sigmoid(DType result, float x)
{
    return 1.0f / (1.0f + exp_clamped(result, -x));
}

/* Standard normal distribution function; *density is e^(-x^2/2) / sqrt(2 pi). The tail is e^(-x^2/2) times a polynomial
 * in t = 1 / (1 + 0.3 |x|), fitted on [0,14] with a relative error of 4e-9; so both tails keep their digits. */
FORCE_INLINE float normal_cdf(DType result, float x, float *density)
{
    float t = 1.0f / (1.0f + 0.3f * fabsf(x)), e = exp_clamped(result, -0.5f * x * x);
    float p = -0.0209143598f;
    p = p * t + 0.114040273f;
    p = p * t - 0.232038484f;
    p = p * t + 0.196940679f;
    p = p * t - 0.083742551f;
    p = p * t + 0.0984807414f;
    p = p * t + 0.0775890639f;
    p = p * t + 0.11040518f;
    p = p * t + 0.119551763f;
    p = p * t + 0.119687693f;
    float tail = e * p * t;
    *density = e * 0.398942280f;
    return x < 0 ? tail : 1.0f - tail;
}

FORCE_INLINE float act_forward(DType result, Activation act, float x)
{
    float density;
    if (act == ACT_SILU) return x / (1.0f + exp_clamped(result, -x));
    if (act == ACT_GELU) return x * normal_cdf(result, x, &density);
    return x;
}

/* d act(x) / dx */
FORCE_INLINE float act_derivative(DType result, Activation act, float x)
{
    if (act == ACT_SILU) {
        float s = sigmoid(result, x);
        return s + x * (s * (1.0f - s));
    }
    if (act == ACT_GELU) {
        float density, cdf = normal_cdf(result, x, &density);
        return cdf + x * density;
    }
    return 1.0f;
}

#endif
