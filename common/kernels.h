/* The arithmetic below the ops: one struct of function pointers, filled in layers.
 *
 *   1. common/simd_*.c: plain C + OpenMP for everything, compiled once per instruction set; the best set is chosen at run time.
 *   2. common/attention_avx512bf16*.c overwrite attention where the CPU multiplies bf16 itself.
 *   3. common/kernels_onednn.c overwrites what oneDNN does better (convolution, linear). It falls back to layer 1 for a shape
 *      that oneDNN refuses. A build with ONEDNN=0 goes without.
 *   4. common/simd_winograd.c takes over large 3x3 convolutions in f32 whose weights are not being trained.
 *
 * Kernels check nothing: ops.h has validated shapes and allocated outputs. Activations are channels last, f32 or bf16 as the
 * shape says; statistics and gradients of parameters are f32. Forward kernels overwrite their outputs; every d_<activation>
 * is overwritten too, every d_<parameter> (float *) accumulates. A NULL gradient pointer means "not wanted".
 * A forward convolution or linear layer in bf16 whose weight says int8 (params.h), on a CPU that has it, multiplies in 8 bits:
 * weights scaled by output channel, activations by image as their range at the time is (common/onednn_int8.c).
 * Results do not depend on the number of threads (but oneDNN's gradients of parameters do), nor, for the forward kernels and
 * the gradients of their inputs, on what else is in the batch. */
#ifndef GLIDE_COMMON_KERNELS_H
#define GLIDE_COMMON_KERNELS_H

#include "common/params.h"
#include "common/status.h"
#include "common/tensor.h"

typedef enum { ACT_NONE, ACT_SILU, ACT_GELU } Activation; /* GELU is the exact one, with erf */

/* Convolution with padding kernel/2. x (N,H,W,Cin), y (N,H/stride,W/stride,Cout) rounded up; weight (Cout,Cin,k,k). */
typedef struct ConvShape {
    int64_t N, H, W, Cin, Cout;
    int kernel; /* 1 or 3 */
    int stride; /* 1 or 2 */
    DType dtype;     /* of x and d_x */
    DType out_dtype; /* of y, residual and d_y: dtype, or f32 for a model's output */
    bool residual_f32; /* forward: the residual is f32, whatever y is */
} ConvShape;

/* y (rows,out) = x (rows,in) weight^T + bias; weight (out,in), as PyTorch keeps it (or (out,in,1)). */
typedef struct LinearShape {
    int64_t rows, in, out;
    DType dtype;     /* of x and d_x */
    DType out_dtype; /* of y and d_y */
    int64_t images;  /* that the rows belong to, each to as many; 0: to one */
} LinearShape;

/* Group norm over x (N,pixels,C), eps 1e-5: y = act(norm(x) * gamma + beta), or with FiLM
 * y = act((norm(x) * gamma + beta) * (1 + scale) + shift), film (N,2C) = scale, then shift, in x's dtype. */
typedef struct GroupNormShape {
    int64_t N, pixels, C;
    int groups;
    Activation act;
    DType dtype;
    bool x_f32; /* forward: x and film are f32, whatever y is, which dtype says */
} GroupNormShape;

/* Attention of T pixel (or text) queries over S encoder positions, which come first, then the T positions themselves.
 * qkv (N,T,3C), C = heads*D: per head q|k|v ("legacy", GLIDE), or all q, all k, all v when split_first.
 * encoder_kv (N,S,2C): per head k|v, or all k, all v. q and k are each scaled by D^-1/4. y (N,T,C).
 * lse (N,heads,T): log of the softmax's denominator, kept for the backward pass (may be NULL when not needed). */
typedef struct AttentionShape {
    int64_t N, T, S;
    int heads, D;
    bool split_first;
    bool causal; /* position i sees positions <= i (S must be 0) */
    DType dtype;
} AttentionShape;

typedef struct Kernels Kernels;
struct AdamWStep;

struct Kernels {
    const char *name; /* "onednn 2.6.3 + v4", "v3", ... */
    bool native_bf16; /* the CPU multiplies bf16 itself; otherwise bf16 saves memory, not time */
    bool native_int8; /* it multiplies 8-bit numbers and adds them without loss: Param.int8 is heeded */
    void *onednn;     /* private to kernels_onednn.c */
    void *scratch;    /* kernels_scratch() */
    size_t scratch_bytes;

    /* residual: (N,H',W',Cout) added to the result, or NULL; may be the same memory as y. bias may be NULL. */
    Status (*conv2d)(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias, const void *residual,
                     void *y);
    /* conv2d() of what upsample2x() makes of x (N,H/2,W/2,Cin), without making it; s says H and W of the doubled picture. NULL, or
     * *done == false, where the two one after the other are to be called. trained: the backward passes below will follow. */
    Status (*conv2d_upsampled)(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias, void *y,
                               bool trained, bool *done);
    Status (*conv2d_upsampled_backward_data)(Kernels *k, const ConvShape *s, const void *d_y, Param *weight, void *d_x);
    Status (*conv2d_upsampled_backward_weights)(Kernels *k, const ConvShape *s, const void *x, const void *d_y, float *d_weight,
                                                pthread_mutex_t *lock, float *d_bias);
    Status (*conv2d_backward_data)(Kernels *k, const ConvShape *s, const void *d_y, Param *weight, void *d_x);
    /* Private to simd_winograd.c: where shapes go that it does not serve. */
    Status (*conv2d_direct)(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias, const void *residual,
                            void *y);
    /* d_weight (Cout,Cin,k,k), d_bias (Cout), each may be NULL. lock: held while something is added to d_weight; may be NULL. */
    Status (*conv2d_backward_weights)(Kernels *k, const ConvShape *s, const void *x, const void *d_y, float *d_weight,
                                      pthread_mutex_t *lock, float *d_bias);

    Status (*linear)(Kernels *k, const LinearShape *s, const void *x, Param *weight, const Param *bias, const void *residual,
                     void *y);
    Status (*linear_backward_data)(Kernels *k, const LinearShape *s, const void *d_y, Param *weight, void *d_x);
    Status (*linear_backward_weights)(Kernels *k, const LinearShape *s, const void *x, const void *d_y, float *d_weight,
                                      pthread_mutex_t *lock, float *d_bias);

    /* Packed copies of a parameter of which params_share() was told, which changed: those that were used since the change before are
     * made again, so that threads that go through a model side by side need not do it while others wait. Threads may do it for
     * different parameters at the same time. NULL: the kernels pack nothing. */
    Status (*pack_shared)(Kernels *k, Param *weight);

    Status (*attention)(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv, void *y, float *lse);
    Status (*attention_backward)(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv, const void *y,
                                 const float *lse, const void *d_y, void *d_qkv, void *d_encoder_kv);

    /* Private to attention_avx512bf16*.c: what f32 attention goes to. */
    Status (*attention_f32)(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv, void *y, float *lse);
    Status (*attention_f32_backward)(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv,
                                     const void *y, const float *lse, const void *d_y, void *d_qkv, void *d_encoder_kv);

    /* stats (N,groups,2): mean, 1/sqrt(var + eps). */
    Status (*group_norm)(Kernels *k, const GroupNormShape *s, const void *x, const float *gamma, const float *beta,
                         const void *film, void *y, float *stats);
    Status (*group_norm_backward)(Kernels *k, const GroupNormShape *s, const void *x, const float *gamma, const float *beta,
                                  const void *film, const float *stats, const void *d_y, void *d_x, float *d_gamma,
                                  float *d_beta, void *d_film);
    /* x, y (rows,C), eps 1e-5; stats (rows,2). */
    Status (*layer_norm)(Kernels *k, DType type, int64_t rows, int64_t C, const void *x, const float *gamma, const float *beta,
                         void *y, float *stats);
    Status (*layer_norm_backward)(Kernels *k, DType type, int64_t rows, int64_t C, const void *x, const float *gamma,
                                  const float *stats, const void *d_y, void *d_x, float *d_gamma, float *d_beta);

    void (*activate)(DType type, Activation act, int64_t n, const void *x, void *y);
    void (*activate_backward)(DType type, Activation act, int64_t n, const void *x, const void *d_y, void *d_x);
    /* y = a*x + b*z; z may be NULL (then y = a*x); y may be x or z. */
    void (*axpby)(DType type, int64_t n, float a, const void *x, float b, const void *z, void *y);
    void (*cast)(DType from, DType to, int64_t n, const void *x, void *y);
    /* y (rows,C) += bias (C), and its derivative: d_bias += the sums of d_y's columns, in an order that does not depend on threads. */
    void (*add_bias)(DType type, int64_t rows, int64_t C, const float *bias, void *y);
    void (*add_bias_backward)(DType type, int64_t rows, int64_t C, const void *d_y, float *d_bias);
    /* range: least and largest of x, and of 0. quantize: y = round(x / scale) + zero, between 0 and 255. */
    void (*range)(DType type, int64_t n, const void *x, float range[2]);
    void (*quantize)(DType type, int64_t n, const void *x, float scale, int zero, uint8_t *y);
    /* Copy C columns of x, a (rows,x_stride) matrix, into y, a (rows,y_stride) one; the pointers are already at the first column. */
    void (*copy_columns)(DType type, int64_t rows, int64_t C, const void *x, int64_t x_stride, void *y, int64_t y_stride);

    /* x (N,H,W,C) -> y (N,2H,2W,C) nearest; backward sums 2x2 blocks: d_y (N,2H,2W,C) -> d_x (N,H,W,C). */
    void (*upsample2x)(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *x, void *y);
    void (*upsample2x_backward)(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *d_y, void *d_x);
    /* x (N,2H,2W,C) -> y (N,H,W,C), mean of 2x2 blocks. */
    void (*avg_pool2x)(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *x, void *y);
    void (*avg_pool2x_backward)(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *d_y, void *d_x);
    /* x (N,H,W,C) -> y (N,H2,W2,C), align_corners = false, no antialiasing. */
    void (*resize_bilinear)(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *x, int64_t H2, int64_t W2,
                            void *y);
    void (*resize_bilinear_backward)(DType type, int64_t N, int64_t H, int64_t W, int64_t C, const void *d_y, int64_t H2,
                                     int64_t W2, void *d_x);

    /* One AdamW step (decoupled weight decay) on n elements; all arrays f32. `scale` multiplies the gradient (clipping). */
    void (*adamw)(int64_t n, float *value, const float *grad, float *m, float *v, const struct AdamWStep *step);
    /* ema = decay * ema + (1 - decay) * value */
    void (*ema)(int64_t n, double decay, const float *value, float *ema);
    double (*sum_squares)(int64_t n, const float *x); /* in double, in an order that does not depend on threads */
};

typedef struct AdamWStep {
    double lr, beta1, beta2, eps, weight_decay; /* double: 1 - 0.999f is off by 1.3e-5 of its value */
    float grad_scale;
    double bias1, bias2; /* 1 - beta1^t, 1 - beta2^t */
} AdamWStep;

typedef enum { KERNELS_BEST, KERNELS_NO_ONEDNN, KERNELS_GENERIC } KernelsChoice;

/* A set of kernels for this machine. Not to be shared between threads that compute at the same time. */
Status kernels_new(KernelsChoice choice, Kernels **out);
void kernels_free(Kernels *k); /* NULL is fine; parameters packed by it must be released or touched before use elsewhere */

/* A grow-only block for temporaries of one kernel call, 64-byte aligned; NULL when out of memory. */
void *kernels_scratch(Kernels *k, size_t bytes);

/* Overwrites attention for bf16 where the CPU has AVX512-BF16; does nothing elsewhere. */
void attention_avx512bf16_install(Kernels *k);

/* Overwrites entries with oneDNN's; does nothing in a build without it. */
Status onednn_install(Kernels *k);
void onednn_remove(Kernels *k);

#endif
