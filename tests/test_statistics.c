/* Intervals cover what they say, p-values are uniform without an effect and small with one, corrections are Holm's. */
#include "common/rng.h"
#include "glide/ablation/statistics.h"
#include "tests/support_status.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

enum { TRIALS = 400, UNITS = 24 };

/* Trial t's values: skewed (squares of normals) with mean 1, or normal with the mean asked for. */
static void draw(double *v, int n, uint32_t trial, bool skewed, double mean)
{
    float x[64];
    rng_normal(&(RngKey){.seed = 11, .stream = RNG_TEST, .image = trial}, x, n);
    for (int i = 0; i < n; i++) v[i] = skewed ? (double)x[i] * x[i] : x[i] + mean;
}

static double coverage(bool skewed, double truth)
{
    Resampling *r;
    OK(resampling_new(UNITS, &r));
    int covered = 0;
    for (uint32_t t = 0; t < TRIALS; t++) {
        double v[UNITS], low, high;
        draw(v, UNITS, t, skewed, truth);
        double mean = resampling_interval(r, v, &low, &high);
        assert_true(low < mean && mean < high);
        covered += low <= truth && truth <= high;
    }
    resampling_free(r);
    return covered / (double)TRIALS;
}

static void test_coverage(void **state)
{
    (void)state;
    double normal = coverage(false, 0.3), skewed = coverage(true, 1);
    print_message("coverage of 95 %% intervals over %d units: %.3f normal, %.3f chi-squared\n", UNITS, normal, skewed);
    assert_true(normal >= 0.92 && normal <= 0.98); /* 2.6 standard errors of 400 trials */
    assert_true(skewed >= 0.86 && skewed <= 0.97); /* a percentile interval of a skewed mean is a little too short */
}

static void test_interval_by_hand(void **state)
{
    (void)state;
    Resampling *r;
    double two[] = {0, 2}, one[] = {5}, low, high, bad[] = {1, NAN};
    OK(resampling_new(2, &r));
    assert_true(resampling_interval(r, two, &low, &high) == 1); /* resamples' means are 0, 1, 2: widened by sqrt 2 */
    assert_true(fabs(low - (1 - sqrt(2))) < 1e-12 && fabs(high - (1 + sqrt(2))) < 1e-12);
    assert_true(isnan(resampling_interval(r, bad, &low, &high)) && isnan(low) && isnan(high));
    assert_true(isnan(resampling_sign_flip(r, bad)));
    resampling_free(r);
    OK(resampling_new(1, &r));
    assert_true(resampling_interval(r, one, &low, &high) == 5 && isnan(low) && isnan(high));
    resampling_free(r);
    FAILS(resampling_new(0, &r), STATUS_BAD_INPUT, "at least 1");
}

/* Kolmogorov's distance of p-values from uniform ones; 1.63 / sqrt(n) is passed by chance once in a hundred times. */
static double distance_from_uniform(int units)
{
    Resampling *r;
    OK(resampling_new(units, &r));
    int trials = units > 16 ? 120 : TRIALS, counts[21] = {0};
    for (uint32_t t = 0; t < (uint32_t)trials; t++) {
        double v[64];
        draw(v, units, t, false, 0);
        double p = resampling_sign_flip(r, v);
        assert_true(p > 0 && p <= 1);
        counts[(int)ceil(p * 20 - 1e-9)]++;
    }
    resampling_free(r);
    double most = 0;
    for (int k = 1, below = counts[0]; k <= 20; k++) {
        below += counts[k];
        most = fmax(most, fabs(below / (double)trials - k / 20.0));
    }
    return most * sqrt(trials);
}

static void test_null(void **state)
{
    (void)state;
    double exact = distance_from_uniform(12), random = distance_from_uniform(40);
    print_message("p-values under the null, Kolmogorov's distance times sqrt(n): %.2f exact, %.2f random (1.63 is 1 %%)\n", exact,
                  random);
    assert_true(exact < 1.63 && random < 1.63);
}

static void test_effect(void **state)
{
    (void)state;
    Resampling *few, *many;
    double v[64], ones[64];
    OK(resampling_new(10, &few));
    OK(resampling_new(64, &many));
    for (int i = 0; i < 64; i++) ones[i] = 1 + 0.001 * i;
    assert_true(resampling_sign_flip(few, ones) == 2.0 / 1024); /* all alike: the data and their mirror image */
    assert_true(fabs(resampling_sign_flip(many, ones) - 1.0 / (RESAMPLING_FLIPS + 1)) < 1e-12);
    for (uint32_t t = 0; t < 20; t++) {
        draw(v, 64, t, false, 1);
        assert_true(resampling_sign_flip(many, v) < 1e-3);
    }
    memset(v, 0, sizeof v);
    assert_true(resampling_sign_flip(many, v) == 1 && resampling_sign_flip(few, v) == 1);
    double three[10] = {1, 2, -3}; /* |sum| is 0: no flip is nearer */
    assert_true(resampling_sign_flip(few, three) == 1);
    resampling_free(few);
    resampling_free(many);
}

/* By hand: flips of 1 2 3 4 5 whose sum is at least as far from 0 as 15 - 2 = 13 with -1: +-15, +-13. */
static void test_exact_by_hand(void **state)
{
    (void)state;
    Resampling *r;
    double v[] = {-1, 2, 3, 4, 5};
    OK(resampling_new(5, &r));
    assert_true(resampling_sign_flip(r, v) == 4.0 / 32);
    resampling_free(r);
}

static void test_holm(void **state)
{
    (void)state;
    double p[] = {0.01, NAN, 0.04, 0.03, 0.005}, out[5], expected[] = {0.03, NAN, 0.06, 0.06, 0.02}; /* Holm 1979 */
    int tests;
    OK(holm_correct(p, 5, out, &tests));
    assert_int_equal(tests, 4);
    assert_true(isnan(out[1]));
    for (int i = 0; i < 5; i++)
        if (i != 1) assert_true(fabs(out[i] - expected[i]) < 1e-12);
    double large[] = {0.5, 0.9};
    OK(holm_correct(large, 2, large, NULL));
    assert_true(large[0] == 1 && large[1] == 1);
}

static void test_derangement(void **state)
{
    (void)state;
    for (int n = 2; n < 50; n++) {
        int to[50], seen[50] = {0};
        OK(derangement(n, to));
        for (int i = 0; i < n; i++) assert_true(to[i] != i && to[i] >= 0 && to[i] < n && !seen[to[i]]++);
    }
    int one;
    FAILS(derangement(1, &one), STATUS_BAD_INPUT, "at least 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_coverage),      cmocka_unit_test(test_interval_by_hand),
                                       cmocka_unit_test(test_null),          cmocka_unit_test(test_effect),
                                       cmocka_unit_test(test_exact_by_hand), cmocka_unit_test(test_holm),
                                       cmocka_unit_test(test_derangement)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
