/* The encoder half of guided-diffusion's U-Net: timestep embedding, input blocks, middle block. unet.h adds the decoder to it,
 * guided-diffusion's classifiers (guidance/classifier.h) a head.
 *
 *     unet_encoder_make(&config, &params, &e)                                      registers parameters under PyTorch's names
 *     UNetEncoding code = unet_encoder_forward(t, &e, x, timesteps, &c, NULL);     then use code.middle and code.blocks[] */
#ifndef GLIDE_COMMON_UNET_ENCODER_H
#define GLIDE_COMMON_UNET_ENCODER_H

#include "common/unet_blocks.h"

enum { UNET_MAX_LEVELS = 8, UNET_MAX_BLOCKS = 64 };

typedef struct UNetConfig {
    int image_size;          /* pixels per side it was made for */
    int in_channels;         /* of the first convolution: 3, plus 3 for a low-resolution picture, plus 4 for inpainting */
    int out_channels;        /* 3, or 6 with learned variance; a classifier's classes */
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

void unet_config_defaults(UNetConfig *c);     /* GLIDE's base model, 385 M parameters */
Status unet_config_check(const UNetConfig *c); /* STATUS_BAD_INPUT names the field that is wrong */
int64_t unet_level_channels(const UNetConfig *c, int level);
bool unet_has_attention(const UNetConfig *c, int ds); /* at image_size / ds pixels per side */

/* What does not depend on the step. Tensors of the scope that was open when it was made. */
typedef struct UNetCondition {
    int64_t N;                        /* rows that it is for; 0: as many as there are pictures */
    Tensor *emb;                      /* (N,4*channels), added to the time embedding, or NULL */
    Tensor *kv[UNET_MAX_BLOCKS];      /* text keys and values of each attention block, in order */
} UNetCondition;

/* Called with the result of each block ("time_embed", "input_blocks.0", ..., "middle_block", "output_blocks.0", ..., "out"). */
typedef struct UNetTrace {
    void (*block)(void *ctx, const char *name, const Tensor *x);
    void *ctx;
} UNetTrace;

/* Tell `trace` (may be NULL) about GROUP.i, or GROUP when i < 0. */
void unet_trace_block(const UNetTrace *trace, const char *group, int i, const Tensor *x);

/* One entry of input_blocks or output_blocks: layers in this order, those that are there. */
typedef struct UNetBlock {
    bool has_conv, has_res, has_attention;
    Conv2d conv;             /* the first convolution, or a stride-2 one for downsampling */
    ResBlock res;
    AttentionBlock attention;
    Resample resample;       /* after the others */
    bool resample_in_resblock;
    ResBlock resample_res;
    Conv2d resample_conv;
    int kv;                  /* index of its attention in UNetCondition.kv */
} UNetBlock;

typedef struct UNetEncoder {
    UNetConfig config;
    Linear time_embed[2];
    Param *label_emb; /* (num_classes,4C), or NULL */
    UNetBlock input[UNET_MAX_BLOCKS];
    int input_count, attention_count; /* attention blocks so far, the middle block's included */
    int64_t channels[UNET_MAX_BLOCKS]; /* of each input block's result; the middle block's is as the last one's */
    ResBlock middle_in, middle_out;
    AttentionBlock middle_attention;
    int middle_kv;
    bool checkpoint; /* training: keep only the blocks' inputs and run each block again */
} UNetEncoder;

/* Registers the parameters; whoever makes the model's last one checks that there was memory. `config` has been checked. */
void unet_encoder_make(const UNetConfig *config, ParamSet *params, UNetEncoder *e);

/* For the decoder, whose blocks are made of the same layers; `i` is the block's number in `group`, `layer` its layer. */
ResBlock unet_res_make(const UNetConfig *c, ParamSet *set, int64_t cin, int64_t cout, Resample resample, const char *group,
                       int i, int layer);
AttentionBlock unet_attention_make(const UNetConfig *c, ParamSet *set, int64_t channels, bool up, const char *group, int i,
                                   int layer);
void unet_resample_make(const UNetConfig *c, ParamSet *set, UNetBlock *b, int64_t channels, Resample how, const char *group,
                        int i, int layer);

/* x (N,H,W,C), emb_act (N,4C): SiLU of the embedding, kv (N,S,2C) or NULL. With e->checkpoint only its inputs are kept. */
Tensor *unet_block_forward(Tape *t, const UNetEncoder *e, const UNetBlock *b, Tensor *x, Tensor *emb_act,
                           const UNetCondition *c);

/* Tensors of the caller's scope. */
typedef struct UNetEncoding {
    Tensor *emb_act;                 /* (N,4*channels): SiLU of the embedding, as every block wants it */
    Tensor *blocks[UNET_MAX_BLOCKS]; /* results of the input blocks, (N,H_i,W_i,channels[i]) */
    Tensor *middle;                  /* (N,h,w,channels[input_count - 1]) */
} UNetEncoding;

/* x (N,H,W,in_channels), timesteps (N) in steps of the original process. trace may be NULL. After an error all are NULL. x may have
 * fewer rows than the condition, which has a multiple of them, as the pair of a guided step has: what does not depend on the
 * condition, input block 0 and the first convolution of block 1, is then computed once, and blocks[0] has x's rows. */
UNetEncoding unet_encoder_forward(Tape *t, const UNetEncoder *e, Tensor *x, const float *timesteps,
                                  const UNetCondition *condition, const UNetTrace *trace);

#endif
