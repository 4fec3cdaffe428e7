/* `glide init`: the configurations there are, the values training starts from, and what goes wrong. */
#include "base_model/base_model.h"
#include "guidance/classifier_file.h"
#include "guidance/clip_file.h"
#include "tests/support_cli.h"
#include "tests/support_status.h"
#include "text_transformer/guided_diffusion.h"
#include "text_transformer/text_unet_file.h"
#include "upsampler/upsampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static TextUNet *load(const char *name)
{
    TextUNet *m;
    OK(text_unet_load(in_test_folder(name), NULL, &m, NULL));
    return m;
}

static void test_values(void **state)
{
    (void)state;
    TextUNetConfig c;
    TextUNet *expected;
    cli_expect("cd $D && $G init --config tiny-base -o a.h5 --seed 7 2>&1", 0, "a.h5: base, ");
    TextUNet *m = load("a.h5");
    OK(base_model_config("tiny", &c));
    c.text.n_vocab = 2048;
    OK(text_unet_new(&c, &expected));
    params_randomize(&expected->params, 7);
    assert_true(weights_hash(&m->params) == weights_hash(&expected->params));
    assert_int_equal(m->config.unet.image_size, 64);
    assert_null(m->bpe);
    text_unet_free(m);
    text_unet_free(expected);
    sleep(1); /* no time of day in it */
    cli_expect("cd $D && $G init -c tiny-base -o b.h5 -s 7 -q && cmp a.h5 b.h5 2>&1", 0, "");
    cli_expect("cd $D && $G init -c tiny-base -o b.h5 -s 8 -q && ! cmp -s a.h5 b.h5 && echo differs", 0, "differs\n");
}

static void test_kinds(void **state)
{
    (void)state;
    cli_expect("cd $D && $G init -c tiny-upsampler-inpaint -o u.h5 --half --n-vocab 300 2>&1", 0, "half precision, no tokenizer");
    TextUNet *m = load("u.h5");
    assert_true(m->config.low_res && m->config.inpaint && m->config.unet.in_channels == 10 && m->config.text.n_vocab == 300);
    assert_string_equal(m->config.noise_schedule, "linear");
    text_unet_free(m);
    cli_expect("$G init -c tiny-base-inpaint -o $D/b.h5 --vocab tests/fixtures/tokenizer_vocab.bpe.gz 2>&1", 0,
           "single precision\n");
    m = load("b.h5");
    assert_true(m->config.unet.in_channels == 7 && m->config.text.n_vocab == 857 && bpe_vocab_size(m->bpe) == 857);
    text_unet_free(m);
}

/* The published models' sizes, without their gigabytes. GLIDE's: */
static void test_glide_sizes(void **state)
{
    (void)state;
    static const size_t expected[2][2] = {{385030726, 385037638}, {398361286, 398368198}};
    for (int upsampler = 0; upsampler < 2; upsampler++)
        for (int inpaint = 0; inpaint < 2; inpaint++) {
            TextUNetConfig c;
            TextUNet *m;
            OK(upsampler ? upsampler_config("glide", &c) : base_model_config("glide", &c));
            c.inpaint = inpaint;
            OK(text_unet_new_shapes(&c, &m));
            assert_int_equal(m->params.total, expected[upsampler][inpaint]);
            assert_null(m->params.items[0]->value);
            text_unet_free(m);
        }
}

/* Guided-diffusion's as its paper's tables say (296 M, 422 M, ...), and to the parameter as PyTorch counts them. */
static void test_guided_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t total;
        int in_channels, classes;
    } expected[] = {
        {"64x64_diffusion", 295904454, 3, 1000},   {"128x128_diffusion", 421529606, 3, 1000},
        {"256x256_diffusion", 553838086, 3, 1000}, {"256x256_diffusion_uncond", 552814086, 3, 0},
        {"512x512_diffusion", 558997638, 3, 1000}, {"64_256_upsampler", 311795910, 6, 1000},
        {"128_512_upsampler", 308835270, 6, 1000}};
    int count = 0;
    for (const GuidedPreset *p = guided_presets; p->name; p++, count++) {
        TextUNetConfig c;
        TextUNet *m;
        assert_string_equal(p->name, expected[count].name);
        assert_true(guided_config(p->name, &c));
        OK(text_unet_new_shapes(&c, &m));
        assert_int_equal(m->params.total, expected[count].total);
        assert_int_equal(m->config.unet.in_channels, expected[count].in_channels);
        assert_int_equal(m->config.unet.num_classes, expected[count].classes);
        assert_null(m->text);
        TextUNetConfig told = c; /* what an import knows without the flags */
        told.unet.heads = 1;
        told.unet.split_first = false;
        told.unet.image_size = 64;
        strcpy(told.noise_schedule, "squaredcos_cap_v2");
        guided_complete(&told);
        assert_int_equal(told.unet.head_channels, c.unet.head_channels);
        assert_int_equal(told.unet.heads, c.unet.heads);
        assert_int_equal(told.unet.split_first, c.unet.split_first);
        assert_int_equal(told.unet.image_size, c.unet.image_size);
        assert_string_equal(told.noise_schedule, c.noise_schedule);
        text_unet_free(m);
    }
    assert_int_equal(count, sizeof expected / sizeof *expected);
    TextUNetConfig c;
    assert_false(guided_config("64x64_diffusion.pt", &c));
}

/* What a sampler would load: written in full size, read in full size. */
static void test_guides(void **state)
{
    (void)state;
    Classifier *classifier;
    Clip *clip;
    cli_expect("cd $D && $G init -c 64x64_classifier -o g.h5 --half 2> /dev/null", 0,
               "g.h5: classifier, 65438568 random parameters, half precision\n");
    OK(classifier_load(in_test_folder("g.h5"), &classifier, NULL));
    assert_string_equal(classifier->config.noise_schedule, "squaredcos_cap_v2");
    assert_int_equal(classifier->config.unet.out_channels, 1000);
    classifier_free(classifier);
    cli_expect("$G init -c clip -o $D/g.h5 --half --vocab tests/fixtures/clip_bpe.txt.gz 2> /dev/null", 0,
               "g.h5: clip, 158123264 random parameters, half precision\n");
    OK(clip_load(in_test_folder("g.h5"), &clip, NULL));
    assert_true(clip->config.n_vocab == 65536 && clip->config.image_size == 64);
    clip_free(clip);
    cli_expect("$G info $D/g.h5 2>&1 | grep tokenizer", 0, "814 tokens");
    unlink(in_test_folder("g.h5"));
}

static void test_wrong(void **state)
{
    (void)state;
    cli_expect("$G init -o $D/x.h5 2>&1", 2, "--config: expected a name");
    cli_expect("$G init -c tiny-base 2>&1", 2, "--output: expected a file");
    cli_expect("$G init -c glide-bas -o $D/x.h5 2>&1", 2, "expected one of small-base, tiny-base, medium-base, glide-base, ");
    cli_expect("$G init -c -base -o $D/x.h5 2>&1", 2, "found \"-base\"");
    cli_expect("$G init -c tiny -o $D/x.h5 2>&1", 2, "found \"tiny\"");
    cli_expect("$G init -c nonsense -o $D/x.h5 2>&1", 2, "256x256_diffusion_uncond, 512x512_diffusion, 64_256_upsampler, "
               "128_512_upsampler, 64x64_classifier, clip; found \"nonsense\"");
    cli_expect("$G init -c 64x64_diffusion --vocab Makefile -o $D/x.h5 2>&1", 2, "--vocab: 64x64_diffusion takes no text");
    cli_expect("$G init -c 64x64_classifier --n-vocab 3 -o $D/x.h5 2>&1", 2, "--n-vocab: 64x64_classifier takes no text");
    cli_expect("$G init -c clip --vocab Makefile -o $D/x.h5 2>&1", 2, "Makefile: merges, line 2");
    cli_expect("$G init -c tiny-base -o $D/none/x.h5 2>&1", 2, "none/x.h5");
    cli_expect("$G init -c tiny-base --vocab Makefile -o $D/x.h5 2>&1", 2, "Makefile: merges, line 1: expected \"#version\"");
    cli_expect("$G init -c tiny-base --vocab Makefile --n-vocab 3 -o $D/x.h5 2>&1", 2, "exclude one another");
    cli_expect("(trap '' XFSZ; ulimit -f 100; exec $G init -c tiny-base -o $D/x.h5) 2>&1", 2, "x.h5");
    cli_expect("ls $D | grep -c x.h5", 1, "0\n");
    cli_expect("cd $D && $G init -c tiny-base -o t.h5 -q && $G sample cat -w t.h5 --no-upsample -o t.png 2>&1", 2,
           "t.h5: holds no tokenizer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_glide_sizes),
        cmocka_unit_test(test_guided_sizes),
        cmocka_unit_test(test_guides),
        cmocka_unit_test(test_wrong),
    };
    return cmocka_run_group_tests(tests, cli_setup, cli_teardown);
}
