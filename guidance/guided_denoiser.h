/* A model with guidance inside, as samplers want it.
 *
 *     GuidedDenoiser guided;
 *     TRY(guided_denoiser_init(&guided, &guidance, run_model, model, N, H, W));
 *     guided_denoiser_guide(&guided, GUIDANCE_CLASSIFIER, &guide);     for modes by gradient
 *     Denoiser denoiser = guided_denoiser(&guided);                    for sampler_init()
 *     guided_denoiser_release(&guided);
 *
 * It serves one run of a sampler: APG's momentum lives in it. */
#ifndef GLIDE_GUIDANCE_GUIDED_DENOISER_H
#define GLIDE_GUIDANCE_GUIDED_DENOISER_H

#include "common/sampler.h"
#include "guidance/guidance.h"
#include "guidance/telemetry.h"

/* Runs models on x_t (N,H,W,3): the N pictures once for each answer asked for, in the order of their bits; out (rows,H,W,6),
 * rows = guidance_rows(asks, N). */
typedef Status (*GuidedModelFn)(void *ctx, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, float *out);

typedef struct GuidedDenoiser {
    Guidance guidance;
    GuidedModelFn model;
    GuidedModelFn eps; /* as model, but without variance values: out (rows,H,W,3), where guidance has nothing to mix and nothing is
                          recorded; NULL: it is the model that is asked */
    void *ctx;
    void *guides[GUIDANCE_MODES]; /* borrowed; of modes by gradient */
    int64_t n, height, width;
    float *answers;   /* (rows,H,W,6), as many as any step asks for; NULL when it is never more than one */
    float *direction; /* (N,H,W,3), and scratch of what comes after; NULL where there is no such thing */
    float *running[GUIDANCE_MODES]; /* (N,H,W,3) of modes by difference, with APG's momentum */
    float *shift;     /* (N,H,W,3), with CFG++ */
    bool shifted;     /* at this level */
    float *score;     /* (N) */
    /* recording; NULL: off */
    GuidanceTelemetry *telemetry; /* (N) */
    float *x_t;                   /* (N,H,W,3) */
    NoiseLevel level;
    bool recorded; /* the step in work; further evaluations of it are not */
    int64_t rows_run; /* rows of models evaluated so far */
    int64_t gradient_rows_run; /* rows of guides, with their gradient */
} GuidedDenoiser;

/* STATUS_BAD_INPUT, STATUS_NO_MEMORY; *d is then released already. */
Status guided_denoiser_init(GuidedDenoiser *d, const Guidance *g, GuidedModelFn model, void *ctx, int64_t n,
                            int64_t height, int64_t width);
void guided_denoiser_release(GuidedDenoiser *d);
/* What the mode's gradient() gets. A mode by gradient that acts must have one. */
void guided_denoiser_guide(GuidedDenoiser *d, GuidanceModeId id, void *guide);

/* For large pictures, before guided_denoiser(): sets `eps`. */
void guided_denoiser_eps(GuidedDenoiser *d, GuidedModelFn eps);

/* Its face towards samplers; d must outlive it. Hooks that guidance has no use for are unset. */
Denoiser guided_denoiser(GuidedDenoiser *d);

/* Keeps telemetry, x_t and level of each step's first evaluation, until guided_denoiser_next() says that the next step begins.
 * Before guided_denoiser(). STATUS_NO_MEMORY. */
Status guided_denoiser_record(GuidedDenoiser *d);
void guided_denoiser_next(GuidedDenoiser *d);

#endif
