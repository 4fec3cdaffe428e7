#include "common/simd.h"
#include "common/simd_conv.h"

static Status linear(Kernels *k, const LinearShape *s, const void *x, Param *weight, const Param *bias,
                     const void *residual, void *y)
{
    ConvJob job = {.g = geometry_flat(s->rows, s->in, s->out),
                   .type = s->dtype,
                   .out_type = s->out_dtype,
                   .residual_type = s->out_dtype,
                   .x = x,
                   .residual = residual,
                   .y = y,
                   .bias = bias ? bias->value : NULL};
    const float *values = param_fetch(weight);
    if (!values) return status_fail(STATUS_NO_MEMORY, "out of memory: %zu values of %s", weight->size, weight->name);
    return convolve(k, &job, &(ConvWeights){values, s->in, 1, false});
}

static Status linear_backward_data(Kernels *k, const LinearShape *s, const void *d_y, Param *weight, void *d_x)
{
    ConvJob job = {
        .g = geometry_flat(s->rows, s->out, s->in), .type = s->out_dtype, .out_type = s->dtype, .residual_type = s->dtype,
        .x = d_y, .y = d_x};
    const float *values = param_fetch(weight);
    if (!values) return status_fail(STATUS_NO_MEMORY, "out of memory: %zu values of %s", weight->size, weight->name);
    return convolve(k, &job, &(ConvWeights){values, 1, s->in, false});
}

static Status linear_backward_weights(Kernels *k, const LinearShape *s, const void *x, const void *d_y, float *d_weight,
                                      pthread_mutex_t *lock, float *d_bias)
{
    GradientJob job = {
        .g = geometry_flat(s->rows, s->in, s->out), .type = s->dtype, .out_type = s->out_dtype, .x = x, .d_y = d_y};
    if (d_weight) TRY(convolve_weights(k, &job, d_weight, lock));
    return d_bias ? bias_gradient(k, s->out_dtype, d_y, s->rows, s->out, d_bias) : STATUS_OK;
}

void SIMD_NAME(simd_linear_install)(Kernels *k)
{
    k->linear = linear;
    k->linear_backward_data = linear_backward_data;
    k->linear_backward_weights = linear_backward_weights;
}
