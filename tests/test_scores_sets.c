/* Distances between sets, eigenvalues and statistics of pictures: against numpy, against what is known of Gaussians. */
#include "common/h5file.h"
#include "common/rng.h"
#include "glide/ablation/picture_stats.h"
#include "glide/ablation/set_distance.h"
#include "glide/ablation/statistics.h"
#include "glide/ablation/symmetric_eigen.h"
#include "tests/support_status.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { EIGEN = 23 };

static void *load(const H5File *f, const char *group, const char *name, H5Kind kind, int64_t dims[3], int ndim)
{
    char path[64];
    H5Info info;
    snprintf(path, sizeof path, "%s/%s", group, name);
    OK(h5file_stat(f, path, &info));
    assert_int_equal(info.ndim, ndim);
    for (int i = 0; i < ndim; i++) dims[i] = info.dims[i];
    void *values = malloc((size_t)info.size * (kind == H5KIND_F32 ? sizeof(float) : sizeof(double)));
    OK(h5file_read(f, path, kind, ndim, info.dims, values));
    return values;
}

static void check_near(const char *what, double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * (1 + fabs(expected))))
        fail_msg("%s: %.12g, expected %.12g within %.1g", what, found, expected, tolerance);
}

/* --- against numpy ------------------------------------------------------------------------------------ */

static void check_case(const H5File *f, const char *name)
{
    static const char *const names[SET_DISTANCES] = {"KID", "Frechet", "precision", "recall"};
    /* of groups: the Frechet distance's are finite differences in numpy */
    static const double tolerance[SET_DISTANCES] = {1e-11, 1e-9, 1e-12, 1e-12},
                        of_groups[SET_DISTANCES] = {1e-10, 1e-5, 1e-12, 1e-11};
    int64_t dims[3], real_dims[3], group_dims[3];
    float *real = load(f, name, "real", H5KIND_F32, real_dims, 2), *pictures = load(f, name, "pictures", H5KIND_F32, dims, 3);
    double *expected = load(f, name, "distances", H5KIND_F64, group_dims, 1),
           *of = load(f, name, "of_group", H5KIND_F64, group_dims, 2);
    double found[SET_DISTANCES], *of_group = malloc(SET_DISTANCES * (size_t)dims[0] * sizeof *of_group), *mean;
    RealSet *set;
    OK(real_set_new(real, (int)real_dims[0], (int)real_dims[1], &set));
    OK(set_distance(set, pictures, (int)dims[0], (int)dims[1], found, of_group));
    for (int k = 0; k < SET_DISTANCES; k++) {
        double sum = 0;
        check_near(names[k], found[k], expected[k], tolerance[k]);
        for (int64_t g = 0; g < dims[0]; g++) {
            check_near(names[k], of_group[k * dims[0] + g], of[k * dims[0] + g], of_groups[k]);
            sum += of_group[k * dims[0] + g];
        }
        check_near("mean of groups", sum / (double)dims[0], found[k], 1e-11);
    }
    mean = load(f, name, "real_distance", H5KIND_F64, group_dims, 0);
    check_near("mean distance", real_set_mean_distance(set), *mean, 1e-10);
    real_set_free(set);
    free(mean), free(real), free(pictures), free(expected), free(of), free(of_group);
}

static void test_against_numpy(void **state)
{
    (void)state;
    H5File *f;
    OK(h5file_open("tests/fixtures/scores.h5", &f));
    check_case(f, "many");
    check_case(f, "few");
    check_case(f, "single");
    h5file_close(f);
}

/* --- eigenvalues -------------------------------------------------------------------------------------- */

static void check_eigen(const double *a, int n, double size)
{
    double *v = malloc((size_t)(n * n) * sizeof *v), *values = malloc((size_t)n * sizeof *values);
    memcpy(v, a, (size_t)(n * n) * sizeof *v);
    OK(symmetric_eigen(v, n, values));
    for (int k = 0; k < n; k++)
        for (int i = 0; i < n; i++) {
            double product = 0, length = 0;
            for (int j = 0; j < n; j++) product += a[i * n + j] * v[k * n + j];
            for (int j = 0; j < n; j++) length += v[i * n + j] * v[k * n + j];
            check_near("a v = lambda v", product, values[k] * v[k * n + i], 1e-13 * n * (1 + size));
            check_near("orthonormal", length, i == k, 1e-13 * n);
            if (k > 0) assert_true(values[k] >= values[k - 1]);
        }
    free(v), free(values);
}

static void test_eigen(void **state)
{
    (void)state;
    H5File *f;
    int64_t dims[3];
    OK(h5file_open("tests/fixtures/scores.h5", &f));
    double *a = load(f, "eigen", "matrix", H5KIND_F64, dims, 2), *expected = load(f, "eigen", "values", H5KIND_F64, dims, 1);
    h5file_close(f);
    check_eigen(a, EIGEN, 20);
    double values[EIGEN];
    OK(symmetric_eigen(a, EIGEN, values));
    for (int i = 0; i < EIGEN; i++) check_near("eigenvalue", values[i], expected[i], 1e-13);
    free(a), free(expected);

    double one = 3, two[] = {1, 2, 2, 1}, zero[9] = {0}, equal[9] = {2, 0, 0, 0, 2, 0, 0, 0, 2}, bad[] = {1, NAN, NAN, 1};
    check_eigen(&one, 1, 3);
    check_eigen(two, 2, 3);
    check_eigen(zero, 3, 0);
    check_eigen(equal, 3, 2);
    FAILS(symmetric_eigen(bad, 2, values), STATUS_BAD_INPUT, "finite");

    enum { N = 40, RANK = 6 }; /* mostly zeros among the eigenvalues, some equal */
    float x[N * RANK];
    double low_rank[N * N], root[N * N];
    rng_normal(&(RngKey){.seed = 7, .stream = RNG_TEST}, x, N * RANK);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            low_rank[i * N + j] = 0;
            for (int k = 0; k < RANK; k++) low_rank[i * N + j] += (double)x[i * RANK + k] * x[j * RANK + k];
        }
    check_eigen(low_rank, N, 60);
    double copy[N * N];
    memcpy(copy, low_rank, sizeof copy);
    OK(symmetric_root(copy, N, root));
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double square = 0;
            for (int k = 0; k < N; k++) square += root[i * N + k] * root[k * N + j];
            check_near("root squared", square, low_rank[i * N + j], 1e-11);
        }
}

/* --- what is known ------------------------------------------------------------------------------------ */

enum { KNOWN = 3000, KNOWN_FEATURES = 8 };

static float *normals(uint64_t seed, int n, double shift, double scale)
{
    float *x = malloc((size_t)n * KNOWN_FEATURES * sizeof *x);
    rng_normal(&(RngKey){.seed = seed, .stream = RNG_TEST}, x, (int64_t)n * KNOWN_FEATURES);
    for (int64_t i = 0; i < (int64_t)n * KNOWN_FEATURES; i++) x[i] = (float)(x[i] * scale + shift);
    return x;
}

/* Of N(0, I) and N(shift, scale^2 I): Frechet distance d shift^2 + d (1 - scale)^2. KID's kernel has expectations that normal
 * moments give: with a = x.y / d, E k = 1 + 3 E a + 3 E a^2 + E a^3. */
static void test_gaussians(void **state)
{
    (void)state;
    int d = KNOWN_FEATURES;
    double shift = 0.5, scale = 0.7, found[SET_DISTANCES], null[SET_DISTANCES];
    float *x = normals(1, KNOWN, 0, 1), *y = normals(2, KNOWN, shift, scale), *z = normals(3, KNOWN, 0, 1);
    OK(set_distance_plain(x, KNOWN, y, KNOWN, d, found));
    OK(set_distance_plain(x, KNOWN, z, KNOWN, d, null));
    check_near("Frechet of shifted", found[DISTANCE_FRECHET], d * shift * shift + d * (1 - scale) * (1 - scale), 0.04);
    assert_true(null[DISTANCE_FRECHET] >= 0 && null[DISTANCE_FRECHET] < 0.05);
    /* moments of x.x', x.y, y.y' by coordinate: E, E^2 and E^3 of products of independent normals, summed over d independent terms
     */
    double m[3][3], kernel[3]; /* pairs xx, xy, yy; first, second, third moment of a coordinate's product */
    double mx[3] = {0, 1, 0}, my[3] = {shift, shift * shift + scale * scale, shift * (shift * shift + 3 * scale * scale)};
    for (int k = 0; k < 3; k++) m[0][k] = mx[k] * mx[k], m[1][k] = mx[k] * my[k], m[2][k] = my[k] * my[k];
    for (int p = 0; p < 3; p++) {
        double mean = d * m[p][0], variance = d * (m[p][1] - m[p][0] * m[p][0]);
        double third = d * (m[p][2] - 3 * m[p][1] * m[p][0] + 2 * pow(m[p][0], 3));
        double square = variance + mean * mean, cube = third + 3 * mean * variance + pow(mean, 3);
        kernel[p] = 1 + 3 * mean / d + 3 * square / d / d + cube / d / d / d;
    }
    double expected = kernel[0] + kernel[2] - 2 * kernel[1];
    if (fabs(found[DISTANCE_KID] - expected) > 0.05 * expected) fail_msg("KID %g, expected %g", found[DISTANCE_KID], expected);
    /* sets of one distribution can change places; the narrow one lies inside the wide one's manifold, which it does not cover */
    assert_true(fabs(null[DISTANCE_PRECISION] - null[DISTANCE_RECALL]) < 0.03);
    assert_true(found[DISTANCE_RECALL] < null[DISTANCE_RECALL] - 0.2);
    OK(set_distance_plain(x, KNOWN, x, KNOWN, d, null)); /* a set and itself */
    assert_true(fabs(null[DISTANCE_FRECHET]) < 1e-9);
    assert_true(null[DISTANCE_PRECISION] == 1 && null[DISTANCE_RECALL] == 1);
    free(y);
    y = normals(2, KNOWN, 100, 1); /* nothing in common */
    OK(set_distance_plain(x, KNOWN, y, KNOWN, d, null));
    assert_true(null[DISTANCE_PRECISION] == 0 && null[DISTANCE_RECALL] == 0);
    free(x), free(y), free(z);
}

/* Of equal distributions the mean of KID is 0. One such KID has a standard deviation of 0.0086 (numpy, 500 vectors each); the
 * biased estimate would have a mean of 0.03. */
static void test_unbiased(void **state)
{
    (void)state;
    double sum = 0, found[SET_DISTANCES];
    for (uint64_t i = 0; i < 20; i++) {
        float *x = normals(100 + 2 * i, 500, 0, 1), *y = normals(101 + 2 * i, 500, 0, 1);
        OK(set_distance_plain(x, 500, y, 500, KNOWN_FEATURES, found));
        sum += found[DISTANCE_KID] / 20;
        free(x), free(y);
    }
    print_message("mean KID of 20 pairs of equal distributions: %.4f\n", sum);
    assert_true(fabs(sum) < 4 * 0.0086 / sqrt(20));
}

/* Intervals of distances over prompts: of 120 sets of 32 prompts, drawn anew each time, about 95 % of the intervals hold what the
 * distance of such sets is on average. Recall's are too wide, as a jackknife's are where near neighbours count. */
static void test_intervals(void **state)
{
    (void)state;
    enum { TRIALS = 120, GROUPS = 32, EACH = 4, REAL = 300 };
    static const char *const names[SET_DISTANCES] = {"KID", "Frechet", "precision", "recall"};
    static double value[SET_DISTANCES][TRIALS], low[SET_DISTANCES][TRIALS], high[SET_DISTANCES][TRIALS];
    float *real = normals(1, REAL, 0, 1);
    RealSet *set;
    Resampling *resampling;
    OK(real_set_new(real, REAL, KNOWN_FEATURES, &set));
    OK(resampling_new(GROUPS, &resampling));
    for (int t = 0; t < TRIALS; t++) {
        float *centres = normals(500 + 2 * (uint64_t)t, GROUPS, 0, 0.6),
              *y = normals(501 + 2 * (uint64_t)t, GROUPS * EACH, 0.3, 0.7);
        double distance[SET_DISTANCES], of_group[SET_DISTANCES * GROUPS];
        for (int i = 0; i < GROUPS * EACH * KNOWN_FEATURES; i++)
            y[i] += centres[i / (EACH * KNOWN_FEATURES) * KNOWN_FEATURES + i % KNOWN_FEATURES];
        OK(set_distance(set, y, GROUPS, EACH, distance, of_group));
        for (int k = 0; k < SET_DISTANCES; k++)
            value[k][t] = resampling_interval(resampling, of_group + k * GROUPS, &low[k][t], &high[k][t]);
        free(centres), free(y);
    }
    for (int k = 0; k < SET_DISTANCES; k++) {
        double mean = 0;
        int covered = 0;
        for (int t = 0; t < TRIALS; t++) mean += value[k][t] / TRIALS;
        for (int t = 0; t < TRIALS; t++) covered += low[k][t] <= mean && mean <= high[k][t];
        print_message("%s: %.3f of the 95 %% intervals hold the mean\n", names[k], covered / (double)TRIALS);
        assert_true(covered >= 0.88 * TRIALS);
    }
    resampling_free(resampling);
    real_set_free(set);
    free(real);
}

static void test_small_sets(void **state)
{
    (void)state;
    float *x = normals(1, 5, 0, 1), *y = normals(2, 5, 0, 1);
    double found[SET_DISTANCES], of_group[SET_DISTANCES * 3];
    RealSet *set;
    FAILS(real_set_new(x, 1, KNOWN_FEATURES, &set), STATUS_BAD_INPUT, "2 or more");
    OK(real_set_new(x, 3, KNOWN_FEATURES, &set)); /* three have no third neighbour */
    OK(set_distance(set, y, 3, 1, found, of_group));
    assert_true(isfinite(found[DISTANCE_KID]) && isfinite(found[DISTANCE_FRECHET]));
    assert_true(isnan(found[DISTANCE_PRECISION]) && isnan(found[DISTANCE_RECALL]));
    OK(set_distance(set, y, 1, 1, found, of_group));
    assert_true(isnan(found[DISTANCE_KID]) && isnan(found[DISTANCE_FRECHET]) && isnan(found[DISTANCE_RECALL]));
    real_set_free(set);
    x[7] = INFINITY;
    FAILS(real_set_new(x, 5, KNOWN_FEATURES, &set), STATUS_BAD_INPUT, "finite");
    free(x), free(y);
}

static void test_threads(void **state)
{
    (void)state;
    float *x = normals(4, 300, 0, 1), *y = normals(5, 200, 0.2, 1);
    double one[SET_DISTANCES], three[SET_DISTANCES];
    int before = omp_get_max_threads();
    omp_set_num_threads(1);
    OK(set_distance_plain(x, 300, y, 200, KNOWN_FEATURES, one));
    omp_set_num_threads(3);
    OK(set_distance_plain(x, 300, y, 200, KNOWN_FEATURES, three));
    omp_set_num_threads(before);
    assert_memory_equal(one, three, sizeof one);
    free(x), free(y);
}

/* --- pictures ----------------------------------------------------------------------------------------- */

static void test_pictures(void **state)
{
    (void)state;
    uint8_t grey[12] = {128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128};
    uint8_t halves[12] = {0, 0, 0, 255, 255, 255, 0, 0, 0, 255, 255, 255}, red[3] = {255, 51, 0};
    PictureStats s = picture_measure(grey, 4);
    assert_true(s.saturation == 0 && s.contrast < 1e-7 && s.clipped == 0);
    s = picture_measure(halves, 4);
    check_near("contrast", s.contrast, 0.5, 1e-12);
    assert_true(s.saturation == 0 && s.clipped == 1);
    s = picture_measure(red, 1);
    check_near("saturation", s.saturation, 1, 1e-12);
    check_near("clipped", s.clipped, 2 / 3.0, 1e-12);
    uint8_t three[9] = {0, 0, 0, 255, 255, 255, 0, 0, 0};
    check_near("diversity", pictures_diversity(three, 3, 1), 2 / 3.0, 1e-12);
    assert_true(isnan(pictures_diversity(three, 1, 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_numpy), cmocka_unit_test(test_eigen),
                                       cmocka_unit_test(test_gaussians),     cmocka_unit_test(test_unbiased),
                                       cmocka_unit_test(test_intervals),     cmocka_unit_test(test_small_sets),
                                       cmocka_unit_test(test_threads),       cmocka_unit_test(test_pictures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
