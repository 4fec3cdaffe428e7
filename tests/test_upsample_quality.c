/* Measures of enlarged pictures: against numbers of numpy and Pillow (tests/reference/make_quality.py), the published colour
 * pairs, and slow loops; the judge distance against a network in double precision; seams that are there and seams that are not. */
#include "common/h5file.h"
#include "common/rng.h"
#include "glide/quality/colour_difference.h"
#include "glide/quality/interpolate.h"
#include "glide/quality/judge_distance.h"
#include "glide/quality/picture_quality.h"
#include "glide/quality/quality_table.h"
#include "glide/quality/seam_score.h"
#include "tests/support_judge.h"
#include "tests/support_kernels.h"
#include "tests/support_reference.h"
#include "tests/support_status.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

#define FIXTURE "tests/fixtures/quality.h5"

static void assert_close(const char *what, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * (1 + fabs(want)))) fail_msg("%s: %.12g, expected %.12g", what, got, want);
}

static Image random_image(int w, int h, uint32_t seed)
{
    Image p = {0};
    OK(image_init(w, h, &p));
    for (size_t i = 0; i < image_bytes(&p); i++)
        p.pixels[i] = (uint8_t)rng_below(&(RngKey){.seed = seed, .stream = RNG_TEST}, (uint32_t)i, 256);
    return p;
}

static Image copy_image(const Image *in)
{
    Image p = {0};
    OK(image_init(in->w, in->h, &p));
    memcpy(p.pixels, in->pixels, image_bytes(in));
    return p;
}

/* --- the fixture ---------------------------------------------------------------------------------------- */

static Image load_image(const H5File *f, const char *group, const char *what)
{
    char name[64];
    H5Info info;
    Image p = {0};
    snprintf(name, sizeof name, "%s/%s", group, what);
    OK(h5file_load_u8(f, name, &p.pixels, &info));
    p.h = (int)info.dims[0];
    p.w = (int)info.dims[1];
    return p;
}

static void check_interpolation(const H5File *f, const char *group, const Image *small, int scale)
{
    static const char *const names[] = {"nearest", "bicubic", "lanczos"};
    for (int kind = 0; kind < 3; kind++) {
        char name[64];
        float *want;
        Image got = {0};
        snprintf(name, sizeof name, "%s/%s", group, names[kind]);
        OK(h5file_load_f32(f, name, &want, NULL));
        OK(image_interpolate((Interpolation)kind, small, scale, &got));
        for (size_t i = 0; i < image_bytes(&got); i++) {
            double clamped = fmin(fmax((double)want[i], 0), 255);
            if (fabs(got.pixels[i] - clamped) > 0.5001)
                fail_msg("%s: value %zu is %d, expected %g", name, i, got.pixels[i], clamped);
        }
        image_release(&got);
        free(want);
    }
}

static void test_reference_numbers(void **state)
{
    (void)state;
    static const char *const groups[] = {"tinted", "noisy", "small"};
    static const QualityMeasure order[] = {QUALITY_PSNR, QUALITY_SSIM, QUALITY_CONSISTENCY, QUALITY_COLOUR, QUALITY_TINT,
                                           QUALITY_EDGES};
    H5File *f;
    OK(h5file_open(FIXTURE, &f));
    for (int g = 0; g < 3; g++) {
        char name[64];
        double *want, got[QUALITY_MEASURES];
        Image original = load_image(f, groups[g], "original"), small = load_image(f, groups[g], "small");
        Image result = load_image(f, groups[g], "result");
        int scale = original.h / small.h;
        snprintf(name, sizeof name, "%s/values", groups[g]);
        OK(h5file_load_f64(f, name, &want, NULL));
        OK(quality_measure(&(QualityEye){0}, &original, &small, &result, scale, got));
        for (int i = 0; i < 6; i++) assert_close(quality_measure_name(order[i]), got[order[i]], want[i], 1e-6);
        assert_true(isnan(got[QUALITY_JUDGE]) && isnan(got[QUALITY_SECONDS]));
        check_interpolation(f, groups[g], &small, scale);
        image_release(&original);
        image_release(&small);
        image_release(&result);
        free(want);
    }
    h5file_close(f);
}

static void test_published_colours(void **state)
{
    (void)state;
    H5File *f;
    H5Info info;
    double *pairs, white[3], black[3];
    OK(h5file_open(FIXTURE, &f));
    OK(h5file_load_f64(f, "ciede2000", &pairs, &info));
    assert_int_equal(info.dims[0], 34);
    for (int i = 0; i < 34; i++) {
        const double *p = pairs + 7 * i;
        if (fabs(ciede2000(p, p + 3) - p[6]) > 0.5001e-4 || fabs(ciede2000(p + 3, p) - p[6]) > 0.5001e-4)
            fail_msg("pair %d: %.6f, expected %.4f", i + 1, ciede2000(p, p + 3), p[6]);
    }
    lab_of_srgb((const uint8_t[3]){255, 255, 255}, white);
    lab_of_srgb((const uint8_t[3]){0, 0, 0}, black);
    assert_close("white", white[0], 100, 1e-5);
    assert_close("black", black[0], 0, 1e-9);
    assert_true(fabs(white[1]) < 0.01 && fabs(white[2]) < 0.01);
    assert_close("black and white", ciede2000(white, black), 100, 1e-4);
    free(pairs);
    h5file_close(f);
}

/* --- random pictures ------------------------------------------------------------------------------------ */

static double grey(const Image *p, int y, int x)
{
    const uint8_t *c = p->pixels + ((size_t)y * (size_t)p->w + (size_t)x) * 3;
    return 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2];
}

/* A window's similarity by its definition, with variances around the means. */
static double slow_window(const Image *a, const Image *b, int y, int x)
{
    double sum = 0, ma = 0, mb = 0, va = 0, vb = 0, cov = 0;
    for (int pass = 0; pass < 3; pass++)
        for (int i = 0; i < 121; i++) {
            double w = exp(-((i / 11 - 5) * (i / 11 - 5) + (i % 11 - 5) * (i % 11 - 5)) / 4.5);
            double p = grey(a, y + i / 11, x + i % 11), q = grey(b, y + i / 11, x + i % 11);
            if (pass == 0) sum += w;
            if (pass == 1) ma += w / sum * p, mb += w / sum * q;
            if (pass < 2) continue;
            va += w / sum * (p - ma) * (p - ma);
            vb += w / sum * (q - mb) * (q - mb);
            cov += w / sum * (p - ma) * (q - mb);
        }
    return (2 * ma * mb + 6.5025) * (2 * cov + 58.5225) / ((ma * ma + mb * mb + 6.5025) * (va + vb + 58.5225));
}

static void check_random_pair(int w, int h, uint32_t seed)
{
    Image a = random_image(w, h, seed), b = random_image(w, h, seed + 1000);
    double want = 0, mse = 0, got[2], colour[2], edges[2] = {0};
    for (size_t i = 0; i < image_bytes(&a); i++) b.pixels[i] = (uint8_t)((a.pixels[i] * 3 + b.pixels[i]) / 4);
    for (int y = 0; y + 11 <= h; y++)
        for (int x = 0; x + 11 <= w; x++) want += slow_window(&a, &b, y, x) / (h - 10) / (w - 10);
    for (size_t i = 0; i < image_bytes(&a); i++) mse += pow(a.pixels[i] - b.pixels[i], 2) / (double)image_bytes(&a);
    for (int i = 0; i < w * h; i++)
        for (int k = 0; k < 2; k++) {
            const Image *p = k ? &b : &a;
            if (i % w + 1 < w) edges[k] += pow(grey(p, i / w, i % w + 1) - grey(p, i / w, i % w), 2);
            if (i / w + 1 < h) edges[k] += pow(grey(p, i / w + 1, i % w) - grey(p, i / w, i % w), 2);
        }
    for (int t = 0; t < 2; t++) {
        use_threads(t + 1);
        OK(picture_ssim(t ? &a : &b, t ? &b : &a, &got[t])); /* the same either way */
        OK(picture_colour_difference(&a, &b, &colour[t]));
    }
    if (w >= 11 && h >= 11) assert_close("SSIM", got[0], want, 1e-5);
    assert_true(w < 11 || h < 11 ? isnan(got[0]) && isnan(got[1]) : fabs(got[0] - got[1]) < 1e-12);
    assert_true(colour[0] == colour[1]);
    assert_close("PSNR", picture_psnr(&a, &b), 10 * log10(65025 / mse), 1e-9);
    if (w * h > 1) assert_close("edge energy", picture_edge_ratio(&b, &a), edges[1] / edges[0], 1e-5);
    OK(picture_ssim(&a, &a, &got[0]));
    assert_true(isnan(got[0]) || fabs(got[0] - 1) < 1e-12);
    assert_true(picture_psnr(&a, &a) == PICTURE_MOST_PSNR);
    image_release(&a);
    image_release(&b);
}

static void test_random_pictures(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 1}, {11, 11}, {10, 30}, {31, 12}, {23, 40}};
    for (uint32_t i = 0; i < 20; i++) check_random_pair(sizes[i % 5][0], sizes[i % 5][1], i);
}

static void test_analytic_cases(void **state)
{
    (void)state;
    Image flat = {0}, ramp = {0}, large = {0}, small = random_image(7, 5, 3);
    OK(image_init(6, 4, &flat));
    memset(flat.pixels, 77, image_bytes(&flat));
    for (int kind = 0; kind < 3; kind++) { /* what is flat stays flat, at edges too */
        OK(image_interpolate((Interpolation)kind, &flat, 8, &large));
        for (size_t i = 0; i < image_bytes(&large); i++) assert_int_equal(large.pixels[i], 77);
        image_release(&large);
    }
    assert_true(isnan(picture_edge_ratio(&flat, &flat)));
    OK(image_init(12, 1, &ramp));
    for (int i = 0; i < 36; i++) ramp.pixels[i] = (uint8_t)(i / 3 * 20);
    OK(image_interpolate(INTERPOLATE_BICUBIC, &ramp, 4, &large)); /* a straight line stays one, away from edges */
    for (int x = 8; x < 40; x++) assert_int_equal(large.pixels[3 * x], rint((x + 0.5) / 4 * 20 - 10));
    image_release(&large);
    OK(image_interpolate(INTERPOLATE_NEAREST, &small, 4, &large));
    assert_true(picture_consistency(&large, &small, 4) == PICTURE_MOST_PSNR);
    Image other = copy_image(&large);
    for (size_t i = 0; i < image_bytes(&large); i++) other.pixels[i] ^= 1; /* by 1 each */
    assert_close("PSNR", picture_psnr(&large, &other), 20 * log10(255), 1e-12);
    for (int i = 0; i < large.w * large.h * 3; i++) /* one of 16 by 16 codes: the mean by 1 */
        other.pixels[i] = (uint8_t)(large.pixels[i] ^ (i / 3 % large.w % 4 == 1 && i / 3 / large.w % 4 == 2 ? 16 : 0));
    assert_close("consistency", picture_consistency(&other, &small, 4), 20 * log10(255), 1e-12);
    image_release(&other);
    image_release(&large);
    FAILS(image_interpolate(INTERPOLATE_NEAREST, &small, 20000, &large), STATUS_BAD_INPUT, "7x5");
    image_release(&flat);
    image_release(&ramp);
    image_release(&small);
}

/* --- the judge distance --------------------------------------------------------------------------------- */

static double *as_doubles(const Param *p)
{
    double *v = malloc(p->size * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < p->size; i++) v[i] = (double)p->value[i];
    return v;
}

/* y (its own) = conv(x) + residual */
static double *slow_conv(const Conv2d *c, const double *x, int side, const double *residual)
{
    ConvShape s = {.N = 1, .H = side, .W = side, .Cin = c->weight->dims[1], .Cout = c->weight->dims[0], .kernel = c->kernel,
                   .stride = c->stride};
    int out = side / c->stride;
    double *w = as_doubles(c->weight), *b = as_doubles(c->bias), *y = malloc((size_t)(out * out * s.Cout) * sizeof *y);
    reference_conv2d(&s, x, w, b, residual, y);
    free(w);
    free(b);
    return y;
}

static double *slow_norm(const Norm *n, const double *x, int side)
{
    GroupNormShape s = {.N = 1, .pixels = side * side, .C = (int64_t)n->gamma->size, .groups = GROUP_NORM_GROUPS, .act = ACT_SILU};
    double *g = as_doubles(n->gamma), *b = as_doubles(n->beta), *y = malloc((size_t)(s.pixels * s.C) * sizeof *y);
    reference_group_norm(&s, x, g, b, NULL, y, NULL);
    free(g);
    free(b);
    return y;
}

/* The map of level l from that of the one before; frees x. */
static double *slow_level(const Judge *j, int l, double *x, int side)
{
    double *h = slow_conv(&j->levels[l].down, x, side, NULL);
    free(x);
    side /= 2;
    for (int b = 0; b < j->config.blocks; b++) {
        const JudgeBlock *block = &j->levels[l].blocks[b];
        double *n1 = slow_norm(&block->norm[0], h, side), *c1 = slow_conv(&block->conv[0], n1, side, NULL);
        double *n2 = slow_norm(&block->norm[1], c1, side), *c2 = slow_conv(&block->conv[1], n2, side, h);
        free(n1);
        free(c1);
        free(n2);
        free(h);
        h = c2;
    }
    return h;
}

static double slow_place(const double *a, const double *b, int C)
{
    double aa = 0, bb = 0, ab = 0;
    for (int c = 0; c < C; c++) aa += a[c] * a[c], bb += b[c] * b[c], ab += a[c] * b[c];
    return 2 - 2 * ab / sqrt(aa * bb); /* of two vectors of unit length */
}

static double slow_distance(const Judge *j, const float *a, const float *b)
{
    int side = j->config.image_size;
    double sum = 0, *maps[2];
    for (int k = 0; k < 2; k++) {
        maps[k] = malloc((size_t)(side * side * 3) * sizeof(double));
        for (int i = 0; i < side * side * 3; i++) maps[k][i] = (double)(k ? b : a)[i];
    }
    for (int l = 0; l < j->config.levels; l++, side /= 2) {
        int places = side * side / 4, C = j->config.channels[l];
        for (int k = 0; k < 2; k++) maps[k] = slow_level(j, l, maps[k], side);
        for (int p = 0; p < places; p++) sum += slow_place(maps[0] + p * C, maps[1] + p * C, C) / places / j->config.levels;
    }
    free(maps[0]);
    free(maps[1]);
    return sum;
}

static void test_judge_distance(void **state)
{
    (void)state;
    enum { N = 11, SIZE = SMALL_JUDGE_SIDE * SMALL_JUDGE_SIDE * 3 };
    Judge *j = small_judge();
    Kernels *k;
    float *a = malloc(N * SIZE * sizeof *a), *b = malloc(N * SIZE * sizeof *b);
    double got[N], alone;
    OK(kernels_new(KERNELS_BEST, &k));
    rng_uniforms(&(RngKey){.seed = 1, .stream = RNG_TEST}, a, N * SIZE);
    rng_uniforms(&(RngKey){.seed = 2, .stream = RNG_TEST}, b, N * SIZE);
    for (int i = 0; i < N * SIZE; i++) {
        a[i] = 2 * a[i] - 1;
        b[i] = i / SIZE == 0 ? a[i] : a[i] + (float)(i / SIZE) * 0.1f * (b[i] - a[i]);
    }
    OK(judge_patch_distances(j, k, a, b, N, got));
    assert_true(fabs(got[0]) < 1e-12);
    for (int i = 1; i < 4; i++) assert_close("judge distance", got[i], slow_distance(j, a + i * SIZE, b + i * SIZE), 1e-5);
    for (int i = 2; i < N; i++) assert_true(got[i] > got[i - 1]); /* the more is changed, the further */
    for (int t = 1; t <= 2; t++) { /* the same alone and on any number of threads */
        use_threads(t);
        OK(judge_patch_distances(j, k, a + 9 * SIZE, b + 9 * SIZE, 1, &alone));
        assert_true(alone == got[9]);
        OK(judge_patch_distances(j, k, b + 9 * SIZE, a + 9 * SIZE, 1, &alone));
        assert_close("the other way round", alone, got[9], 1e-12);
    }
    judge_free(j);
    kernels_free(k);
    free(a);
    free(b);
}

/* Mean over patches cut by hand; the last one of an axis ends with the picture. */
static void check_patches(Judge *j, Kernels *k, int w, int h, const int *tops, int down, const int *lefts, int across)
{
    enum { S = SMALL_JUDGE_SIDE };
    Image a = random_image(w, h, 8), b = random_image(w, h, 9);
    float x[2][S * S * 3];
    double want = 0, got, one;
    for (int t = 0; t < down * across; t++) {
        for (int i = 0; i < S * S * 3; i++) {
            int y = tops[t / across] + i / 3 / S, column = lefts[t % across] + i / 3 % S;
            size_t at = ((size_t)(y < h ? y : h - 1) * (size_t)w + (size_t)(column < w ? column : w - 1)) * 3 + (size_t)(i % 3);
            x[0][i] = (float)a.pixels[at] / 127.5f - 1;
            x[1][i] = (float)b.pixels[at] / 127.5f - 1;
        }
        OK(judge_patch_distances(j, k, x[0], x[1], 1, &one));
        want += one / down / across;
    }
    OK(judge_picture_distance(j, k, &a, &b, &got));
    assert_close("distance of a picture", got, want, 1e-12);
    image_release(&a);
    image_release(&b);
}

static void test_judge_patches(void **state)
{
    (void)state;
    Judge *j = small_judge();
    Kernels *k;
    OK(kernels_new(KERNELS_BEST, &k));
    check_patches(j, k, 70, 33, (const int[]){0, 1}, 2, (const int[]){0, 32, 38}, 3);
    check_patches(j, k, 32, 64, (const int[]){0, 32}, 2, (const int[]){0}, 1);
    check_patches(j, k, 5, 9, (const int[]){0}, 1, (const int[]){0}, 1); /* edges repeated */
    judge_free(j);
    kernels_free(k);
}

/* --- seams ---------------------------------------------------------------------------------------------- */

static const int borders[] = {64, 96, 160};
static const SeamLines lines = {borders, borders, 3, 2, 16};

/* An enlargement with errors of its own, more of them at every fourth pixel, as back-projection leaves; and with windows that
 * differ: behind the borders by `step` codes (the colour of a channel), at the borders by `edge` codes on one side. */
static Image spoil(const Image *original, uint32_t seed, int step, int edge)
{
    Image p = copy_image(original);
    for (int i = 0; i < p.w * p.h; i++) {
        int x = i % p.w, jump = x >= 64 && x < 160 ? step : 0, hard = x == 64 || x == 96 || x == 160 ? edge : 0;
        for (int c = 0; c < 3; c++) {
            int noise = (int)rng_below(&(RngKey){.seed = seed, .stream = RNG_TEST}, (uint32_t)(3 * i + c), x % 4 ? 9 : 17) - 4;
            int v = p.pixels[3 * i + c] + noise + hard + (c == 1 ? jump : 0);
            p.pixels[3 * i + c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
    return p;
}

static Image smooth_picture(int w, int h, uint32_t seed)
{
    Image small = random_image(w / 8, h / 8, seed), p = {0};
    OK(image_interpolate(INTERPOLATE_BICUBIC, &small, 8, &p));
    for (size_t i = 0; i < image_bytes(&p); i++) p.pixels[i] = (uint8_t)(40 + p.pixels[i] / 2);
    image_release(&small);
    return p;
}

static void score(SeamScore *s, uint32_t first, int pictures, int step, int edge)
{
    for (uint32_t i = first; i < first + (uint32_t)pictures; i++) {
        Image original = smooth_picture(224, 160, i), result = spoil(&original, i, step, edge);
        OK(seam_score_add(s, &result, &original, &lines));
        image_release(&original);
        image_release(&result);
    }
}

static void test_no_seams(void **state)
{
    (void)state;
    enum { TRIALS = 40 };
    int beyond[SEAM_KINDS] = {0};
    for (uint32_t t = 0; t < TRIALS; t++) {
        SeamScore s = {0};
        score(&s, 4 * t, 4, 0, 0);
        for (int kind = 0; kind < SEAM_KINDS; kind++) {
            SeamResult r = seam_score_result(&s, (SeamKind)kind);
            assert_int_equal(r.n, 20); /* 3 borders across and 2 down, of four pictures */
            assert_true(r.low < r.ratio && r.ratio < r.high && fabs(r.ratio - 1) < 0.2);
            beyond[kind] += fabs(r.z) > 1.96;
        }
        seam_score_release(&s);
    }
    for (int kind = 0; kind < SEAM_KINDS; kind++) assert_in_range(beyond[kind], 0, TRIALS / 6); /* about one in twenty */
}

static void test_seams(void **state)
{
    (void)state;
    SeamScore stepped = {0}, edged = {0};
    score(&stepped, 0, 6, 6, 0);
    score(&edged, 0, 6, 0, 6);
    SeamResult step = seam_score_result(&stepped, SEAM_STEP), edge = seam_score_result(&edged, SEAM_EDGE);
    /* 12 of the 30 borders are across, where nothing was done; two of three of the others have a step */
    assert_true(step.z > 3 && step.low > 1);
    assert_true(edge.z > 3 && edge.low > 1);
    seam_score_release(&stepped);
    seam_score_release(&edged);
    Image p = smooth_picture(224, 160, 1);
    OK(seam_score_add(&stepped, &p, &p, &(SeamLines){borders, borders, 0, 0, 16}));
    assert_true(isnan(seam_score_result(&stepped, SEAM_EDGE).z));
    OK(seam_score_add(&stepped, &p, &p, &lines)); /* no errors at all: no seams */
    SeamResult none = seam_score_result(&stepped, SEAM_EDGE);
    assert_true(none.ratio == 1 && none.z == 0);
    seam_score_release(&stepped);
    image_release(&p);
}

/* --- the table ------------------------------------------------------------------------------------------ */

static void test_table(void **state)
{
    (void)state;
    enum { PICTURES = 20 };
    static const char *const names[] = {"other", "own"};
    QualityTable t;
    double psnr = 0, ratio = 0;
    OK(quality_table_init(&t, names, 2, 1, PICTURES));
    for (int i = 0; i < PICTURES; i++)
        for (int m = 0; m < 2; m++) {
            double v[QUALITY_MEASURES] = {20 + i + m, 0.5, 0.2 - 0.005 * i * m, NAN, 1, 2, 3, 4};
            if (i < 5) v[QUALITY_SSIM] = NAN;
            if (m) psnr += v[0] / PICTURES, ratio += log((v[QUALITY_JUDGE] + 1e-6) / (0.2 + 1e-6)) / PICTURES;
            quality_table_put(&t, m, i, v);
        }
    OK(quality_table_summarise(&t));
    const QualityValue *own = t.methods[1].summary, *against = t.methods[0].against;
    assert_close("mean", own[QUALITY_PSNR].value, psnr, 1e-12);
    assert_true(own[QUALITY_PSNR].low < psnr && psnr < own[QUALITY_PSNR].high && own[QUALITY_PSNR].n == PICTURES);
    /* the spread of a mean of 20 numbers 0..19: 5.92 / sqrt(20), and 1.96 of it to each side */
    assert_in_range((int)(100 * (own[QUALITY_PSNR].high - own[QUALITY_PSNR].low)), 460, 570);
    assert_close("paired", against[QUALITY_PSNR].value, 1, 1e-12); /* on each picture */
    assert_close("paired", against[QUALITY_PSNR].high - against[QUALITY_PSNR].low, 0, 1e-9);
    assert_close("ratio", against[QUALITY_JUDGE].value, exp(ratio), 1e-9);
    assert_int_equal(own[QUALITY_SSIM].n, PICTURES - 5);
    assert_close("of those that have it", own[QUALITY_SSIM].value, 0.5, 1e-12);
    assert_true(own[QUALITY_CONSISTENCY].n == 0 && isnan(own[QUALITY_CONSISTENCY].value));
    json_t *json;
    OK(quality_table_json(&t, &json));
    const json_t *first = json_array_get(json_object_get(json, "methods"), 0);
    const json_t *pair = json_array_get(json_object_get(json, "against"), 0);
    assert_true(json_is_null(json_object_get(json_object_get(first, "consistency"), "value")));
    assert_int_equal(json_array_size(json_object_get(json_object_get(first, "pictures"), "psnr")), PICTURES);
    assert_string_equal(json_string_value(json_object_get(pair, "against")), "other");
    assert_close("in JSON", json_real_value(json_object_get(json_object_get(pair, "judge_distance_ratio"), "value")), exp(ratio),
                 1e-9);
    json_decref(json);
    quality_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_numbers), cmocka_unit_test(test_published_colours), cmocka_unit_test(test_random_pictures),
        cmocka_unit_test(test_analytic_cases),    cmocka_unit_test(test_judge_distance),    cmocka_unit_test(test_judge_patches),
        cmocka_unit_test(test_no_seams),          cmocka_unit_test(test_seams),             cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
