/* Forward convolutions and linear layers in 8 bits: against the same rounding done in the simplest way, and against none. */
#include "tests/support_kernels.h"
#include "tests/support_reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct Case {
    ConvShape s;
    bool bias, residual, in_place;
    double mean; /* of x: what lies on one side of 0 uses the 256 steps as well */
} Case;

#define SHAPE(n, h, w, in, out, k, st, to) {.N = n, .H = h, .W = w, .Cin = in, .Cout = out, .kernel = k, .stride = st, .dtype = DTYPE_BF16, .out_dtype = to}

static const Case cases[] = {
    {SHAPE(1, 8, 8, 64, 64, 3, 1, DTYPE_BF16), true, false, false, 0},
    {SHAPE(2, 16, 16, 64, 128, 3, 1, DTYPE_BF16), true, true, false, 1},
    {SHAPE(3, 8, 8, 128, 64, 3, 1, DTYPE_BF16), true, true, true, -1},
    {SHAPE(2, 16, 8, 64, 64, 3, 2, DTYPE_BF16), true, false, false, 2},
    {SHAPE(2, 8, 8, 96, 192, 1, 1, DTYPE_BF16), false, false, false, 0},
    {SHAPE(2, 8, 8, 192, 64, 1, 1, DTYPE_BF16), true, true, false, 0},
    {SHAPE(2, 5, 7, 64, 96, 3, 1, DTYPE_BF16), false, true, true, 0},
    {SHAPE(1, 8, 8, 64, 32, 3, 1, DTYPE_F32), true, false, false, 0},
};
enum { CASES = sizeof cases / sizeof *cases };

typedef struct Layer {
    ConvShape s;
    Values x, w, b, r, y;
    Param weight, bias;
    int64_t x_each, y_each; /* of an image */
} Layer;

static Layer layer_new(const Case *c)
{
    const ConvShape *s = &c->s;
    Layer l = {.s = *s};
    int64_t weights = s->Cout * s->Cin * s->kernel * s->kernel;
    l.x_each = s->H * s->W * s->Cin;
    l.y_each = (s->H + s->stride - 1) / s->stride * ((s->W + s->stride - 1) / s->stride) * s->Cout;
    l.x = values_random(s->dtype, s->N * l.x_each, c->mean, 1);
    l.w = values_random(DTYPE_F32, weights, 0, 0.1);
    l.b = values_random(DTYPE_F32, s->Cout, 0, 1);
    l.r = values_random(s->out_dtype, s->N * l.y_each, 0, 1);
    l.y = values_output(s->out_dtype, s->N * l.y_each);
    l.weight = param_from_values(&l.w, 4, (int64_t[]){s->Cout, s->Cin, s->kernel, s->kernel});
    l.weight.int8 = true;
    l.bias = param_from_values(&l.b, 1, (int64_t[]){s->Cout});
    return l;
}

static void layer_free(Layer *l)
{
    param_release_packed(&l->weight);
    values_free(&l->x);
    values_free(&l->w);
    values_free(&l->b);
    values_free(&l->r);
    values_free(&l->y);
}

static void run(Kernels *k, const Case *c, Layer *l, const ConvShape *s, int64_t first)
{
    size_t x_at = (size_t)(first * l->x_each) * dtype_size(s->dtype), y_at = (size_t)(first * l->y_each) * dtype_size(s->out_dtype);
    char *y = (char *)l->y.data + y_at, *r = (char *)l->r.data + y_at;
    if (c->in_place) memcpy(y, r, (size_t)(s->N * l->y_each) * dtype_size(s->out_dtype));
    Status status = k->conv2d(k, s, (char *)l->x.data + x_at, &l->weight, c->bias ? &l->bias : NULL,
                              !c->residual ? NULL : c->in_place ? y : r, y);
    if (status != STATUS_OK) fail_msg("%s", status_message());
}

/* x and w as 8 bits hold them, in doubles; an image and an output channel at a time. */
static void round_x(const Values *x, int64_t first, int64_t n, double *out)
{
    float lo = 0, hi = 0;
    for (int64_t i = first; i < first + n; i++) {
        lo = fminf(lo, (float)x->exact[i]);
        hi = fmaxf(hi, (float)x->exact[i]);
    }
    float scale = (hi - lo) / 255, factor = 1 / scale;
    double zero = nearbyint(-lo / scale);
    for (int64_t i = first; i < first + n; i++) {
        double v = floor((float)x->exact[i] * factor + ((float)zero + 0.5f));
        out[i] = (fmin(fmax(v, 0), 255) - zero) * scale;
    }
}

static void round_w(const Values *w, int64_t channels, double *out)
{
    int64_t each = w->n / channels;
    for (int64_t c = 0; c < channels; c++) {
        double most = 0;
        for (int64_t i = c * each; i < (c + 1) * each; i++) most = fmax(most, fabs(w->exact[i]));
        for (int64_t i = c * each; i < (c + 1) * each; i++) out[i] = nearbyint(w->exact[i] / (most / 127)) * (most / 127);
    }
}

static double relative_error(const Values *got, const double *want)
{
    double error = 0, norm = 0;
    for (int64_t i = 0; i < got->n; i++) {
        error += (got->exact[i] - want[i]) * (got->exact[i] - want[i]);
        norm += want[i] * want[i];
    }
    return sqrt(error / norm);
}

static void check_case(Kernels *k, const Case *c)
{
    Layer l = layer_new(c);
    double *x = malloc((size_t)l.x.n * sizeof *x), *w = malloc((size_t)l.w.n * sizeof *w);
    double *rounded = malloc((size_t)l.y.n * sizeof *rounded), *exact = malloc((size_t)l.y.n * sizeof *exact);
    run(k, c, &l, &l.s, 0);
    for (int64_t n = 0; n < l.s.N; n++) round_x(&l.x, n * l.x_each, l.x_each, x);
    round_w(&l.w, l.s.Cout, w);
    reference_conv2d(&l.s, x, w, c->bias ? l.b.exact : NULL, c->residual ? l.r.exact : NULL, rounded);
    reference_conv2d(&l.s, l.x.exact, l.w.exact, c->bias ? l.b.exact : NULL, c->residual ? l.r.exact : NULL, exact);
    /* A value next to the border between two steps may fall on either side: 1 of the 255 for one x, lost in the sum. */
    assert_values_close("int8 against the same rounding", &l.y, rounded, l.s.out_dtype == DTYPE_F32 ? 1e-3 : 6e-3);
    double error = relative_error(&l.y, exact);
    if (!(error < 0.02 && error > 1e-4)) fail_msg("int8 is %g of the result away from it", error);
    free(x);
    free(w);
    free(rounded);
    free(exact);
    layer_free(&l);
}

static Kernels *open_or_skip(void)
{
    Kernels *k = kernel_set_open(&kernel_sets[KERNEL_SETS - 1]);
    if (k->native_int8) return k;
    kernels_free(k);
    skip();
    return NULL;
}

static void test_convolutions(void **state)
{
    (void)state;
    Kernels *k = open_or_skip();
    for (int i = 0; i < CASES; i++) check_case(k, &cases[i]);
    kernels_free(k);
}

/* An image is the same alone, among others and on any number of threads. */
static void test_same_bits(void **state)
{
    (void)state;
    Kernels *k = open_or_skip();
    for (int i = 0; i < CASES; i++) {
        Layer l = layer_new(&cases[i]);
        size_t bytes = (size_t)l.y.n * dtype_size(l.y.type);
        char *together = malloc(bytes);
        use_threads(2);
        run(k, &cases[i], &l, &l.s, 0);
        memcpy(together, l.y.data, bytes);
        memset(l.y.data, 0, bytes);
        use_threads(1);
        ConvShape one = l.s;
        one.N = 1;
        for (int64_t n = 0; n < l.s.N; n++) run(k, &cases[i], &l, &one, n);
        assert_memory_equal(l.y.data, together, bytes);
        free(together);
        layer_free(&l);
    }
    use_threads(2);
    kernels_free(k);
}

/* A linear layer over the pixels of two images is the 1x1 convolution. */
static void test_linear(void **state)
{
    (void)state;
    Kernels *k = open_or_skip();
    const Case *c = &cases[4];
    Layer l = layer_new(c);
    LinearShape s = {.rows = l.s.N * l.s.H * l.s.W, .in = l.s.Cin, .out = l.s.Cout, .dtype = DTYPE_BF16, .out_dtype = DTYPE_BF16,
                     .images = l.s.N};
    Values y = values_output(DTYPE_BF16, l.y.n);
    run(k, c, &l, &l.s, 0);
    assert_int_equal(k->linear(k, &s, l.x.data, &l.weight, NULL, NULL, y.data), STATUS_OK);
    assert_values_same("linear and 1x1", &y, &l.y);
    values_free(&y);
    layer_free(&l);
    kernels_free(k);
}

/* All zero, and all the same: nothing to divide by. */
static void test_constant_input(void **state)
{
    (void)state;
    Kernels *k = open_or_skip();
    const Case *c = &cases[0];
    for (int value = 0; value < 2; value++) {
        Layer l = layer_new(c);
        uint16_t *x = l.x.data;
        for (int64_t i = 0; i < l.x.n; i++) {
            x[i] = value ? 0x3f80 : 0;
            l.x.exact[i] = value;
        }
        double *w = malloc((size_t)l.w.n * sizeof *w), *want = malloc((size_t)l.y.n * sizeof *want);
        round_w(&l.w, l.s.Cout, w);
        run(k, c, &l, &l.s, 0);
        reference_conv2d(&l.s, l.x.exact, w, l.b.exact, NULL, want);
        assert_values_close("constant input", &l.y, want, 6e-3);
        free(w);
        free(want);
        layer_free(&l);
    }
    kernels_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolutions),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_constant_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
