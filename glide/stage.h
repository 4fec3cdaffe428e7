/* One stage of the cascade, the base model or the upsampler: prompts (and low-resolution pictures) -> pictures. */
#ifndef GLIDE_STAGE_H
#define GLIDE_STAGE_H

#include "common/sampler.h"
#include "glide/trace.h"
#include "guidance/classifier.h"
#include "guidance/clip.h"
#include "guidance/guidance.h"
#include "text_transformer/clip_bpe.h"
#include "text_transformer/text_unet.h"

typedef struct StageStats {
    double flops;      /* of the models, tape_flops() */
    size_t peak_bytes; /* of activations, the most so far */
} StageStats;

/* Models that guide. Borrowed; NULL where the mode does not act. */
typedef struct StageGuides {
    const TextUNet *weaker; /* autoguidance: of the same kind, side and process as the model */
    const Classifier *classifier;
    const Clip *clip;
    const ClipBpe *clip_bpe; /* its tokenizer */
} StageGuides;

/* For those that look on at every step or share steps between calls. With `save` and `resume` the rows of the call run in one batch
 * (max_rows 0), and guidance must have no momentum (APG's), which a SamplerState does not hold. */
typedef struct StageWatch {
    /* After each step, `done` of them from the process's first one; a failure ends the call and is forwarded. May be NULL */
    Status (*step)(void *ctx, const GuidedDenoiser *guided, const SamplerProgress *progress, int done);
    void *ctx;
    SamplerState *const *save; /* (save_count) each is made when so many steps are taken as its `done` says */
    int save_count;
    const SamplerState *resume; /* the call goes on from here instead of from noise; NULL: from noise */
} StageWatch;

typedef struct StageOptions {
    const char *sampler;     /* "ddpm", "ddim", ... */
    const char *steps;       /* respacing of the model's process: "50", "fast27", ... */
    double eta;              /* ddim, euler_ancestral; NAN: 0 and 1 */
    float temperature;       /* x_T is this times standard normal noise */
    Guidance guidance;       /* its last_timestep is filled in */
    StageGuides guides;
    const char *negative_prompt; /* takes the empty caption's place in classifier-free guidance; NULL: none */
    DType precision;         /* of activations */
    uint32_t stage;          /* 0 base, 1 upsampler: keeps their noise apart */
    double strength;         /* with a picture to start from: share of the process that is taken, 0 to 1 */
    int jump, repeats;       /* with known pixels and a model not trained for masks: SamplerKnown's */
    bool close_seam;         /* with known pixels: at every step what is painted is shifted to the colours around it (seam.h) */
    int colour_cells;        /* upsamplers: a side; the mean colours of cells stay those of the picture to enlarge. 0: off */
    int colour_cell;         /* the same in pixels a side, for pictures of any size: takes colour_cells' place. 0: not given */
    double fidelity;         /* upsamplers: share of what the expectation, reduced, lacks of the picture to enlarge that is added to it
                                at every step. 0: none */
    double noise_level;      /* upsamplers that are told levels: standard deviation of noise that the picture to enlarge gets */
    int64_t tile, overlap;   /* windows that the model is shown (glide/tiles.h); 0: whole pictures. Guides see these only */
    int max_rows;            /* pictures per batch; 0: all at once */
    SamplerProgressFn progress; /* may be NULL; done counts steps of the current batch */
    void *progress_ctx;
    Trace *trace;               /* receives what guidance did and x_t and x_0 at every step; may be NULL */
    TraceRows trace_rows;       /* where in it the call's first picture goes */
    const StageWatch *watch;    /* may be NULL */
    StageStats *stats;          /* of a call are added to it; may be NULL */
    Profile *profile;           /* of the model that is sampled (not of guides); may be NULL */
} StageOptions;

void stage_options_defaults(StageOptions *o);

typedef struct StageInput {
    int64_t n, side;             /* pictures, and their size: their height, where `width` is given */
    int64_t width;               /* 0: they are square */
    const char *const *prompts;  /* (n) UTF-8; NULL or "": no text */
    const int32_t *labels;       /* (n) for class-conditional models, and for the classifier that guides; else NULL */
    const SamplerRow *rows;      /* (n) seed and number of each */
    const float *low_res;        /* (n,low_side,low_width,3), upsamplers only */
    int64_t low_side, low_width; /* low_width 0: square */
    const float *start;          /* (side,side,3): the picture they all start from instead of noise; NULL: none */
    const float *known, *mask;   /* (side,side,3) and (side,side): pixels that are to stay where the mask is 1; NULL: none */
} StageInput;

static inline int64_t stage_width(const StageInput *in)
{
    return in->width ? in->width : in->side;
}

static inline int64_t stage_low_width(const StageInput *in)
{
    return in->low_width ? in->low_width : in->low_side;
}

/* How many of a process's steps are taken from a picture to start from: those whose timestep is below `strength` of the original
 * process, so that as much is drawn anew whatever the spacing of the steps. */
int stage_steps_from(const StageOptions *o, const Diffusion *d);

/* x (n,side,side,3) in about [-1,1]. Each picture depends only on its own prompt, row and low_res, and on what all share. */
Status stage_sample(Kernels *kernels, const TextUNet *m, const StageOptions *o, const StageInput *in, float *x);

#endif
