/* Private to kernels.c and simd_*.c: how one source file serves several instruction sets.
 *
 * The Makefile compiles each simd_*.c with -DSIMD_ISA=generic, v3 (AVX2+FMA) and v4 (AVX-512). SIMD_NAME(f) gives each copy of
 * an install function its own name; everything else in those files is static. The code is plain C that compilers vectorise. */
#ifndef GLIDE_COMMON_SIMD_H
#define GLIDE_COMMON_SIMD_H

#include "common/kernels.h"

#ifndef SIMD_ISA
#define SIMD_ISA generic
#endif
#define SIMD_PASTE_(name, isa) name##_##isa
#define SIMD_PASTE(name, isa) SIMD_PASTE_(name, isa)
#define SIMD_NAME(name) SIMD_PASTE(name, SIMD_ISA)

#define SIMD_DECLARE(isa)                      \
    void simd_conv_install_##isa(Kernels *k);  \
    void simd_linear_install_##isa(Kernels *k); \
    void simd_attention_install_##isa(Kernels *k); \
    void simd_norm_install_##isa(Kernels *k);  \
    void simd_pointwise_install_##isa(Kernels *k); \
    void simd_quantize_install_##isa(Kernels *k); \
    void simd_resample_install_##isa(Kernels *k); \
    void simd_optimizer_install_##isa(Kernels *k); \
    void simd_winograd_install_##isa(Kernels *k); /* over the others' convolution */

SIMD_DECLARE(generic)
#ifdef __x86_64__
SIMD_DECLARE(v3)
SIMD_DECLARE(v4)
#endif

#endif
