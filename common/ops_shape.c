/* Arithmetic, concatenation, shapes and resampling. */
#include "common/ops_internal.h"

#include <stdio.h>
#include <string.h>

/* A node with up to two inputs and a few numbers serves every op of this file. */
typedef struct ShapeNode {
    Node node;
    Tensor *a, *b;
    float factor;
    const float *factors;
    int64_t index;
} ShapeNode;

static ShapeNode *shape_node(Tape *t, Tensor *y, Tensor *a, Tensor *b, void (*backward)(Tape *, Node *))
{
    if (!op_wants_node(t, a, NULL) && !(b && op_wants_node(t, b, NULL))) return NULL;
    ShapeNode *n = tape_node(t, sizeof *n, y, backward);
    if (n) {
        n->a = a;
        n->b = b;
    }
    return n;
}

/* --- add, scale --------------------------------------------------------------------------------- */

static void add_backward(Tape *t, Node *node)
{
    ShapeNode *n = (ShapeNode *)node;
    tape_grad_share(t, n->a, node->out->grad);
    tape_grad_share(t, n->b, node->out->grad);
}

Tensor *op_add(Tape *t, Tensor *a, Tensor *b)
{
    tape_op(t, "add");
    if (tape_failed(t) || !op_expect(t, same_shape(a, b), "add", "two tensors of one shape", b)) return NULL;
    Tensor *y = tensor_like(t, a);
    if (!y) return NULL;
    tape_kernels(t)->axpby(a->dtype, tensor_size(a), 1, a->data, 1, b->data, y->data);
    shape_node(t, y, a, b, add_backward);
    return y;
}

static void scale_backward(Tape *t, Node *node)
{
    ShapeNode *n = (ShapeNode *)node;
    Tensor *g = tape_grad_new(t, n->a);
    if (!g) return;
    tape_kernels(t)->axpby(g->dtype, tensor_size(g), n->factor, node->out->grad->data, 0, NULL, g->data);
    tape_grad_add(t, n->a, g);
}

Tensor *op_scale(Tape *t, Tensor *x, float factor)
{
    tape_op(t, "scale");
    Tensor *y = tape_failed(t) ? NULL : tensor_like(t, x);
    if (!y) return NULL;
    tape_kernels(t)->axpby(x->dtype, tensor_size(x), factor, x->data, 0, NULL, y->data);
    ShapeNode *n = shape_node(t, y, x, NULL, scale_backward);
    if (n) n->factor = factor;
    return y;
}

static void add_channels_backward(Tape *t, Node *node)
{
    ShapeNode *n = (ShapeNode *)node;
    const Tensor *d_y = node->out->grad;
    tape_grad_share(t, n->a, node->out->grad);
    Tensor *g = tape_grad_new(t, n->b);
    if (!g) return;
    int64_t N = g->dims[0], C = g->dims[1], pixels = tensor_rows(d_y) / N;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 0; c < C; c++) {
            double sum = 0;
            for (int64_t p = 0; p < pixels; p++) sum += tensor_load(d_y, (i * pixels + p) * C + c);
            tensor_store(g, i * C + c, (float)sum);
        }
    tape_grad_add(t, n->b, g);
}

Tensor *op_add_channels(Tape *t, Tensor *x, Tensor *b)
{
    tape_op(t, "add");
    if (tape_failed(t)) return NULL;
    bool ok = b->ndim == 2 && b->dims[0] == x->dims[0] && b->dims[1] == tensor_channels(x) && b->dtype == x->dtype;
    if (!op_expect(t, ok, "add_channels", "(N,C) to go with (N,...,C)", b)) return NULL;
    Tensor *y = tensor_like(t, x);
    if (!y) return NULL;
    int64_t C = b->dims[1], rows = tensor_rows(x), pixels = rows / x->dims[0];
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < C; c++)
            tensor_store(y, r * C + c, tensor_load(x, r * C + c) + tensor_load(b, r / pixels * C + c));
    shape_node(t, y, x, b, add_channels_backward);
    return y;
}

static void affine_channels_backward(Tape *t, Node *node)
{
    ShapeNode *n = (ShapeNode *)node;
    Tensor *g = tape_grad_new(t, n->a);
    if (!g) return;
    int64_t C = tensor_channels(g), rows = tensor_rows(g);
    const Tensor *d_y = node->out->grad;
#pragma omp parallel for schedule(static) if (rows * C >= OP_PARALLEL_FROM)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < C; c++) tensor_store(g, r * C + c, n->factors[c] * tensor_load(d_y, r * C + c));
    tape_grad_add(t, n->a, g);
}

Tensor *op_affine_channels(Tape *t, Tensor *x, const float *scale, const float *shift)
{
    tape_op(t, "scale");
    Tensor *y = tape_failed(t) ? NULL : tensor_like(t, x);
    if (!y) return NULL;
    int64_t C = tensor_channels(x), rows = tensor_rows(x);
#pragma omp parallel for schedule(static) if (rows * C >= OP_PARALLEL_FROM)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < C; c++) tensor_store(y, r * C + c, scale[c] * tensor_load(x, r * C + c) + shift[c]);
    ShapeNode *n = shape_node(t, y, x, NULL, affine_channels_backward);
    if (n) n->factors = scale;
    return y;
}

/* --- concat ------------------------------------------------------------------------------------- */

static inline void *column(const Tensor *x, int64_t c)
{
    return (char *)x->data + (size_t)c * dtype_size(x->dtype);
}

static void concat_backward(Tape *t, Node *node)
{
    ShapeNode *n = (ShapeNode *)node;
    const Tensor *d_y = node->out->grad;
    int64_t Ca = tensor_channels(n->a), Cb = tensor_channels(n->b), rows = tensor_rows(d_y);
    Kernels *k = tape_kernels(t);
    Tensor *d_a = tape_grad_new(t, n->a);
    if (d_a) k->copy_columns(d_y->dtype, rows, Ca, d_y->data, Ca + Cb, d_a->data, Ca);
    tape_grad_add(t, n->a, d_a);
    Tensor *d_b = tape_grad_new(t, n->b);
    if (d_b) k->copy_columns(d_y->dtype, rows, Cb, column(d_y, Ca), Ca + Cb, d_b->data, Cb);
    tape_grad_add(t, n->b, d_b);
}

Tensor *op_concat(Tape *t, Tensor *a, Tensor *b)
{
    tape_op(t, "concat");
    if (tape_failed(t)) return NULL;
    bool ok = a->ndim == b->ndim && a->dtype == b->dtype;
    for (int i = 0; ok && i < a->ndim - 1; i++) ok = a->dims[i] == b->dims[i];
    if (!op_expect(t, ok, "concat", "tensors that differ in channels only", b)) return NULL;
    int64_t Ca = tensor_channels(a), Cb = tensor_channels(b), rows = tensor_rows(a), dims[TENSOR_MAX_DIMS];
    memcpy(dims, a->dims, sizeof dims);
    dims[a->ndim - 1] = Ca + Cb;
    Tensor *y = tape_tensor(t, a->dtype, a->ndim, dims);
    if (!y) return NULL;
    Kernels *k = tape_kernels(t);
    k->copy_columns(a->dtype, rows, Ca, a->data, Ca, y->data, Ca + Cb);
    k->copy_columns(a->dtype, rows, Cb, b->data, Cb, column(y, Ca), Ca + Cb);
    shape_node(t, y, a, b, concat_backward);
    return y;
}

/* --- shape and type ------------------------------------------------------------------------------ */

static void reshape_backward(Tape *t, Node *node)
{
    tape_grad_share(t, ((ShapeNode *)node)->a, node->out->grad);
}

Tensor *op_reshape(Tape *t, Tensor *x, int ndim, const int64_t *dims)
{
    tape_op(t, "reshape");
    if (tape_failed(t)) return NULL;
    int64_t size = 1;
    for (int i = 0; i < ndim; i++) size *= dims[i];
    if (!op_expect(t, size == tensor_size(x), "reshape", "as many elements as before", x)) return NULL;
    Tensor *y = tape_view(t, x, ndim, dims);
    if (y) shape_node(t, y, x, NULL, reshape_backward);
    return y;
}

static void cast_backward(Tape *t, Node *node)
{
    ShapeNode *n = (ShapeNode *)node;
    Tensor *g = tape_grad_new(t, n->a);
    if (!g) return;
    tape_kernels(t)->cast(node->out->dtype, g->dtype, tensor_size(g), node->out->grad->data, g->data);
    tape_grad_add(t, n->a, g);
}

Tensor *op_cast(Tape *t, Tensor *x, DType type)
{
    if (tape_failed(t) || x->dtype == type) return x;
    tape_op(t, "cast");
    Tensor *y = tape_tensor(t, type, x->ndim, x->dims);
    if (!y) return NULL;
    tape_kernels(t)->cast(x->dtype, type, tensor_size(x), x->data, y->data);
    shape_node(t, y, x, NULL, cast_backward);
    return y;
}

static void take_position_backward(Tape *t, Node *node)
{
    ShapeNode *n = (ShapeNode *)node;
    Tensor *g = tape_grad_new(t, n->a);
    if (!g) return;
    size_t row = (size_t)g->dims[2] * dtype_size(g->dtype);
    memset(g->data, 0, tensor_bytes(g));
    for (int64_t i = 0; i < g->dims[0]; i++)
        memcpy((char *)g->data + (size_t)(i * g->dims[1] + n->index) * row, (char *)node->out->grad->data + (size_t)i * row, row);
    tape_grad_add(t, n->a, g);
}

Tensor *op_take_position(Tape *t, Tensor *x, int index)
{
    tape_op(t, "positions");
    if (tape_failed(t)) return NULL;
    int64_t T = x->dims[1], at = index < 0 ? T + index : index;
    if (!op_expect(t, x->ndim == 3 && at >= 0 && at < T, "take_position", "(N,T,C) with that position", x)) return NULL;
    Tensor *y = tape_tensor(t, x->dtype, 2, (int64_t[]){x->dims[0], x->dims[2]});
    if (!y) return NULL;
    size_t row = (size_t)x->dims[2] * dtype_size(x->dtype);
    for (int64_t i = 0; i < x->dims[0]; i++)
        memcpy((char *)y->data + (size_t)i * row, (char *)x->data + (size_t)(i * T + at) * row, row);
    ShapeNode *n = shape_node(t, y, x, NULL, take_position_backward);
    if (n) n->index = at;
    return y;
}

static void repeat_backward(Tape *t, Node *node)
{
    ShapeNode *n = (ShapeNode *)node;
    Tensor *g = tape_grad_new(t, n->a);
    if (!g) return;
    const char *d_y = node->out->grad->data;
    int64_t size = tensor_size(g);
    memcpy(g->data, d_y, tensor_bytes(g));
    for (int64_t i = 1; i < node->out->dims[0] / g->dims[0]; i++)
        tape_kernels(t)->axpby(g->dtype, size, 1, g->data, 1, d_y + (size_t)i * tensor_bytes(g), g->data);
    tape_grad_add(t, n->a, g);
}

Tensor *op_repeat(Tape *t, Tensor *x, int64_t rows)
{
    if (tape_failed(t) || x->dims[0] == rows) return x;
    tape_op(t, "repeat");
    char expected[64];
    snprintf(expected, sizeof expected, "(n,...), where %lld is a multiple of n", (long long)rows);
    if (!op_expect(t, x->dims[0] > 0 && rows % x->dims[0] == 0, "repeat", expected, x)) return NULL;
    int64_t dims[TENSOR_MAX_DIMS];
    memcpy(dims, x->dims, sizeof dims);
    dims[0] = rows;
    Tensor *y = tape_tensor(t, x->dtype, x->ndim, dims);
    if (!y) return NULL;
    for (int64_t i = 0; i < rows / x->dims[0]; i++) memcpy((char *)y->data + (size_t)i * tensor_bytes(x), x->data, tensor_bytes(x));
    shape_node(t, y, x, NULL, repeat_backward);
    return y;
}

/* --- resampling ---------------------------------------------------------------------------------- */

static void upsample_backward(Tape *t, Node *node)
{
    ShapeNode *n = (ShapeNode *)node;
    Tensor *g = tape_grad_new(t, n->a);
    if (!g) return;
    tape_kernels(t)->upsample2x_backward(g->dtype, g->dims[0], g->dims[1], g->dims[2], g->dims[3], node->out->grad->data,
                                         g->data);
    tape_grad_add(t, n->a, g);
}

Tensor *op_upsample2x(Tape *t, Tensor *x)
{
    tape_op(t, "resample");
    if (tape_failed(t) || !op_expect(t, x->ndim == 4, "upsample2x", "(N,H,W,C)", x)) return NULL;
    const int64_t *d = x->dims;
    Tensor *y = tape_tensor(t, x->dtype, 4, (int64_t[]){d[0], 2 * d[1], 2 * d[2], d[3]});
    if (!y) return NULL;
    tape_kernels(t)->upsample2x(x->dtype, d[0], d[1], d[2], d[3], x->data, y->data);
    shape_node(t, y, x, NULL, upsample_backward);
    return y;
}

static void avg_pool_backward(Tape *t, Node *node)
{
    ShapeNode *n = (ShapeNode *)node;
    Tensor *g = tape_grad_new(t, n->a);
    if (!g) return;
    const int64_t *d = node->out->dims;
    tape_kernels(t)->avg_pool2x_backward(g->dtype, d[0], d[1], d[2], d[3], node->out->grad->data, g->data);
    tape_grad_add(t, n->a, g);
}

Tensor *op_avg_pool2x(Tape *t, Tensor *x)
{
    tape_op(t, "resample");
    if (tape_failed(t)) return NULL;
    bool ok = x->ndim == 4 && x->dims[1] % 2 == 0 && x->dims[2] % 2 == 0;
    if (!op_expect(t, ok, "avg_pool2x", "(N,H,W,C) with even H and W", x)) return NULL;
    const int64_t *d = x->dims;
    Tensor *y = tape_tensor(t, x->dtype, 4, (int64_t[]){d[0], d[1] / 2, d[2] / 2, d[3]});
    if (!y) return NULL;
    tape_kernels(t)->avg_pool2x(x->dtype, d[0], d[1] / 2, d[2] / 2, d[3], x->data, y->data);
    shape_node(t, y, x, NULL, avg_pool_backward);
    return y;
}

static void resize_backward(Tape *t, Node *node)
{
    ShapeNode *n = (ShapeNode *)node;
    Tensor *g = tape_grad_new(t, n->a);
    if (!g) return;
    tape_kernels(t)->resize_bilinear_backward(g->dtype, g->dims[0], g->dims[1], g->dims[2], g->dims[3],
                                              node->out->grad->data, node->out->dims[1], node->out->dims[2], g->data);
    tape_grad_add(t, n->a, g);
}

Tensor *op_resize_bilinear(Tape *t, Tensor *x, int64_t H, int64_t W)
{
    tape_op(t, "resample");
    if (tape_failed(t) || !op_expect(t, x->ndim == 4, "resize_bilinear", "(N,H,W,C)", x)) return NULL;
    const int64_t *d = x->dims;
    Tensor *y = tape_tensor(t, x->dtype, 4, (int64_t[]){d[0], H, W, d[3]});
    if (!y) return NULL;
    tape_kernels(t)->resize_bilinear(x->dtype, d[0], d[1], d[2], d[3], x->data, H, W, y->data);
    shape_node(t, y, x, NULL, resize_backward);
    return y;
}
