/* What only the oneDNN kernels have: packed weights, primitives that are kept, fallbacks, implementations to avoid.
 * That their numbers are right on common shapes is tested in test_kernels_conv.c. */
#include "tests/support_kernels.h"

#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* A convolution with its arrays; `r` serves as residual and as d_y. */
typedef struct Conv {
    ConvShape s;
    Values x, w, b, r, y, d_x, d_w, d_b;
    Param weight, bias;
} Conv;

static int64_t y_size(const ConvShape *s)
{
    return s->N * ((s->H + s->stride - 1) / s->stride) * ((s->W + s->stride - 1) / s->stride) * s->Cout;
}

static Conv conv_new(ConvShape s)
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

static void conv_free(Conv *c)
{
    param_release_packed(&c->weight);
    for (Values *v = &c->x; v <= &c->d_b; v++) values_free(v);
}

static Kernels *open_or_skip(void)
{
    Kernels *k = kernel_set_open(&kernel_sets[KERNEL_SETS - 1]);
    if (k->onednn) return k;
    kernels_free(k);
    skip();
    return NULL;
}

static void forward(Kernels *k, Conv *c, const void *residual)
{
    assert_int_equal(STATUS_OK, k->conv2d(k, &c->s, c->x.data, &c->weight, &c->bias, residual, c->y.data));
}

static void all_passes(Kernels *k, Conv *c)
{
    forward(k, c, c->r.data);
    assert_int_equal(STATUS_OK, k->conv2d_backward_data(k, &c->s, c->r.data, &c->weight, c->d_x.data));
    assert_int_equal(STATUS_OK, k->conv2d_backward_weights(k, &c->s, c->x.data, c->r.data, c->d_w.data, NULL, c->d_b.data));
}

static int packed_count(const Param *p)
{
    int count = 0;
    for (int i = 0; i < PARAM_MAX_PACKED; i++) count += p->packed[i].key != NULL;
    return count;
}

static double element(const Values *v, int64_t i)
{
    return v->type == DTYPE_F32 ? (double)((float *)v->data)[i] : (double)bf16_to_f32(((uint16_t *)v->data)[i]);
}

/* Bits may differ, as sums come in another order and bf16 rounds them. */
static void assert_near(const char *what, const Values *a, const Values *b, double tolerance)
{
    double largest = 1e-30;
    for (int64_t i = 0; i < b->n; i++) largest = fmax(largest, fabs(element(b, i)));
    for (int64_t i = 0; i < a->n; i++)
        if (!(fabs(element(a, i) - element(b, i)) <= tolerance * largest))
            fail_msg("%s: element %lld is %g, expected %g", what, (long long)i, element(a, i), element(b, i));
}

/* Both sets of kernels do all passes of one convolution, oneDNN's on scratch memory full of NaN. */
static void assert_like_plain(ConvShape s)
{
    Kernels *k = kernel_set_open(&kernel_sets[KERNEL_SETS - 1]), *plain = kernel_set_open(&kernel_sets[1]);
    Conv a = conv_new(s), b = conv_new(s);
    Values *to[] = {&b.x, &b.w, &b.b, &b.r, &b.d_w, &b.d_b};
    const Values *from[] = {&a.x, &a.w, &a.b, &a.r, &a.d_w, &a.d_b};
    double tolerance = s.dtype == DTYPE_BF16 ? 2e-2 : 1e-5;
    char label[100];
    snprintf(label, sizeof label, "N %lld, %lldx%lld, %lld->%lld, kernel %d, stride %d, type %d", (long long)s.N,
             (long long)s.H, (long long)s.W, (long long)s.Cin, (long long)s.Cout, s.kernel, s.stride, (int)s.dtype);
    if (s.dtype == DTYPE_BF16) /* the plain kernels take weights as they are */
        for (int64_t i = 0; i < a.w.n; i++) ((float *)a.w.data)[i] = bf16_to_f32(f32_to_bf16(((float *)a.w.data)[i]));
    for (int i = 0; i < 6; i++) memcpy(to[i]->data, from[i]->data, (size_t)to[i]->n * dtype_size(to[i]->type));
    memset(kernels_scratch(k, 64 << 20), 0xff, 64 << 20);
    all_passes(k, &a);
    all_passes(plain, &b);
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

static const ConvShape small = {.N = 2, .H = 9, .W = 8, .Cin = 24, .Cout = 40, .kernel = 3, .stride = 1};

static void new_weights_are_packed_again(void **state)
{
    (void)state;
    Kernels *k = open_or_skip();
    for (int type = 0; type < 2; type++) {
        ConvShape s = small;
        s.dtype = s.out_dtype = (DType)type;
        Conv c = conv_new(s), again = conv_new(s);
        memcpy(again.x.data, c.x.data, (size_t)c.x.n * dtype_size(s.dtype));
        memcpy(again.b.data, c.b.data, (size_t)c.b.n * sizeof(float));
        forward(k, &c, NULL);
        forward(k, &again, NULL);
        assert_memory_not_equal(c.y.data, again.y.data, (size_t)c.y.n * dtype_size(s.dtype));
        memcpy(c.w.data, again.w.data, (size_t)c.w.n * sizeof(float));
        c.weight.version++;
        const void *data = c.weight.packed[0].data;
        forward(k, &c, NULL);
        assert_values_same("y with new weights", &c.y, &again.y);
        assert_ptr_equal(data, c.weight.packed[0].data); /* in the memory of before */
        conv_free(&c);
        conv_free(&again);
    }
    kernels_free(k);
}

/* Memory that ten rounds of all passes keep. */
static size_t kept_by_ten_rounds(Kernels *k, Conv *c)
{
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < 10; i++) {
        c->weight.version++;
        all_passes(k, c);
    }
    struct mallinfo2 after = mallinfo2();
    return after.uordblks - before.uordblks + after.hblkhd - before.hblkhd;
}

/* glibc counts what a thread has freed and keeps at hand as used: who frees a block is chance, so a few rounds may pass before
 * each thread has its share. What leaks would grow in every round. */
static void steady_state_allocates_nothing(void **state)
{
    (void)state;
    Kernels *k = open_or_skip();
    for (int type = 0; type < 2; type++) {
        ConvShape s = small;
        s.dtype = s.out_dtype = (DType)type;
        Conv c = conv_new(s);
        for (int i = 0; i < 2; i++) all_passes(k, &c);
        int packed = packed_count(&c.weight);
        size_t kept = 1;
        for (int i = 0; i < 5 && kept; i++) kept = kept_by_ten_rounds(k, &c);
        assert_int_equal(0, kept);
        assert_int_equal(packed, packed_count(&c.weight));
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
    Kernels *k = open_or_skip(), *plain = kernel_set_open(&kernel_sets[1]);
    for (int i = 0; i < 6; i++) {
        Conv c = conv_new(shapes[i / 2]);
        Values y = values_output(DTYPE_BF16, c.y.n);
        for (int64_t j = 0; j < c.w.n; j++) ((float *)c.w.data)[j] = bf16_to_f32(f32_to_bf16(((float *)c.w.data)[j]));
        assert_int_equal(STATUS_OK, plain->conv2d(plain, &c.s, c.x.data, &c.weight, &c.bias, c.r.data, y.data));
        c.weight.int8 = i % 2;
        forward(k, &c, c.r.data);
        assert_near("y", &c.y, &y, i % 2 ? 3e-2 : 1e-2);
        values_free(&y);
        conv_free(&c);
    }
    kernels_free(k);
    kernels_free(plain);
}

static void run_doubled(Kernels *k, const ConvShape *s, const void *x, Conv *c, void *y)
{
    bool done;
    assert_int_equal(STATUS_OK, k->conv2d_upsampled(k, s, x, &c->weight, &c->bias, y, &done));
    assert_true(done);
}

/* A convolution of a doubled picture in four phases (onednn_upsampled.c): near the plain kernels' in f32, packed once, packed again
 * when the weights change, the same bits alone and in a batch and on any number of threads. */
static void doubled_pictures(void **state)
{
    (void)state;
    static const ConvShape shapes[] = {{2, 8, 6, 112, 32, 3, 1, DTYPE_BF16, DTYPE_BF16, false},
                                       {3, 2, 2, 96, 40, 3, 1, DTYPE_BF16, DTYPE_BF16, false},
                                       {2, 14, 18, 384, 64, 3, 1, DTYPE_BF16, DTYPE_BF16, false},
                                       {2, 16, 16, 768, 96, 3, 1, DTYPE_BF16, DTYPE_BF16, false},
                                       {2, 14, 18, 128, 48, 3, 1, DTYPE_BF16, DTYPE_F32, false}};
    Kernels *k = open_or_skip(), *plain = kernel_set_open(&kernel_sets[1]);
    if (!k->native_bf16) skip();
    for (int i = 0; i < 10; i++) {
        ConvShape s = shapes[i / 2];
        Conv c = conv_new(s); /* a quarter of its x is used */
        int64_t from = s.H / 2 * s.W / 2 * s.Cin, y = s.H * s.W * s.Cout;
        Values x = values_output(DTYPE_F32, s.N * from), doubled = values_output(DTYPE_F32, 4 * x.n);
        Values exact = values_output(DTYPE_F32, c.y.n), want = values_output(s.out_dtype, c.y.n);
        size_t y_bytes = dtype_size(s.out_dtype);
        for (int64_t j = 0; j < x.n; j++) ((float *)x.data)[j] = (float)c.x.exact[j];
        run_doubled(k, &s, c.x.data, &c, want.data);
        if (i % 2) {
            for (int64_t j = 0; j < c.w.n; j++) ((float *)c.w.data)[j] *= -0.5f;
            c.weight.version++;
        }
        plain->upsample2x(DTYPE_F32, s.N, s.H / 2, s.W / 2, s.Cin, x.data, doubled.data);
        s.dtype = s.out_dtype = DTYPE_F32;
        assert_int_equal(STATUS_OK, plain->conv2d(plain, &s, doubled.data, &c.weight, &c.bias, NULL, exact.data));
        s = shapes[i / 2];
        for (int run = 0; run < 4; run++) { /* with 2 and 1 threads, together and alone */
            use_threads(run % 2 ? 1 : 2);
            s.N = run / 2 ? 1 : shapes[i / 2].N;
            for (int64_t n = 0; n < shapes[i / 2].N; n += s.N)
                run_doubled(k, &s, (uint16_t *)c.x.data + n * from, &c, (char *)c.y.data + (size_t)(n * y) * y_bytes);
            if (run == 0) memcpy(want.data, c.y.data, (size_t)c.y.n * y_bytes);
            assert_near("y", &c.y, &exact, 1e-2);
            assert_values_same("y", &c.y, &want);
        }
        assert_in_range(packed_count(&c.weight), 1, 2); /* oneDNN may want another layout for one tiny picture than for several */
        for (int j = 0; j < 4; j++) values_free((Values *[]){&x, &doubled, &exact, &want}[j]);
        conv_free(&c);
    }
    kernels_free(k);
    kernels_free(plain);
}

/* Batches of other sizes want the same layout and must not each pack a copy. */
static void layouts_are_shared(void **state)
{
    (void)state;
    Kernels *k = open_or_skip();
    ConvShape s = small;
    s.dtype = s.out_dtype = DTYPE_BF16;
    s.N = 6;
    Conv c = conv_new(s);
    for (c.s.N = 1; c.s.N <= 6; c.s.N++)
        for (c.s.H = 5; c.s.H <= 9; c.s.H++) forward(k, &c, NULL);
    assert_in_range(packed_count(&c.weight), 1, 2);
    conv_free(&c);
    kernels_free(k);
}

static void count_up(void *data)
{
    ++*(int *)data;
}

/* Many channels, summed up in parts (onednn_parts.c): the parts are packed once, all in one layout, and again when the weights
 * change; the numbers are the plain kernels'. */
static void parts_add_up(void **state)
{
    (void)state;
    static const ConvShape shapes[] = {{2, 8, 8, 768, 256, 3, 1, DTYPE_BF16, DTYPE_BF16, false},
                                       {1, 5, 7, 1344, 272, 3, 1, DTYPE_BF16, DTYPE_BF16, false},
                                       {1, 4, 3, 960, 256, 3, 1, DTYPE_BF16, DTYPE_F32, false}};
    Kernels *k = open_or_skip();
    for (int i = 0; i < 3; i++) {
        Conv c = conv_new(shapes[i]);
        forward(k, &c, NULL);
        forward(k, &c, c.r.data);
        assert_int_equal(1, packed_count(&c.weight));
        for (int64_t j = 0; j < c.w.n; j++) ((float *)c.w.data)[j] = 0;
        c.weight.version++;
        forward(k, &c, NULL);
        for (int64_t j = 0; j < c.y.n; j++) { /* only the bias is left */
            double bias = c.b.exact[j % c.s.Cout];
            if (fabs(element(&c.y, j) - bias) > 4e-3 * fabs(bias)) fail_msg("%g, expected %g", element(&c.y, j), bias);
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
    Kernels *k = open_or_skip();
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

/* Six copies of others fill the slots: a stale one makes room; when none is stale, one does all the same. */
static void full_slots_make_room(void **state)
{
    (void)state;
    Kernels *k = open_or_skip();
    ConvShape s = small;
    int keys[PARAM_MAX_PACKED], destroyed[PARAM_MAX_PACKED] = {0};
    for (int stale = -1; stale < PARAM_MAX_PACKED; stale++) {
        Conv c = conv_new(s);
        memset(destroyed, 0, sizeof destroyed);
        for (int i = 0; i < PARAM_MAX_PACKED; i++)
            c.weight.packed[i] =
                (struct ParamPacked){&keys[i], c.weight.version - (i == stale), &destroyed[i], count_up};
        forward(k, &c, NULL);
        int all = 0;
        for (int i = 0; i < PARAM_MAX_PACKED; i++) all += destroyed[i];
        assert_int_equal(1, all);
        if (stale >= 0) assert_int_equal(1, destroyed[stale]);
        conv_free(&c);
    }
    kernels_free(k);
}

/* Kernels may go before their parameters, and others may then use these. */
static void parameters_outlive_kernels(void **state)
{
    (void)state;
    kernels_free(open_or_skip());
    Conv c = conv_new(small), again = conv_new(small);
    for (int i = 0; i < 3 * PARAM_MAX_PACKED; i++) {
        Kernels *k = kernel_set_open(&kernel_sets[KERNEL_SETS - 1]);
        forward(k, &c, NULL);
        if (i == 0) memcpy(again.y.data, c.y.data, (size_t)c.y.n * sizeof(float));
        assert_values_same("y of another set of kernels", &c.y, &again.y);
        kernels_free(k);
    }
    conv_free(&c);
    conv_free(&again);
}

/* --- copies that threads share --- */

enum { SHARERS = 3, ROUNDS = 8 };

/* One parameter for all, the first one's: what params_share() does to sets. */
static void share_weights(Conv c[SHARERS])
{
    for (int i = 0; i < SHARERS; i++) {
        if (i > 0) {
            param_release_packed(&c[i].weight);
            memcpy(c[i].w.data, c[0].w.data, (size_t)c[0].w.n * sizeof(float));
            c[i].weight.value = c[0].weight.value;
        }
        c[i].weight.owner = &c[0].weight;
    }
}

static void shelf_free(Param *owner)
{
    Param all = {0};
    memcpy(all.packed, owner->shelf.packed, sizeof all.packed);
    param_release_packed(&all);
    memset(owner->shelf.packed, 0, sizeof owner->shelf.packed);
}

static int shelf_count(const Param *owner, bool fresh)
{
    int count = 0;
    for (int i = 0; i < PARAM_MAX_PACKED; i++)
        count += owner->shelf.packed[i].key && (!fresh || owner->shelf.packed[i].version == owner->version);
    return count;
}

typedef struct Sharer {
    Kernels *k;
    Conv *conv;
    pthread_t thread;
} Sharer;

static void *sharer_main(void *arg)
{
    Sharer *s = arg;
    use_threads(1);
    all_passes(s->k, s->conv);
    return NULL;
}

/* Threads with kernels of their own find what one of them packed; what was used is packed again beforehand. */
static void copies_are_shared(void **state)
{
    (void)state;
    kernels_free(open_or_skip());
    ConvShape s = small;
    s.Cin = 32, s.Cout = 64; /* no padding */
    s.dtype = s.out_dtype = DTYPE_BF16;
    Conv c[SHARERS], alone = conv_new(s);
    Sharer sharers[SHARERS];
    for (int i = 0; i < SHARERS; i++) {
        c[i] = conv_new(s);
        sharers[i] = (Sharer){.k = kernel_set_open(&kernel_sets[KERNEL_SETS - 1]), .conv = &c[i]};
    }
    share_weights(c);
    Param *owner = &c[0].weight;
    for (int round = 0; round < ROUNDS; round++) {
        for (int64_t i = 0; i < c[0].w.n; i++) owner->value[i] = ((float *)alone.w.data)[i] = (float)((i * 7 + round) % 31 - 15) / 16;
        owner->version++, alone.weight.version++;
        const void *kept = owner->shelf.packed[0].data;
        if (round % 2) { /* otherwise by whoever comes first */
            assert_int_equal(STATUS_OK, sharers[round % SHARERS].k->pack_shared(sharers[round % SHARERS].k, owner));
            assert_int_equal(shelf_count(owner, true), 2);
        }
        for (int i = 0; i < SHARERS; i++) pthread_create(&sharers[i].thread, NULL, sharer_main, &sharers[i]);
        for (int i = 0; i < SHARERS; i++) pthread_join(sharers[i].thread, NULL);
        assert_int_equal(shelf_count(owner, false), 2); /* forward, and backward to x */
        assert_int_equal(shelf_count(owner, true), 2);
        if (round > 0) assert_ptr_equal(kept, owner->shelf.packed[0].data); /* in the memory of before */
        for (int i = 0; i < SHARERS; i++) {
            assert_int_equal(packed_count(&c[i].weight), 0);
            memcpy(alone.x.data, c[i].x.data, (size_t)alone.x.n * sizeof(uint16_t));
            memcpy(alone.b.data, c[i].b.data, (size_t)alone.b.n * sizeof(float));
            memcpy(alone.r.data, c[i].r.data, (size_t)alone.r.n * sizeof(uint16_t));
            all_passes(sharers[0].k, &alone);
            assert_values_same("y", &c[i].y, &alone.y);
            assert_values_same("d_x", &c[i].d_x, &alone.d_x);
        }
    }
    forward(sharers[0].k, &c[0], NULL); /* the copy for the way back is not used since it was packed: it goes stale */
    for (int i = 0; i < 2; i++) {
        owner->version++;
        assert_int_equal(STATUS_OK, sharers[1].k->pack_shared(sharers[1].k, owner));
        assert_int_equal(shelf_count(owner, true), i == 0 ? 2 : 0);
    }
    shelf_free(owner);
    for (int i = 0; i < SHARERS; i++) kernels_free(sharers[i].k), conv_free(&c[i]);
    conv_free(&alone);
}

/* Others may be using what is on a full shelf: a thread then keeps a copy for itself. One with padding it always does. */
static void shelves_keep_what_is_used(void **state)
{
    (void)state;
    Kernels *k = open_or_skip();
    int keys[PARAM_MAX_PACKED], destroyed = 0;
    for (int padded = 0; padded < 2; padded++) {
        ConvShape s = small;
        s.Cin = padded ? 3 : 32, s.Cout = 64;
        s.dtype = s.out_dtype = DTYPE_BF16;
        Conv c[SHARERS], alone = conv_new(s);
        for (int i = 0; i < SHARERS; i++) c[i] = conv_new(s);
        share_weights(c);
        Param *owner = &c[0].weight;
        for (int i = 0; i < PARAM_MAX_PACKED && !padded; i++)
            owner->shelf.packed[i] = (struct ParamPacked){&keys[i], owner->version, &destroyed, count_up};
        memcpy(alone.w.data, c[0].w.data, (size_t)alone.w.n * sizeof(float));
        memcpy(alone.x.data, c[1].x.data, (size_t)alone.x.n * sizeof(uint16_t));
        memcpy(alone.b.data, c[1].b.data, (size_t)alone.b.n * sizeof(float));
        forward(k, &alone, NULL);
        forward(k, &c[1], NULL);
        assert_values_same("y", &c[1].y, &alone.y);
        assert_int_equal(packed_count(&c[1].weight), 1);
        assert_int_equal(shelf_count(owner, false), padded ? 0 : PARAM_MAX_PACKED);
        assert_int_equal(destroyed, 0);
        memset(owner->shelf.packed, 0, sizeof owner->shelf.packed);
        for (int i = 0; i < SHARERS; i++) conv_free(&c[i]);
        conv_free(&alone);
    }
    kernels_free(k);
}

static void bias_gradient_alone(void **state)
{
    (void)state;
    Kernels *k = open_or_skip();
    Conv c = conv_new(small), both = conv_new(small);
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
    kernels_free(open_or_skip());
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
    Kernels *k = open_or_skip();
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
                assert_int_equal(STATUS_OK,
                                 k->conv2d(k, &c.s, (char *)c.x.data + (size_t)(n * x) * in, &c.weight, &c.bias,
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
    kernels_free(open_or_skip());
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
    Kernels *k = open_or_skip();
    assert_false(k->native_bf16);
    kernels_free(k);
    for (int type = 0; type < 2; type++) {
        ConvShape s = small, pointwise = small;
        s.dtype = s.out_dtype = pointwise.dtype = pointwise.out_dtype = (DType)type;
        pointwise.kernel = 1;
        assert_like_plain(s);
        assert_like_plain(pointwise);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_weights_are_packed_again),
        cmocka_unit_test(steady_state_allocates_nothing),
        cmocka_unit_test(layouts_are_shared),
        cmocka_unit_test(parts_add_up),
        cmocka_unit_test(wide_residuals),
        cmocka_unit_test(doubled_pictures),
        cmocka_unit_test(weights_of_patches),
        cmocka_unit_test(full_slots_make_room),
        cmocka_unit_test(parameters_outlive_kernels),
        cmocka_unit_test(copies_are_shared),
        cmocka_unit_test(shelves_keep_what_is_used),
        cmocka_unit_test(bias_gradient_alone),
        cmocka_unit_test(wrong_implementations_are_avoided),
        cmocka_unit_test(bits_ignore_threads_and_batch),
        cmocka_unit_test(refused_types_fall_back),
    };
    const struct CMUnitTest limited[] = {cmocka_unit_test(works_without_avx512)};
    if (argc > 1 && strcmp(argv[1], "--without-avx512") == 0) return cmocka_run_group_tests(limited, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
