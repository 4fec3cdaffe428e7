/* Pictures as sequences (N,T,C): patches, positions, means; and what pooling adds: ReLU, unit length. Small loops without
 * kernels. */
#include "common/ops_internal.h"

#include <math.h>
#include <string.h>

typedef struct TokenNode {
    Node node;
    Tensor *x, *index;
    Param *param;
    bool channels_first;
    int patch;
    int64_t count;
} TokenNode;

static TokenNode *token_node(Tape *t, Tensor *y, Tensor *x, const Param *param, void (*backward)(Tape *, Node *))
{
    if (!op_wants_node(t, x, param)) return NULL;
    TokenNode *n = tape_node(t, sizeof *n, y, backward);
    if (n) n->x = x;
    return n;
}

/* --- patches ------------------------------------------------------------------------------------ */

/* From a picture (N,H,W,C) to its patches (N,T,C*patch*patch) or back; `from` is one of them, `to` the other. */
static void move_patches(const Tensor *picture, const Tensor *patches, int patch, const Tensor *from, Tensor *to)
{
    int64_t H = picture->dims[1], W = picture->dims[2], C = picture->dims[3], T = patches->dims[1], across = W / patch;
    bool cut = from == picture;
#pragma omp parallel for schedule(static) if (tensor_size(picture) >= OP_PARALLEL_FROM)
    for (int64_t i = 0; i < picture->dims[0] * T; i++) {
        int64_t n = i / T, y0 = i % T / across * patch, x0 = i % T % across * patch;
        for (int64_t c = 0; c < C; c++)
            for (int64_t y = 0; y < patch; y++)
                for (int64_t x = 0; x < patch; x++) {
                    int64_t pixel = ((n * H + y0 + y) * W + x0 + x) * C + c, place = ((i * C + c) * patch + y) * patch + x;
                    tensor_store(to, cut ? place : pixel, tensor_load(from, cut ? pixel : place));
                }
    }
}

static void patches_backward(Tape *t, Node *node)
{
    TokenNode *n = (TokenNode *)node;
    Tensor *g = tape_grad_new(t, n->x);
    if (!g) return;
    const Tensor *d_y = node->out->grad;
    move_patches(g, d_y, n->patch, d_y, g);
    tape_grad_add(t, n->x, g);
}

Tensor *op_patches(Tape *t, Tensor *x, int patch)
{
    tape_op(t, "positions");
    if (tape_failed(t)) return NULL;
    bool ok = x->ndim == 4 && patch > 0 && x->dims[1] % patch == 0 && x->dims[2] % patch == 0;
    if (!op_expect(t, ok, "patches", "(N,H,W,C) with sides that the patches divide", x)) return NULL;
    int64_t T = (x->dims[1] / patch) * (x->dims[2] / patch);
    Tensor *y = tape_tensor(t, x->dtype, 3, (int64_t[]){x->dims[0], T, x->dims[3] * patch * patch});
    if (!y) return NULL;
    move_patches(x, y, patch, x, y);
    TokenNode *n = token_node(t, y, x, NULL, patches_backward);
    if (n) n->patch = patch;
    return y;
}

/* --- positions ---------------------------------------------------------------------------------- */

Tensor *op_join_positions(Tape *t, Tensor *a, Tensor *b)
{
    tape_op(t, "positions");
    if (tape_failed(t)) return NULL;
    bool ok = a->ndim == 3 && b->ndim == 3 && a->dims[0] == b->dims[0] && a->dims[2] == b->dims[2] && a->dtype == b->dtype;
    if (!op_expect(t, ok, "join_positions", "(N,A,C) and (N,B,C)", b)) return NULL;
    int64_t N = a->dims[0], A = a->dims[1], B = b->dims[1], C = a->dims[2];
    Tensor *joined = op_concat(t, op_reshape(t, a, 2, (int64_t[]){N, A * C}), op_reshape(t, b, 2, (int64_t[]){N, B * C}));
    return op_reshape(t, joined, 3, (int64_t[]){N, A + B, C});
}

/* Place of channel c of position p. */
static inline int64_t position_at(bool channels_first, int64_t T, int64_t C, int64_t p, int64_t c)
{
    return channels_first ? c * T + p : p * C + c;
}

static void add_positions_backward(Tape *t, Node *node)
{
    TokenNode *n = (TokenNode *)node;
    const Tensor *d_y = node->out->grad;
    int64_t N = d_y->dims[0], T = d_y->dims[1], C = d_y->dims[2];
    tape_grad_share(t, n->x, node->out->grad);
    if (!param_wants_grad(n->param)) return;
    for (int64_t i = 0; i < N * T; i++)
        for (int64_t c = 0; c < C; c++)
            n->param->grad[position_at(n->channels_first, T, C, i % T, c)] += tensor_load(d_y, i * C + c);
}

Tensor *op_add_positions(Tape *t, Tensor *x, Param *positions, bool channels_first)
{
    tape_op(t, "positions");
    if (tape_failed(t)) return NULL;
    int64_t T = positions->dims[channels_first], C = positions->dims[!channels_first];
    if (!op_expect(t, x->ndim == 3 && x->dims[1] == T && x->dims[2] == C, "add_positions", "as many positions and channels "
                   "as embeddings", x))
        return NULL;
    Tensor *y = tensor_like(t, x);
    if (!y) return NULL;
#pragma omp parallel for schedule(static) if (tensor_size(x) >= OP_PARALLEL_FROM)
    for (int64_t i = 0; i < x->dims[0] * T; i++)
        for (int64_t c = 0; c < C; c++) {
            float add = positions->value[position_at(channels_first, T, C, i % T, c)];
            tensor_store(y, i * C + c, tensor_load(x, i * C + c) + add);
        }
    TokenNode *n = token_node(t, y, x, positions, add_positions_backward);
    if (n) {
        n->param = positions;
        n->channels_first = channels_first;
    }
    return y;
}

static void take_positions_backward(Tape *t, Node *node)
{
    TokenNode *n = (TokenNode *)node;
    Tensor *g = tape_grad_new(t, n->x);
    if (!g) return;
    const int32_t *index = n->index->data;
    size_t row = (size_t)g->dims[2] * dtype_size(g->dtype);
    memset(g->data, 0, tensor_bytes(g));
    for (int64_t i = 0; i < g->dims[0]; i++)
        memcpy((char *)g->data + (size_t)(i * g->dims[1] + index[i]) * row, (char *)node->out->grad->data + (size_t)i * row,
               row);
    tape_grad_add(t, n->x, g);
}

Tensor *op_take_positions(Tape *t, Tensor *x, const int32_t *index)
{
    tape_op(t, "positions");
    if (tape_failed(t) || !op_expect(t, x->ndim == 3, "take_positions", "(N,T,C)", x)) return NULL;
    int64_t N = x->dims[0], T = x->dims[1];
    Tensor *y = tape_tensor(t, x->dtype, 2, (int64_t[]){N, x->dims[2]});
    Tensor *copy = tape_tensor(t, DTYPE_F32, 1, &N);
    if (tape_failed(t)) return NULL;
    size_t row = (size_t)x->dims[2] * dtype_size(x->dtype);
    for (int64_t i = 0; i < N; i++) {
        if (index[i] < 0 || index[i] >= T) {
            tape_fail(t, STATUS_BAD_INPUT, "take_positions: no position %d among %lld", index[i], (long long)T);
            return NULL;
        }
        ((int32_t *)copy->data)[i] = index[i];
        memcpy((char *)y->data + (size_t)i * row, (char *)x->data + (size_t)(i * T + index[i]) * row, row);
    }
    TokenNode *n = token_node(t, y, x, NULL, take_positions_backward);
    if (n) n->index = node_hold(n, copy);
    tape_release(t, copy);
    return y;
}

/* --- pooling ------------------------------------------------------------------------------------ */

/* How many positions of row n count. */
static int64_t counted(const Tensor *lengths, int64_t n, int64_t T)
{
    return lengths ? ((const int32_t *)lengths->data)[n] : T;
}

static void mean_positions_backward(Tape *t, Node *node)
{
    TokenNode *n = (TokenNode *)node;
    Tensor *g = tape_grad_new(t, n->x);
    if (!g) return;
    int64_t T = g->dims[1], C = g->dims[2];
    const Tensor *d_y = node->out->grad;
#pragma omp parallel for schedule(static) if (tensor_size(g) >= OP_PARALLEL_FROM)
    for (int64_t i = 0; i < g->dims[0] * T; i++) {
        int64_t count = counted(n->index, i / T, T);
        for (int64_t c = 0; c < C; c++)
            tensor_store(g, i * C + c, i % T < count ? tensor_load(d_y, i / T * C + c) / (float)count : 0);
    }
    tape_grad_add(t, n->x, g);
}

/* lengths (N) as i32 bits, or NULL: all. */
static Tensor *mean_positions(Tape *t, Tensor *x, Tensor *lengths)
{
    int64_t N = x->dims[0], T = x->dims[1], C = x->dims[2];
    Tensor *y = tape_tensor(t, DTYPE_F32, 2, (int64_t[]){N, C});
    if (!y) return NULL;
#pragma omp parallel for collapse(2) schedule(static) if (tensor_size(x) >= OP_PARALLEL_FROM)
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 0; c < C; c++) {
            int64_t count = counted(lengths, i, T);
            double sum = 0;
            for (int64_t p = 0; p < count; p++) sum += tensor_load(x, (i * T + p) * C + c);
            tensor_store(y, i * C + c, (float)(sum / (double)count));
        }
    TokenNode *n = token_node(t, y, x, NULL, mean_positions_backward);
    if (n && lengths) n->index = node_hold(n, lengths);
    return y;
}

Tensor *op_mean_positions(Tape *t, Tensor *x)
{
    tape_op(t, "positions");
    if (tape_failed(t) || !op_expect(t, x->ndim == 3, "mean_positions", "(N,T,C)", x)) return NULL;
    return mean_positions(t, x, NULL);
}

Tensor *op_mean_first_positions(Tape *t, Tensor *x, const int32_t *lengths)
{
    tape_op(t, "positions");
    if (tape_failed(t) || !op_expect(t, x->ndim == 3, "mean_first_positions", "(N,T,C)", x)) return NULL;
    Tensor *copy = tape_tensor(t, DTYPE_F32, 1, x->dims);
    if (!copy) return NULL;
    for (int64_t i = 0; i < x->dims[0]; i++)
        if (lengths[i] < 1 || lengths[i] > x->dims[1]) {
            tape_fail(t, STATUS_BAD_INPUT, "mean_first_positions: no %d positions among %lld", lengths[i], (long long)x->dims[1]);
            return NULL;
        }
    memcpy(copy->data, lengths, tensor_bytes(copy));
    Tensor *y = mean_positions(t, x, copy);
    tape_release(t, copy);
    return y;
}

static void outer_sum_backward(Tape *t, Node *node)
{
    TokenNode *n = (TokenNode *)node;
    Tensor *g = tape_grad_new(t, n->x);
    if (!g) return;
    const float *d_y = node->out->grad->data;
    const int64_t A = n->count, B = g->dims[1] - A;
    for (int64_t i = 0; i < g->dims[0]; i++)
        for (int64_t k = 0; k < A + B; k++) {
            const float *from = d_y + i * A * B + (k < A ? k * B : k - A);
            double sum = 0;
            for (int64_t j = 0; j < (k < A ? B : A); j++) sum += (double)from[k < A ? j : j * B];
            tensor_store(g, i * (A + B) + k, (float)sum);
        }
    tape_grad_add(t, n->x, g);
}

Tensor *op_outer_sum(Tape *t, Tensor *x, int64_t A)
{
    tape_op(t, "add");
    if (tape_failed(t) || !op_expect(t, x->ndim == 2 && A > 0 && A < x->dims[1], "outer_sum", "(N,A+B)", x)) return NULL;
    const int64_t N = x->dims[0], B = x->dims[1] - A;
    Tensor *y = tape_tensor(t, DTYPE_F32, 2, (int64_t[]){N, A * B});
    if (!y) return NULL;
    for (int64_t i = 0; i < N * A * B; i++) {
        const int64_t row = i / (A * B) * (A + B), a = i % (A * B) / B, b = i % B;
        tensor_store(y, i, tensor_load(x, row + a) + tensor_load(x, row + A + b));
    }
    TokenNode *n = token_node(t, y, x, NULL, outer_sum_backward);
    if (n) n->count = A;
    return y;
}

static void relu_backward(Tape *t, Node *node)
{
    TokenNode *n = (TokenNode *)node;
    Tensor *g = tape_grad_new(t, n->x);
    if (!g) return;
    for (int64_t i = 0; i < tensor_size(g); i++)
        tensor_store(g, i, tensor_load(n->x, i) > 0 ? tensor_load(node->out->grad, i) : 0);
    tape_grad_add(t, n->x, g);
}

Tensor *op_relu(Tape *t, Tensor *x)
{
    tape_op(t, "activation");
    Tensor *y = tape_failed(t) ? NULL : tensor_like(t, x);
    if (!y) return NULL;
    for (int64_t i = 0; i < tensor_size(x); i++) {
        float value = tensor_load(x, i);
        tensor_store(y, i, value < 0 ? 0 : value); /* NaN stays */
    }
    TokenNode *n = token_node(t, y, x, NULL, relu_backward);
    if (n) node_hold(n, x);
    return y;
}

static const double length_floor = 1e-12;

static double row_product(const Tensor *a, const Tensor *b, int64_t row)
{
    double sum = 0;
    int64_t C = tensor_channels(a);
    for (int64_t c = 0; c < C; c++) sum += (double)tensor_load(a, row * C + c) * tensor_load(b, row * C + c);
    return sum;
}

/* y = x / (r + floor), r = |x|: d_x = (d_y - x (x.d_y) / (r (r + floor))) / (r + floor) */
static void unit_length_backward(Tape *t, Node *node)
{
    TokenNode *n = (TokenNode *)node;
    Tensor *g = tape_grad_new(t, n->x);
    if (!g) return;
    const Tensor *d_y = node->out->grad;
    int64_t C = tensor_channels(g);
    for (int64_t row = 0; row < tensor_rows(g); row++) {
        double r = sqrt(row_product(n->x, n->x, row)), divisor = r + length_floor;
        double along = r > 0 ? row_product(n->x, d_y, row) / (r * divisor) : 0;
        for (int64_t i = row * C; i < (row + 1) * C; i++)
            tensor_store(g, i, (float)((tensor_load(d_y, i) - tensor_load(n->x, i) * along) / divisor));
    }
    tape_grad_add(t, n->x, g);
}

Tensor *op_unit_length(Tape *t, Tensor *x)
{
    tape_op(t, "unit length");
    Tensor *y = tape_failed(t) ? NULL : tensor_like(t, x);
    if (!y) return NULL;
    int64_t C = tensor_channels(x);
    for (int64_t row = 0; row < tensor_rows(x); row++) {
        double divisor = sqrt(row_product(x, x, row)) + length_floor;
        for (int64_t i = row * C; i < (row + 1) * C; i++) tensor_store(y, i, (float)(tensor_load(x, i) / divisor));
    }
    TokenNode *n = token_node(t, y, x, NULL, unit_length_backward);
    if (n) node_hold(n, x);
    return y;
}
