/* IEEE half precision <-> f32, for values on disk (h5file, checkpoints of PyTorch). All of it in integer operations and one
 * exact f32 operation, so that every machine gives the same bits. bfloat16 is in tensor.h. */
#ifndef GLIDE_COMMON_FLOAT16_H
#define GLIDE_COMMON_FLOAT16_H

#include <stdint.h>

static inline float f16_to_f32(uint16_t h)
{
    union { uint32_t u; float f; } v = {.u = (uint32_t)(h & 0x7fff) << 13};
    v.f *= 0x1p112f; /* moves the exponent's bias from 15 to 127; exact, for denormals too */
    if ((h & 0x7c00) == 0x7c00) v.u |= 0x7f800000; /* infinity, NaN */
    v.u |= (uint32_t)(h & 0x8000) << 16;
    return v.f;
}

/* Round to nearest even; beyond 65519 infinity; NaN stays NaN. */
static inline uint16_t f32_to_f16(float f)
{
    union { float f; uint32_t u; } v = {.f = f}, small;
    uint32_t sign = v.u >> 16 & 0x8000, magnitude = v.u & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x1ff));
    if (magnitude >= 0x47800000) return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: the last place of 0.5 is 2^-24, a half's smallest step */
        small.u = magnitude;
        small.f += 0.5f;
        return (uint16_t)(sign | (small.u - 0x3f000000));
    }
    magnitude += 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (magnitude - 0x38000000) >> 13);
}

#endif
