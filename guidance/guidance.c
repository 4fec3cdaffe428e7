#include "guidance/guidance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void guidance_defaults(Guidance *g)
{
    *g = (Guidance){.scale = 1};
}

Status guidance_check(const Guidance *g)
{
    if (isfinite(g->scale)) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "guidance scale: expected a finite number, found %g", g->scale);
}

double guidance_scale_at(const Guidance *g, const NoiseLevel *level)
{
    (void)level;
    return g->scale;
}

GuidanceAsks guidance_asks(const Guidance *g, const NoiseLevel *level)
{
    double scale = guidance_scale_at(g, level);
    return scale == 1 ? GUIDANCE_CONDITIONAL : scale == 0 ? GUIDANCE_UNCONDITIONAL : GUIDANCE_BOTH;
}

int64_t guidance_rows(GuidanceAsks asks, int64_t n)
{
    return asks == GUIDANCE_BOTH ? 2 * n : n;
}

static GuidanceTelemetry measure(const float *cond, const float *uncond, int64_t pixels, double scale)
{
    double cond2 = 0, uncond2 = 0, guided2 = 0, difference2 = 0, dot = 0;
    for (int64_t p = 0; p < pixels; p++) {
        for (int c = 0; c < IMAGE_CHANNELS; c++) {
            double a = cond[p * MODEL_CHANNELS + c], b = uncond[p * MODEL_CHANNELS + c], guided = b + scale * (a - b);
            cond2 += a * a;
            uncond2 += b * b;
            guided2 += guided * guided;
            difference2 += (a - b) * (a - b);
            dot += a * b;
        }
    }
    double size = (double)(pixels * IMAGE_CHANNELS), product = sqrt(cond2) * sqrt(uncond2);
    return (GuidanceTelemetry){
        .cond_norm = sqrt(cond2 / size),
        .uncond_norm = sqrt(uncond2 / size),
        .guided_norm = sqrt(guided2 / size),
        .difference_norm = sqrt(difference2 / size),
        .cosine = product > 0 ? dot / product : 0,
    };
}

void guidance_combine(const Guidance *g, const NoiseLevel *level, const float *out, int64_t n, int64_t pixels,
                      float *guided, GuidanceTelemetry *telemetry)
{
    double scale = guidance_scale_at(g, level);
    int64_t row_size = pixels * MODEL_CHANNELS;
#pragma omp parallel for schedule(static) if (telemetry)
    for (int64_t row = 0; row < (telemetry ? n : 0); row++) /* first: `guided` may be `out` */
        telemetry[row] = measure(out + row * row_size, out + (n + row) * row_size, pixels, scale);
    float s = (float)scale;
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < n * pixels; p++) {
        const float *cond = out + p * MODEL_CHANNELS, *uncond = out + n * row_size + p * MODEL_CHANNELS;
        float *to = guided + p * MODEL_CHANNELS;
        for (int c = 0; c < MODEL_CHANNELS; c++)
            to[c] = c < IMAGE_CHANNELS ? uncond[c] + s * (cond[c] - uncond[c]) : cond[c];
    }
}

/* --- a model with guidance inside --- */

Status guided_denoiser_init(GuidedDenoiser *d, const Guidance *g, GuidedModelFn model, void *ctx, int64_t n,
                            int64_t height, int64_t width)
{
    *d = (GuidedDenoiser){.guidance = *g, .model = model, .ctx = ctx, .n = n};
    TRY(guidance_check(g));
    const int64_t most = INT64_MAX / (2 * MODEL_CHANNELS * (int64_t)sizeof *d->out);
    if (n < 1 || height < 1 || width < 1 || height > most / width || n > most / (height * width))
        return status_fail(STATUS_BAD_INPUT, "guidance: no %lld pictures of %lld x %lld pixels", (long long)n,
                           (long long)height, (long long)width);
    d->pixels = height * width;
    if (g->scale == 0 || g->scale == 1) return STATUS_OK;
    d->out = malloc((size_t)(2 * n * d->pixels) * MODEL_CHANNELS * sizeof *d->out);
    if (d->out) return STATUS_OK;
    return status_fail(STATUS_NO_MEMORY, "out of memory for guiding %lld pictures of %lld x %lld pixels", (long long)n,
                       (long long)height, (long long)width);
}

void guided_denoiser_release(GuidedDenoiser *d)
{
    free(d->out);
    memset(d, 0, sizeof *d);
}

static Status predict(void *ctx, const float *x_t, const NoiseLevel *level, float *out)
{
    GuidedDenoiser *d = ctx;
    GuidanceAsks asks = guidance_asks(&d->guidance, level);
    if (asks != GUIDANCE_BOTH) return d->model(d->ctx, x_t, level, asks, out);
    TRY(d->model(d->ctx, x_t, level, asks, d->out));
    guidance_combine(&d->guidance, level, d->out, d->n, d->pixels, out, d->telemetry);
    return STATUS_OK;
}

Denoiser guided_denoiser(GuidedDenoiser *d)
{
    return (Denoiser){.predict = predict, .predict_ctx = d};
}
