/* Rescale, thresholding, orthogonal projection and CFG++ against their formulas, computed here another way. */
#include "guidance/guided_denoiser.h"

#include "tests/support_status.h"

#include <math.h>
#include <stdlib.h>

enum { N = 3, H = 5, W = 7, PIXELS = H * W, SIZE = PIXELS * 3, OUT = PIXELS * 6 };

static const NoiseLevel level = {.step = 3, .timestep = 300, .alpha = 0.8, .sigma = 0.6};

static void noise(float *x, int64_t count, uint32_t stream, float scale)
{
    RngKey key = {4, RNG_TEST, stream, 0};
    rng_normal(&key, x, count);
    for (int64_t i = 0; i < count; i++) x[i] *= scale;
}

static void near(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * (1 + fabs(expected)))) fail_msg("%.9g, expected %.9g", found, expected);
}

/* eps of element i of row r. */
static double eps(const float *out, int r, int i)
{
    return out[r * OUT + i / 3 * 6 + i % 3];
}

static double spread(const float *out, int r)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < SIZE; i++) {
        sum += eps(out, r, i);
        squares += eps(out, r, i) * eps(out, r, i);
    }
    return sqrt(squares / SIZE - sum / SIZE * (sum / SIZE));
}

static void test_rescale(void **state)
{
    (void)state;
    float plain[N * OUT], guided[N * OUT], before[N * OUT];
    noise(plain, N * OUT, 0, 1);
    noise(before, N * OUT, 1, 4);
    for (int k = 0; k <= 4; k++) {
        double phi = k / 4.0;
        memcpy(guided, before, sizeof guided);
        guidance_rescale(plain, phi, N, PIXELS, guided);
        if (k == 0) assert_memory_equal(guided, before, sizeof guided);
        for (int r = 0; r < N; r++) {
            double factor = phi * spread(plain, r) / spread(before, r) + 1 - phi;
            for (int i = 0; i < SIZE; i++) near(eps(guided, r, i), factor * eps(before, r, i), 1e-5);
            for (int j = 0; j < OUT; j++)
                if (j % 6 >= 3) assert_true(guided[r * OUT + j] == before[r * OUT + j]); /* the variance value stays */
            if (k == 4) near(spread(guided, r), spread(plain, r), 1e-5);
        }
    }
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void test_threshold(void **state)
{
    (void)state;
    static const double percentiles[] = {0.5, 0.9, 0.995, 1, 0.001};
    float x[N * SIZE], before[N * SIZE], scratch[N * SIZE], sorted[SIZE];
    for (int k = 0; k < 5; k++) {
        noise(before, N * SIZE, (uint32_t)(10 + k), 2);
        for (int i = 0; i < SIZE; i++) before[i] *= 0.1f; /* this row lies inside [-1,1] */
        before[SIZE + 1] = before[SIZE + 2];              /* equal values are fine */
        memcpy(x, before, sizeof x);
        guidance_threshold(percentiles[k], N, PIXELS, x, scratch);
        assert_memory_equal(x, before, SIZE * sizeof *x);
        for (int r = 0; r < N; r++) {
            for (int i = 0; i < SIZE; i++) sorted[i] = fabsf(before[r * SIZE + i]);
            qsort(sorted, SIZE, sizeof *sorted, by_size);
            double at = percentiles[k] * (SIZE - 1), low = floor(at);
            double s = sorted[SIZE - 1];
            if (low + 1 < SIZE) s = sorted[(int)low] + (at - low) * (sorted[(int)low + 1] - sorted[(int)low]);
            if (s < 1) s = 1;
            for (int i = 0; i < SIZE; i++) {
                double value = before[r * SIZE + i];
                if (s > 1) near(x[r * SIZE + i], fmin(fmax(value, -s), s) / s, 1e-5);
                else assert_true(x[r * SIZE + i] == value);
            }
        }
    }
}

/* --- orthogonal projection: algorithm 1 of the paper, on x_0 --- */

static void x_0_of(const float *x_t, const float *out, int r, double *x_0)
{
    for (int i = 0; i < SIZE; i++) x_0[i] = (x_t[r * SIZE + i] - level.sigma * eps(out, r, i)) / level.alpha;
}

/* D_guided of a row; running (SIZE) goes on from step to step. */
static void paper_apg(const GuidanceApg *a, double scale, const double *cond, const double *uncond, double *running, double *guided)
{
    double diff[SIZE], norm = 0, onto = 0, square = 0;
    for (int i = 0; i < SIZE; i++) {
        diff[i] = running[i] = cond[i] - uncond[i] + a->momentum * running[i];
        norm += diff[i] * diff[i];
    }
    norm = sqrt(norm);
    for (int i = 0; i < SIZE; i++) {
        if (a->norm > 0) diff[i] *= fmin(1, a->norm / norm);
        onto += diff[i] * cond[i];
        square += cond[i] * cond[i];
    }
    for (int i = 0; i < SIZE; i++) {
        double parallel = onto / square * cond[i];
        guided[i] = cond[i] + (scale - 1) * (diff[i] - parallel + a->eta * parallel);
    }
}

typedef struct Answers {
    const float *cond, *uncond;
} Answers;

static Status answer(void *ctx, const float *x_t, const NoiseLevel *l, GuidanceAsks asks, float *out)
{
    const Answers *a = ctx;
    (void)x_t;
    (void)l;
    assert_int_equal(asks, GUIDANCE_BOTH);
    memcpy(out, a->cond, N * OUT * sizeof *out);
    memcpy(out + N * OUT, a->uncond, N * OUT * sizeof *out);
    return STATUS_OK;
}

/* Three steps, so that momentum has something to remember. */
static void check_apg(const GuidanceApg *apg)
{
    enum { STEPS = 3 };
    float x_t[N * SIZE], cond[N * OUT], uncond[N * OUT], out[N * OUT];
    double running[N][SIZE] = {{0}}, c[SIZE], u[SIZE], expected[SIZE], found[SIZE];
    Answers answers = {cond, uncond};
    Guidance g;
    GuidedDenoiser d;
    guidance_defaults(&g);
    g.terms[GUIDANCE_CFG].scale = 4;
    g.apg = *apg;
    OK(guided_denoiser_init(&d, &g, answer, &answers, N, H, W));
    Denoiser denoiser = guided_denoiser(&d);
    for (uint32_t step = 0; step < STEPS; step++) {
        noise(x_t, N * SIZE, 20 + step, 1);
        noise(cond, N * OUT, 30 + step, 1);
        noise(uncond, N * OUT, 40 + step, 1);
        OK(denoiser.predict(denoiser.predict_ctx, x_t, &level, out));
        for (int r = 0; r < N; r++) {
            x_0_of(x_t, cond, r, c);
            x_0_of(x_t, uncond, r, u);
            paper_apg(apg, 4, c, u, running[r], expected);
            x_0_of(x_t, out, r, found);
            for (int i = 0; i < SIZE; i++) near(found[i], expected[i], 2e-5);
        }
    }
    guided_denoiser_release(&d);
}

static void test_projection(void **state)
{
    (void)state;
    static const GuidanceApg cases[] = {{true, 0, 0, 0},    {true, 1, 0, 0},      {true, 0.3, 5, 0},
                                        {true, 0, 0, -0.5}, {true, 0, 15, -0.75}, {true, -1, 2.5, 0.4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_apg(&cases[i]);
}

/* --- CFG++ --- */

/* x goes on as alpha x_0(guided) + sigma uncond. */
static void test_cfgpp(void **state)
{
    (void)state;
    float x_t[N * SIZE], cond[N * OUT], uncond[N * OUT], out[N * OUT], x[N * SIZE];
    Answers answers = {cond, uncond};
    Guidance g;
    GuidedDenoiser d;
    double x_0[SIZE];
    guidance_defaults(&g);
    g.terms[GUIDANCE_CFG].scale = 0.6;
    g.cfgpp = true;
    noise(x_t, N * SIZE, 50, 1);
    noise(cond, N * OUT, 51, 1);
    noise(uncond, N * OUT, 52, 1);
    OK(guided_denoiser_init(&d, &g, answer, &answers, N, H, W));
    Denoiser denoiser = guided_denoiser(&d);
    OK(denoiser.predict(denoiser.predict_ctx, x_t, &level, out));
    memcpy(x, x_t, sizeof x);
    OK(denoiser.renoise(denoiser.renoise_ctx, &level, x));
    for (int r = 0; r < N; r++) {
        x_0_of(x_t, out, r, x_0);
        for (int i = 0; i < SIZE; i++) {
            near(eps(out, r, i), 0.6 * eps(cond, r, i) + 0.4 * eps(uncond, r, i), 1e-5);
            near(x[r * SIZE + i], level.alpha * x_0[i] + level.sigma * eps(uncond, r, i), 1e-5);
        }
    }
    guided_denoiser_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rescale),
        cmocka_unit_test(test_threshold),
        cmocka_unit_test(test_projection),
        cmocka_unit_test(test_cfgpp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
