#include "tests/support_conv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

const ConvShape small_conv = {.N = 2, .H = 9, .W = 8, .Cin = 24, .Cout = 40, .kernel = 3, .stride = 1};

static int64_t y_size(const ConvShape *s)
{
    return s->N * ((s->H + s->stride - 1) / s->stride) * ((s->W + s->stride - 1) / s->stride) * s->Cout;
}

Conv conv_new(ConvShape s)
{
    int64_t dims[] = {s.Cout, s.Cin, s.kernel, s.kernel}, weights = s.Cout * s.Cin * s.kernel * s.kernel;
    Conv c = {.s = s};
    c.x = values_random(s.dtype, s.N * s.H * s.W * s.Cin, 0, 1);
    c.w = values_random(DTYPE_F32, weights, 0, 0.1);
    c.b = values_random(DTYPE_F32, s.Cout, 0, 1);
    c.r = values_random(s.residual_f32 ? DTYPE_F32 : s.out_dtype, y_size(&s), 0, 1);
    c.y = values_output(s.out_dtype, y_size(&s));
    c.d_x = values_output(s.dtype, c.x.n);
    c.d_w = values_random(DTYPE_F32, weights, 0, 1);
    c.d_b = values_random(DTYPE_F32, s.Cout, 0, 1);
    c.weight = param_from_values(&c.w, 4, dims);
    c.bias = param_from_values(&c.b, 1, dims);
    return c;
}

void conv_free(Conv *c)
{
    param_release_packed(&c->weight);
    for (Values *v = &c->x; v <= &c->d_b; v++) values_free(v);
}

Kernels *onednn_or_skip(void)
{
    Kernels *k = kernel_set_open(&kernel_sets[KERNEL_SETS - 1]);
    if (k->onednn) return k;
    kernels_free(k);
    skip();
    return NULL;
}

void conv_forward(Kernels *k, Conv *c, const void *residual)
{
    assert_int_equal(STATUS_OK, k->conv2d(k, &c->s, c->x.data, &c->weight, &c->bias, residual, c->y.data));
}

void conv_all_passes(Kernels *k, Conv *c)
{
    conv_forward(k, c, c->r.data);
    assert_int_equal(STATUS_OK, k->conv2d_backward_data(k, &c->s, c->r.data, &c->weight, c->d_x.data));
    assert_int_equal(STATUS_OK, k->conv2d_backward_weights(k, &c->s, c->x.data, c->r.data, c->d_w.data, NULL, c->d_b.data));
}

int conv_packed_count(const Conv *c)
{
    int count = 0;
    for (int i = 0; i < PARAM_MAX_PACKED; i++) count += c->weight.packed[i].key != NULL;
    return count;
}

double values_element(const Values *v, int64_t i)
{
    return v->type == DTYPE_F32 ? (double)((float *)v->data)[i] : (double)bf16_to_f32(((uint16_t *)v->data)[i]);
}

void assert_near(const char *what, const Values *a, const Values *b, double tolerance)
{
    double largest = 1e-30;
    for (int64_t i = 0; i < b->n; i++) largest = fmax(largest, fabs(values_element(b, i)));
    for (int64_t i = 0; i < a->n; i++)
        if (!(fabs(values_element(a, i) - values_element(b, i)) <= tolerance * largest))
            fail_msg("%s: element %lld is %g, expected %g", what, (long long)i, values_element(a, i), values_element(b, i));
}
