/* Norms, activations, dropout. */
#include "common/ops_internal.h"

/* --- group norm --------------------------------------------------------------------------------- */

typedef struct GroupNormNode {
    Node node;
    const Norm *norm;
    GroupNormShape shape;
    Tensor *x, *film, *stats;
} GroupNormNode;

static void group_norm_backward(Tape *t, Node *node)
{
    GroupNormNode *n = (GroupNormNode *)node;
    Kernels *k = tape_kernels(t);
    const Norm *p = n->norm;
    bool params = param_wants_grad(p->gamma);
    Tensor *d_x = tape_grad_new(t, n->x);
    Tensor *d_film = n->film ? tape_grad_new(t, n->film) : NULL;
    op_check(t,
             k->group_norm_backward(k, &n->shape, n->x->data, p->gamma->value, p->beta->value,
                                    n->film ? n->film->data : NULL, n->stats->data, node->out->grad->data,
                                    d_x ? d_x->data : NULL, params ? p->gamma->grad : NULL, params ? p->beta->grad : NULL,
                                    d_film ? d_film->data : NULL),
             "group_norm");
    tape_grad_add(t, n->x, d_x);
    if (d_film) tape_grad_add(t, n->film, d_film);
}

Tensor *op_group_norm(Tape *t, Tensor *x, const Norm *norm, Tensor *film, Activation act)
{
    tape_op(t, "group norm");
    if (tape_failed(t)) return NULL;
    int64_t C = tensor_channels(x), N = x->dims[0];
    bool ok = x->ndim >= 3 && C == (int64_t)norm->gamma->size && C % GROUP_NORM_GROUPS == 0;
    if (!op_expect(t, ok, "group_norm", "(N,...,C) with C a multiple of 32 and as many as the weights", x)) return NULL;
    if (film && !op_expect(t, film->ndim == 2 && film->dims[0] == N && film->dims[1] == 2 * C && film->dtype == x->dtype,
                           "group_norm", "film (N,2C)", film))
        return NULL;
    GroupNormShape s = {.N = N, .pixels = tensor_rows(x) / N, .C = C, .groups = GROUP_NORM_GROUPS, .act = act,
                        .dtype = tape_wide(t) && !norm->wide ? DTYPE_BF16 : x->dtype, .x_f32 = x->dtype == DTYPE_F32};
    Tensor *y = tape_tensor(t, s.dtype, x->ndim, x->dims);
    Tensor *stats = tape_tensor(t, DTYPE_F32, 3, (int64_t[]){N, s.groups, 2});
    if (tape_failed(t)) return NULL;
    Kernels *k = tape_kernels(t);
    op_check(t, k->group_norm(k, &s, x->data, norm->gamma->value, norm->beta->value, film ? film->data : NULL, y->data,
                              stats->data),
             "group_norm");
    if (op_wants_node(t, x, norm->gamma) || (film && op_wants_node(t, film, NULL))) {
        GroupNormNode *n = tape_node(t, sizeof *n, y, group_norm_backward);
        if (!n) return NULL;
        n->norm = norm;
        n->shape = s;
        n->x = node_hold(n, x);
        n->film = node_hold(n, film);
        n->stats = node_hold(n, stats);
    }
    tape_release(t, stats);
    return y;
}

/* --- layer norm --------------------------------------------------------------------------------- */

typedef struct LayerNormNode {
    Node node;
    const Norm *norm;
    Tensor *x, *stats;
} LayerNormNode;

static void layer_norm_backward(Tape *t, Node *node)
{
    LayerNormNode *n = (LayerNormNode *)node;
    Kernels *k = tape_kernels(t);
    bool params = param_wants_grad(n->norm->gamma);
    Tensor *d_x = tape_grad_new(t, n->x);
    op_check(t,
             k->layer_norm_backward(k, n->x->dtype, tensor_rows(n->x), tensor_channels(n->x), n->x->data,
                                    n->norm->gamma->value, n->stats->data, node->out->grad->data, d_x ? d_x->data : NULL,
                                    params ? n->norm->gamma->grad : NULL, params ? n->norm->beta->grad : NULL),
             "layer_norm");
    tape_grad_add(t, n->x, d_x);
}

Tensor *op_layer_norm(Tape *t, Tensor *x, const Norm *norm)
{
    tape_op(t, "layer norm");
    if (tape_failed(t)) return NULL;
    int64_t C = tensor_channels(x), rows = tensor_rows(x);
    if (!op_expect(t, C == (int64_t)norm->gamma->size, "layer_norm", "as many channels as weights", x)) return NULL;
    Tensor *y = tensor_like(t, x);
    Tensor *stats = tape_tensor(t, DTYPE_F32, 2, (int64_t[]){rows, 2});
    if (tape_failed(t)) return NULL;
    Kernels *k = tape_kernels(t);
    op_check(t, k->layer_norm(k, x->dtype, rows, C, x->data, norm->gamma->value, norm->beta->value, y->data, stats->data),
             "layer_norm");
    if (op_wants_node(t, x, norm->gamma)) {
        LayerNormNode *n = tape_node(t, sizeof *n, y, layer_norm_backward);
        if (!n) return NULL;
        n->norm = norm;
        n->x = node_hold(n, x);
        n->stats = node_hold(n, stats);
    }
    tape_release(t, stats);
    return y;
}

/* --- activations -------------------------------------------------------------------------------- */

typedef struct ActivationNode {
    Node node;
    Activation act;
    Tensor *x;
} ActivationNode;

static void activation_backward(Tape *t, Node *node)
{
    ActivationNode *n = (ActivationNode *)node;
    Tensor *g = tape_grad_new(t, n->x);
    if (!g) return;
    tape_kernels(t)->activate_backward(n->x->dtype, n->act, tensor_size(n->x), n->x->data, node->out->grad->data, g->data);
    tape_grad_add(t, n->x, g);
}

static Tensor *activate(Tape *t, Tensor *x, Activation act)
{
    tape_op(t, "activation");
    if (tape_failed(t)) return NULL;
    Tensor *y = tensor_like(t, x);
    if (!y) return NULL;
    tape_kernels(t)->activate(x->dtype, act, tensor_size(x), x->data, y->data);
    if (op_wants_node(t, x, NULL)) {
        ActivationNode *n = tape_node(t, sizeof *n, y, activation_backward);
        if (!n) return NULL;
        n->act = act;
        n->x = node_hold(n, x);
    }
    return y;
}

Tensor *op_silu(Tape *t, Tensor *x)
{
    return activate(t, x, ACT_SILU);
}

Tensor *op_gelu(Tape *t, Tensor *x)
{
    return activate(t, x, ACT_GELU);
}

/* --- dropout: the mask is drawn again in the backward pass instead of being kept --- */

typedef struct DropoutNode {
    Node node;
    Tensor *x;
    RngKey key;
    float p;
} DropoutNode;

/* y = x * mask / (1 - p) */
static void dropout_apply(const Tensor *x, const RngKey *key, float p, const void *in, void *out)
{
    int64_t size = tensor_size(x), groups = (size + 3) / 4;
    uint32_t threshold = (uint32_t)((double)p * 4294967296.0);
    float keep = 1.0f / (1.0f - p);
#pragma omp parallel for schedule(static)
    for (int64_t group = 0; group < groups; group++) {
        uint32_t bits[4];
        rng_bits(key, (uint32_t)group, bits);
        for (int j = 0; j < 4 && group * 4 + j < size; j++) {
            int64_t i = group * 4 + j;
            float factor = bits[j] < threshold ? 0.0f : keep;
            if (x->dtype == DTYPE_F32) ((float *)out)[i] = factor * ((const float *)in)[i];
            else ((uint16_t *)out)[i] = f32_to_bf16(factor * bf16_to_f32(((const uint16_t *)in)[i]));
        }
    }
}

static void dropout_backward(Tape *t, Node *node)
{
    DropoutNode *n = (DropoutNode *)node;
    Tensor *g = tape_grad_new(t, n->x);
    if (!g) return;
    dropout_apply(n->x, &n->key, n->p, node->out->grad->data, g->data);
    tape_grad_add(t, n->x, g);
}

Tensor *op_dropout(Tape *t, Tensor *x, float p)
{
    RngKey key;
    if (tape_failed(t)) return NULL;
    if (p <= 0 || !tape_next_dropout(t, &key)) return x;
    tape_op(t, "dropout");
    Tensor *y = tensor_like(t, x);
    if (!y) return NULL;
    dropout_apply(x, &key, p, x->data, y->data);
    if (op_wants_node(t, x, NULL)) {
        DropoutNode *n = tape_node(t, sizeof *n, y, dropout_backward);
        if (!n) return NULL;
        n->x = x;
        n->key = key;
        n->p = p;
    }
    return y;
}
