/* The cascade: prompts (or labels, for guided-diffusion's models) -> 64x64 pictures by the base model -> rounded to 8 bits, as
 * GLIDE's notebook does -> 256x256 by the upsampler, which is told the prompt, too. Sides are those that the models'
 * configurations say.
 *
 *     CascadeOptions o;
 *     cascade_options_defaults(&o);
 *     TRY(cascade_sample(&(Cascade){kernels, base, upsampler}, &o, &(CascadeInput){n, prompts, rows}, &hooks));
 *
 * Each picture depends on its own prompt and row only. Pictures are made a few at a time and handed out one by one, so
 * memory does not grow with their number. */
#ifndef GLIDE_CASCADE_H
#define GLIDE_CASCADE_H

#include "common/image.h"
#include "glide/stage.h"

/* The defaults, which the command line's help texts name too: CASCADE_TEXT(CASCADE_GUIDANCE) is "3". */
#define CASCADE_SAMPLER         "euler_ancestral"
#define CASCADE_STEPS           "logsnr24" /* of samplers that need few; for the other ones: */
#define CASCADE_DDPM_STEPS      "100"
#define CASCADE_GUIDANCE        3
#define CASCADE_UPSAMPLER       "ddim" /* in so few steps the second order leaves grain on what is not flat: SPEED.md */
#define CASCADE_UPSAMPLER_STEPS "logsnr8"
#define CASCADE_INPAINT_SAMPLER         "ddpm" /* painting on goes back to more noise again and again, with fresh noise */
#define CASCADE_INPAINT_UPSAMPLER_STEPS "6" /* more leave grain in skies, which the photo around does not have */
#define CASCADE_INPAINT_UPSAMPLER       "ddim"
#define CASCADE_UPSAMPLE_TEMP   0.997
#define CASCADE_COLOUR_CELLS    16
#define CASCADE_NOISE_LEVEL     0.04 /* of upsamplers that are told: hides what the base model's pictures have of their own */
#define CASCADE_STRENGTH        0.6
#define CASCADE_FILL_STRENGTH   0.6 /* of painting without a prompt: from the colours around */
#define CASCADE_JUMP            10
#define CASCADE_REPEATS         4
#define CASCADE_TEXT(value)     CASCADE_TEXT_(value)
#define CASCADE_TEXT_(value)    #value

enum {
    CASCADE_STAGE_BASE = 0, /* keys of the stages' noise */
    CASCADE_STAGE_UPSAMPLER = 1,
    CASCADE_BATCH = 4 /* pictures that the base model makes at once */
};

/* Borrowed. upsampler NULL: stop after the base model; base NULL: only cascade_upsample(). */
typedef struct Cascade {
    Kernels *kernels;
    const TextUNet *base, *upsampler;
} Cascade;

typedef struct CascadeOptions {
    StageOptions base, upsampler; /* sampler, steps, eta, temperature, guidance, precision, trace; the rest is filled in */
} CascadeOptions;

void cascade_options_defaults(CascadeOptions *o);
const char *cascade_default_steps(const char *sampler); /* of the base model */

/* A picture that all start from (StageOptions.strength of the way is drawn anew), or whose masked pixels stay. In the sizes of
 * both stages; `large` may be NULL without an upsampler. */
typedef struct CascadeGiven {
    const float *small, *large;           /* (side,side,3) */
    const float *small_mask, *large_mask; /* (side,side) 1 where the picture stays; NULL: it is a start */
} CascadeGiven;

typedef struct CascadeInput {
    int64_t n;
    const char *const *prompts; /* (n) UTF-8; "" or NULL: no caption */
    const int32_t *labels;      /* (n) for class-conditional models and for classifiers that guide, else NULL */
    const SamplerRow *rows;     /* (n) */
    const CascadeGiven *given;  /* NULL: nothing */
} CascadeInput;

typedef struct CascadeProgress {
    bool upsampling;
    int step, steps;      /* of this stage and the pictures in work */
    int64_t first, count; /* the pictures in work */
    double fraction;      /* of the whole call's work that is done, 0 to 1, by the models' estimated costs */
    int64_t side, height; /* side: their width */
    int64_t shown_width, shown_height; /* the upper left part of them that is the picture, where they are padded; 0: all */
    const float *x_0;     /* (count,height,side,3) what the model expects so far; NULL: nothing to show */
} CascadeProgress;

typedef struct CascadeHooks {
    int (*progress)(void *ctx, const CascadeProgress *progress); /* nonzero stops with STATUS_INTERRUPTED; may be NULL */
    Status (*finished)(void *ctx, int64_t index, Image *picture); /* takes the picture over and leaves it empty */
    void *ctx;
} CascadeHooks;

/* STATUS_BAD_INPUT for options that the models cannot do; STATUS_INTERRUPTED; what finished() returned. */
Status cascade_sample(const Cascade *c, const CascadeOptions *o, const CascadeInput *in, const CascadeHooks *hooks);

/* `small` is any picture; resized to the base model's side (64, or a quarter of the upsampler's). finished() gets index 0.
 * `label` is for class-conditional upsamplers and a classifier that guides, else NULL. */
Status cascade_upsample(const Cascade *c, const CascadeOptions *o, const Image *small, const char *prompt,
                        const int32_t *label, const SamplerRow *row, const CascadeHooks *hooks);

/* How many steps a stage takes; STATUS_BAD_INPUT with `stage` in front when it cannot. */
Status cascade_check_steps(const TextUNet *m, const StageOptions *o, const char *stage, int *steps);

/* Whether a model can be a stage of the cascade. `path` is for the message. */
Status cascade_check_model(const TextUNet *m, const char *path);

#endif
