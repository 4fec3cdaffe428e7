#include "common/tape.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 64 * 1024, MAX_CHECKPOINT_INPUTS = 4 };

/* Nodes and tensor structs come from a bump allocator that is rewound by tape_reset(). */
typedef struct Block {
    struct Block *next;
    size_t used;
    _Alignas(16) char bytes[BLOCK_BYTES];
} Block;

struct Tape {
    Kernels *kernels;
    Pool *pool;
    Block *blocks, *block;
    Tensor **scope; /* tensors held by open scopes, in order of creation */
    int scope_count, scope_capacity;
    Tensor *recycled; /* structs given back while not recording, linked through grad */
    Node **nodes;
    int node_count, node_capacity;
    bool recording, wide, dropout;
    DType dtype;
    RngKey dropout_key;
    uint32_t dropout_calls;
    double flops;
    Profile *profile;
    Status status;
    char message[512];
};

Status tape_new(Kernels *kernels, Tape **out)
{
    Tape *t = calloc(1, sizeof *t);
    if (t) t->pool = pool_new();
    if (!t || !t->pool) {
        free(t);
        return status_fail(STATUS_NO_MEMORY, "out of memory for a tape");
    }
    t->kernels = kernels;
    *out = t;
    return STATUS_OK;
}

void tape_free(Tape *t)
{
    if (!t) return;
    tape_reset(t);
    for (Block *b = t->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    pool_free(t->pool);
    free(t->scope);
    free(t->nodes);
    free(t);
}

Kernels *tape_kernels(const Tape *t)
{
    return t->kernels;
}

size_t tape_peak_bytes(const Tape *t)
{
    return pool_peak_bytes(t->pool);
}

double tape_flops(const Tape *t)
{
    return t->flops;
}

void tape_count_flops(Tape *t, double flops)
{
    t->flops += flops;
    if (t->profile) profile_count_flops(t->profile, flops);
}

void tape_set_profile(Tape *t, Profile *profile)
{
    t->profile = profile;
}

void tape_op(Tape *t, const char *name)
{
    if (t->profile) profile_op(t->profile, name);
}

void tape_block(Tape *t, const char *group, int i)
{
    if (t->profile) profile_block(t->profile, group, i);
}

void tape_record(Tape *t, bool on)
{
    t->recording = on;
}

bool tape_recording(const Tape *t)
{
    return t->recording;
}

void tape_set_dtype(Tape *t, DType type)
{
    t->dtype = type;
}

DType tape_dtype(const Tape *t)
{
    return t->dtype;
}

void tape_set_wide(Tape *t, bool on)
{
    t->wide = on;
}

bool tape_wide(const Tape *t)
{
    return t->wide && !t->recording && t->dtype == DTYPE_BF16;
}

DType tape_wide_dtype(const Tape *t)
{
    return tape_wide(t) ? DTYPE_F32 : t->dtype;
}

void tape_set_dropout(Tape *t, RngKey key)
{
    t->dropout = true;
    t->dropout_key = key;
    t->dropout_key.stream = RNG_DROPOUT;
    t->dropout_calls = 0;
}

bool tape_next_dropout(Tape *t, RngKey *key)
{
    if (!t->dropout) return false;
    *key = t->dropout_key;
    key->image = t->dropout_calls++;
    return true;
}

/* --- errors ------------------------------------------------------------------------------------ */

void tape_fail(Tape *t, Status code, const char *format, ...)
{
    if (t->status != STATUS_OK) return; /* the first failure is the cause */
    va_list args;
    va_start(args, format);
    vsnprintf(t->message, sizeof t->message, format, args);
    va_end(args);
    t->status = code;
}

Status tape_status(const Tape *t)
{
    return t->status == STATUS_OK ? STATUS_OK : status_fail(t->status, "%s", t->message);
}

bool tape_failed(const Tape *t)
{
    return t->status != STATUS_OK;
}

static void *fail_memory(Tape *t, size_t bytes)
{
    tape_fail(t, STATUS_NO_MEMORY, "out of memory: %zu bytes", bytes);
    return NULL;
}

/* --- bump allocator ---------------------------------------------------------------------------- */

static void *tape_alloc(Tape *t, size_t bytes)
{
    bytes = (bytes + 15) / 16 * 16;
    if (t->block && t->block->used + bytes > BLOCK_BYTES) {
        t->block = t->block->next;
        if (t->block) t->block->used = 0;
    }
    if (!t->block) {
        Block *b = malloc(sizeof *b);
        if (!b) return fail_memory(t, sizeof *b);
        b->next = NULL;
        b->used = 0;
        Block **tail = &t->blocks;
        while (*tail) tail = &(*tail)->next;
        *tail = b;
        t->block = b;
    }
    void *p = t->block->bytes + t->block->used;
    t->block->used += bytes;
    return memset(p, 0, bytes);
}

/* --- tensors and scopes ------------------------------------------------------------------------ */

static void tensor_hold(Tensor *x)
{
    x->holders++;
}

static void tensor_let_go(Tensor *x)
{
    if (!x || --x->holders > 0) return;
    buffer_release(x->buffer);
    x->buffer = NULL;
    x->data = NULL;
}

static bool scope_push(Tape *t, Tensor *x)
{
    if (t->scope_count == t->scope_capacity) {
        int capacity = t->scope_capacity ? 2 * t->scope_capacity : 256;
        Tensor **grown = realloc(t->scope, (size_t)capacity * sizeof *grown);
        if (!grown) return fail_memory(t, (size_t)capacity * sizeof *grown);
        t->scope = grown;
        t->scope_capacity = capacity;
    }
    t->scope[t->scope_count++] = x;
    tensor_hold(x);
    return true;
}

/* A new tensor is the scope's, or gone when there was no room in it. */
static Tensor *scope_take(Tape *t, Tensor *x)
{
    if (!x || scope_push(t, x)) return x;
    buffer_release(x->buffer);
    return NULL;
}

static Tensor *tensor_struct(Tape *t, DType type, int ndim, const int64_t *dims)
{
    Tensor *x = t->recycled;
    if (x) t->recycled = x->grad;
    else x = tape_alloc(t, sizeof *x);
    if (!x) return NULL;
    *x = (Tensor){.dtype = type, .ndim = ndim};
    memcpy(x->dims, dims, (size_t)ndim * sizeof *dims);
    return x;
}

/* A tensor with memory of its own that no scope holds yet. */
static Tensor *tensor_make(Tape *t, DType type, int ndim, const int64_t *dims)
{
    Tensor *x = tensor_struct(t, type, ndim, dims);
    if (!x) return NULL;
    x->buffer = pool_get(t->pool, tensor_bytes(x));
    if (!x->buffer) return fail_memory(t, tensor_bytes(x));
    x->data = buffer_data(x->buffer);
    return x;
}

Tensor *tape_tensor(Tape *t, DType type, int ndim, const int64_t *dims)
{
    if (tape_failed(t)) return NULL;
    for (int i = 0; i < ndim; i++)
        if (dims[i] < 1) {
            tape_fail(t, STATUS_BAD_INPUT, "tensor with an empty dimension %d: %lld", i, (long long)dims[i]);
            return NULL;
        }
    return scope_take(t, tensor_make(t, type, ndim, dims));
}

Tensor *tape_input(Tape *t, DType type, int ndim, const int64_t *dims, const float *data)
{
    Tensor *x = tape_tensor(t, type, ndim, dims);
    if (x) t->kernels->cast(DTYPE_F32, type, tensor_size(x), data, x->data);
    return x;
}

/* A second struct on the same memory, held by nobody yet. */
static Tensor *tensor_alias(Tape *t, Tensor *x, int ndim, const int64_t *dims)
{
    Tensor *y = tensor_struct(t, x->dtype, ndim, dims);
    if (!y) return NULL;
    y->buffer = buffer_retain(x->buffer);
    y->data = x->data;
    return y;
}

Tensor *tape_view(Tape *t, Tensor *x, int ndim, const int64_t *dims)
{
    if (tape_failed(t)) return NULL;
    return scope_take(t, tensor_alias(t, x, ndim, dims));
}

static void scope_drop(Tape *t, Tensor *x)
{
    tensor_let_go(x);
    if (!t->recording && x->holders == 0 && !x->needs_grad) { /* no node can point at it */
        x->grad = t->recycled;
        t->recycled = x;
    }
}

int tape_scope_begin(Tape *t)
{
    return t->scope_count;
}

Tensor *tape_scope_end(Tape *t, int scope, Tensor *keep)
{
    bool found = false;
    for (int i = scope; i < t->scope_count; i++) {
        if (t->scope[i] == keep) found = true;
        else if (t->scope[i]) scope_drop(t, t->scope[i]);
    }
    t->scope_count = scope;
    if (found) t->scope[t->scope_count++] = keep;
    return keep;
}

void tape_release(Tape *t, Tensor *x)
{
    for (int i = t->scope_count; x && i-- > 0;) {
        if (t->scope[i] != x) continue;
        t->scope[i] = NULL;
        scope_drop(t, x);
        return;
    }
}

/* --- nodes ------------------------------------------------------------------------------------- */

void *tape_node(Tape *t, size_t size, Tensor *out, void (*backward)(Tape *, Node *))
{
    if (!t->recording || tape_failed(t)) return NULL;
    if (t->node_count == t->node_capacity) {
        int capacity = t->node_capacity ? 2 * t->node_capacity : 512;
        Node **grown = realloc(t->nodes, (size_t)capacity * sizeof *grown);
        if (!grown) return fail_memory(t, (size_t)capacity * sizeof *grown);
        t->nodes = grown;
        t->node_capacity = capacity;
    }
    Node *node = tape_alloc(t, size);
    if (!node) return NULL;
    node->backward = backward;
    node->out = out;
    if (t->profile) node->mark = profile_mark(t->profile);
    out->needs_grad = true;
    t->nodes[t->node_count++] = node;
    return node;
}

Tensor *node_hold(void *node, Tensor *x)
{
    Node *n = node;
    if (x) {
        n->held[n->held_count++] = x;
        tensor_hold(x);
    }
    return x;
}

static void node_release(Node *n)
{
    for (int i = 0; i < n->held_count; i++) tensor_let_go(n->held[i]);
    n->held_count = 0;
    if (n->out->grad) {
        tensor_let_go(n->out->grad);
        n->out->grad = NULL;
    }
}

/* --- gradients ---------------------------------------------------------------------------------- */

Tensor *tape_grad_new(Tape *t, Tensor *x)
{
    if (tape_failed(t) || !x->needs_grad) return NULL;
    Tensor *g = tensor_make(t, x->dtype, x->ndim, x->dims);
    if (g) tensor_hold(g);
    return g;
}

/* x->grad and g are both held by us: leave their sum in x->grad. */
static void grad_accumulate(Tape *t, Tensor *x, Tensor *g)
{
    Tensor *into = !buffer_shared(x->grad->buffer) ? x->grad : g;
    Tensor *other = into == g ? x->grad : g;
    if (buffer_shared(into->buffer)) { /* both are in use elsewhere: the sum needs memory of its own */
        Tensor *fresh = tensor_make(t, x->dtype, x->ndim, x->dims);
        if (!fresh) {
            tensor_let_go(g);
            return;
        }
        tensor_hold(fresh);
        t->kernels->axpby(x->dtype, tensor_size(x), 1, x->grad->data, 1, g->data, fresh->data);
        tensor_let_go(x->grad);
        tensor_let_go(g);
        x->grad = fresh;
        return;
    }
    t->kernels->axpby(x->dtype, tensor_size(x), 1, into->data, 1, other->data, into->data);
    tensor_let_go(other);
    x->grad = into;
}

void tape_grad_add(Tape *t, Tensor *x, Tensor *g)
{
    if (tape_failed(t)) tensor_let_go(g); /* an op began it before the failure */
    if (tape_failed(t) || !g) return;
    if (!x->grad) {
        x->grad = g;
        return;
    }
    ProfileMark op = profile_mark(t->profile);
    profile_op(t->profile, "sum of gradients");
    grad_accumulate(t, x, g);
    profile_resume(t->profile, op);
}

void tape_grad_share(Tape *t, Tensor *x, Tensor *g)
{
    if (tape_failed(t) || !x->needs_grad) return;
    Tensor *alias = tensor_alias(t, g, x->ndim, x->dims);
    if (!alias) return;
    tensor_hold(alias);
    tape_grad_add(t, x, alias);
}

static ProfileMark backward_mark(const Node *n)
{
    return (ProfileMark){n->mark.op, n->mark.block, true};
}

static void backward_down_to(Tape *t, int first)
{
    while (t->node_count > first) {
        Node *n = t->nodes[--t->node_count];
        if (n->out->grad && !tape_failed(t)) {
            if (t->profile) profile_resume(t->profile, backward_mark(n));
            n->backward(t, n);
        }
        node_release(n);
    }
}

Status tape_backward(Tape *t, Tensor *y, const float *seed)
{
    if (tape_failed(t)) return tape_status(t);
    if (!y->needs_grad) return status_fail(STATUS_INTERNAL, "backward: nothing that leads to the result was recorded");
    Tensor *g = tape_grad_new(t, y);
    if (g) {
        int64_t n = tensor_size(y);
        if (seed) t->kernels->cast(DTYPE_F32, y->dtype, n, seed, g->data);
        for (int64_t i = 0; !seed && i < n; i++) {
            if (y->dtype == DTYPE_F32) ((float *)g->data)[i] = 1.0f;
            else ((uint16_t *)g->data)[i] = f32_to_bf16(1.0f);
        }
        tape_grad_add(t, y, g);
    }
    bool recording = t->recording;
    t->recording = false;
    backward_down_to(t, 0);
    t->recording = recording;
    return tape_status(t);
}

/* --- checkpointing ------------------------------------------------------------------------------ */

typedef struct CheckpointNode {
    Node node;
    TapeFn fn;
    const void *ctx;
    Tensor *in[MAX_CHECKPOINT_INPUTS];
    int count;
    uint32_t dropout_calls;
} CheckpointNode;

/* Run the function again on copies of its inputs, this time recording, and go back through it. */
static void checkpoint_backward(Tape *t, Node *node)
{
    CheckpointNode *n = (CheckpointNode *)node;
    Tensor *copy[MAX_CHECKPOINT_INPUTS] = {0};
    int first = t->node_count, scope = tape_scope_begin(t);
    uint32_t dropout_calls = t->dropout_calls;
    t->recording = true;
    t->dropout_calls = n->dropout_calls;
    for (int i = 0; i < n->count; i++) {
        if (!n->in[i]) continue;
        copy[i] = tape_view(t, n->in[i], n->in[i]->ndim, n->in[i]->dims);
        if (copy[i]) copy[i]->needs_grad = n->in[i]->needs_grad;
    }
    Tensor *out = tape_failed(t) ? NULL : n->fn(t, n->ctx, copy);
    if (out && !tape_failed(t)) {
        tape_grad_share(t, out, n->node.out->grad);
        tape_scope_end(t, scope, NULL); /* what the backward pass needs is held by the nodes */
    }
    backward_down_to(t, first);
    t->recording = false;
    t->dropout_calls = dropout_calls;
    for (int i = 0; i < n->count; i++)
        if (copy[i] && copy[i]->grad) {
            tape_grad_add(t, n->in[i], copy[i]->grad);
            copy[i]->grad = NULL;
        }
}

Tensor *tape_checkpoint(Tape *t, TapeFn fn, const void *ctx, Tensor **in, int count)
{
    if (tape_failed(t)) return NULL;
    bool recording = t->recording;
    uint32_t dropout_calls = t->dropout_calls;
    int scope = tape_scope_begin(t);
    t->recording = false;
    Tensor *out = tape_scope_end(t, scope, fn(t, ctx, in));
    t->recording = recording;
    if (!out) return NULL;
    CheckpointNode *n = tape_node(t, sizeof *n, out, checkpoint_backward);
    if (!n) return out;
    n->fn = fn;
    n->ctx = ctx;
    n->count = count;
    n->dropout_calls = dropout_calls;
    for (int i = 0; i < count; i++) n->in[i] = node_hold(n, in[i]);
    return out;
}

void tape_reset(Tape *t)
{
    while (t->node_count > 0) node_release(t->nodes[--t->node_count]);
    for (int i = 0; i < t->scope_count; i++) {
        Tensor *x = t->scope[i];
        if (!x) continue;
        if (x->grad) tensor_let_go(x->grad); /* gradients of inputs */
        x->grad = NULL;
        tensor_let_go(x);
    }
    t->scope_count = 0;
    t->recycled = NULL;
    t->block = t->blocks;
    if (t->block) t->block->used = 0;
    t->status = STATUS_OK;
    t->dropout = false;
}
