/* oneDNN's primitives for convolutions: describing, creating, finding again. See onednn.h. */
#include "common/onednn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the differences between the API's versions 2 and 3 --- */
#if DNNL_VERSION_MAJOR >= 3
#define desc_init_tag       dnnl_memory_desc_create_with_tag
#define append_sum(ops)     dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef)
#define set_runtime_zero(a) dnnl_primitive_attr_set_zero_points_mask(a, DNNL_ARG_SRC, 0)
#else
#define desc_init_tag       dnnl_memory_desc_init_by_tag
#define append_sum(ops)     dnnl_post_ops_append_sum(ops, 1.0f)
#define set_runtime_zero(a) dnnl_primitive_attr_set_zero_points(a, DNNL_ARG_SRC, 1, 0, &(int32_t){DNNL_RUNTIME_S32_VAL})
#endif

/* The gradient of 1x1 weights is done by inner products of (rows,Cin) and (rows,Cout) into a plain matrix: 1.1 to 1.7
 * times the rate of the convolution's. The other passes are convolutions. */
static bool is_product(const Key *key)
{
    return key->op == OP_BACKWARD_WEIGHTS && key->kernel == 1 && key->stride == 1;
}

typedef struct ConvDescs {
    Desc x, weight, bias, y;
    bool has_bias, product;
    dnnl_dims_t strides, pad_left, pad_right;
} ConvDescs;

/* Forward results must have the same bits for any batch and number of threads, but the brgemm kernels of 2.6 pick the
 * order of the sum over kernel positions and blocks of channels from a cost model that looks at both. It is one block,
 * and the order fixed, as long as the weights of a block of outputs fit well into the L2 cache: 512 bytes of channels
 * are half of what was seen to differ with 1 MiB. For larger 3x3 kernels, and for a residual in memory of its own
 * (where they serve only a y of one position, taking the residual for a second bias), the other kernels it is; up to
 * 192 channels they are as fast. */
static bool brgemm_is_safe(const Key *key)
{
    if (key->op == OP_BACKWARD_DATA) return key->kernel != 4; /* a forward pass, too (onednn_upsampled.c) */
    if (key->op != OP_FORWARD || key->int8) return true; /* sums of whole numbers are exact in any order */
    if (key->residual == RESIDUAL_SEPARATE) return false;
    return key->kernel == 1 || key->Cin * (int64_t)dtype_size((DType)key->dtype) <= 512;
}

/* Found by comparing random shapes with the plain C kernels: 2.6's bf16 1x1 kernels give wrong numbers for some row
 * counts when they sum over an odd number of channels, and its bf16 backward weights of stride 2 read unset scratch for
 * images one wide. */
static bool jit_bf16_is_safe(const Key *key, bool is_1x1)
{
    if (key->op == OP_BACKWARD_WEIGHTS) return key->stride == 1 || key->W > 1;
    return !is_1x1 || (key->op == OP_FORWARD ? key->Cin : key->Cout) % 2 == 0;
}

static bool is_wanted(const_dnnl_primitive_desc_t pd, const Key *key)
{
    const char *name = "ref"; /* the slow reference code */
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name);
    if (strstr(name, "ref")) return false;
    if (strstr(name, "brg")) return brgemm_is_safe(key);
    return !strstr(name, "jit_bf16") || jit_bf16_is_safe(key, strstr(name, "1x1"));
}

#if DNNL_VERSION_MAJOR >= 3
static dnnl_status_t create_op(Op op, const ConvDescs *c, const_dnnl_primitive_attr_t attr, dnnl_engine_t engine,
                               const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out)
{
    DescRef b = c->has_bias ? c->bias : NULL;
    const dnnl_alg_kind_t alg = dnnl_convolution_direct;
    if (c->product && op == OP_FORWARD)
        return dnnl_inner_product_forward_primitive_desc_create(out, engine, dnnl_forward_training, c->x, c->weight, b,
                                                                c->y, attr);
    if (c->product)
        return dnnl_inner_product_backward_weights_primitive_desc_create(out, engine, c->x, c->weight, b, c->y, hint,
                                                                         attr);
    if (op == OP_FORWARD)
        return dnnl_convolution_forward_primitive_desc_create(out, engine, dnnl_forward_training, alg, c->x, c->weight,
                                                              b, c->y, c->strides, NULL, c->pad_left, c->pad_right,
                                                              attr);
    if (op == OP_BACKWARD_DATA)
        return dnnl_convolution_backward_data_primitive_desc_create(out, engine, alg, c->x, c->weight, c->y, c->strides,
                                                                    NULL, c->pad_left, c->pad_right, hint, attr);
    return dnnl_convolution_backward_weights_primitive_desc_create(
        out, engine, alg, c->x, c->weight, b, c->y, c->strides, NULL, c->pad_left, c->pad_right, hint, attr);
}

/* The first implementation that is wanted; dnnl_unimplemented when there is none. */
static dnnl_status_t describe_op(const Key *key, const ConvDescs *c, const_dnnl_primitive_attr_t attr,
                                 dnnl_engine_t engine, const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out)
{
    dnnl_status_t st = create_op((Op)key->op, c, attr, engine, hint, out);
    while (st == dnnl_success && !is_wanted(*out, key)) st = dnnl_primitive_desc_next_impl(*out);
    if (st != dnnl_success && *out) {
        dnnl_primitive_desc_destroy(*out);
        *out = NULL;
    }
    return st == dnnl_last_impl_reached ? dnnl_unimplemented : st;
}
#else
typedef union OpDesc {
    dnnl_convolution_desc_t convolution;
    dnnl_inner_product_desc_t product;
} OpDesc;

static dnnl_status_t op_desc_init(Op op, const ConvDescs *c, OpDesc *desc)
{
    const dnnl_memory_desc_t *b = c->has_bias ? &c->bias : NULL;
    const dnnl_alg_kind_t alg = dnnl_convolution_direct;
    dnnl_convolution_desc_t *d = &desc->convolution;
    if (c->product && op == OP_FORWARD)
        return dnnl_inner_product_forward_desc_init(&desc->product, dnnl_forward_training, &c->x, &c->weight, b, &c->y);
    if (c->product) return dnnl_inner_product_backward_weights_desc_init(&desc->product, &c->x, &c->weight, b, &c->y);
    if (op == OP_FORWARD)
        return dnnl_convolution_forward_desc_init(d, dnnl_forward_training, alg, &c->x, &c->weight, b, &c->y,
                                                  c->strides, c->pad_left, c->pad_right);
    if (op == OP_BACKWARD_DATA)
        return dnnl_convolution_backward_data_desc_init(d, alg, &c->x, &c->weight, &c->y, c->strides, c->pad_left,
                                                        c->pad_right);
    return dnnl_convolution_backward_weights_desc_init(d, alg, &c->x, &c->weight, b, &c->y, c->strides, c->pad_left,
                                                       c->pad_right);
}

/* The first implementation that is wanted; dnnl_unimplemented when there is none. */
static dnnl_status_t describe_op(const Key *key, const ConvDescs *c, const_dnnl_primitive_attr_t attr,
                                 dnnl_engine_t engine, const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out)
{
    OpDesc d; /* the iterator keeps a pointer to it */
    dnnl_primitive_desc_iterator_t it = NULL;
    dnnl_status_t st = op_desc_init((Op)key->op, c, &d);
    if (st == dnnl_success) st = dnnl_primitive_desc_iterator_create(&it, &d, attr, engine, hint);
    while (st == dnnl_success) {
        *out = dnnl_primitive_desc_iterator_fetch(it);
        if (*out && is_wanted(*out, key)) break;
        if (*out) dnnl_primitive_desc_destroy(*out);
        *out = NULL;
        st = dnnl_primitive_desc_iterator_next(it);
    }
    if (it) dnnl_primitive_desc_iterator_destroy(it);
    return st == dnnl_iterator_ends ? dnnl_unimplemented : st;
}
#endif

Status onednn_fail(dnnl_status_t st, const char *what, const Key *key)
{
    static const char *const names[] = {"forward", "backward data", "backward weights"};
    char why[32];
    snprintf(why, sizeof why, st == dnnl_out_of_memory ? "out of memory" : "status %d", (int)st);
    return status_fail(st == dnnl_out_of_memory ? STATUS_NO_MEMORY : STATUS_INTERNAL,
                       "oneDNN: %s for convolution %s (%lld,%lld,%lld,%lld)->%lld kernel %d stride %d failed: %s", what,
                       names[key->op], (long long)key->N, (long long)key->H, (long long)key->W, (long long)key->Cin,
                       (long long)key->Cout, key->kernel, key->stride, why);
}

static dnnl_data_type_t data_type(int dtype)
{
    return dtype == DTYPE_F32 ? dnnl_f32 : dnnl_bf16;
}

/* Without 8 bits; those that multiply with the weights say it, x or the gradient of y. */
static DType weight_dtype(const Key *key)
{
    return key->op == OP_BACKWARD_WEIGHTS ? DTYPE_F32 : (DType)(key->op == OP_FORWARD ? key->dtype : key->out_dtype);
}

static dnnl_data_type_t x_type(const Key *key)
{
    return key->int8 ? dnnl_u8 : data_type(key->dtype);
}

/* --- creating primitives --- */

static void descs_release(ConvDescs *c)
{
    desc_release(c->x);
    desc_release(c->weight);
    desc_release(c->bias);
    desc_release(c->y);
}

/* (rows,Cin) and (rows,Cout), weights plain */
static dnnl_status_t product_descs_init(ConvDescs *c, const Key *key, dnnl_data_type_t weight_type)
{
    dnnl_dims_t x = {key->N * key->H * key->W, key->Cin}, y = {x[0], key->Cout}, weight = {key->Cout, key->Cin};
    dnnl_status_t st = desc_init_tag(&c->x, 2, x, data_type(key->dtype), dnnl_ab);
    if (st == dnnl_success) st = desc_init_tag(&c->weight, 2, weight, weight_type, dnnl_ab);
    if (st == dnnl_success) st = desc_init_tag(&c->y, 2, y, data_type(key->dtype), dnnl_ab);
    return st;
}

/* Of a result, or of what has its shape. */
static dnnl_status_t y_desc_init(Desc *d, const Key *key, int dtype)
{
    dnnl_dims_t y = {key->N, key->Cout, onednn_out_size(key->H, key->stride), onednn_out_size(key->W, key->stride)};
    return desc_init_tag(d, 4, y, data_type(dtype), dnnl_nhwc);
}

static dnnl_status_t conv_descs_init(ConvDescs *c, const Key *key, dnnl_data_type_t weight_type)
{
    dnnl_dims_t x = {key->N, key->Cin, key->H, key->W}, weight = {key->Cout, key->Cin, key->kernel, key->kernel};
    for (int i = 0; i < 2; i++) {
        int64_t pad = (key->kernel - 1) / 2;
        c->strides[i] = key->stride;
        c->pad_left[i] = pad;
        c->pad_right[i] = (onednn_out_size(x[2 + i], key->stride) - 1) * key->stride + key->kernel - x[2 + i] - pad;
    }
    dnnl_status_t st = desc_init_tag(&c->x, 4, x, x_type(key), dnnl_nhwc);
    if (st == dnnl_success) st = desc_init_tag(&c->weight, 4, weight, weight_type, dnnl_format_tag_any);
    if (st == dnnl_success) st = y_desc_init(&c->y, key, key->out_dtype);
    return st;
}

static dnnl_status_t descs_init(ConvDescs *c, const Key *key, bool product)
{
    dnnl_dims_t bias = {key->Cout};
    dnnl_data_type_t weight_type = key->int8 ? dnnl_s8 : data_type(weight_dtype(key));
    memset(c, 0, sizeof *c);
    c->has_bias = key->bias && !key->int8; /* there it comes behind the factors, see attr_init() */
    c->product = product;
    dnnl_status_t st = desc_init_tag(&c->bias, 1, bias, dnnl_f32, dnnl_x);
    if (st != dnnl_success) return st;
    return c->product ? product_descs_init(c, key, weight_type) : conv_descs_init(c, key, weight_type);
}

/* A number for each output channel of a (N,H,W,Cout) result. */
static dnnl_status_t channels_desc_init(Desc *d, const Key *key)
{
    dnnl_dims_t dims = {1, key->Cout, 1, 1};
    return desc_init_tag(d, 4, dims, dnnl_f32, dnnl_nchw);
}

/* (x - zero) w * scales + bias, where zero, scales and bias are arguments of each call. */
static dnnl_status_t append_int8(dnnl_primitive_attr_t attr, dnnl_post_ops_t ops, const Key *key)
{
    Desc channels;
    dnnl_status_t st = channels_desc_init(&channels, key);
    if (st != dnnl_success) return st;
    st = set_runtime_zero(attr);
    if (st == dnnl_success) st = dnnl_post_ops_append_binary(ops, dnnl_binary_mul, DESC_REF(channels));
    if (st == dnnl_success && key->bias) st = dnnl_post_ops_append_binary(ops, dnnl_binary_add, DESC_REF(channels));
    desc_release(channels);
    return st;
}

static dnnl_status_t append_residual(dnnl_post_ops_t ops, const Key *key)
{
    Desc residual;
    dnnl_status_t st = y_desc_init(&residual, key, key->residual_dtype);
    if (st != dnnl_success) return st;
    st = dnnl_post_ops_append_binary(ops, dnnl_binary_add, DESC_REF(residual));
    desc_release(residual);
    return st;
}

static dnnl_status_t attr_init(dnnl_primitive_attr_t *attr, const Key *key, Residual residual)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t st = dnnl_primitive_attr_create(attr);
    if (st == dnnl_success) st = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (st == dnnl_success) st = dnnl_post_ops_create(&ops);
    if (st == dnnl_success && key->int8) st = append_int8(*attr, ops, key);
    if (st == dnnl_success && residual == RESIDUAL_IN_PLACE) st = append_sum(ops);
    if (st == dnnl_success && residual == RESIDUAL_SEPARATE) st = append_residual(ops, key);
    if (st == dnnl_success) st = dnnl_primitive_attr_set_post_ops(*attr, ops);
    if (ops) dnnl_post_ops_destroy(ops);
    return st;
}

/* Of a reorder, which may add to what is there. It is called without scratch memory, and the one into int8 wants some. */
static dnnl_status_t reorder_attr_init(dnnl_primitive_attr_t *attr, bool add)
{
    static const Key plain;
    dnnl_status_t st = attr_init(attr, &plain, add ? RESIDUAL_IN_PLACE : RESIDUAL_NONE);
    return st == dnnl_success ? dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_library) : st;
}

/* The primitive descriptor for a key; dnnl_unimplemented when oneDNN has none, or none that is wanted. */
static dnnl_status_t describe(const Onednn *o, const Key *key, dnnl_primitive_desc_t *out)
{
    ConvDescs c;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t hint = NULL;
    dnnl_status_t st = descs_init(&c, key, is_product(key));
    if (st == dnnl_success) st = attr_init(&attr, key, (Residual)key->residual);
    if (st == dnnl_success && key->op != OP_FORWARD) {
        ConvDescs f;
        Key forward = *key; /* the description that the backward ones start from */
        forward.op = OP_FORWARD;
        forward.dtype = key->out_dtype;
        st = descs_init(&f, &forward, c.product);
        if (st == dnnl_success) st = describe_op(&forward, &f, NULL, o->engine, NULL, &hint);
        descs_release(&f);
    }
    if (st == dnnl_success) st = describe_op(key, &c, attr, o->engine, hint, out);
    if (hint) dnnl_primitive_desc_destroy(hint);
    if (attr) dnnl_primitive_attr_destroy(attr);
    descs_release(&c);
    return st;
}

static void layout_free(Layout *l)
{
    if (l->reorder) dnnl_primitive_destroy(l->reorder);
    if (l->plain) dnnl_memory_destroy(l->plain);
    if (l->blocked) dnnl_memory_destroy(l->blocked);
    desc_release(l->desc);
    free(l);
}

static dnnl_status_t layout_init(const Onednn *o, const Key *key, DescRef desc, Layout *l)
{
    bool gradient = key->op == OP_BACKWARD_WEIGHTS;
    dnnl_dims_t dims = {key->Cout, key->Cin, key->kernel, key->kernel};
    Desc plain;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    l->bytes = dnnl_memory_desc_get_size(desc);
    l->dtype = weight_dtype(key);
    l->int8 = key->int8;
    l->doubling = key->kernel == 4;
    size_t each = key->int8 ? 1 : dtype_size(l->dtype);
    l->padded = l->bytes > each * (size_t)(key->Cout * key->Cin * key->kernel * key->kernel);
    dnnl_status_t st = desc_copy(&l->desc, desc);
    if (st == dnnl_success) st = dnnl_memory_create(&l->blocked, desc, o->engine, DNNL_MEMORY_NONE);
    if (st != dnnl_success || is_product(key)) return st;
    dnnl_data_type_t plain_type = key->int8 ? dnnl_s8 : l->doubling ? data_type(l->dtype) : dnnl_f32;
    st = desc_init_tag(&plain, 4, dims, plain_type, dnnl_oihw);
    if (st != dnnl_success) return st;
    st = reorder_attr_init(&attr, gradient && !l->doubling);
    if (st == dnnl_success)
        st = dnnl_reorder_primitive_desc_create(&pd, gradient ? desc : DESC_REF(plain), o->engine,
                                                gradient ? DESC_REF(plain) : desc, o->engine, attr);
    if (st == dnnl_success) st = dnnl_primitive_create(&l->reorder, pd);
    if (st == dnnl_success) st = dnnl_memory_create(&l->plain, DESC_REF(plain), o->engine, DNNL_MEMORY_NONE);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    desc_release(plain);
    return st;
}

/* The layout equal to `desc`, made on first use. */
static dnnl_status_t layout_get(Onednn *o, const Key *key, DescRef desc, Layout **out)
{
    Layout **list = key->op == OP_BACKWARD_WEIGHTS ? &o->gradient_layouts : &o->layouts;
    for (Layout *l = *list; l; l = l->next) {
        if (dnnl_memory_desc_equal(DESC_REF(l->desc), desc)) {
            *out = l;
            return dnnl_success;
        }
    }
    Layout *l = calloc(1, sizeof *l);
    if (!l) return dnnl_out_of_memory;
    dnnl_status_t st = layout_init(o, key, desc, l);
    if (st != dnnl_success) {
        layout_free(l);
        return st;
    }
    l->next = *list;
    *list = l;
    *out = l;
    return dnnl_success;
}

static void prim_free(Prim *p)
{
    dnnl_memory_t memories[] = {p->x, p->y, p->bias, p->residual, p->scratchpad, p->scales, p->zero};
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++)
        if (memories[i]) dnnl_memory_destroy(memories[i]);
    if (p->primitive) dnnl_primitive_destroy(p->primitive);
    free(p);
}

static dnnl_status_t memory_for(const Onednn *o, const_dnnl_primitive_desc_t pd, dnnl_query_t what, int index,
                                dnnl_memory_t *out)
{
    DescRef desc = dnnl_primitive_desc_query_md(pd, what, index);
    return desc ? dnnl_memory_create(out, desc, o->engine, DNNL_MEMORY_NONE) : dnnl_runtime_error;
}

static dnnl_status_t residual_memory(const Onednn *o, Prim *p)
{
    Desc desc;
    dnnl_status_t st = y_desc_init(&desc, &p->key, p->key.residual_dtype);
    if (st != dnnl_success) return st;
    st = dnnl_memory_create(&p->residual, DESC_REF(desc), o->engine, DNNL_MEMORY_NONE);
    desc_release(desc);
    return st;
}

static dnnl_status_t int8_memories(const Onednn *o, Prim *p)
{
    Desc channels, zero;
    dnnl_dims_t one = {1};
    dnnl_status_t st = channels_desc_init(&channels, &p->key);
    if (st != dnnl_success) return st;
    st = dnnl_memory_create(&p->scales, DESC_REF(channels), o->engine, DNNL_MEMORY_NONE);
    if (st == dnnl_success && p->key.bias) st = dnnl_memory_create(&p->bias, DESC_REF(channels), o->engine, DNNL_MEMORY_NONE);
    desc_release(channels);
    if (st == dnnl_success) st = desc_init_tag(&zero, 1, one, dnnl_s32, dnnl_a);
    if (st != dnnl_success) return st;
    st = dnnl_memory_create(&p->zero, DESC_REF(zero), o->engine, DNNL_MEMORY_NONE);
    desc_release(zero);
    return st;
}

static dnnl_status_t prim_init(Onednn *o, Prim *p, const_dnnl_primitive_desc_t pd)
{
    static const dnnl_query_t weights[] = {dnnl_query_weights_md, dnnl_query_weights_md, dnnl_query_diff_weights_md};
    Op op = (Op)p->key.op;
    dnnl_status_t st = dnnl_primitive_create(&p->primitive, pd);
    dnnl_query_t x = op == OP_BACKWARD_DATA ? dnnl_query_diff_src_md : dnnl_query_src_md;
    dnnl_query_t y = op == OP_FORWARD ? dnnl_query_dst_md : dnnl_query_diff_dst_md;
    if (st == dnnl_success) st = memory_for(o, pd, x, 0, &p->x);
    if (st == dnnl_success) st = memory_for(o, pd, y, 0, &p->y);
    if (st == dnnl_success && p->key.residual == RESIDUAL_SEPARATE) st = residual_memory(o, p);
    if (st == dnnl_success && p->key.int8) st = int8_memories(o, p);
    else if (st == dnnl_success && p->key.bias) st = memory_for(o, pd, weights[op], 1, &p->bias);
    DescRef scratchpad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    p->scratchpad_bytes = scratchpad ? dnnl_memory_desc_get_size(scratchpad) : 0;
    if (st == dnnl_success && p->scratchpad_bytes) st = memory_for(o, pd, dnnl_query_scratchpad_md, 0, &p->scratchpad);
    DescRef layout = dnnl_primitive_desc_query_md(pd, weights[op], 0);
    return st == dnnl_success ? layout_get(o, &p->key, layout, &p->layout) : st;
}

static Status prim_new(Onednn *o, const Key *key, Prim **out)
{
    dnnl_primitive_desc_t pd = NULL;
    Prim *p = calloc(1, sizeof *p);
    if (!p) return status_fail(STATUS_NO_MEMORY, "out of memory for a oneDNN primitive");
    p->key = *key;
    dnnl_status_t st = describe(o, key, &pd);
    p->refused = st == dnnl_unimplemented || st == dnnl_invalid_arguments;
    if (st == dnnl_success) st = prim_init(o, p, pd);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (st != dnnl_success && !p->refused) {
        prim_free(p);
        return onednn_fail(st, "creation", key);
    }
    *out = p;
    return STATUS_OK;
}

/* The primitive for a key, made on first use. */
Status onednn_primitive(Onednn *o, const Key *key, Prim **out)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    const unsigned char *bytes = (const unsigned char *)key;
    for (size_t i = 0; i < sizeof *key; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
    Prim **chain = &o->table[(hash >> 32) % ONEDNN_TABLE_SIZE];
    for (Prim *p = *chain; p; p = p->next) {
        if (memcmp(&p->key, key, sizeof *key) == 0) {
            *out = p;
            return STATUS_OK;
        }
    }
    TRY(prim_new(o, key, out));
    (*out)->next = *chain;
    *chain = *out;
    return STATUS_OK;
}

static void layouts_free(Layout *l)
{
    while (l) {
        Layout *next = l->next;
        layout_free(l);
        l = next;
    }
}

void onednn_primitives_free(Onednn *o)
{
    for (int i = 0; i < ONEDNN_TABLE_SIZE; i++) {
        while (o->table[i]) {
            Prim *p = o->table[i];
            o->table[i] = p->next;
            prim_free(p);
        }
    }
    layouts_free(o->layouts);
    layouts_free(o->gradient_layouts);
    o->layouts = o->gradient_layouts = NULL;
}
