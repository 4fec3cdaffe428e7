/* One convolution with all its arrays, for tests of what oneDNN's kernels keep and choose. */
#ifndef GLIDE_TESTS_SUPPORT_CONV_H
#define GLIDE_TESTS_SUPPORT_CONV_H

#include "tests/support_kernels.h"

/* A convolution with its arrays; `r` serves as residual and as d_y. */
typedef struct Conv {
    ConvShape s;
    Values x, w, b, r, y, d_x, d_w, d_b;
    Param weight, bias;
} Conv;

extern const ConvShape small_conv; /* 3x3, f32; its channels need padding in oneDNN's layouts */

Conv conv_new(ConvShape s); /* random but for y and d_x, which are NaN */
void conv_free(Conv *c);
void conv_forward(Kernels *k, Conv *c, const void *residual);
void conv_all_passes(Kernels *k, Conv *c);
int conv_packed_count(const Conv *c); /* copies of its weights that kernels keep */

/* Near, relative to b's largest: bits may differ, as sums come in another order and bf16 rounds them. */
void assert_near(const char *what, const Values *a, const Values *b, double tolerance);

double values_element(const Values *v, int64_t i);

Kernels *onednn_or_skip(void); /* skips the test where the kernels are plain C */

#endif
