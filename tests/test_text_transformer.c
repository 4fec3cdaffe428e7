/* The text transformer's initial values and its gradients. (Its numbers against the reference: test_parity.) */
#include "tests/support_gradcheck.h"
#include "text_transformer/text_transformer.h"

#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

enum { CTX = 48, WIDTH = 96, CAPTIONS = 8, WORDS = 6, POOLED = 64 };

/* Standard deviation over captions of the first `count` values of each, as a share of their root mean square. */
static double spread(const Tensor *features, int64_t count)
{
    const float *x = features->data;
    int64_t stride = tensor_size(features) / CAPTIONS;
    double variance = 0, square = 0;
    for (int64_t i = 0; i < count; i++) {
        double mean = 0;
        for (int n = 0; n < CAPTIONS; n++) mean += x[n * stride + i] / CAPTIONS;
        for (int n = 0; n < CAPTIONS; n++) variance += pow(x[n * stride + i] - mean, 2);
        for (int n = 0; n < CAPTIONS; n++) square += pow(x[n * stride + i], 2);
    }
    return sqrt(variance / square);
}

/* A model that starts with all captions alike may never learn to read: it once did not in 3,000 steps. */
static void test_captions_start_apart(void **state)
{
    (void)state;
    TextConfig c = {.n_vocab = 400, .ctx = CTX, .width = WIDTH, .layers = 4, .heads = 3, .final_ln = true, .padding = true};
    int32_t tokens[CAPTIONS * CTX];
    uint8_t mask[CAPTIONS * CTX];
    for (int i = 0; i < CAPTIONS * CTX; i++) {
        mask[i] = i % CTX < WORDS;
        tokens[i] = mask[i] ? (i * 37 + i / CTX * 11) % 399 : 399;
    }
    ParamSet params;
    Kernels *k;
    Tape *t;
    TextTransformer *x;
    params_init(&params);
    assert_int_equal(kernels_new(KERNELS_BEST, &k), STATUS_OK);
    assert_int_equal(tape_new(k, &t), STATUS_OK);
    assert_int_equal(text_transformer_new(&c, POOLED, &params, &x), STATUS_OK);
    params_randomize(&params, 1);
    TextFeatures f = text_transformer_forward(t, x, tokens, mask, CAPTIONS, NULL);
    assert_int_equal(tape_status(t), STATUS_OK);
    double words = spread(f.sequence, WORDS * WIDTH), pooled = spread(f.pooled, POOLED);
    if (words < 0.7) fail_msg("the captions' words differ by %g of 1 only", words);
    if (pooled < 0.15) fail_msg("the captions' pooled vectors differ by %g of 1 only", pooled);
    text_transformer_free(x);
    tape_free(t);
    params_release(&params);
    kernels_free(k);
}

static Tensor *run_text(Tape *t, const void *ctx, Tensor **in)
{
    static const int32_t tokens[2 * 4] = {1, 5, 2, 9, 7, 9, 9, 9};
    static const uint8_t mask[2 * 4] = {1, 1, 1, 0, 1, 0, 0, 0};
    TextFeatures f = text_transformer_forward(t, ctx, tokens, mask, 2, NULL);
    Tensor *sequence = op_scale(t, op_add(t, f.sequence, in[0]), 0.5f);
    return op_concat(t, op_take_position(t, sequence, 1), f.pooled);
}

static void test_gradients(void **state)
{
    (void)state;
    TextConfig c = {.n_vocab = 10, .ctx = 4, .width = 12, .layers = 2, .heads = 3, .final_ln = true, .padding = true};
    ParamSet params;
    TextTransformer *x;
    params_init(&params);
    assert_int_equal(text_transformer_new(&c, 5, &params, &x), STATUS_OK);
    gradcheck(run_text, x, 1, (const int[]){3}, (const int64_t[][4]){{2, 4, 12}}, &params, 1e-2);
    text_transformer_free(x);
}

static void test_wrong_configurations(void **state)
{
    (void)state;
    ParamSet params;
    TextTransformer *x;
    params_init(&params);
    TextConfig c = {.n_vocab = 10, .ctx = 4, .width = 12, .layers = 2, .heads = 5};
    assert_int_equal(text_transformer_new(&c, 5, &params, &x), STATUS_BAD_INPUT);
    c.heads = 3;
    c.n_vocab = -1;
    assert_int_equal(text_transformer_new(&c, 5, &params, &x), STATUS_BAD_INPUT);
    params_release(&params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captions_start_apart),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_wrong_configurations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
