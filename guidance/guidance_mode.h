/* Modes of guidance: what pulls a prediction somewhere. A new mode is one file in guidance/, mode_NAME.c with its entry, and one
 * line in the table below; its settings come with it (Guidance.terms, guidance.h), and so do its columns in a trace.
 *
 * There are two kinds.
 *   By difference: the model's answer is moved away from another answer, eps += strength * direction, where strength is the
 *     scale minus the neutral one and direction is a difference of answers, which guidance_asks() sees to having. Modifiers
 *     (modifiers.h) act on these.
 *   By gradient: log p gets a gradient with respect to x_t, which the sampler adds in its own way: the mean of a DDPM step moves by
 *     variance * gradient (arXiv 2105.05233, algorithm 1); DDIM and the solvers of ODEs see eps - sigma * gradient (its algorithm
 *     2). */
#ifndef GLIDE_GUIDANCE_GUIDANCE_MODE_H
#define GLIDE_GUIDANCE_GUIDANCE_MODE_H

#include "common/diffusion.h"

/* The table: X(id, name). */
#define GUIDANCE_MODE_LIST(X)        \
    X(CFG, cfg)                      \
    X(AUTOGUIDANCE, autoguidance)    \
    X(CLASSIFIER, classifier)        \
    X(CLIP, clip)

#define GUIDANCE_MODE_ID(id, name) GUIDANCE_##id,
typedef enum { GUIDANCE_MODE_LIST(GUIDANCE_MODE_ID) GUIDANCE_MODES } GuidanceModeId;

/* Answers of models at a step, as bits. Rows of an evaluation come in this order, N for each that is asked for. */
typedef enum {
    GUIDANCE_CONDITIONAL = 1,   /* of the model, under the prompt */
    GUIDANCE_UNCONDITIONAL = 2, /* of the model, without or under the negative prompt */
    GUIDANCE_BOTH = 3,
    GUIDANCE_WEAKER = 4 /* of a weaker model, told the prompt if CONDITIONAL is asked for too, else what UNCONDITIONAL is told */
} GuidanceAsks;

/* A step, as modes see it. Answers (N,H,W,6) are NULL where they were not asked for. */
typedef struct GuidanceStep {
    NoiseLevel level;
    int64_t n, height, width;
    const float *x_t;                    /* (N,H,W,3) */
    const float *cond, *uncond, *weaker;
    const float *start;                  /* where guidance starts from: cond, or uncond where classifier-free guidance is 0 */
} GuidanceStep;

typedef struct GuidanceMode {
    const char *name;  /* in traces and messages */
    const char *about; /* one line */
    double neutral;    /* the scale that changes nothing */
    /* by difference: answers it needs besides the start, and out (N,H,W,3) */
    unsigned needs;
    void (*direction)(const GuidanceStep *s, float *out);
    /* by gradient: `guide` was given with guided_denoiser_guide(); gradient (N,H,W,3), score (N), the log p it is of */
    Status (*gradient)(void *guide, const GuidanceStep *s, float *gradient, float *score);
} GuidanceMode;

#define GUIDANCE_MODE_ENTRY(id, name) const GuidanceMode *guidance_mode_##name(void);
GUIDANCE_MODE_LIST(GUIDANCE_MODE_ENTRY)

const GuidanceMode *guidance_mode(GuidanceModeId id);

/* --- for modes --- */
/* out (N,H,W,3) = eps of a - eps of b, both (N,H,W,6). */
void guidance_difference(const GuidanceStep *s, const float *a, const float *b, float *out);

#endif
