/* Forward convolutions and linear layers in 8 bits: y = (sum over taps of (x' - zero) w') * scale_x * scale_w + bias + residual.
 *
 * w' are the weights of an output channel over scale_w, between -127 and 127, rounded once when they are packed. x' is the image
 * over scale_x, its range as it is at the time (and 0 in it) laid onto 0..255. Every image has its own, and is a call of its own, so
 * that what it becomes does not depend on its neighbours. The sums are of whole numbers, exact in any order. */
#include "common/onednn.h"

#include <math.h>
#include <string.h>

typedef struct Quantized {
    const uint8_t *x;
    float scale;
    int32_t zero;
} Quantized;

static Quantized quantize(Kernels *k, DType type, int64_t n, const void *x, uint8_t *out)
{
    float range[2];
    k->range(type, n, x, range);
    Quantized q = {.x = out, .scale = (range[1] - range[0]) / 255};
    if (!(q.scale > 0)) q.scale = 1;
    q.zero = (int32_t)lrintf(-range[0] / q.scale);
    k->quantize(type, n, x, q.scale, q.zero, out);
    return q;
}

static Key key_of_image(const ConvShape *s, bool bias, bool residual)
{
    ConvShape image = *s;
    image.N = 1;
    Key key = onednn_key(&image, OP_FORWARD, bias, residual ? RESIDUAL_IN_PLACE : RESIDUAL_NONE);
    key.int8 = 1;
    return key;
}

/* One image: x into `small`, factors into `factors`, then the primitive. */
static Status run_image(Kernels *k, const Prim *p, const Packed *packed, const void *x, int64_t x_size, uint8_t *small,
                        float *factors, const Param *bias, void *y, void *scratchpad)
{
    Quantized q = quantize(k, (DType)p->key.dtype, x_size, x, small);
    for (int64_t c = 0; c < p->key.Cout; c++) factors[c] = q.scale * packed->scales[c];
    Call call = {.status = dnnl_success};
    int op = 0;
    onednn_call_add(&call, DNNL_ARG_WEIGHTS, p->layout->blocked, packed->block);
    onednn_call_add(&call, DNNL_ARG_SRC, p->x, q.x);
    onednn_call_add(&call, DNNL_ARG_DST, p->y, y);
    onednn_call_add(&call, DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC, p->zero, &q.zero);
    onednn_call_add(&call, DNNL_ARG_ATTR_MULTIPLE_POST_OP(op++) | DNNL_ARG_SRC_1, p->scales, factors);
    if (bias) onednn_call_add(&call, DNNL_ARG_ATTR_MULTIPLE_POST_OP(op++) | DNNL_ARG_SRC_1, p->bias, bias->value);
    onednn_call_add(&call, DNNL_ARG_SCRATCHPAD, p->scratchpad, scratchpad);
    return onednn_call_run(k->onednn, p, &call);
}

Status onednn_int8_forward(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias, const void *residual,
                           void *y, bool *done)
{
    Prim *p;
    const Packed *packed;
    Key key = key_of_image(s, bias != NULL, residual != NULL);
    *done = false;
    TRY(onednn_primitive(k->onednn, &key, &p));
    if (p->refused) return STATUS_OK;
    TRY(onednn_packed(k, p, weight, &packed));
    int64_t x_size = s->H * s->W * s->Cin, y_size = onednn_out_size(s->H, s->stride) * onednn_out_size(s->W, s->stride) * s->Cout;
    DType residual_dtype = s->residual_f32 ? DTYPE_F32 : s->out_dtype;
    size_t x_bytes = (size_t)x_size * dtype_size(s->dtype), y_bytes = (size_t)y_size * dtype_size(s->out_dtype);
    size_t factors_at = ALIGN64(x_size), scratchpad_at = factors_at + ALIGN64((size_t)s->Cout * sizeof(float));
    char *scratch = kernels_scratch(k, scratchpad_at + p->scratchpad_bytes + 64);
    if (!scratch) return STATUS_NO_MEMORY;
    for (int64_t n = 0; n < s->N; n++) {
        char *out = (char *)y + (size_t)n * y_bytes;
        const char *from = (const char *)residual + (size_t)(n * y_size) * dtype_size(residual_dtype);
        if (residual && residual != y) k->cast(residual_dtype, s->out_dtype, y_size, from, out);
        TRY(run_image(k, p, packed, (const char *)x + (size_t)n * x_bytes, x_size, (uint8_t *)scratch,
                      (float *)(scratch + factors_at), bias, out, scratch + scratchpad_at));
    }
    *done = true;
    return STATUS_OK;
}
