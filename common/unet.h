/* The U-Net shared by the base model, the upsampler and guided-diffusion's models: one description, many configurations.
 *
 *     UNet *u;
 *     TRY(unet_new(&config, &params, &u));                   registers the parameters under PyTorch's names
 *     UNetCondition c = unet_condition(t, u, text, pooled);  once per prompt
 *     Tensor *out = unet_forward(t, u, x, timesteps, &c);    once per step: (N,H,W,in) -> (N,H,W,out), f32
 */
#ifndef GLIDE_COMMON_UNET_H
#define GLIDE_COMMON_UNET_H

#include "common/unet_blocks.h"

enum { UNET_MAX_LEVELS = 8, UNET_MAX_BLOCKS = 64 };

typedef struct UNetConfig {
    int image_size;          /* pixels per side it was made for */
    int in_channels;         /* of the first convolution: 3, plus 3 for a low-resolution picture, plus 4 for inpainting */
    int out_channels;        /* 3, or 6 with learned variance */
    int channels;            /* GLIDE: num_channels; guided-diffusion: model_channels */
    int levels;
    float mult[UNET_MAX_LEVELS]; /* channels of a level = mult * channels */
    int res_blocks;          /* per level */
    int attention_count;
    int attention_ds[UNET_MAX_LEVELS]; /* attention where image_size / current size is one of these */
    int head_channels;       /* width of a head, or -1: `heads` heads everywhere */
    int heads, heads_upsample; /* heads_upsample -1: the same as heads */
    bool scale_shift_norm;
    bool resblock_updown;    /* resample inside residual blocks; else by (strided) convolutions */
    bool split_first;        /* guided-diffusion: use_new_attention_order */
    int num_classes;         /* 0: not class-conditional */
    int encoder_channels;    /* width of the text features; 0: no text */
    float dropout;
} UNetConfig;

void unet_config_defaults(UNetConfig *c); /* GLIDE's base model, 385 M parameters */

typedef struct UNet UNet;

/* Registers the parameters in `params`, which must outlive the U-Net. STATUS_BAD_INPUT names the field that is wrong. */
Status unet_new(const UNetConfig *config, ParamSet *params, UNet **out);
void unet_free(UNet *u); /* NULL is fine */
/* Training: keep only the blocks' inputs and run each block again (less memory, a third more work). Off at first. */
void unet_set_checkpoint(UNet *u, bool on);

/* What does not depend on the step. Tensors of the scope that was open when it was made. */
typedef struct UNetCondition {
    Tensor *emb;                      /* (N,4*channels), added to the time embedding, or NULL */
    Tensor *kv[UNET_MAX_BLOCKS];      /* text keys and values of each attention block, in order */
} UNetCondition;

/* text (N,S,encoder_channels) and pooled (N,4*channels), both NULL without text; labels (N) or NULL when not class-conditional. */
UNetCondition unet_condition(Tape *t, const UNet *u, Tensor *text, Tensor *pooled, const int32_t *labels, int64_t N);

/* Called with the result of each block ("time_embed", "input_blocks.0", ..., "middle_block", "output_blocks.0", ..., "out"). */
typedef struct UNetTrace {
    void (*block)(void *ctx, const char *name, const Tensor *x);
    void *ctx;
} UNetTrace;

/* x (N,H,W,in_channels), timesteps (N) in steps of the original process -> (N,H,W,out_channels), f32. trace may be NULL. */
Tensor *unet_forward(Tape *t, const UNet *u, Tensor *x, const float *timesteps, const UNetCondition *condition,
                     const UNetTrace *trace);

#endif
