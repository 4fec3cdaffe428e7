/* Private to train_unet*.c: the base model or the upsampler in training. */
#ifndef GLIDE_TRAIN_UNET_H
#define GLIDE_TRAIN_UNET_H

#include "glide/trainer_state.h"
#include "text_transformer/text_unet_train.h"

typedef struct UNetTraining {
    TextUNet *model;
    Diffusion diffusion;
    Batches *batches;
    Batches *held_out, *held_out_silent; /* NULL: the data set has no such pictures; silent: with empty captions */
    TrainWorkspace *workspace;
} UNetTraining;

Status train_unet_samples(Trainer *tr); /* OUT.samples.png with the weights that are in the parameters */

#endif
