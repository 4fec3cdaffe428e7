/* Solvers of the probability flow (sampler_dpmpp.c, sampler_k.c, sampler_plms.c): how their error falls with the steps, where
 * they begin and end, what they forget. The model's eps is known exactly. */
#include "common/noise_levels.h"
#include "tests/support_mixture.h"
#include "tests/support_status.h"

#include <malloc.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIZE = MIXTURE_SIZE };

typedef struct Scene {
    Diffusion d;
    Mixture mixture;
    Denoiser denoiser;
    SamplerOptions options;
    Sampler sampler;
} Scene;

static void scene_open(Scene *s, const char *kind, const char *schedule, const char *steps, int components, int64_t rows)
{
    OK(diffusion_init(&s->d, schedule, 1000, steps));
    s->mixture = mixture_make(components, rows);
    s->denoiser = mixture_denoiser(&s->mixture);
    sampler_options_defaults(&s->options);
    s->options.kind = sampler_find(kind);
    assert_non_null(s->options.kind);
    s->options.clip_denoised = false;
}

static void scene_start(Scene *s)
{
    OK(sampler_init(&s->sampler, &s->options, &s->d, &s->denoiser, s->mixture.rows, MIXTURE_H, MIXTURE_W));
}

static void scene_close(Scene *s)
{
    sampler_release(&s->sampler);
    diffusion_release(&s->d);
}

/* --- order --- */

/* One Gaussian's flow keeps (x - alpha mean) / std. The largest error of x at the level of `step`. */
static double worst_of(const Scene *s, int step, const float *start, const float *x)
{
    NoiseLevel from = diffusion_level(&s->d, s->d.num_timesteps - 1), to = diffusion_level(&s->d, step);
    double std = s->mixture.stds[0], spread = hypot(to.alpha * std, to.sigma) / hypot(from.alpha * std, from.sigma), worst = 0;
    for (int i = 0; i < SIZE; i++) {
        double mean = s->mixture.means[0][i];
        worst = fmax(worst, fabs(x[i] - to.alpha * mean - spread * (start[i] - from.alpha * mean)));
    }
    return worst;
}

/* The largest error at a level that is whole groups of 2 and 3 steps away from the start. */
static double error_of(const char *kind, int levels)
{
    Scene s;
    float x[SIZE], start[SIZE];
    char steps[32];
    snprintf(steps, sizeof steps, "logsnr%d", levels);
    scene_open(&s, kind, "linear", steps, 1, 1);
    s.options.eta = 0;
    scene_start(&s);
    sampler_initial_noise(&s.sampler, 1, start);
    for (int i = 0; i < SIZE; i++) x[i] = start[i];
    double worst = 0;
    for (int step = levels - 1; step > 0; step--) {
        OK(sampler_step(&s.sampler, x, step));
        if ((levels - step) % 6 == 0) worst = fmax(worst, worst_of(&s, step - 1, start, x));
    }
    scene_close(&s);
    return worst;
}

static void test_orders(void **state)
{
    static const struct {
        const char *kind;
        double order;
    } cases[] = {{"ddim", 1},     {"euler", 1},         {"euler_ancestral", 1}, {"heun", 2},     {"dpmpp_2m", 2},
                 {"dpmpp_3m", 2}, {"dpmpp_3m_full", 3}, {"dpmpp_2s", 2},        {"dpmpp_3s", 3}, {"plms", 2}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int few = 61, many = 2 * few - 1;
        double coarse = error_of(cases[i].kind, few), fine = error_of(cases[i].kind, many), slope = log2(coarse / fine);
        if (getenv("GLIDE_TEST_VERBOSE")) print_message("%s: %g, %g, slope %.2f\n", cases[i].kind, coarse, fine, slope);
        if (!(fabs(slope - cases[i].order) < 0.35))
            fail_msg("%s: error %g with %d levels, %g with %d: slope %.2f, expected %g", cases[i].kind, coarse, few, fine, many,
                     slope, cases[i].order);
    }
}

/* --- first and last steps --- */

static Status gradient(void *ctx, const float *x_t, const NoiseLevel *level, float *grad)
{
    (void)ctx;
    for (int i = 0; i < SIZE; i++) grad[i] = 0.5f * x_t[i] - 0.3f * (float)level->alpha;
    return STATUS_OK;
}

static Status denoised(void *ctx, const NoiseLevel *level, float *x_0)
{
    (void)ctx, (void)level;
    for (int i = 0; i < SIZE; i += 4) x_0[i] = 1.5f; /* clamped after it */
    return STATUS_OK;
}

/* One step of a sampler that has taken none. */
static void take_one(const char *kind, int step, int hooks, float *x, float *x_0)
{
    Scene s;
    RngKey key = {5, RNG_TEST, (uint32_t)step, 0};
    scene_open(&s, kind, "squaredcos_cap_v2", "20", 3, 1);
    s.options.eta = 0;
    s.options.clip_denoised = hooks & 1;
    if (hooks & 2) s.denoiser.gradient = gradient;
    if (hooks & 4) s.denoiser.denoised = denoised;
    scene_start(&s);
    rng_normal(&key, x, SIZE);
    OK(sampler_step(&s.sampler, x, step));
    if (x_0) memcpy(x_0, s.sampler.x_0, SIZE * sizeof *x_0);
    scene_close(&s);
}

static void check_near(const char *kind, int step, int hooks, const float *found, const float *expected)
{
    for (int i = 0; i < SIZE; i++)
        if (!(fabs(found[i] - expected[i]) < 3e-5 * (1 + fabs(expected[i]))))
            fail_msg("%s, step %d, hooks %d, element %d: %g, expected %g", kind, step, hooks, i, found[i], expected[i]);
}

/* Without memory all of order 1 are DDIM, and those that take the mean of two eps agree; hooks take part alike. */
static void test_first_steps(void **state)
{
    static const char *const kinds[] = {"euler", "euler_ancestral", "dpmpp_2m", "dpmpp_3m", "dpmpp_3m_full", "dpmpp_2s",
                                        "dpmpp_3s"};
    static const int steps[] = {0, 1, 9, 18}; /* at 19 alpha is 5e-5, and rounding shows */
    (void)state;
    for (int hooks = 0; hooks < 8; hooks++)
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
            float ddim[SIZE], heun[SIZE], x[SIZE];
            take_one("ddim", steps[i], hooks, ddim, NULL);
            for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
                take_one(kinds[k], steps[i], hooks, x, NULL);
                check_near(kinds[k], steps[i], hooks, x, ddim);
            }
            take_one("heun", steps[i], hooks, heun, NULL);
            take_one("plms", steps[i], hooks, x, NULL);
            check_near("plms", steps[i], hooks, x, heun);
            if (steps[i] == 9) assert_memory_not_equal(heun, ddim, sizeof heun);
        }
}

/* The step to the picture is x_0 itself, whatever is remembered. */
static void test_last_step(void **state)
{
    (void)state;
    for (int k = 0; sampler_kind(k); k++) {
        Scene s;
        float x[SIZE];
        if (!sampler_kind(k)->memory || !strcmp(sampler_kind(k)->name, "plms")) continue; /* plms extrapolates eps to the end */
        scene_open(&s, sampler_kind(k)->name, "linear", "15", 3, 1);
        scene_start(&s);
        sampler_initial_noise(&s.sampler, 1, x);
        OK(sampler_run(&s.sampler, x));
        assert_memory_equal(x, s.sampler.x_0, sizeof x);
        for (int i = 0; i < SIZE; i++) assert_true(isfinite(x[i]));
        scene_close(&s);
    }
}

/* Every kind ends near where DDIM with many steps does. Short runs too, which end with low orders. */
static void test_whole_runs(void **state)
{
    static const char *const steps[] = {"2", "3", "4", "5", "9", "10", "11", "fast27", "karras10", "logsnr12"};
    (void)state;
    float exact[SIZE];
    Scene s;
    scene_open(&s, "ddim", "linear", "1000", 3, 1);
    scene_start(&s);
    sampler_initial_noise(&s.sampler, 1, exact);
    OK(sampler_run(&s.sampler, exact));
    scene_close(&s);
    for (int k = 0; sampler_kind(k); k++)
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
            float x[SIZE];
            const SamplerKind *kind = sampler_kind(k);
            if (kind->ascending) continue;
            scene_open(&s, kind->name, "linear", steps[i], 3, 1);
            s.options.clip_denoised = true;
            scene_start(&s);
            sampler_initial_noise(&s.sampler, 1, x);
            OK(sampler_run(&s.sampler, x));
            assert_int_equal(s.mixture.calls, sampler_evaluations(kind, s.d.num_timesteps));
            double sum = 0;
            for (int j = 0; j < SIZE; j++) sum += pow(x[j] - exact[j], 2) / SIZE;
            if (s.d.num_timesteps < 9 && kind->evaluations + abs(kind->extra) > 1) sum = 0; /* means of eps over such steps */
            bool noisy = !strcmp(kind->name, "ddpm") || kind->eta > 0;
            if (getenv("GLIDE_TEST_VERBOSE")) print_message("%s, %s: off by %.3f\n", kind->name, steps[i], sqrt(sum));
            if (!(sqrt(sum) < (noisy ? 2 : 0.6))) fail_msg("%s, %s steps: off by %g", kind->name, steps[i], sqrt(sum));
            scene_close(&s);
        }
}

/* --- memory --- */

/* A step that does not follow the last one is as if there had been none; the same steps again give the same bits. */
static void test_jumps(void **state)
{
    (void)state;
    for (int k = 0; sampler_kind(k); k++) {
        Scene s, fresh;
        float x[SIZE], first[2][SIZE], start[SIZE];
        if (!sampler_kind(k)->memory) continue;
        scene_open(&s, sampler_kind(k)->name, "linear", "12", 3, 1);
        scene_start(&s);
        sampler_initial_noise(&s.sampler, 1, start);
        for (int round = 0; round < 2; round++) {
            memcpy(x, start, sizeof x);
            for (int step = 11; step > 6; step--) OK(sampler_step(&s.sampler, x, step));
            memcpy(first[round], x, sizeof x);
        }
        assert_memory_equal(first[0], first[1], sizeof x);
        OK(sampler_step(&s.sampler, x, 9)); /* back by three */
        scene_open(&fresh, sampler_kind(k)->name, "linear", "12", 3, 1);
        scene_start(&fresh);
        OK(sampler_step(&fresh.sampler, first[0], 9));
        assert_memory_equal(x, first[0], sizeof x);
        OK(sampler_step(&s.sampler, x, 8)); /* and both go on alike */
        OK(sampler_step(&fresh.sampler, first[0], 8));
        assert_memory_equal(x, first[0], sizeof x);
        scene_close(&fresh);
        scene_close(&s);
    }
}

/* A run that another one of the same kind goes on from, at whatever step, ends in the same bits. */
static void test_saved(void **state)
{
    enum { STEPS = 7 };
    (void)state;
    mallopt(M_PERTURB, 0x5a); /* what was not kept is not there by chance */
    for (int k = 0; sampler_kind(k); k++) {
        for (int done = 0; done <= STEPS; done++) {
            Scene s, other;
            SamplerState kept;
            float x[SIZE], on[SIZE];
            bool ascending = sampler_kind(k)->ascending;
            scene_open(&s, sampler_kind(k)->name, "linear", "7", 3, 1);
            scene_start(&s);
            sampler_initial_noise(&s.sampler, 1, x);
            for (int i = 0; i < done; i++) OK(sampler_step(&s.sampler, x, ascending ? i : STEPS - 1 - i));
            OK(sampler_save(&s.sampler, x, done, &kept));
            for (int i = done; i < STEPS; i++) OK(sampler_step(&s.sampler, x, ascending ? i : STEPS - 1 - i));
            scene_open(&other, sampler_kind(k)->name, "linear", "7", 3, 1);
            other.options.skip = done;
            scene_start(&other);
            sampler_restore(&other.sampler, &kept, on);
            OK(sampler_run(&other.sampler, on));
            if (memcmp(on, x, sizeof x)) fail_msg("%s, from step %d on: other bits", sampler_kind(k)->name, done);
            sampler_state_release(&kept);
            scene_close(&other);
            scene_close(&s);
        }
    }
    mallopt(M_PERTURB, 0);
}

/* Painting on a picture: known pixels come out exactly, a mask of zeros changes nothing, jumps cost steps of order 1. */
static void test_known(void **state)
{
    (void)state;
    for (int k = 0; sampler_kind(k); k++) {
        Scene s;
        float mask[MIXTURE_PIXELS] = {0}, x_0[SIZE], plain[2 * SIZE], x[2 * SIZE];
        if (sampler_kind(k)->ascending) continue;
        scene_open(&s, sampler_kind(k)->name, "linear", "12", 3, 2);
        scene_start(&s);
        sampler_initial_noise(&s.sampler, 1, plain);
        memcpy(x, plain, sizeof x);
        OK(sampler_run(&s.sampler, plain));
        OK(sampler_run_known(&s.sampler, &(SamplerKnown){plain, mask, 4, 1}, x));
        assert_memory_equal(x, plain, sizeof x);
        for (int i = 0; i < SIZE; i++) x_0[i] = (float)s.mixture.means[1][i];
        for (int i = 0; i < 6; i++) mask[i] = 1;
        sampler_initial_noise(&s.sampler, 1, x);
        OK(sampler_run_known(&s.sampler, &(SamplerKnown){x_0, mask, 5, 3}, x));
        for (int row = 0; row < 2; row++) assert_memory_equal(x + row * SIZE, x_0, 18 * sizeof *x);
        for (int i = 0; i < 2 * SIZE; i++) assert_true(isfinite(x[i]));
        scene_close(&s);
    }
}

/* From a picture: the fewer steps, the nearer; a group of levels begins where the process does. */
static void test_start_from(void **state)
{
    (void)state;
    for (int k = 0; sampler_kind(k); k++) {
        const SamplerKind *kind = sampler_kind(k);
        if (kind->ascending) continue;
        for (int skip = 12; skip >= 0; skip--) {
            Scene s;
            float x_0[SIZE], x[SIZE];
            scene_open(&s, kind->name, "linear", "12", 3, 1);
            s.options.skip = skip;
            scene_start(&s);
            for (int i = 0; i < SIZE; i++) x_0[i] = (float)s.mixture.means[1][i];
            sampler_start_from(&s.sampler, x_0, x);
            OK(sampler_run(&s.sampler, x));
            assert_int_equal(s.mixture.calls, sampler_evaluations(kind, 12 - skip));
            for (int i = 0; i < SIZE; i++) assert_true(isfinite(x[i]));
            if (skip == 12) assert_memory_equal(x, x_0, sizeof x);
            scene_close(&s);
        }
    }
}

/* --- batches, threads, errors --- */

typedef struct Large {
    int64_t size;
    int calls, fail_at;
} Large;

static Status predict_large(void *ctx, const float *x_t, const NoiseLevel *level, float *out)
{
    Large *l = ctx;
    if (++l->calls == l->fail_at) return status_fail(STATUS_IO, "the model is gone");
    for (int64_t p = 0; p < l->size / IMAGE_CHANNELS; p++)
        for (int c = 0; c < MODEL_CHANNELS; c++)
            out[p * MODEL_CHANNELS + c] = (float)level->sigma * x_t[p * IMAGE_CHANNELS + c % IMAGE_CHANNELS];
    return STATUS_OK;
}

static Status run_large(const SamplerKind *kind, const Diffusion *d, const SamplerRow *rows, int64_t n, Large *l, float *x)
{
    SamplerOptions o;
    Sampler s;
    l->size = n * 64 * 96 * IMAGE_CHANNELS;
    sampler_options_defaults(&o);
    o.kind = kind;
    o.rows = rows;
    o.s_churn = 2;
    OK(sampler_init(&s, &o, d, &(Denoiser){.predict = predict_large, .predict_ctx = l}, n, 64, 96));
    sampler_initial_noise(&s, 1, x);
    Status status = sampler_run(&s, x);
    sampler_release(&s);
    return status;
}

/* Pictures large enough to be shared out to threads: the same bits alone and in a batch, on one thread and on three. */
static void test_rows_alone(void **state)
{
    enum { PICTURE = 64 * 96 * IMAGE_CHANNELS };
    static float all[3 * PICTURE], one[PICTURE];
    const SamplerRow rows[3] = {{1, 0}, {1, 5}, {2, 0}};
    int threads = omp_get_max_threads();
    Diffusion d;
    (void)state;
    OK(diffusion_init(&d, "linear", 1000, "karras8"));
    for (int k = 0; sampler_kind(k); k++) {
        omp_set_num_threads(3);
        OK(run_large(sampler_kind(k), &d, rows, 3, &(Large){0}, all));
        omp_set_num_threads(1);
        for (int r = 0; r < 3; r++) {
            OK(run_large(sampler_kind(k), &d, &rows[r], 1, &(Large){0}, one));
            assert_memory_equal(one, all + r * PICTURE, sizeof one);
            assert_memory_not_equal(one, all + (r + 1) % 3 * PICTURE, sizeof one);
        }
        for (int call = 1; call < 5; call++)
            assert_int_equal(run_large(sampler_kind(k), &d, rows, 1, &(Large){.fail_at = call}, one), STATUS_IO);
    }
    omp_set_num_threads(threads);
    diffusion_release(&d);
}

static void test_names_and_errors(void **state)
{
    Scene s;
    (void)state;
    assert_ptr_equal(sampler_find("euler_a"), sampler_find("euler_ancestral"));
    assert_int_equal(sampler_evaluations(sampler_find("heun"), 10), 19);
    assert_int_equal(sampler_evaluations(sampler_find("plms"), 10), 11);
    assert_int_equal(sampler_evaluations(sampler_find("dpmpp_3m"), 10), 10);
    assert_int_equal(sampler_evaluations(sampler_find("heun"), 0), 0);
    scene_open(&s, "heun", "linear", "10", 1, 1);
    s.options.s_churn = -1;
    FAILS(sampler_init(&s.sampler, &s.options, &s.d, &s.denoiser, 1, 3, 5), STATUS_BAD_INPUT, "churn");
    s.options.s_churn = INFINITY;
    FAILS(sampler_init(&s.sampler, &s.options, &s.d, &s.denoiser, 1, 3, 5), STATUS_BAD_INPUT, "churn");
    diffusion_release(&s.d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),     cmocka_unit_test(test_first_steps), cmocka_unit_test(test_last_step),
        cmocka_unit_test(test_whole_runs), cmocka_unit_test(test_jumps),       cmocka_unit_test(test_saved),
        cmocka_unit_test(test_known),      cmocka_unit_test(test_start_from),  cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_names_and_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
