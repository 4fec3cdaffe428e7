/* A U-Net with a text transformer in front: what GLIDE's base model, upsampler and inpainting variants have in common.
 * base_model/ and upsampler/ give it their configurations, inputs and training.
 *
 *     TextUNet *m;
 *     TRY(text_unet_load("base.h5", "base", &m, NULL));
 *     UNetCondition c = text_unet_encode(t, m, tokens, mask, NULL, N, NULL);                once per prompt
 *     Tensor *out = text_unet_forward(t, m, &(TextUNetInput){.x = x, .timesteps = ts}, &c, NULL);   once per step
 *     text_unet_free(m);
 */
#ifndef GLIDE_TEXT_UNET_H
#define GLIDE_TEXT_UNET_H

#include "common/unet.h"
#include "text_transformer/bpe.h"
#include "text_transformer/text_transformer.h"

typedef struct TextUNetConfig {
    UNetConfig unet; /* in_channels and encoder_channels follow from the fields below: text_unet_config_complete() */
    TextConfig text; /* width 0: no text */
    bool low_res;    /* an upsampler: a low-resolution picture comes with x (GLIDE: super_res) */
    bool inpaint;    /* the known picture and its mask come with x */
    bool low_res_level; /* upsamplers: told how much noise was added to the low-resolution picture (arXiv 2106.15282) */
    char noise_schedule[32]; /* "squaredcos_cap_v2" or "linear" */
    int diffusion_steps;
} TextUNetConfig;

void text_unet_config_defaults(TextUNetConfig *c); /* GLIDE's base model */
void text_unet_config_complete(TextUNetConfig *c); /* fills in_channels and encoder_channels */

/* A named configuration, as base_model/ and upsampler/ list theirs. */
typedef struct TextUNetPreset {
    const char *name, *about;
    int channels, levels;
    float mult[UNET_MAX_LEVELS];
    int res_blocks, attention_count, attention_ds[UNET_MAX_LEVELS], head_channels;
    int text_ctx, text_width, text_layers, text_heads;
} TextUNetPreset;

/* Fill `c` from the preset of that name; the table ends with a NULL name. STATUS_BAD_INPUT lists the names there are.
 * image_size, low_res, noise_schedule and n_vocab are left at the defaults. */
Status text_unet_preset(const TextUNetPreset *table, const char *name, TextUNetConfig *c);

typedef struct TextUNet {
    TextUNetConfig config;
    ParamSet params;
    UNet *unet;
    TextTransformer *text; /* NULL without text */
    Linear level;          /* low_res_level: sinusoids of the level -> added to the time embedding; zero in a new model */
    Bpe *bpe;              /* tokenizer of its captions, owned; NULL until known */
} TextUNet;

/* All parameters zero; params_randomize() or a file fills them. */
Status text_unet_new(const TextUNetConfig *config, TextUNet **out);
/* The same with names and shapes of the parameters alone (ParamSet.shapes_only); params_alloc() makes it complete. */
Status text_unet_new_shapes(const TextUNetConfig *config, TextUNet **out);
/* From now on the U-Net's inner convolutions and projections may multiply in 8 bits (Param.int8). What they cost in accuracy decided
 * which stay as they are (SPEED.md): the first and the last convolution, the last output block, the skip connections' 1x1 ones, whose
 * input no norm has tamed, what works on the timestep, and the text transformer. */
void text_unet_set_int8(TextUNet *m);
void text_unet_free(TextUNet *m); /* NULL is fine */

/* *m, which takes no masks, becomes an inpainting model with the same answers: the first convolution gets channels for the known
 * picture and its mask, behind those of x, with weights of zero. Gradients are not carried over. On failure *m is as it was. */
Status text_unet_add_inpaint(TextUNet **m);

/* *m, an upsampler that is told no noise level, becomes one that is, with the same answers at every level: what is made of the
 * level has weights of zero. Likewise. */
Status text_unet_add_level(TextUNet **m);

/* tokens, mask (N,ctx); labels (N) for class-conditional models, else NULL. Tensors of the current scope. trace may be NULL. */
UNetCondition text_unet_encode(Tape *t, const TextUNet *m, const int32_t *tokens, const uint8_t *mask, const int32_t *labels,
                               int64_t N, const TextTrace *trace);

/* Adds to *c how noisy the low-resolution pictures are: levels (N), standard deviations of the noise that was added to values in
 * [-1,1]; NULL: none was. Does nothing for a model that is not told levels. */
void text_unet_tell_level(Tape *t, const TextUNet *m, const float *levels, int64_t N, UNetCondition *c);

typedef struct TextUNetInput {
    Tensor *x;              /* (N,H,W,3) x_t */
    const float *timesteps; /* (N) in steps of the original process, maybe fractional */
    Tensor *low_res;        /* (N,h,w,3) of any size, resized bilinearly to x's; needed when config.low_res */
    Tensor *inpaint_image;  /* (N,H,W,3) known pixels, and their mask (N,H,W,1), 1 = known; both NULL: nothing known */
    Tensor *inpaint_mask;
} TextUNetInput;

/* -> (N,H,W,out_channels), f32: eps, then the variance value. trace may be NULL. The pictures may be fewer than timesteps and the
 * condition's rows, which are a multiple: each stands for several rows (common/unet.h). */
Tensor *text_unet_forward(Tape *t, const TextUNet *m, const TextUNetInput *in, const UNetCondition *condition,
                          const UNetTrace *trace);

#endif
