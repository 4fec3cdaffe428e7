/* Random numbers: known answers of Philox, the distribution, and that a number depends on its key and index alone. */
#include "common/rng.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float *floats(int64_t n)
{
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    return x;
}

/* Vectors published with Random123 (kat_vectors, philox4x32 10). */
static void test_known_answers(void **state)
{
    (void)state;
    static const struct {
        RngKey key;
        uint32_t index, expected[4];
    } cases[] = {
        {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
         UINT32_MAX,
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x299f31d0a4093822, 0x03707344, 0x13198a2e, 0x85a308d3},
         0x243f6a88,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t bits[4];
        rng_bits(&cases[i].key, cases[i].index, bits);
        assert_memory_equal(bits, cases[i].expected, sizeof bits);
    }
}

/* Box-Muller in double precision from the same bits. */
static void test_normal_formula(void **state)
{
    (void)state;
    enum { N = 40000 };
    RngKey key = {99, RNG_TEST, 5, 6};
    float *x = floats(N);
    rng_normal(&key, x, N);
    double worst = 0;
    for (uint32_t b = 0; b < N / 4; b++) {
        uint32_t bits[4];
        rng_bits(&key, b, bits);
        for (int w = 0; w < 4; w += 2) {
            double radius = sqrt(-2 * log(((bits[w] >> 1) + 0.5) * 0x1p-31)), angle = 2 * M_PI * bits[w + 1] * 0x1p-32;
            worst = fmax(worst, fabs(x[4 * b + w] - radius * cos(angle)));
            worst = fmax(worst, fabs(x[4 * b + w + 1] - radius * sin(angle)));
        }
    }
    assert_true(worst < 1e-5);
    free(x);
}

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2);
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void test_normal_distribution(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    RngKey key = {1, RNG_TEST, 0, 0};
    float *x = floats(N);
    rng_normal(&key, x, N);
    double sum[5] = {0}, neighbours = 0;
    for (int i = 0; i < N; i++) {
        double power = 1;
        for (int p = 1; p <= 4; p++) sum[p] += power *= x[i];
        if (i) neighbours += (double)x[i] * x[i - 1];
    }
    double sigma = 1 / sqrt(N); /* each bound is 4 standard deviations of the statistic */
    assert_true(fabs(sum[1] / N) < 4 * sigma);
    assert_true(fabs(sum[2] / N - 1) < 4 * sqrt(2) * sigma);
    assert_true(fabs(sum[3] / N) < 4 * sqrt(15) * sigma);
    assert_true(fabs(sum[4] / N - 3) < 4 * sqrt(96) * sigma);
    assert_true(fabs(neighbours / N) < 4 * sigma);
    qsort(x, N, sizeof *x, compare_floats);
    double ks = 0; /* Kolmogorov-Smirnov: 1.95 / sqrt(N) is exceeded once in 1000 seeds */
    for (int i = 0; i < N; i++) ks = fmax(ks, fabs(normal_cdf(x[i]) - (i + 0.5) / N));
    assert_true(ks < 1.95 * sigma);
    assert_true(x[N - 1] > 4 && x[0] < -4);
    free(x);
}

static void test_prefix_and_threads(void **state)
{
    (void)state;
    enum { N = 100003 };
    RngKey key = {7, RNG_STEP_NOISE, 3, 12};
    float *all = floats(N), *other = floats(N);
    int threads = omp_get_max_threads();
    for (int kind = 0; kind < 2; kind++) {
        void (*draw)(const RngKey *, float *, int64_t) = kind ? rng_uniforms : rng_normal;
        omp_set_num_threads(1);
        draw(&key, all, N);
        for (int t = 2; t <= 4; t++) {
            omp_set_num_threads(t);
            draw(&key, other, N);
            assert_memory_equal(all, other, N * sizeof *all);
        }
        static const int sizes[] = {0, 1, 2, 3, 255, 256, 257, 5000};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            other[sizes[i]] = -123;
            draw(&key, other, sizes[i]);
            assert_memory_equal(all, other, (size_t)sizes[i] * sizeof *all);
            assert_true(other[sizes[i]] == -123);
        }
    }
    omp_set_num_threads(threads);
    free(all);
    free(other);
}

/* Every field of the key gives another sequence, uncorrelated with the first. */
static void test_keys(void **state)
{
    (void)state;
    enum { N = 1 << 16, KEYS = 6 };
    static const RngKey keys[KEYS] = {{1, 1, 1, 1}, {2, 1, 1, 1}, {1 + (1ull << 32), 1, 1, 1},
                                      {1, 2, 1, 1}, {1, 1, 2, 1}, {1, 1, 1, 2}};
    float *x[KEYS];
    for (int k = 0; k < KEYS; k++) rng_normal(&keys[k], x[k] = floats(N), N);
    for (int a = 0; a < KEYS; a++)
        for (int b = 0; b < a; b++) {
            double dot = 0;
            for (int i = 0; i < N; i++) dot += (double)x[a][i] * x[b][i];
            assert_true(fabs(dot / N) < 4.5 / sqrt(N));
        }
    for (int k = 0; k < KEYS; k++) free(x[k]);
}

static void test_uniforms(void **state)
{
    (void)state;
    enum { N = 1 << 18, BINS = 64 };
    RngKey key = {11, RNG_TEST, 0, 0};
    float *x = floats(N);
    rng_uniforms(&key, x, N);
    int count[BINS] = {0};
    for (int i = 0; i < N; i++) {
        assert_true(x[i] >= 0 && x[i] < 1);
        count[(int)(x[i] * BINS)]++;
        if (i < 1000) assert_true(x[i] == rng_uniform(&key, (uint32_t)i));
    }
    double chi2 = 0, expected = (double)N / BINS;
    for (int i = 0; i < BINS; i++) chi2 += (count[i] - expected) * (count[i] - expected) / expected;
    assert_true(chi2 < 63 + 4.5 * sqrt(2 * 63));
    free(x);
}

static void test_below(void **state)
{
    (void)state;
    RngKey key = {12, RNG_DATA, 0, 0};
    static const uint32_t limits[] = {1, 2, 3, 7, 1000, 0x80000001u, UINT32_MAX};
    for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
        double mean = 0;
        enum { DRAWS = 20000 };
        for (uint32_t i = 0; i < DRAWS; i++) {
            uint32_t x = rng_below(&key, i, limits[l]);
            assert_true(x < limits[l]);
            mean += (double)x / DRAWS;
        }
        double n = limits[l], spread = sqrt((n * n - 1) / 12 / DRAWS);
        assert_true(fabs(mean - (n - 1) / 2) <= 4.5 * spread);
    }
    int count[5] = {0};
    for (uint32_t i = 0; i < 50000; i++) count[rng_below(&key, i, 5)]++;
    for (int i = 0; i < 5; i++) assert_true(abs(count[i] - 10000) < 450);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_normal_formula),
        cmocka_unit_test(test_normal_distribution),
        cmocka_unit_test(test_prefix_and_threads),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_uniforms),
        cmocka_unit_test(test_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
