/* Group and layer norm of every set of kernels against the reference in double precision. */
#include "tests/support_kernels.h"
#include "tests/support_reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct NormCase {
    GroupNormShape shape;
    bool film;
    double mean, std; /* of x */
} NormCase;

static const NormCase cases[] = {
    {{.N = 1, .pixels = 1, .C = 3, .groups = 1, .act = ACT_NONE}, false, 0, 1},
    {{.N = 2, .pixels = 35, .C = 64, .groups = 32, .act = ACT_SILU}, true, 0.3, 2},
    {{.N = 3, .pixels = 7, .C = 33, .groups = 11, .act = ACT_SILU}, false, -1, 0.5},
    {{.N = 1, .pixels = 1031, .C = 96, .groups = 32, .act = ACT_SILU}, true, 0, 3},
    {{.N = 5, .pixels = 64, .C = 160, .groups = 32, .act = ACT_GELU}, true, 0, 1},
    {{.N = 2, .pixels = 4097, .C = 32, .groups = 32, .act = ACT_SILU}, true, 0, 1},
    {{.N = 2, .pixels = 16, .C = 1536, .groups = 32, .act = ACT_NONE}, true, 0, 1},
    {{.N = 4, .pixels = 1024, .C = 64, .groups = 32, .act = ACT_NONE}, false, 0, 1e-3},
};
enum { CASES = sizeof cases / sizeof cases[0] };

typedef struct NormArrays {
    Values x, gamma, beta, film, y, stats, d_y, d_x, d_gamma, d_beta, d_film;
} NormArrays;

static NormArrays arrays_new(const NormCase *c, DType type)
{
    int64_t size = c->shape.N * c->shape.pixels * c->shape.C, C = c->shape.C, films = c->shape.N * 2 * C;
    return (NormArrays){
        .x = values_random(type, size, c->mean, c->std),
        .gamma = values_random(DTYPE_F32, C, 1, 0.3),
        .beta = values_random(DTYPE_F32, C, 0, 0.5),
        .film = values_random(type, films, 0, 0.3),
        .y = values_output(type, size),
        .stats = values_output(DTYPE_F32, c->shape.N * c->shape.groups * 2),
        .d_y = values_random(type, size, 0.1, 1),
        .d_x = values_output(type, size),
        .d_gamma = values_random(DTYPE_F32, C, 0, 1),
        .d_beta = values_random(DTYPE_F32, C, 0, 1),
        .d_film = values_output(type, films),
    };
}

static void arrays_free(NormArrays *a)
{
    for (Values *v = &a->x; v <= &a->d_film; v++) values_free(v);
}

static void run_forward(Kernels *k, const GroupNormShape *s, bool film, NormArrays *a)
{
    assert_int_equal(STATUS_OK, k->group_norm(k, s, a->x.data, a->gamma.data, a->beta.data, film ? a->film.data : NULL,
                                              a->y.data, a->stats.data));
}

static void run_backward(Kernels *k, const GroupNormShape *s, bool film, NormArrays *a)
{
    assert_int_equal(STATUS_OK,
                     k->group_norm_backward(k, s, a->x.data, a->gamma.data, a->beta.data, film ? a->film.data : NULL,
                                            a->stats.data, a->d_y.data, a->d_x.data, a->d_gamma.data, a->d_beta.data,
                                            film ? a->d_film.data : NULL));
}

static double *doubles(int64_t n)
{
    double *x = calloc((size_t)n + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static void check_forward(const char *label, const NormCase *c, const GroupNormShape *s, NormArrays *a,
                          double f32_tolerance)
{
    double *y = doubles(a->y.n), *stats = doubles(a->stats.n);
    reference_group_norm(s, a->x.exact, a->gamma.exact, a->beta.exact, c->film ? a->film.exact : NULL, y, stats);
    assert_values_close(label, &a->y, y, tolerance_of(s->dtype, f32_tolerance));
    assert_values_close(label, &a->stats, stats, f32_tolerance);
    free(y);
    free(stats);
}

static void check_backward(const char *label, const NormCase *c, const GroupNormShape *s, NormArrays *a)
{
    double *d_x = doubles(a->d_x.n), *d_gamma = doubles(s->C), *d_beta = doubles(s->C), *d_film = doubles(a->d_film.n);
    reference_group_norm_backward(s, a->x.exact, a->gamma.exact, a->beta.exact, c->film ? a->film.exact : NULL,
                                  a->d_y.exact, d_x, d_gamma, d_beta, d_film);
    for (int64_t i = 0; i < s->C; i++) d_gamma[i] += a->d_gamma.exact[i], d_beta[i] += a->d_beta.exact[i];
    assert_values_close(label, &a->d_x, d_x, tolerance_of(s->dtype, 3e-6));
    assert_values_close(label, &a->d_gamma, d_gamma, 3e-6);
    assert_values_close(label, &a->d_beta, d_beta, 3e-6);
    if (c->film) assert_values_close(label, &a->d_film, d_film, tolerance_of(s->dtype, 3e-6));
    free(d_x);
    free(d_gamma);
    free(d_beta);
    free(d_film);
}

static void group_norm_matches_reference(void **state)
{
    (void)state;
    for (int set = 0; set < KERNEL_SETS; set++) {
        Kernels *k = kernel_set_open(&kernel_sets[set]);
        for (int i = 0; i < 2 * CASES; i++) {
            const NormCase *c = &cases[i / 2];
            GroupNormShape s = c->shape;
            char label[128];
            s.dtype = i % 2 ? DTYPE_BF16 : DTYPE_F32;
            snprintf(label, sizeof label, "%s, group norm, case %d, %s", kernel_sets[set].label, i / 2,
                     i % 2 ? "bf16" : "f32");
            NormArrays a = arrays_new(c, s.dtype);
            run_forward(k, &s, c->film, &a);
            check_forward(label, c, &s, &a, 2e-6);
            run_backward(k, &s, c->film, &a);
            check_backward(label, c, &s, &a);
            arrays_free(&a);
        }
        kernels_free(k);
    }
}

/* x and film in f32, y in bf16. */
static void group_norm_takes_f32_to_bf16(void **state)
{
    (void)state;
    for (int set = 0; set < KERNEL_SETS; set++) {
        Kernels *k = kernel_set_open(&kernel_sets[set]);
        for (int i = 0; i < CASES; i++) {
            GroupNormShape s = cases[i].shape;
            char label[128];
            s.dtype = DTYPE_BF16;
            s.x_f32 = true;
            snprintf(label, sizeof label, "%s, group norm, case %d, f32 to bf16", kernel_sets[set].label, i);
            NormArrays a = arrays_new(&cases[i], DTYPE_F32);
            values_free(&a.y);
            a.y = values_output(DTYPE_BF16, a.x.n);
            run_forward(k, &s, cases[i].film, &a);
            check_forward(label, &cases[i], &s, &a, 2e-6);
            arrays_free(&a);
        }
        kernels_free(k);
    }
}

/* A mean far above the standard deviation must not cost digits; nor may one pixel far from all others. */
static void group_norm_is_robust(void **state)
{
    (void)state;
    for (int set = 0; set < KERNEL_SETS; set++)
        for (int outlier = 0; outlier < 2; outlier++) {
            Kernels *k = kernel_set_open(&kernel_sets[set]);
            NormCase c = {{.N = 2, .pixels = 500, .C = 64, .groups = 32, .act = ACT_SILU}, true, outlier ? 0 : 1000, 1};
            NormArrays a = arrays_new(&c, DTYPE_F32);
            for (int64_t i = 0; outlier && i < 64; i++) a.x.exact[i] = ((float *)a.x.data)[i] = -3000;
            run_forward(k, &c.shape, c.film, &a);
            check_forward(outlier ? "an outlier in the first pixel" : "a large mean", &c, &c.shape, &a,
                          outlier ? 1e-5 : 2e-6);
            arrays_free(&a);
            kernels_free(k);
        }
}

static void group_norm_ignores_threads_and_batch(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * CASES * KERNEL_SETS; i++) {
        const NormCase *c = &cases[i / 2 % CASES];
        Kernels *k = kernel_set_open(&kernel_sets[i / 2 / CASES]);
        GroupNormShape s = c->shape, single = s;
        s.dtype = single.dtype = i % 2 ? DTYPE_BF16 : DTYPE_F32;
        single.N = 1;
        NormArrays a = arrays_new(c, s.dtype), b = a;
        b.y = values_output(s.dtype, a.y.n);
        b.d_x = values_output(s.dtype, a.d_x.n);
        b.d_film = values_output(s.dtype, a.d_film.n);
        b.d_gamma = values_random(DTYPE_F32, s.C, 0, 1);
        b.d_beta = values_random(DTYPE_F32, s.C, 0, 1);
        memcpy(b.d_gamma.data, a.d_gamma.data, (size_t)s.C * 4);
        memcpy(b.d_beta.data, a.d_beta.data, (size_t)s.C * 4);
        use_threads(1);
        run_forward(k, &s, c->film, &a);
        run_backward(k, &s, c->film, &a);
        use_threads(2);
        run_forward(k, &s, c->film, &b);
        run_backward(k, &s, c->film, &b);
        assert_values_same("y on 1 and 2 threads", &a.y, &b.y);
        assert_values_same("d_x on 1 and 2 threads", &a.d_x, &b.d_x);
        assert_values_same("d_film on 1 and 2 threads", &a.d_film, &b.d_film);
        assert_values_same("d_gamma on 1 and 2 threads", &a.d_gamma, &b.d_gamma);
        assert_values_same("d_beta on 1 and 2 threads", &a.d_beta, &b.d_beta);
        for (int64_t n = 0; n < s.N; n++) {
            size_t image = (size_t)(s.pixels * s.C) * dtype_size(s.dtype),
                   film = (size_t)(2 * s.C) * dtype_size(s.dtype);
            assert_int_equal(STATUS_OK,
                             k->group_norm(k, &single, (char *)a.x.data + (size_t)n * image, a.gamma.data, a.beta.data,
                                           c->film ? (char *)a.film.data + (size_t)n * film : NULL,
                                           (char *)b.y.data + (size_t)n * image,
                                           (float *)b.stats.data + n * 2 * s.groups));
        }
        assert_values_same("y alone and in a batch", &a.y, &b.y);
        values_free(&b.y), values_free(&b.d_x), values_free(&b.d_film), values_free(&b.d_gamma), values_free(&b.d_beta);
        arrays_free(&a);
        kernels_free(k);
    }
}

static void check_layer_norm(const KernelSet *set, DType type, int64_t rows, int64_t C, double mean)
{
    Kernels *k = kernel_set_open(set);
    Values x = values_random(type, rows * C, mean, 1), gamma = values_random(DTYPE_F32, C, 1, 0.3);
    Values beta = values_random(DTYPE_F32, C, 0, 1), d_y = values_random(type, rows * C, 0.2, 1);
    Values y = values_output(type, rows * C), stats = values_output(DTYPE_F32, rows * 2);
    Values d_gamma = values_random(DTYPE_F32, C, 0, 1), d_beta = values_random(DTYPE_F32, C, 0, 1);
    Values d_x = values_output(type, rows * C), y2 = values_output(type, rows * C),
           d_x2 = values_output(type, rows * C);
    double *want = doubles(rows * C), *want_gamma = doubles(C), *want_beta = doubles(C);

    use_threads(2);
    k->layer_norm(k, type, rows, C, x.data, gamma.data, beta.data, y.data, stats.data);
    reference_layer_norm(rows, C, x.exact, gamma.exact, beta.exact, want, NULL);
    assert_values_close("layer norm", &y, want, tolerance_of(type, 2e-6));
    k->layer_norm_backward(k, type, rows, C, x.data, gamma.data, stats.data, d_y.data, d_x.data, d_gamma.data,
                           d_beta.data);
    reference_layer_norm_backward(rows, C, x.exact, gamma.exact, d_y.exact, want, want_gamma, want_beta);
    for (int64_t i = 0; i < C; i++) want_gamma[i] += d_gamma.exact[i], want_beta[i] += d_beta.exact[i];
    double tolerance = mean == 0 ? 3e-6 : 1e-4; /* stats keep the mean in f32 */
    assert_values_close("layer norm backward", &d_x, want, tolerance_of(type, tolerance));
    assert_values_close("layer norm d_gamma", &d_gamma, want_gamma, tolerance);
    assert_values_close("layer norm d_beta", &d_beta, want_beta, 3e-6);

    use_threads(1);
    for (int64_t r = 0; r < rows; r++) {
        size_t at = (size_t)(r * C) * dtype_size(type);
        k->layer_norm(k, type, 1, C, (char *)x.data + at, gamma.data, beta.data, (char *)y2.data + at, stats.data);
    }
    k->layer_norm(k, type, rows, C, x.data, gamma.data, beta.data, y.data, stats.data);
    assert_values_same("layer norm alone and in a batch", &y, &y2);
    Values g1 = values_output(DTYPE_F32, C), g2 = values_output(DTYPE_F32, C);
    memset(g1.data, 0, (size_t)C * 4), memset(g2.data, 0, (size_t)C * 4);
    k->layer_norm_backward(k, type, rows, C, x.data, gamma.data, stats.data, d_y.data, d_x.data, g1.data, NULL);
    use_threads(2);
    k->layer_norm_backward(k, type, rows, C, x.data, gamma.data, stats.data, d_y.data, d_x2.data, g2.data, NULL);
    assert_values_same("layer norm d_x on 1 and 2 threads", &d_x, &d_x2);
    assert_values_same("layer norm d_gamma on 1 and 2 threads", &g1, &g2);
    Values *all[] = {&x, &gamma, &beta, &d_y, &y, &stats, &d_gamma, &d_beta, &d_x, &y2, &d_x2, &g1, &g2};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) values_free(all[i]);
    free(want), free(want_gamma), free(want_beta);
    kernels_free(k);
}

static void layer_norm_matches_reference(void **state)
{
    (void)state;
    for (int set = 0; set < KERNEL_SETS; set++)
        for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
            check_layer_norm(&kernel_sets[set], (DType)type, 15, 48, 0);
            check_layer_norm(&kernel_sets[set], (DType)type, 1, 7, 0);
            check_layer_norm(&kernel_sets[set], (DType)type, 513, 67, 0);
            check_layer_norm(&kernel_sets[set], (DType)type, 128, 512, 0);
            check_layer_norm(&kernel_sets[set], (DType)type, 9, 130, 100);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(group_norm_matches_reference),
        cmocka_unit_test(group_norm_takes_f32_to_bf16),
        cmocka_unit_test(group_norm_is_robust),
        cmocka_unit_test(group_norm_ignores_threads_and_batch),
        cmocka_unit_test(layer_norm_matches_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
