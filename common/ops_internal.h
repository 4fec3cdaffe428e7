/* Private to ops_*.c. */
#ifndef GLIDE_COMMON_OPS_INTERNAL_H
#define GLIDE_COMMON_OPS_INTERNAL_H

#include "common/ops.h"

/* A sticky failure unless `ok`; true means go on. `x` is described in the message. */
bool op_expect(Tape *t, bool ok, const char *op, const char *expected, const Tensor *x);

static inline bool param_wants_grad(const Param *p)
{
    return p && p->grad && p->trainable;
}

/* Should the op leave a node? */
static inline bool op_wants_node(const Tape *t, const Tensor *x, const Param *weight)
{
    return tape_recording(t) && ((x && x->needs_grad) || param_wants_grad(weight));
}

static inline Tensor *tensor_like(Tape *t, const Tensor *x)
{
    return tape_tensor(t, x->dtype, x->ndim, x->dims);
}

/* Forward a kernel's failure to the tape. */
static inline void op_check(Tape *t, Status s, const char *op)
{
    if (s != STATUS_OK) tape_fail(t, s, "%s: %s", op, status_message());
}

static inline bool same_shape(const Tensor *a, const Tensor *b)
{
    if (a->ndim != b->ndim || a->dtype != b->dtype) return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->dims[i] != b->dims[i]) return false;
    return true;
}

/* Element i of an f32 or bf16 tensor, for ops too small to have a kernel. */
static inline float tensor_load(const Tensor *x, int64_t i)
{
    return x->dtype == DTYPE_F32 ? ((const float *)x->data)[i] : bf16_to_f32(((const uint16_t *)x->data)[i]);
}

static inline void tensor_store(Tensor *x, int64_t i, float value)
{
    if (x->dtype == DTYPE_F32) ((float *)x->data)[i] = value;
    else ((uint16_t *)x->data)[i] = f32_to_bf16(value);
}

enum { OP_PARALLEL_FROM = 1 << 15 }; /* elements; for fewer a team of threads costs more than it saves */

#endif
