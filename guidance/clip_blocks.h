/* The transformer that both of CLIP's encoders are made of. */
#ifndef GLIDE_GUIDANCE_CLIP_BLOCKS_H
#define GLIDE_GUIDANCE_CLIP_BLOCKS_H

#include "common/ops.h"

typedef struct ClipStack {
    int width; /* n_state: heads * n_head_state */
    int heads, layers;
} ClipStack;

typedef struct ClipBlock {
    Norm attn_norm, mlp_norm;
    Linear q, k, v, c; /* (W,W); k has no bias */
    Linear f_1, f_2;   /* (4W,W), (W,4W) */
} ClipBlock;

typedef struct ClipLayers {
    ClipStack stack;
    ClipBlock *blocks; /* (layers), owned */
    Norm out_norm;
    Linear out; /* (n_embd,W), no bias */
} ClipLayers;

/* Registers the parameters of the blocks and of the output under PREFIXblocks.block_0.f_attn.ln.g, ...;
 * STATUS_NO_MEMORY. */
Status clip_layers_make(ParamSet *set, const ClipStack *stack, int n_embd, const char *prefix, ClipLayers *out);
void clip_layers_release(ClipLayers *l);

/* PREFIXblocks.input.ln.g and .b */
Norm clip_norm_make(ParamSet *set, int64_t width, const char *prefix, const char *part);

/* x (N,T,W) -> (N,T,W): block i. */
Tensor *clip_block_forward(Tape *t, const ClipLayers *l, int i, Tensor *x, bool causal);
/* x (N,W): the answering position -> (N,n_embd), f32. */
Tensor *clip_output_forward(Tape *t, const ClipLayers *l, Tensor *x);

#endif
