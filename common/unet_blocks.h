/* The blocks of the U-Net of guided-diffusion (arXiv 2105.05233) and GLIDE (arXiv 2112.10741): residual block with the time
 * embedding, attention over pixels with the text in front, up- and downsampling. Parameters carry PyTorch's names. */
#ifndef GLIDE_COMMON_UNET_BLOCKS_H
#define GLIDE_COMMON_UNET_BLOCKS_H

#include "common/ops.h"

typedef enum { RESAMPLE_NONE, RESAMPLE_UP, RESAMPLE_DOWN } Resample;

typedef struct ResBlock {
    Norm in_norm, out_norm;
    Conv2d in_conv, out_conv;
    Linear emb_proj;       /* (E) -> (2*Cout) with FiLM, else (Cout) */
    Conv2d skip;           /* 1x1; only when has_skip */
    bool has_skip;
    bool scale_shift_norm; /* FiLM after the second norm; else the embedding is added before it */
    Resample resample;
    float dropout;
} ResBlock;

/* prefix: "input_blocks.1.0" */
ResBlock resblock_make(ParamSet *set, int64_t cin, int64_t emb, int64_t cout, bool scale_shift_norm, Resample resample,
                       float dropout, const char *prefix);
/* x (N,H,W,Cin), emb_act (N,E): SiLU of the embedding, made once for all blocks -> (N,H2,W2,Cout). x may have fewer rows, of which
 * N is a multiple: they stand for the same ones over and over and are repeated where the embedding comes in. */
Tensor *resblock_forward(Tape *t, const ResBlock *b, Tensor *x, Tensor *emb_act);

typedef struct AttentionBlock {
    Norm norm;
    Linear qkv, proj_out;
    Linear encoder_kv; /* only when has_encoder: text (N,S,W) -> (N,S,2C) */
    bool has_encoder;
    bool split_first;  /* guided-diffusion's "new" order: q, k, v first, then heads */
    int heads;
} AttentionBlock;

AttentionBlock attention_block_make(ParamSet *set, int64_t channels, int heads, int64_t encoder_channels, bool split_first,
                                    const char *prefix);
/* x (N,H,W,C), encoder_kv (N,S,2C) or NULL -> (N,H,W,C) */
Tensor *attention_block_forward(Tape *t, const AttentionBlock *b, Tensor *x, Tensor *encoder_kv);

/* t (N) timesteps, maybe fractional -> (N,dim): cosines, then sines. */
Tensor *op_timestep_embedding(Tape *t, const float *timesteps, int64_t N, int dim);

#endif
