/* The diffusion process: tables and respacing against the reference's numbers, and the training loss against its own
 * definition (special cases with closed forms, finite differences). */
#include "common/h5file.h"
#include "common/respace.h"
#include "common/rng.h"
#include "tests/support_diffusion_tables.h"
#include "tests/support_status.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURE "tests/fixtures/schedules.h5"

/* --- fixture --- */

/* Every table stored in `group`; returns how many there were. */
static int compare_tables(H5File *file, const char *group, const Diffusion *d)
{
    int compared = 0;
    for (int i = 0; i < DIFFUSION_TABLES; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", group, diffusion_tables[i].name);
        if (!h5file_has_dataset(file, path)) continue;
        double *expected;
        const double *found;
        H5Info info;
        memcpy(&found, (const char *)d + diffusion_tables[i].offset, sizeof found);
        OK(h5file_load_f64(file, path, &expected, &info));
        assert_int_equal(info.size, d->num_timesteps);
        for (int t = 0; t < d->num_timesteps; t++)
            if (!(fabs(found[t] - expected[t]) <= 1e-12 * fabs(expected[t])))
                fail_msg("%s[%d] is %.17g, expected %.17g", path, t, found[t], expected[t]);
        free(expected);
        compared++;
    }
    return compared;
}

static void compare_respaced(H5File *file, const char *group, const char *schedule, int steps)
{
    char path[320], *counts;
    int64_t constructible;
    int32_t *expected, *map = malloc((size_t)steps * sizeof *map);
    int count;
    H5Info info;
    OK(h5file_attr_text(file, group, "section_counts", &counts));
    OK(h5file_attr_i64(file, group, "constructible", &constructible));
    snprintf(path, sizeof path, "%s/timestep_map", group);
    OK(h5file_load_i32(file, path, &expected, &info));
    OK(space_timesteps(steps, counts, map, &count));
    assert_int_equal(count, info.size);
    assert_memory_equal(map, expected, (size_t)count * sizeof *map);
    Diffusion d;
    Status status = diffusion_init(&d, schedule, steps, counts);
    if (constructible) {
        OK(status);
        assert_int_equal(d.num_timesteps, count);
        assert_int_equal(d.original_timesteps, steps);
        assert_memory_equal(d.timestep_map, expected, (size_t)count * sizeof *map);
        if (h5file_has_group(file, group)) compare_tables(file, group, &d);
    } else {
        assert_int_equal(status, STATUS_BAD_INPUT);
    }
    diffusion_release(&d);
    free(expected);
    free(map);
    free(counts);
}

static void compare_rejected(H5File *file, const char *group, int steps)
{
    char path[256], **texts;
    int count, kept;
    int32_t *map = malloc((size_t)steps * sizeof *map);
    snprintf(path, sizeof path, "%s/rejected", group);
    OK(h5file_load_texts(file, path, &texts, &count));
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        assert_int_equal(space_timesteps(steps, texts[i], map, &kept), STATUS_BAD_INPUT);
        assert_non_null(strstr(status_message(), texts[i]));
    }
    free(texts);
    free(map);
}

static void test_schedules(void **state)
{
    (void)state;
    H5File *file;
    OK(h5file_open(FIXTURE, &file));
    char **groups;
    int group_count, schedules = 0, respaced = 0;
    OK(h5file_list(file, "/", H5LIST_GROUPS, &groups, &group_count));
    for (int g = 0; g < group_count; g++) {
        if (!h5file_has_attr(file, groups[g], "schedule")) continue;
        char *schedule, list[128], **names;
        int64_t steps;
        int count;
        OK(h5file_attr_text(file, groups[g], "schedule", &schedule));
        OK(h5file_attr_i64(file, groups[g], "steps", &steps));
        Diffusion d;
        OK(diffusion_init(&d, schedule, (int)steps, ""));
        assert_int_equal(compare_tables(file, groups[g], &d), DIFFUSION_TABLES);
        diffusion_release(&d);
        snprintf(list, sizeof list, "%s/respaced", groups[g]);
        OK(h5file_list(file, list, H5LIST_GROUPS, &names, &count));
        for (int i = 0; i < count; i++, respaced++) {
            char path[256];
            snprintf(path, sizeof path, "%s/%s", list, names[i]);
            compare_respaced(file, path, schedule, (int)steps);
        }
        compare_rejected(file, groups[g], (int)steps);
        free(names);
        free(schedule);
        schedules++;
    }
    assert_int_equal(schedules, 2);
    assert_int_equal(respaced, 46);
    free(groups);
    h5file_close(file);
}

static void test_timestep_embedding(void **state)
{
    (void)state;
    H5File *file;
    OK(h5file_open(FIXTURE, &file));
    float *t, *expected, found[64 * 192];
    H5Info times, info;
    OK(h5file_load_f32(file, "timestep_embedding/timesteps", &t, &times));
    static const int dims[] = {8, 32, 33, 192};
    for (int i = 0; i < 4; i++) {
        char path[64];
        snprintf(path, sizeof path, "timestep_embedding/dim_%d", dims[i]);
        OK(h5file_load_f32(file, path, &expected, &info));
        assert_true(info.size == times.size * dims[i] && info.size <= 64 * 192);
        timestep_embedding(t, times.size, dims[i], found);
        for (int64_t k = 0; k < info.size; k++) assert_true(fabsf(found[k] - expected[k]) <= 1e-4f);
        free(expected);
    }
    free(t);
    h5file_close(file);
}

/* --- what is refused, and edges that the fixture leaves out --- */

static void test_refused(void **state)
{
    (void)state;
    int32_t map[1000];
    int count;
    static const char *bad[] = {
        "abc",   "10,",    ",10",    "10,,3", "-5",    "5,-1", "1.5",       "99999999999999999999", "ddim", "ddimx",
        "ddim1", "ddim-5", "fast28", "10 3",  "100 x", " ",    "ddim 50,50"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(space_timesteps(1000, bad[i], map, &count), STATUS_BAD_INPUT);
        assert_null(strchr(status_message(), '\n'));
    }
    assert_int_equal(space_timesteps(12, "fast27", map, &count), STATUS_BAD_INPUT);
    assert_int_equal(space_timesteps(0, "1", map, &count), STATUS_BAD_INPUT);
    OK(space_timesteps(1000, " 10, 10 ,3 ", map, &count));
    assert_int_equal(count, 23);
    OK(space_timesteps(10, "0", map, &count));
    assert_int_equal(count, 0);

    Diffusion d;
    assert_int_equal(diffusion_init(&d, "cosine", 1000, ""), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "squaredcos_cap_v2"));
    assert_int_equal(diffusion_init(&d, "linear", 1, ""), STATUS_BAD_INPUT);
    assert_int_equal(diffusion_init(&d, "linear", -3, ""), STATUS_BAD_INPUT);
    assert_int_equal(diffusion_init(&d, "linear", INT32_MAX, ""), STATUS_BAD_INPUT);
    assert_int_equal(diffusion_init(&d, "linear", 10, ""), STATUS_BAD_INPUT); /* betas above 1 */
    FAILS(diffusion_init(&d, "linear", 20, ""), STATUS_BAD_INPUT, "beta 19 is 1"); /* abar 0: every x_0 would be NaN */
    OK(diffusion_check("linear", 21));
    assert_int_equal(diffusion_init(&d, "linear", 1000, "0"), STATUS_BAD_INPUT);
    assert_int_equal(diffusion_init(&d, "linear", 1000, "2000"), STATUS_BAD_INPUT);
    diffusion_release(&d); /* released already: harmless */
    double betas[3] = {0.1, NAN, 0.2};
    assert_int_equal(diffusion_init_betas(&d, betas, 3), STATUS_BAD_INPUT);
    diffusion_release(&d);
}

/* Respacing keeps abar and the timesteps; levels and SNR agree with the tables; any number of steps works. */
static void test_levels(void **state)
{
    (void)state;
    static const int lengths[] = {2, 3, 50, 999, 4000};
    for (int l = 0; l < 5; l++) {
        Diffusion full, short_one;
        int n = lengths[l];
        char respacing[16];
        OK(diffusion_init(&full, "squaredcos_cap_v2", n, ""));
        snprintf(respacing, sizeof respacing, "%d", n / 3 > 2 ? n / 3 : 2);
        OK(diffusion_init(&short_one, "squaredcos_cap_v2", n, respacing));
        for (int i = 0; i < short_one.num_timesteps; i++) {
            NoiseLevel level = diffusion_level(&short_one, i);
            int t = short_one.timestep_map[i];
            assert_true(level.timestep == t && level.step == i);
            assert_true(fabs(short_one.alphas_cumprod[i] / full.alphas_cumprod[t] - 1) < 1e-9);
            assert_true(fabs(level.alpha * level.alpha + level.sigma * level.sigma - 1) < 1e-12);
            double ratio = level.alpha / level.sigma;
            assert_true(fabs(diffusion_snr(&short_one, i) / (ratio * ratio) - 1) < 1e-12);
        }
        diffusion_release(&full);
        diffusion_release(&short_one);
    }
}

/* --- arrays --- */

static void random_floats(float *x, int64_t n, uint32_t which)
{
    RngKey key = {3, RNG_TEST, which, 0};
    rng_normal(&key, x, n);
}

static void test_q_sample(void **state)
{
    (void)state;
    enum { N = 3, SIZE = 35 };
    Diffusion d;
    OK(diffusion_init(&d, "linear", 1000, ""));
    float x_start[N * SIZE], noise[N * SIZE], x_t[N * SIZE];
    random_floats(x_start, N * SIZE, 0);
    random_floats(noise, N * SIZE, 1);
    const int32_t t[N] = {0, 500, 999};
    diffusion_q_sample(&d, x_start, noise, t, N, SIZE, x_t);
    for (int i = 0; i < N * SIZE; i++) {
        double abar = d.alphas_cumprod[t[i / SIZE]];
        assert_true(fabs(x_t[i] - (sqrt(abar) * x_start[i] + sqrt(1 - abar) * noise[i])) < 1e-6);
    }
    diffusion_q_sample(&d, x_start, noise, t, N, SIZE, x_start); /* in place */
    assert_memory_equal(x_start, x_t, sizeof x_t);
    diffusion_release(&d);
}

/* --- the loss --- */

/* One pixel whose three channels share a step. */
typedef struct Pixel {
    float x_start[3], noise[3], x_t[3], out6[6];
} Pixel;

static Pixel pixel_at(const Diffusion *d, int32_t t, uint32_t which)
{
    Pixel p;
    random_floats(p.x_start, 3, 3 * which);
    random_floats(p.noise, 3, 3 * which + 1);
    random_floats(p.out6, 6, 3 * which + 2);
    for (int c = 0; c < 3; c++) p.x_start[c] = fmaxf(-1, fminf(1, p.x_start[c]));
    diffusion_q_sample(d, p.x_start, p.noise, &t, 1, 3, p.x_t);
    return p;
}

static double bits_at(const Diffusion *d, int t, const Pixel *p)
{
    return diffusion_vb_bits(d, t, p->out6, p->x_start, p->x_t, 1, 0, NULL);
}

/* Where eps is right, KL is that of two Gaussians with one mean; where v says the true variance, it is a distance. */
static void test_vb_closed_forms(void **state)
{
    (void)state;
    Diffusion d;
    OK(diffusion_init(&d, "linear", 1000, "100"));
    for (int t = 1; t < 100; t += 7) {
        Pixel p = pixel_at(&d, t, (uint32_t)t);
        memcpy(p.out6, p.noise, sizeof p.noise);
        for (int c = 3; c < 6; c++) p.out6[c] = -1;
        double var = d.posterior_variance[t], beta = d.betas[t];
        double noise_of_floats = 1e-9 / (1 - d.alphas_cumprod[t]); /* x_t was rounded to single precision */
        assert_true(fabs(bits_at(&d, t, &p)) < noise_of_floats);
        for (int c = 3; c < 6; c++) p.out6[c] = 1;
        double expected = 0.5 * (log(beta / var) - 1 + var / beta) / M_LN2;
        assert_true(fabs(bits_at(&d, t, &p) - expected) < noise_of_floats + 1e-6 * expected);
        for (int c = 3; c < 6; c++) p.out6[c] = -1;
        for (int c = 0; c < 3; c++) p.out6[c] += 0.5f; /* x_0 is off by a known amount */
        double off = d.posterior_mean_coef1[t] * d.sqrt_recipm1_alphas_cumprod[t] * 0.5;
        assert_true(fabs(bits_at(&d, t, &p) / (off * off / (2 * var) / M_LN2) - 1) < 1e-4);
    }
    diffusion_release(&d);
}

/* At step 0 the probabilities of the 256 bins sum to 1, whatever the prediction. */
static void test_likelihood_sums_to_one(void **state)
{
    (void)state;
    Diffusion d;
    OK(diffusion_init(&d, "squaredcos_cap_v2", 1000, ""));
    for (uint32_t trial = 0; trial < 5; trial++) {
        Pixel p = pixel_at(&d, 0, trial);
        for (int c = 0; c < 3; c++) { /* one value in all channels, so that bits are those of one bin */
            p.x_t[c] = p.x_t[0];
            p.out6[c] = p.out6[0];
            p.out6[3 + c] = 4 + trial; /* wide, so that no bin reaches the floor of 1e-12 unnoticed */
        }
        double sum = 0;
        for (int k = 0; k < 256; k++) {
            for (int c = 0; c < 3; c++) p.x_start[c] = (float)k / 127.5f - 1;
            sum += exp2(-bits_at(&d, 0, &p));
        }
        assert_true(fabs(sum - 1) < 1e-5);
    }
    diffusion_release(&d);
}

/* The lowest bin's probability is the normal CDF, to the accuracy of the reference's approximation of it. */
static void test_likelihood_is_normal(void **state)
{
    (void)state;
    Diffusion d;
    OK(diffusion_init(&d, "linear", 1000, ""));
    double std = sqrt(d.betas[0]), worst = 0;
    for (int k = -30; k <= 30; k++) {
        Pixel p = {.x_start = {-1, -1, -1}, .out6 = {0, 0, 0, 1, 1, 1}};
        double z = k / 10.0, mean = -1 + 1.0 / 255 - z * std;
        for (int c = 0; c < 3; c++) p.x_t[c] = (float)(mean * d.sqrt_alphas_cumprod[0]);
        worst = fmax(worst, fabs(exp2(-bits_at(&d, 0, &p)) - 0.5 * erfc(-z * M_SQRT1_2)));
    }
    assert_true(worst < 3e-4);
    diffusion_release(&d);
}

/* d_out6 of both terms against central differences; eps gets nothing from the bound. */
static void test_loss_gradients(void **state)
{
    (void)state;
    Diffusion d;
    OK(diffusion_init(&d, "squaredcos_cap_v2", 1000, "50"));
    const float h = 0x1p-8f;
    for (uint32_t trial = 0; trial < 60; trial++) {
        int t = trial < 20 ? 0 : (int)(trial * 7 % 50);
        Pixel p = pixel_at(&d, t, trial);
        if (t == 0) memcpy(p.out6, p.noise, sizeof p.noise); /* else every bin is at the floor */
        if (trial % 3 == 1) p.x_start[0] = 1, p.x_start[1] = -1;
        const float scale = 0.7f;
        float d_mse[6] = {0}, d_vb[6] = {0};
        diffusion_eps_mse(p.out6, p.noise, 1, scale, d_mse);
        diffusion_vb_bits(&d, t, p.out6, p.x_start, p.x_t, 1, scale, d_vb);
        for (int c = 0; c < 6; c++) {
            Pixel up = p, down = p;
            up.out6[c] += h;
            down.out6[c] -= h;
            double width = (double)up.out6[c] - down.out6[c];
            double mse =
                diffusion_eps_mse(up.out6, p.noise, 1, 0, NULL) - diffusion_eps_mse(down.out6, p.noise, 1, 0, NULL);
            double vb = bits_at(&d, t, &up) - bits_at(&d, t, &down);
            assert_true(fabs(d_mse[c] - scale * mse / width) < 1e-5 + 1e-5 * fabs(d_mse[c]));
            if (c < 3)
                assert_true(d_vb[c] == 0);
            else if (!(fabs(d_vb[c] - scale * vb / width) < 1e-6 + 1e-3 * fabs(d_vb[c])))
                fail_msg("step %d channel %d: d_v is %g, differences give %g", t, c, d_vb[c], scale * vb / width);
        }
    }
    diffusion_release(&d);
}

/* diffusion_loss() is the two terms with their weights, adds to d_out6, and does not depend on threads. */
static void test_loss_of_batch(void **state)
{
    (void)state;
    enum { N = 5, PIXELS = 77 };
    Diffusion d;
    OK(diffusion_init(&d, "squaredcos_cap_v2", 1000, "100"));
    float x_start[N * PIXELS * 3], noise[N * PIXELS * 3], x_t[N * PIXELS * 3], out6[N * PIXELS * 6];
    random_floats(x_start, N * PIXELS * 3, 0);
    random_floats(noise, N * PIXELS * 3, 1);
    random_floats(out6, N * PIXELS * 6, 2);
    const int32_t t[N] = {0, 3, 50, 98, 99};
    const float weights[N] = {1, 2, 0.5f, 1, 3}, d_loss[N] = {1, 0, -2, 0.5f, 0.25f};
    diffusion_q_sample(&d, x_start, noise, t, N, PIXELS * 3, x_t);
    DiffusionBatch batch = {N, PIXELS, x_start, x_t, noise, t, weights};
    DiffusionLoss options = {.vb_weight = 0.5, .rescale_vb = true, .min_snr_gamma = 5, .snr_floor = 0.1};
    float mse[N], vb[N], d_out6[N * PIXELS * 6], expected[N * PIXELS * 6];
    for (int i = 0; i < N * PIXELS * 6; i++) expected[i] = d_out6[i] = 0.25f;
    for (int i = 0; i < N; i++) {
        double snr = diffusion_snr(&d, t[i]), high = fmin(1, 5 / snr), low = fmin(20, fmax(1, 0.1 / snr));
        double of_mse = weights[i] * high * low, of_vb = weights[i] * 0.5 * 0.1;
        const float *o = out6 + i * PIXELS * 6;
        float *g = expected + i * PIXELS * 6;
        double a = diffusion_eps_mse(o, noise + i * PIXELS * 3, PIXELS, d_loss[i] * of_mse, g);
        double b = diffusion_vb_bits(&d, t[i], o, x_start + i * PIXELS * 3, x_t + i * PIXELS * 3, PIXELS,
                                     d_loss[i] * of_vb, g);
        mse[i] = (float)(of_mse * a);
        vb[i] = (float)(of_vb * b);
        assert_true(vb[i] > 0 && mse[i] > 0);
    }
    int threads = omp_get_max_threads();
    for (int n = 1; n <= 3; n++) {
        float found_mse[N], found_vb[N], found[N * PIXELS * 6];
        omp_set_num_threads(n);
        memcpy(found, d_out6, sizeof found);
        diffusion_loss(&d, &options, &batch, out6, found_mse, found_vb, d_loss, found);
        assert_memory_equal(found_mse, mse, sizeof mse);
        assert_memory_equal(found_vb, vb, sizeof vb);
        assert_memory_equal(found, expected, sizeof found);
    }
    omp_set_num_threads(threads);
    diffusion_loss_defaults(&options);
    options.vb_weight = 0;
    batch.weights = NULL;
    diffusion_loss(&d, &options, &batch, out6, mse, vb, NULL, NULL);
    for (int i = 0; i < N; i++)
        assert_true(vb[i] == 0 &&
                    mse[i] == (float)diffusion_eps_mse(out6 + i * PIXELS * 6, noise + i * PIXELS * 3, PIXELS, 0, NULL));
    diffusion_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_timestep_embedding),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_q_sample),
        cmocka_unit_test(test_vb_closed_forms),
        cmocka_unit_test(test_likelihood_sums_to_one),
        cmocka_unit_test(test_likelihood_is_normal),
        cmocka_unit_test(test_loss_gradients),
        cmocka_unit_test(test_loss_of_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
