/* Classifier-free guidance: what is asked of the model, how the halves are mixed, what is measured. */
#include "guidance/guidance.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 2, H = 3, W = 5, PIXELS = H * W, SIZE = PIXELS * 3, OUT = PIXELS * 6 };

static void check_ok(Status status)
{
    if (status != STATUS_OK) fail_msg("%s", status_message());
}

/* Conditional: eps = 0.3 x + 0.1, v = 2; unconditional: eps = 0.1 x, v = 9. Counts rows. */
static void model_rows(const float *x_t, bool conditional, float *out)
{
    for (int64_t i = 0; i < N * SIZE; i++) {
        out[i / 3 * 6 + i % 3] = conditional ? 0.3f * x_t[i] + 0.1f : 0.1f * x_t[i];
        out[i / 3 * 6 + 3 + i % 3] = conditional ? 2 : 9;
    }
}

static Status two_models(void *ctx, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, float *out)
{
    int64_t *rows_run = ctx;
    (void)level;
    *rows_run += guidance_rows(asks, N);
    model_rows(x_t, asks != GUIDANCE_UNCONDITIONAL, out);
    if (asks == GUIDANCE_BOTH) model_rows(x_t, false, out + N * OUT);
    return STATUS_OK;
}

static const NoiseLevel level_3 = {.step = 3, .timestep = 30, .alpha = 0.8, .sigma = 0.6};

static void check_telemetry(const GuidanceTelemetry *t, const float *cond, const float *uncond, const float *guided)
{
    double c2 = 0, u2 = 0, dot = 0, g2 = 0;
    for (int j = 0; j < OUT; j++) {
        if (j % 6 >= 3) continue;
        c2 += (double)cond[j] * cond[j];
        u2 += (double)uncond[j] * uncond[j];
        dot += (double)cond[j] * uncond[j];
        g2 += (double)guided[j] * guided[j];
    }
    assert_true(fabs(t->cond_norm - sqrt(c2 / SIZE)) < 1e-9);
    assert_true(fabs(t->uncond_norm - sqrt(u2 / SIZE)) < 1e-9);
    assert_true(fabs(t->cosine - dot / sqrt(c2 * u2)) < 1e-9);
    assert_true(fabs(t->difference_norm - sqrt((c2 + u2 - 2 * dot) / SIZE)) < 1e-9);
    assert_true(fabs(t->guided_norm - sqrt(g2 / SIZE)) < 1e-5);
}

static void check_scale(double scale, const float *x)
{
    float cond[N * OUT], uncond[N * OUT], out[N * OUT];
    int64_t rows_run = 0;
    model_rows(x, true, cond);
    model_rows(x, false, uncond);
    Guidance g;
    guidance_defaults(&g);
    assert_true(g.scale == 1);
    g.scale = scale;
    GuidedDenoiser guided;
    check_ok(guided_denoiser_init(&guided, &g, two_models, &rows_run, N, H, W));
    GuidanceTelemetry telemetry[N];
    guided.telemetry = telemetry;
    Denoiser denoiser = guided_denoiser(&guided);
    check_ok(denoiser.predict(denoiser.predict_ctx, x, &level_3, out));
    bool both = scale != 0 && scale != 1;
    assert_int_equal(rows_run, both ? 2 * N : N);
    if (scale == 1) assert_memory_equal(out, cond, sizeof out);
    if (scale == 0) assert_memory_equal(out, uncond, sizeof out);
    for (int j = 0; both && j < N * OUT; j++) {
        double expected = j % 6 < 3 ? scale * cond[j] + (1 - scale) * uncond[j] : cond[j];
        assert_true(fabs(out[j] - expected) < 1e-5 * (1 + fabs(expected)));
    }
    for (int r = 0; both && r < N; r++) check_telemetry(&telemetry[r], cond + r * OUT, uncond + r * OUT, out + r * OUT);
    guided_denoiser_release(&guided);
}

static void test_scales(void **state)
{
    (void)state;
    float x[N * SIZE];
    RngKey key = {8, RNG_TEST, 0, 0};
    rng_normal(&key, x, N * SIZE);
    static const double scales[] = {0, 1, 3, -0.5};
    for (int i = 0; i < 4; i++) check_scale(scales[i], x);
}

/* With and without telemetry, in place or not: the same bits. */
static void test_in_place(void **state)
{
    (void)state;
    float out[2 * N * OUT], guided[N * OUT], plain[N * OUT];
    RngKey key = {8, RNG_TEST, 1, 0};
    rng_normal(&key, out, 2 * N * OUT);
    Guidance g = {.scale = 4};
    GuidanceTelemetry apart[N], in_place[N];
    guidance_combine(&g, &level_3, out, N, PIXELS, plain, NULL);
    guidance_combine(&g, &level_3, out, N, PIXELS, guided, apart);
    guidance_combine(&g, &level_3, out, N, PIXELS, out, in_place);
    assert_memory_equal(out, guided, sizeof guided);
    assert_memory_equal(plain, guided, sizeof guided);
    assert_memory_equal(apart, in_place, sizeof apart);
}

static void test_refused(void **state)
{
    (void)state;
    GuidedDenoiser d;
    Guidance g = {.scale = NAN};
    assert_int_equal(guided_denoiser_init(&d, &g, two_models, NULL, N, H, W), STATUS_BAD_INPUT);
    g.scale = INFINITY;
    assert_int_equal(guidance_check(&g), STATUS_BAD_INPUT);
    g.scale = 2;
    assert_int_equal(guided_denoiser_init(&d, &g, two_models, NULL, INT64_MAX, H, W), STATUS_BAD_INPUT);
    assert_int_equal(guided_denoiser_init(&d, &g, two_models, NULL, N, 0, W), STATUS_BAD_INPUT);
    guided_denoiser_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scales),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
