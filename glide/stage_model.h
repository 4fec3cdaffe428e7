/* A model of a stage told what it is to draw: prompts, labels, the picture to enlarge, what is known. Guidance asks it for answers
 * with and without the prompts. Texts are encoded once, when they are first needed, and used at every step. */
#ifndef GLIDE_STAGE_MODEL_H
#define GLIDE_STAGE_MODEL_H

#include "glide/stage.h"
#include "glide/tiles.h"

typedef struct StageModel {
    Tape *tape;
    const TextUNet *model; /* borrowed, as all that StageInput has */
    const StageInput *in;
    int64_t n;
    int32_t *labels; /* (2n) of class-conditional models; the same in both halves, as they know no other way */
    int32_t *tokens; /* (2n,ctx): the prompts, then negative prompts or empty captions */
    uint8_t *mask;
    float *timesteps; /* (2n) */
    float *levels;    /* (2n) noise in the picture to enlarge */
    float *low_res;   /* with that noise; NULL: in->low_res is used */
    Tiles tiles;
    bool tiled;       /* more than one window */
    UNetCondition conditions[4]; /* by GuidanceAsks up to GUIDANCE_BOTH */
    bool ready[4];
} StageModel;

/* Of `o`: precision, negative prompt, noise level, windows. STATUS_BAD_INPUT for what the model does not take, STATUS_NO_MEMORY; *m
 * needs stage_model_release() even then. */
Status stage_model_init(StageModel *m, Kernels *kernels, const TextUNet *model, const StageOptions *o, const StageInput *in);
void stage_model_release(StageModel *m); /* fine on a zeroed one */

/* asks: GUIDANCE_CONDITIONAL, GUIDANCE_UNCONDITIONAL or GUIDANCE_BOTH; out (rows,side,width,channels): all 6 that the model says, or
 * eps alone, 3. */
Status stage_model_run(StageModel *m, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, int channels, float *out);

#endif
