/* The ops without kernels against the plainest loops in double, on random shapes, f32 and bf16, with one and two threads. */
#include "common/ops.h"
#include "tests/support_reference.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct Bench {
    Kernels *k;
    Tape *t;
    DType type;
    uint32_t draws;
} Bench;

/* A whole number from low to high. */
static int64_t draw(Bench *b, int64_t low, int64_t high)
{
    uint32_t bits[4];
    rng_bits(&(RngKey){.seed = 5, .stream = RNG_TEST, .image = b->draws++}, 0, bits);
    return low + (int64_t)(bits[0] % (uint32_t)(high - low + 1));
}

static Tensor *random_tensor(Bench *b, int ndim, const int64_t *dims)
{
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) n *= dims[i];
    float *values = malloc((size_t)n * sizeof *values);
    assert_non_null(values);
    rng_normal(&(RngKey){.seed = 6, .stream = RNG_TEST, .image = b->draws++}, values, n);
    Tensor *x = tape_input(b->t, b->type, ndim, dims, values);
    free(values);
    assert_non_null(x);
    return x;
}

static double at(const Tensor *x, int64_t i)
{
    return x->dtype == DTYPE_F32 ? ((const float *)x->data)[i] : bf16_to_f32(((const uint16_t *)x->data)[i]);
}

static void expect(const Bench *b, const char *what, const Tensor *y, int64_t i, double wanted)
{
    double allowed = (b->type == DTYPE_F32 ? 2e-6 : 5e-3) * (fabs(wanted) + 0.1);
    if (!(fabs(at(y, i) - wanted) <= allowed)) fail_msg("%s: element %d is %g, expected %g", what, (int)i, at(y, i), wanted);
}

static void check_patches(Bench *b)
{
    int64_t patch = draw(b, 1, 4), across = draw(b, 1, 9), down = draw(b, 1, 9), N = draw(b, 1, 3), C = draw(b, 1, 5);
    int64_t H = down * patch, W = across * patch, i = 0;
    Tensor *x = random_tensor(b, 4, (int64_t[]){N, H, W, C}), *y = op_patches(b->t, x, (int)patch);
    assert_int_equal(y->dims[1], across * down);
    assert_int_equal(y->dims[2], C * patch * patch);
    for (int64_t n = 0; n < N; n++)
        for (int64_t r = 0; r < down; r++)
            for (int64_t s = 0; s < across; s++)
                for (int64_t c = 0; c < C; c++)
                    for (int64_t dy = 0; dy < patch; dy++)
                        for (int64_t dx = 0; dx < patch; dx++)
                            expect(b, "patches", y, i++, at(x, ((n * H + r * patch + dy) * W + s * patch + dx) * C + c));
}

static void check_positions(Bench *b)
{
    int64_t N = draw(b, 1, 4), A = draw(b, 1, 5), B = draw(b, 1, 70), C = draw(b, 1, 99), T = A + B;
    bool first = draw(b, 0, 1);
    ParamSet set;
    params_init(&set);
    Param *p = params_add(&set, INIT_NORMAL, 1, 2, first ? (int64_t[]){C, T} : (int64_t[]){T, C}, "p");
    params_randomize(&set, 3);
    Tensor *a = random_tensor(b, 3, (int64_t[]){N, A, C}), *c = random_tensor(b, 3, (int64_t[]){N, B, C});
    Tensor *x = op_join_positions(b->t, a, c), *y = op_add_positions(b->t, x, p, first);
    int32_t index[4];
    for (int i = 0; i < 4; i++) index[i] = (int32_t)draw(b, 0, T - 1);
    Tensor *taken = op_take_positions(b->t, y, index), *mean = op_mean_positions(b->t, y);
    for (int i = 0; i < 4; i++) index[i]++;
    Tensor *first_mean = op_mean_first_positions(b->t, y, index);
    for (int i = 0; i < 4; i++) index[i]--;
    for (int64_t n = 0; n < N; n++)
        for (int64_t j = 0; j < C; j++) {
            double sum = 0, first_sum = 0;
            for (int64_t i = 0; i < T; i++) {
                double joined = i < A ? at(a, (n * A + i) * C + j) : at(c, (n * B + i - A) * C + j);
                double position = (double)p->value[first ? j * T + i : i * C + j];
                expect(b, "add_positions", y, (n * T + i) * C + j, joined + position);
                sum += at(y, (n * T + i) * C + j);
                if (i <= index[n]) first_sum = sum;
            }
            expect(b, "take_positions", taken, n * C + j, at(y, (n * T + index[n]) * C + j));
            expect(b, "mean_positions", mean, n * C + j, sum / (double)T);
            expect(b, "mean_first_positions", first_mean, n * C + j, first_sum / (index[n] + 1));
        }
    tape_reset(b->t);
    params_release(&set);
}

static void check_channels(Bench *b)
{
    static const float scale[7] = {1.5f, -2, 0.25f, 3, 1, -0.5f, 2}, shift[7] = {0, 1, -1, 0.5f, -0.25f, 0, 2};
    int64_t N = draw(b, 1, 90), C = draw(b, 1, 7);
    Tensor *x = random_tensor(b, 2, (int64_t[]){N, C});
    Tensor *y = op_affine_channels(b->t, x, scale, shift), *positive = op_relu(b->t, x), *unit = op_unit_length(b->t, x);
    for (int64_t n = 0; n < N; n++) {
        double length = 0;
        for (int64_t c = 0; c < C; c++) length += at(x, n * C + c) * at(x, n * C + c);
        for (int64_t c = 0; c < C; c++) {
            double value = at(x, n * C + c);
            expect(b, "affine_channels", y, n * C + c, value * (double)scale[c] + (double)shift[c]);
            expect(b, "relu", positive, n * C + c, value > 0 ? value : 0);
            expect(b, "unit_length", unit, n * C + c, value / (sqrt(length) + 1e-12));
        }
    }
}

static void check_causal_attention(Bench *b)
{
    AttentionShape s = {.N = draw(b, 1, 3), .T = draw(b, 1, 80), .heads = (int)draw(b, 1, 3), .D = 8 * (int)draw(b, 1, 5),
                        .split_first = draw(b, 0, 1), .causal = true};
    int64_t C = s.heads * s.D, n = s.N * s.T * C;
    Tensor *x = random_tensor(b, 3, (int64_t[]){s.N, s.T, 3 * C}), *y = op_causal_attention(b->t, x, s.heads, s.split_first);
    double *in = malloc((size_t)(4 * n) * sizeof *in), *out = in + 3 * n, worst = 0;
    assert_non_null(in);
    for (int64_t i = 0; i < 3 * n; i++) in[i] = at(x, i);
    reference_attention(&s, in, NULL, out, NULL);
    for (int64_t i = 0; i < n; i++) worst = fmax(worst, fabs(at(y, i) - out[i]));
    if (!(worst <= (b->type == DTYPE_F32 ? 5e-6 : 4e-2))) fail_msg("causal attention: error %g", worst);
    free(in);
}

static void test_against_plain_loops(void **state)
{
    (void)state;
    static void (*const checks[])(Bench *) = {check_patches, check_positions, check_channels, check_causal_attention};
    Bench b = {0};
    assert_int_equal(kernels_new(KERNELS_BEST, &b.k), STATUS_OK);
    assert_int_equal(tape_new(b.k, &b.t), STATUS_OK);
    for (int round = 0; round < 40; round++)
        for (int i = 0; i < 4; i++) {
            b.type = round & 1 ? DTYPE_BF16 : DTYPE_F32;
            omp_set_num_threads(1 + (round / 2) % 2);
            checks[i](&b);
            if (tape_status(b.t) != STATUS_OK) fail_msg("%s", status_message());
            tape_reset(b.t);
        }
    tape_free(b.t);
    kernels_free(b.k);
}

/* Limits: a row of zeros has no direction; NaN stays NaN. */
static void test_limits(void **state)
{
    (void)state;
    Kernels *k;
    Tape *t;
    assert_int_equal(kernels_new(KERNELS_BEST, &k), STATUS_OK);
    assert_int_equal(tape_new(k, &t), STATUS_OK);
    tape_record(t, true);
    Tensor *x = tape_input(t, DTYPE_F32, 2, (int64_t[]){2, 2}, (const float[]){0, 0, NAN, 1});
    x->needs_grad = true;
    const float *unit = op_unit_length(t, x)->data, *positive = op_relu(t, x)->data;
    assert_true(unit[0] == 0 && unit[1] == 0 && isnan(unit[2]) && isnan(unit[3]));
    assert_true(positive[0] == 0 && isnan(positive[2]) && positive[3] == 1);
    Tensor *zero = tape_input(t, DTYPE_F32, 2, (int64_t[]){1, 2}, (const float[]){0, 0});
    zero->needs_grad = true;
    assert_int_equal(tape_backward(t, op_unit_length(t, zero), NULL), STATUS_OK);
    assert_true(isfinite(((float *)zero->grad->data)[0]));
    tape_reset(t);
    tape_free(t);
    kernels_free(k);
}

static void test_wrong_shapes(void **state)
{
    (void)state;
    Kernels *k;
    Tape *t;
    assert_int_equal(kernels_new(KERNELS_BEST, &k), STATUS_OK);
    assert_int_equal(tape_new(k, &t), STATUS_OK);
    static const float zeros[64];
    Tensor *x = tape_input(t, DTYPE_F32, 4, (int64_t[]){1, 4, 6, 2}, zeros);
    assert_null(op_patches(t, x, 4));
    assert_non_null(strstr((tape_status(t), status_message()), "patches: expected"));
    tape_reset(t);
    x = tape_input(t, DTYPE_F32, 3, (int64_t[]){2, 4, 3}, zeros);
    assert_null(op_take_positions(t, x, (const int32_t[]){0, 4}));
    assert_non_null(strstr((tape_status(t), status_message()), "no position 4 among 4"));
    tape_reset(t);
    x = tape_input(t, DTYPE_F32, 3, (int64_t[]){2, 4, 3}, zeros);
    assert_null(op_mean_first_positions(t, x, (const int32_t[]){4, 0}));
    assert_non_null(strstr((tape_status(t), status_message()), "no 0 positions among 4"));
    tape_reset(t);
    tape_free(t);
    kernels_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_plain_loops),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_wrong_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
