/* Dense tensors, channels last, and the pool their memory comes from.
 *
 * Activations are (N,H,W,C) or (N,T,C), row-major, f32 or bf16, up to 4 dimensions. Shape letters, everywhere:
 * N batch, H height, W width, C channels, T tokens, D width of a head, L layers.
 *
 * Tensor structs belong to a Tape (tape.h); their memory is a reference-counted block of a Pool, so that it goes back
 * as soon as the last user (a scope, or a recorded op that needs it for its backward pass) lets go. */
#ifndef GLIDE_COMMON_TENSOR_H
#define GLIDE_COMMON_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TENSOR_MAX_DIMS 4

typedef enum { DTYPE_F32, DTYPE_BF16 } DType;

static inline size_t dtype_size(DType type)
{
    return type == DTYPE_F32 ? 4 : 2;
}

typedef struct Buffer Buffer; /* a block of a Pool with a reference count */

typedef struct Tensor {
    DType dtype;
    int ndim;
    int64_t dims[TENSOR_MAX_DIMS];
    void *data;          /* dims[0]*...*dims[ndim-1] elements; NULL once nobody holds it */
    Buffer *buffer;      /* owner of data, shared by views */
    int holders;         /* its scope, and every recorded op that needs data for its backward pass */
    struct Tensor *grad; /* d_this: same shape and dtype; NULL until the first contribution */
    bool needs_grad;
} Tensor;

static inline int64_t tensor_size(const Tensor *x)
{
    int64_t n = 1;
    for (int i = 0; i < x->ndim; i++) n *= x->dims[i];
    return n;
}

static inline size_t tensor_bytes(const Tensor *x)
{
    return (size_t)tensor_size(x) * dtype_size(x->dtype);
}

/* Product of all dimensions but the last: "rows" of a channels-last tensor. */
static inline int64_t tensor_rows(const Tensor *x)
{
    return tensor_size(x) / x->dims[x->ndim - 1];
}

/* Last dimension: channels of (N,H,W,C) and of (N,T,C). */
static inline int64_t tensor_channels(const Tensor *x)
{
    return x->dims[x->ndim - 1];
}

/* "(2,64,64,192) bf16" for messages. Returns `text`. */
const char *tensor_describe(const Tensor *x, char *text, size_t size);

/* --- bfloat16: the upper half of an f32, round to nearest even, NaN stays NaN --- */
static inline float bf16_to_f32(uint16_t h)
{
    union { uint32_t u; float f; } v = {.u = (uint32_t)h << 16};
    return v.f;
}

static inline uint16_t f32_to_bf16(float f)
{
    union { float f; uint32_t u; } v = {.f = f};
    uint32_t rounded = (v.u + 0x7fff + ((v.u >> 16) & 1)) >> 16;
    return (v.u & 0x7fffffff) > 0x7f800000 ? (uint16_t)((v.u >> 16) | 0x40) : (uint16_t)rounded;
}

/* --- Pool: 64-byte aligned blocks, kept in free lists by size class, so the steady state never calls malloc --- */
typedef struct Pool Pool;

Pool *pool_new(void); /* NULL when out of memory */
void pool_free(Pool *pool);
Buffer *pool_get(Pool *pool, size_t bytes); /* reference count 1; NULL when out of memory */
void *buffer_data(Buffer *buffer);
Buffer *buffer_retain(Buffer *buffer);
void buffer_release(Buffer *buffer); /* NULL is fine */
bool buffer_shared(const Buffer *buffer);
size_t pool_peak_bytes(const Pool *pool); /* most that was in use at once */
void pool_trim(Pool *pool);               /* give unused blocks back to the system */

#endif
