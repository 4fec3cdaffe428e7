/* Guidance: which answers are asked for, how they are combined, where terms act, what is refused. */
#include "guidance/guided_denoiser.h"
#include "tests/support_status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 2, H = 3, W = 5, PIXELS = H * W, SIZE = PIXELS * 3, OUT = PIXELS * 6 };

static void check_refused(Status status, const char *expected)
{
    assert_int_equal(status, STATUS_BAD_INPUT);
    if (!strstr(status_message(), expected)) fail_msg("expected \"%s\" in \"%s\"", expected, status_message());
}

static Guidance defaults(void)
{
    Guidance g;
    guidance_defaults(&g);
    return g;
}

static const NoiseLevel level_3 = {.step = 3, .timestep = 30, .alpha = 0.8, .sigma = 0.6};

/* --- three models --- */

enum { COND, UNCOND, WEAKER };

/* Different eps of each, and different variance values; a little of another row would show. */
static void model_rows(const float *x_t, int which, float *out)
{
    static const float slope[] = {0.3f, 0.1f, -0.2f}, shift[] = {0.1f, 0, 0.4f}, v[] = {2, 9, 5};
    for (int64_t i = 0; i < N * SIZE; i++) {
        out[i / 3 * 6 + i % 3] = slope[which] * x_t[i] + shift[which];
        out[i / 3 * 6 + 3 + i % 3] = v[which];
    }
}

typedef struct Asked {
    int calls;
    unsigned asks;
    int64_t rows;
} Asked;

static Status models(void *ctx, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, float *out)
{
    Asked *asked = ctx;
    (void)level;
    *asked = (Asked){asked->calls + 1, asks, asked->rows + guidance_rows(asks, N)};
    for (int which = COND; which <= WEAKER; which++) {
        if (!(asks & 1u << which)) continue;
        model_rows(x_t, which, out);
        out += N * OUT;
    }
    return STATUS_OK;
}

static void noise(float *x, int64_t count, uint32_t stream)
{
    RngKey key = {8, RNG_TEST, stream, 0};
    rng_normal(&key, x, count);
}

/* The guided answer (N,H,W,6) at x. */
static Asked guide(const Guidance *g, const NoiseLevel *level, const float *x, float *out)
{
    Asked asked = {0};
    GuidedDenoiser guided;
    OK(guided_denoiser_init(&guided, g, models, &asked, N, H, W));
    Denoiser denoiser = guided_denoiser(&guided);
    OK(denoiser.predict(denoiser.predict_ctx, x, level, out));
    assert_int_equal(guided.rows_run, asked.rows);
    guided_denoiser_release(&guided);
    return asked;
}

/* --- classifier-free --- */

static void test_cfg(void **state)
{
    (void)state;
    float x[N * SIZE], cond[N * OUT], uncond[N * OUT], out[N * OUT];
    static const double scales[] = {0, 1, 3, -0.5};
    Guidance g = defaults();
    assert_true(g.terms[GUIDANCE_CFG].scale == 1);
    noise(x, N * SIZE, 0);
    model_rows(x, COND, cond);
    model_rows(x, UNCOND, uncond);
    for (int i = 0; i < 4; i++) {
        double scale = g.terms[GUIDANCE_CFG].scale = scales[i];
        Asked asked = guide(&g, &level_3, x, out);
        bool both = scale != 0 && scale != 1;
        assert_int_equal(asked.rows, both ? 2 * N : N);
        assert_int_equal(asked.asks, both ? GUIDANCE_BOTH : scale == 1 ? GUIDANCE_CONDITIONAL : GUIDANCE_UNCONDITIONAL);
        if (scale == 1) assert_memory_equal(out, cond, sizeof out);
        if (scale == 0) assert_memory_equal(out, uncond, sizeof out);
        for (int j = 0; both && j < N * OUT; j++) {
            double expected = j % 6 < 3 ? uncond[j] + scale * ((double)cond[j] - uncond[j]) : cond[j];
            assert_true(fabs(out[j] - expected) < 1e-6 * (1 + fabs(expected)));
        }
    }
}

/* --- autoguidance, alone and with classifier-free --- */

static void check_pair(double cfg, double autoguidance, unsigned asks)
{
    float x[N * SIZE], cond[N * OUT], uncond[N * OUT], weaker[N * OUT], out[N * OUT];
    Guidance g = defaults();
    g.terms[GUIDANCE_CFG].scale = cfg;
    g.terms[GUIDANCE_AUTOGUIDANCE].scale = autoguidance;
    noise(x, N * SIZE, 1);
    model_rows(x, COND, cond);
    model_rows(x, UNCOND, uncond);
    model_rows(x, WEAKER, weaker);
    Asked asked = guide(&g, &level_3, x, out);
    assert_int_equal(asked.asks, asks);
    assert_int_equal(asked.calls, 1);
    const float *start = cfg == 0 ? uncond : cond;
    for (int j = 0; j < N * OUT; j++) {
        double expected = start[j];
        if (j % 6 < 3) expected += autoguidance * ((double)start[j] - weaker[j]);
        if (j % 6 < 3 && cfg != 0) expected += (cfg - 1) * ((double)cond[j] - uncond[j]);
        if (fabs(out[j] - expected) > 1e-5) fail_msg("%g %g: %g, expected %g", cfg, autoguidance, out[j], expected);
    }
}

static void test_autoguidance(void **state)
{
    (void)state;
    check_pair(1, 1.5, GUIDANCE_CONDITIONAL | GUIDANCE_WEAKER);
    check_pair(0, 1.5, GUIDANCE_UNCONDITIONAL | GUIDANCE_WEAKER);
    check_pair(3, 0.5, GUIDANCE_BOTH | GUIDANCE_WEAKER);
    check_pair(3, 0, GUIDANCE_BOTH);
    check_pair(1, 0, GUIDANCE_CONDITIONAL);
}

/* --- gradients --- */

/* Which steps have a gradient. What it is needs a guide: test_guidance_run.c. */
static void test_where_gradients_act(void **state)
{
    (void)state;
    Guidance g = defaults();
    Asked asked = {0};
    GuidedDenoiser d;
    OK(guided_denoiser_init(&d, &g, models, &asked, N, H, W));
    assert_null(guided_denoiser(&d).gradient);
    assert_null(guided_denoiser(&d).denoised);
    assert_null(guided_denoiser(&d).renoise);
    guided_denoiser_release(&d);
    g.terms[GUIDANCE_CLIP].scale = 2;
    OK(guidance_parse_interval("100:200", &g.terms[GUIDANCE_CLIP]));
    OK(guided_denoiser_init(&d, &g, models, &asked, N, H, W));
    Denoiser denoiser = guided_denoiser(&d);
    assert_non_null(denoiser.gradient);
    assert_false(denoiser.has_gradient(denoiser.gradient_ctx, &(NoiseLevel){.timestep = 99}));
    assert_true(denoiser.has_gradient(denoiser.gradient_ctx, &(NoiseLevel){.timestep = 100}));
    assert_true(denoiser.has_gradient(denoiser.gradient_ctx, &(NoiseLevel){.timestep = 200}));
    assert_false(denoiser.has_gradient(denoiser.gradient_ctx, &(NoiseLevel){.timestep = 201}));
    guided_denoiser_release(&d);
}

/* --- intervals and schedules --- */

static double scale_of(const char *interval, const char *schedule, double scale, double neutral, double timestep)
{
    GuidanceTerm t = guidance_term(scale);
    OK(guidance_parse_interval(interval, &t));
    OK(guidance_parse_schedule(schedule, &t));
    return guidance_term_scale(&t, neutral, timestep, 999);
}

static void test_schedules(void **state)
{
    (void)state;
    assert_true(scale_of(NULL, NULL, 3, 1, 0) == 3 && scale_of("", "constant", 3, 1, 999) == 3);
    assert_true(scale_of("100:800", NULL, 3, 1, 99.9) == 1 && scale_of("100:800", NULL, 3, 1, 100) == 3);
    assert_true(scale_of("100:800", NULL, 3, 1, 800) == 3 && scale_of("100:800", NULL, 3, 0, 800.5) == 0);
    assert_true(scale_of(":800", NULL, 3, 1, 0) == 3 && scale_of("100:", NULL, 3, 1, 99) == 1);
    for (int t = 0; t < 1000; t += 37) {
        double p = 1 - t / 999.0;
        assert_true(fabs(scale_of(NULL, "linear", 5, 1, t) - (1 + 4 * p)) < 1e-12);
        assert_true(fabs(scale_of(NULL, "linear", 5, 0, t) - 5 * p) < 1e-12);
        assert_true(fabs(scale_of(NULL, "cosine", 5, 1, t) - (1 + 4 * (1 - cos(M_PI * p)) / 2)) < 1e-12);
    }
    assert_true(scale_of(NULL, "linear", 5, 1, 999) == 1 && scale_of(NULL, "linear", 5, 1, 0) == 5);
    const char *points = "900:1,500:4,100:2";
    assert_true(scale_of(NULL, points, 9, 1, 950) == 1 && scale_of(NULL, points, 9, 1, 50) == 2);
    assert_true(scale_of(NULL, points, 9, 1, 500) == 4 && scale_of(NULL, points, 9, 1, 300) == 3);
    assert_true(scale_of(NULL, "100:2,500:4,900:1", 9, 1, 700) == 2.5 && scale_of(NULL, "7:2", 9, 1, 300) == 2);
    assert_true(scale_of("200:400", points, 9, 1, 300) == 3 && scale_of("200:400", points, 9, 1, 500) == 1);
}

static void test_texts(void **state)
{
    (void)state;
    char text[GUIDANCE_MOST_TEXT];
    GuidanceTerm t = guidance_term(1);
    static const char *const intervals[] = {"", "100:800", ":800", "100:", "0.5:0.75"};
    static const char *const as_shown[] = {"", "100:800", "0:800", "100:", "0.5:0.75"};
    for (int i = 0; i < 5; i++) {
        OK(guidance_parse_interval(intervals[i], &t));
        assert_string_equal(guidance_show_interval(&t, text, sizeof text), as_shown[i]);
    }
    static const char *const bad_intervals[] = {"100", "a:b", "800:100", "-1:5", "1:2:3", "nan:5", " 1:2", "1:2 "};
    for (int i = 0; i < 8; i++) check_refused(guidance_parse_interval(bad_intervals[i], &t), "expected an interval of timesteps");
    static const char *const schedules[] = {"", "linear", "cosine", "100:2,500.25:4.5,900:1"};
    for (int i = 0; i < 4; i++) {
        OK(guidance_parse_schedule(schedules[i], &t));
        assert_string_equal(guidance_show_schedule(&t, text, sizeof text), schedules[i]);
    }
    static const char *const bad[] = {"quadratic", "1:2,", "1:2,1:3", "1:2,5:3,4:1", "1",      "x:2",
                                      "1:inf",     "-1:2", ",",       "1:2,3",       "1:2 3:4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_refused(guidance_parse_schedule(bad[i], &t), "expected constant, linear, cosine");
    Guidance g = defaults();
    static const char *const thresholds[] = {"", "none", "dynamic:0.9"};
    for (int i = 0; i < 3; i++) {
        OK(guidance_parse_threshold(thresholds[i], &g));
        assert_string_equal(guidance_show_threshold(&g, text, sizeof text), thresholds[i]);
    }
    static const char *const bad_thresholds[] = {"dynamic:", "dynamic:0", "dynamic:1.5", "dynamic:x", "static:1", "median"};
    for (int i = 0; i < 6; i++) check_refused(guidance_parse_threshold(bad_thresholds[i], &g), "expected none, static, dynamic");
}

/* Which answers the levels ask for, and so what guidance costs. */
static void test_evaluations(void **state)
{
    (void)state;
    Guidance g = defaults();
    assert_true(guidance_mean_answers(&g) == 1 && guidance_most_answers(&g) == 1);
    g.terms[GUIDANCE_CFG].scale = 3;
    assert_true(guidance_mean_answers(&g) == 2 && guidance_most_answers(&g) == 2);
    OK(guidance_parse_interval("0:249", &g.terms[GUIDANCE_CFG]));
    assert_true(fabs(guidance_mean_answers(&g) - 1.25) < 1e-12);
    assert_int_equal(guidance_asks(&g, &(NoiseLevel){.timestep = 250}), GUIDANCE_CONDITIONAL);
    assert_int_equal(guidance_asks(&g, &(NoiseLevel){.timestep = 249}), GUIDANCE_BOTH);
    g.terms[GUIDANCE_CFG] = guidance_term(0);
    assert_true(guidance_mean_answers(&g) == 1);
    g.terms[GUIDANCE_AUTOGUIDANCE].scale = 1;
    assert_true(guidance_mean_answers(&g) == 2);
    g.terms[GUIDANCE_CFG].scale = 2;
    g.terms[GUIDANCE_CLASSIFIER].scale = g.terms[GUIDANCE_CLIP].scale = 4; /* evaluate no denoiser */
    assert_true(guidance_mean_answers(&g) == 3 && guidance_most_answers(&g) == 3);
    g = defaults();
    g.cfgpp = true;
    assert_true(guidance_mean_answers(&g) == 2); /* lambda 1 still needs both */
}

/* --- telemetry --- */

static double rms(const float *a, const float *b, double scale)
{
    double sum = 0;
    for (int j = 0; j < OUT; j++)
        if (j % 6 < 3) sum += pow(a[j] - scale * (b ? b[j] : 0), 2);
    return sqrt(sum / SIZE);
}

static void check_row(const GuidanceTelemetry *t, const float *x, const float *cond, const float *uncond, const float *out)
{
    double dot = 0, onto = 0, square = 0, change2 = 0, ratio = level_3.sigma / level_3.alpha;
    for (int i = 0; i < SIZE; i++) {
        int j = i / 3 * 6 + i % 3;
        double x_0 = x[i] / level_3.alpha - ratio * cond[j], change = -ratio * ((double)out[j] - cond[j]);
        dot += (double)cond[j] * uncond[j];
        onto += x_0 * change;
        square += x_0 * x_0;
        change2 += change * change;
    }
    assert_true(fabs(t->cond_norm - rms(cond, NULL, 0)) < 1e-6);
    assert_true(fabs(t->uncond_norm - rms(uncond, NULL, 0)) < 1e-6);
    assert_true(fabs(t->guided_norm - rms(out, NULL, 0)) < 1e-6);
    assert_true(fabs(t->difference_norm - rms(cond, uncond, 1)) < 1e-6);
    assert_true(fabs(t->cosine - dot / (rms(cond, NULL, 0) * rms(uncond, NULL, 0) * SIZE)) < 1e-6);
    assert_true(fabs(t->parallel_norm - fabs(onto) / sqrt(square * SIZE)) < 1e-6);
    assert_true(fabs(pow(t->parallel_norm, 2) + pow(t->orthogonal_norm, 2) - change2 / SIZE) < 1e-6);
    assert_true(t->scale[GUIDANCE_CFG] == 3 && t->scale[GUIDANCE_CLIP] == 0);
    assert_true(isnan(t->weaker_norm) && isnan(t->gradient_norm[GUIDANCE_CLIP]));
}

static void test_telemetry(void **state)
{
    (void)state;
    float x[N * SIZE], cond[N * OUT], uncond[N * OUT], out[N * OUT], plain[N * OUT], x_0[N * SIZE];
    Guidance g = defaults();
    Asked asked = {0};
    GuidedDenoiser d;
    g.terms[GUIDANCE_CFG].scale = 3;
    noise(x, N * SIZE, 2);
    model_rows(x, COND, cond);
    model_rows(x, UNCOND, uncond);
    guide(&g, &level_3, x, plain);
    OK(guided_denoiser_init(&d, &g, models, &asked, N, H, W));
    OK(guided_denoiser_record(&d));
    Denoiser denoiser = guided_denoiser(&d);
    OK(denoiser.predict(denoiser.predict_ctx, x, &level_3, out));
    assert_memory_equal(out, plain, sizeof out); /* being watched changes nothing */
    for (int i = 0; i < N * SIZE; i++) x_0[i] = i < SIZE ? (i % 5 == 0 ? -1.5f : 1) : 0;
    OK(denoiser.denoised(denoiser.denoised_ctx, &level_3, x_0));
    for (int r = 0; r < N; r++)
        check_row(&d.telemetry[r], x + r * SIZE, cond + r * OUT, uncond + r * OUT, out + r * OUT);
    assert_true(d.telemetry[0].clipped == 0.2 && d.telemetry[1].clipped == 0);
    assert_memory_equal(d.x_t, x, sizeof x);
    OK(denoiser.renoise(denoiser.renoise_ctx, &level_3, x));
    assert_memory_equal(d.x_t, x, sizeof x); /* nothing to do without CFG++ */
    x[0] += 1; /* a second evaluation of the same step is not recorded, the next step is */
    OK(denoiser.predict(denoiser.predict_ctx, x, &level_3, out));
    assert_true(d.x_t[0] != x[0]);
    guided_denoiser_next(&d);
    OK(denoiser.predict(denoiser.predict_ctx, x, &level_3, out));
    assert_true(d.x_t[0] == x[0]);
    guided_denoiser_release(&d);
}

/* Every column has a name of its own, but those that modes cannot have. */
static void test_columns(void **state)
{
    (void)state;
    char names[64][64];
    int count = 0, empty = 0;
    while (telemetry_name(count, names[count], sizeof names[count])) {
        empty += !*names[count];
        for (int i = 0; i < count; i++) assert_true(!*names[i] || strcmp(names[i], names[count]) != 0);
        count++;
    }
    assert_int_equal(count * (int)sizeof(double), (int)sizeof(GuidanceTelemetry));
    assert_int_equal(empty, 4); /* gradient and score of cfg and autoguidance */
    GuidanceTelemetry t = {.cosine = 7};
    t.score[GUIDANCE_CLIP] = 9;
    for (int i = 0; i < count; i++)
        assert_true(telemetry_value(&t, i) == (!strcmp(names[i], "cosine") ? 7 : !strcmp(names[i], "clip_score") ? 9 : 0));
}

/* --- the table, and what is refused --- */

static void test_modes(void **state)
{
    (void)state;
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        const GuidanceMode *m = guidance_mode((GuidanceModeId)i);
        assert_true(*m->name && *m->about);
        assert_true((m->direction != NULL) != (m->gradient != NULL)); /* one of the two kinds */
        assert_true((m->needs != 0) == (m->direction != NULL));
    }
}

static void test_refused(void **state)
{
    (void)state;
    GuidedDenoiser d;
    Guidance g = defaults();
    g.terms[GUIDANCE_CFG].scale = NAN;
    check_refused(guided_denoiser_init(&d, &g, models, NULL, N, H, W), "guidance scale");
    g.terms[GUIDANCE_CFG].scale = 1;
    g.terms[GUIDANCE_CLIP].scale = INFINITY;
    check_refused(guidance_check(&g), "clip scale");
    g = defaults();
    g.rescale = 1.1;
    check_refused(guidance_check(&g), "rescale: expected 0 to 1");
    g = defaults();
    g.cfgpp = true;
    g.terms[GUIDANCE_CFG].scale = 3;
    check_refused(guidance_check(&g), "cfgpp: expected a guidance scale from 0 to 1, found 3");
    g.terms[GUIDANCE_CFG].scale = 0.6;
    OK(guidance_check(&g));
    OK(guidance_parse_schedule("1:0.5,7:1.5", &g.terms[GUIDANCE_CFG]));
    check_refused(guidance_check(&g), "found 1.5");
    g = defaults();
    g.apg.momentum = -1;
    check_refused(guidance_check(&g), "apg");
    g = defaults();
    check_refused(guided_denoiser_init(&d, &g, models, NULL, INT64_MAX, H, W), "no 9223372036854775807 pictures");
    check_refused(guided_denoiser_init(&d, &g, models, NULL, N, 0, W), "no 2 pictures");
    guided_denoiser_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cfg),        cmocka_unit_test(test_autoguidance), cmocka_unit_test(test_where_gradients_act),
        cmocka_unit_test(test_schedules),  cmocka_unit_test(test_texts),        cmocka_unit_test(test_evaluations),
        cmocka_unit_test(test_telemetry),  cmocka_unit_test(test_columns),      cmocka_unit_test(test_modes),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
