#include "common/simd.h"
#include "common/simd_math.h"

static Status conv2d(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias,
                     const void *residual, void *y)
{
    (void)k;
    int64_t H2 = (s->H + s->stride - 1) / s->stride, W2 = (s->W + s->stride - 1) / s->stride;
    int K = s->kernel, pad = K / 2;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < s->N * H2; row++) {
        int64_t n = row / H2, oy = row % H2;
        for (int64_t ox = 0; ox < W2; ox++)
            for (int64_t co = 0; co < s->Cout; co++) {
                float sum = bias ? bias->value[co] : 0;
                for (int ky = 0; ky < K; ky++)
                    for (int kx = 0; kx < K; kx++) {
                        int64_t iy = oy * s->stride + ky - pad, ix = ox * s->stride + kx - pad;
                        if (iy < 0 || iy >= s->H || ix < 0 || ix >= s->W) continue;
                        for (int64_t ci = 0; ci < s->Cin; ci++)
                            sum += load(s->dtype, x, ((n * s->H + iy) * s->W + ix) * s->Cin + ci) *
                                   weight->value[((co * s->Cin + ci) * K + ky) * K + kx];
                    }
                int64_t at = (row * W2 + ox) * s->Cout + co;
                if (residual) sum += load(s->out_dtype, residual, at);
                store(s->out_dtype, y, at, sum);
            }
    }
    return STATUS_OK;
}

static Status conv2d_backward_data(Kernels *k, const ConvShape *s, const void *d_y, Param *weight, void *d_x)
{
    (void)k;
    int64_t H2 = (s->H + s->stride - 1) / s->stride, W2 = (s->W + s->stride - 1) / s->stride;
    int K = s->kernel, pad = K / 2;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < s->N * s->H; row++) {
        int64_t n = row / s->H, iy = row % s->H;
        for (int64_t ix = 0; ix < s->W; ix++)
            for (int64_t ci = 0; ci < s->Cin; ci++) {
                float sum = 0;
                for (int ky = 0; ky < K; ky++)
                    for (int kx = 0; kx < K; kx++) {
                        int64_t oy = iy + pad - ky, ox = ix + pad - kx;
                        if (oy < 0 || ox < 0 || oy % s->stride || ox % s->stride) continue;
                        oy /= s->stride, ox /= s->stride;
                        if (oy >= H2 || ox >= W2) continue;
                        for (int64_t co = 0; co < s->Cout; co++)
                            sum += load(s->out_dtype, d_y, ((n * H2 + oy) * W2 + ox) * s->Cout + co) *
                                   weight->value[((co * s->Cin + ci) * K + ky) * K + kx];
                    }
                store(s->dtype, d_x, (row * s->W + ix) * s->Cin + ci, sum);
            }
    }
    return STATUS_OK;
}

static Status conv2d_backward_weights(Kernels *k, const ConvShape *s, const void *x, const void *d_y, float *d_weight,
                                      float *d_bias)
{
    (void)k;
    int64_t H2 = (s->H + s->stride - 1) / s->stride, W2 = (s->W + s->stride - 1) / s->stride;
    int K = s->kernel, pad = K / 2;
#pragma omp parallel for schedule(static)
    for (int64_t co = 0; co < s->Cout; co++)
        for (int64_t row = 0; row < s->N * H2; row++)
            for (int64_t ox = 0; ox < W2; ox++) {
                float g = load(s->out_dtype, d_y, (row * W2 + ox) * s->Cout + co);
                if (d_bias) d_bias[co] += g;
                for (int ky = 0; d_weight && ky < K; ky++)
                    for (int kx = 0; kx < K; kx++) {
                        int64_t iy = row % H2 * s->stride + ky - pad, ix = ox * s->stride + kx - pad;
                        if (iy < 0 || iy >= s->H || ix < 0 || ix >= s->W) continue;
                        for (int64_t ci = 0; ci < s->Cin; ci++)
                            d_weight[((co * s->Cin + ci) * K + ky) * K + kx] +=
                                g * load(s->dtype, x, ((row / H2 * s->H + iy) * s->W + ix) * s->Cin + ci);
                    }
            }
    return STATUS_OK;
}

void SIMD_NAME(simd_conv_install)(Kernels *k)
{
    k->conv2d = conv2d;
    k->conv2d_backward_data = conv2d_backward_data;
    k->conv2d_backward_weights = conv2d_backward_weights;
}
