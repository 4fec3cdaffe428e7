/* What the U-Net promises beside its numbers, which the fixtures test (test_parity.c). */
#include "tests/support_models.h"

#include "common/tape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N = 2, PAIR = 2 * N, SIDE = TINY_BASE_SIDE, CTX = 256 };

static Tensor *answer(Tape *t, const TextUNet *m, int64_t pictures, const float *x, const UNetCondition *condition)
{
    static const float timesteps[PAIR] = {3, 700, 3, 700};
    TextUNetInput in = {.timesteps = timesteps, .x = tape_input(t, DTYPE_F32, 4, (int64_t[]){pictures, SIDE, SIDE, 3}, x)};
    return text_unet_forward(t, m, &in, condition, NULL);
}

/* The pair of a guided step: pictures given once are the same as pictures given twice, bit for bit, and less work. */
static void pictures_of_a_pair_are_given_once(void **state)
{
    (void)state;
    TextUNet *m = tiny_model(false, 5);
    Kernels *k;
    float x[PAIR * SIDE * SIDE * 3];
    int ctx = m->config.text.ctx;
    int32_t tokens[PAIR * CTX] = {0};
    uint8_t mask[PAIR * CTX];
    assert_true(ctx <= CTX);
    memset(mask, 1, sizeof mask);
    for (int i = 0; i < PAIR; i++) tokens[i * ctx] = i + 1;
    for (int i = 0; i < PAIR * SIDE * SIDE * 3; i++) x[i] = (float)(i % (N * SIDE * SIDE * 3) % 17) / 8 - 1;
    assert_int_equal(STATUS_OK, kernels_new(KERNELS_BEST, &k));
    for (int type = 0; type < 2; type++) {
        Tape *t;
        assert_int_equal(STATUS_OK, tape_new(k, &t));
        tape_set_dtype(t, (DType)type);
        UNetCondition c = text_unet_encode(t, m, tokens, mask, NULL, PAIR, NULL);
        Tensor *twice = answer(t, m, PAIR, x, &c), *once = answer(t, m, N, x, &c);
        assert_int_equal(STATUS_OK, tape_status(t));
        assert_int_equal(PAIR, once->dims[0]);
        assert_memory_equal(twice->data, once->data, tensor_bytes(twice));
        size_t half = tensor_bytes(once) / 2; /* the captions differ */
        assert_memory_not_equal(once->data, (char *)once->data + half, half);
        tape_free(t);
    }
    text_unet_free(m);
    kernels_free(k);
}

/* Pictures that do not go into the condition's rows are an error, not a crash. */
static void odd_numbers_of_pictures_are_refused(void **state)
{
    (void)state;
    TextUNet *m = tiny_model(false, 5);
    Kernels *k;
    Tape *t;
    static const float x[3 * SIDE * SIDE * 3];
    int32_t tokens[PAIR * CTX] = {0};
    uint8_t mask[PAIR * CTX] = {0};
    assert_int_equal(STATUS_OK, kernels_new(KERNELS_BEST, &k));
    assert_int_equal(STATUS_OK, tape_new(k, &t));
    UNetCondition c = text_unet_encode(t, m, tokens, mask, NULL, PAIR, NULL);
    assert_null(answer(t, m, 3, x, &c));
    assert_int_equal(STATUS_BAD_INPUT, tape_status(t));
    assert_non_null(strstr(status_message(), "multiple"));
    tape_free(t);
    text_unet_free(m);
    kernels_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_of_a_pair_are_given_once),
        cmocka_unit_test(odd_numbers_of_pictures_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
