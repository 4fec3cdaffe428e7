/* What a stage does to the model's expectation of the picture at every step, before it is clamped (Denoiser's denoised()):
 * an upsampler's colours are drawn to those of the picture it enlarges, known pixels are put back, and the seam around the others
 * is closed. What guidance does there (dynamic thresholding) comes first. */
#ifndef GLIDE_STAGE_HOOKS_H
#define GLIDE_STAGE_HOOKS_H

#include "glide/stage.h"

typedef struct StageHooks {
    const StageInput *in;
    int64_t cell;   /* pixels a side; 0: colours are left alone */
    float fidelity; /* share of the low-resolution pictures' own pixels that is put right. 0: none */
    float *wanted;  /* (n,side/cell,width/cell,3): mean colours of the low-resolution pictures */
    float *error;   /* what the expectation lacks of them, or of the low-resolution pictures */
    uint8_t *paint; /* (side,width) 1 where nothing is known; NULL: seams are left as they are */
    Status (*before)(void *ctx, const NoiseLevel *level, float *x_0); /* the denoiser's own denoised(); NULL: none */
    void *before_ctx;
} StageHooks;

/* `in` is borrowed. Cells that do not divide all sides evenly are none. STATUS_NO_MEMORY. */
Status stage_hooks_init(StageHooks *h, const StageOptions *o, const StageInput *in);
void stage_hooks_release(StageHooks *h);
/* x (n,side,width,3) += share of the bilinear surface through what its block means lack of the low-resolution pictures; error: as
 * large as these. */
void stage_match_low_res(const StageInput *in, float share, float *error, float *x);
void stage_hooks_install(StageHooks *h, Denoiser *denoiser); /* where there is anything to do */

#endif
