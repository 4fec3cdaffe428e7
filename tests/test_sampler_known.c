/* Starting from a picture (SDEdit) and painting on one (RePaint), with a model whose eps is known exactly. */
#include "tests/support_mixture.h"
#include "tests/support_status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = MIXTURE_SIZE, PIXELS = MIXTURE_PIXELS, ROWS = 200, KNOWN_PIXELS = 7 };

typedef struct Scene {
    Diffusion d;
    Mixture mixture;
    Denoiser denoiser;
    Sampler sampler;
} Scene;

static void scene_open(Scene *s, const char *steps, int64_t rows, int skip)
{
    SamplerOptions o;
    OK(diffusion_init(&s->d, "squaredcos_cap_v2", 1000, steps));
    s->mixture = mixture_make(MIXTURE_COMPONENTS, rows);
    s->mixture.v = -1;
    s->denoiser = mixture_denoiser(&s->mixture);
    sampler_options_defaults(&o);
    o.skip = skip;
    OK(sampler_init(&s->sampler, &o, &s->d, &s->denoiser, rows, MIXTURE_H, MIXTURE_W));
}

static void scene_close(Scene *s)
{
    sampler_release(&s->sampler);
    diffusion_release(&s->d);
}

/* Squared distance to a component's mean over the pixels from `first` on. */
static double distance(const Mixture *m, int component, const float *x, int first)
{
    double sum = 0;
    for (int i = 3 * first; i < SIZE; i++) sum += pow(x[i] - m->means[component][i], 2);
    return sum;
}

static int nearest(const Mixture *m, const float *x, int first)
{
    int best = 0;
    for (int k = 1; k < MIXTURE_COMPONENTS; k++)
        if (distance(m, k, x, first) < distance(m, best, x, first)) best = k;
    return best;
}

/* --- painting on a picture --- */

typedef struct Painting {
    float x_0[SIZE], mask[PIXELS];
} Painting;

/* The first pixels are those of component 1's mean, whose share of all pictures is 0.2. */
static Painting painting_of(const Mixture *m)
{
    Painting p = {{0}, {0}};
    for (int i = 0; i < KNOWN_PIXELS; i++) p.mask[i] = 1;
    for (int i = 0; i < SIZE; i++) p.x_0[i] = (float)m->means[1][i];
    return p;
}

/* How many of ROWS unknown parts came to fit the known one. */
static int fitting(int repeats)
{
    static float x[ROWS * SIZE];
    Scene s;
    int count = 0;
    scene_open(&s, "40", ROWS, 0);
    Painting p = painting_of(&s.mixture);
    sampler_initial_noise(&s.sampler, 1, x);
    OK(sampler_run_known(&s.sampler, &(SamplerKnown){p.x_0, p.mask, 5, repeats}, x));
    assert_int_equal(s.mixture.calls, 40 * repeats);
    for (int row = 0; row < ROWS; row++) {
        assert_memory_equal(x + row * SIZE, p.x_0, 3 * KNOWN_PIXELS * sizeof(float));
        count += nearest(&s.mixture, x + row * SIZE, KNOWN_PIXELS) == 1;
    }
    scene_close(&s);
    return count;
}

/* Known pixels come out exactly; repeats make the rest fit them. */
static void test_known(void **state)
{
    (void)state;
    int once = fitting(1), often = fitting(8);
    assert_true(once > ROWS / 2); /* far above the 0.2 that chance would give */
    assert_true(often > once || often == ROWS);
    assert_true(often > ROWS * 95 / 100);
}

/* A mask of zeros changes nothing; a row has the same bits alone and in a batch. */
static void test_known_rows(void **state)
{
    (void)state;
    float mask[PIXELS] = {0}, plain[3 * SIZE], painted[3 * SIZE], alone[SIZE];
    Scene s;
    scene_open(&s, "12", 3, 0);
    sampler_initial_noise(&s.sampler, 1, plain);
    OK(sampler_run(&s.sampler, plain));
    sampler_initial_noise(&s.sampler, 1, painted);
    OK(sampler_run_known(&s.sampler, &(SamplerKnown){plain, mask, 4, 1}, painted));
    assert_memory_equal(plain, painted, sizeof plain);

    Painting p = painting_of(&s.mixture);
    sampler_initial_noise(&s.sampler, 1, painted);
    OK(sampler_run_known(&s.sampler, &(SamplerKnown){p.x_0, p.mask, 4, 3}, painted));
    scene_close(&s);
    scene_open(&s, "12", 1, 0);
    sampler_initial_noise(&s.sampler, 1, alone);
    OK(sampler_run_known(&s.sampler, &(SamplerKnown){p.x_0, p.mask, 4, 3}, alone));
    assert_memory_equal(alone, painted, sizeof alone);
    scene_close(&s);
}

static void test_known_errors(void **state)
{
    (void)state;
    float x[SIZE];
    Scene s;
    scene_open(&s, "12", 1, 0);
    Painting p = painting_of(&s.mixture);
    FAILS(sampler_run_known(&s.sampler, &(SamplerKnown){p.x_0, p.mask, 0, 1}, x), STATUS_BAD_INPUT, "jump");
    FAILS(sampler_run_known(&s.sampler, &(SamplerKnown){p.x_0, p.mask, 1, 0}, x), STATUS_BAD_INPUT, "repeats");
    FAILS(sampler_run_known(&s.sampler, &(SamplerKnown){p.x_0, p.mask, 1, 17}, x), STATUS_BAD_INPUT, "repeats");
    scene_close(&s);
}

/* --- starting from a picture --- */

/* x_t of the start has the mean and the spread that the process says. */
static void test_start_from(void **state)
{
    (void)state;
    static float x[ROWS * SIZE];
    const int skips[] = {0, 10, 39};
    for (int i = 0; i < 3; i++) {
        Scene s;
        scene_open(&s, "40", ROWS, skips[i]);
        Painting p = painting_of(&s.mixture);
        NoiseLevel level = diffusion_level(&s.d, 39 - skips[i]);
        double sum = 0, squares = 0;
        sampler_start_from(&s.sampler, p.x_0, x);
        for (int j = 0; j < ROWS * SIZE; j++) {
            double noise = (x[j] - level.alpha * p.x_0[j % SIZE]) / level.sigma;
            sum += noise;
            squares += noise * noise;
        }
        assert_true(fabs(sum / (ROWS * SIZE)) < 0.05);
        assert_true(fabs(squares / (ROWS * SIZE) - 1) < 0.05);
        scene_close(&s);
    }
}

/* The fewer steps, the nearer to the picture; none at all leaves it alone. */
static void test_strength(void **state)
{
    (void)state;
    static float x[ROWS * SIZE];
    const int skips[] = {40, 39, 4, 0};
    double before = 0;
    for (int i = 0; i < 4; i++) {
        Scene s;
        double sum = 0;
        scene_open(&s, "40", ROWS, skips[i]);
        Painting p = painting_of(&s.mixture);
        sampler_start_from(&s.sampler, p.x_0, x);
        OK(sampler_run(&s.sampler, x));
        assert_int_equal(s.mixture.calls, 40 - skips[i]);
        for (int row = 0; row < ROWS; row++) sum += distance(&s.mixture, 1, x + row * SIZE, 0) / ROWS;
        assert_true(i == 0 ? sum < 1e-12 : sum > before);
        before = sum;
        scene_close(&s);
    }
    Diffusion d;
    Sampler s;
    SamplerOptions o;
    sampler_options_defaults(&o);
    o.skip = 41;
    OK(diffusion_init(&d, "linear", 1000, "40"));
    FAILS(sampler_init(&s, &o, &d, &(Denoiser){0}, 1, MIXTURE_H, MIXTURE_W), STATUS_BAD_INPUT, "skip");
    diffusion_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),      cmocka_unit_test(test_known_rows), cmocka_unit_test(test_known_errors),
        cmocka_unit_test(test_start_from), cmocka_unit_test(test_strength),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
