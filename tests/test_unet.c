/* What the U-Net promises beside its numbers, which the fixtures test (test_parity.c). */
#include "tests/support_models.h"
#include "tests/support_status.h"

#include "base_model/base_model.h"
#include "common/rng.h"
#include "common/tape.h"
#include "text_transformer/text_unet_file.h"

#include <math.h>
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
    for (int kind = 0; kind < 3; kind++) {
        Tape *t;
        assert_int_equal(STATUS_OK, tape_new(k, &t));
        tape_set_dtype(t, kind ? DTYPE_BF16 : DTYPE_F32);
        tape_set_wide(t, kind == 2);
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

/* The default base model's answer to x at a timestep, in f32, bf16, or bf16 with what is wide in f32. */
static void answer_of_default(Kernels *k, const TextUNet *m, int kind, float timestep, const float *x, float *out)
{
    enum { SIZE = 64 };
    Tape *t;
    int32_t tokens[CTX] = {1, 2, 3};
    uint8_t mask[CTX] = {1, 1, 1};
    assert_in_range(m->config.text.ctx, 3, CTX);
    assert_int_equal(STATUS_OK, tape_new(k, &t));
    tape_set_dtype(t, kind ? DTYPE_BF16 : DTYPE_F32);
    tape_set_wide(t, kind == 2);
    UNetCondition c = text_unet_encode(t, m, tokens, mask, NULL, 1, NULL);
    TextUNetInput in = {.timesteps = &timestep, .x = tape_input(t, DTYPE_F32, 4, (int64_t[]){1, SIZE, SIZE, 3}, x)};
    Tensor *y = text_unet_forward(t, m, &in, &c, NULL);
    assert_int_equal(STATUS_OK, tape_status(t));
    assert_int_equal(SIZE * SIZE * 6, tensor_size(y));
    for (int p = 0; p < SIZE * SIZE; p++) memcpy(out + 3 * p, (float *)y->data + 6 * p, 3 * sizeof(float));
    tape_free(t);
}

/* What is wide costs no multiplication, and bf16 answers are nearer to those in f32 for it (SPEED.md, "Sixteen bits"): among much
 * noise the first and the last layers count, among little noise those inside, too. */
static void wide_results_are_nearer(void **state)
{
    (void)state;
    enum { VALUES = 64 * 64 * 3 };
    static const struct {
        float timestep, signal, noise, most; /* most: of bf16's squared error that may be left */
    } cases[] = {{700, 0.45f, 0.89f, 0.15f}, {30, 0.998f, 0.06f, 0.15f}};
    static float x[VALUES], answers[3][VALUES];
    TextUNet *m;
    Kernels *k;
    assert_int_equal(STATUS_OK, text_unet_load("data/weights/base.h5", "base", &m, NULL));
    assert_int_equal(STATUS_OK, kernels_new(KERNELS_BEST, &k));
    for (int i = 0; i < 2; i++) {
        double error[3] = {0};
        rng_normal(&(RngKey){.seed = 11, .stream = RNG_INIT_NOISE}, x, VALUES);
        for (int j = 0; j < VALUES; j++) { /* a disc before a white wall */
            bool inside = hypot(j / 3 % 64 - 32, j / 3 / 64 - 32) < 20;
            x[j] = cases[i].signal * (inside ? 0.3f * (float)(j % 3) - 0.4f : 1) + cases[i].noise * x[j];
        }
        for (int kind = 0; kind < 3; kind++) {
            answer_of_default(k, m, kind, cases[i].timestep, x, answers[kind]);
            for (int j = 0; j < VALUES; j++) error[kind] += pow(answers[kind][j] - answers[0][j], 2);
        }
        if (!(error[1] > 0 && error[2] < cases[i].most * error[1]))
            fail_msg("timestep %g: squared error %g, wide %g", cases[i].timestep, error[1], error[2]);
        print_message("timestep %g: wide results leave %.3f of the squared error\n", cases[i].timestep, error[2] / error[1]);
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

/* A model that could not run, or not be trained, is refused when it is made, by the field's name. */
static void impossible_fields_are_refused(void **state)
{
    (void)state;
    TextUNet *m;
    TextUNetConfig c, plain;
    OK(base_model_config("tiny", &plain));
    plain.unet.head_channels = -1;
    c = plain;
    c.unet.heads_upsample = 7;
    FAILS(text_unet_new_shapes(&c, &m), STATUS_BAD_INPUT, "num_heads_upsample: 7");
    c.unet.heads_upsample = 4;
    OK(text_unet_new_shapes(&c, &m));
    text_unet_free(m);
    static const float dropouts[] = {1, -0.5f, INFINITY, NAN};
    for (int i = 0; i < 4; i++) {
        c = plain;
        c.unet.dropout = dropouts[i];
        FAILS(text_unet_new_shapes(&c, &m), STATUS_BAD_INPUT, "dropout");
    }
    c = plain;
    c.unet.channels = 1;
    for (int i = 0; i < c.unet.levels; i++) c.unet.mult[i] = 32;
    FAILS(text_unet_new_shapes(&c, &m), STATUS_BAD_INPUT, "num_channels: expected 2 to 16384, found 1");
    c = plain;
    c.diffusion_steps = 1;
    FAILS(text_unet_new_shapes(&c, &m), STATUS_BAD_INPUT, "steps, found 1");
    c = plain;
    strcpy(c.noise_schedule, "sine");
    FAILS(text_unet_new_shapes(&c, &m), STATUS_BAD_INPUT, "found \"sine\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_of_a_pair_are_given_once),
        cmocka_unit_test(wide_results_are_nearer),
        cmocka_unit_test(odd_numbers_of_pictures_are_refused),
        cmocka_unit_test(impossible_fields_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
