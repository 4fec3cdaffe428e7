/* The tape: runs ops at once and, while it records, remembers how to take their gradients.
 *
 *     Tape *t;
 *     TRY(tape_new(kernels, &t));
 *     tape_record(t, true);
 *     Tensor *x = tape_input(t, DTYPE_BF16, 4, (int64_t[]){N, 64, 64, 3}, pixels);
 *     Tensor *y = op_conv2d(t, x, &conv);           models are written as such calls, top to bottom
 *     TRY(tape_backward(t, y, d_y));                gradients land in parameters' grad and in inputs' grad
 *     tape_reset(t);
 *
 * Errors are sticky: after the first failure every op returns NULL and does nothing, so model code needs no checks;
 * tape_status() tells at the end, and the message names the op with expected and found shapes.
 *
 * Memory: a tensor is held by the scope it was made in and by every recorded op that needs its data. A model wraps blocks in
 * scopes; when one ends, temporaries go back to the pool at once, whether recording (unless an op holds them) or not. */
#ifndef GLIDE_COMMON_TAPE_H
#define GLIDE_COMMON_TAPE_H

#include "common/kernels.h"
#include "common/profile.h"
#include "common/rng.h"
#include "common/status.h"
#include "common/tensor.h"

typedef struct Tape Tape;

Status tape_new(Kernels *kernels, Tape **out); /* kernels are borrowed */
void tape_free(Tape *t);                       /* NULL is fine */
void tape_reset(Tape *t);                      /* forget all tensors, nodes and errors; keeps memory for the next round */

Kernels *tape_kernels(const Tape *t);
size_t tape_peak_bytes(const Tape *t);

/* Multiplications and additions in convolutions, linear layers and attention since the tape was made, forward and backward. */
double tape_flops(const Tape *t);
void tape_count_flops(Tape *t, double flops); /* for ops */

/* What the ops from here on cost, and in which block (borrowed; its stopwatch is the caller's to start). NULL, as at first: nobody
 * asks, and the functions below do nothing. Recorded ops remember their name and block for the backward pass. */
void tape_set_profile(Tape *t, Profile *profile);
void tape_op(Tape *t, const char *name);                  /* ops say what they are, models what they do beside ops; a literal */
void tape_block(Tape *t, const char *group, int i);       /* models: ops now belong to GROUP.i, or to GROUP when i < 0 */

void tape_record(Tape *t, bool on); /* off at first */
bool tape_recording(const Tape *t);

/* Activations' dtype: what models cast their inputs to. f32 at first. */
void tape_set_dtype(Tape *t, DType type);
DType tape_dtype(const Tape *t);
/* With bf16 activations, what layers call wide (ops.h) stays f32: results that are only normalised or added, which makes no
 * multiplication dearer. For sampling: while the tape records, nothing is wide. Off at first. */
void tape_set_wide(Tape *t, bool on);
bool tape_wide(const Tape *t);        /* is anything? */
DType tape_wide_dtype(const Tape *t); /* of what is: f32, or the activations' dtype */

/* Dropout draws from this key (stream RNG_DROPOUT); probability 0 until set, so that sampling never drops. */
void tape_set_dropout(Tape *t, RngKey key);
bool tape_next_dropout(Tape *t, RngKey *key); /* for op_dropout: a key of its own for each call; false: no dropout now */

/* --- tensors --- */
/* Uninitialised, held by the current scope. NULL after an error. */
Tensor *tape_tensor(Tape *t, DType type, int ndim, const int64_t *dims);
/* A copy of f32 `data` in the given type. */
Tensor *tape_input(Tape *t, DType type, int ndim, const int64_t *dims, const float *data);
/* The same memory under another shape with the same number of elements; no gradient flows through (see op_reshape). */
Tensor *tape_view(Tape *t, Tensor *x, int ndim, const int64_t *dims);

/* --- scopes --- */
int tape_scope_begin(Tape *t);
/* Let go of everything made since begin, but `keep` (may be NULL), which moves to the outer scope. Returns keep. */
Tensor *tape_scope_end(Tape *t, int scope, Tensor *keep);
/* The current scope lets go of x before its end. */
void tape_release(Tape *t, Tensor *x);

/* --- errors --- */
void tape_fail(Tape *t, Status code, const char *format, ...) __attribute__((format(printf, 3, 4)));
Status tape_status(const Tape *t); /* also puts the message in place for status_message() */
bool tape_failed(const Tape *t);

/* --- for ops --- */
typedef struct Node Node;
struct Node {
    void (*backward)(Tape *t, Node *node); /* reads out->grad, contributes to inputs' and parameters' gradients */
    Tensor *out;
    Tensor *held[4];
    int held_count;
    ProfileMark mark; /* of the op */
};

/* Append a node of `size` bytes that starts with a Node, zero-filled, for an op whose result is `out`.
 * NULL when not recording (or out of memory, which is sticky). */
void *tape_node(Tape *t, size_t size, Tensor *out, void (*backward)(Tape *, Node *));
/* The node keeps x's data until its backward has run. Returns x. */
Tensor *node_hold(void *node, Tensor *x);

/* A new tensor shaped like x for a contribution to d_x; NULL when x needs no gradient. */
Tensor *tape_grad_new(Tape *t, Tensor *x);
/* Add g to d_x (g is consumed). */
void tape_grad_add(Tape *t, Tensor *x, Tensor *g);
/* Add g to d_x where g stays in use elsewhere (a gradient passed through unchanged). */
void tape_grad_share(Tape *t, Tensor *x, Tensor *g);

/* --- backward --- */
/* Gradient of sum(seed * y) for all recorded parameters and inputs. seed: f32, y's shape; NULL means ones. */
Status tape_backward(Tape *t, Tensor *y, const float *seed);

/* Run fn(t, ctx, in) without keeping its inside; the backward pass runs it again. fn must be a function of its arguments and
 * of parameters only. At most 4 inputs. When not recording, just runs fn in a scope. */
typedef Tensor *(*TapeFn)(Tape *t, const void *ctx, Tensor **in);
Tensor *tape_checkpoint(Tape *t, TapeFn fn, const void *ctx, Tensor **in, int count);

#endif
