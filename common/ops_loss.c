/* Embeddings and losses: small ops whose kernels live here. */
#include "common/ops_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- embeddings ---------------------------------------------------------------------------------- */

typedef struct EmbeddingNode {
    Node node;
    Param *table, *position, *padding;
    Tensor *ids; /* (N,T) whole numbers as f32 bits: token, or -1 where masked */
    int64_t N, T;
} EmbeddingNode;

static void add_row(Param *p, int64_t row, const Tensor *g, int64_t from)
{
    if (!param_wants_grad(p)) return;
    int64_t C = p->dims[1];
    for (int64_t c = 0; c < C; c++) p->grad[row * C + c] += tensor_load(g, from + c);
}

static void embedding_backward(Tape *t, Node *node)
{
    EmbeddingNode *n = (EmbeddingNode *)node;
    const Tensor *g = node->out->grad;
    const int32_t *ids = n->ids->data;
    int64_t C = n->table->dims[1];
    (void)t;
    for (int64_t i = 0; i < n->N * n->T; i++) {
        if (ids[i] < 0) {
            add_row(n->padding, i % n->T, g, i * C);
            continue;
        }
        add_row(n->table, ids[i], g, i * C);
        if (n->position) add_row(n->position, i % n->T, g, i * C);
    }
}

/* The shared forward pass: ids (N,T), -1 takes the row of `padding` instead. */
static Tensor *embed(Tape *t, Tensor *ids, int64_t N, int64_t T, int ndim, const int64_t *dims, Param *table, Param *position,
                     Param *padding)
{
    int64_t C = table->dims[1];
    Tensor *y = tape_tensor(t, tape_dtype(t), ndim, dims);
    if (!y) return NULL;
    const int32_t *id = ids->data;
    float *row = calloc((size_t)(2 * C + 1), sizeof *row), *add = row + C; /* add: zeros without a position */
    if (!row) {
        tape_fail(t, STATUS_NO_MEMORY, "out of memory for a row of %s", table->name);
        return NULL;
    }
    for (int64_t i = 0; i < N * T; i++) {
        size_t at = (size_t)(i % T * C), n = (size_t)C;
        if (id[i] < 0) param_read(padding, at, n, row);
        else param_read(table, (size_t)(id[i] * C), n, row);
        if (id[i] >= 0 && position) param_read(position, at, n, add);
        for (int64_t c = 0; c < C; c++) tensor_store(y, i * C + c, id[i] < 0 ? row[c] : row[c] + add[c]);
    }
    free(row);
    if (op_wants_node(t, NULL, table)) {
        EmbeddingNode *n = tape_node(t, sizeof *n, y, embedding_backward);
        if (!n) return NULL;
        *n = (EmbeddingNode){.node = n->node, .table = table, .position = position, .padding = padding, .N = N, .T = T};
        n->ids = node_hold(n, ids);
    }
    return y;
}

/* ids as a tensor, so that the tape owns the copy; masked ones become -1. */
static Tensor *copy_ids(Tape *t, const int32_t *ids, const uint8_t *mask, int64_t N, int64_t T, const Param *table)
{
    Tensor *copy = tape_tensor(t, DTYPE_F32, 2, (int64_t[]){N, T});
    if (!copy) return NULL;
    for (int64_t i = 0; i < N * T; i++) {
        bool real = !mask || mask[i];
        if (real && (ids[i] < 0 || ids[i] >= table->dims[0])) {
            tape_fail(t, STATUS_BAD_INPUT, "embedding: id %d is outside %s, which has %lld rows", ids[i], table->name,
                      (long long)table->dims[0]);
            return NULL;
        }
        ((int32_t *)copy->data)[i] = real ? ids[i] : -1;
    }
    return copy;
}

Tensor *op_embedding(Tape *t, const int32_t *ids, int64_t N, Param *table)
{
    tape_op(t, "embedding");
    if (tape_failed(t)) return NULL;
    Tensor *copy = copy_ids(t, ids, NULL, N, 1, table);
    return copy ? embed(t, copy, N, 1, 2, (int64_t[]){N, table->dims[1]}, table, NULL, NULL) : NULL;
}

Tensor *op_text_embedding(Tape *t, const int32_t *tokens, const uint8_t *mask, int64_t N, int64_t T, Param *table,
                          Param *position, Param *padding)
{
    tape_op(t, "embedding");
    if (tape_failed(t)) return NULL;
    if (position->dims[0] != T) {
        tape_fail(t, STATUS_BAD_INPUT, "text embedding: %lld tokens, expected %lld", (long long)T, (long long)position->dims[0]);
        return NULL;
    }
    Tensor *copy = copy_ids(t, tokens, padding ? mask : NULL, N, T, table);
    return copy ? embed(t, copy, N, T, 3, (int64_t[]){N, T, table->dims[1]}, table, position, padding) : NULL;
}

/* --- losses --------------------------------------------------------------------------------------- */

typedef struct LossNode {
    Node node;
    Tensor *x, *d_x; /* d_x: gradient of each row's loss, f32, x's shape */
} LossNode;

static void loss_backward(Tape *t, Node *node)
{
    LossNode *n = (LossNode *)node;
    Tensor *g = tape_grad_new(t, n->x);
    if (!g) return;
    const float *d_loss = node->out->grad->data, *d_x = n->d_x->data;
    int64_t row = tensor_size(g) / g->dims[0];
    for (int64_t i = 0; i < tensor_size(g); i++) tensor_store(g, i, d_loss[i / row] * d_x[i]);
    tape_grad_add(t, n->x, g);
}

static Tensor *loss_result(Tape *t, Tensor *x, Tensor *loss, Tensor *d_x)
{
    if (op_wants_node(t, x, NULL)) {
        LossNode *n = tape_node(t, sizeof *n, loss, loss_backward);
        if (!n) return NULL;
        n->x = x;
        n->d_x = node_hold(n, d_x);
    }
    tape_release(t, d_x);
    return loss;
}

Tensor *op_cross_entropy(Tape *t, Tensor *logits, const int32_t *labels)
{
    tape_op(t, "loss");
    if (tape_failed(t) || !op_expect(t, logits->ndim == 2, "cross_entropy", "(N,K)", logits)) return NULL;
    int64_t N = logits->dims[0], K = logits->dims[1];
    Tensor *loss = tape_tensor(t, DTYPE_F32, 1, logits->dims);
    Tensor *d_x = tape_tensor(t, DTYPE_F32, 2, logits->dims);
    if (tape_failed(t)) return NULL;
    for (int64_t i = 0; i < N; i++) {
        if (labels[i] < 0 || labels[i] >= K) {
            tape_fail(t, STATUS_BAD_INPUT, "cross_entropy: label %d is not one of %lld classes", labels[i], (long long)K);
            return NULL;
        }
        double top = -INFINITY, sum = 0;
        for (int64_t c = 0; c < K; c++) top = fmax(top, tensor_load(logits, i * K + c));
        for (int64_t c = 0; c < K; c++) sum += exp(tensor_load(logits, i * K + c) - top);
        for (int64_t c = 0; c < K; c++)
            ((float *)d_x->data)[i * K + c] = (float)(exp(tensor_load(logits, i * K + c) - top) / sum - (c == labels[i]));
        ((float *)loss->data)[i] = (float)(top + log(sum) - tensor_load(logits, i * K + labels[i]));
    }
    return loss_result(t, logits, loss, d_x);
}
