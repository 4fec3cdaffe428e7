/* Winograd's convolutions against the reference in double precision, for every instruction set this machine has. */
#include "common/simd.h"
#include "tests/support_kernels.h"
#include "tests/support_reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct Case {
    int64_t N, H, W, Cin, Cout;
    bool bias, residual;
} Case;

/* Sides that are no multiples of a tile, channels that are none of a panel, more tiles than are done at a time. */
static const Case cases[] = {
    {1, 16, 16, 64, 64, true, false}, {2, 17, 19, 80, 112, true, true},  {1, 18, 33, 112, 64, false, true},
    {3, 16, 23, 64, 96, false, false}, {1, 67, 70, 64, 64, true, true}, {1, 20, 16, 1344, 64, true, false},
};
enum { CASES = sizeof cases / sizeof *cases };

/* Of the largest error: twice that of direct convolutions over as few channels; it grows with the root of their number. */
static double tolerance(const Case *c)
{
    return 1e-5 * sqrt((double)c->Cin / 64);
}

typedef struct Layer {
    ConvShape s;
    Values x, w, b, r, y;
    Param weight, bias;
    bool has_bias, has_residual;
} Layer;

static Layer layer_new(const Case *c)
{
    Layer l = {.s = {.N = c->N, .H = c->H, .W = c->W, .Cin = c->Cin, .Cout = c->Cout, .kernel = 3, .stride = 1}};
    l.has_bias = c->bias;
    l.has_residual = c->residual;
    l.x = values_random(DTYPE_F32, c->N * c->H * c->W * c->Cin, 0.1, 1);
    l.w = values_random(DTYPE_F32, c->Cout * c->Cin * 9, 0, 0.2);
    l.b = values_random(DTYPE_F32, c->Cout, 0, 1);
    l.r = values_random(DTYPE_F32, c->N * c->H * c->W * c->Cout, 0, 1);
    l.y = values_output(DTYPE_F32, c->N * c->H * c->W * c->Cout);
    l.weight = param_from_values(&l.w, 4, (int64_t[]){c->Cout, c->Cin, 3, 3});
    l.bias = param_from_values(&l.b, 1, (int64_t[]){c->Cout});
    return l;
}

static void layer_free(Layer *l)
{
    param_release_packed(&l->weight);
    for (Values *v = &l->x; v <= &l->y; v++) values_free(v);
}

static void run(Kernels *k, Layer *l, const void *residual, void *y)
{
    assert_int_equal(STATUS_OK, k->conv2d(k, &l->s, l->x.data, &l->weight, l->has_bias ? &l->bias : NULL, residual, y));
}

static const void *residual_of(const Layer *l)
{
    return l->has_residual ? l->r.data : NULL;
}

static Status must_not_be_called(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias,
                                 const void *residual, void *y)
{
    (void)k, (void)s, (void)x, (void)weight, (void)bias, (void)residual, (void)y;
    fail_msg("a shape for Winograd went to the direct convolution");
    return STATUS_INTERNAL;
}

/* Plain C with Winograd over it, in the instruction set at `index`; NULL when the processor has it not. */
static Kernels *open_kernels(int index)
{
    Kernels *k = kernel_set_open(&kernel_sets[0]);
    if (index == 0) simd_winograd_install_generic(k);
#ifdef __x86_64__
    else if (index == 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) simd_winograd_install_v3(k);
    else if (index == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) simd_winograd_install_v4(k);
#endif
    else {
        kernels_free(k);
        return NULL;
    }
    k->conv2d_direct = must_not_be_called;
    return k;
}

static void check_case(Kernels *k, const Case *c)
{
    Layer l = layer_new(c);
    double *want = calloc((size_t)l.y.n, sizeof *want);
    assert_non_null(want);
    reference_conv2d(&l.s, l.x.exact, l.w.exact, c->bias ? l.b.exact : NULL, c->residual ? l.r.exact : NULL, want);
    run(k, &l, residual_of(&l), l.y.data);
    assert_values_close("winograd", &l.y, want, tolerance(c));
    if (c->residual) {
        run(k, &l, l.r.data, l.r.data);
        assert_values_same("residual in place", &l.y, &l.r);
    }
    free(want);
    layer_free(&l);
}

static void test_numbers(void **state)
{
    (void)state;
    for (int isa = 0; isa < 3; isa++) {
        Kernels *k = open_kernels(isa);
        for (int i = 0; k && i < CASES; i++) check_case(k, &cases[i]);
        kernels_free(k);
    }
}

/* Bits do not depend on threads, nor on what else is in the batch. */
static void test_bits(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        Kernels *k = kernel_set_open(&kernel_sets[KERNEL_SETS - 1]);
        Layer l = layer_new(&cases[i]);
        Values again = values_output(DTYPE_F32, l.y.n);
        int64_t x_image = l.s.H * l.s.W * l.s.Cin, y_image = l.s.H * l.s.W * l.s.Cout, N = l.s.N;
        use_threads(1);
        run(k, &l, residual_of(&l), l.y.data);
        use_threads(3);
        run(k, &l, residual_of(&l), again.data);
        assert_values_same("threads", &l.y, &again);
        for (l.s.N = 1; N-- > 0;) {
            const float *x = (const float *)l.x.data + N * x_image, *r = (const float *)l.r.data + N * y_image;
            float *y = (float *)again.data + N * y_image;
            memset(y, 0xff, sizeof *y * (size_t)y_image);
            const Param *bias = l.has_bias ? &l.bias : NULL;
            assert_int_equal(STATUS_OK, k->conv2d(k, &l.s, x, &l.weight, bias, l.has_residual ? r : NULL, y));
        }
        assert_values_same("batch", &l.y, &again);
        values_free(&again);
        layer_free(&l);
        kernels_free(k);
    }
}

/* Changed weights are packed again; trained ones, small pictures and few channels go to the direct convolution, bit for bit. */
static void test_choice(void **state)
{
    (void)state;
    Kernels *k = kernel_set_open(&kernel_sets[KERNEL_SETS - 1]);
    Layer l = layer_new(&cases[1]);
    Values again = values_output(DTYPE_F32, l.y.n);
    run(k, &l, NULL, l.y.data);
    ((float *)l.w.data)[5] += 1;
    run(k, &l, NULL, again.data);
    assert_values_same("weights without a new version", &l.y, &again);
    l.weight.version++;
    run(k, &l, NULL, again.data);
    assert_memory_not_equal(l.y.data, again.data, (size_t)l.y.n * sizeof(float));
    float grad;
    l.weight.grad = &grad;
    run(k, &l, NULL, l.y.data);
    assert_int_equal(STATUS_OK, k->conv2d_direct(k, &l.s, l.x.data, &l.weight, &l.bias, NULL, again.data));
    assert_values_same("trained weights", &l.y, &again);
    values_free(&again);
    layer_free(&l);
    kernels_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
