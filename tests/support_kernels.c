#include "tests/support_kernels.h"
#include "common/rng.h"
#include "common/simd.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { GUARD = 128 };

const KernelSet kernel_sets[KERNEL_SETS] = {{KERNELS_GENERIC, "generic", false},
                                            {KERNELS_GENERIC, "AVX2", true},
                                            {KERNELS_NO_ONEDNN, "best plain C", false},
                                            {KERNELS_BEST, "best", false}};

static Values values_new(DType type, int64_t n)
{
    size_t bytes = (size_t)n * dtype_size(type);
    Values v = {.type = type, .n = n, .exact = calloc((size_t)n + 1, sizeof(double))};
    v.block = aligned_alloc(64, (bytes + 2 * GUARD + 63) / 64 * 64);
    assert_non_null(v.exact);
    assert_non_null(v.block);
    memset(v.block, 0xa5, bytes + 2 * GUARD);
    v.data = (char *)v.block + GUARD;
    return v;
}

static double element(const Values *v, int64_t i)
{
    return v->type == DTYPE_F32 ? (double)((float *)v->data)[i] : (double)bf16_to_f32(((uint16_t *)v->data)[i]);
}

Values values_random(DType type, int64_t n, double mean, double std)
{
    static uint32_t drawn; /* every array gets numbers of its own */
    Values v = values_new(type, n);
    float *normal = malloc(sizeof(float) * (size_t)(n + 1));
    assert_non_null(normal);
    rng_normal(&(RngKey){.seed = 20112741, .stream = RNG_TEST, .image = drawn++}, normal, n);
    for (int64_t i = 0; i < n; i++) {
        float value = (float)(mean + std * (double)normal[i]);
        if (type == DTYPE_F32)
            ((float *)v.data)[i] = value;
        else
            ((uint16_t *)v.data)[i] = f32_to_bf16(value);
        v.exact[i] = element(&v, i);
    }
    free(normal);
    return v;
}

Values values_output(DType type, int64_t n)
{
    Values v = values_new(type, n);
    memset(v.data, 0xff, (size_t)n * dtype_size(type));
    return v;
}

static void assert_guards(const Values *v)
{
    const unsigned char *before = v->block, *after = (unsigned char *)v->data + (size_t)v->n * dtype_size(v->type);
    for (int i = 0; i < GUARD; i++)
        if (before[i] != 0xa5 || after[i] != 0xa5) fail_msg("a kernel wrote outside an array of %lld", (long long)v->n);
}

void values_free(Values *v)
{
    assert_guards(v);
    free(v->block);
    free(v->exact);
    *v = (Values){0};
}

Param param_from_values(const Values *v, int ndim, const int64_t *dims)
{
    Param param = {.name = "tested", .ndim = ndim, .size = (size_t)v->n, .value = v->data, .version = 1};
    memcpy(param.dims, dims, sizeof *dims * (size_t)ndim);
    return param;
}

void param_release_packed(Param *param)
{
    for (int i = 0; i < PARAM_MAX_PACKED; i++)
        if (param->packed[i].key && param->packed[i].destroy) param->packed[i].destroy(param->packed[i].data);
    memset(param->packed, 0, sizeof param->packed);
}

void assert_values_close(const char *what, Values *got, const double *want, double tolerance)
{
    double squares = 0, worst = 0;
    int64_t at = 0;
    assert_guards(got);
    for (int64_t i = 0; i < got->n; i++) squares += want[i] * want[i];
    double rms = sqrt(squares / (double)got->n);
    for (int64_t i = 0; i < got->n; i++) {
        got->exact[i] = element(got, i);
        double error = fabs(got->exact[i] - want[i]) / (fabs(want[i]) + rms + 1e-30);
        if (!(error <= worst)) worst = error, at = i;
        if (isnan(error)) break;
    }
    if (getenv("GLIDE_TEST_VERBOSE")) printf("%-60s %.2e of %.1e\n", what, worst, tolerance);
    if (!(worst <= tolerance))
        fail_msg("%s: element %lld of %lld is %.9g, expected %.9g (rms %.3g): error %.2e, at most %.2e", what,
                 (long long)at, (long long)got->n, got->exact[at], want[at], rms, worst, tolerance);
}

void assert_values_same(const char *what, const Values *a, const Values *b)
{
    assert_int_equal(a->n, b->n);
    for (int64_t i = 0; i < a->n; i++)
        if (memcmp((char *)a->data + (size_t)i * dtype_size(a->type), (char *)b->data + (size_t)i * dtype_size(a->type),
                   dtype_size(a->type)) != 0)
            fail_msg("%s: element %lld of %lld is %.9g and %.9g", what, (long long)i, (long long)a->n, element(a, i),
                     element(b, i));
}

Kernels *kernel_set_open(const KernelSet *set)
{
    Kernels *k = NULL;
    Status status = kernels_new(set->choice, &k);
    if (status != STATUS_OK) fail_msg("kernels_new: %s", status_message());
#ifdef __x86_64__
    if (set->avx2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2")) {
        simd_conv_install_v3(k), simd_linear_install_v3(k), simd_attention_install_v3(k), simd_norm_install_v3(k);
        simd_pointwise_install_v3(k), simd_resample_install_v3(k), simd_optimizer_install_v3(k);
    }
#endif
    return k;
}

double tolerance_of(DType type, double f32)
{
    return type == DTYPE_F32 ? f32 : 0x1p-8; /* half a unit in the last place */
}

double tolerance_of_product(const KernelSet *set, DType type, double f32)
{
    if (type == DTYPE_BF16 && set->choice == KERNELS_BEST) return 2e-2;
    return tolerance_of(type, f32);
}

void use_threads(int count)
{
    const char *limit = getenv("OMP_NUM_THREADS"); /* the thread sanitizer's runs are on one: it does not know OpenMP */
    if (limit && strcmp(limit, "1") == 0) return;
    omp_set_dynamic(0);
    omp_set_num_threads(count);
}
