/* The ops that models are written in. Each checks shapes, runs its kernel at once and, when the tape records, leaves a node
 * with its backward pass. All return a new tensor of the current scope, or NULL after a (sticky) error. */
#ifndef GLIDE_COMMON_OPS_H
#define GLIDE_COMMON_OPS_H

#include "common/kernels.h"
#include "common/params.h"
#include "common/tape.h"

/* --- layers: parameters and the few numbers an op needs besides its input --- */
typedef struct Conv2d {
    Param *weight, *bias; /* (Cout,Cin,k,k), (Cout) */
    int kernel, stride;   /* 1 or 3; 1 or 2. Padding is kernel/2 */
    bool out_f32;         /* the result is f32 whatever the input is (a model's last layer) */
    bool wide;            /* so it is on a wide tape (tape.h) */
} Conv2d;

typedef struct Linear {
    Param *weight, *bias; /* (out,in) or (out,in,1), (out) */
    bool wide;            /* the result is f32 on a wide tape (tape.h) */
} Linear;

typedef struct Norm {
    Param *gamma, *beta; /* (C): PyTorch's weight and bias */
    bool wide;           /* group norm: the result is f32 on a wide tape (tape.h) where x is */
} Norm;

enum { GROUP_NORM_GROUPS = 32 };

/* Register a layer's parameters as NAME.weight and NAME.bias. `scale` multiplies PyTorch's default initial range; 0 starts at
 * zero. */
Conv2d conv2d_make(ParamSet *set, int64_t cin, int64_t cout, int kernel, int stride, float scale, const char *name);
Linear linear_make(ParamSet *set, int64_t in, int64_t out, float scale, const char *name);
Linear linear1d_make(ParamSet *set, int64_t in, int64_t out, float scale, const char *name); /* weight (out,in,1): Conv1d */
Norm norm_make(ParamSet *set, int64_t channels, const char *name);

/* --- linear algebra --- */
/* x (N,H,W,Cin) -> (N,H/stride,W/stride,Cout), plus residual of that shape if not NULL, which on a wide tape may be f32 or bf16. */
Tensor *op_conv2d(Tape *t, Tensor *x, const Conv2d *c, Tensor *residual);
/* op_conv2d() of op_upsample2x() of x: (N,2H,2W,Cout), with 4 multiplications of 9 where kernels have it. */
Tensor *op_conv2d_upsampled(Tape *t, Tensor *x, const Conv2d *c);
/* x (...,in) -> (...,out), plus residual of that shape if not NULL. The weight may have any number of dimensions: (out,in),
 * (out,in,1), (out,C,k,k) on patches; the bias may be NULL. */
Tensor *op_linear(Tape *t, Tensor *x, const Linear *l, Tensor *residual);
/* qkv (N,T,3C), encoder_kv (N,S,2C) or NULL -> (N,T,C). See AttentionShape for the order of channels. */
Tensor *op_attention(Tape *t, Tensor *qkv, Tensor *encoder_kv, int heads, bool split_first);
/* The same where a position sees only itself and those before it. */
Tensor *op_causal_attention(Tape *t, Tensor *qkv, int heads, bool split_first);

/* --- norms and activations --- */
/* x (N,H,W,C) or (N,T,C), film (N,2C) or NULL, of x's dtype -> act(norm(x) * (1 + scale) + shift), bf16 on a wide tape
 * unless the norm is wide, too. */
Tensor *op_group_norm(Tape *t, Tensor *x, const Norm *norm, Tensor *film, Activation act);
Tensor *op_layer_norm(Tape *t, Tensor *x, const Norm *norm);
Tensor *op_silu(Tape *t, Tensor *x);
Tensor *op_gelu(Tape *t, Tensor *x);
Tensor *op_relu(Tape *t, Tensor *x);
/* x (...,C) -> every row divided by its length + 1e-12. */
Tensor *op_unit_length(Tape *t, Tensor *x);
/* Zeroes elements with probability p and scales the others by 1/(1-p), when the tape has a dropout key; else returns x. */
Tensor *op_dropout(Tape *t, Tensor *x, float p);

/* --- arithmetic and shape --- */
Tensor *op_add(Tape *t, Tensor *a, Tensor *b);
/* x (N,H,W,C) + b (N,C) on every pixel. */
Tensor *op_add_channels(Tape *t, Tensor *x, Tensor *b);
Tensor *op_scale(Tape *t, Tensor *x, float factor);
/* x (...,C) * scale + shift, constants (C) that must outlive the tape's nodes. */
Tensor *op_affine_channels(Tape *t, Tensor *x, const float *scale, const float *shift);
Tensor *op_concat(Tape *t, Tensor *a, Tensor *b); /* along channels, a first */
Tensor *op_reshape(Tape *t, Tensor *x, int ndim, const int64_t *dims);
Tensor *op_cast(Tape *t, Tensor *x, DType type);
/* x (N,A+B) -> (N,A*B): x[a] + x[A+b] at a * B + b, f32. */
Tensor *op_outer_sum(Tape *t, Tensor *x, int64_t A);
/* x (n,...) -> (rows,...): x over and over, where rows is a multiple of n; x itself where it is n. */
Tensor *op_repeat(Tape *t, Tensor *x, int64_t rows);
/* x (N,T,C) -> (N,C): position `index` of every row; index < 0 counts from the end. */
Tensor *op_take_position(Tape *t, Tensor *x, int index);

/* --- sequences --- */
/* x (N,H,W,C) -> (N,T,C*patch*patch), T squares row by row, each as a convolution's weight has it (C, then y, then x): so
 * op_linear() with a weight (out,C,patch,patch) is a convolution with that kernel and stride. */
Tensor *op_patches(Tape *t, Tensor *x, int patch);
Tensor *op_join_positions(Tape *t, Tensor *a, Tensor *b); /* (N,A,C), (N,B,C) -> (N,A+B,C) */
/* x (N,T,C) + positions (T,C), or (C,T) when channels_first. */
Tensor *op_add_positions(Tape *t, Tensor *x, Param *positions, bool channels_first);
/* x (N,T,C) -> (N,C): position index[n] of row n. index (N) is copied. */
Tensor *op_take_positions(Tape *t, Tensor *x, const int32_t *index);
Tensor *op_mean_positions(Tape *t, Tensor *x); /* (N,T,C) -> (N,C), f32 */
/* The mean over the first lengths[n] positions of row n. lengths (N) in [1,T] is copied. */
Tensor *op_mean_first_positions(Tape *t, Tensor *x, const int32_t *lengths);

/* --- resampling, x (N,H,W,C) --- */
Tensor *op_upsample2x(Tape *t, Tensor *x);
Tensor *op_avg_pool2x(Tape *t, Tensor *x);
Tensor *op_resize_bilinear(Tape *t, Tensor *x, int64_t H, int64_t W);

/* --- embeddings --- */
/* ids (N) in [0, rows of table) -> (N,C). Copied. */
Tensor *op_embedding(Tape *t, const int32_t *ids, int64_t N, Param *table);
/* tokens (N,T), mask (N,T) 1 = token, 0 = padding -> (N,T,C): table[token] + position[t], or padding[t] where masked. */
Tensor *op_text_embedding(Tape *t, const int32_t *tokens, const uint8_t *mask, int64_t N, int64_t T, Param *table,
                          Param *position, Param *padding);

/* --- losses, always f32 --- */
/* logits (N,K), labels (N) -> (N). */
Tensor *op_cross_entropy(Tape *t, Tensor *logits, const int32_t *labels);

#endif
