/* Guidance: what a model is asked at a step, and how its raw answers become the one prediction that a sampler sees.
 *
 *     Guidance g;
 *     guidance_defaults(&g);
 *     g.scale = 3;
 *     GuidedDenoiser guided;
 *     TRY(guided_denoiser_init(&guided, &g, run_model, model, N, H, W));
 *     Denoiser denoiser = guided_denoiser(&guided);    for sampler_init()
 *     guided_denoiser_release(&guided);
 *
 * Classifier-free guidance (arXiv 2207.12598, as GLIDE, arXiv 2112.10741, equation 2): only eps is guided, the variance
 * value is the conditional half's. Modes to come (gradients of a classifier or of CLIP, schedules over steps,
 * intervals) are fields of Guidance; guidance_scale_at() and guidance_asks() are where they take part. */
#ifndef GLIDE_GUIDANCE_GUIDANCE_H
#define GLIDE_GUIDANCE_GUIDANCE_H

#include "common/diffusion.h"
#include "common/sampler.h"
#include "common/status.h"

#include <stdint.h>

typedef struct Guidance {
    double scale; /* 0: unconditional, 1: conditional, above: classifier-free guidance. Default 1 */
} Guidance;

void guidance_defaults(Guidance *g);
Status guidance_check(const Guidance *g); /* STATUS_BAD_INPUT: the scale is not a finite number */

/* --- one step --- */
/* Which conditions the model is to be evaluated under. */
typedef enum { GUIDANCE_CONDITIONAL, GUIDANCE_UNCONDITIONAL, GUIDANCE_BOTH } GuidanceAsks;

double guidance_scale_at(const Guidance *g, const NoiseLevel *level);
GuidanceAsks guidance_asks(const Guidance *g, const NoiseLevel *level); /* scale 1 and 0 need one evaluation, not two */
/* 2N rows for GUIDANCE_BOTH, else N. */
int64_t guidance_rows(GuidanceAsks asks, int64_t n);

/* What guidance did to one row's eps; norms are root mean squares. */
typedef struct GuidanceTelemetry {
    double cond_norm, uncond_norm, guided_norm;
    double difference_norm; /* of cond - uncond */
    double cosine;          /* between cond and uncond; 0 where one of them is 0 */
} GuidanceTelemetry;

/* out (2N,H,W,6): conditional rows, then unconditional rows, both of the same x_t. guided (N,H,W,6) may be `out`
 * itself. eps = uncond + scale * (cond - uncond), v = cond's. telemetry (N), or NULL: not computed. */
void guidance_combine(const Guidance *g, const NoiseLevel *level, const float *out, int64_t n, int64_t pixels,
                      float *guided, GuidanceTelemetry *telemetry);

/* --- a model with guidance inside, as samplers want it --- */
/* Runs the model on x_t (N,H,W,3). GUIDANCE_BOTH: 2N rows, the N pictures under their conditions, then the same N
 * pictures without; out (rows,H,W,6). */
typedef Status (*GuidedModelFn)(void *ctx, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, float *out);

typedef struct GuidedDenoiser {
    Guidance guidance;
    GuidedModelFn model;
    void *ctx;
    int64_t n, pixels;
    float *out;                   /* (2N,H,W,6); NULL when no step asks for both */
    GuidanceTelemetry *telemetry; /* (N) of the last step that asked for both; set it to an array to have it computed */
} GuidedDenoiser;

/* Allocates `out`. STATUS_BAD_INPUT, STATUS_NO_MEMORY; *d is then released already. */
Status guided_denoiser_init(GuidedDenoiser *d, const Guidance *g, GuidedModelFn model, void *ctx, int64_t n,
                            int64_t height, int64_t width);
void guided_denoiser_release(GuidedDenoiser *d);
/* Its face towards samplers, with the other hooks unset; d must outlive it. */
Denoiser guided_denoiser(GuidedDenoiser *d);

#endif
