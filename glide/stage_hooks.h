/* What a stage does to the model's expectation of the picture at every step, before it is clamped (Denoiser's denoised()):
 * an upsampler's colours are drawn to those of the picture it enlarges, and known pixels are put back. What guidance does there
 * (dynamic thresholding) comes first. */
#ifndef GLIDE_STAGE_HOOKS_H
#define GLIDE_STAGE_HOOKS_H

#include "glide/stage.h"

typedef struct StageHooks {
    const StageInput *in;
    int64_t cells; /* a side; 0: colours are left alone */
    float *wanted; /* (n,cells,cells,3): mean colours of the low-resolution pictures */
    float *error;  /* (n,cells,cells,3): what the expectation lacks of them */
    Status (*before)(void *ctx, const NoiseLevel *level, float *x_0); /* the denoiser's own denoised(); NULL: none */
    void *before_ctx;
} StageHooks;

/* `in` is borrowed. Cells that do not divide both sides evenly are none. STATUS_NO_MEMORY. */
Status stage_hooks_init(StageHooks *h, const StageOptions *o, const StageInput *in);
void stage_hooks_release(StageHooks *h);
void stage_hooks_install(StageHooks *h, Denoiser *denoiser); /* where there is anything to do */

#endif
