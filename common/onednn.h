/* Private to kernels_onednn.c and onednn_*.c: oneDNN's primitives, one per shape, and the layouts of weights they want.
 *
 * All other files stay free of dnnl.h. Written for the C API v2 (Debian 12) and v3. */
#ifndef GLIDE_COMMON_ONEDNN_H
#define GLIDE_COMMON_ONEDNN_H

#include "common/kernels.h"

#include <dnnl.h>

#define ONEDNN_TABLE_SIZE 256 /* chains of primitives */

typedef enum { OP_FORWARD, OP_BACKWARD_DATA, OP_BACKWARD_WEIGHTS } Op;
typedef enum { RESIDUAL_NONE, RESIDUAL_IN_PLACE, RESIDUAL_SEPARATE } Residual;

/* Everything that a primitive depends on. Zero-filled before use: hashed and compared as bytes. */
typedef struct Key {
    int64_t N, H, W, Cin, Cout;
    int32_t kernel, stride;
    int32_t dtype, out_dtype; /* of x and of y; equal in the backward passes */
    int32_t op, bias, residual, threads;
} Key;

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t Desc;          /* owned */
typedef const_dnnl_memory_desc_t DescRef; /* borrowed */
#define DESC_REF(d) (d)
#else
typedef dnnl_memory_desc_t Desc;
typedef const dnnl_memory_desc_t *DescRef;
#define DESC_REF(d) (&(d))
#endif

/* A layout of weights, shared by all primitives that want it: what Param.packed is keyed by. */
typedef struct Layout {
    Desc desc; /* blocked, bf16 or f32 */
    size_t bytes;
    /* plain f32 -> blocked for weights; blocked -> plain f32, adding, for gradients (NULL when these are plain) */
    dnnl_primitive_t reorder;
    dnnl_memory_t plain, blocked;
    struct Layout *next;
} Layout;

typedef struct Prim {
    Key key;
    bool refused; /* by oneDNN, for good: use the fallback */
    dnnl_primitive_t primitive;
    dnnl_memory_t x, y, bias, residual, scratchpad; /* handles are set for each call */
    size_t scratchpad_bytes;
    Layout *layout; /* of the weights or of their gradient */
    struct Prim *next;
} Prim;

typedef struct Onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    Prim *table[ONEDNN_TABLE_SIZE];
    Layout *layouts, *gradient_layouts;
    struct Packed *packed; /* all copies of weights that this state made */
    Kernels fallback;      /* the table as it was before */
    char name[64];
} Onednn;

/* The primitive for a key, made on first use; borrowed. */
Status onednn_primitive(Onednn *o, const Key *key, Prim **out);
void onednn_primitives_free(Onednn *o);

/* Remember the message for a failed call and return the matching code. */
Status onednn_fail(dnnl_status_t status, const char *what, const Key *key);

static inline int64_t onednn_out_size(int64_t in, int stride)
{
    return (in + stride - 1) / stride;
}

#endif
