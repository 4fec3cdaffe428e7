/* Guidance on the command line: bits, recipes, traces, and what is refused. */
#include "common/h5file.h"
#include "common/image_read.h"
#include "tests/support_cli.h"
#include "tests/support_guide_models.h"
#include "tests/support_models.h"
#include "tests/support_status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SMALL "$G sample 'red apple' -q -s 5 --steps 3 --no-upsample "

static int setup(void **state)
{
    int failed = cli_setup(state);
    if (!failed) write_small_guides(test_folder);
    return failed;
}

static void test_same_bytes(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, SMALL "-o cond.png -g 1");
    cli_run_ok(&r, SMALL "-o off.png -g 1 --classifier classifier.h5 --class 2 --classifier-scale 0 --clip clip.h5 --clip-scale 0 "
                         "--guide-weights weaker.h5 --autoguidance-scale 0");
    cli_assert_same_files("cond.png", "off.png");
    cli_run_ok(&r, SMALL "-o never.png -g 1 --classifier classifier.h5 --class 2 --classifier-interval 1.5:1.75");
    cli_run_ok(&r, SMALL "-o all.png -g 4 --classifier classifier.h5 --class 2 --clip clip.h5 --guide-weights weaker.h5 -t 1 "
                         "--negative-prompt green --apg 0:5:-0.5 --guidance-rescale .5 --threshold dynamic:.9 "
                         "--clip-schedule cosine --guidance-interval 0:600");
    /* default guides are those of $GLIDE_WEIGHTS */
    cli_run_ok(&r,
               SMALL "-o named.png --classifier classifier.h5 --class 2 --classifier-scale 2 --clip clip.h5 --clip-interval 0:800");
    cli_run_ok(&r, SMALL "-o default.png --class 2 --classifier-scale 2 --clip-interval 0:800");
    cli_assert_same_files("named.png", "default.png");
    static const char *const lines[][2] = {{"guidance_scale", "4"}, {"guidance_interval", "0:600"}, {"negative_prompt", "green"},
                                           {"guidance_rescale", "0.5"}, {"threshold", "dynamic:0.9"}, {"apg", "0:5:-0.5"},
                                           {"classifier_scale", "1"}, {"class", "2"}, {"clip_scale", "1"},
                                           {"clip_schedule", "cosine"},
                                           {"autoguidance_scale", "1"}};
    char value[64];
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        cli_read_recipe("all.png", lines[i][0], value, sizeof value);
        assert_string_equal(value, lines[i][1]);
    }
    static const char *const hashes[] = {"classifier", "clip", "guide_weights"};
    for (int i = 0; i < 3; i++) {
        cli_read_recipe("all.png", hashes[i], value, sizeof value);
        assert_int_equal(strlen(value), 16);
    }
    cli_run_ok(&r, "$G info all.png");
    assert_non_null(strstr(r.out, "negative_prompt        green"));
}

/* The cascade's upsampler, and the upsampler alone. */
static void test_upsampler(void **state)
{
    (void)state;
    CliOutcome r;
    char value[64];
    cli_run_ok(&r, "$G sample cat -q -s 3 -o large.png --upsampler-guidance-scale 3 --negative-prompt red " QUICK);
    cli_read_recipe("large.png", "upsampler_guidance_scale", value, sizeof value);
    assert_string_equal(value, "3");
    cli_run_ok(&r, "$G sample cat -q -s 3 -o small.png --no-upsample --steps 3 --negative-prompt red");
    cli_run_ok(&r, "$G upsample small.png -p cat -q -s 3 -o again.png -g 3 --negative-prompt red --steps 2 --fidelity 0 --trace up.h5");
    Image a = {0}, b = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/large.png", test_folder);
    OK(image_read(path, &a));
    snprintf(path, sizeof path, "%s/again.png", test_folder);
    OK(image_read(path, &b));
    assert_memory_equal(a.pixels, b.pixels, image_bytes(&a));
    image_release(&a);
    image_release(&b);
    assert_true(cli_exists("up.h5"));
}

/* --- traces --- */

static float *load(const H5File *file, const char *name, int ndim, const int64_t *dims)
{
    H5Info info;
    float *values;
    OK(h5file_load_f32(file, name, &values, &info));
    assert_int_equal(info.ndim, ndim);
    for (int i = 0; i < ndim; i++) assert_int_equal(info.dims[i], dims[i]);
    return values;
}

static void test_trace(void **state)
{
    (void)state;
    enum { P = 5, S = 3, SIDE = TINY_BASE_SIDE, SIZE = SIDE * SIDE * 3 }; /* more pictures than the base model makes at once */
    CliOutcome r;
    char path[128], *text;
    H5File *file;
    double *timesteps;
    H5Info info;
    cli_run_ok(&r, "mkdir many && $G sample 'red apple' -n 5 -q -s 5 -g 3 --guidance-interval 0:600 --clip clip.h5 -o many/ "
                   "--trace t.h5 --sampler ddim " QUICK);
    snprintf(path, sizeof path, "%s/t.h5", test_folder);
    OK(h5file_open(path, &file));
    OK(h5file_attr_text(file, "/", "prompt", &text));
    assert_string_equal(text, "red apple");
    free(text);
    OK(h5file_load_f64(file, "base/timestep", &timesteps, &info));
    assert_true(info.size == S && timesteps[0] == 999 && timesteps[2] == 0);
    float *x_t = load(file, "base/x_t", 5, (int64_t[]){P, S, SIDE, SIDE, 3});
    float *x_0 = load(file, "base/x_0", 5, (int64_t[]){P, S, SIDE, SIDE, 3});
    float *cosine = load(file, "base/telemetry/cosine", 2, (int64_t[]){P, S});
    float *scale = load(file, "base/telemetry/cfg_scale", 2, (int64_t[]){P, S});
    float *slope = load(file, "base/telemetry/clip_gradient_norm", 2, (int64_t[]){P, S});
    float *large = load(file, "upsampler/x_0", 5, (int64_t[]){P, 2, TINY_UPSAMPLER_SIDE, TINY_UPSAMPLER_SIDE, 3});
    for (int p = 0; p < P; p++) {
        assert_true(isnan(cosine[p * S]) && scale[p * S] == 1); /* outside of the interval */
        assert_true(fabsf(cosine[p * S + 1]) <= 1 && scale[p * S + 1] == 3 && slope[p * S] > 0);
        for (int q = 0; q < p; q++)
            assert_memory_not_equal(x_t + p * S * SIZE, x_t + q * S * SIZE, SIZE * sizeof *x_t);
    }
    double square = 0; /* the noise it began with */
    for (int i = 0; i < SIZE; i++) square += x_t[i] * x_t[i] / SIZE;
    assert_true(fabs(square - 1) < 0.2);
    for (int i = 0; i < P * S * SIZE; i++) assert_true(isfinite(x_0[i]));
    free(timesteps);
    free(x_t);
    free(x_0);
    free(cosine);
    free(scale);
    free(slope);
    free(large);
    h5file_close(file);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"--cfgpp -g 3", "--cfgpp: expected a --guidance-scale from 0 to 1"},
        {"--negative-prompt red -g 1", "--negative-prompt: expected a --guidance-scale other than 1"},
        {"--apg x", "--apg: expected ETA"},
        {"--apg 0 -g 1", "--apg: expected a --guidance-scale other than 1, or --guide-weights"},
        {"--guidance-rescale 2", "--guidance-rescale: expected a number from 0 to 1"},
        {"--threshold median", "--threshold: expected none, static, dynamic"},
        {"--guidance-interval 5", "--guidance-interval: expected an interval of timesteps"},
        {"--guidance-schedule up", "--guidance-schedule: expected constant, linear, cosine"},
        {"--guidance-schedule 0:1,999:4 -g 2", "--guidance-schedule: its points are the scales"},
        {"--classifier-scale 2", "--classifier-scale: expected --class beside it"},
        {"--classifier classifier.h5 --class fruit", "expected a number from 0 to 4, found \"fruit\""},
        {"--class fruit", "--class: expected a whole number"},
        {"--autoguidance-interval 1:2", "--autoguidance-interval: expected --guide-weights beside it"},
        {"--classifier classifier.h5", "--classifier: expected --class beside it"},
        {"--classifier classifier.h5 --class 5", "class 5: this classifier knows the classes 0 to 4"},
        {"--classifier clip.h5 --class 1", "clip.h5"},
        {"--clip none.h5", "none.h5"},
        {"--guide-weights upsampler.h5", "upsampler.h5: expected a weaker version of the model"},
        {"--class 1", "--class: the base model takes prompts"},
        {"--trace none/t.h5", "none/t.h5"},
        {"-o many/ 'a second prompt' --trace t.h5", "--trace: expected one prompt, found 2"},
    };
    char words[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(words, sizeof words, "$G sample cat -q -s 1 -o bad.png --steps 3 --no-upsample %s", cases[i][0]);
        cli_refuse(words, cases[i][1]);
    }
    /* before the seed is told */
    cli_refuse("$G sample cat -o bad.png --no-upsample --trace none/t.h5", "none/t.h5: cannot be written");
    cli_refuse("$G upsample small.png -o bad.png --trace none/t.h5", "none/t.h5: cannot be written");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_upsampler),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, setup, cli_teardown);
}
