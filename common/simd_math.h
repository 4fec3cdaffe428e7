/* Private to simd_*.c: loads and stores of either dtype, and branch-free exp, sigmoid and normal distribution that
 * compilers vectorise. Functions are forced inline, so a constant DType leaves no test in the loop. */
#ifndef GLIDE_COMMON_SIMD_MATH_H
#define GLIDE_COMMON_SIMD_MATH_H

#include "common/kernels.h"

#include <math.h>

#define FORCE_INLINE static inline __attribute__((always_inline))

/* Element i of an f32 or bf16 array. */
FORCE_INLINE float load(DType type, const void *x, int64_t i)
{
    return type == DTYPE_F32 ? ((const float *)x)[i] : bf16_to_f32(((const uint16_t *)x)[i]);
}

FORCE_INLINE void store(DType type, void *y, int64_t i, float value)
{
    if (type == DTYPE_F32) ((float *)y)[i] = value;
    else ((uint16_t *)y)[i] = f32_to_bf16(value);
}

FORCE_INLINE float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

FORCE_INLINE float act_forward(Activation act, float x)
{
    if (act == ACT_SILU) return x * sigmoid(x);
    if (act == ACT_GELU) return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    return x;
}

/* d act(x) / dx */
FORCE_INLINE float act_derivative(Activation act, float x)
{
    if (act == ACT_SILU) {
        float s = sigmoid(x);
        return s * (1.0f + x * (1.0f - s));
    }
    if (act == ACT_GELU) return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
    return 1.0f;
}

#endif
