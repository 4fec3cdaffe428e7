/* The U-Net shared by the base model, the upsampler and guided-diffusion's models: one description, many configurations.
 *
 *     UNet *u;
 *     TRY(unet_new(&config, &params, &u));                   registers the parameters under PyTorch's names
 *     UNetCondition c = unet_condition(t, u, text, pooled);  once per prompt
 *     Tensor *out = unet_forward(t, u, x, timesteps, &c);    once per step: (N,H,W,in) -> (N,H,W,out), f32
 */
#ifndef GLIDE_COMMON_UNET_H
#define GLIDE_COMMON_UNET_H

#include "common/unet_encoder.h"

typedef struct UNet UNet;

/* Registers the parameters in `params`, which must outlive the U-Net. STATUS_BAD_INPUT names the field that is wrong. */
Status unet_new(const UNetConfig *config, ParamSet *params, UNet **out);
void unet_free(UNet *u); /* NULL is fine */
/* Training: keep only the blocks' inputs and run each block again (less memory, a third more work). Off at first. */
void unet_set_checkpoint(UNet *u, bool on);

/* text (N,S,encoder_channels) and pooled (N,4*channels), both NULL without text; labels (N), or NULL when not
 * class-conditional. */
UNetCondition unet_condition(Tape *t, const UNet *u, Tensor *text, Tensor *pooled, const int32_t *labels, int64_t N);

/* x (N,H,W,in_channels), timesteps (N) in steps of the original process -> (N,H,W,out_channels), f32. trace may be NULL. x may have
 * fewer rows, of which the condition's N is a multiple: what both halves of a guided pair share is then computed once. */
Tensor *unet_forward(Tape *t, const UNet *u, Tensor *x, const float *timesteps, const UNetCondition *condition,
                     const UNetTrace *trace);

#endif
