/* The noise-aware CLIP: embeddings, gradients, files, what is read off state dicts. Parity: test_parity.c. */
#include "guidance/clip_file.h"
#include "guidance/clip_import.h"
#include "tests/support_folder.h"
#include "tests/support_guides.h"
#include "tests/support_models.h"
#include "tests/support_status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const ClipConfig tiny = {.n_embd = 24, .image_size = 12, .patch_size = 3, .image = {32, 2, 2}, .text = {16, 2, 3},
                                .n_vocab = 50, .max_text_len = 10, .n_timesteps = 80, .beta_schedule = "linear", .logit_scale = 20};

static const int32_t tokens[3][10] = {{1, 7, 9, 2}, {1, 2}, {1, 44, 3, 4, 5, 6, 7, 8, 9, 2}}, lengths[3] = {4, 2, 10};

static Clip *tiny_clip(void)
{
    Clip *m;
    OK(clip_new(&tiny, &m));
    fill_params(&m->params, 60);
    return m;
}

static void make_guide(const void *model, Kernels *k, int64_t first, int64_t n, Guide *out)
{
    OK(guide_clip(out, k, DTYPE_F32, model, tokens[first], lengths + first, n));
}

static void test_gradients(void **state)
{
    (void)state;
    Clip *m = tiny_clip();
    check_guide_slopes(m, make_guide, 12, 6e-3);
    check_guide_bf16(m, make_guide, 12);
    clip_free(m);
}

static void test_rows_are_independent(void **state)
{
    (void)state;
    Clip *m = tiny_clip();
    check_guide_rows(m, &m->params, make_guide, 12);
    clip_free(m);
}

static void make_large_guide(const void *model, Kernels *k, int64_t first, int64_t n, Guide *out)
{
    static const int32_t texts[3][77] = {{49406, 7, 9, 49407}, {49406, 320, 1125, 539, 49407}, {49406, 49407}}, ends[3] = {4, 77, 2};
    OK(guide_clip(out, k, DTYPE_F32, model, texts[first], ends + first, n));
}

static void make_large_guide_bf16(const void *model, Kernels *k, int64_t first, int64_t n, Guide *out)
{
    make_large_guide(model, k, first, n, out);
    tape_set_dtype(out->tape, DTYPE_BF16);
}

/* In the released size other kernels run: half a minute, with GLIDE_TEST_LONG only. */
static void test_rows_in_full_size(void **state)
{
    (void)state;
    ClipConfig c;
    Clip *m;
    if (!getenv("GLIDE_TEST_LONG")) skip();
    clip_config_defaults(&c);
    OK(clip_new(&c, &m));
    fill_params(&m->params, 1);
    check_guide_rows(m, &m->params, make_large_guide, 64);
    check_guide_rows(m, &m->params, make_large_guide_bf16, 64);
    clip_free(m);
}

/* --- encoders --- */

typedef struct Bench {
    Clip *m;
    Kernels *k;
    Tape *t;
} Bench;

static Bench bench_new(void)
{
    Bench b = {.m = tiny_clip()};
    OK(kernels_new(KERNELS_BEST, &b.k));
    OK(tape_new(b.k, &b.t));
    return b;
}

static void bench_free(Bench *b)
{
    tape_free(b->t);
    clip_free(b->m);
    kernels_free(b->k);
}

static void encode_text(Bench *b, const int32_t *row, int32_t length, float out[24])
{
    Tensor *z = op_unit_length(b->t, clip_text_encode(b->t, b->m, row, &length, 1, NULL));
    OK(tape_status(b->t));
    memcpy(out, z->data, 24 * sizeof *out);
    tape_reset(b->t);
}

/* What comes after the end does not count; everything before it does. */
static void test_text(void **state)
{
    (void)state;
    Bench b = bench_new();
    int32_t row[10];
    float first[24], other[24];
    double length = 0;
    memcpy(row, tokens[0], sizeof row);
    encode_text(&b, row, 4, first);
    for (int i = 0; i < 24; i++) length += (double)first[i] * (double)first[i];
    assert_true(fabs(length - 1) < 1e-6);
    row[4] = 33, row[9] = 49;
    encode_text(&b, row, 4, other);
    assert_memory_equal(first, other, sizeof first);
    row[2] = 7, row[1] = 9; /* another order */
    encode_text(&b, row, 4, other);
    assert_memory_not_equal(first, other, sizeof first);
    memcpy(row, tokens[0], sizeof row);
    encode_text(&b, row, 3, other);
    assert_memory_not_equal(first, other, sizeof first);
    bench_free(&b);
}

static void encode_image(Bench *b, const float *x, float timestep, float out[24])
{
    Tensor *in = tape_input(b->t, DTYPE_F32, 4, (int64_t[]){1, 12, 12, 3}, x);
    Tensor *z = clip_image_encode(b->t, b->m, in, &timestep, NULL);
    OK(tape_status(b->t));
    assert_int_equal(z->dtype, DTYPE_F32);
    memcpy(out, z->data, 24 * sizeof *out);
    tape_reset(b->t);
}

static void test_timesteps(void **state)
{
    (void)state;
    Bench b = bench_new();
    float *x = random_values(12 * 12 * 3, 3, 1), at_20[24], at_20_4[24], at_21[24];
    encode_image(&b, x, 20, at_20);
    encode_image(&b, x, 20.4f, at_20_4);
    encode_image(&b, x, 21, at_21);
    assert_memory_equal(at_20, at_20_4, sizeof at_20);
    assert_memory_not_equal(at_20, at_21, sizeof at_20);
    encode_image(&b, x, 79.4f, at_20);
    const float wrong[] = {80, -1, NAN, 79.6f};
    for (int i = 0; i < 4; i++) {
        Tensor *in = tape_input(b.t, DTYPE_F32, 4, (int64_t[]){1, 12, 12, 3}, x);
        assert_null(clip_image_encode(b.t, b.m, in, &wrong[i], NULL));
        FAILS(tape_status(b.t), STATUS_BAD_INPUT, "CLIP knows the timesteps 0 to 79");
        tape_reset(b.t);
    }
    free(x);
    bench_free(&b);
}

/* Patches of a convolution with stride, written out: the first block's input without the norm, positions and time. */
static void test_patches_by_hand(void **state)
{
    (void)state;
    static const double mean[3] = {122.77093945, 116.74601272, 104.09373519}, std[3] = {68.50053285, 66.63215831, 70.32316309};
    Bench b = bench_new();
    float *x = random_values(12 * 12 * 3, 3, 1);
    const float *w = params_find(&b.m->params, "image_enc.blocks.input.patch_proj")->value;
    Tensor *in = tape_input(b.t, DTYPE_F32, 4, (int64_t[]){1, 12, 12, 3}, x);
    Tensor *y = op_affine_channels(b.t, in, b.m->pixel_scale, b.m->pixel_shift);
    y = op_linear(b.t, op_patches(b.t, y, 3), &b.m->patches, NULL);
    OK(tape_status(b.t));
    for (int patch = 0; patch < 16; patch++)
        for (int o = 0; o < 32; o++) {
            double sum = 0;
            for (int i = 0; i < 27; i++) {
                int c = i / 9, row = patch / 4 * 3 + i % 9 / 3, column = patch % 4 * 3 + i % 3;
                double pixel = ((double)x[(row * 12 + column) * 3 + c] + 1) * 127.5;
                sum += (double)w[o * 27 + i] * (pixel - mean[c]) / std[c];
            }
            assert_true(fabs(sum - (double)((float *)y->data)[patch * 32 + o]) < 1e-5);
        }
    free(x);
    bench_free(&b);
}

static void test_wrong_inputs(void **state)
{
    (void)state;
    Bench b = bench_new();
    Guide g;
    static float x[16 * 16 * 3], gradient[16 * 16 * 3];
    FAILS(guide_clip(&g, b.k, DTYPE_F32, b.m, tokens[0], (const int32_t[]){0}, 1), STATUS_BAD_INPUT, "texts of 1 to 10 tokens, found 0");
    FAILS(guide_clip(&g, b.k, DTYPE_F32, b.m, tokens[0], (const int32_t[]){11}, 1), STATUS_BAD_INPUT, "found 11");
    FAILS(guide_clip(&g, b.k, DTYPE_F32, b.m, (const int32_t[10]){50}, lengths, 1), STATUS_BAD_INPUT, "id 50 is outside text_enc.");
    OK(guide_clip(&g, b.k, DTYPE_F32, b.m, tokens[0], lengths, 1));
    FAILS(guide_gradient(&g, x, 16, 16, (const float[]){1}, gradient, NULL), STATUS_BAD_INPUT, "reads pictures of 12 x 12 pixels");
    FAILS(guide_gradient(&g, x, 12, 12, (const float[]){80}, gradient, NULL), STATUS_BAD_INPUT, "timesteps 0 to 79");
    OK(guide_gradient(&g, x, 12, 12, (const float[]){1}, gradient, NULL)); /* works again after an error */
    guide_release(&g);
    bench_free(&b);
}

static void test_wrong_configurations(void **state)
{
    (void)state;
    Clip *m;
    ClipConfig c = tiny;
    c.image.heads = 0;
    FAILS(clip_new(&c, &m), STATUS_BAD_INPUT, "n_head_image: 0 does not divide the width of 32");
    c = tiny;
    c.patch_size = 5;
    FAILS(clip_new(&c, &m), STATUS_BAD_INPUT, "patch_size: 5 does not cut 12 pixels");
    c = tiny;
    c.text.layers = 0;
    FAILS(clip_new(&c, &m), STATUS_BAD_INPUT, "n_xf_blocks_text: expected 1 to 1024, found 0");
    c = tiny;
    c.logit_scale = NAN;
    FAILS(clip_new(&c, &m), STATUS_BAD_INPUT, "logit_scale");
    c = tiny;
    c.max_text_len = 1;
    FAILS(clip_new(&c, &m), STATUS_BAD_INPUT, "max_text_len: expected 2 to 65536, found 1");
    c = tiny;
    c.n_timesteps = 20;
    FAILS(clip_new(&c, &m), STATUS_BAD_INPUT, "beta 19 is 1");
    assert_null(m);
}

/* --- files --- */

static void test_files(void **state)
{
    (void)state;
    char folder[64], path[128];
    Clip *m = tiny_clip(), *back;
    uint64_t hash;
    make_test_folder(folder);
    snprintf(path, sizeof path, "%s/clip.h5", folder);
    OK(clip_save(path, m, H5KIND_F32));
    OK(clip_load(path, &back, &hash));
    assert_memory_equal(&m->config, &back->config, sizeof m->config);
    assert_int_equal(m->params.count, back->params.count);
    for (int i = 0; i < m->params.count; i++)
        assert_memory_equal(m->params.items[i]->value, back->params.items[i]->value, m->params.items[i]->size * sizeof(float));
    assert_true(hash == weights_hash(&m->params));
    clip_free(back);
    m->config.n_vocab = 1 << 24; /* more than the file holds: not even allocated */
    OK(clip_save(path, m, H5KIND_F16));
    FAILS(clip_load(path, &back, NULL), STATUS_BAD_INPUT, "1 of another shape");
    assert_non_null(strstr(status_details(), "    text_enc.blocks.input.w_voc: found (50,16), expected (16777216,16)\n"));
    m->config.n_vocab = 50;
    m->config.text.heads = 3;
    OK(clip_save(path, m, H5KIND_F16));
    FAILS(clip_load(path, &back, NULL), STATUS_BAD_INPUT, "clip.h5: n_head_text: 3 does not divide");
    assert_null(back);
    clip_free(m);
    remove_test_folder(folder);
}

/* --- state dicts --- */

static void infer_back(const ClipConfig *c, const ClipConfig *expected, int64_t parameters)
{
    Clip *m;
    ClipConfig found;
    OK(clip_new_shapes(c, &m));
    if (parameters) assert_true((int64_t)m->params.total == parameters);
    StateDict image = shapes_as_dict(&m->params, CLIP_IMAGE_PREFIX), text = shapes_as_dict(&m->params, CLIP_TEXT_PREFIX);
    assert_int_equal(image.count + text.count, m->params.count);
    OK(clip_infer(&image, "image.pt", &text, "text.pt", &found));
    assert_memory_equal(&found, expected, sizeof found);
    FAILS(clip_infer(&text, "text.pt", &image, "image.pt", &found), STATUS_BAD_INPUT,
          "text.pt: no parameter blocks.input.w_t: not the image encoder of a noise-aware CLIP");
    state_dict_find(&text, "blocks.output.f.w")->dims[0]++;
    FAILS(clip_infer(&image, "image.pt", &text, "text.pt", &found), STATUS_BAD_INPUT, "text.pt: blocks.output.f.w: dimension 0");
    state_dict_find(&image, "blocks.input.w_pos")->dims[0]++;
    FAILS(clip_infer(&image, "image.pt", &text, "text.pt", &found), STATUS_BAD_INPUT, "expected a square and one");
    shapes_release(&image);
    shapes_release(&text);
    clip_free(m);
}

static void test_infer(void **state)
{
    (void)state;
    ClipConfig c, expected = tiny;
    memset(&c, 0, sizeof c);
    clip_config_defaults(&c);
    infer_back(&c, &c, 86443776 + 71679488);
    expected.image.heads = expected.text.heads = 0;
    strcpy(expected.beta_schedule, "squaredcos_cap_v2");
    expected.logit_scale = 100;
    infer_back(&tiny, &expected, 0);
}

static void test_import(void **state)
{
    (void)state;
    StateDict *image, *text;
    ClipConfig c;
    Clip *m;
    bool is_text;
    OK(state_dict_open("tests/fixtures/clip_image_enc.pt", NULL, &image));
    OK(state_dict_open("tests/fixtures/clip_text_enc.pt", NULL, &text));
    OK(clip_infer(image, "clip_image_enc.pt", text, "clip_text_enc.pt", &c));
    FAILS(clip_import(image, text, &c, &m), STATUS_BAD_INPUT, "n_head_image");
    OK(clip_config_from_yaml("tests/fixtures/clip_config.yaml", &c));
    OK(clip_import(image, text, &c, &m));
    assert_string_equal(clip_param_name(m->params.items[0], &is_text), "blocks.input.w_t");
    assert_false(is_text);
    assert_string_equal(clip_param_name(m->params.items[m->params.count - 1], &is_text), "blocks.output.f.w");
    assert_true(is_text);
    clip_free(m);
    c.text.layers++;
    FAILS(clip_import(image, text, &c, &m), STATUS_BAD_INPUT, "missing");
    assert_non_null(strstr(status_details(), "    blocks.block_2.f_attn.ln.g"));
    assert_null(m);
    state_dict_close(image);
    state_dict_close(text);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_configuration_files(void **state)
{
    (void)state;
    char folder[64], path[128];
    ClipConfig c;
    make_test_folder(folder);
    snprintf(path, sizeof path, "%s/config.yaml", folder);
    clip_config_defaults(&c);
    write_text(path, "# heads\n\nn_head_image: 3   # three\nn_head_state_image: 16\nbeta_schedule: \"linear\"\nlogit_scale: 2.5\r\nnew: 3\n");
    OK(clip_config_from_yaml(path, &c));
    assert_int_equal(c.image.heads, 3);
    assert_int_equal(c.image.width, 48);
    assert_int_equal(c.text.width, 512);
    assert_string_equal(c.beta_schedule, "linear");
    assert_true(c.logit_scale == 2.5);
    static const char *const wrong[] = {"n_embd: 512\nn_embd 3\n", "\nn_embd: many\n", "\nn_embd: 0.5\n", "\nn_embd: -1\n", "\nn_embd: 1e99\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_text(path, wrong[i]);
        FAILS(clip_config_from_yaml(path, &c), STATUS_BAD_INPUT, "config.yaml: line 2: expected \"name: value\"");
    }
    char text[1024];
    snprintf(text, sizeof text, "# %0900d\nn_embd: 64\n", 0);
    write_text(path, text);
    OK(clip_config_from_yaml(path, &c));
    assert_int_equal(c.n_embd, 64);
    FAILS(clip_config_from_yaml(folder, &c), STATUS_IO, "directory");
    FAILS(clip_config_from_yaml("/nowhere.yaml", &c), STATUS_IO, "/nowhere.yaml: No such file or directory");
    remove_test_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),       cmocka_unit_test(test_rows_are_independent),
        cmocka_unit_test(test_rows_in_full_size),
        cmocka_unit_test(test_text),            cmocka_unit_test(test_timesteps),
        cmocka_unit_test(test_patches_by_hand), cmocka_unit_test(test_wrong_inputs),
        cmocka_unit_test(test_wrong_configurations), cmocka_unit_test(test_files),
        cmocka_unit_test(test_infer),           cmocka_unit_test(test_import),
        cmocka_unit_test(test_configuration_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
