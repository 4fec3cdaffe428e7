/* Convolutions of doubled pictures at once (common/onednn_upsampled.c), against the plain kernels' two steps in f32. */
#include "tests/support_conv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Of the doubled picture. */
static const ConvShape shapes[] = {{.N = 2, .H = 8, .W = 6, .Cin = 112, .Cout = 32, .kernel = 3, .stride = 1},
                                   {.N = 3, .H = 4, .W = 4, .Cin = 96, .Cout = 40, .kernel = 3, .stride = 1},
                                   {.N = 1, .H = 14, .W = 4, .Cin = 5, .Cout = 3, .kernel = 3, .stride = 1},
                                   {.N = 2, .H = 14, .W = 18, .Cin = 16, .Cout = 64, .kernel = 3, .stride = 1},
                                   {.N = 2, .H = 16, .W = 16, .Cin = 768, .Cout = 96, .kernel = 3, .stride = 1},
                                   {.N = 2, .H = 6, .W = 34, .Cin = 33, .Cout = 272, .kernel = 3, .stride = 1}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static ConvShape shape_in(int i, DType dtype, DType out_dtype)
{
    ConvShape s = shapes[i];
    s.dtype = dtype;
    s.out_dtype = out_dtype;
    return s;
}

/* The small picture's values are the first quarter of c.x's. */
static int64_t small_size(const ConvShape *s)
{
    return s->N * s->H / 2 * s->W / 2 * s->Cin;
}

static void forward(Kernels *k, const ConvShape *s, const void *x, Conv *c, void *y)
{
    bool done;
    assert_int_equal(STATUS_OK, k->conv2d_upsampled(k, s, x, &c->weight, &c->bias, y, s->dtype == s->out_dtype, &done));
    assert_true(done);
}

/* What the plain kernels make of the same numbers, in f32 (gradients: NULL, or all three). */
static void two_steps(Kernels *plain, Conv *c, Values *y, Values *d_x, Values *d_w, Values *d_b)
{
    ConvShape s = c->s;
    s.dtype = s.out_dtype = DTYPE_F32;
    int64_t small = small_size(&s);
    Values x = values_output(DTYPE_F32, small), doubled = values_output(DTYPE_F32, 4 * small);
    for (int64_t i = 0; i < small; i++) ((float *)x.data)[i] = (float)c->x.exact[i];
    plain->upsample2x(DTYPE_F32, s.N, s.H / 2, s.W / 2, s.Cin, x.data, doubled.data);
    assert_int_equal(STATUS_OK, plain->conv2d(plain, &s, doubled.data, &c->weight, &c->bias, NULL, y->data));
    if (d_x) {
        Values d_y = values_output(DTYPE_F32, c->r.n), d_doubled = values_output(DTYPE_F32, 4 * small);
        for (int64_t i = 0; i < d_y.n; i++) ((float *)d_y.data)[i] = (float)c->r.exact[i];
        assert_int_equal(STATUS_OK, plain->conv2d_backward_data(plain, &s, d_y.data, &c->weight, d_doubled.data));
        plain->upsample2x_backward(DTYPE_F32, s.N, s.H / 2, s.W / 2, s.Cin, d_doubled.data, d_x->data);
        assert_int_equal(STATUS_OK, plain->conv2d_backward_weights(plain, &s, doubled.data, d_y.data, d_w->data, NULL, d_b->data));
        values_free(&d_y), values_free(&d_doubled);
    }
    values_free(&x), values_free(&doubled);
}

static void change_weights(Conv *c)
{
    for (int64_t i = 0; i < c->w.n; i++) ((float *)c->w.data)[i] *= -0.5f;
    c->weight.version++;
}

/* Packed once, packed again when the weights change, the same bits alone and in a batch and on any number of threads. */
static void check_results(Kernels *k, Kernels *plain, ConvShape s)
{
    Conv c = conv_new(s);
    int64_t y_size = s.H * s.W * s.Cout;
    Values first = values_output(s.out_dtype, c.y.n), exact = values_output(DTYPE_F32, c.y.n);
    forward(k, &s, c.x.data, &c, first.data);
    change_weights(&c);
    two_steps(plain, &c, &exact, NULL, NULL, NULL);
    for (int run = 0; run < 4; run++) { /* with 2 and 1 threads, together and alone */
        ConvShape some = s;
        use_threads(run % 2 ? 1 : 2);
        some.N = run / 2 ? 1 : s.N;
        for (int64_t n = 0; n < s.N; n += some.N)
            forward(k, &some, (char *)c.x.data + (size_t)(n * small_size(&s) / s.N) * dtype_size(s.dtype), &c,
                    (char *)c.y.data + (size_t)(n * y_size) * dtype_size(s.out_dtype));
        if (run == 0) memcpy(first.data, c.y.data, (size_t)c.y.n * dtype_size(s.out_dtype));
        assert_near("y", &c.y, &exact, s.dtype == DTYPE_F32 ? 1e-5 : 1e-2);
        assert_values_same("y", &c.y, &first);
    }
    assert_in_range(conv_packed_count(&c), 1, 2); /* oneDNN may want another layout for one tiny picture than for several */
    values_free(&first), values_free(&exact);
    conv_free(&c);
}

static void results(void **state)
{
    (void)state;
    Kernels *k = onednn_or_skip(), *plain = kernel_set_open(&kernel_sets[1]);
    for (int i = 0; i < SHAPES; i++) {
        check_results(k, plain, shape_in(i, DTYPE_F32, DTYPE_F32));
        if (!k->native_bf16) continue;
        check_results(k, plain, shape_in(i, DTYPE_BF16, DTYPE_BF16));
        check_results(k, plain, shape_in(i, DTYPE_BF16, DTYPE_F32));
    }
    use_threads(2);
    kernels_free(k);
    kernels_free(plain);
}

/* On scratch memory full of NaN; gradients of parameters are added to what is there, those that nobody wants are left out. */
static void check_gradients(Kernels *k, Kernels *plain, ConvShape s)
{
    Conv c = conv_new(s);
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    Values y = values_output(DTYPE_F32, c.y.n), d_x = values_output(s.dtype, small_size(&s));
    Values d_x_exact = values_output(DTYPE_F32, d_x.n), d_w = values_output(DTYPE_F32, c.w.n), d_b = values_output(DTYPE_F32, s.Cout);
    double tolerance = s.dtype == DTYPE_F32 ? 1e-5 : 1e-2;
    memcpy(d_w.data, c.d_w.data, (size_t)c.w.n * sizeof(float));
    memcpy(d_b.data, c.d_b.data, (size_t)s.Cout * sizeof(float));
    two_steps(plain, &c, &y, &d_x_exact, &d_w, &d_b);
    memset(kernels_scratch(k, 64 << 20), 0xff, 64 << 20);
    forward(k, &s, c.x.data, &c, c.y.data);
    assert_int_equal(STATUS_OK, k->conv2d_upsampled_backward_data(k, &s, c.r.data, &c.weight, d_x.data));
    assert_int_equal(STATUS_OK, k->conv2d_upsampled_backward_weights(k, &s, c.x.data, c.r.data, NULL, NULL, c.d_b.data));
    assert_int_equal(STATUS_OK, k->conv2d_upsampled_backward_weights(k, &s, c.x.data, c.r.data, c.d_w.data, &lock, NULL));
    assert_near("d_x", &d_x, &d_x_exact, tolerance);
    assert_near("d_w", &c.d_w, &d_w, tolerance);
    assert_near("d_b", &c.d_b, &d_b, tolerance);
    Values *all[] = {&y, &d_x, &d_x_exact, &d_w, &d_b};
    for (int i = 0; i < 5; i++) values_free(all[i]);
    conv_free(&c);
}

static void gradients(void **state)
{
    (void)state;
    Kernels *k = onednn_or_skip(), *plain = kernel_set_open(&kernel_sets[1]);
    for (int i = 0; i < SHAPES; i++) {
        check_gradients(k, plain, shape_in(i, DTYPE_F32, DTYPE_F32));
        if (k->native_bf16) check_gradients(k, plain, shape_in(i, DTYPE_BF16, DTYPE_BF16));
    }
    kernels_free(k);
    kernels_free(plain);
}

/* What oneDNN has no kernel for, as 1x1 pictures in bf16, it has none for alone or in a batch, on any number of threads: a picture's
 * bits would depend on these otherwise. */
static void refusals_ignore_batch_and_threads(void **state)
{
    (void)state;
    Kernels *k = onednn_or_skip();
    for (int side = 2; side <= 6; side += 2) {
        for (int type = 0; type < 2; type++) {
            ConvShape s = {.N = 5, .H = side, .W = side, .Cin = 96, .Cout = 40, .kernel = 3, .stride = 1, .dtype = (DType)type,
                           .out_dtype = (DType)type};
            Conv c = conv_new(s);
            int times = 0;
            for (int run = 0; run < 10; run++) {
                bool done;
                use_threads(1 + run % 2);
                s.N = 1 + run / 2;
                assert_int_equal(STATUS_OK,
                                 k->conv2d_upsampled(k, &s, c.x.data, &c.weight, &c.bias, c.y.data, false, &done));
                times += done;
            }
            assert_true(times == 0 || times == 10);
            conv_free(&c);
        }
    }
    use_threads(2);
    kernels_free(k);
}

/* What has no backward passes, a y in f32 of an x in bf16, is not begun where these are wanted. */
static void refused_for_training(void **state)
{
    (void)state;
    bool done = true;
    Kernels *k = onednn_or_skip();
    if (!k->native_bf16) skip();
    ConvShape s = shape_in(0, DTYPE_BF16, DTYPE_F32);
    Conv c = conv_new(s);
    assert_int_equal(STATUS_OK, k->conv2d_upsampled(k, &s, c.x.data, &c.weight, &c.bias, c.y.data, true, &done));
    assert_false(done);
    conv_free(&c);
    kernels_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results),
        cmocka_unit_test(gradients),
        cmocka_unit_test(refusals_ignore_batch_and_threads),
        cmocka_unit_test(refused_for_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
