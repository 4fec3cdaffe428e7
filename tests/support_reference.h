/* What every kernel of common/kernels.h should compute, in double precision and in the simplest loops: the oracle of
 * the kernel tests. Shapes and layouts are those of kernels.h; the dtypes in the shape structs are ignored. Here every
 * output is overwritten, gradients of parameters too, and a NULL output is skipped. test_reference.c checks the
 * gradients against finite differences. */
#ifndef GLIDE_TESTS_SUPPORT_REFERENCE_H
#define GLIDE_TESTS_SUPPORT_REFERENCE_H

#include "common/kernels.h"

void reference_conv2d(const ConvShape *s, const double *x, const double *weight, const double *bias,
                      const double *residual, double *y);
void reference_conv2d_backward(const ConvShape *s, const double *x, const double *weight, const double *d_y,
                               double *d_x, double *d_weight, double *d_bias);

/* A linear layer is a 1x1 convolution over one row of pixels. */
ConvShape reference_linear_shape(const LinearShape *s);

void reference_attention(const AttentionShape *s, const double *qkv, const double *encoder_kv, double *y, double *lse);
void reference_attention_backward(const AttentionShape *s, const double *qkv, const double *encoder_kv,
                                  const double *d_y, double *d_qkv, double *d_encoder_kv);

void reference_group_norm(const GroupNormShape *s, const double *x, const double *gamma, const double *beta,
                          const double *film, double *y, double *stats);
void reference_group_norm_backward(const GroupNormShape *s, const double *x, const double *gamma, const double *beta,
                                   const double *film, const double *d_y, double *d_x, double *d_gamma, double *d_beta,
                                   double *d_film);
void reference_layer_norm(int64_t rows, int64_t C, const double *x, const double *gamma, const double *beta, double *y,
                          double *stats);
void reference_layer_norm_backward(int64_t rows, int64_t C, const double *x, const double *gamma, const double *d_y,
                                   double *d_x, double *d_gamma, double *d_beta);

double reference_activation(Activation act, double x);
double reference_activation_slope(Activation act, double x);

void reference_upsample2x(int64_t N, int64_t H, int64_t W, int64_t C, const double *x, double *y);
void reference_upsample2x_backward(int64_t N, int64_t H, int64_t W, int64_t C, const double *d_y, double *d_x);
void reference_avg_pool2x(int64_t N, int64_t H, int64_t W, int64_t C, const double *x, double *y);
void reference_avg_pool2x_backward(int64_t N, int64_t H, int64_t W, int64_t C, const double *d_y, double *d_x);
void reference_resize_bilinear(int64_t N, int64_t H, int64_t W, int64_t C, const double *x, int64_t H2, int64_t W2,
                               double *y);
void reference_resize_bilinear_backward(int64_t N, int64_t H, int64_t W, int64_t C, const double *d_y, int64_t H2,
                                        int64_t W2, double *d_x);

void reference_adamw(int64_t n, double *value, const double *grad, double *m, double *v, const AdamWStep *step);

#endif
