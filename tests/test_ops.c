/* Every op's backward pass against derivatives of its forward pass; scopes, checkpointing and sticky errors of the tape. */
#include "tests/support_gradcheck.h"
#include "common/unet_blocks.h"

#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#define ONE_INPUT(...) 1, (const int[]){4}, (const int64_t[][4]){__VA_ARGS__}

typedef struct Layers {
    Conv2d conv;
    Linear linear;
    Norm norm;
    Param *table, *position, *padding;
    ResBlock res;
    AttentionBlock attention;
} Layers;

/* --- one function per op ------------------------------------------------------------------------- */

static Tensor *run_conv(Tape *t, const void *ctx, Tensor **in)
{
    return op_conv2d(t, in[0], &((const Layers *)ctx)->conv, NULL);
}

static Tensor *run_conv_upsampled(Tape *t, const void *ctx, Tensor **in)
{
    return op_conv2d_upsampled(t, in[0], &((const Layers *)ctx)->conv);
}

static Tensor *run_conv_residual(Tape *t, const void *ctx, Tensor **in)
{
    return op_conv2d(t, in[0], &((const Layers *)ctx)->conv, in[1]);
}

static Tensor *run_linear(Tape *t, const void *ctx, Tensor **in)
{
    return op_linear(t, in[0], &((const Layers *)ctx)->linear, in[1]);
}

static Tensor *run_attention(Tape *t, const void *ctx, Tensor **in)
{
    return op_attention(t, in[0], in[1], 2, ctx != NULL);
}

static Tensor *run_group_norm(Tape *t, const void *ctx, Tensor **in)
{
    return op_group_norm(t, in[0], &((const Layers *)ctx)->norm, in[1], ACT_SILU);
}

static Tensor *run_group_norm_plain(Tape *t, const void *ctx, Tensor **in)
{
    return op_group_norm(t, in[0], &((const Layers *)ctx)->norm, NULL, ACT_NONE);
}

static Tensor *run_layer_norm(Tape *t, const void *ctx, Tensor **in)
{
    return op_layer_norm(t, in[0], &((const Layers *)ctx)->norm);
}

static Tensor *run_activations(Tape *t, const void *ctx, Tensor **in)
{
    (void)ctx;
    return op_silu(t, op_gelu(t, op_scale(t, in[0], 1.5f)));
}

static Tensor *run_resampling(Tape *t, const void *ctx, Tensor **in)
{
    (void)ctx;
    Tensor *x = op_upsample2x(t, in[0]);
    x = op_resize_bilinear(t, x, 6, 14);
    return op_avg_pool2x(t, x);
}

static Tensor *run_shapes(Tape *t, const void *ctx, Tensor **in)
{
    (void)ctx;
    Tensor *x = op_concat(t, in[0], in[1]);
    x = op_add(t, x, x); /* one tensor twice */
    x = op_reshape(t, x, 3, (int64_t[]){2, 12, 8});
    return op_take_position(t, op_add(t, x, op_silu(t, x)), -2);
}

static Tensor *run_repeat(Tape *t, const void *ctx, Tensor **in)
{
    (void)ctx;
    return op_add(t, op_repeat(t, op_repeat(t, in[0], 2), 6), in[1]);
}

static Tensor *run_add_channels(Tape *t, const void *ctx, Tensor **in)
{
    (void)ctx;
    return op_add_channels(t, in[0], in[1]);
}

static Tensor *run_dropout(Tape *t, const void *ctx, Tensor **in)
{
    (void)ctx;
    tape_set_dropout(t, (RngKey){.seed = 3});
    return op_dropout(t, op_dropout(t, in[0], 0.4f), 0.2f);
}

static Tensor *run_embedding(Tape *t, const void *ctx, Tensor **in)
{
    const Layers *l = ctx;
    static const int32_t tokens[6] = {0, 3, 3, 6, 1, 6};
    static const uint8_t mask[6] = {1, 1, 0, 1, 1, 0};
    Tensor *x = op_text_embedding(t, tokens, mask, 2, 3, l->table, l->position, l->padding);
    return op_add(t, op_reshape(t, x, 4, (int64_t[]){2, 1, 3, 8}), in[0]);
}

static Tensor *run_cross_entropy(Tape *t, const void *ctx, Tensor **in)
{
    (void)ctx;
    return op_cross_entropy(t, op_reshape(t, in[0], 2, (int64_t[]){3, 5}), (const int32_t[]){4, 0, 2});
}

static Tensor *resblock_fn(Tape *t, const void *ctx, Tensor **in)
{
    return resblock_forward(t, &((const Layers *)ctx)->res, in[0], in[1]);
}

static Tensor *run_checkpointed(Tape *t, const void *ctx, Tensor **in)
{
    Tensor *x = tape_checkpoint(t, resblock_fn, ctx, in, 2);
    return op_silu(t, x);
}

static Tensor *run_attention_block(Tape *t, const void *ctx, Tensor **in)
{
    return attention_block_forward(t, &((const Layers *)ctx)->attention, in[0], in[1]);
}

static Tensor *run_causal_attention(Tape *t, const void *ctx, Tensor **in)
{
    return op_causal_attention(t, in[0], 2, ctx != NULL);
}

/* A convolution with a kernel as large as its stride, without bias, as CLIP cuts pictures. */
static Tensor *run_patches(Tape *t, const void *ctx, Tensor **in)
{
    static const float scale[3] = {0.5f, 2, -1.5f}, shift[3] = {1, -0.25f, 0};
    return op_linear(t, op_patches(t, op_affine_channels(t, in[0], scale, shift), 2), &((const Layers *)ctx)->linear, NULL);
}

/* (2,3,8) and (2,8) -> (2,4,8) with positions added, one taken from each row, and their mean. */
static Tensor *run_positions(Tape *t, const void *ctx, Tensor **in)
{
    const Layers *l = ctx;
    Tensor *x = op_join_positions(t, op_reshape(t, in[1], 3, (int64_t[]){2, 1, 8}), in[0]);
    x = op_add_positions(t, op_add_positions(t, x, l->position, false), l->table, true);
    return op_add(t, op_take_positions(t, x, (const int32_t[]){3, 0}), op_mean_positions(t, x));
}

static Tensor *run_pooling(Tape *t, const void *ctx, Tensor **in)
{
    (void)ctx;
    return op_unit_length(t, op_add(t, op_relu(t, in[0]), op_scale(t, in[0], 0.1f)));
}

/* --- tests ---------------------------------------------------------------------------------------- */

static void test_conv2d(void **state)
{
    (void)state;
    static const int cases[][3] = {{3, 1, 0}, {1, 1, 0}, {3, 2, 0}, {3, 1, 1}}; /* kernel, stride, residual */
    for (int i = 0; i < 4; i++) {
        ParamSet set;
        params_init(&set);
        Layers l = {.conv = conv2d_make(&set, 5, 7, cases[i][0], cases[i][1], 1, "conv")};
        gradcheck(cases[i][2] ? run_conv_residual : run_conv, &l, 1 + cases[i][2], (const int[]){4, 4},
                  (const int64_t[][4]){{2, 6, 5, 5}, {2, 6, 5, 7}}, &set, 2e-3);
    }
}

static void test_gradient_of_upsampled(void **state)
{
    (void)state;
    static const int channels[][2] = {{5, 7}, {48, 32}};
    for (int i = 0; i < 2; i++) {
        ParamSet set;
        params_init(&set);
        Layers l = {.conv = conv2d_make(&set, channels[i][0], channels[i][1], 3, 1, 1, "conv")};
        gradcheck(run_conv_upsampled, &l, ONE_INPUT({2, 3, 5, channels[i][0]}), &set, 2e-3);
    }
}

static void test_linear(void **state)
{
    (void)state;
    ParamSet set;
    params_init(&set);
    Layers l = {.linear = linear_make(&set, 9, 11, 1, "linear")};
    gradcheck(run_linear, &l, 2, (const int[]){3, 3}, (const int64_t[][4]){{2, 5, 9}, {2, 5, 11}}, &set, 2e-3);
}

static void test_attention(void **state)
{
    (void)state;
    gradcheck(run_attention, NULL, 2, (const int[]){3, 3}, (const int64_t[][4]){{2, 6, 48}, {2, 3, 32}}, NULL, 4e-3);
    gradcheck(run_attention, "split first", 2, (const int[]){3, 3}, (const int64_t[][4]){{1, 7, 24}, {1, 4, 16}}, NULL, 4e-3);
}

static void test_tokens(void **state)
{
    (void)state;
    gradcheck(run_causal_attention, NULL, 1, (const int[]){3}, (const int64_t[][4]){{2, 7, 24}}, NULL, 4e-3);
    gradcheck(run_causal_attention, "split first", 1, (const int[]){3}, (const int64_t[][4]){{1, 5, 48}}, NULL, 4e-3);
    ParamSet set;
    params_init(&set);
    Layers l = {.linear = {.weight = params_add(&set, INIT_NORMAL, 1, 4, (int64_t[]){5, 3, 2, 2}, "patches")}};
    gradcheck(run_patches, &l, ONE_INPUT({2, 4, 6, 3}), &set, 2e-3);
    params_init(&set);
    l.position = params_add(&set, INIT_NORMAL, 1, 2, (int64_t[]){4, 8}, "positions");
    l.table = params_add(&set, INIT_NORMAL, 1, 2, (int64_t[]){8, 4}, "positions, channels first");
    gradcheck(run_positions, &l, 2, (const int[]){3, 2}, (const int64_t[][4]){{2, 3, 8}, {2, 8}}, &set, 2e-3);
    gradcheck(run_pooling, NULL, 1, (const int[]){2}, (const int64_t[][4]){{3, 9}}, NULL, 6e-3);
}

static void test_norms(void **state)
{
    (void)state;
    ParamSet set;
    params_init(&set);
    Layers l = {.norm = norm_make(&set, 64, "norm")};
    gradcheck(run_group_norm, &l, 2, (const int[]){4, 2}, (const int64_t[][4]){{2, 3, 5, 64}, {2, 128}}, &set, 4e-3);
    params_init(&set);
    l.norm = norm_make(&set, 32, "norm");
    gradcheck(run_group_norm_plain, &l, ONE_INPUT({2, 3, 4, 32}), &set, 4e-3);
    params_init(&set);
    l.norm = norm_make(&set, 20, "norm");
    gradcheck(run_layer_norm, &l, 1, (const int[]){3}, (const int64_t[][4]){{2, 3, 20}}, &set, 4e-3);
}

static void test_pointwise_and_shapes(void **state)
{
    (void)state;
    gradcheck(run_activations, NULL, ONE_INPUT({2, 3, 5, 7}), NULL, 2e-3);
    gradcheck(run_resampling, NULL, ONE_INPUT({2, 4, 5, 3}), NULL, 2e-3);
    gradcheck(run_shapes, NULL, 2, (const int[]){4, 4}, (const int64_t[][4]){{2, 3, 4, 5}, {2, 3, 4, 3}}, NULL, 2e-3);
    gradcheck(run_repeat, NULL, 2, (const int[]){4, 4}, (const int64_t[][4]){{2, 3, 4, 5}, {6, 3, 4, 5}}, NULL, 2e-3);
    gradcheck(run_add_channels, NULL, 2, (const int[]){4, 2}, (const int64_t[][4]){{2, 3, 4, 5}, {2, 5}}, NULL, 2e-3);
    gradcheck(run_dropout, NULL, ONE_INPUT({2, 3, 4, 5}), NULL, 2e-3);
}

static void test_embedding_and_losses(void **state)
{
    (void)state;
    ParamSet set;
    params_init(&set);
    Layers l = {.table = params_add(&set, INIT_NORMAL, 1, 2, (int64_t[]){7, 8}, "table"),
                .position = params_add(&set, INIT_NORMAL, 1, 2, (int64_t[]){3, 8}, "position"),
                .padding = params_add(&set, INIT_NORMAL, 1, 2, (int64_t[]){3, 8}, "padding")};
    gradcheck(run_embedding, &l, ONE_INPUT({2, 1, 3, 8}), &set, 2e-3);
    gradcheck(run_cross_entropy, NULL, ONE_INPUT({3, 1, 1, 5}), NULL, 2e-3);
}

static void test_blocks(void **state)
{
    (void)state;
    ParamSet set;
    for (int how = RESAMPLE_NONE; how <= RESAMPLE_DOWN; how++)
        for (int film = 0; film < 2; film++) {
            params_init(&set);
            Layers l = {.res = resblock_make(&set, how ? 64 : 32, 6, 64, film, (Resample)how, 0.1f, "res")};
            gradcheck(how ? resblock_fn : run_checkpointed, &l, 2, (const int[]){4, 2},
                      (const int64_t[][4]){{2, 4, 4, how ? 64 : 32}, {2, 6}}, &set, 6e-3);
        }
    params_init(&set);
    Layers l = {.attention = attention_block_make(&set, 32, 2, 0, false, "attention")};
    gradcheck(run_attention_block, &l, 2, (const int[]){4, 3}, (const int64_t[][4]){{2, 2, 3, 32}, {2, 4, 64}}, &set, 6e-3);
}

static void test_errors_are_sticky(void **state)
{
    (void)state;
    Kernels *k;
    Tape *t;
    ParamSet set;
    assert_int_equal(kernels_new(KERNELS_BEST, &k), STATUS_OK);
    assert_int_equal(tape_new(k, &t), STATUS_OK);
    params_init(&set);
    Conv2d conv = conv2d_make(&set, 5, 7, 3, 1, 1, "input_blocks.0.0");
    static const float zeros[2 * 4 * 4 * 4];
    Tensor *x = tape_input(t, DTYPE_F32, 4, (int64_t[]){2, 4, 4, 4}, zeros);
    Tensor *y = op_silu(t, op_conv2d(t, x, &conv, NULL));
    assert_null(y);
    assert_null(op_concat(t, y, x));
    assert_int_equal(tape_status(t), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "input_blocks.0.0"));
    assert_non_null(strstr(status_message(), "(2,4,4,4)"));
    tape_reset(t);
    assert_int_equal(tape_status(t), STATUS_OK);
    tape_free(t);
    params_release(&set);
    kernels_free(k);
}

/* A doubled picture's convolution may be done another way, which must not show in the results. */
static void test_conv2d_upsampled(void **state)
{
    (void)state;
    Kernels *k;
    Tape *t;
    ParamSet set;
    float x0[2 * 5 * 4 * 96];
    for (int i = 0; i < 2 * 5 * 4 * 96; i++) x0[i] = sinf((float)i);
    assert_int_equal(kernels_new(KERNELS_BEST, &k), STATUS_OK);
    params_init(&set);
    Conv2d conv = conv2d_make(&set, 96, 48, 3, 1, 1, "conv");
    params_randomize(&set, 1);
    for (int type = 0; type < 2; type++) {
        assert_int_equal(tape_new(k, &t), STATUS_OK);
        Tensor *x = tape_input(t, (DType)type, 4, (int64_t[]){2, 5, 4, 96}, x0);
        Tensor *want = op_conv2d(t, op_upsample2x(t, x), &conv, NULL), *y = op_conv2d_upsampled(t, x, &conv);
        assert_int_equal(tape_status(t), STATUS_OK);
        assert_true(y->ndim == 4 && y->dims[0] == 2 && y->dims[1] == 10 && y->dims[2] == 8 && y->dims[3] == 48);
        for (int64_t i = 0; i < 2 * 10 * 8 * 48; i++) {
            float a = type == DTYPE_F32 ? ((float *)y->data)[i] : bf16_to_f32(((uint16_t *)y->data)[i]);
            float b = type == DTYPE_F32 ? ((float *)want->data)[i] : bf16_to_f32(((uint16_t *)want->data)[i]);
            if (!(fabsf(a - b) <= (type ? 2e-2f : 1e-6f) * (1 + fabsf(b)))) fail_msg("%g, expected %g", (double)a, (double)b);
        }
        tape_free(t);
    }
    params_release(&set);
    kernels_free(k);
}

/* Without recording a chain of blocks must not need more memory the longer it is. */
static void test_scopes_give_memory_back(void **state)
{
    (void)state;
    Kernels *k;
    ParamSet set;
    size_t peak[2];
    assert_int_equal(kernels_new(KERNELS_BEST, &k), STATUS_OK);
    params_init(&set);
    ResBlock res = resblock_make(&set, 32, 8, 32, true, RESAMPLE_NONE, 0, "res");
    static float x0[1 * 16 * 16 * 32], emb0[8];
    for (int round = 0; round < 2; round++) {
        Tape *t;
        assert_int_equal(tape_new(k, &t), STATUS_OK);
        Tensor *x = tape_input(t, DTYPE_F32, 4, (int64_t[]){1, 16, 16, 32}, x0);
        Tensor *emb = tape_input(t, DTYPE_F32, 2, (int64_t[]){1, 8}, emb0);
        for (int i = 0; i < (round ? 20 : 2); i++) {
            Tensor *below = x;
            x = resblock_forward(t, &res, x, emb);
            tape_release(t, below);
        }
        assert_int_equal(tape_status(t), STATUS_OK);
        peak[round] = tape_peak_bytes(t);
        tape_free(t);
    }
    assert_int_equal(peak[0], peak[1]);
    params_release(&set);
    kernels_free(k);
}

static Status without_memory(Kernels *k, DType type, int64_t rows, int64_t C, const void *x, const float *gamma, const float *stats,
                             const void *d_y, void *d_x, float *d_gamma, float *d_beta)
{
    (void)k, (void)type, (void)rows, (void)C, (void)x, (void)gamma, (void)stats, (void)d_y, (void)d_x, (void)d_gamma, (void)d_beta;
    return status_fail(STATUS_NO_MEMORY, "out of memory");
}

static Tensor *run_two_norms(Tape *t, const void *ctx, Tensor **in)
{
    Tensor *y = op_layer_norm(t, in[0], ctx);
    return op_add(t, y, op_layer_norm(t, op_silu(t, in[0]), ctx));
}

/* After a backward pass that failed half-way, a reset tape holds no more than a new one. */
static void test_failures_give_memory_back(void **state)
{
    (void)state;
    Kernels *k;
    Tape *t;
    ParamSet set;
    size_t peak = 0;
    static const float zeros[4 * 8 * 32];
    assert_int_equal(kernels_new(KERNELS_BEST, &k), STATUS_OK);
    assert_int_equal(tape_new(k, &t), STATUS_OK);
    params_init(&set);
    Norm norm = norm_make(&set, 32, "norm");
    k->layer_norm_backward = without_memory;
    for (int round = 0; round < 6; round++) {
        tape_record(t, true);
        Tensor *x = tape_input(t, DTYPE_F32, 3, (int64_t[]){4, 8, 32}, zeros);
        x->needs_grad = true;
        Tensor *y = round % 2 ? tape_checkpoint(t, run_two_norms, &norm, &x, 1) : run_two_norms(t, &norm, &x);
        assert_int_equal(tape_status(t), STATUS_OK);
        assert_int_equal(tape_backward(t, y, NULL), STATUS_NO_MEMORY);
        tape_reset(t);
        if (round == 1) peak = tape_peak_bytes(t);
    }
    assert_int_equal(tape_peak_bytes(t), peak);
    tape_free(t);
    params_release(&set);
    kernels_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv2d),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_pointwise_and_shapes),
        cmocka_unit_test(test_embedding_and_losses),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_conv2d_upsampled),
        cmocka_unit_test(test_gradient_of_upsampled),
        cmocka_unit_test(test_errors_are_sticky),
        cmocka_unit_test(test_scopes_give_memory_back),
        cmocka_unit_test(test_failures_give_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
