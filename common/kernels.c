#include "common/kernels.h"
#include "common/simd.h"

#include <stdlib.h>
#include <string.h>

#define INSTALL_ALL(k, isa)                \
    do {                                   \
        simd_conv_install_##isa(k);        \
        simd_linear_install_##isa(k);      \
        simd_attention_install_##isa(k);   \
        simd_norm_install_##isa(k);        \
        simd_pointwise_install_##isa(k);   \
        simd_quantize_install_##isa(k);    \
        simd_resample_install_##isa(k);    \
        simd_optimizer_install_##isa(k);   \
        (k)->name = #isa;                  \
    } while (0)

typedef enum { ISA_GENERIC, ISA_V3, ISA_V4 } Isa;

static Isa isa_of_cpu(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    return v4 ? ISA_V4 : v3 ? ISA_V3 : ISA_GENERIC;
#else
    return ISA_GENERIC;
#endif
}

static void install_simd(Kernels *k, Isa isa)
{
#ifdef __x86_64__
    if (isa == ISA_V4) INSTALL_ALL(k, v4);
    else if (isa == ISA_V3) INSTALL_ALL(k, v3);
    else
#endif
        INSTALL_ALL(k, generic);
}

static void install_winograd(Kernels *k, Isa isa)
{
#ifdef __x86_64__
    if (isa == ISA_V4) simd_winograd_install_v4(k);
    else if (isa == ISA_V3) simd_winograd_install_v3(k);
    else
#endif
        simd_winograd_install_generic(k);
}

Status kernels_new(KernelsChoice choice, Kernels **out)
{
    Kernels *k = calloc(1, sizeof *k);
    if (!k) return status_fail(STATUS_NO_MEMORY, "out of memory for the kernel table");
    Isa isa = choice == KERNELS_GENERIC ? ISA_GENERIC : isa_of_cpu();
    install_simd(k, isa);
    if (choice == KERNELS_BEST) {
        attention_avx512bf16_install(k);
        Status s = onednn_install(k);
        if (s != STATUS_OK) {
            kernels_free(k);
            return s;
        }
        install_winograd(k, isa);
    }
    *out = k;
    return STATUS_OK;
}

void kernels_free(Kernels *k)
{
    if (!k) return;
    onednn_remove(k);
    free(k->scratch);
    free(k);
}

void *kernels_scratch(Kernels *k, size_t bytes)
{
    if (bytes > k->scratch_bytes) {
        free(k->scratch);
        k->scratch_bytes = 0;
        k->scratch = aligned_alloc(64, (bytes + 63) / 64 * 64);
        if (k->scratch) k->scratch_bytes = bytes;
        else status_fail(STATUS_NO_MEMORY, "out of memory: %zu bytes of scratch", bytes);
    }
    return k->scratch;
}
