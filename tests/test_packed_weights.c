/* Copies of weights that oneDNN's kernels pack: when they are made, kept, shared by threads, and given up. */
#include "tests/support_conv.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void count_up(void *data)
{
    ++*(int *)data;
}

/* bf16 where oneDNN multiplies it. */
static DType packed_type(const Kernels *k)
{
    return k->native_bf16 ? DTYPE_BF16 : DTYPE_F32;
}

static void new_weights_are_packed_again(void **state)
{
    (void)state;
    Kernels *k = onednn_or_skip();
    for (int type = 0; type < 2; type++) {
        ConvShape s = small_conv;
        s.dtype = s.out_dtype = (DType)type;
        Conv c = conv_new(s), again = conv_new(s);
        memcpy(again.x.data, c.x.data, (size_t)c.x.n * dtype_size(s.dtype));
        memcpy(again.b.data, c.b.data, (size_t)c.b.n * sizeof(float));
        conv_forward(k, &c, NULL);
        conv_forward(k, &again, NULL);
        assert_memory_not_equal(c.y.data, again.y.data, (size_t)c.y.n * dtype_size(s.dtype));
        memcpy(c.w.data, again.w.data, (size_t)c.w.n * sizeof(float));
        c.weight.version++;
        const void *data = c.weight.packed[0].data;
        conv_forward(k, &c, NULL);
        assert_values_same("y with new weights", &c.y, &again.y);
        assert_ptr_equal(data, c.weight.packed[0].data); /* in the memory of before */
        conv_free(&c);
        conv_free(&again);
    }
    kernels_free(k);
}

/* Batches of other sizes want the same layout and must not each pack a copy. */
static void layouts_are_shared(void **state)
{
    (void)state;
    Kernels *k = onednn_or_skip();
    ConvShape s = small_conv;
    s.dtype = s.out_dtype = packed_type(k);
    s.N = 6;
    Conv c = conv_new(s);
    for (c.s.N = 1; c.s.N <= 6; c.s.N++)
        for (c.s.H = 5; c.s.H <= 9; c.s.H++) conv_forward(k, &c, NULL);
    assert_in_range(conv_packed_count(&c), 1, 2);
    conv_free(&c);
    kernels_free(k);
}

/* Six copies of others fill the slots: a stale one makes room; when none is stale, one does all the same. */
static void full_slots_make_room(void **state)
{
    (void)state;
    Kernels *k = onednn_or_skip();
    ConvShape s = small_conv;
    int keys[PARAM_MAX_PACKED], destroyed[PARAM_MAX_PACKED] = {0};
    for (int stale = -1; stale < PARAM_MAX_PACKED; stale++) {
        Conv c = conv_new(s);
        memset(destroyed, 0, sizeof destroyed);
        for (int i = 0; i < PARAM_MAX_PACKED; i++)
            c.weight.packed[i] = (struct ParamPacked){&keys[i], c.weight.version - (i == stale), &destroyed[i], count_up};
        conv_forward(k, &c, NULL);
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
    kernels_free(onednn_or_skip());
    Conv c = conv_new(small_conv), again = conv_new(small_conv);
    for (int i = 0; i < 3 * PARAM_MAX_PACKED; i++) {
        Kernels *k = kernel_set_open(&kernel_sets[KERNEL_SETS - 1]);
        conv_forward(k, &c, NULL);
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
    conv_all_passes(s->k, s->conv);
    return NULL;
}

/* Threads with kernels of their own find what one of them packed; what was used is packed again beforehand. */
static void copies_are_shared(void **state)
{
    (void)state;
    Kernels *k = onednn_or_skip();
    ConvShape s = small_conv;
    s.Cin = 32, s.Cout = 64; /* no padding */
    s.dtype = s.out_dtype = packed_type(k);
    kernels_free(k);
    Conv c[SHARERS], alone = conv_new(s);
    Sharer sharers[SHARERS];
    for (int i = 0; i < SHARERS; i++) {
        c[i] = conv_new(s);
        sharers[i] = (Sharer){.k = kernel_set_open(&kernel_sets[KERNEL_SETS - 1]), .conv = &c[i]};
    }
    share_weights(c);
    Param *owner = &c[0].weight;
    for (int round = 0; round < ROUNDS; round++) {
        for (int64_t i = 0; i < c[0].w.n; i++)
            owner->value[i] = ((float *)alone.w.data)[i] = (float)((i * 7 + round) % 31 - 15) / 16;
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
            assert_int_equal(conv_packed_count(&c[i]), 0);
            memcpy(alone.x.data, c[i].x.data, (size_t)alone.x.n * dtype_size(s.dtype));
            memcpy(alone.b.data, c[i].b.data, (size_t)alone.b.n * sizeof(float));
            memcpy(alone.r.data, c[i].r.data, (size_t)alone.r.n * dtype_size(s.dtype));
            conv_all_passes(sharers[0].k, &alone);
            assert_values_same("y", &c[i].y, &alone.y);
            assert_values_same("d_x", &c[i].d_x, &alone.d_x);
        }
    }
    conv_forward(sharers[0].k, &c[0], NULL); /* the copy for the way back is not used since it was packed: it goes stale */
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
    Kernels *k = onednn_or_skip();
    int keys[PARAM_MAX_PACKED], destroyed = 0;
    for (int padded = 0; padded < 1 + k->native_bf16; padded++) { /* in f32 no layout is, or not everywhere */
        ConvShape s = small_conv;
        s.Cin = padded ? 3 : 32, s.Cout = 64;
        s.dtype = s.out_dtype = packed_type(k);
        Conv c[SHARERS], alone = conv_new(s);
        for (int i = 0; i < SHARERS; i++) c[i] = conv_new(s);
        share_weights(c);
        Param *owner = &c[0].weight;
        for (int i = 0; i < PARAM_MAX_PACKED && !padded; i++)
            owner->shelf.packed[i] = (struct ParamPacked){&keys[i], owner->version, &destroyed, count_up};
        memcpy(alone.w.data, c[0].w.data, (size_t)alone.w.n * sizeof(float));
        memcpy(alone.x.data, c[1].x.data, (size_t)alone.x.n * dtype_size(s.dtype));
        memcpy(alone.b.data, c[1].b.data, (size_t)alone.b.n * sizeof(float));
        conv_forward(k, &alone, NULL);
        conv_forward(k, &c[1], NULL);
        assert_values_same("y", &c[1].y, &alone.y);
        assert_int_equal(conv_packed_count(&c[1]), 1);
        assert_int_equal(shelf_count(owner, false), padded ? 0 : PARAM_MAX_PACKED);
        assert_int_equal(destroyed, 0);
        memset(owner->shelf.packed, 0, sizeof owner->shelf.packed);
        for (int i = 0; i < SHARERS; i++) conv_free(&c[i]);
        conv_free(&alone);
    }
    kernels_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_weights_are_packed_again),
        cmocka_unit_test(layouts_are_shared),
        cmocka_unit_test(full_slots_make_room),
        cmocka_unit_test(parameters_outlive_kernels),
        cmocka_unit_test(copies_are_shared),
        cmocka_unit_test(shelves_keep_what_is_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
