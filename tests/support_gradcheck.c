#include "tests/support_gradcheck.h"

#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_INPUTS = 4 };

typedef struct Check {
    Tape *t;
    GradcheckFn fn;
    const void *ctx;
    int inputs;
    const int *ndim;
    const int64_t (*dims)[4];
    float *data[MAX_INPUTS];
    float *seed;
} Check;

static float *random_floats(int64_t n, uint32_t image, float scale)
{
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    rng_normal(&(RngKey){.seed = 7, .stream = RNG_TEST, .image = image}, x, n);
    for (int64_t i = 0; i < n; i++) x[i] *= scale;
    return x;
}

static Tensor *run(Check *c, Tensor **in)
{
    for (int i = 0; i < c->inputs; i++) {
        in[i] = tape_input(c->t, DTYPE_F32, c->ndim[i], c->dims[i], c->data[i]);
        if (in[i]) in[i]->needs_grad = true;
    }
    Tensor *y = c->fn(c->t, c->ctx, in);
    if (tape_status(c->t) != STATUS_OK) fail_msg("%s", status_message());
    return y;
}

static double value(Check *c)
{
    Tensor *in[MAX_INPUTS];
    tape_reset(c->t);
    tape_record(c->t, false);
    Tensor *y = run(c, in);
    double sum = 0;
    for (int64_t i = 0; i < tensor_size(y); i++) sum += (double)c->seed[i] * ((float *)y->data)[i];
    return sum;
}

/* x[0..n-1] is what the derivative is taken of; touch tells the kernels that a parameter changed. */
static void compare(Check *c, float *x, const float *grad, int64_t n, ParamSet *touch, double tolerance, const char *what)
{
    float *direction = random_floats(n, 99, 1), *kept = malloc((size_t)n * sizeof *kept);
    const float h = 4e-3f;
    double expected[2], found = 0, size = 0;
    memcpy(kept, x, (size_t)n * sizeof *x);
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++) x[i] = kept[i] + (side ? -h : h) * direction[i];
        if (touch) params_touch(touch);
        expected[side] = value(c);
    }
    memcpy(x, kept, (size_t)n * sizeof *x);
    if (touch) params_touch(touch);
    double numeric = (expected[0] - expected[1]) / (2 * (double)h);
    for (int64_t i = 0; i < n; i++) {
        found += (double)grad[i] * direction[i];
        size += (double)grad[i] * grad[i];
    }
    size = sqrt(size) + 1e-3;
    if (!(fabs(found - numeric) <= tolerance * size))
        fail_msg("%s: derivative along a random direction is %g, the tape says %g (gradient's norm %g)", what, numeric, found,
                 size);
    free(direction);
    free(kept);
}

static void all_gradients(Check *c, ParamSet *params, double tolerance)
{
    Tensor *in[MAX_INPUTS];
    float *grads[MAX_INPUTS];
    tape_reset(c->t);
    tape_record(c->t, true);
    if (params) params_zero_grads(params);
    Tensor *y = run(c, in);
    c->seed = random_floats(tensor_size(y), 50, 1);
    if (tape_backward(c->t, y, c->seed) != STATUS_OK) fail_msg("%s", status_message());
    for (int i = 0; i < c->inputs; i++) {
        assert_non_null(in[i]->grad);
        grads[i] = malloc(tensor_bytes(in[i]));
        memcpy(grads[i], in[i]->grad->data, tensor_bytes(in[i]));
    }
    for (int i = 0; i < c->inputs; i++) {
        int64_t n = 1;
        for (int d = 0; d < c->ndim[i]; d++) n *= c->dims[i][d];
        compare(c, c->data[i], grads[i], n, NULL, tolerance, "input");
        free(grads[i]);
    }
    for (int i = 0; params && i < params->count; i++) {
        Param *p = params->items[i];
        compare(c, p->value, p->grad, (int64_t)p->size, params, tolerance, p->name);
    }
    free(c->seed);
}

void gradcheck(GradcheckFn fn, const void *ctx, int inputs, const int ndim[], const int64_t dims[][4], ParamSet *params,
               double tolerance)
{
    Check c = {.fn = fn, .ctx = ctx, .inputs = inputs, .ndim = ndim, .dims = dims};
    Kernels *k;
    if (kernels_new(KERNELS_BEST, &k) != STATUS_OK || tape_new(k, &c.t) != STATUS_OK) fail_msg("%s", status_message());
    for (int i = 0; i < inputs; i++) {
        int64_t n = 1;
        for (int d = 0; d < ndim[i]; d++) n *= dims[i][d];
        c.data[i] = random_floats(n, (uint32_t)i, 1);
    }
    if (params) {
        for (int i = 0; i < params->count; i++) { /* no parameter at zero or one, where mistakes hide */
            Param *p = params->items[i];
            float *noise = random_floats((int64_t)p->size, 200 + (uint32_t)i, p->ndim > 1 ? 0.2f : 0.3f);
            for (size_t j = 0; j < p->size; j++) p->value[j] = noise[j] + (p->init == INIT_ONE);
            free(noise);
        }
        if (params_alloc_grads(params) != STATUS_OK) fail_msg("%s", status_message());
        params_touch(params);
    }
    all_gradients(&c, params, tolerance);
    for (int i = 0; i < inputs; i++) free(c.data[i]);
    tape_free(c.t);
    if (params) params_release(params); /* packed copies go before the kernels that made them */
    kernels_free(k);
}
