/* Convolution and linear layers of every set of kernels against the reference in double precision. */
#include "tests/support_kernels.h"
#include "tests/support_reference.h"

#include <omp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct ConvCase {
    ConvShape shape;
    bool bias, residual;
} ConvCase;

static const ConvCase cases[] = {
    {{.N = 1, .H = 1, .W = 1, .Cin = 1, .Cout = 1, .kernel = 1, .stride = 1}, true, false},
    {{.N = 2, .H = 5, .W = 7, .Cin = 3, .Cout = 8, .kernel = 3, .stride = 1}, true, false},
    {{.N = 2, .H = 7, .W = 5, .Cin = 17, .Cout = 13, .kernel = 3, .stride = 1}, true, true},
    {{.N = 1, .H = 5, .W = 6, .Cin = 48, .Cout = 80, .kernel = 3, .stride = 1}, false, true},
    {{.N = 3, .H = 9, .W = 6, .Cin = 16, .Cout = 32, .kernel = 3, .stride = 2}, true, false},
    {{.N = 2, .H = 4, .W = 4, .Cin = 5, .Cout = 6, .kernel = 3, .stride = 2}, true, true},
    {{.N = 2, .H = 6, .W = 11, .Cin = 40, .Cout = 24, .kernel = 1, .stride = 1}, true, true},
    {{.N = 1, .H = 3, .W = 70, .Cin = 19, .Cout = 6, .kernel = 3, .stride = 1}, true, false},
    {{.N = 3, .H = 8, .W = 8, .Cin = 32, .Cout = 40, .kernel = 3, .stride = 1}, true, true},
};
static const LinearShape linear_cases[] = {{.rows = 1, .in = 1, .out = 1},
                                           {.rows = 3, .in = 64, .out = 192},
                                           {.rows = 130, .in = 33, .out = 7},
                                           {.rows = 257, .in = 96, .out = 65},
                                           {.rows = 2, .in = 512, .out = 96}};
enum { CASES = sizeof cases / sizeof cases[0], LINEAR_CASES = sizeof linear_cases / sizeof linear_cases[0] };
enum { TYPES = 3 }; /* f32, bf16, bf16 with an f32 result */

/* One convolution or linear layer with all its arrays. */
typedef struct Layer {
    ConvShape s; /* of a linear layer: its equal */
    LinearShape linear;
    bool is_linear, bias, residual;
    int64_t y_image; /* elements of y per image */
    Values x, w, b, r, y, d_y, d_x, d_w, d_b;
    Param weight, bias_param;
} Layer;

static Layer layer_new(ConvShape s, const LinearShape *linear, bool bias, bool residual, int types)
{
    Layer l = {.s = s, .is_linear = linear != NULL, .bias = bias, .residual = residual};
    DType in = types == 0 ? DTYPE_F32 : DTYPE_BF16, out = types == 1 ? DTYPE_BF16 : DTYPE_F32;
    l.s.dtype = in;
    l.s.out_dtype = out;
    if (linear) l.linear = (LinearShape){linear->rows, linear->in, linear->out, in, out, 0};
    int64_t H2 = (s.H + s.stride - 1) / s.stride, W2 = (s.W + s.stride - 1) / s.stride;
    int64_t weights = s.Cout * s.Cin * s.kernel * s.kernel;
    l.y_image = H2 * W2 * s.Cout;
    l.x = values_random(in, s.N * s.H * s.W * s.Cin, 0.1, 1);
    l.w = values_random(DTYPE_F32, weights, 0, 0.2);
    l.b = values_random(DTYPE_F32, s.Cout, 0, 1);
    l.r = values_random(out, s.N * l.y_image, 0, 1);
    l.y = values_output(out, s.N * l.y_image);
    l.d_y = values_random(out, s.N * l.y_image, 0.1, 1);
    l.d_x = values_output(in, l.x.n);
    l.d_w = values_random(DTYPE_F32, weights, 0, 1);
    l.d_b = values_random(DTYPE_F32, s.Cout, 0, 1);
    l.weight = linear ? param_from_values(&l.w, 2, (int64_t[]){s.Cout, s.Cin})
                      : param_from_values(&l.w, 4, (int64_t[]){s.Cout, s.Cin, s.kernel, s.kernel});
    l.bias_param = param_from_values(&l.b, 1, (int64_t[]){s.Cout});
    return l;
}

static void layer_free(Layer *l)
{
    param_release_packed(&l->weight);
    param_release_packed(&l->bias_param);
    for (Values *v = &l->x; v <= &l->d_b; v++) values_free(v);
}

static Layer layer_of_case(int i, int types)
{
    if (i < CASES) return layer_new(cases[i].shape, NULL, cases[i].bias, cases[i].residual, types);
    const LinearShape *s = &linear_cases[i - CASES];
    return layer_new(reference_linear_shape(s), s, i % 2, i % 3 == 0, types);
}

static void forward(Kernels *k, Layer *l, void *y)
{
    const Param *bias = l->bias ? &l->bias_param : NULL;
    const void *residual = l->residual ? l->r.data : NULL;
    assert_int_equal(STATUS_OK, l->is_linear ? k->linear(k, &l->linear, l->x.data, &l->weight, bias, residual, y)
                                             : k->conv2d(k, &l->s, l->x.data, &l->weight, bias, residual, y));
}

static void backward_data(Kernels *k, Layer *l, void *d_x)
{
    assert_int_equal(STATUS_OK, l->is_linear ? k->linear_backward_data(k, &l->linear, l->d_y.data, &l->weight, d_x)
                                             : k->conv2d_backward_data(k, &l->s, l->d_y.data, &l->weight, d_x));
}

static void add_gradient(Kernels *k, Layer *l, float *d_w, pthread_mutex_t *lock, float *d_b)
{
    assert_int_equal(STATUS_OK, l->is_linear
                                    ? k->linear_backward_weights(k, &l->linear, l->x.data, l->d_y.data, d_w, lock, d_b)
                                    : k->conv2d_backward_weights(k, &l->s, l->x.data, l->d_y.data, d_w, lock, d_b));
}

static void backward_weights(Kernels *k, Layer *l, float *d_w, float *d_b)
{
    add_gradient(k, l, d_w, NULL, d_b);
}

static double *doubles(int64_t n)
{
    double *x = calloc((size_t)n + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static void check_forward(const KernelSet *set, Kernels *k, Layer *l, const char *label)
{
    double *y = doubles(l->y.n), tolerance = tolerance_of_product(set, l->s.dtype, 5e-6);
    if (l->s.out_dtype == DTYPE_F32 && set->choice != KERNELS_BEST) tolerance = 5e-6; /* plain C multiplies in f32 */
    reference_conv2d(&l->s, l->x.exact, l->w.exact, l->bias ? l->b.exact : NULL, l->residual ? l->r.exact : NULL, y);
    forward(k, l, l->y.data);
    assert_values_close(label, &l->y, y, tolerance);
    if (l->residual) { /* in place: the residual is y itself */
        Values in_place = values_output(l->s.out_dtype, l->r.n), kept = l->r;
        memcpy(in_place.data, l->r.data, (size_t)l->r.n * dtype_size(l->s.out_dtype));
        l->r = in_place;
        forward(k, l, in_place.data);
        l->r = kept;
        assert_values_close("residual in place", &in_place, y, tolerance);
        values_free(&in_place);
    }
    free(y);
}

static void add(double *to, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] += x[i];
}

static void check_backward(const KernelSet *set, Kernels *k, Layer *l, const char *label)
{
    double *d_x = doubles(l->x.n), *d_w = doubles(l->w.n), *d_b = doubles(l->s.Cout);
    double *sum_w = doubles(l->w.n), *sum_b = doubles(l->s.Cout);
    double tolerance = tolerance_of_product(set, set->choice == KERNELS_BEST ? l->s.dtype : DTYPE_F32, 5e-6);
    reference_conv2d_backward(&l->s, l->x.exact, l->w.exact, l->d_y.exact, d_x, d_w, d_b);
    add(sum_w, l->d_w.exact, l->w.n), add(sum_w, d_w, l->w.n);
    add(sum_b, l->d_b.exact, l->s.Cout), add(sum_b, d_b, l->s.Cout);
    backward_data(k, l, l->d_x.data);
    assert_values_close(label, &l->d_x, d_x, tolerance_of_product(set, l->s.dtype, 5e-6));
    backward_weights(k, l, l->d_w.data, l->d_b.data);
    assert_values_close(label, &l->d_w, sum_w, tolerance);
    assert_values_close(label, &l->d_b, sum_b, tolerance);
    backward_weights(k, l, l->d_w.data, NULL); /* each may be left out, and both add up */
    backward_weights(k, l, NULL, l->d_b.data);
    add(sum_w, d_w, l->w.n), add(sum_b, d_b, l->s.Cout);
    assert_values_close(label, &l->d_w, sum_w, tolerance);
    assert_values_close(label, &l->d_b, sum_b, tolerance);
    free(d_x), free(d_w), free(d_b), free(sum_w), free(sum_b);
}

static void layers_match_reference(void **state)
{
    (void)state;
    for (int set = 0; set < KERNEL_SETS; set++) {
        Kernels *k = kernel_set_open(&kernel_sets[set]);
        for (int i = 0; i < (CASES + LINEAR_CASES) * TYPES; i++) {
            char label[128];
            Layer l = layer_of_case(i / TYPES, i % TYPES);
            snprintf(label, sizeof label, "%s, layer %d, dtypes %d", kernel_sets[set].label, i / TYPES, i % TYPES);
            check_forward(&kernel_sets[set], k, &l, label);
            check_backward(&kernel_sets[set], k, &l, label);
            layer_free(&l);
        }
        kernels_free(k);
    }
}

/* The gradient of the weights may depend on the threads where oneDNN computes it. */
static void check_threads(const KernelSet *set, Kernels *k, Layer *l)
{
    Values y = values_output(l->s.out_dtype, l->y.n), d_x = values_output(l->s.dtype, l->x.n);
    Values d_w = values_output(DTYPE_F32, l->w.n), d_b = values_output(DTYPE_F32, l->s.Cout);
    memset(d_w.data, 0, 4 * (size_t)d_w.n), memset(d_b.data, 0, 4 * (size_t)d_b.n);
    memset(l->d_w.data, 0, 4 * (size_t)d_w.n), memset(l->d_b.data, 0, 4 * (size_t)d_b.n);
    use_threads(1);
    forward(k, l, l->y.data);
    backward_data(k, l, l->d_x.data);
    backward_weights(k, l, l->d_w.data, l->d_b.data);
    use_threads(2);
    forward(k, l, y.data);
    backward_data(k, l, d_x.data);
    backward_weights(k, l, d_w.data, d_b.data);
    assert_values_same("y on 1 and 2 threads", &y, &l->y);
    assert_values_same("d_x on 1 and 2 threads", &d_x, &l->d_x);
    if (set->choice != KERNELS_BEST) assert_values_same("d_w on 1 and 2 threads", &d_w, &l->d_w);
    if (set->choice != KERNELS_BEST) assert_values_same("d_b on 1 and 2 threads", &d_b, &l->d_b);
    values_free(&y), values_free(&d_x), values_free(&d_w), values_free(&d_b);
}

/* y of each image alone (of each row, for a linear layer) against l->y of all together. */
static void check_batch(Kernels *k, Layer *l)
{
    int64_t parts = l->is_linear ? l->linear.rows : l->s.N;
    Values y = values_output(l->s.out_dtype, l->y.n);
    memcpy(y.data, l->y.data, (size_t)y.n * dtype_size(y.type));
    Layer one = *l;
    one.s.N = one.linear.rows = 1;
    use_threads(1);
    for (int64_t n = 0; n < parts; n += 1 + (parts - 1) / 8) { /* nine at most */
        size_t x_at = (size_t)(l->x.n / parts * n), y_at = (size_t)(l->y.n / parts * n),
               size = dtype_size(l->s.out_dtype);
        memset((char *)y.data + y_at * size, 0xff, (size_t)(l->y.n / parts) * size);
        one.x.data = (char *)l->x.data + x_at * dtype_size(l->s.dtype);
        one.r.data = (char *)l->r.data + y_at * size;
        forward(k, &one, (char *)y.data + y_at * size);
    }
    memcpy(l->weight.packed, one.weight.packed, sizeof one.weight.packed); /* what was packed meanwhile */
    memcpy(l->bias_param.packed, one.bias_param.packed, sizeof one.bias_param.packed);
    assert_values_same("y alone and in a batch", &y, &l->y);
    values_free(&y);
}

static void layers_ignore_threads_and_batch(void **state)
{
    (void)state;
    for (int set = 0; set < KERNEL_SETS; set++) {
        Kernels *k = kernel_set_open(&kernel_sets[set]);
        for (int i = 0; i < (CASES + LINEAR_CASES) * TYPES; i++) {
            Layer l = layer_of_case(i / TYPES, i % TYPES);
            check_threads(&kernel_sets[set], k, &l);
            check_batch(k, &l);
            layer_free(&l);
        }
        kernels_free(k);
    }
}

typedef struct Adder {
    Kernels *k;
    Layer layer;
    float *sum;
    pthread_mutex_t *lock;
    pthread_barrier_t *start;
    pthread_t thread;
} Adder;

static void *adder_main(void *arg)
{
    Adder *a = arg;
    omp_set_num_threads(1);
    pthread_barrier_wait(a->start);
    add_gradient(a->k, &a->layer, a->sum, a->lock, NULL);
    return NULL;
}

/* Both at the same time, again and again: the sum is exactly that of the two gradients each on its own. */
static void check_adders(Adder adders[2], int rounds)
{
    Values sum = values_output(DTYPE_F32, adders[0].layer.w.n), expected = values_output(DTYPE_F32, sum.n);
    size_t bytes = (size_t)sum.n * sizeof(float);
    float *alone = malloc(bytes);
    memset(expected.data, 0, bytes);
    use_threads(1);
    for (int i = 0; i < 2; i++) {
        memset(alone, 0, bytes);
        backward_weights(adders[i].k, &adders[i].layer, alone, NULL);
        for (int64_t j = 0; j < sum.n; j++) ((float *)expected.data)[j] += alone[j];
        adders[i].sum = sum.data;
    }
    for (int round = 0; round < rounds; round++) {
        memset(sum.data, 0, bytes);
        for (int i = 0; i < 2; i++) pthread_create(&adders[i].thread, NULL, adder_main, &adders[i]);
        for (int i = 0; i < 2; i++) pthread_join(adders[i].thread, NULL);
        assert_values_same("the sum of two threads' gradients", &sum, &expected);
    }
    free(alone);
    values_free(&sum), values_free(&expected);
}

/* What params_share_grads() is for. */
static void threads_share_a_gradient(void **state)
{
    (void)state;
    enum { ROUNDS = 100 };
    static const ConvShape shape = {.N = 1, .H = 4, .W = 4, .Cin = 96, .Cout = 128, .kernel = 3, .stride = 1};
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, 2);
    for (int set = 0; set < KERNEL_SETS; set++) {
        Adder adders[2];
        for (int i = 0; i < 2; i++)
            adders[i] = (Adder){.k = kernel_set_open(&kernel_sets[set]), .layer = layer_new(shape, NULL, false, false, 1), .lock = &lock,
                                .start = &start};
        check_adders(adders, ROUNDS);
        for (int i = 0; i < 2; i++) {
            layer_free(&adders[i].layer);
            kernels_free(adders[i].k);
        }
    }
    pthread_barrier_destroy(&start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_match_reference),
        cmocka_unit_test(layers_ignore_threads_and_batch),
        cmocka_unit_test(threads_share_a_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
