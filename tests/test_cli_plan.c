/* glide plan of every command that has one: what it counts, that nothing is written, that its memory is that of a run, and that
 * what cannot fit is refused before it starts. */
#include "common/kernels.h"
#include "glide/plan.h"
#include "tests/support_cli.h"
#include "tests/support_status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 }; /* memory is the sanitizer's then */
#else
enum { SANITIZED = 0 };
#endif

static void make_pictures(void)
{
    GlidePicture p = {.width = 90, .height = 40, .rgb = calloc(90 * 40, 3)};
    assert_int_equal(glide_picture_write(&p, in_test_folder("wide.png")), GLIDE_OK);
    for (int i = 0; i < 90 * 40; i++) memset(p.rgb + 3 * i, i % 90 < 30 ? 255 : 0, 3);
    assert_int_equal(glide_picture_write(&p, in_test_folder("mask.png")), GLIDE_OK);
    glide_picture_release(&p);
    p = (GlidePicture){.width = 2600, .height = 2600, .rgb = calloc(2600 * 2600, 3)};
    assert_int_equal(glide_picture_write(&p, in_test_folder("huge.png")), GLIDE_OK);
    glide_picture_release(&p);
}

/* --- what is told ------------------------------------------------------------------------------------- */

static void test_lines(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"sample 'red apple' --steps 10 --sampler ddim -n 3 --upsampler-steps 4", "10 steps, 20 evaluations a picture"},
        {"sample 'red apple' --steps 10 --sampler ddim --grid seed=1,2,3", "for 3 pictures, each as without --grid"},
        {"upsample wide.png --steps 4", "upsampler  360x160 pixels, "},
        {"upsample wide.png huge.png --scale 2 --steps 2 --tile 64", "all        2 files, "},
        {"inpaint wide.png -m mask.png -p x --steps 5 --repeats 3 --upsampler-steps 2", "15 steps, 30 evaluations a picture"},
        {"inpaint wide.png -m mask.png -p x --steps 5 --no-upsample -g 1", "20 steps, 20 evaluations a picture"},
        {"ablate --modes none,cfg --scales 2 --prompts prompts.txt --steps 3 --sampler ddim", "conditions"},
    };
    CliOutcome r;
    cli_run_ok(&r, "printf 'a cat\\na dog\\n' > prompts.txt");
    int before = test_folder_count();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_run(&r, "$G plan %s", cases[i][0]);
        if (r.exit_status != 0 || !strstr(r.out, cases[i][1]) || !strstr(r.out, "memory") || !strstr(r.out, "time"))
            fail_msg("%s: exit status %d, \"%s%s\"; expected \"%s\"", cases[i][0], r.exit_status, r.out, r.err, cases[i][1]);
    }
    assert_int_equal(test_folder_count(), before);
    cli_refuse("$G plan dataset", "sample, upsample, inpaint, ablate");
    cli_refuse("$G plan inpaint wide.png", "--mask");
    cli_refuse("$G plan upsample nowhere.png", "nowhere.png");
    cli_refuse("$G plan sample", "expected a prompt");
}

/* glide plan ablate and glide ablate --plan are one. */
static void test_ablate(void **state)
{
    (void)state;
    CliOutcome a, b;
    cli_run_ok(&a, "printf 'a cat\\n' > prompts.txt; $G plan ablate --prompts prompts.txt --steps 3 | sed '/ms each/d; /^time/d; "
            "/^memory/d'");
    cli_run_ok(&b, "$G ablate --plan --prompts prompts.txt --steps 3 | sed '/ms each/d; /^time/d; /^memory/d'");
    assert_string_equal(a.out, b.out);
    assert_non_null(strstr(a.out, "evaluations"));
}

/* --- memory ------------------------------------------------------------------------------------------- */

static Glide *open_default(GlidePrecision precision)
{
    Glide *g;
    GlideOptions o = glide_defaults();
    o.weights = "data/weights/base.h5";
    o.upsampler_weights = "data/weights/upsampler.h5";
    o.precision = precision;
    assert_int_equal(glide_open(&o, &g), GLIDE_OK);
    return g;
}

static void check_peak(const char *words, double planned)
{
    CliOutcome r;
    cli_run(&r, "export GLIDE_WEIGHTS=\"$R/data/weights\"; exec $G %s", words);
    if (r.exit_status != 0) fail_msg("%s: \"%s\"", words, r.err);
    double peak = 1024.0 * (double)r.peak_kb, ratio = planned / peak;
    print_message("%-90s planned %4.0f MB, peak %4.0f MB, ratio %.2f\n", words, planned * 1e-6, peak * 1e-6, ratio);
    if (ratio > PLAN_MEMORY_FACTOR || ratio < 1 / PLAN_MEMORY_FACTOR)
        fail_msg("%s: %.0f MB planned, %.0f MB taken", words, planned * 1e-6, peak * 1e-6);
}

/* The formula against peaks of the program with the default weights. */
static void test_memory(void **state)
{
    (void)state;
    if (SANITIZED || access("data/weights/upsampler.h5", R_OK) != 0) skip();
    static const struct {
        const char *words;
        GlidePrecision precision;
    } cases[] = {{"sample x --steps 2 --upsampler-steps 2 -q -o a.png", GLIDE_PRECISION_AUTO},
                 {"sample x --steps 2 --upsampler-steps 2 -q -o a.png --precision f32", GLIDE_PRECISION_F32}};
    Plan plan;
    for (int i = 0; i < 2; i++) {
        Glide *g = open_default(cases[i].precision);
        GlideSampleOptions o = glide_sample_defaults();
        o.steps = o.upsampler_steps = "2";
        assert_int_equal(plan_sample(g, &o, &plan), STATUS_OK);
        check_peak(cases[i].words, plan.bytes);
        if (i == 0) {
            o.n = 4;
            o.upsample = false;
            assert_int_equal(plan_sample(g, &o, &plan), STATUS_OK);
            check_peak("sample x -n 4 --steps 2 --no-upsample -q -o many.png", plan.bytes);
            GlideUpsampleOptions u = glide_upsample_defaults();
            u.scale = 4;
            assert_int_equal(plan_upsample(g, 90, 40, &u, &plan), STATUS_OK);
            check_peak("upsample wide.png --steps 2 -q -o a.png", plan.bytes);
            u.guidance.cfg.scale = 2;
            assert_int_equal(plan_upsample(g, 90, 40, &u, &plan), STATUS_OK);
            check_peak("upsample wide.png --steps 2 -p x -g 2 -q -o a.png", plan.bytes);
            GlideInpaintOptions p = glide_inpaint_defaults();
            assert_int_equal(plan_inpaint(g, &p, &plan), STATUS_OK);
            check_peak("inpaint wide.png -m mask.png --steps 2 --upsampler-steps 2 -q -o a.png", plan.bytes);
        }
        glide_close(g);
    }
}

/* Guides count with their weights, the copies for both ways through, and what they keep for the way back: in f32 twice as much. */
static void test_guides(void **state)
{
    (void)state;
    if (SANITIZED || access("data/weights/clip.h5", R_OK) != 0) skip();
    char words[256];
    Kernels *k;
    OK(kernels_new(KERNELS_BEST, &k));
    double most = k->native_bf16 ? 2.5 : 5;
    kernels_free(k);
    for (int with = 0; with < 4; with++) {
        Glide *g = open_default(GLIDE_PRECISION_AUTO);
        GlideSampleOptions o = glide_sample_defaults();
        Plan plan, bare;
        o.steps = "2";
        o.n = 4;
        o.upsample = false;
        assert_int_equal(plan_sample(g, &o, &bare), STATUS_OK);
        if (with & 1) o.guidance.classifier_weights = "data/weights/classifier.h5", o.guidance.classifier.scale = 3, o.label = 0;
        if (with & 2) o.guidance.clip_weights = "data/weights/clip.h5", o.guidance.clip.scale = 50;
        OK(plan_sample(g, &o, &plan));
        snprintf(words, sizeof words, "sample x -n 4 --steps 2 --no-upsample -q -o many.png%s%s",
                 with & 1 ? " --classifier $R/data/weights/classifier.h5 --classifier-scale 3 --class 0" : "",
                 with & 2 ? " --clip $R/data/weights/clip.h5 --clip-scale 50" : "");
        check_peak(words, plan.bytes);
        double more = plan.bytes - bare.bytes, least = (with & 1 ? 14e6 : 0) + (with & 2 ? 26e6 : 0);
        if (more < least || more > most * least) fail_msg("%s: %.0f MB for its guides", words, more * 1e-6);
        glide_close(g);
    }
}

/* Exit status 2 and one line, at once, by a plan and by the command itself. */
static void test_refusal(void **state)
{
    (void)state;
    if (SANITIZED) skip();
    cli_refuse("ulimit -v 3000000; $G plan upsample huge.png", "huge.png: 2600x2600 to 10400x10400 pixels: needs about ");
    cli_refuse("ulimit -v 3000000; $G upsample huge.png -s 1 -q -o out.png", "GB are free");
    if (access("data/weights/upsampler.h5", R_OK) != 0) return;
    static const char *const commands[] = {"sample x -s 1 -q -o out.png", "plan sample x",
                                           "inpaint wide.png -m mask.png -s 1 -q -o out.png", "plan inpaint wide.png -m mask.png",
                                           "sample x --grid seed=1 -q -o out.png", "plan ablate --prompts prompts.txt",
                                           "ablate --prompts prompts.txt -q -o study"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        CliOutcome r;
        cli_run(&r, "ulimit -v 380000; GLIDE_WEIGHTS=\"$R/data/weights\" $G %s --precision f32 -t 1", commands[i]);
        if (r.exit_status != 2 || !strstr(r.err, "needs about ") || !strstr(r.err, "GB are free"))
            fail_msg("%s: exit status %d, \"%s\"", commands[i], r.exit_status, r.err);
        assert_false(cli_exists("out.png"));
        assert_false(cli_exists("study/report.html"));
    }
}

static int setup(void **state)
{
    int failed = cli_setup(state);
    if (!failed) make_pictures();
    return failed;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_ablate), cmocka_unit_test(test_memory),
                                       cmocka_unit_test(test_guides),
                                       cmocka_unit_test(test_refusal)};
    return cmocka_run_group_tests(tests, setup, cli_teardown);
}
