/* What only the oneDNN kernels have: convolutions in parts, primitives that are kept, fallbacks, implementations to avoid. That their
 * numbers are right on common shapes is tested in test_kernels_conv.c, copies of weights in test_packed_weights.c, doubled pictures in
 * test_upsampled_conv.c. */
#include "tests/support_conv.h"

#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* Both sets of kernels do all passes of one convolution, oneDNN's on scratch memory full of NaN. */
static void assert_like_plain(ConvShape s)
{
    Kernels *k = kernel_set_open(&kernel_sets[KERNEL_SETS - 1]), *plain = kernel_set_open(&kernel_sets[1]);
    Conv a = conv_new(s), b = conv_new(s);
    Values *to[] = {&b.x, &b.w, &b.b, &b.r, &b.d_w, &b.d_b};
    const Values *from[] = {&a.x, &a.w, &a.b, &a.r, &a.d_w, &a.d_b};
    double tolerance = s.dtype == DTYPE_BF16 ? 2e-2 : 1e-5;
    char label[100];
    snprintf(label, sizeof label, "N %lld, %lldx%lld, %lld->%lld, kernel %d, stride %d, type %d", (long long)s.N, (long long)s.H,
             (long long)s.W, (long long)s.Cin, (long long)s.Cout, s.kernel, s.stride, (int)s.dtype);
    if (s.dtype == DTYPE_BF16) /* the plain kernels take weights as they are */
        for (int64_t i = 0; i < a.w.n; i++) ((float *)a.w.data)[i] = bf16_to_f32(f32_to_bf16(((float *)a.w.data)[i]));
    for (int i = 0; i < 6; i++) memcpy(to[i]->data, from[i]->data, (size_t)to[i]->n * dtype_size(to[i]->type));
    memset(kernels_scratch(k, 64 << 20), 0xff, 64 << 20);
    conv_all_passes(k, &a);
    conv_all_passes(plain, &b);
    assert_near(label, &a.y, &b.y, tolerance);
    assert_near(label, &a.d_x, &b.d_x, tolerance);
    assert_near(label, &a.d_w, &b.d_w, tolerance);
    assert_near(label, &a.d_b, &b.d_b, tolerance);
    conv_free(&a);
    conv_free(&b);
    kernels_free(k);
    kernels_free(plain);
}

/* --- tests --- */

/* Memory that ten rounds of all passes keep. */
static size_t kept_by_ten_rounds(Kernels *k, Conv *c)
{
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < 10; i++) {
        c->weight.version++;
        conv_all_passes(k, c);
    }
    struct mallinfo2 after = mallinfo2();
    return after.uordblks - before.uordblks + after.hblkhd - before.hblkhd;
}

/* glibc counts what a thread has freed and keeps at hand as used: who frees a block is chance, so a few rounds may pass before
 * each thread has its share. What leaks would grow in every round. */
static void steady_state_allocates_nothing(void **state)
{
    (void)state;
    Kernels *k = onednn_or_skip();
    for (int type = 0; type < 2; type++) {
        ConvShape s = small_conv;
        s.dtype = s.out_dtype = (DType)type;
        Conv c = conv_new(s);
        for (int i = 0; i < 2; i++) conv_all_passes(k, &c);
        int packed = conv_packed_count(&c);
        size_t kept = 1;
        for (int i = 0; i < 5 && kept; i++) kept = kept_by_ten_rounds(k, &c);
        assert_int_equal(0, kept);
        assert_int_equal(packed, conv_packed_count(&c));
        conv_free(&c);
    }
    kernels_free(k);
}

/* A residual in f32 that is added before y is rounded to bf16: at once, in parts and in 8 bits, as the plain kernels do. */
static void wide_residuals(void **state)
{
    (void)state;
    static const ConvShape shapes[] = {{2, 9, 8, 24, 40, 3, 1, DTYPE_BF16, DTYPE_BF16, true},
                                       {2, 8, 8, 768, 256, 3, 1, DTYPE_BF16, DTYPE_BF16, true},
                                       {1, 16, 16, 32, 32, 1, 1, DTYPE_BF16, DTYPE_BF16, true}};
    Kernels *k = onednn_or_skip(), *plain = kernel_set_open(&kernel_sets[1]);
    for (int i = 0; i < 6; i++) {
        Conv c = conv_new(shapes[i / 2]);
        Values y = values_output(DTYPE_BF16, c.y.n);
        for (int64_t j = 0; j < c.w.n; j++) ((float *)c.w.data)[j] = bf16_to_f32(f32_to_bf16(((float *)c.w.data)[j]));
        assert_int_equal(STATUS_OK, plain->conv2d(plain, &c.s, c.x.data, &c.weight, &c.bias, c.r.data, y.data));
        c.weight.int8 = i % 2;
        conv_forward(k, &c, c.r.data);
        assert_near("y", &c.y, &y, i % 2 ? 3e-2 : 1e-2);
        values_free(&y);
        conv_free(&c);
    }
    kernels_free(k);
    kernels_free(plain);
}

/* Many channels, summed up in parts (onednn_parts.c): the parts are packed once, all in one layout, and again when the weights
 * change; the numbers are the plain kernels'. */
static void parts_add_up(void **state)
{
    (void)state;
    static const ConvShape shapes[] = {{2, 8, 8, 768, 256, 3, 1, DTYPE_BF16, DTYPE_BF16, false},
                                       {1, 5, 7, 1344, 272, 3, 1, DTYPE_BF16, DTYPE_BF16, false},
                                       {1, 4, 3, 960, 256, 3, 1, DTYPE_BF16, DTYPE_F32, false}};
    Kernels *k = onednn_or_skip();
    if (!k->native_bf16) skip();
    for (int i = 0; i < 3; i++) {
        Conv c = conv_new(shapes[i]);
        conv_forward(k, &c, NULL);
        conv_forward(k, &c, c.r.data);
        assert_int_equal(1, conv_packed_count(&c));
        for (int64_t j = 0; j < c.w.n; j++) ((float *)c.w.data)[j] = 0;
        c.weight.version++;
        conv_forward(k, &c, NULL);
        for (int64_t j = 0; j < c.y.n; j++) { /* only the bias is left */
            double bias = c.b.exact[j % c.s.Cout];
            if (fabs(values_element(&c.y, j) - bias) > 4e-3 * fabs(bias)) fail_msg("%g, expected %g", values_element(&c.y, j), bias);
        }
        conv_free(&c);
        assert_like_plain(shapes[i]);
    }
    kernels_free(k);
}

/* The weights of a convolution over whole patches, (Cout,Cin,k,k), are those of a linear layer of Cin*k*k inputs. */
static void weights_of_patches(void **state)
{
    (void)state;
    Kernels *k = onednn_or_skip();
    Values x = values_random(DTYPE_F32, 7 * 48, 0, 1), w = values_random(DTYPE_F32, 24 * 48, 0, 1);
    Values y = values_output(DTYPE_F32, 7 * 24), again = values_output(DTYPE_F32, 7 * 24);
    Param patches = param_from_values(&w, 4, (int64_t[]){24, 3, 4, 4}), rows = param_from_values(&w, 2, (int64_t[]){24, 48});
    LinearShape s = {.rows = 7, .in = 48, .out = 24, .dtype = DTYPE_F32, .out_dtype = DTYPE_F32};
    assert_int_equal(STATUS_OK, k->linear(k, &s, x.data, &patches, NULL, NULL, y.data));
    assert_int_equal(STATUS_OK, k->linear(k, &s, x.data, &rows, NULL, NULL, again.data));
    assert_values_same("y", &y, &again);
    param_release_packed(&patches);
    param_release_packed(&rows);
    values_free(&x), values_free(&w), values_free(&y), values_free(&again);
    kernels_free(k);
}

static void bias_gradient_alone(void **state)
{
    (void)state;
    Kernels *k = onednn_or_skip();
    Conv c = conv_new(small_conv), both = conv_new(small_conv);
    memcpy(both.x.data, c.x.data, (size_t)c.x.n * sizeof(float));
    memcpy(both.r.data, c.r.data, (size_t)c.r.n * sizeof(float));
    memcpy(both.d_b.data, c.d_b.data, (size_t)c.d_b.n * sizeof(float));
    assert_int_equal(STATUS_OK, k->conv2d_backward_weights(k, &c.s, c.x.data, c.r.data, NULL, NULL, c.d_b.data));
    assert_int_equal(STATUS_OK,
                     k->conv2d_backward_weights(k, &both.s, both.x.data, both.r.data, both.d_w.data, NULL, both.d_b.data));
    assert_near("d_bias", &c.d_b, &both.d_b, 1e-5);
    conv_free(&c);
    conv_free(&both);
    kernels_free(k);
}

/* Shapes that some implementation of oneDNN 2.6 gets wrong: see jit_bf16_is_safe(). */
static void wrong_implementations_are_avoided(void **state)
{
    (void)state;
    static const ConvShape shapes[] = {
        {5, 24, 28, 3, 6, 1, 1, DTYPE_BF16, DTYPE_BF16, false},  {5, 9, 14, 23, 17, 1, 1, DTYPE_BF16, DTYPE_BF16, false},
        {5, 12, 12, 4, 25, 1, 1, DTYPE_BF16, DTYPE_BF16, false}, {3, 9, 1, 19, 33, 3, 2, DTYPE_BF16, DTYPE_BF16, false},
        {1, 1, 1, 16, 64, 3, 2, DTYPE_BF16, DTYPE_BF16, false},  {3, 7, 1, 16, 16, 3, 2, DTYPE_BF16, DTYPE_BF16, false},
        {2, 8, 8, 16, 32, 3, 1, DTYPE_F32, DTYPE_F32, false},    {2, 8, 8, 32, 6, 3, 1, DTYPE_BF16, DTYPE_F32, false},
    };
    kernels_free(onednn_or_skip());
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) assert_like_plain(shapes[i]);
}

/* Shapes whose bits depend on batch or threads in the implementation that oneDNN 2.6 would choose: see
 * brgemm_is_safe(). */
static void bits_ignore_threads_and_batch(void **state)
{
    (void)state;
    static const ConvShape shapes[] = {
        {2, 2, 2, 896, 64, 3, 2, DTYPE_F32, DTYPE_F32, false},      {2, 1, 3, 448, 96, 3, 1, DTYPE_F32, DTYPE_F32, false},
        {2, 7, 7, 896, 64, 3, 1, DTYPE_BF16, DTYPE_BF16, false},    {2, 12, 12, 896, 192, 3, 1, DTYPE_BF16, DTYPE_BF16, false},
        {4, 16, 20, 576, 192, 3, 1, DTYPE_BF16, DTYPE_BF16, false}, {10, 1, 1, 512, 40, 1, 1, DTYPE_F32, DTYPE_F32, false},
        {16, 1, 1, 256, 512, 1, 1, DTYPE_BF16, DTYPE_BF16, false},  {3, 8, 8, 128, 256, 3, 1, DTYPE_BF16, DTYPE_BF16, false},
        {2, 8, 8, 768, 256, 3, 1, DTYPE_BF16, DTYPE_BF16, false},   {3, 5, 7, 1344, 256, 3, 1, DTYPE_BF16, DTYPE_BF16, false},
    };
    Kernels *k = onednn_or_skip();
    for (size_t i = 0; i < 3 * sizeof shapes / sizeof *shapes; i++) {
        Conv c = conv_new(shapes[i / 3]);
        int64_t N = c.s.N, x = c.x.n / N, y = c.y.n / N;
        size_t in = dtype_size(c.s.dtype), out = dtype_size(c.s.out_dtype);
        Values want = values_output(c.s.out_dtype, c.y.n);
        for (int run = 0; run < 4; run++) { /* with 2 and 1 threads, together and alone */
            use_threads(run % 2 ? 1 : 2);
            c.s.N = run / 2 ? 1 : N;
            if (i % 3 == 2) memcpy(c.y.data, c.r.data, (size_t)c.y.n * out);
            for (int64_t n = 0; n < N; n += c.s.N) {
                char *to = (char *)c.y.data + (size_t)(n * y) * out, *r = (char *)c.r.data + (size_t)(n * y) * out;
                assert_int_equal(STATUS_OK, k->conv2d(k, &c.s, (char *)c.x.data + (size_t)(n * x) * in, &c.weight, &c.bias,
                                                      i % 3 == 0   ? NULL
                                                      : i % 3 == 1 ? r
                                                                   : to,
                                                      to));
            }
            if (run == 0) memcpy(want.data, c.y.data, (size_t)c.y.n * out);
            assert_values_same("y", &c.y, &want);
        }
        values_free(&want);
        conv_free(&c);
    }
    kernels_free(k);
}

/* The same program on a CPU without AVX-512, as far as oneDNN knows: it refuses bf16. */
static void refused_types_fall_back(void **state)
{
    (void)state;
    kernels_free(onednn_or_skip());
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("DNNL_MAX_CPU_ISA", "AVX2", 1);
        setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
        execl("/proc/self/exe", "test_onednn", "--without-avx512", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(child, waitpid(child, &status, 0));
    assert_true(WIFEXITED(status));
    assert_int_equal(0, WEXITSTATUS(status));
}

static void works_without_avx512(void **state)
{
    (void)state;
    Kernels *k = onednn_or_skip();
    assert_false(k->native_bf16);
    kernels_free(k);
    for (int type = 0; type < 2; type++) {
        ConvShape s = small_conv, pointwise = small_conv;
        s.dtype = s.out_dtype = pointwise.dtype = pointwise.out_dtype = (DType)type;
        pointwise.kernel = 1;
        assert_like_plain(s);
        assert_like_plain(pointwise);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steady_state_allocates_nothing),
        cmocka_unit_test(parts_add_up),
        cmocka_unit_test(wide_residuals),
        cmocka_unit_test(weights_of_patches),
        cmocka_unit_test(bias_gradient_alone),
        cmocka_unit_test(wrong_implementations_are_avoided),
        cmocka_unit_test(bits_ignore_threads_and_batch),
        cmocka_unit_test(refused_types_fall_back),
    };
    const struct CMUnitTest limited[] = {cmocka_unit_test(works_without_avx512)};
    if (argc > 1 && strcmp(argv[1], "--without-avx512") == 0) return cmocka_run_group_tests(limited, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
