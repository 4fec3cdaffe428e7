/* The oracle of the kernel tests, against finite differences: for random weights w, the gradient of sum(w * y) that the
 * backward function gives must be what a small change of each input does to that sum. */
#include "tests/support_reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_INPUTS = 4, MAX_SIZE = 4096 };

/* An op with up to MAX_INPUTS differentiable inputs. */
typedef struct Op {
    const void *shape;
    void (*forward)(const void *shape, double **inputs, double *y);
    void (*backward)(const void *shape, double **inputs, const double *d_y, double **d_inputs);
    int inputs;
    int64_t sizes[MAX_INPUTS], y_size;
} Op;

static double noise(uint64_t *state)
{
    double sum = 0; /* of 4 uniform numbers: near enough to a normal one */
    for (int i = 0; i < 4; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(*state >> 40) / 0x1p24 - 0.5;
    }
    return 2 * sum;
}

static double weighted_sum(const Op *op, double **inputs, const double *weights, double *y)
{
    double sum = 0;
    op->forward(op->shape, inputs, y);
    for (int64_t i = 0; i < op->y_size; i++) sum += weights[i] * y[i];
    return sum;
}

static void check_gradients(const char *what, const Op *op)
{
    double *inputs[MAX_INPUTS], *d_inputs[MAX_INPUTS], *y = calloc(MAX_SIZE, sizeof *y),
                                                       *weights = calloc(MAX_SIZE, sizeof *y);
    uint64_t state = 7;
    assert_true(y && weights && op->y_size <= MAX_SIZE);
    for (int64_t i = 0; i < op->y_size; i++) weights[i] = noise(&state);
    for (int k = 0; k < op->inputs; k++) {
        inputs[k] = calloc((size_t)op->sizes[k], sizeof(double));
        d_inputs[k] = calloc((size_t)op->sizes[k], sizeof(double));
        assert_true(inputs[k] && d_inputs[k]);
        for (int64_t i = 0; i < op->sizes[k]; i++) inputs[k][i] = noise(&state);
    }
    op->backward(op->shape, inputs, weights, d_inputs);
    for (int k = 0; k < op->inputs; k++)
        for (int64_t i = 0; i < op->sizes[k]; i++) {
            double h = 1e-4, at = inputs[k][i];
            inputs[k][i] = at + h;
            double up = weighted_sum(op, inputs, weights, y);
            inputs[k][i] = at - h;
            double down = weighted_sum(op, inputs, weights, y), slope = (up - down) / (2 * h);
            inputs[k][i] = at;
            if (!(fabs(slope - d_inputs[k][i]) <= 2e-6 * (1 + fabs(slope))))
                fail_msg("%s: gradient of input %d, element %d is %.9g, finite differences say %.9g", what, k, (int)i,
                         d_inputs[k][i], slope);
        }
    for (int k = 0; k < op->inputs; k++) free(inputs[k]), free(d_inputs[k]);
    free(y);
    free(weights);
}

/* --- convolution: inputs x, weight, bias --- */

static void conv_forward(const void *shape, double **in, double *y)
{
    reference_conv2d(shape, in[0], in[1], in[2], NULL, y);
}

static void conv_backward(const void *shape, double **in, const double *d_y, double **d_in)
{
    reference_conv2d_backward(shape, in[0], in[1], d_y, d_in[0], d_in[1], d_in[2]);
}

static void conv_gradients(void **state)
{
    (void)state;
    const ConvShape shapes[] = {{.N = 2, .H = 4, .W = 5, .Cin = 3, .Cout = 2, .kernel = 3, .stride = 1},
                                {.N = 1, .H = 5, .W = 6, .Cin = 2, .Cout = 3, .kernel = 3, .stride = 2},
                                {.N = 2, .H = 3, .W = 2, .Cin = 4, .Cout = 3, .kernel = 1, .stride = 1}};
    for (int i = 0; i < 3; i++) {
        const ConvShape *s = &shapes[i];
        int64_t H2 = (s->H + s->stride - 1) / s->stride, W2 = (s->W + s->stride - 1) / s->stride;
        Op op = {s,
                 conv_forward,
                 conv_backward,
                 3,
                 {s->N * s->H * s->W * s->Cin, s->Cout * s->Cin * s->kernel * s->kernel, s->Cout},
                 s->N * H2 * W2 * s->Cout};
        check_gradients("conv2d", &op);
    }
}

/* --- attention: inputs qkv, encoder_kv --- */

static void attention_forward(const void *shape, double **in, double *y)
{
    reference_attention(shape, in[0], in[1], y, NULL);
}

static void attention_backward(const void *shape, double **in, const double *d_y, double **d_in)
{
    reference_attention_backward(shape, in[0], in[1], d_y, d_in[0], d_in[1]);
}

static void attention_gradients(void **state)
{
    (void)state;
    const AttentionShape shapes[] = {{.N = 2, .T = 4, .S = 3, .heads = 2, .D = 3},
                                     {.N = 1, .T = 5, .S = 2, .heads = 2, .D = 2, .split_first = true},
                                     {.N = 1, .T = 5, .S = 0, .heads = 1, .D = 4, .causal = true}};
    for (int i = 0; i < 3; i++) {
        const AttentionShape *s = &shapes[i];
        int64_t C = (int64_t)s->heads * s->D;
        Op op = {s,
                 attention_forward,
                 attention_backward,
                 s->S ? 2 : 1,
                 {s->N * s->T * 3 * C, s->N * s->S * 2 * C},
                 s->N * s->T * C};
        check_gradients("attention", &op);
    }
}

/* --- group norm: inputs x, gamma, beta, film (optional) --- */

static void group_norm_forward(const void *shape, double **in, double *y)
{
    reference_group_norm(shape, in[0], in[1], in[2], in[3], y, NULL);
}

static void group_norm_backward(const void *shape, double **in, const double *d_y, double **d_in)
{
    reference_group_norm_backward(shape, in[0], in[1], in[2], in[3], d_y, d_in[0], d_in[1], d_in[2], d_in[3]);
}

static void plain_group_norm_forward(const void *shape, double **in, double *y)
{
    reference_group_norm(shape, in[0], in[1], in[2], NULL, y, NULL);
}

static void plain_group_norm_backward(const void *shape, double **in, const double *d_y, double **d_in)
{
    reference_group_norm_backward(shape, in[0], in[1], in[2], NULL, d_y, d_in[0], d_in[1], d_in[2], NULL);
}

static void group_norm_gradients(void **state)
{
    (void)state;
    for (int act = ACT_NONE; act <= ACT_GELU; act++) {
        GroupNormShape s = {.N = 2, .pixels = 5, .C = 6, .groups = 3, .act = (Activation)act};
        Op op = {&s, group_norm_forward, group_norm_backward, 4, {60, 6, 6, 24}, 60};
        check_gradients("group norm with FiLM", &op);
        op.forward = plain_group_norm_forward;
        op.backward = plain_group_norm_backward;
        op.inputs = 3;
        check_gradients("group norm", &op);
    }
}

static void layer_norm_forward(const void *shape, double **in, double *y)
{
    const int64_t *dims = shape;
    reference_layer_norm(dims[0], dims[1], in[0], in[1], in[2], y, NULL);
}

static void layer_norm_backward(const void *shape, double **in, const double *d_y, double **d_in)
{
    const int64_t *dims = shape;
    reference_layer_norm_backward(dims[0], dims[1], in[0], in[1], d_y, d_in[0], d_in[1], d_in[2]);
}

static void layer_norm_gradients(void **state)
{
    (void)state;
    Op op = {(int64_t[]){4, 7}, layer_norm_forward, layer_norm_backward, 3, {28, 7, 7}, 28};
    check_gradients("layer norm", &op);
}

/* --- resampling: input x --- */

static const int64_t N = 2, H = 3, W = 4, C = 2;

static void upsample_forward(const void *shape, double **in, double *y)
{
    (void)shape;
    reference_upsample2x(N, H, W, C, in[0], y);
}

static void upsample_backward(const void *shape, double **in, const double *d_y, double **d_in)
{
    (void)shape, (void)in;
    reference_upsample2x_backward(N, H, W, C, d_y, d_in[0]);
}

static void pool_forward(const void *shape, double **in, double *y)
{
    (void)shape;
    reference_avg_pool2x(N, H, W, C, in[0], y);
}

static void pool_backward(const void *shape, double **in, const double *d_y, double **d_in)
{
    (void)shape, (void)in;
    reference_avg_pool2x_backward(N, H, W, C, d_y, d_in[0]);
}

static void resize_forward(const void *shape, double **in, double *y)
{
    const int64_t *to = shape;
    reference_resize_bilinear(N, H, W, C, in[0], to[0], to[1], y);
}

static void resize_backward(const void *shape, double **in, const double *d_y, double **d_in)
{
    const int64_t *to = shape;
    (void)in;
    reference_resize_bilinear_backward(N, H, W, C, d_y, to[0], to[1], d_in[0]);
}

static void resample_gradients(void **state)
{
    (void)state;
    int64_t small = N * H * W * C, larger[] = {7, 5}, smaller[] = {2, 9};
    check_gradients("upsample2x", &(Op){NULL, upsample_forward, upsample_backward, 1, {small}, 4 * small});
    check_gradients("avg_pool2x", &(Op){NULL, pool_forward, pool_backward, 1, {4 * small}, small});
    check_gradients("resize_bilinear", &(Op){larger, resize_forward, resize_backward, 1, {small}, N * 35 * C});
    check_gradients("resize_bilinear", &(Op){smaller, resize_forward, resize_backward, 1, {small}, N * 18 * C});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv_gradients),       cmocka_unit_test(attention_gradients),
        cmocka_unit_test(group_norm_gradients), cmocka_unit_test(layer_norm_gradients),
        cmocka_unit_test(resample_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
