/* `glide import` for every kind of model, what it infers of the published ones, and what it says when names do not fit. */
#include "base_model/base_model.h"
#include "common/pt_writer.h"
#include "common/rng.h"
#include "guidance/classifier_file.h"
#include "guidance/clip_file.h"
#include "guidance/clip_import.h"
#include "tests/support_cli.h"
#include "tests/support_models.h"
#include "tests/support_status.h"
#include "text_transformer/clip_bpe.h"
#include "text_transformer/text_unet_file.h"
#include "text_transformer/text_unet_import.h"
#include "upsampler/upsampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define F "tests/fixtures/"

static void import(const char *words, int exit_status, const char *part)
{
    char line[1024];
    snprintf(line, sizeof line, "$G import %s 2>&1", words);
    cli_expect(line, exit_status, part);
}

/* Every parameter has the file's values to the bit; `prefix` is what its name has in front of that in the file. */
static void check_params(const ParamSet *params, const char *prefix, const char *pt)
{
    StateDict *dict;
    int count = 0;
    OK(state_dict_open(pt, NULL, &dict));
    for (int i = 0; i < params->count; i++) {
        const Param *param = params->items[i];
        if (strncmp(param->name, prefix, strlen(prefix))) continue;
        const StateTensor *tensor = state_dict_find(dict, param->name + strlen(prefix));
        float *values = malloc((param->size + 1) * sizeof *values);
        assert_non_null(tensor);
        OK(state_dict_read_f32(dict, tensor, values));
        assert_memory_equal(values, param->value, param->size * sizeof *values);
        free(values);
        count++;
    }
    assert_int_equal(count, dict->count);
    state_dict_close(dict);
}

/* --- kinds --- */

static TextUNet *load_unet(const char *kind)
{
    TextUNet *m;
    OK(text_unet_load(in_test_folder("w.h5"), kind, &m, NULL));
    return m;
}

/* Half and single precision in one file stay what they are. */
static void test_inpaint(void **state)
{
    (void)state;
    H5File *file;
    WeightsSummary summary;
    import(F "unet_inpaint.pt -o $D/w.h5 --as base-inpaint --num-head-channels 8 --xf-heads 2 --image-size 8", 0,
           "w.h5: base, 171174 parameters, mixed precision, no tokenizer: give --vocab");
    TextUNet *m = load_unet("base");
    assert_true(m->config.inpaint && m->config.unet.in_channels == 7 && m->config.unet.image_size == 8);
    check_params(&m->params, "", F "unet_inpaint.pt");
    text_unet_free(m);
    OK(weights_open(in_test_folder("w.h5"), NULL, &file));
    OK(weights_summary(file, &summary));
    assert_true(summary.halves > 0 && summary.halves < summary.elements);
    h5file_close(file);
    import(F "unet_upsampler_inpaint.pt -o $D/w.h5 --num-head-channels 16 --xf-heads 2 --half --vocab " F "tokenizer_vocab.bpe.gz", 0,
           "w.h5: upsampler, 172038 parameters, half precision\n");
    m = load_unet("upsampler");
    assert_true(m->config.inpaint && m->config.low_res && bpe_vocab_size(m->bpe) == 857);
    text_unet_free(m);
    import(F "unet_base.pt -o $D/w.h5 --as base-inpaint", 2, "its number of input channels makes it a base model, not an inpainting base model");
    import(F "unet_inpaint.pt -o $D/w.h5 --as clip", 2, "its names make it an inpainting base model, not an encoder of CLIP");
    import(F "unet_inpaint.pt " F "unet_base.pt -o $D/w.h5", 2, "unet_inpaint.pt is ");
}

static void test_classifier(void **state)
{
    (void)state;
    Classifier *m;
    import(F "classifier_attention.pt -o $D/w.h5", 2, "--num-head-channels (or --num-heads) is needed");
    import(F "classifier_attention.pt -o $D/w.h5 --num-head-channels 16 --new-attention-order", 0,
           "w.h5: classifier, 120138 parameters, single precision\n");
    OK(classifier_load(in_test_folder("w.h5"), &m, NULL));
    assert_true(m->config.unet.split_first && m->config.unet.image_size == 16 && m->config.unet.out_channels == 10);
    check_params(&m->params, "", F "classifier_attention.pt");
    classifier_free(m);
    import(F "classifier_attention.pt -o $D/w.h5 --num-head-channels 32 --noise-schedule squaredcos_cap_v2 --as classifier", 0, "120138");
    OK(classifier_load(in_test_folder("w.h5"), &m, NULL));
    assert_string_equal(m->config.noise_schedule, "squaredcos_cap_v2");
    assert_int_equal(m->config.unet.head_channels, 32);
    classifier_free(m);
    import(F "classifier_attention.pt -o $D/w.h5 --num-heads 2 --vocab x", 2, "--vocab: not for a classifier");
    import(F "classifier_attention.pt -o $D/w.h5 --as diffusion", 2, "its names make it a classifier, not a diffusion model");
}

static void test_clip(void **state)
{
    (void)state;
    Clip *m;
    ClipBpe *bpe;
    H5File *file;
    char *text;
    import(F "clip_image_enc.pt " F "clip_text_enc.pt -o $D/w.h5", 2, "--num-heads is needed (or --config)");
    import(F "clip_image_enc.pt -o $D/w.h5", 2, "expected 2 files (image and text), found 1");
    import(F "clip_image_enc.pt " F "clip_image_enc.pt -o $D/w.h5 --num-heads 2 --xf-heads 2", 2, "no parameter blocks.input.w_voc");
    import(F "clip_text_enc.pt " F "clip_image_enc.pt -o $D/w.h5 --as clip --num-heads 2 --xf-heads 2 --vocab " F "clip_bpe.txt.gz", 0,
           "w.h5: clip, 113184 parameters, single precision\n");
    OK(clip_load(in_test_folder("w.h5"), &m, NULL));
    check_params(&m->params, CLIP_IMAGE_PREFIX, F "clip_image_enc.pt");
    check_params(&m->params, CLIP_TEXT_PREFIX, F "clip_text_enc.pt");
    OK(weights_open(in_test_folder("w.h5"), CLIP_KIND, &file));
    OK(weights_read_merges(file, &text)); /* travel with it */
    OK(clip_bpe_from_text(text, strlen(text), &bpe));
    assert_int_equal(clip_bpe_vocab_size(bpe), m->config.n_vocab);
    clip_bpe_free(bpe);
    free(text);
    h5file_close(file);
    assert_int_equal(system("cd $D && $G export w.h5 -o i.pt --prefix image_enc. -q && $G export w.h5 -o t.pt --prefix text_enc. -q"), 0);
    check_params(&m->params, CLIP_IMAGE_PREFIX, in_test_folder("i.pt"));
    check_params(&m->params, CLIP_TEXT_PREFIX, in_test_folder("t.pt"));
    clip_free(m);
    import(F "clip_text_enc.pt " F "clip_image_enc.pt -o $D/w.h5 --num-heads 2 --xf-heads 2 --vocab " F "tokenizer_vocab.bpe.gz", 2,
           "makes 1114 tokens, but CLIP has only 814");
    assert_int_equal(system("zcat " F "clip_bpe.txt.gz | head -n 100 > $D/few.txt"), 0); /* the released one has spare tokens too */
    import(F "clip_text_enc.pt " F "clip_image_enc.pt -o $D/w.h5 --num-heads 2 --xf-heads 2 --vocab $D/few.txt", 0, "precision\n");
}

/* --- published models --- */

/* A state dict with the names and shapes of a model and no values. */
static StateDict shapes_of(const ParamSet *params)
{
    StateDict dict = {.items = calloc((size_t)params->count, sizeof *dict.items), .count = params->count};
    for (int i = 0; i < params->count; i++) {
        dict.items[i] = (StateTensor){.name = params->items[i]->name, .ndim = params->items[i]->ndim};
        memcpy(dict.items[i].dims, params->items[i]->dims, sizeof params->items[i]->dims);
    }
    return dict;
}

static void set_levels(UNetConfig *u, int image_size, int levels, const float *mult, const int *attention)
{
    u->image_size = image_size;
    u->levels = levels;
    memcpy(u->mult, mult, (size_t)levels * sizeof *mult);
    u->attention_count = 0;
    for (; *attention; attention++) u->attention_ds[u->attention_count++] = image_size / *attention;
}

/* Flags of guided-diffusion's README, and millions of parameters of arXiv 2105.05233, tables 4 and 12. */
static const struct {
    const char *name;
    int image_size, channels, levels, res_blocks;
    float mult[8];
    int attention[4]; /* resolutions */
    int classes, head_channels, heads;
    bool low_res, split_first, cosine;
    int millions;
} models[] = {
    {"64x64_diffusion", 64, 192, 4, 3, {1, 2, 3, 4}, {32, 16, 8}, 1000, 64, 1, false, true, true, 296},
    {"128x128_diffusion", 128, 256, 5, 2, {1, 1, 2, 3, 4}, {32, 16, 8}, 1000, -1, 4, false, false, false, 422},
    {"256x256_diffusion", 256, 256, 6, 2, {1, 1, 2, 2, 4, 4}, {32, 16, 8}, 1000, 64, 1, false, false, false, 554},
    {"256x256_diffusion_uncond", 256, 256, 6, 2, {1, 1, 2, 2, 4, 4}, {32, 16, 8}, 0, 64, 1, false, false, false, 553},
    {"512x512_diffusion", 512, 256, 7, 2, {0.5f, 1, 1, 2, 2, 4, 4}, {32, 16, 8}, 1000, 64, 1, false, false, false, 559},
    {"64_256_upsampler", 256, 192, 6, 2, {1, 1, 2, 2, 4, 4}, {32, 16, 8}, 1000, -1, 4, true, false, false, 312},
    {"128_512_upsampler", 512, 192, 6, 2, {1, 1, 2, 2, 4, 4}, {32, 16}, 1000, 64, 1, true, false, false, 309},
};

static void test_published(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        TextUNetConfig c, found;
        TextUNet *m;
        text_unet_config_defaults(&c);
        c.text.width = 0;
        c.low_res = models[i].low_res;
        c.unet.channels = models[i].channels;
        c.unet.res_blocks = models[i].res_blocks;
        c.unet.num_classes = models[i].classes;
        c.unet.head_channels = models[i].head_channels;
        c.unet.heads = models[i].heads;
        c.unet.split_first = models[i].split_first;
        set_levels(&c.unet, models[i].image_size, models[i].levels, models[i].mult, models[i].attention);
        text_unet_config_complete(&c);
        OK(text_unet_new_shapes(&c, &m));
        if ((m->params.total + 500000) / 1000000 != (size_t)models[i].millions)
            fail_msg("%s: %zu parameters", models[i].name, m->params.total);
        StateDict dict = shapes_of(&m->params);
        OK(text_unet_infer(&dict, models[i].name, &found));
        for (int level = 0; level < c.unet.levels; level++) assert_true(found.unet.mult[level] == models[i].mult[level]);
        assert_int_equal(found.unet.attention_count, c.unet.attention_count);
        assert_int_equal(found.unet.attention_ds[0], c.unet.attention_ds[0] < c.unet.attention_ds[1] ? c.unet.attention_ds[0] : -1);
        assert_int_equal(found.unet.res_blocks, models[i].res_blocks);
        assert_int_equal(found.unet.num_classes, models[i].classes);
        assert_int_equal(found.unet.image_size, models[i].image_size);
        assert_int_equal(found.unet.head_channels, models[i].head_channels);
        assert_int_equal(found.unet.heads, models[i].heads);
        assert_int_equal(found.unet.split_first, models[i].split_first);
        assert_string_equal(found.noise_schedule, models[i].cosine ? "squaredcos_cap_v2" : "linear");
        assert_true(found.low_res == models[i].low_res && found.text.width == 0);
        free(dict.items);
        text_unet_free(m);
    }
}

static void test_published_glide(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        TextUNetConfig c, found;
        TextUNet *m;
        OK(i & 1 ? upsampler_config("glide", &c) : base_model_config("glide", &c));
        c.inpaint = i & 2;
        text_unet_config_complete(&c);
        OK(text_unet_new_shapes(&c, &m));
        StateDict dict = shapes_of(&m->params);
        OK(text_unet_infer(&dict, "glide.pt", &found));
        assert_memory_equal(&found.text, &c.text, sizeof c.text);
        assert_memory_equal(&found.unet, &c.unet, sizeof c.unet);
        assert_true(found.low_res == c.low_res && found.inpaint == c.inpaint);
        assert_string_equal(found.noise_schedule, c.noise_schedule);
        free(dict.items);
        text_unet_free(m);
    }
}

/* --- names that do not fit --- */

typedef struct Renamed {
    NamedShape *shapes;
    const ParamSet *params;
} Renamed;

static Status read_param(void *ctx, int index, float *values)
{
    const Renamed *r = ctx;
    rng_normal(&(RngKey){.seed = 1, .stream = RNG_TEST, .image = (uint32_t)index}, values, (int64_t)r->params->items[index]->size);
    return STATUS_OK;
}

static Renamed renamed_shapes(const ParamSet *params)
{
    Renamed r = {calloc((size_t)params->count, sizeof *r.shapes), params};
    for (int i = 0; i < params->count; i++)
        r.shapes[i] = (NamedShape){params->items[i]->name, params->items[i]->ndim, params->items[i]->dims};
    return r;
}

static NamedShape *shape_called(const Renamed *r, const char *name)
{
    for (int i = 0; i < r->params->count; i++)
        if (!strcmp(r->shapes[i].name, name)) return &r->shapes[i];
    fail_msg("no parameter %s", name);
    return NULL;
}

static void test_mismatch(void **state)
{
    (void)state;
    TextUNet *m = tiny_model(false, 1);
    Renamed r = renamed_shapes(&m->params);
    const PtWriteOptions o = {.dtype = PT_F32, .read = read_param, .ctx = &r};
    static const int64_t flat[1] = {32 * 32};
    shape_called(&r, "output_blocks.1.0.skip_connection.weight")->name = "output_blocks.1.0.skip_conection.weight";
    shape_called(&r, "transformer.resblocks.0.mlp.c_fc.bias")->name = "transformer.resblocks.0.mlp.c_fc.offset_of_another_kind";
    shape_called(&r, "transformer.resblocks.0.attn.c_proj.weight")->ndim = 1;
    shape_called(&r, "transformer.resblocks.0.attn.c_proj.weight")->dims = flat;
    OK(pt_write(in_test_folder("renamed.pt"), r.shapes, m->params.count, &o));
    CliOutcome outcome;
    cli_run(&outcome, "$G import renamed.pt -o x.h5 --num-head-channels 32 --xf-heads 2");
    assert_int_equal(outcome.exit_status, 2);
    assert_string_equal(outcome.err,
                        "glide import: renamed.pt: the weights do not fit the model: 2 missing, 2 unexpected, 1 of another shape\n"
                        "  missing:\n"
                        "    output_blocks.1.0.skip_connection.weight (near output_blocks.1.0.skip_conection.weight)\n"
                        "    transformer.resblocks.0.mlp.c_fc.bias\n"
                        "  unexpected:\n"
                        "    output_blocks.1.0.skip_conection.weight (near output_blocks.1.0.skip_connection.weight)\n"
                        "    transformer.resblocks.0.mlp.c_fc.offset_of_another_kind\n"
                        "  of another shape:\n"
                        "    transformer.resblocks.0.attn.c_proj.weight: found (1024), expected (32,32)\n");
    free(r.shapes);
    r = renamed_shapes(&m->params);
    shape_called(&r, "time_embed.0.weight")->name = "time_embed.0.weights";
    OK(pt_write(in_test_folder("renamed.pt"), r.shapes, m->params.count, &o));
    import("$D/renamed.pt -o $D/x.h5", 2, "no parameter time_embed.0.weight: not a text-conditional or guided-diffusion U-Net (the "
           "nearest name is time_embed.0.weights)");
    shape_called(&r, "input_blocks.0.0.weight")->name = "input.weight";
    OK(pt_write(in_test_folder("renamed.pt"), r.shapes, m->params.count, &o));
    import("$D/renamed.pt -o $D/x.h5", 2, "neither a U-Net of GLIDE or guided-diffusion, nor a classifier, nor CLIP: its ");
    import("$D/renamed.pt --as base -o $D/x.h5", 2, "no parameter time_embed.0.weight");
    free(r.shapes);
    text_unet_free(m);
    assert_int_not_equal(access(in_test_folder("x.h5"), F_OK), 0);
}

static void test_options(void **state)
{
    (void)state;
    import(F "unet_base.pt -o $D/x.h5 --vocab a --bpe b", 2, "--vocab and --bpe are the same option");
    import(F "unet_base.pt -o $D/x.h5 --half --store f32", 2, "--half and --store f32 exclude one another");
    import(F "unet_base.pt -o $D/x.h5 --num-heads 2 --num-head-channels 2", 2, "exclude one another");
    import(F "unet_base.pt -o $D/x.h5 --new-attention-order --old-attention-order", 2, "exclude one another");
    import(F "unet_base.pt -o $D/x.h5 --num-heads 2 --xf-heads 2 --noise-schedule sine", 2, "--noise-schedule: expected linear or");
    import(F "unet_base.pt -o $D/none/x.h5 --num-heads 2 --xf-heads 2", 2, "none/x.h5");
    import(F "unet_base.pt -o $D/x.h5 --num-heads 2 --xf-heads 2 --num-heads-upsample 7", 2, "unet_base.pt: num_heads_upsample: 7");
    import(F "unet_base.pt -o $D/x.h5 --num-heads 2 --xf-heads 2 --noise-schedule linear --diffusion-steps 20", 2,
           "unet_base.pt: noise schedule \"linear\" with 20 steps: beta 19 is 1");
    import(F "unet_base.pt -o $D/x.h5 --num-heads 2 --xf-heads 2 --attribution $D", 2, "directory");
    import("/nowhere.pt -o $D/x.h5", 2, "/nowhere.pt: No such file");
    import(F "unet_base.pt a b -o $D/x.h5", 2, "");
    assert_int_not_equal(access(in_test_folder("x.h5"), F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inpaint),   cmocka_unit_test(test_classifier), cmocka_unit_test(test_clip),
        cmocka_unit_test(test_published), cmocka_unit_test(test_published_glide), cmocka_unit_test(test_mismatch),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, cli_setup, cli_teardown);
}
