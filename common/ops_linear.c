/* Convolution, linear, attention. */
#include "common/ops_internal.h"

#include <stdio.h>

bool op_expect(Tape *t, bool ok, const char *op, const char *expected, const Tensor *x)
{
    if (ok) return true;
    char found[96];
    tape_fail(t, STATUS_BAD_INPUT, "%s: expected %s, found %s", op, expected, tensor_describe(x, found, sizeof found));
    return false;
}

static double conv_flops(const ConvShape *s)
{
    int64_t outputs = s->N * ((s->H + s->stride - 1) / s->stride) * ((s->W + s->stride - 1) / s->stride) * s->Cout;
    return 2.0 * (double)outputs * (double)(s->Cin * s->kernel * s->kernel);
}

static double linear_flops(const LinearShape *s)
{
    return 2.0 * (double)s->rows * (double)s->in * (double)s->out;
}

static double attention_flops(const AttentionShape *s)
{
    return 4.0 * (double)(s->N * s->T) * (double)(s->T + s->S) * s->heads * s->D;
}

/* --- conv2d ------------------------------------------------------------------------------------- */

typedef struct ConvNode {
    Node node;
    const Conv2d *conv;
    ConvShape shape;
    Tensor *x, *residual;
    bool x_held; /* kept only when the weight's gradient is wanted */
    bool upsampled;
} ConvNode;

/* s: of the doubled picture */
static double upsampled_flops(const ConvShape *s)
{
    return conv_flops(s) * 4 / 9;
}

static void conv2d_backward(Tape *t, Node *node)
{
    ConvNode *n = (ConvNode *)node;
    Kernels *k = tape_kernels(t);
    const Conv2d *c = n->conv;
    const void *d_y = node->out->grad->data;
    if (n->residual) tape_grad_share(t, n->residual, node->out->grad);
    double flops = n->upsampled ? upsampled_flops(&n->shape) : conv_flops(&n->shape);
    tape_count_flops(t, flops * (n->x_held + n->x->needs_grad));
    if (n->x_held)
        op_check(t, (n->upsampled ? k->conv2d_upsampled_backward_weights : k->conv2d_backward_weights)(
                        k, &n->shape, n->x->data, d_y, c->weight->grad, param_grad_lock(c->weight), c->bias ? c->bias->grad : NULL),
                 "conv2d");
    Tensor *g = tape_grad_new(t, n->x);
    if (!g) return;
    op_check(t, (n->upsampled ? k->conv2d_upsampled_backward_data : k->conv2d_backward_data)(k, &n->shape, d_y, c->weight, g->data),
             "conv2d");
    tape_grad_add(t, n->x, g);
}

/* False where there is no memory for it. */
static bool conv2d_record(Tape *t, const Conv2d *c, const ConvShape *s, Tensor *x, Tensor *residual, bool upsampled, Tensor *y)
{
    ConvNode *n = tape_node(t, sizeof *n, y, conv2d_backward);
    if (!n) return false;
    n->conv = c;
    n->shape = *s;
    n->x = x;
    n->residual = residual;
    n->upsampled = upsampled;
    n->x_held = param_wants_grad(c->weight);
    if (n->x_held) node_hold(n, x);
    return true;
}

static bool residual_fits(Tape *t, const Tensor *residual, const Tensor *y)
{
    if (!residual) return true;
    Tensor as_y = *residual;
    if (tape_wide(t) && residual->dtype == DTYPE_F32) as_y.dtype = y->dtype;
    return op_expect(t, same_shape(&as_y, y), "conv2d", "a residual shaped like the result", residual);
}

Tensor *op_conv2d(Tape *t, Tensor *x, const Conv2d *c, Tensor *residual)
{
    if (tape_failed(t)) return NULL;
    tape_op(t, c->kernel == 1 ? "conv 1x1" : c->stride == 2 ? "conv 3x3, stride 2" : "conv 3x3");
    const int64_t *w = c->weight->dims; /* (Cout,Cin,k,k) */
    char expected[96];
    snprintf(expected, sizeof expected, "(N,H,W,%lld) for %s", (long long)w[1], c->weight->name);
    if (!op_expect(t, x->ndim == 4 && x->dims[3] == w[1], "conv2d", expected, x)) return NULL;
    bool wide = tape_wide(t);
    ConvShape s = {.N = x->dims[0], .H = x->dims[1], .W = x->dims[2], .Cin = w[1], .Cout = w[0], .kernel = c->kernel,
                   .stride = c->stride, .dtype = x->dtype, .out_dtype = c->out_f32 || (c->wide && wide) ? DTYPE_F32 : x->dtype,
                   .residual_f32 = residual && residual->dtype == DTYPE_F32};
    int64_t dims[4] = {s.N, (s.H + s.stride - 1) / s.stride, (s.W + s.stride - 1) / s.stride, s.Cout};
    Tensor *y = tape_tensor(t, s.out_dtype, 4, dims);
    if (wide && residual && s.out_dtype == DTYPE_F32) residual = op_cast(t, residual, DTYPE_F32);
    if (!y || !residual_fits(t, residual, y)) return NULL;
    Kernels *k = tape_kernels(t);
    tape_count_flops(t, conv_flops(&s));
    op_check(t, k->conv2d(k, &s, x->data, c->weight, c->bias, residual ? residual->data : NULL, y->data), "conv2d");
    bool wants_node = op_wants_node(t, x, c->weight) || (residual && op_wants_node(t, residual, NULL));
    return !wants_node || conv2d_record(t, c, &s, x, residual, false, y) ? y : NULL;
}

/* Where the kernels have it; else *done is false. */
static Tensor *upsampled_at_once(Tape *t, Tensor *x, const Conv2d *c, bool *done)
{
    Kernels *k = tape_kernels(t);
    const int64_t *w = c->weight->dims;
    *done = false;
    if (!k->conv2d_upsampled || c->out_f32 || c->stride != 1 || x->ndim != 4 || x->dims[3] != w[1]) return NULL;
    tape_op(t, "conv 3x3, doubled");
    ConvShape s = {.N = x->dims[0], .H = 2 * x->dims[1], .W = 2 * x->dims[2], .Cin = w[1], .Cout = w[0], .kernel = c->kernel,
                   .stride = 1, .dtype = x->dtype, .out_dtype = c->wide && tape_wide(t) ? DTYPE_F32 : x->dtype};
    Tensor *y = tape_tensor(t, s.out_dtype, 4, (int64_t[]){s.N, s.H, s.W, s.Cout});
    if (!y) return NULL;
    bool wants_node = op_wants_node(t, x, c->weight);
    op_check(t, k->conv2d_upsampled(k, &s, x->data, c->weight, c->bias, y->data, wants_node, done), "conv2d_upsampled");
    if (*done) tape_count_flops(t, upsampled_flops(&s));
    else tape_release(t, y);
    return !*done || !wants_node || conv2d_record(t, c, &s, x, NULL, true, y) ? y : NULL;
}

Tensor *op_conv2d_upsampled(Tape *t, Tensor *x, const Conv2d *c)
{
    if (tape_failed(t)) return NULL;
    bool done;
    Tensor *y = upsampled_at_once(t, x, c, &done);
    if (done || tape_failed(t)) return y;
    Tensor *doubled = op_upsample2x(t, x);
    y = op_conv2d(t, doubled, c, NULL);
    tape_release(t, doubled);
    return y;
}

/* --- linear ------------------------------------------------------------------------------------- */

typedef struct LinearNode {
    Node node;
    const Linear *linear;
    LinearShape shape;
    Tensor *x, *residual;
    bool x_held;
} LinearNode;

static void linear_backward(Tape *t, Node *node)
{
    LinearNode *n = (LinearNode *)node;
    Kernels *k = tape_kernels(t);
    const Linear *l = n->linear;
    const void *d_y = node->out->grad->data;
    if (n->residual) tape_grad_share(t, n->residual, node->out->grad);
    tape_count_flops(t, linear_flops(&n->shape) * (n->x_held + n->x->needs_grad));
    if (n->x_held)
        op_check(t, k->linear_backward_weights(k, &n->shape, n->x->data, d_y, l->weight->grad, param_grad_lock(l->weight),
                                            l->bias ? l->bias->grad : NULL), "linear");
    Tensor *g = tape_grad_new(t, n->x);
    if (!g) return;
    op_check(t, k->linear_backward_data(k, &n->shape, d_y, l->weight, g->data), "linear");
    tape_grad_add(t, n->x, g);
}

Tensor *op_linear(Tape *t, Tensor *x, const Linear *l, Tensor *residual)
{
    tape_op(t, "linear");
    if (tape_failed(t)) return NULL;
    int64_t out = l->weight->dims[0], in = (int64_t)l->weight->size / out;
    char expected[96];
    snprintf(expected, sizeof expected, "(...,%lld) for %s", (long long)in, l->weight->name);
    if (!op_expect(t, tensor_channels(x) == in, "linear", expected, x)) return NULL;
    LinearShape s = {.rows = tensor_rows(x), .in = in, .out = out, .dtype = x->dtype,
                     .out_dtype = l->wide && tape_wide(t) ? DTYPE_F32 : x->dtype, .images = x->dims[0]};
    int64_t dims[TENSOR_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++) dims[i] = x->dims[i];
    dims[x->ndim - 1] = s.out;
    Tensor *y = tape_tensor(t, s.out_dtype, x->ndim, dims);
    if (!y || (residual && !op_expect(t, same_shape(residual, y), "linear", "a residual shaped like the result", residual)))
        return NULL;
    Kernels *k = tape_kernels(t);
    tape_count_flops(t, linear_flops(&s));
    op_check(t, k->linear(k, &s, x->data, l->weight, l->bias, residual ? residual->data : NULL, y->data), "linear");
    if (op_wants_node(t, x, l->weight) || (residual && op_wants_node(t, residual, NULL))) {
        LinearNode *n = tape_node(t, sizeof *n, y, linear_backward);
        if (!n) return NULL;
        n->linear = l;
        n->shape = s;
        n->x = x;
        n->residual = residual;
        n->x_held = param_wants_grad(l->weight);
        if (n->x_held) node_hold(n, x);
    }
    return y;
}

/* --- attention ---------------------------------------------------------------------------------- */

typedef struct AttentionNode {
    Node node;
    AttentionShape shape;
    Tensor *qkv, *encoder_kv, *y, *lse;
} AttentionNode;

static void attention_backward(Tape *t, Node *node)
{
    AttentionNode *n = (AttentionNode *)node;
    Kernels *k = tape_kernels(t);
    Tensor *d_qkv = tape_grad_new(t, n->qkv);
    Tensor *d_kv = n->encoder_kv ? tape_grad_new(t, n->encoder_kv) : NULL;
    tape_count_flops(t, 2.5 * attention_flops(&n->shape)); /* five products instead of two */
    op_check(t,
             k->attention_backward(k, &n->shape, n->qkv->data, n->encoder_kv ? n->encoder_kv->data : NULL, n->y->data,
                                   n->lse->data, node->out->grad->data, d_qkv ? d_qkv->data : NULL, d_kv ? d_kv->data : NULL),
             "attention");
    tape_grad_add(t, n->qkv, d_qkv);
    if (d_kv) tape_grad_add(t, n->encoder_kv, d_kv);
}

static Tensor *attend(Tape *t, Tensor *qkv, Tensor *encoder_kv, int heads, bool split_first, bool causal)
{
    tape_op(t, "attention");
    if (tape_failed(t)) return NULL;
    int64_t C = tensor_channels(qkv) / 3;
    bool ok = qkv->ndim == 3 && heads > 0 && tensor_channels(qkv) % (3 * heads) == 0;
    if (!op_expect(t, ok, "attention", "qkv (N,T,3*heads*D)", qkv)) return NULL;
    if (encoder_kv) {
        ok = encoder_kv->ndim == 3 && encoder_kv->dims[0] == qkv->dims[0] && encoder_kv->dims[2] == 2 * C &&
             encoder_kv->dtype == qkv->dtype;
        if (!op_expect(t, ok, "attention", "encoder_kv (N,S,2C) to go with qkv (N,T,3C)", encoder_kv)) return NULL;
    }
    AttentionShape s = {.N = qkv->dims[0], .T = qkv->dims[1], .S = encoder_kv ? encoder_kv->dims[1] : 0, .heads = heads,
                        .D = (int)(C / heads), .split_first = split_first, .causal = causal, .dtype = qkv->dtype};
    bool record = op_wants_node(t, qkv, NULL) || (encoder_kv && op_wants_node(t, encoder_kv, NULL));
    Tensor *y = tape_tensor(t, qkv->dtype, 3, (int64_t[]){s.N, s.T, C});
    Tensor *lse = record ? tape_tensor(t, DTYPE_F32, 3, (int64_t[]){s.N, heads, s.T}) : NULL;
    if (tape_failed(t)) return NULL;
    Kernels *k = tape_kernels(t);
    tape_count_flops(t, attention_flops(&s));
    op_check(t, k->attention(k, &s, qkv->data, encoder_kv ? encoder_kv->data : NULL, y->data, lse ? lse->data : NULL),
             "attention");
    if (record) {
        AttentionNode *n = tape_node(t, sizeof *n, y, attention_backward);
        if (!n) return NULL;
        n->shape = s;
        n->qkv = node_hold(n, qkv);
        n->encoder_kv = node_hold(n, encoder_kv);
        n->y = node_hold(n, y);
        n->lse = node_hold(n, lse);
        tape_release(t, lse);
    }
    return y;
}

Tensor *op_attention(Tape *t, Tensor *qkv, Tensor *encoder_kv, int heads, bool split_first)
{
    return attend(t, qkv, encoder_kv, heads, split_first, false);
}

Tensor *op_causal_attention(Tape *t, Tensor *qkv, int heads, bool split_first)
{
    return attend(t, qkv, NULL, heads, split_first, true);
}
