/* Measured steps: the workers' operations add up, running blocks again saves memory, a profile's rows add up to the whole, and
 * what is counted without computing is what computing counts. */
#include "base_model/base_model.h"
#include "glide/bench.h"
#include "tests/support_kernels.h"
#include "upsampler/upsampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static Kernels *kernels_on_two_threads(void)
{
    use_threads(2);
    return kernel_set_open(&kernel_sets[KERNEL_SETS - 1]);
}

static TextUNet *tiny_model(Status (*config_of)(const char *name, TextUNetConfig *c))
{
    TextUNetConfig config;
    TextUNet *m;
    assert_int_equal(STATUS_OK, config_of("tiny", &config));
    assert_int_equal(STATUS_OK, bench_random_model(&config, &m));
    return m;
}

static BenchRun measure(Kernels *k, TextUNet *m, int workers, bool checkpoint_blocks)
{
    BenchRun run;
    BenchTraining t = {.type = DTYPE_F32, .side = 32, .batch = 6, .workers = workers, .checkpoint_blocks = checkpoint_blocks};
    assert_int_equal(STATUS_OK, bench_train(k, m, &t, &run, NULL));
    assert_true(run.seconds > 0 && run.seconds < 1000);
    return run;
}

static void test_training(void **state)
{
    (void)state;
    Kernels *k = kernels_on_two_threads();
    TextUNet *m = tiny_model(base_model_config);
    float before = m->params.items[0]->value[0];
    BenchRun one = measure(k, m, 1, false), two = measure(k, m, 2, false), again = measure(k, m, 2, true);
    assert_true(m->params.items[0]->value[0] != before);
    assert_int_equal(one.workers, 1);
    assert_int_equal(two.workers, 2);
    assert_true(one.gflop > 0 && two.gflop / one.gflop > 0.999 && two.gflop / one.gflop < 1.001);
    assert_true(again.gflop > 1.1 * two.gflop);
    assert_true(again.peak_bytes < two.peak_bytes);
    text_unet_free(m);
    kernels_free(k);
}

/* The rows by op and by block: both add up to the steps' seconds within `share`, and their operations to the run's. */
static void check_profile(const BenchProfile *p, const BenchRun *run, double share)
{
    double whole = p->seconds / p->steps;
    for (int by_block = 0; by_block < 2; by_block++) {
        BenchProfileRow *rows;
        double seconds = 0, gflop = 0;
        int count;
        assert_int_equal(STATUS_OK, bench_profile_rows(p, by_block, &rows, &count));
        assert_true(count > 8);
        for (int i = 0; i < count; i++) {
            assert_true(rows[i].seconds >= 0 && (i == 0 || rows[i].seconds <= rows[i - 1].seconds));
            seconds += rows[i].seconds;
            gflop += rows[i].gflop;
        }
        free(rows);
        if (seconds < (1 - share) * whole || seconds > (1 + share) * whole) fail_msg("rows %g s, whole %g s", seconds, whole);
        if (fabs(gflop / run->gflop - 1) > 1e-6) fail_msg("rows %g GFLOP, whole %g", gflop, run->gflop);
    }
}

static const BenchProfileRow *row_of(const BenchProfileRow *rows, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(rows[i].name, name)) return &rows[i];
    fail_msg("no row %s", name);
    return NULL;
}

static void expect_rows(const BenchProfile *p, bool by_block, const char *const *names)
{
    BenchProfileRow *rows;
    int count;
    assert_int_equal(STATUS_OK, bench_profile_rows(p, by_block, &rows, &count));
    for (; *names; names++) assert_true(row_of(rows, count, *names)->calls > 0);
    free(rows);
}

static void test_profile_of_training(void **state)
{
    (void)state;
    Kernels *k = kernels_on_two_threads();
    TextUNet *m = tiny_model(base_model_config);
    for (int workers = 1; workers < 3; workers++) {
        BenchRun run;
        BenchProfile profile = {0};
        BenchTraining t = {.side = 32, .batch = 6, .runs = 3, .workers = workers};
        assert_int_equal(STATUS_OK, bench_train(k, m, &t, &run, &profile));
        assert_int_equal(profile.count, workers);
        assert_int_equal(run.runs, 3);
        check_profile(&profile, &run, 0.02);
        expect_rows(&profile, false, (const char *const[]){"conv 3x3", "conv 3x3, backward", "group norm, backward", "attention",
                                                           "optimiser", "loss", "sum of gradients", NULL});
        expect_rows(&profile, true, (const char *const[]){"transformer", "input_blocks.0", "middle_block", "output_blocks.3", "out",
                                                          "training", NULL});
        bench_profile_release(&profile);
    }
    text_unet_free(m);
    kernels_free(k);
}

/* GFLOP for one picture of `side` that a guided pair shares: before its captions come in. */
static double shared_by_a_pair(const TextUNet *m, int side)
{
    const Param *first = params_find(&m->params, "input_blocks.0.0.weight");
    const Param *second = params_find(&m->params, "input_blocks.1.0.in_layers.2.weight");
    assert_true(first && second);
    return 2e-9 * side * side * (double)(first->size + second->size);
}

/* Takes the model over. */
static void check_step(Kernels *k, TextUNet *m, const char *block)
{
    BenchRun one, two;
    BenchProfile profile = {0};
    BenchStep step = {.batch = 1, .side = 32, .guidance_scale = 3, .runs = 6};
    assert_int_equal(STATUS_OK, bench_step(k, m, &step, &one, &profile));
    check_profile(&profile, &one, 0.02);
    expect_rows(&profile, false, (const char *const[]){"conv 3x3", "group norm", "concat", "guidance and sampler", NULL});
    expect_rows(&profile, true, (const char *const[]){"time_embed", "middle_block", block, "sampler", NULL});
    bench_profile_release(&profile);
    step.batch = 2;
    assert_int_equal(STATUS_OK, bench_step(k, m, &step, &two, NULL));
    assert_int_equal(two.runs, 6);
    assert_true(two.peak_bytes > one.peak_bytes && fabs(two.gflop / one.gflop - 2) < 1e-6);
    step.guidance_scale = 1;
    step.batch = 1;
    assert_int_equal(STATUS_OK, bench_step(k, m, &step, &two, NULL));
    assert_true(fabs((one.gflop + shared_by_a_pair(m, step.side)) / two.gflop - 2) < 1e-6);
    text_unet_free(m);
}

static void test_steps(void **state)
{
    (void)state;
    Kernels *k = kernels_on_two_threads();
    check_step(k, tiny_model(base_model_config), "output_blocks.3");
    check_step(k, tiny_model(upsampler_config), "inputs");
    kernels_free(k);
}

static Status drop(void *ctx, int64_t index, Image *picture)
{
    (void)ctx, (void)index;
    image_release(picture);
    return STATUS_OK;
}

static void test_counting(void **state)
{
    (void)state;
    CascadeOptions o;
    StageStats stats = {0};
    double gflop;
    Kernels *k = kernels_on_two_threads();
    TextUNet *base = tiny_model(base_model_config), *upsampler = tiny_model(upsampler_config);
    const char *prompt = "a";
    SamplerRow row = {.seed = 1};
    cascade_options_defaults(&o);
    o.base.steps = o.upsampler.steps = "3";
    assert_int_equal(STATUS_OK, bench_count_sample(base, upsampler, &o, 1, &gflop));
    o.base.stats = o.upsampler.stats = &stats;
    assert_int_equal(STATUS_OK, cascade_sample(&(Cascade){k, base, upsampler}, &o,
                                               &(CascadeInput){.n = 1, .prompts = &prompt, .rows = &row},
                                               &(CascadeHooks){.finished = drop}));
    assert_true(gflop > 0 && fabs(gflop / (stats.flops * 1e-9) - 1) < 1e-9);
    text_unet_free(base);
    text_unet_free(upsampler);
    kernels_free(k);
}

static void test_median(void **state)
{
    (void)state;
    assert_true(bench_median(NULL, 0) == 0);
    assert_true(bench_median((double[]){3}, 1) == 3);
    assert_true(bench_median((double[]){9, 1, 2}, 3) == 2);
    assert_true(bench_median((double[]){4, 100, 1, 2}, 4) == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_training), cmocka_unit_test(test_profile_of_training),
                                       cmocka_unit_test(test_steps), cmocka_unit_test(test_counting),
                                       cmocka_unit_test(test_median)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
