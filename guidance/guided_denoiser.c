#include "guidance/guided_denoiser.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- memory --- */

static bool differs(GuidanceModeId id)
{
    return guidance_mode(id)->direction != NULL;
}

/* Any mode of the kind that acts. */
static bool any_acts(const Guidance *g, bool by_gradient)
{
    for (int i = 0; i < GUIDANCE_MODES; i++)
        if (differs((GuidanceModeId)i) != by_gradient && guidance_acts(g, (GuidanceModeId)i)) return true;
    return false;
}

static bool alloc(float **out, int64_t count)
{
    *out = calloc((size_t)count, sizeof **out);
    return *out != NULL;
}

static bool alloc_all(GuidedDenoiser *d)
{
    const Guidance *g = &d->guidance;
    int64_t size = d->n * d->height * d->width * IMAGE_CHANNELS;
    int answers = guidance_most_answers(g);
    bool ok = answers == 1 || alloc(&d->answers, answers * size / IMAGE_CHANNELS * MODEL_CHANNELS);
    bool moves = answers > 1 || any_acts(g, true) || g->threshold == GUIDANCE_THRESHOLD_DYNAMIC;
    ok = ok && (!moves || alloc(&d->direction, size)) && alloc(&d->score, d->n);
    for (int i = 0; i < GUIDANCE_MODES && g->apg.on && g->apg.momentum != 0; i++)
        if (differs((GuidanceModeId)i) && guidance_acts(g, (GuidanceModeId)i)) ok = ok && alloc(&d->running[i], size);
    if (g->cfgpp) ok = ok && alloc(&d->shift, size);
    return ok;
}

static Status out_of_memory(const GuidedDenoiser *d)
{
    return status_fail(STATUS_NO_MEMORY, "out of memory for guiding %lld pictures of %lld x %lld pixels", (long long)d->n,
                       (long long)d->height, (long long)d->width);
}

Status guided_denoiser_init(GuidedDenoiser *d, const Guidance *g, GuidedModelFn model, void *ctx, int64_t n,
                            int64_t height, int64_t width)
{
    *d = (GuidedDenoiser){.guidance = *g, .model = model, .ctx = ctx, .n = n, .height = height, .width = width};
    TRY(guidance_check(g));
    const int64_t most = INT64_MAX / (4 * MODEL_CHANNELS * (int64_t)sizeof(float));
    if (n < 1 || height < 1 || width < 1 || height > most / width || n > most / (height * width))
        return status_fail(STATUS_BAD_INPUT, "guidance: no %lld pictures of %lld x %lld pixels", (long long)n,
                           (long long)height, (long long)width);
    if (alloc_all(d)) return STATUS_OK;
    Status s = out_of_memory(d);
    guided_denoiser_release(d);
    return s;
}

void guided_denoiser_release(GuidedDenoiser *d)
{
    free(d->answers);
    free(d->direction);
    for (int i = 0; i < GUIDANCE_MODES; i++) free(d->running[i]);
    free(d->shift);
    free(d->score);
    free(d->telemetry);
    free(d->x_t);
    memset(d, 0, sizeof *d);
}

void guided_denoiser_guide(GuidedDenoiser *d, GuidanceModeId id, void *guide)
{
    d->guides[id] = guide;
}

/* --- one step --- */

static void split_answers(const float *out, int64_t size, GuidanceAsks asks, GuidanceStep *s)
{
    const float **const places[] = {&s->cond, &s->uncond, &s->weaker};
    for (int i = 0; i < 3; i++) {
        if (!(asks & 1u << i)) continue;
        *places[i] = out;
        out += size;
    }
    s->start = s->cond ? s->cond : s->uncond;
}

/* out (N,H,W,6): its eps += strength * direction */
static void add_direction(const float *direction, double strength, int64_t pixels, float *out)
{
    float scale = (float)strength;
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < pixels; p++)
        for (int c = 0; c < IMAGE_CHANNELS; c++)
            out[p * MODEL_CHANNELS + c] += scale * direction[p * IMAGE_CHANNELS + c];
}

/* out (N,H,W,6): the start becomes the guided answer. */
static void combine(GuidedDenoiser *d, const GuidanceStep *s, float *out)
{
    const Guidance *g = &d->guidance;
    int64_t pixels = s->height * s->width;
    bool moved = false;
    memcpy(out, s->start, (size_t)(s->n * pixels * MODEL_CHANNELS) * sizeof *out);
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        const GuidanceMode *mode = guidance_mode((GuidanceModeId)i);
        double strength = guidance_strength_at(g, (GuidanceModeId)i, &s->level);
        if (!mode->direction || strength == 0 || (i == GUIDANCE_CFG && s->start == s->uncond)) continue;
        mode->direction(s, d->direction);
        if (g->apg.on) guidance_project(&g->apg, &s->level, s->x_t, s->start, s->n, pixels, d->direction, d->running[i]);
        add_direction(d->direction, strength, s->n * pixels, out);
        moved = true;
    }
    if (moved && g->rescale > 0) guidance_rescale(s->start, g->rescale, s->n, pixels, out);
    d->shifted = guidance_cfgpp_at(g, &s->level);
    if (d->shifted) guidance_cfgpp_shift(&s->level, s->uncond, out, s->n, pixels, d->shift);
}

static void record(GuidedDenoiser *d, const GuidanceStep *s, const float *guided)
{
    if (!d->telemetry || d->recorded) return;
    memcpy(d->x_t, s->x_t, (size_t)(s->n * s->height * s->width * IMAGE_CHANNELS) * sizeof *d->x_t);
    d->level = s->level;
    telemetry_clear(d->telemetry, s->n);
    for (int64_t row = 0; row < s->n; row++)
        for (int i = 0; i < GUIDANCE_MODES; i++)
            d->telemetry[row].scale[i] = guidance_scale_at(&d->guidance, (GuidanceModeId)i, &s->level);
    telemetry_measure(s, guided, d->telemetry);
}

static Status predict(void *ctx, const float *x_t, const NoiseLevel *level, float *out)
{
    GuidedDenoiser *d = ctx;
    GuidanceAsks asks = guidance_asks(&d->guidance, level);
    GuidanceStep s = {.level = *level, .n = d->n, .height = d->height, .width = d->width, .x_t = x_t};
    bool several = guidance_answers(asks) > 1;
    float *answers = several ? d->answers : out;
    assert(answers);
    d->shifted = false;
    d->rows_run += guidance_rows(asks, d->n);
    TRY(d->model(d->ctx, x_t, level, asks, answers));
    split_answers(answers, d->n * d->height * d->width * MODEL_CHANNELS, asks, &s);
    if (several) combine(d, &s, out);
    record(d, &s, out);
    return STATUS_OK;
}

/* No guidance, or none that mixes answers. */
static Status predict_eps(void *ctx, const float *x_t, const NoiseLevel *level, float *eps)
{
    GuidedDenoiser *d = ctx;
    GuidanceAsks asks = guidance_asks(&d->guidance, level);
    d->shifted = false;
    d->rows_run += guidance_rows(asks, d->n);
    return d->eps(d->ctx, x_t, level, asks, eps);
}

static bool has_gradient(void *ctx, const NoiseLevel *level)
{
    const GuidedDenoiser *d = ctx;
    return guidance_pulls(&d->guidance, level);
}

static Status gradient(void *ctx, const float *x_t, const NoiseLevel *level, float *grad)
{
    GuidedDenoiser *d = ctx;
    GuidanceStep s = {.level = *level, .n = d->n, .height = d->height, .width = d->width, .x_t = x_t};
    int64_t pixels = d->height * d->width, size = d->n * pixels * IMAGE_CHANNELS;
    memset(grad, 0, (size_t)size * sizeof *grad);
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        const GuidanceMode *mode = guidance_mode((GuidanceModeId)i);
        float strength = (float)guidance_strength_at(&d->guidance, (GuidanceModeId)i, level);
        if (!mode->gradient || strength == 0) continue;
        assert(d->guides[i]);
        d->gradient_rows_run += d->n;
        TRY(mode->gradient(d->guides[i], &s, d->direction, d->score));
        for (int64_t j = 0; j < size; j++) grad[j] += strength * d->direction[j];
        if (d->telemetry && !d->recorded)
            telemetry_measure_gradient(d->direction, d->score, d->n, pixels, i, d->telemetry);
    }
    return STATUS_OK;
}

static Status denoised(void *ctx, const NoiseLevel *level, float *x_0)
{
    GuidedDenoiser *d = ctx;
    int64_t pixels = d->height * d->width;
    (void)level;
    if (d->telemetry && !d->recorded) telemetry_measure_x_0(x_0, d->n, pixels, d->telemetry);
    if (d->guidance.threshold == GUIDANCE_THRESHOLD_DYNAMIC)
        guidance_threshold(d->guidance.percentile, d->n, pixels, x_0, d->direction);
    return STATUS_OK;
}

static Status renoise(void *ctx, const NoiseLevel *level, float *x)
{
    GuidedDenoiser *d = ctx;
    int64_t size = d->n * d->height * d->width * IMAGE_CHANNELS;
    (void)level;
    d->recorded = true; /* the last that a sampler asks for at an evaluation */
    for (int64_t i = 0; d->shifted && i < size; i++) x[i] += d->shift[i];
    return STATUS_OK;
}

/* --- hooks --- */

void guided_denoiser_eps(GuidedDenoiser *d, GuidedModelFn eps)
{
    d->eps = eps;
}

Denoiser guided_denoiser(GuidedDenoiser *d)
{
    const Guidance *g = &d->guidance;
    Denoiser out = {.predict = predict, .predict_ctx = d};
    if (d->eps && guidance_most_answers(g) == 1 && !d->telemetry) out.predict_eps = predict_eps;
    if (any_acts(g, true)) {
        out.gradient = gradient;
        out.has_gradient = has_gradient;
        out.gradient_ctx = d;
    }
    if (d->telemetry || g->threshold == GUIDANCE_THRESHOLD_DYNAMIC) {
        out.denoised = denoised;
        out.denoised_ctx = d;
    }
    if (d->telemetry || g->cfgpp) {
        out.renoise = renoise;
        out.renoise_ctx = d;
    }
    return out;
}

Status guided_denoiser_record(GuidedDenoiser *d)
{
    d->telemetry = calloc((size_t)d->n, sizeof *d->telemetry);
    bool ok = d->telemetry && alloc(&d->x_t, d->n * d->height * d->width * IMAGE_CHANNELS);
    return ok ? STATUS_OK : out_of_memory(d);
}

void guided_denoiser_next(GuidedDenoiser *d)
{
    d->recorded = false;
}
