/* Convolution and linear layers by oneDNN (Debian: libdnnl-dev; C API v2, or v3 where the system is newer).
 *
 * Activations stay plain NHWC. Weights are packed once per version of the parameter into the layout that oneDNN asks
 * for. Primitives are created once per shape and kept; a call in the steady state allocates nothing. A linear layer is
 * a 1x1 convolution over (1,rows,1,in): measured as fast as matmul and inner product, and its results have the same
 * bits for any number of rows and threads. What oneDNN refuses (or would do with its slow reference code) goes to the
 * entry that was in the table before. Backward weights come out blocked and are added to the plain gradient by a
 * reorder. */
#include "common/onednn.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- running --- */

Key onednn_key(const ConvShape *s, Op op, bool bias, Residual residual)
{
    Key key;
    memset(&key, 0, sizeof key);
    bool pointwise = s->kernel == 1 && s->stride == 1; /* images and rows are all the same then */
    key.N = pointwise ? 1 : s->N;
    key.H = pointwise ? s->N * s->H * s->W : s->H;
    key.W = pointwise ? 1 : s->W;
    key.Cin = s->Cin;
    key.Cout = s->Cout;
    key.kernel = s->kernel;
    key.stride = s->stride;
    key.dtype = s->dtype;
    key.out_dtype = op == OP_FORWARD ? s->out_dtype : s->dtype;
    key.op = op;
    key.bias = bias;
    key.residual = residual;
    key.residual_dtype = residual == RESIDUAL_SEPARATE && !s->residual_f32 ? s->out_dtype : DTYPE_F32;
    key.threads = omp_get_max_threads();
    return key;
}

void onednn_call_add(Call *c, int arg, dnnl_memory_t memory, const void *handle)
{
    if (!memory) return;
    if (c->status == dnnl_success) c->status = dnnl_memory_set_data_handle(memory, (void *)(uintptr_t)handle);
    c->args[c->count++] = (dnnl_exec_arg_t){arg, memory};
}

Status onednn_call_run(Onednn *o, const Prim *p, Call *c)
{
    if (c->status == dnnl_success) c->status = dnnl_primitive_execute(p->primitive, o->stream, c->count, c->args);
    if (c->status == dnnl_success) c->status = dnnl_stream_wait(o->stream);
    return c->status == dnnl_success ? STATUS_OK : onednn_fail(c->status, "execution", &p->key);
}

Status onednn_forward_packed(Kernels *k, const Prim *p, const void *block, const void *x, const Param *bias, const void *residual,
                             void *y, void *scratchpad)
{
    Call c = {.status = dnnl_success};
    onednn_call_add(&c, DNNL_ARG_WEIGHTS, p->layout->blocked, block);
    onednn_call_add(&c, DNNL_ARG_SRC, p->x, x);
    onednn_call_add(&c, DNNL_ARG_BIAS, p->bias, bias ? bias->value : NULL);
    onednn_call_add(&c, DNNL_ARG_DST, p->y, y);
    onednn_call_add(&c, DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, p->residual, residual);
    onednn_call_add(&c, DNNL_ARG_SCRATCHPAD, p->scratchpad, scratchpad);
    return onednn_call_run(k->onednn, p, &c);
}

static Residual residual_kind(const void *residual, const void *y)
{
    return !residual ? RESIDUAL_NONE : residual == y ? RESIDUAL_IN_PLACE : RESIDUAL_SEPARATE;
}

static Status run_forward(Kernels *k, const Prim *p, const void *x, Param *weight, const Param *bias,
                          const void *residual, void *y)
{
    const Packed *packed;
    TRY(onednn_packed(k, p, weight, &packed));
    char *scratch = kernels_scratch(k, p->scratchpad_bytes + 64);
    if (!scratch) return STATUS_NO_MEMORY;
    return onednn_forward_packed(k, p, packed->block, x, bias, residual, y, scratch);
}

static size_t y_elements(const ConvShape *s)
{
    return (size_t)(s->N * onednn_out_size(s->H, s->stride) * onednn_out_size(s->W, s->stride) * s->Cout);
}

/* The backward primitives want d_y in x's type; a model's f32 output with bf16 inside is cast into `scratch`. */
static const void *matching_d_y(Kernels *k, const ConvShape *s, const void *d_y, void *scratch)
{
    if (s->out_dtype == s->dtype) return d_y;
    k->cast(s->out_dtype, s->dtype, (int64_t)y_elements(s), d_y, scratch);
    return scratch;
}

static size_t matching_d_y_bytes(const ConvShape *s)
{
    return s->out_dtype == s->dtype ? 0 : ALIGN64(y_elements(s) * dtype_size(s->dtype));
}

static Status run_backward_data(Kernels *k, const ConvShape *s, const Prim *p, const void *d_y, Param *weight,
                                void *d_x)
{
    Call c = {.status = dnnl_success};
    const Packed *packed;
    TRY(onednn_packed(k, p, weight, &packed));
    char *scratch = kernels_scratch(k, matching_d_y_bytes(s) + p->scratchpad_bytes + 64);
    if (!scratch) return STATUS_NO_MEMORY;
    onednn_call_add(&c, DNNL_ARG_WEIGHTS, p->layout->blocked, packed->block);
    onednn_call_add(&c, DNNL_ARG_DIFF_DST, p->y, matching_d_y(k, s, d_y, scratch));
    onednn_call_add(&c, DNNL_ARG_DIFF_SRC, p->x, d_x);
    onednn_call_add(&c, DNNL_ARG_SCRATCHPAD, p->scratchpad, scratch + matching_d_y_bytes(s));
    return onednn_call_run(k->onednn, p, &c);
}

Status onednn_plain_gradient(Kernels *k, const Prim *p, float *plain)
{
    Onednn *o = k->onednn;
    const Layout *l = p->layout;
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, l->blocked}, {DNNL_ARG_TO, l->plain}};
    dnnl_status_t st = dnnl_memory_set_data_handle(l->plain, plain);
    if (st == dnnl_success) st = dnnl_primitive_execute(l->reorder, o->stream, 2, args);
    if (st == dnnl_success) st = dnnl_stream_wait(o->stream);
    return st == dnnl_success ? STATUS_OK : onednn_fail(st, "accumulation", &p->key);
}

/* d_weight += the gradient at `blocked`, where the layout's memory points already */
static Status add_gradient(Kernels *k, const Prim *p, const void *blocked, float *d_weight)
{
    const Layout *l = p->layout;
    if (l->reorder) return onednn_plain_gradient(k, p, d_weight);
    k->axpby(DTYPE_F32, (int64_t)(l->bytes / sizeof(float)), 1, d_weight, 1, blocked, d_weight);
    return STATUS_OK;
}

static Status run_backward_weights(Kernels *k, const ConvShape *s, const Prim *p, const void *x, const void *d_y,
                                   float *d_weight, pthread_mutex_t *lock, float *d_bias)
{
    Onednn *o = k->onednn;
    const Layout *l = p->layout;
    Call c = {.status = dnnl_success};
    size_t blocked_at = matching_d_y_bytes(s), bias_at = blocked_at + ALIGN64(l->bytes);
    size_t scratchpad_at = bias_at + ALIGN64(s->Cout * 4);
    char *scratch = kernels_scratch(k, scratchpad_at + p->scratchpad_bytes + 64);
    if (!scratch) return STATUS_NO_MEMORY;
    onednn_call_add(&c, DNNL_ARG_SRC, p->x, x);
    onednn_call_add(&c, DNNL_ARG_DIFF_DST, p->y, matching_d_y(k, s, d_y, scratch));
    onednn_call_add(&c, DNNL_ARG_DIFF_WEIGHTS, l->blocked, scratch + blocked_at);
    onednn_call_add(&c, DNNL_ARG_DIFF_BIAS, p->bias, scratch + bias_at);
    onednn_call_add(&c, DNNL_ARG_SCRATCHPAD, p->scratchpad, scratch + scratchpad_at);
    TRY(onednn_call_run(o, p, &c));

    if (lock) pthread_mutex_lock(lock);
    Status added = add_gradient(k, p, scratch + blocked_at, d_weight);
    if (lock) pthread_mutex_unlock(lock);
    TRY(added);
    const float *bias = (const float *)(scratch + bias_at);
    for (int64_t i = 0; d_bias && i < s->Cout; i++) d_bias[i] += bias[i];
    return STATUS_OK;
}

/* --- the entries --- */

static bool wants_int8(const Kernels *k, const Param *weight, DType dtype)
{
    return weight->int8 && k->native_int8 && dtype == DTYPE_BF16;
}

static Status conv2d(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias,
                     const void *residual, void *y)
{
    Onednn *o = k->onednn;
    Prim *p;
    bool done;
    if (wants_int8(k, weight, s->dtype)) {
        Status status = onednn_int8_forward(k, s, x, weight, bias, residual, y, &done);
        if (status != STATUS_OK || done) return status;
    }
    TRY(onednn_forward_in_parts(k, s, x, weight, bias, residual, y, &done));
    if (done) return STATUS_OK;
    Key key = onednn_key(s, OP_FORWARD, bias != NULL, residual_kind(residual, y));
    TRY(onednn_primitive(o, &key, &p));
    if (p->refused) return o->fallback.conv2d(k, s, x, weight, bias, residual, y);
    return run_forward(k, p, x, weight, bias, residual, y);
}

static Status conv2d_backward_data(Kernels *k, const ConvShape *s, const void *d_y, Param *weight, void *d_x)
{
    Onednn *o = k->onednn;
    Prim *p;
    Key key = onednn_key(s, OP_BACKWARD_DATA, false, RESIDUAL_NONE);
    TRY(onednn_primitive(o, &key, &p));
    if (p->refused) return o->fallback.conv2d_backward_data(k, s, d_y, weight, d_x);
    return run_backward_data(k, s, p, d_y, weight, d_x);
}

static Status conv2d_backward_weights(Kernels *k, const ConvShape *s, const void *x, const void *d_y, float *d_weight,
                                      pthread_mutex_t *lock, float *d_bias)
{
    Onednn *o = k->onednn;
    Prim *p;
    Key key = onednn_key(s, OP_BACKWARD_WEIGHTS, d_bias != NULL, RESIDUAL_NONE);
    TRY(onednn_primitive(o, &key, &p));
    if (p->refused || !d_weight) return o->fallback.conv2d_backward_weights(k, s, x, d_y, d_weight, lock, d_bias);
    return run_backward_weights(k, s, p, x, d_y, d_weight, lock, d_bias);
}

/* Linear layers: 1x1 convolutions over the rows. */
static ConvShape conv_of_linear(const LinearShape *s)
{
    return (ConvShape){.N = 1,
                       .H = s->rows,
                       .W = 1,
                       .Cin = s->in,
                       .Cout = s->out,
                       .kernel = 1,
                       .stride = 1,
                       .dtype = s->dtype,
                       .out_dtype = s->out_dtype};
}

static Status linear(Kernels *k, const LinearShape *s, const void *x, Param *weight, const Param *bias,
                     const void *residual, void *y)
{
    Onednn *o = k->onednn;
    Prim *p;
    ConvShape c = conv_of_linear(s);
    if (wants_int8(k, weight, s->dtype)) {
        ConvShape images = c;
        bool done;
        images.N = s->images > 0 ? s->images : 1;
        images.H = s->rows / images.N;
        Status status = onednn_int8_forward(k, &images, x, weight, bias, residual, y, &done);
        if (status != STATUS_OK || done) return status;
    }
    Key key = onednn_key(&c, OP_FORWARD, bias != NULL, residual_kind(residual, y));
    TRY(onednn_primitive(o, &key, &p));
    if (p->refused) return o->fallback.linear(k, s, x, weight, bias, residual, y);
    return run_forward(k, p, x, weight, bias, residual, y);
}

static Status linear_backward_data(Kernels *k, const LinearShape *s, const void *d_y, Param *weight, void *d_x)
{
    Onednn *o = k->onednn;
    Prim *p;
    ConvShape c = conv_of_linear(s);
    Key key = onednn_key(&c, OP_BACKWARD_DATA, false, RESIDUAL_NONE);
    TRY(onednn_primitive(o, &key, &p));
    if (p->refused) return o->fallback.linear_backward_data(k, s, d_y, weight, d_x);
    return run_backward_data(k, &c, p, d_y, weight, d_x);
}

static Status linear_backward_weights(Kernels *k, const LinearShape *s, const void *x, const void *d_y, float *d_weight,
                                      pthread_mutex_t *lock, float *d_bias)
{
    Onednn *o = k->onednn;
    Prim *p;
    ConvShape c = conv_of_linear(s);
    Key key = onednn_key(&c, OP_BACKWARD_WEIGHTS, d_bias != NULL, RESIDUAL_NONE);
    TRY(onednn_primitive(o, &key, &p));
    if (p->refused || !d_weight) return o->fallback.linear_backward_weights(k, s, x, d_y, d_weight, lock, d_bias);
    return run_backward_weights(k, &c, p, x, d_y, d_weight, lock, d_bias);
}

/* --- installing --- */

Status onednn_install(Kernels *k)
{
    Onednn *o = calloc(1, sizeof *o);
    if (!o) return status_fail(STATUS_NO_MEMORY, "out of memory for oneDNN's state");
    o->fallback = *k;
    k->onednn = o;
    dnnl_status_t st = dnnl_engine_create(&o->engine, dnnl_cpu, 0);
    if (st == dnnl_success) st = dnnl_stream_create(&o->stream, o->engine, dnnl_stream_default_flags);
    if (st != dnnl_success) {
        onednn_remove(k);
        return status_fail(STATUS_INTERNAL, "oneDNN: no CPU engine (status %d)", (int)st);
    }
    const dnnl_version_t *v = dnnl_version();
    snprintf(o->name, sizeof o->name, "onednn %d.%d.%d + %s", v->major, v->minor, v->patch, k->name);
    k->name = o->name;
    k->native_bf16 = (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
    k->native_int8 = (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_vnni) == dnnl_cpu_isa_avx512_core_vnni;
    k->conv2d = conv2d;
    k->conv2d_upsampled = onednn_conv2d_upsampled;
    k->conv2d_upsampled_backward_data = onednn_conv2d_upsampled_backward_data;
    k->conv2d_upsampled_backward_weights = onednn_conv2d_upsampled_backward_weights;
    k->conv2d_backward_data = conv2d_backward_data;
    k->conv2d_backward_weights = conv2d_backward_weights;
    k->linear = linear;
    k->linear_backward_data = linear_backward_data;
    k->linear_backward_weights = linear_backward_weights;
    k->pack_shared = onednn_pack_shared;
    return STATUS_OK;
}

void onednn_remove(Kernels *k)
{
    Onednn *o = k->onednn;
    if (!o) return;
    onednn_primitives_free(o);
    if (o->stream) dnnl_stream_destroy(o->stream);
    if (o->engine) dnnl_engine_destroy(o->engine);
    k->onednn = NULL;
    k->name = o->fallback.name;
    free(o);
}
