/* Activations, sums, casts, copies, resampling and the optimiser of every set of kernels against the reference. */
#include "tests/support_kernels.h"
#include "tests/support_reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static double *doubles(int64_t n)
{
    double *x = calloc((size_t)n + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static const int64_t sizes[] = {1, 17, 1000, 70001};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Runs a check for every set of kernels, on one thread and on two, and for both dtypes. */
static void for_all_kernels(void (*check)(Kernels *k, DType type))
{
    for (int i = 0; i < KERNEL_SETS * 4; i++) {
        Kernels *k = kernel_set_open(&kernel_sets[i / 4]);
        use_threads(1 + i % 2);
        check(k, i / 2 % 2 ? DTYPE_BF16 : DTYPE_F32);
        kernels_free(k);
    }
}

static void check_activations(Kernels *k, DType type)
{
    for (int i = 0; i < 3 * SIZES; i++) {
        Activation act = (Activation)(i % 3);
        int64_t n = sizes[i / 3];
        Values x = values_random(type, n, 0, 3), d_y = values_random(type, n, 0, 1);
        Values y = values_output(type, n), d_x = values_output(type, n);
        double *want = doubles(n), *d_want = doubles(n);
        for (int64_t j = 0; j < n; j++) {
            want[j] = reference_activation(act, x.exact[j]);
            d_want[j] = d_y.exact[j] * reference_activation_slope(act, x.exact[j]);
        }
        k->activate(type, act, n, x.data, y.data);
        k->activate_backward(type, act, n, x.data, d_y.data, d_x.data);
        assert_values_close("activate", &y, want, tolerance_of(type, 3e-7));
        assert_values_close("activate_backward", &d_x, d_want, tolerance_of(type, 1e-6));
        k->activate(type, act, n, x.data, x.data);
        assert_values_same("activate in place", &x, &y);
        Values *all[] = {&x, &d_y, &y, &d_x};
        for (int j = 0; j < 4; j++) values_free(all[j]);
        free(want), free(d_want);
    }
}

static void activations_match_reference(void **state)
{
    (void)state;
    for_all_kernels(check_activations);
}

/* Relative accuracy over the whole range, tails included; limits and NaN. */
static void activations_are_accurate(void **state)
{
    (void)state;
    enum { N = 400001 };
    float *x = malloc(sizeof *x * N), *y = malloc(sizeof *y * N);
    assert_true(x && y);
    for (int i = 0; i < N; i++) x[i] = (float)(i - N / 2) * (80.0f / (float)(N / 2));
    for (int set = 0; set < KERNEL_SETS; set++) {
        Kernels *k = kernel_set_open(&kernel_sets[set]);
        for (int act = ACT_SILU; act <= ACT_GELU; act++) {
            double worst = 0, where = 0;
            k->activate(DTYPE_F32, (Activation)act, N, x, y);
            for (int i = 0; i < N; i++) {
                if (act == ACT_GELU && x[i] < -12) continue; /* smaller than f32 can hold */
                double want = reference_activation((Activation)act, (double)x[i]);
                double error = fabs((double)y[i] - want) / (fabs(want) + 1e-30);
                if (!(error <= worst)) worst = error, where = (double)x[i];
            }
            /* the square in exp(-x*x/2) costs a few units in GELU's far tail */
            double allowed = act == ACT_SILU ? 4e-7 : 1e-5;
            if (!(worst <= allowed)) fail_msg("activation %d: relative error %.2e at %.6g", act, worst, where);
            float odd[] = {NAN, INFINITY, 1e30f, -1e30f, 0.0f, -200.0f}, out[6];
            k->activate(DTYPE_F32, (Activation)act, 6, odd, out);
            assert_true(isnan(out[0]) && out[1] == INFINITY && out[2] == 1e30f);
            assert_true(fabsf(out[3]) < 1e-7f && out[4] == 0 && fabsf(out[5]) < 1e-7f);
            k->activate_backward(DTYPE_F32, (Activation)act, 6, odd, (float[]){1, 1, 1, 1, 1, 1}, out);
            assert_true(isnan(out[0]) && out[2] == 1 && fabsf(out[3]) < 1e-7f && out[4] == 0.5f &&
                        fabsf(out[5]) < 1e-7f);
        }
        kernels_free(k);
    }
    free(x), free(y);
}

static void check_sums_and_casts(Kernels *k, DType type)
{
    for (int i = 0; i < SIZES; i++) {
        int64_t n = sizes[i];
        DType other = type == DTYPE_F32 ? DTYPE_BF16 : DTYPE_F32;
        Values x = values_random(type, n, 0, 1), z = values_random(type, n, 0, 1), y = values_output(type, n);
        Values converted = values_output(other, n);
        double *want = doubles(n);
        for (int64_t j = 0; j < n; j++) want[j] = 0.75 * x.exact[j];
        k->axpby(type, n, 0.75f, x.data, 0, NULL, y.data);
        assert_values_close("axpby of one", &y, want, tolerance_of(type, 2e-7));
        for (int64_t j = 0; j < n; j++) want[j] = 0.75 * x.exact[j] - 1.5 * z.exact[j];
        k->axpby(type, n, 0.75f, x.data, -1.5f, z.data, y.data);
        assert_values_close("axpby", &y, want, tolerance_of(type, 2e-7));
        k->cast(type, other, n, x.data, converted.data);
        assert_values_close("cast", &converted, x.exact, other == DTYPE_BF16 ? 0x1p-8 : 0);
        k->cast(type, type, n, x.data, y.data);
        assert_values_same("cast to the same", &x, &y);
        k->axpby(type, n, 0.75f, x.data, -1.5f, z.data, z.data);
        assert_values_close("axpby in place", &z, want, tolerance_of(type, 2e-7));
        values_free(&x), values_free(&z), values_free(&y), values_free(&converted);
        free(want);
    }
}

static void sums_and_casts_match_reference(void **state)
{
    (void)state;
    for_all_kernels(check_sums_and_casts);
}

/* Rounding to bf16 exactly as tensor.h defines it: halves to even, infinities, NaN. */
static void cast_rounds_like_the_header(void **state)
{
    (void)state;
    enum { N = 1 << 16 };
    float *x = malloc(sizeof *x * N);
    uint16_t *y = malloc(sizeof *y * N);
    assert_true(x && y);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t low[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff}, bits = i << 16 | low[i % 6];
        memcpy(&x[i], &bits, sizeof bits);
    }
    for (int set = 0; set < KERNEL_SETS; set++) {
        Kernels *k = kernel_set_open(&kernel_sets[set]);
        k->cast(DTYPE_F32, DTYPE_BF16, N, x, y);
        for (int i = 0; i < N; i++) assert_int_equal(f32_to_bf16(x[i]), y[i]);
        kernels_free(k);
    }
    free(x), free(y);
}

static void check_columns(Kernels *k, DType type)
{
    const int64_t rows[] = {1, 5, 3000}, widths[] = {1, 19, 64};
    for (int i = 0; i < 3; i++) {
        int64_t C = widths[i], wide = C + 7;
        size_t size = dtype_size(type);
        Values x = values_random(type, rows[i] * C, 0, 1), y = values_random(type, rows[i] * wide, 0, 1);
        Values back = values_output(type, rows[i] * C), kept = values_random(type, rows[i] * wide, 0, 1);
        memcpy(kept.data, y.data, (size_t)y.n * size);
        k->copy_columns(type, rows[i], C, x.data, C, (char *)y.data + 3 * size, wide);
        k->copy_columns(type, rows[i], C, (char *)y.data + 3 * size, wide, back.data, C);
        assert_values_same("copy_columns", &x, &back);
        for (int64_t j = 0; j < rows[i] * wide; j++)
            if (j % wide < 3 || j % wide >= C + 3)
                assert_memory_equal((char *)y.data + (size_t)j * size, (char *)kept.data + (size_t)j * size, size);
        values_free(&x), values_free(&y), values_free(&back), values_free(&kept);
    }
}

static void columns_are_copied(void **state)
{
    (void)state;
    for_all_kernels(check_columns);
}

static void check_bias(Kernels *k, DType type)
{
    const int64_t rows[] = {1, 5, 3000}, widths[] = {1, 19, 200};
    for (int i = 0; i < 9; i++) {
        int64_t R = rows[i % 3], C = widths[i / 3];
        Values y = values_random(type, R * C, 0, 1), bias = values_random(DTYPE_F32, C, 0, 1), d_bias = values_random(DTYPE_F32, C, 0, 1);
        Values again = values_output(DTYPE_F32, C);
        double *want = doubles(R * C), *sums = doubles(C);
        for (int64_t c = 0; c < C; c++) sums[c] = d_bias.exact[c];
        for (int64_t j = 0; j < R * C; j++) {
            sums[j % C] += y.exact[j];
            want[j] = y.exact[j] + bias.exact[j % C];
        }
        memcpy(again.data, d_bias.data, (size_t)C * sizeof(float));
        k->add_bias_backward(type, R, C, y.data, d_bias.data);
        use_threads(1);
        k->add_bias_backward(type, R, C, y.data, again.data);
        use_threads(2);
        assert_values_same("sums of columns", &d_bias, &again);
        assert_values_close("sums of columns", &d_bias, sums, 2e-6);
        k->add_bias(type, R, C, bias.data, y.data);
        assert_values_close("sums with a bias", &y, want, tolerance_of(type, 2e-7));
        values_free(&y), values_free(&bias), values_free(&d_bias), values_free(&again);
        free(want), free(sums);
    }
}

static void bias_is_added(void **state)
{
    (void)state;
    for_all_kernels(check_bias);
}

typedef void (*Resample)(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *x, void *y);
typedef void (*ReferenceResample)(int64_t N, int64_t H, int64_t W, int64_t C, const double *x, double *y);

static void check_resample(const char *what, Resample f, ReferenceResample reference, DType type, const int64_t *dims,
                           bool grows)
{
    int64_t small = dims[0] * dims[1] * dims[2] * dims[3];
    Values x = values_random(type, grows ? small : 4 * small, 0, 1), y = values_output(type, grows ? 4 * small : small);
    double *want = doubles(y.n);
    f(type, dims[0], dims[1], dims[2], dims[3], x.data, y.data);
    reference(dims[0], dims[1], dims[2], dims[3], x.exact, want);
    assert_values_close(what, &y, want, tolerance_of(type, 5e-7));
    values_free(&x), values_free(&y);
    free(want);
}

static void check_resamples(Kernels *k, DType type)
{
    const int64_t dims[][4] = {{1, 1, 1, 1}, {2, 3, 5, 7}, {3, 4, 6, 64}, {1, 32, 33, 48}};
    for (int i = 0; i < 4; i++) {
        check_resample("upsample2x", k->upsample2x, reference_upsample2x, type, dims[i], true);
        check_resample("upsample2x_backward", k->upsample2x_backward, reference_upsample2x_backward, type, dims[i],
                       false);
        check_resample("avg_pool2x", k->avg_pool2x, reference_avg_pool2x, type, dims[i], false);
        check_resample("avg_pool2x_backward", k->avg_pool2x_backward, reference_avg_pool2x_backward, type, dims[i],
                       true);
    }
}

static void resampling_matches_reference(void **state)
{
    (void)state;
    for_all_kernels(check_resamples);
}

static void check_bilinear(Kernels *k, DType type)
{
    const int64_t cases[][6] = {{1, 1, 1, 3, 4, 5},   {2, 5, 7, 3, 20, 28},  {1, 16, 16, 3, 64, 64},
                                {2, 9, 11, 4, 5, 6},  {1, 13, 8, 17, 7, 31}, {2, 6, 6, 3, 6, 6},
                                {1, 30, 20, 3, 1, 1}, {1, 10, 10, 5, 11, 9}};
    for (int i = 0; i < 8; i++) {
        const int64_t *c = cases[i];
        Values x = values_random(type, c[0] * c[1] * c[2] * c[3], 0, 1),
               y = values_output(type, c[0] * c[4] * c[5] * c[3]);
        Values d_y = values_random(type, y.n, 0, 1), d_x = values_output(type, x.n);
        double *want = doubles(y.n), *d_want = doubles(x.n);
        k->resize_bilinear(type, c[0], c[1], c[2], c[3], x.data, c[4], c[5], y.data);
        k->resize_bilinear_backward(type, c[0], c[1], c[2], c[3], d_y.data, c[4], c[5], d_x.data);
        reference_resize_bilinear(c[0], c[1], c[2], c[3], x.exact, c[4], c[5], want);
        reference_resize_bilinear_backward(c[0], c[1], c[2], c[3], d_y.exact, c[4], c[5], d_want);
        assert_values_close("resize_bilinear", &y, want, tolerance_of(type, 1e-5)); /* positions are f32 */
        assert_values_close("resize_bilinear_backward", &d_x, d_want, tolerance_of(type, 1e-5)); /* positions are f32 */
        values_free(&x), values_free(&y), values_free(&d_y), values_free(&d_x);
        free(want), free(d_want);
    }
}

static void bilinear_matches_reference(void **state)
{
    (void)state;
    for_all_kernels(check_bilinear);
}

static void check_optimizer(Kernels *k, DType type)
{
    if (type != DTYPE_F32) return;
    for (int i = 0; i < SIZES; i++) {
        int64_t n = sizes[i];
        Values value = values_random(type, n, 0, 1), grad = values_random(type, n, 0, 2),
               m = values_random(type, n, 0, 0);
        Values v = values_random(type, n, 0, 0), average = values_random(type, n, 0, 1);
        double *p = doubles(n), *ref_m = doubles(n), *ref_v = doubles(n), *ref_average = doubles(n), squares = 0;
        for (int64_t j = 0; j < n; j++) {
            p[j] = value.exact[j];
            ref_average[j] = average.exact[j];
            squares += grad.exact[j] * grad.exact[j];
        }
        for (int t = 1; t <= 5; t++) {
            AdamWStep step = {.lr = 3e-3f,
                              .beta1 = 0.9f,
                              .beta2 = 0.999f,
                              .eps = 1e-8f,
                              .weight_decay = 0.05f,
                              .grad_scale = 0.7f,
                              .bias1 = 1 - powf(0.9f, (float)t),
                              .bias2 = 1 - powf(0.999f, (float)t)};
            k->adamw(n, value.data, grad.data, m.data, v.data, &step);
            reference_adamw(n, p, grad.exact, ref_m, ref_v, &step);
            k->ema(n, 0.99f, value.data, average.data);
            for (int64_t j = 0; j < n; j++)
                ref_average[j] = (double)0.99f * ref_average[j] + (1 - (double)0.99f) * p[j];
        }
        assert_values_close("adamw value", &value, p, 1e-6);
        assert_values_close("adamw m", &m, ref_m, 1e-6);
        assert_values_close("adamw v", &v, ref_v, 1e-6);
        assert_values_close("ema", &average, ref_average, 1e-6);
        assert_true(fabs(k->sum_squares(n, grad.data) - squares) <= 1e-12 * squares);
        Values *all[] = {&value, &grad, &m, &v, &average};
        for (int j = 0; j < 5; j++) values_free(all[j]);
        free(p), free(ref_m), free(ref_v), free(ref_average);
    }
}

static void optimizer_matches_reference(void **state)
{
    (void)state;
    for_all_kernels(check_optimizer);
}

static void sum_of_squares_ignores_threads(void **state)
{
    (void)state;
    for (int set = 0; set < KERNEL_SETS; set++) {
        Kernels *k = kernel_set_open(&kernel_sets[set]);
        Values x = values_random(DTYPE_F32, 200003, 0, 1);
        use_threads(1);
        double one = k->sum_squares(x.n, x.data);
        use_threads(2);
        double two = k->sum_squares(x.n, x.data);
        assert_memory_equal(&one, &two, sizeof one);
        assert_true(k->sum_squares(0, x.data) == 0);
        values_free(&x);
        kernels_free(k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_match_reference),
        cmocka_unit_test(activations_are_accurate),
        cmocka_unit_test(sums_and_casts_match_reference),
        cmocka_unit_test(cast_rounds_like_the_header),
        cmocka_unit_test(columns_are_copied),
        cmocka_unit_test(bias_is_added),
        cmocka_unit_test(resampling_matches_reference),
        cmocka_unit_test(bilinear_matches_reference),
        cmocka_unit_test(optimizer_matches_reference),
        cmocka_unit_test(sum_of_squares_ignores_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
