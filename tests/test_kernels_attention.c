/* Attention of every set of kernels against the reference in double precision. */
#include "tests/support_kernels.h"
#include "tests/support_reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const AttentionShape cases[] = {
    {.N = 1, .T = 1, .S = 0, .heads = 1, .D = 1},
    {.N = 2, .T = 16, .S = 5, .heads = 3, .D = 16},
    {.N = 2, .T = 37, .S = 19, .heads = 2, .D = 24, .split_first = true},
    {.N = 3, .T = 50, .S = 0, .heads = 2, .D = 17, .split_first = true},
    {.N = 2, .T = 77, .S = 0, .heads = 2, .D = 64, .causal = true},
    {.N = 1, .T = 256, .S = 128, .heads = 3, .D = 64},
    {.N = 1, .T = 130, .S = 3, .heads = 1, .D = 9},
    {.N = 3, .T = 150, .S = 20, .heads = 3, .D = 16}, /* fewer than 8 heads alone, more in the batch */
};
enum { CASES = sizeof cases / sizeof cases[0] };

typedef struct AttentionArrays {
    Values qkv, encoder_kv, y, lse, d_y, d_qkv, d_encoder_kv;
} AttentionArrays;

static AttentionArrays arrays_new(const AttentionShape *s)
{
    int64_t C = (int64_t)s->heads * s->D, y = s->N * s->T * C, encoder = s->N * s->S * 2 * C;
    return (AttentionArrays){
        .qkv = values_random(s->dtype, 3 * y, 0, 1.5),
        .encoder_kv = values_random(s->dtype, encoder, 0, 1.5),
        .y = values_output(s->dtype, y),
        .lse = values_output(DTYPE_F32, s->N * s->heads * s->T),
        .d_y = values_random(s->dtype, y, 0.1, 1),
        .d_qkv = values_output(s->dtype, 3 * y),
        .d_encoder_kv = values_output(s->dtype, encoder),
    };
}

static void arrays_free(AttentionArrays *a)
{
    for (Values *v = &a->qkv; v <= &a->d_encoder_kv; v++) values_free(v);
}

static void run(Kernels *k, const AttentionShape *s, AttentionArrays *a)
{
    void *kv = s->S ? a->encoder_kv.data : NULL, *d_kv = s->S ? a->d_encoder_kv.data : NULL;
    assert_int_equal(STATUS_OK, k->attention(k, s, a->qkv.data, kv, a->y.data, a->lse.data));
    assert_int_equal(STATUS_OK, k->attention_backward(k, s, a->qkv.data, kv, a->y.data, a->lse.data, a->d_y.data,
                                                      a->d_qkv.data, d_kv));
}

static void check(const KernelSet *set, Kernels *k, const AttentionShape *s, const char *label)
{
    AttentionArrays a = arrays_new(s);
    double *y = calloc((size_t)a.y.n, sizeof *y), *lse = calloc((size_t)a.lse.n, sizeof *y);
    double *d_qkv = calloc((size_t)a.qkv.n, sizeof *y), *d_kv = calloc((size_t)a.encoder_kv.n + 1, sizeof *y);
    bool plain = set->choice != KERNELS_BEST;
    assert_true(y && lse && d_qkv && d_kv);
    run(k, s, &a);
    reference_attention(s, a.qkv.exact, a.encoder_kv.exact, y, lse);
    reference_attention_backward(s, a.qkv.exact, a.encoder_kv.exact, a.d_y.exact, d_qkv, d_kv);
    assert_values_close(label, &a.y, y, tolerance_of_product(set, s->dtype, 1e-5));
    assert_values_close(label, &a.lse, lse, plain ? 2e-6 : tolerance_of_product(set, s->dtype, 2e-6));
    /* y comes back rounded to bf16, which the gradient of the scores feels */
    double backward = s->dtype == DTYPE_F32 ? 3e-5 : 4e-2;
    assert_values_close(label, &a.d_qkv, d_qkv, backward);
    if (s->S) assert_values_close(label, &a.d_encoder_kv, d_kv, backward);
    AttentionArrays again = arrays_new(s);
    void *kv = s->S ? a.encoder_kv.data : NULL;
    k->attention(k, s, a.qkv.data, kv, again.y.data, NULL); /* lse may be left out */
    assert_values_same("y without lse", &a.y, &again.y);
    if (s->S) {
        k->attention_backward(k, s, a.qkv.data, kv, a.y.data, a.lse.data, a.d_y.data, again.d_qkv.data, NULL);
        assert_values_same("d_qkv without d_encoder_kv", &a.d_qkv, &again.d_qkv);
    }
    arrays_free(&a);
    arrays_free(&again);
    free(y), free(lse), free(d_qkv), free(d_kv);
}

static void attention_matches_reference(void **state)
{
    (void)state;
    for (int set = 0; set < KERNEL_SETS; set++) {
        Kernels *k = kernel_set_open(&kernel_sets[set]);
        for (int i = 0; i < 2 * CASES; i++) {
            AttentionShape s = cases[i / 2];
            char label[128];
            s.dtype = i % 2 ? DTYPE_BF16 : DTYPE_F32;
            snprintf(label, sizeof label, "%s, attention, case %d, %s", kernel_sets[set].label, i / 2,
                     i % 2 ? "bf16" : "f32");
            check(&kernel_sets[set], k, &s, label);
        }
        kernels_free(k);
    }
}

/* Scores in the hundreds: the softmax is all but one-hot and must neither overflow nor give NaN. */
static void attention_takes_large_scores(void **state)
{
    (void)state;
    for (int set = 0; set < KERNEL_SETS; set++) {
        Kernels *k = kernel_set_open(&kernel_sets[set]);
        AttentionShape s = {.N = 1, .T = 40, .S = 7, .heads = 2, .D = 32};
        AttentionArrays a = arrays_new(&s);
        for (int64_t i = 0; i < a.qkv.n; i++) a.qkv.exact[i] = ((float *)a.qkv.data)[i] *= 10;
        double *y = calloc((size_t)a.y.n, sizeof *y), *lse = calloc((size_t)a.lse.n, sizeof *lse);
        assert_true(y && lse);
        run(k, &s, &a);
        reference_attention(&s, a.qkv.exact, a.encoder_kv.exact, y, lse);
        assert_values_close("y", &a.y, y, 2e-4); /* a score of 1000 is known to 6e-5 */
        assert_values_close("lse", &a.lse, lse, 2e-6);
        arrays_free(&a);
        free(y), free(lse);
        kernels_free(k);
    }
}

/* Multiplies n values by `factor`, rounding to their type. */
static void scale_values(Values *v, int64_t first, int64_t n, double factor)
{
    for (int64_t i = first; i < first + n; i++) {
        float x = (float)(v->exact[i] * factor);
        if (v->type == DTYPE_F32) ((float *)v->data)[i] = x;
        else x = bf16_to_f32(((uint16_t *)v->data)[i] = f32_to_bf16(x));
        v->exact[i] = (double)x;
    }
}

/* Every third query has small scores for the keys that come first and scores in the hundreds for later ones, so that a softmax
 * which subtracts what it saw first would overflow. */
static void attention_takes_scores_that_grow(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * KERNEL_SETS; i++) {
        Kernels *k = kernel_set_open(&kernel_sets[i / 2]);
        AttentionShape s = {.N = 1, .T = 75, .S = 40, .heads = 2, .D = 32, .dtype = i % 2 ? DTYPE_BF16 : DTYPE_F32};
        AttentionArrays a = arrays_new(&s);
        scale_values(&a.encoder_kv, 0, a.encoder_kv.n, 0.01);
        for (int64_t row = 0; row < s.T * s.heads; row++) /* q|k|v of a head */
            if (row / s.heads % 3 == 0) scale_values(&a.qkv, row * 3 * s.D, s.D, 100);
        double *y = calloc((size_t)a.y.n, sizeof *y), *lse = calloc((size_t)a.lse.n, sizeof *lse);
        assert_true(y && lse);
        run(k, &s, &a);
        reference_attention(&s, a.qkv.exact, a.encoder_kv.exact, y, lse);
        assert_values_close("y", &a.y, y, i % 2 ? 2e-2 : 2e-4);
        assert_values_close("lse", &a.lse, lse, 2e-6);
        arrays_free(&a);
        free(y), free(lse);
        kernels_free(k);
    }
}

/* A NaN in one query must reach that query's output and no other. */
static void attention_keeps_nan(void **state)
{
    (void)state;
    for (int set = 0; set < KERNEL_SETS; set++) {
        Kernels *k = kernel_set_open(&kernel_sets[set]);
        AttentionShape s = {.N = 1, .T = 20, .S = 4, .heads = 1, .D = 16};
        AttentionArrays a = arrays_new(&s);
        ((float *)a.qkv.data)[3 * 16 * 7 + 5] = NAN;
        run(k, &s, &a);
        for (int i = 0; i < 20 * 16; i++) assert_int_equal(i / 16 == 7, isnan(((float *)a.y.data)[i]) != 0);
        arrays_free(&a);
        kernels_free(k);
    }
}

static void attention_ignores_threads_and_batch(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * CASES * KERNEL_SETS; i++) {
        AttentionShape s = cases[i / 2 % CASES];
        s.dtype = i % 2 ? DTYPE_BF16 : DTYPE_F32;
        Kernels *k = kernel_set_open(&kernel_sets[i / 2 / CASES]);
        AttentionArrays a = arrays_new(&s), b = arrays_new(&s);
        size_t y = (size_t)(a.y.n / s.N) * dtype_size(s.dtype),
               kv = (size_t)(a.encoder_kv.n / s.N) * dtype_size(s.dtype);
        memcpy(b.qkv.data, a.qkv.data, 3 * y * (size_t)s.N);
        memcpy(b.encoder_kv.data, a.encoder_kv.data, kv * (size_t)s.N);
        memcpy(b.d_y.data, a.d_y.data, y * (size_t)s.N);
        use_threads(1);
        run(k, &s, &a);
        use_threads(2);
        run(k, &s, &b);
        assert_values_same("y on 1 and 2 threads", &a.y, &b.y);
        assert_values_same("lse on 1 and 2 threads", &a.lse, &b.lse);
        assert_values_same("d_qkv on 1 and 2 threads", &a.d_qkv, &b.d_qkv);
        assert_values_same("d_encoder_kv on 1 and 2 threads", &a.d_encoder_kv, &b.d_encoder_kv);
        AttentionShape one = s;
        one.N = 1;
        use_threads(1);
        for (size_t n = 0; n < (size_t)s.N; n++) {
            float *lse = (float *)b.lse.data + n * (size_t)(s.heads * s.T);
            void *encoder_kv = s.S ? (char *)a.encoder_kv.data + kv * n : NULL;
            void *d_encoder_kv = s.S ? (char *)b.d_encoder_kv.data + kv * n : NULL;
            k->attention(k, &one, (char *)a.qkv.data + 3 * y * n, encoder_kv, (char *)b.y.data + y * n, lse);
            k->attention_backward(k, &one, (char *)a.qkv.data + 3 * y * n, encoder_kv, (char *)b.y.data + y * n, lse,
                                  (char *)a.d_y.data + y * n, (char *)b.d_qkv.data + 3 * y * n, d_encoder_kv);
        }
        assert_values_same("y alone and in a batch", &a.y, &b.y);
        assert_values_same("d_qkv alone and in a batch", &a.d_qkv, &b.d_qkv);
        assert_values_same("d_encoder_kv alone and in a batch", &a.d_encoder_kv, &b.d_encoder_kv);
        arrays_free(&a);
        arrays_free(&b);
        kernels_free(k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_matches_reference),
        cmocka_unit_test(attention_takes_large_scores),
        cmocka_unit_test(attention_takes_scores_that_grow),
        cmocka_unit_test(attention_keeps_nan),
        cmocka_unit_test(attention_ignores_threads_and_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
