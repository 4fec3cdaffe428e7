/* Guided-diffusion's classifiers: heads, gradients, files, what is read off a state dict. Parity: test_parity.c. */
#include "guidance/classifier_file.h"
#include "guidance/classifier_import.h"
#include "tests/support_folder.h"
#include "tests/support_guides.h"
#include "tests/support_models.h"
#include "tests/support_status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 256 };

static const char *const pools[] = {"attention", "adaptive", "spatial", "spatial_v2"};

/* 8x8 pictures, 5 classes; the heads differ in what else there is to differ in. */
static ClassifierConfig tiny_config(int pool)
{
    ClassifierConfig c;
    classifier_config_defaults(&c);
    memset(c.pool, 0, sizeof c.pool); /* configurations are compared whole */
    strcpy(c.pool, pools[pool]);
    c.pool_width = WIDTH; /* fewer to a group make its norm too crooked for finite differences */
    c.unet = (UNetConfig){.image_size = 8, .in_channels = 3, .out_channels = 5, .channels = 32, .levels = 2, .mult = {1, 2},
                          .res_blocks = 1, .attention_count = 1, .attention_ds = {pool & 1 ? 1 : 2}, .head_channels = 16, .heads = 1,
                          .heads_upsample = -1, .scale_shift_norm = pool != 1, .resblock_updown = pool != 2, .split_first = pool == 3};
    return c;
}

static Classifier *tiny_classifier(int pool)
{
    Classifier *m;
    ClassifierConfig c = tiny_config(pool);
    OK(classifier_new(&c, &m));
    fill_params(&m->params, 40 + (uint64_t)pool);
    for (int i = 0; i < WIDTH && pool == POOL_SPATIAL; i++) /* ReLUs away from their kinks */
        m->hidden.bias->value[i] = i & 1 ? 1.5f : -1.5f;
    return m;
}

static void make_guide(const void *model, Kernels *k, int64_t first, int64_t n, Guide *out)
{
    static const int32_t labels[3] = {4, 0, 2};
    OK(guide_classifier(out, k, DTYPE_F32, model, labels + first, n));
}

static void test_gradients(void **state)
{
    (void)state;
    for (int pool = 0; pool < 4; pool++) {
        Classifier *m = tiny_classifier(pool);
        check_guide_slopes(m, make_guide, 8, 6e-3);
        check_guide_bf16(m, make_guide, 8);
        classifier_free(m);
    }
}

static void test_rows_are_independent(void **state)
{
    (void)state;
    for (int pool = 0; pool < 4; pool++) {
        Classifier *m = tiny_classifier(pool);
        check_guide_rows(m, &m->params, make_guide, 8);
        classifier_free(m);
    }
}

static void make_large_guide(const void *model, Kernels *k, int64_t first, int64_t n, Guide *out)
{
    static const int32_t labels[3] = {1, 500, 999};
    OK(guide_classifier(out, k, DTYPE_F32, model, labels + first, n));
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
    ClassifierConfig c;
    Classifier *m;
    if (!getenv("GLIDE_TEST_LONG")) skip();
    classifier_config_defaults(&c);
    OK(classifier_new(&c, &m));
    fill_params(&m->params, 1);
    check_guide_rows(m, &m->params, make_large_guide, 64);
    check_guide_rows(m, &m->params, make_large_guide_bf16, 64);
    classifier_free(m);
}

/* --- the heads by hand, from the blocks' results --- */

typedef struct Kept {
    double means[256], *middle; /* of all blocks' pixels; the middle's values */
    int features;
    int64_t pixels, C;
} Kept;

static void keep_block(void *ctx, const char *name, const Tensor *x)
{
    Kept *k = ctx;
    if (strncmp(name, "input_blocks", 12) && strcmp(name, "middle_block")) return;
    k->C = x->dims[3];
    k->pixels = x->dims[1] * x->dims[2];
    const float *values = x->data;
    for (int64_t c = 0; c < k->C; c++) {
        double sum = 0;
        for (int64_t p = 0; p < k->pixels; p++) sum += (double)values[p * k->C + c];
        k->means[k->features++] = sum / (double)k->pixels;
    }
    if (strcmp(name, "middle_block")) return;
    k->middle = malloc((size_t)(k->pixels * k->C) * sizeof *k->middle);
    assert_non_null(k->middle);
    for (int64_t i = 0; i < k->pixels * k->C; i++) k->middle[i] = (double)values[i];
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

/* Group norm of (pixels,C) with 32 groups, then SiLU; in place. */
static void norm_silu(double *x, int64_t pixels, int64_t C, const Param *gamma, const Param *beta)
{
    int64_t each = C / 32;
    for (int64_t g = 0; g < 32; g++) {
        double mean = 0, var = 0, n = (double)(pixels * each);
        for (int64_t p = 0; p < pixels; p++)
            for (int64_t c = g * each; c < (g + 1) * each; c++) mean += x[p * C + c] / n;
        for (int64_t p = 0; p < pixels; p++)
            for (int64_t c = g * each; c < (g + 1) * each; c++) var += (x[p * C + c] - mean) * (x[p * C + c] - mean) / n;
        for (int64_t p = 0; p < pixels; p++)
            for (int64_t c = g * each; c < (g + 1) * each; c++)
                x[p * C + c] = silu((x[p * C + c] - mean) / sqrt(var + 1e-5) * (double)gamma->value[c] + (double)beta->value[c]);
    }
}

static void affine(const double *x, const ParamSet *set, const char *layer, double *y)
{
    char name[64];
    snprintf(name, sizeof name, "%s.weight", layer);
    const Param *w = params_find(set, name);
    snprintf(name, sizeof name, "%s.bias", layer);
    const Param *b = params_find(set, name);
    assert_true(w && b);
    int64_t out = w->dims[0], in = (int64_t)w->size / out;
    for (int64_t i = 0; i < out; i++) {
        y[i] = (double)b->value[i];
        for (int64_t j = 0; j < in; j++) y[i] += (double)w->value[i * in + j] * x[j];
    }
}

static void logits_by_hand(const Classifier *m, Kept *k, double *logits)
{
    const ParamSet *set = &m->params;
    double hidden[WIDTH], mean[256] = {0};
    if (m->pool == POOL_ADAPTIVE) {
        norm_silu(k->middle, k->pixels, k->C, params_find(set, "out.0.weight"), params_find(set, "out.0.bias"));
        for (int64_t i = 0; i < k->pixels * k->C; i++) mean[i % k->C] += k->middle[i] / (double)k->pixels;
        affine(mean, set, "out.3", logits);
        return;
    }
    affine(k->means, set, "out.0", hidden);
    if (m->pool == POOL_SPATIAL_V2)
        norm_silu(hidden, 1, WIDTH, params_find(set, "out.1.weight"), params_find(set, "out.1.bias"));
    for (int i = 0; i < WIDTH && m->pool == POOL_SPATIAL; i++) hidden[i] = hidden[i] > 0 ? hidden[i] : 0;
    affine(hidden, set, m->pool == POOL_SPATIAL ? "out.2" : "out.3", logits);
}

static void test_heads_by_hand(void **state)
{
    (void)state;
    Kernels *k;
    Tape *t;
    OK(kernels_new(KERNELS_BEST, &k));
    OK(tape_new(k, &t));
    float *x = random_values(8 * 8 * 3, 3, 1);
    for (int pool = POOL_ADAPTIVE; pool <= POOL_SPATIAL_V2; pool++) {
        Classifier *m = tiny_classifier(pool);
        Kept kept = {.features = 0};
        double expected[5];
        Tensor *in = tape_input(t, DTYPE_F32, 4, (int64_t[]){1, 8, 8, 3}, x);
        Tensor *y = classifier_forward(t, m, in, (const float[]){321.5f}, &(UNetTrace){keep_block, &kept});
        OK(tape_status(t));
        logits_by_hand(m, &kept, expected);
        for (int i = 0; i < 5; i++)
            if (!(fabs((double)((float *)y->data)[i] - expected[i]) < 1e-5))
                fail_msg("%s: logit %d is %g, by hand %g", pools[pool], i, (double)((float *)y->data)[i], expected[i]);
        free(kept.middle);
        tape_reset(t);
        classifier_free(m);
    }
    free(x);
    tape_free(t);
    kernels_free(k);
}

/* --- configurations --- */

static void refuse(void (*change)(ClassifierConfig *), int pool, const char *part)
{
    ClassifierConfig c = tiny_config(pool);
    Classifier *m;
    change(&c);
    FAILS(classifier_new(&c, &m), STATUS_BAD_INPUT, part);
    assert_null(m);
}

static void other_pool(ClassifierConfig *c)
{
    strcpy(c->pool, "max");
}

static void number_of_heads(ClassifierConfig *c)
{
    c->unet.head_channels = -1;
}

static void odd_width(ClassifierConfig *c)
{
    c->pool_width = 65;
}

static void with_text(ClassifierConfig *c)
{
    c->unet.encoder_channels = 8;
}

static void too_small(ClassifierConfig *c)
{
    c->unet.image_size = 1;
}

static void odd_channels(ClassifierConfig *c)
{
    c->unet.mult[1] = 1.5f;
}

static void not_a_number(ClassifierConfig *c)
{
    c->unet.mult[1] = NAN;
}

static void odd_size(ClassifierConfig *c)
{
    c->unet.image_size = 9;
}

static void mask_too(ClassifierConfig *c)
{
    c->unet.in_channels = 4;
}

static void unknown_process(ClassifierConfig *c)
{
    strcpy(c->noise_schedule, "sine");
}

static void test_wrong_configurations(void **state)
{
    (void)state;
    refuse(other_pool, 0, "pool: expected attention, adaptive, spatial or spatial_v2, found max");
    refuse(number_of_heads, 0, "num_head_channels");
    refuse(odd_width, 3, "pool_width");
    refuse(with_text, 0, "neither labels nor text");
    refuse(too_small, 1, "image_size");
    refuse(odd_channels, 2, "channel_mult[1]");
    refuse(not_a_number, 2, "channel_mult[1]");
    refuse(odd_size, 0, "image_size: 9 pixels cannot be halved");
    refuse(mask_too, 0, "in_channels: a classifier takes 3, found 4");
    refuse(unknown_process, 0, "found \"sine\"");
}

static void test_wrong_inputs(void **state)
{
    (void)state;
    Kernels *k;
    Guide g;
    Classifier *m = tiny_classifier(POOL_ATTENTION);
    OK(kernels_new(KERNELS_BEST, &k));
    static float x[16 * 16 * 3], gradient[16 * 16 * 3];
    FAILS(guide_classifier(&g, k, DTYPE_F32, m, (const int32_t[]){5}, 1), STATUS_BAD_INPUT, "class 5: this classifier knows");
    FAILS(guide_classifier(&g, k, DTYPE_F32, m, (const int32_t[]){-1}, 1), STATUS_BAD_INPUT, "class -1");
    OK(guide_classifier(&g, k, DTYPE_F32, m, (const int32_t[]){4}, 1));
    FAILS(guide_gradient(&g, x, 16, 16, (const float[]){1}, gradient, NULL), STATUS_BAD_INPUT, "for pictures of 8 x 8 pixels");
    FAILS(guide_gradient(&g, x, 7, 7, (const float[]){1}, gradient, NULL), STATUS_BAD_INPUT, "even");
    OK(guide_gradient(&g, x, 8, 8, (const float[]){1}, gradient, NULL)); /* works again after an error */
    guide_release(&g);
    guide_release(&g);
    classifier_free(m);
    kernels_free(k);
}

/* --- files --- */

static void expect_same_params(const ParamSet *a, const ParamSet *b)
{
    assert_int_equal(a->count, b->count);
    for (int i = 0; i < a->count; i++) {
        assert_string_equal(a->items[i]->name, b->items[i]->name);
        assert_memory_equal(a->items[i]->value, b->items[i]->value, a->items[i]->size * sizeof(float));
    }
}

static void test_files(void **state)
{
    (void)state;
    char folder[64], path[128];
    make_test_folder(folder);
    for (int pool = 0; pool < 4; pool++) {
        Classifier *m = tiny_classifier(pool), *back;
        uint64_t hash;
        snprintf(path, sizeof path, "%s/classifier.h5", folder);
        OK(classifier_save(path, m, H5KIND_F32));
        OK(classifier_load(path, &back, &hash));
        assert_memory_equal(&m->config, &back->config, sizeof m->config);
        expect_same_params(&m->params, &back->params);
        assert_true(hash == weights_hash(&m->params));
        classifier_free(back);
        OK(classifier_save(path, m, H5KIND_F16));
        OK(classifier_load(path, &back, NULL));
        assert_true(fabsf(back->params.items[0]->value[0] - m->params.items[0]->value[0]) < 1e-3f);
        classifier_free(back);
        classifier_free(m);
    }
    remove_test_folder(folder);
}

/* A file that says one thing and holds another. */
static void test_damaged_files(void **state)
{
    (void)state;
    char folder[64], path[128];
    H5File *file;
    Classifier *m = tiny_classifier(POOL_SPATIAL), *back;
    make_test_folder(folder);
    snprintf(path, sizeof path, "%s/c.h5", folder);
    OK(weights_create(path, "base", &file));
    OK(classifier_write_header(file, m));
    OK(h5file_commit(file));
    FAILS(classifier_load(path, &back, NULL), STATUS_BAD_INPUT, "base");
    OK(weights_create(path, CLASSIFIER_KIND, &file));
    OK(h5file_commit(file));
    FAILS(classifier_load(path, &back, NULL), STATUS_BAD_INPUT, "image_size");
    m->config.pool_width = 65536; /* more than the file holds: not even allocated */
    OK(classifier_save(path, m, H5KIND_F16));
    FAILS(classifier_load(path, &back, NULL), STATUS_BAD_INPUT, "of another shape");
    strcpy(m->config.pool, "spatial_v3");
    OK(classifier_save(path, m, H5KIND_F16));
    FAILS(classifier_load(path, &back, NULL), STATUS_BAD_INPUT, "c.h5: pool: expected");
    assert_null(back);
    classifier_free(m);
    remove_test_folder(folder);
}

/* --- state dicts --- */

/* The released ones: 64, 128, 256 and 512 pixels. */
static const struct Released {
    int image_size, levels, res_blocks;
    float mult[7];
    int64_t parameters; /* 0: not known */
} released[] = {
    {64, 4, 4, {1, 2, 3, 4}, 65438568},
    {128, 5, 2, {1, 1, 2, 3, 4}, 0},
    {256, 6, 2, {1, 1, 2, 2, 4, 4}, 0},
    {512, 7, 2, {0.5f, 1, 1, 2, 2, 4, 4}, 0},
};

static ClassifierConfig released_config(const struct Released *r)
{
    ClassifierConfig c;
    classifier_config_defaults(&c);
    c.unet.image_size = r->image_size;
    c.unet.levels = r->levels;
    c.unet.res_blocks = r->res_blocks;
    memset(c.unet.mult, 0, sizeof c.unet.mult);
    memcpy(c.unet.mult, r->mult, sizeof r->mult);
    for (int i = 0; i < 3; i++) c.unet.attention_ds[i] = r->image_size >> (5 - i); /* at 32, 16 and 8 pixels */
    return c;
}

static void test_released_configurations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof released / sizeof *released; i++) {
        ClassifierConfig c = released_config(&released[i]), found;
        Classifier *m;
        OK(classifier_new_shapes(&c, &m));
        if (released[i].parameters) assert_true((int64_t)m->params.total == released[i].parameters);
        StateDict dict = shapes_as_dict(&m->params, "");
        OK(classifier_infer(&dict, "classifier.pt", 0, &found));
        memset(c.unet.mult + c.unet.levels, 0, sizeof *c.unet.mult * (size_t)(UNET_MAX_LEVELS - c.unet.levels));
        memset(found.unet.mult + found.unet.levels, 0, sizeof *c.unet.mult * (size_t)(UNET_MAX_LEVELS - found.unet.levels));
        assert_int_equal(found.unet.res_blocks, c.unet.res_blocks);
        assert_memory_equal(&found, &c, sizeof c);
        shapes_release(&dict);
        classifier_free(m);
    }
}

/* Without attention and with the same channels everywhere nothing tells residual blocks from downsampling ones. */
static void test_ambiguous_levels(void **state)
{
    (void)state;
    ClassifierConfig c = tiny_config(POOL_ADAPTIVE), found;
    Classifier *m;
    c.unet.attention_count = 0;
    c.unet.mult[1] = 1;
    c.unet.res_blocks = 2;
    OK(classifier_new_shapes(&c, &m));
    StateDict dict = shapes_as_dict(&m->params, "");
    FAILS(classifier_infer(&dict, "c.pt", 0, &found), STATUS_BAD_INPUT,
          "c.pt: residual blocks per level (num_res_blocks) could be 1, 2, 5; say how many");
    OK(classifier_infer(&dict, "c.pt", 2, &found));
    assert_int_equal(found.unet.levels, 2);
    FAILS(classifier_infer(&dict, "c.pt", 4, &found), STATUS_BAD_INPUT, "its 6 input blocks are not levels of 4 residual blocks");
    shapes_release(&dict);
    classifier_free(m);
}

static void rename_tensor(StateDict *dict, const char *from, char *to)
{
    StateTensor *t = state_dict_find(dict, from);
    assert_non_null(t);
    t->name = to;
}

static void test_wrong_state_dicts(void **state)
{
    (void)state;
    ClassifierConfig c = tiny_config(POOL_ATTENTION), found;
    Classifier *m;
    OK(classifier_new_shapes(&c, &m));
    StateDict dict = shapes_as_dict(&m->params, ""), empty = {0};
    FAILS(classifier_infer(&empty, "c.pt", 0, &found), STATUS_BAD_INPUT,
          "c.pt: no parameter time_embed.0.weight: not a guided-diffusion classifier");
    StateTensor *positions = state_dict_find(&dict, "out.2.positional_embedding");
    positions->dims[1] = 18;
    FAILS(classifier_infer(&dict, "c.pt", 0, &found), STATUS_BAD_INPUT, "18 positions, expected a square and one");
    positions->dims[1] = 17;
    OK(classifier_infer(&dict, "c.pt", 0, &found));
    assert_int_equal(found.unet.image_size, 8);
    state_dict_find(&dict, "input_blocks.1.0.out_layers.3.weight")->dims[1] = 1 << 20;
    FAILS(classifier_infer(&dict, "c.pt", 0, &found), STATUS_BAD_INPUT, "dimension 1 is 1048576, expected 32");
    state_dict_find(&dict, "input_blocks.1.0.out_layers.3.weight")->dims[1] = 32;
    rename_tensor(&dict, "out.0.weight", "output_blocks.0.0.in_layers.0.weight");
    FAILS(classifier_infer(&dict, "c.pt", 0, &found), STATUS_BAD_INPUT, "it has output blocks: a U-Net");
    shapes_release(&dict);
    classifier_free(m);
}

/* A real checkpoint comes in, and one of another kind does not. */
static void test_import(void **state)
{
    (void)state;
    StateDict *dict;
    ClassifierConfig c;
    Classifier *m;
    OK(state_dict_open("tests/fixtures/classifier_attention.pt", NULL, &dict));
    OK(classifier_infer(dict, "classifier_attention.pt", 0, &c));
    assert_int_equal(c.unet.head_channels, 0);
    FAILS(classifier_import(dict, &c, &m), STATUS_BAD_INPUT, "num_head_channels");
    c.unet.head_channels = 16;
    OK(classifier_import(dict, &c, &m));
    assert_int_equal(m->params.count, dict->count);
    classifier_free(m);
    c.unet.out_channels++;
    FAILS(classifier_import(dict, &c, &m), STATUS_BAD_INPUT, "2 of another shape");
    assert_non_null(strstr(status_details(), "    out.2.c_proj.weight: found (10,32,1), expected (11,32,1)\n"));
    assert_null(m);
    state_dict_close(dict);
    OK(state_dict_open("tests/fixtures/unet_base.pt", NULL, &dict));
    FAILS(classifier_infer(dict, "unet_base.pt", 0, &c), STATUS_BAD_INPUT, "unet_base.pt: it has output blocks");
    state_dict_close(dict);
}

/* --- subjects and styles --- */

static Classifier *styled_classifier(void)
{
    static const char *const subjects[] = {"food-fruit", "animal-bird", "tool"}, *const styles[] = {"noto", "fluent 3d"};
    ClassifierConfig c = tiny_config(POOL_ATTENTION);
    Classifier *m;
    c.styles = 2;
    OK(classifier_new(&c, &m));
    OK(classifier_set_names(m, subjects, styles));
    fill_params(&m->params, 77);
    return m;
}

static void make_styled_guide(const void *model, Kernels *k, int64_t first, int64_t n, Guide *out)
{
    static const int32_t labels[3] = {5, 0, 2};
    OK(guide_classifier(out, k, DTYPE_F32, model, labels + first, n));
}

/* The softmax over classes is the product of that over subjects and that over styles. */
static void test_two_softmaxes(void **state)
{
    (void)state;
    Classifier *m = styled_classifier();
    Kernels *k;
    Tape *t;
    float *x = random_values(2 * 8 * 8 * 3, 5, 1);
    static const float timesteps[2] = {3, 600};
    OK(kernels_new(KERNELS_BEST, &k));
    OK(tape_new(k, &t));
    assert_int_equal(classifier_classes(&m->config), 6);
    Tensor *logits = classifier_forward(t, m, tape_input(t, DTYPE_F32, 4, (int64_t[]){2, 8, 8, 3}, x), timesteps, NULL);
    OK(tape_status(t));
    assert_true(logits->dims[1] == 6);
    for (int row = 0; row < 2; row++) {
        const float *z = (const float *)logits->data + 6 * row;
        double p[6], sum = 0;
        for (int i = 0; i < 6; i++) sum += p[i] = exp((double)z[i]);
        for (int i = 0; i < 6; i++) {
            double subject = (p[i / 2 * 2] + p[i / 2 * 2 + 1]) / sum, style = (p[i % 2] + p[2 + i % 2] + p[4 + i % 2]) / sum;
            assert_true(fabs(p[i] / sum - subject * style) < 1e-6);
        }
    }
    check_guide_slopes(m, make_styled_guide, 8, 6e-3);
    check_guide_rows(m, &m->params, make_styled_guide, 8);
    Guide g;
    FAILS(guide_classifier(&g, k, DTYPE_F32, m, (const int32_t[]){6}, 1), STATUS_BAD_INPUT, "classes 0 to 5");
    tape_free(t);
    classifier_free(m);
    kernels_free(k);
    free(x);
}

static void test_names(void **state)
{
    (void)state;
    Classifier *m = styled_classifier(), *read;
    int label;
    test_folder_setup(NULL);
    OK(classifier_save(in_test_folder("styled.h5"), m, H5KIND_F16));
    OK(classifier_load(in_test_folder("styled.h5"), &read, NULL));
    assert_int_equal(classifier_label(read, "animal-bird", "fluent 3d"), 3);
    assert_int_equal(classifier_label(read, "animal", "fluent 3d"), -1);
    assert_int_equal(classifier_label(read, "tool", "oil"), -1);
    OK(classifier_parse_label(read, "tool,noto", &label));
    assert_int_equal(label, 4);
    OK(classifier_parse_label(read, "5", &label));
    assert_int_equal(label, 5);
    FAILS(classifier_parse_label(read, "6", &label), STATUS_BAD_INPUT, "from 0 to 5, or two names such as \"food-fruit, noto\"");
    FAILS(classifier_parse_label(read, "", &label), STATUS_BAD_INPUT, "found \"\"");
    m->config.styles = 5;
    m->config.unet.out_channels = 5;
    Classifier *none;
    FAILS(classifier_new(&m->config, &none), STATUS_BAD_INPUT, "styles: expected fewer than out_channels");
    classifier_free(read);
    classifier_free(m);
    test_folder_teardown(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),          cmocka_unit_test(test_rows_are_independent),
        cmocka_unit_test(test_rows_in_full_size),
        cmocka_unit_test(test_heads_by_hand),      cmocka_unit_test(test_wrong_configurations),
        cmocka_unit_test(test_wrong_inputs),       cmocka_unit_test(test_files),
        cmocka_unit_test(test_damaged_files),      cmocka_unit_test(test_released_configurations),
        cmocka_unit_test(test_ambiguous_levels),   cmocka_unit_test(test_wrong_state_dicts),
        cmocka_unit_test(test_import),             cmocka_unit_test(test_two_softmaxes),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
