/* Private to kernels_onednn.c and onednn_*.c: oneDNN's primitives, one per shape, and the layouts of weights they want.
 *
 * All other files stay free of dnnl.h. Written for the C API v2 (Debian 12) and v3. */
#ifndef GLIDE_COMMON_ONEDNN_H
#define GLIDE_COMMON_ONEDNN_H

#include "common/kernels.h"

#include <dnnl.h>

#define ALIGN64(n) (((size_t)(n) + 63) & ~(size_t)63)
#define ONEDNN_TABLE_SIZE 256 /* chains of primitives */

typedef enum { OP_FORWARD, OP_BACKWARD_DATA, OP_BACKWARD_WEIGHTS } Op;
typedef enum { RESIDUAL_NONE, RESIDUAL_IN_PLACE, RESIDUAL_SEPARATE } Residual;

/* Everything that a primitive depends on. Zero-filled before use: hashed and compared as bytes. */
typedef struct Key {
    int64_t N, H, W, Cin, Cout;
    int32_t kernel, stride; /* kernel 4, stride 2: for a doubled picture (onednn_upsampled.c) */
    int32_t dtype, out_dtype; /* of x and of y; equal in the backward passes but that of kernel 4 */
    int32_t op, bias, residual, threads;
    int32_t residual_dtype; /* of a RESIDUAL_SEPARATE; otherwise DTYPE_F32, 0 */
    int32_t int8; /* forward: x in u8, weights in s8 */
} Key;

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t Desc;          /* owned */
typedef const_dnnl_memory_desc_t DescRef; /* borrowed */
#define DESC_REF(d)         (d)
#define desc_copy(to, from) dnnl_memory_desc_clone(to, from)
#define desc_release(d)     ((void)dnnl_memory_desc_destroy(d))
#else
typedef dnnl_memory_desc_t Desc;
typedef const dnnl_memory_desc_t *DescRef;
#define DESC_REF(d)         (&(d))
#define desc_copy(to, from) (*(to) = *(from), dnnl_success)
#define desc_release(d)     ((void)(d))
#endif

/* A layout of weights, shared by all primitives that want it. */
typedef struct Layout {
    Desc desc; /* blocked; bf16, f32 or s8 */
    size_t bytes;
    DType dtype; /* if not int8 */
    bool int8;
    bool doubling; /* of 4x4 sums (onednn_upsampled.c) */
    bool padded;   /* more memory than values */
    /* plain f32 (s8; dtype for sums) -> blocked for weights; blocked -> plain f32, adding (sums: overwriting), for gradients (NULL when
     * these are plain) */
    dnnl_primitive_t reorder;
    dnnl_memory_t plain, blocked; /* handles are set for each call */
    struct Layout *next;
} Layout;

typedef struct Prim {
    Key key;
    bool refused; /* by oneDNN, for good: use the fallback */
    dnnl_primitive_t primitive;
    dnnl_memory_t x, y, bias, residual, scratchpad; /* handles are set for each call */
    dnnl_memory_t scales, zero;                     /* int8: a factor for each output channel; what stands for 0 in x */
    size_t scratchpad_bytes;
    Layout *layout; /* of the weights or of their gradient */
    struct Prim *next;
} Prim;

typedef struct Onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    Prim *table[ONEDNN_TABLE_SIZE];
    Layout *layouts, *gradient_layouts;
    Kernels fallback; /* the table as it was before */
    char name[64];
} Onednn;

/* The key of a shape with the threads of now; images and rows of a pointwise convolution are all the same to it. */
Key onednn_key(const ConvShape *s, Op op, bool bias, Residual residual);

/* The primitive for a key, made on first use; borrowed. */
Status onednn_primitive(Onednn *o, const Key *key, Prim **out);
void onednn_primitives_free(Onednn *o);

/* --- packed weights (onednn_weights.c) --- */

/* A parameter's copy in one layout, for a doubled picture the 4x4 sums of its weights; for a primitive over a part of its input
 * channels (onednn_parts.c) the parts one after another, `bytes` from each to the next. It belongs to the parameter, and any state
 * that knows an equal layout may use it. */
typedef struct Packed {
    Desc desc; /* of a part */
    void *block;
    size_t bytes;
    int64_t parts, values; /* values of a part */
    float *scales; /* int8: (Cout), what the weights of an output channel were divided by; in the block, too */
    bool used;     /* since it was packed */
} Packed;

/* The weights, or all parts of them, in the primitive's layout, packed again when the parameter changed since. */
Status onednn_packed(Kernels *k, const Prim *prim, Param *w, const Packed **out);
/* Kernels.pack_shared */
Status onednn_pack_shared(Kernels *k, Param *w);

/* --- running --- */

typedef struct Call {
    dnnl_exec_arg_t args[8];
    int count;
    dnnl_status_t status; /* of the first handle that could not be set */
} Call;

void onednn_call_add(Call *c, int arg, dnnl_memory_t memory, const void *handle); /* memory NULL: not an argument */
Status onednn_call_run(Onednn *o, const Prim *p, Call *c);
/* y = the convolution by weights that lie at `block`, packed or a part of that, plus bias and residual, where these are not NULL. */
Status onednn_forward_packed(Kernels *k, const Prim *p, const void *block, const void *x, const Param *bias, const void *residual,
                             void *y, void *scratchpad);

/* The gradient where the layout's memory points, in PyTorch's order: added to `plain`, or in its place where the layout says so. */
Status onednn_plain_gradient(Kernels *k, const Prim *p, float *plain);

/* A forward pass in 8 bits, image after image (onednn_int8.c). *done: false where oneDNN has no such kernel. s->N are the images. */
Status onednn_int8_forward(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias, const void *residual,
                           void *y, bool *done);

/* A forward convolution as the sum of several over a part of the input channels each (onednn_parts.c). *done: false where one over
 * all of them is as fast, or oneDNN has no such kernels. */
Status onednn_forward_in_parts(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias,
                               const void *residual, void *y, bool *done);

/* A 3x3 convolution of x doubled in size and its derivatives, by the transposed one of 4x4 weights (onednn_upsampled.c): Kernels'
 * conv2d_upsampled. s is the doubled picture's. *done: false where oneDNN has no such kernels. */
Status onednn_conv2d_upsampled(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias, void *y, bool trained,
                               bool *done);
Status onednn_conv2d_upsampled_backward_data(Kernels *k, const ConvShape *s, const void *d_y, Param *weight, void *d_x);
Status onednn_conv2d_upsampled_backward_weights(Kernels *k, const ConvShape *s, const void *x, const void *d_y, float *d_weight,
                                                pthread_mutex_t *lock, float *d_bias);
/* The weights of that: w (Cout,Cin,3,3) -> sums (Cin,Cout,4,4). */
void onednn_doubling_weights(const Param *w, DType dtype, void *sums);

/* Remember the message for a failed call and return the matching code. */
Status onednn_fail(dnnl_status_t status, const char *what, const Key *key);

static inline int64_t onednn_out_size(int64_t in, int stride)
{
    return (in + stride - 1) / stride;
}

#endif
