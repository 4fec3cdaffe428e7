/* A 3x3 convolution of a picture that was doubled in size: 4 multiplications of 9, and the doubled picture is never made.
 *
 * Row i of the small picture x is rows 2i and 2i + 1 of the doubled one, and what it weighs in row 2i + u - 1 of y is the sum of the
 * taps that see one of these two: tap 2 for u = 0, 1 + 2 for u = 1, 0 + 1 for u = 2, 0 for u = 3; so the columns, too. Read
 * backwards, from y to x, that is a convolution by the 4x4 sums with stride 2. So y is that one's gradient of its input, the gradient
 * of x its result, and the gradient of the sums its gradient of weights, of which each tap's is in four. The sums are made in f32 and
 * rounded once. The bias is added afterwards: oneDNN's transposed convolutions know one, and take two to five times as long then. */
#include "common/onednn.h"

#include <string.h>

enum { TAPS = 9, SUMS = 16, CHANNELS = 64 };

/* --- weights --- */

static inline void sum_taps(const float *tap, int next_tap, float *sum, int next_sum)
{
    sum[0] = tap[2 * next_tap];
    sum[next_sum] = tap[next_tap] + tap[2 * next_tap];
    sum[2 * next_sum] = tap[0] + tap[next_tap];
    sum[3 * next_sum] = tap[0];
}

/* Its derivative. */
static inline void taps_of_sums(const float *sum, int next_sum, float *tap, int next_tap)
{
    tap[0] = sum[2 * next_sum] + sum[3 * next_sum];
    tap[next_tap] = sum[next_sum] + sum[2 * next_sum];
    tap[2 * next_tap] = sum[0] + sum[next_sum];
}

static void store_sums(DType dtype, const float sums[SUMS], void *out)
{
    if (dtype == DTYPE_F32) memcpy(out, sums, SUMS * sizeof *sums);
    for (int i = 0; i < SUMS && dtype == DTYPE_BF16; i++) ((uint16_t *)out)[i] = f32_to_bf16(sums[i]);
}

/* Read a few channels at a time: the weights may lie in a file, and memory for all of them is not needed. */
void onednn_doubling_weights(const Param *w, DType dtype, void *sums)
{
    const int64_t Cout = w->dims[0], Cin = w->dims[1];
    const size_t bytes = SUMS * dtype_size(dtype);
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < Cout; o++) {
        float taps[CHANNELS][TAPS], rows[4][3], sum[SUMS];
        for (int64_t i = 0; i < Cin; i++) {
            if (i % CHANNELS == 0)
                param_read(w, (size_t)((o * Cin + i) * TAPS), (size_t)(Cin - i < CHANNELS ? Cin - i : CHANNELS) * TAPS, taps[0]);
            for (int column = 0; column < 3; column++) sum_taps(taps[i % CHANNELS] + column, 3, &rows[0][column], 3);
            for (int row = 0; row < 4; row++) sum_taps(rows[row], 1, sum + row * 4, 1);
            store_sums(dtype, sum, (char *)sums + (size_t)(i * Cout + o) * bytes);
        }
    }
}

/* d_w (Cout,Cin,3,3) += the gradient that comes of d_sums (Cin,Cout,4,4). */
static void add_gradient(const float *d_sums, int64_t Cout, int64_t Cin, float *d_w)
{
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < Cout; o++) {
        for (int64_t i = 0; i < Cin; i++) {
            const float *d_sum = d_sums + (i * Cout + o) * SUMS;
            float rows[3][4], taps[TAPS];
            for (int column = 0; column < 4; column++) taps_of_sums(d_sum + column, 4, &rows[0][column], 4);
            for (int row = 0; row < 3; row++) taps_of_sums(rows[row], 1, taps + row * 3, 1);
            for (int j = 0; j < TAPS; j++) d_w[(o * Cin + i) * TAPS + j] += taps[j];
        }
    }
}

/* --- the passes: the convolution's x is y here, and its y is x --- */

static Status primitive_for(Onednn *o, const ConvShape *doubled, Op op, Prim **out)
{
    ConvShape s = *doubled;
    s.Cin = doubled->Cout;
    s.Cout = doubled->Cin;
    s.kernel = 4;
    s.stride = 2;
    s.dtype = doubled->out_dtype;
    s.out_dtype = doubled->dtype;
    Key key = onednn_key(&s, op, false, RESIDUAL_NONE);
    key.out_dtype = s.out_dtype;
    return onednn_primitive(o, &key, out);
}

/* y of another type than x (a result that is only added to or normalised) has no gradients. */
static Status find_gradients(Onednn *o, const ConvShape *s, bool *found)
{
    Prim *d_x, *d_w;
    *found = s->out_dtype == s->dtype;
    if (!*found) return STATUS_OK;
    TRY(primitive_for(o, s, OP_FORWARD, &d_x));
    TRY(primitive_for(o, s, OP_BACKWARD_WEIGHTS, &d_w));
    *found = !d_x->refused && !d_w->refused;
    return STATUS_OK;
}

static Status run(Kernels *k, const Prim *p, Param *weight, const void *doubled, const void *small)
{
    Call c = {.status = dnnl_success};
    const Packed *packed;
    bool forward = p->key.op == OP_FORWARD;
    TRY(onednn_packed(k, p, weight, &packed));
    char *scratch = kernels_scratch(k, p->scratchpad_bytes + 64);
    if (!scratch) return STATUS_NO_MEMORY;
    onednn_call_add(&c, DNNL_ARG_WEIGHTS, p->layout->blocked, packed->block);
    onednn_call_add(&c, forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_SRC, p->x, doubled);
    onednn_call_add(&c, forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, p->y, small);
    onednn_call_add(&c, DNNL_ARG_SCRATCHPAD, p->scratchpad, scratch);
    return onednn_call_run(k->onednn, p, &c);
}

Status onednn_conv2d_upsampled(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias, void *y, bool trained,
                               bool *done)
{
    Prim *p;
    *done = false;
    if (s->kernel != 3 || s->stride != 1) return STATUS_OK;
    TRY(primitive_for(k->onednn, s, OP_BACKWARD_DATA, &p));
    *done = !p->refused;
    if (*done && trained) TRY(find_gradients(k->onednn, s, done));
    if (!*done) return STATUS_OK;
    TRY(run(k, p, weight, y, x));
    if (bias) k->add_bias(s->out_dtype, s->N * s->H * s->W, s->Cout, bias->value, y);
    return STATUS_OK;
}

Status onednn_conv2d_upsampled_backward_data(Kernels *k, const ConvShape *s, const void *d_y, Param *weight, void *d_x)
{
    Prim *p;
    TRY(primitive_for(k->onednn, s, OP_FORWARD, &p));
    return run(k, p, weight, d_y, d_x);
}

Status onednn_conv2d_upsampled_backward_weights(Kernels *k, const ConvShape *s, const void *x, const void *d_y, float *d_weight,
                                                pthread_mutex_t *lock, float *d_bias)
{
    Prim *p;
    Call c = {.status = dnnl_success};
    if (d_bias) k->add_bias_backward(s->dtype, s->N * s->H * s->W, s->Cout, d_y, d_bias);
    if (!d_weight) return STATUS_OK;
    TRY(primitive_for(k->onednn, s, OP_BACKWARD_WEIGHTS, &p));
    const Layout *l = p->layout;
    size_t sums_at = ALIGN64(l->bytes), scratchpad_at = sums_at + ALIGN64((size_t)(s->Cout * s->Cin) * SUMS * sizeof(float));
    char *scratch = kernels_scratch(k, scratchpad_at + p->scratchpad_bytes + 64);
    if (!scratch) return STATUS_NO_MEMORY;
    onednn_call_add(&c, DNNL_ARG_SRC, p->x, d_y);
    onednn_call_add(&c, DNNL_ARG_DIFF_DST, p->y, x);
    onednn_call_add(&c, DNNL_ARG_DIFF_WEIGHTS, l->blocked, scratch);
    onednn_call_add(&c, DNNL_ARG_SCRATCHPAD, p->scratchpad, scratch + scratchpad_at);
    TRY(onednn_call_run(k->onednn, p, &c));
    TRY(onednn_plain_gradient(k, p, (float *)(scratch + sums_at)));
    if (lock) pthread_mutex_lock(lock);
    add_gradient((float *)(scratch + sums_at), s->Cout, s->Cin, d_weight);
    if (lock) pthread_mutex_unlock(lock);
    return STATUS_OK;
}
