#include "common/simd.h"
#include "common/simd_math.h"

static Status linear(Kernels *k, const LinearShape *s, const void *x, Param *weight, const Param *bias,
                     const void *residual, void *y)
{
    (void)k;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t o = 0; o < s->out; o++) {
            float sum = bias ? bias->value[o] : 0;
            for (int64_t i = 0; i < s->in; i++) sum += load(s->dtype, x, r * s->in + i) * weight->value[o * s->in + i];
            if (residual) sum += load(s->out_dtype, residual, r * s->out + o);
            store(s->out_dtype, y, r * s->out + o, sum);
        }
    return STATUS_OK;
}

static Status linear_backward_data(Kernels *k, const LinearShape *s, const void *d_y, Param *weight, void *d_x)
{
    (void)k;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t i = 0; i < s->in; i++) {
            float sum = 0;
            for (int64_t o = 0; o < s->out; o++)
                sum += load(s->out_dtype, d_y, r * s->out + o) * weight->value[o * s->in + i];
            store(s->dtype, d_x, r * s->in + i, sum);
        }
    return STATUS_OK;
}

static Status linear_backward_weights(Kernels *k, const LinearShape *s, const void *x, const void *d_y, float *d_weight,
                                      float *d_bias)
{
    (void)k;
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < s->out; o++)
        for (int64_t r = 0; r < s->rows; r++) {
            float g = load(s->out_dtype, d_y, r * s->out + o);
            if (d_bias) d_bias[o] += g;
            for (int64_t i = 0; d_weight && i < s->in; i++)
                d_weight[o * s->in + i] += g * load(s->dtype, x, r * s->in + i);
        }
    return STATUS_OK;
}

void SIMD_NAME(simd_linear_install)(Kernels *k)
{
    k->linear = linear;
    k->linear_backward_data = linear_backward_data;
    k->linear_backward_weights = linear_backward_weights;
}
