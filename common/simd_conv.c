#include "common/simd.h"
#include "common/simd_conv.h"

static Status conv2d(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias,
                     const void *residual, void *y)
{
    int64_t taps = (int64_t)s->kernel * s->kernel;
    ConvJob job = {.g = geometry_forward(s),
                   .type = s->dtype,
                   .out_type = s->out_dtype,
                   .residual_type = s->residual_f32 ? DTYPE_F32 : s->out_dtype,
                   .x = x,
                   .residual = residual,
                   .y = y,
                   .bias = bias ? bias->value : NULL};
    const float *values = param_fetch(weight);
    if (!values) return status_fail(STATUS_NO_MEMORY, "out of memory: %zu values of %s", weight->size, weight->name);
    return convolve(k, &job, &(ConvWeights){values, s->Cin * taps, taps, false});
}

static Status conv2d_backward_data(Kernels *k, const ConvShape *s, const void *d_y, Param *weight, void *d_x)
{
    int64_t taps = (int64_t)s->kernel * s->kernel;
    ConvJob job = {.g = geometry_backward(s), .type = s->out_dtype, .out_type = s->dtype, .residual_type = s->dtype, .x = d_y,
                   .y = d_x};
    const float *values = param_fetch(weight);
    if (!values) return status_fail(STATUS_NO_MEMORY, "out of memory: %zu values of %s", weight->size, weight->name);
    return convolve(k, &job, &(ConvWeights){values, taps, s->Cin * taps, true});
}

static Status conv2d_backward_weights(Kernels *k, const ConvShape *s, const void *x, const void *d_y, float *d_weight,
                                      pthread_mutex_t *lock, float *d_bias)
{
    GradientJob job = {.g = geometry_forward(s), .type = s->dtype, .out_type = s->out_dtype, .x = x, .d_y = d_y};
    if (d_weight) TRY(convolve_weights(k, &job, d_weight, lock));
    return d_bias ? bias_gradient(k, s->out_dtype, d_y, job.g.out_pixels, s->Cout, d_bias) : STATUS_OK;
}

void SIMD_NAME(simd_conv_install)(Kernels *k)
{
    k->conv2d = conv2d;
    k->conv2d_backward_data = conv2d_backward_data;
    k->conv2d_backward_weights = conv2d_backward_weights;
}
