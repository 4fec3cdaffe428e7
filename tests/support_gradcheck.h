/* Checks an op's or a model's backward pass against directional derivatives of its forward pass. */
#ifndef GLIDE_TESTS_SUPPORT_GRADCHECK_H
#define GLIDE_TESTS_SUPPORT_GRADCHECK_H

#include "common/ops.h"

/* Builds y from the inputs (and from ctx's parameters) on the tape. */
typedef Tensor *(*GradcheckFn)(Tape *t, const void *ctx, Tensor **in);

/* For each input, and for each parameter of `params` (may be NULL): the derivative of sum(seed * y) along a random direction
 * must agree with the gradient of the tape to `tolerance`, relative to the gradient's size. Fails the cmocka test if not. */
void gradcheck(GradcheckFn fn, const void *ctx, int inputs, const int ndim[], const int64_t dims[][4], ParamSet *params,
               double tolerance);

#endif
