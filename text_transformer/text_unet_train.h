/* One training step's forward and backward pass of a text-conditional U-Net: noise the pictures, predict, hybrid loss with learned
 * variance (arXiv 2102.09672), gradients accumulated in the parameters. The optimiser's step is the caller's. */
#ifndef GLIDE_TEXT_UNET_TRAIN_H
#define GLIDE_TEXT_UNET_TRAIN_H

#include "common/diffusion.h"
#include "text_transformer/text_unet.h"

typedef struct TrainBatch {
    int64_t N, side;
    const float *x_start;    /* (N,side,side,3) in [-1,1] */
    const float *low_res;    /* (N,low_side,low_side,3), upsamplers only, else NULL */
    int64_t low_side;
    const float *levels;     /* (N) of the noise in low_res, for models that are told it; NULL: there is none */
    const float *known;      /* (N,side,side) 1 where x_start is shown to an inpainting model; NULL: nowhere */
    const int32_t *tokens;   /* (N,ctx) */
    const uint8_t *mask;     /* (N,ctx) */
    uint64_t seed;           /* timesteps and noise are drawn from (seed, step, first_row + row) */
    uint32_t step, first_row;
    int64_t total;           /* rows of the whole step: each row's gradient weighs 1/total; 0: N */
    double noisy_steps;      /* steps are drawn with a density that grows as t to this power; 0: all alike */
    const int32_t *t;        /* (N) steps of the process, and noise (N,side,side,3): given instead of drawn; or NULL */
    const float *noise;
} TrainBatch;

typedef struct TrainLoss {
    float *mse, *vb; /* (N) per row; may be NULL */
    double mean_mse, mean_vb;
} TrainLoss;

/* Buffers that persist between steps. */
typedef struct TrainWorkspace TrainWorkspace;
TrainWorkspace *train_workspace_new(void);
void train_workspace_free(TrainWorkspace *w); /* NULL is fine */

/* The loss and, in the parameters' gradients (which must be allocated), its derivatives. The tape is reset first. */
Status text_unet_train_step(Tape *t, TextUNet *m, const Diffusion *d, const DiffusionLoss *options, const TrainBatch *batch,
                            TrainWorkspace *workspace, TrainLoss *loss);
/* The loss alone, for pictures that are held out. */
Status text_unet_loss(Tape *t, TextUNet *m, const Diffusion *d, const DiffusionLoss *options, const TrainBatch *batch,
                      TrainWorkspace *workspace, TrainLoss *loss);

#endif
