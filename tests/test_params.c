/* params: registration, initial values, gradients, versions of packed copies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/float16.h"
#include "common/params.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void fill(ParamSet *set)
{
    params_init(set);
    params_add(set, INIT_FAN_IN, 1, 4, (int64_t[]){64, 32, 3, 3}, "blocks.%d.weight", 0);
    params_add(set, INIT_ZERO, 0, 1, (int64_t[]){64}, "blocks.%d.bias", 0);
    params_add(set, INIT_ONE, 1, 1, (int64_t[]){64}, "norm.weight");
    params_add(set, INIT_NORMAL, 0.02f, 2, (int64_t[]){300, 64}, "embedding");
}

static void test_registration(void **state)
{
    (void)state;
    ParamSet set;
    fill(&set);
    assert_int_equal(set.count, 4);
    assert_int_equal(set.total, 64 * 32 * 9 + 64 + 64 + 300 * 64);
    Param *weight = params_find(&set, "blocks.0.weight");
    assert_ptr_equal(weight, set.items[0]);
    assert_int_equal(weight->dims[1], 32);
    assert_int_equal(weight->size, 64 * 32 * 9);
    assert_null(params_find(&set, "blocks.0"));
    for (size_t i = 0; i < weight->size; i++) assert_true(weight->value[i] == 0);
    for (int i = 0; i < 1000; i++) assert_non_null(params_add(&set, INIT_ZERO, 0, 1, (int64_t[]){1}, "more.%d", i));
    assert_ptr_equal(weight, set.items[0]); /* addresses are stable */
    assert_null(params_add(&set, INIT_ZERO, 0, 2, (int64_t[]){INT64_MAX, 8}, "huge"));
    assert_null(params_add(&set, INIT_ZERO, 0, 1, (int64_t[]){1}, "last")); /* or a model without "huge" would look whole */
    params_release(&set);
    assert_int_equal(set.count, 0);
    assert_non_null(params_add(&set, INIT_ZERO, 0, 1, (int64_t[]){1}, "first"));
    params_release(&set);
}

static void moments(const Param *param, double *mean, double *deviation, double *largest)
{
    double sum = 0, squares = 0;
    *largest = 0;
    for (size_t i = 0; i < param->size; i++) {
        sum += param->value[i];
        squares += (double)param->value[i] * param->value[i];
        *largest = fmax(*largest, fabs(param->value[i]));
    }
    *mean = sum / (double)param->size;
    *deviation = sqrt(squares / (double)param->size);
}

static void test_initial_values(void **state)
{
    (void)state;
    ParamSet a, b;
    double mean, deviation, largest, bound = 1 / sqrt(32 * 9);
    fill(&a);
    fill(&b);
    params_randomize(&a, 7);
    params_randomize(&b, 7);
    for (int i = 0; i < a.count; i++) assert_memory_equal(a.items[i]->value, b.items[i]->value, 4 * a.items[i]->size);
    params_randomize(&b, 8);
    assert_memory_not_equal(a.items[0]->value, b.items[0]->value, 4 * a.items[0]->size);
    moments(a.items[0], &mean, &deviation, &largest);
    assert_true(fabs(mean) < 0.02 * bound && fabs(deviation / (bound / sqrt(3)) - 1) < 0.02);
    assert_true(largest <= bound * 1.000001 && largest > 0.99 * bound);
    moments(a.items[3], &mean, &deviation, &largest);
    assert_true(fabs(mean) < 0.0005 && fabs(deviation / 0.02 - 1) < 0.02 && largest > 0.06);
    assert_true(a.items[1]->value[63] == 0 && a.items[2]->value[63] == 1);
    params_release(&a);
    params_release(&b);
}

static int destroyed;

static void destroy(void *data)
{
    destroyed++;
    free(data);
}

static void test_gradients_and_versions(void **state)
{
    (void)state;
    ParamSet set;
    fill(&set);
    assert_null(set.items[0]->grad);
    assert_int_equal(params_alloc_grads(&set), STATUS_OK);
    for (int i = 0; i < set.count; i++) {
        assert_true(set.items[i]->grad[set.items[i]->size - 1] == 0);
        set.items[i]->grad[0] = 1;
    }
    float *grad = set.items[0]->grad;
    params_zero_grads(&set);
    assert_true(grad[0] == 0);
    assert_int_equal(params_alloc_grads(&set), STATUS_OK);
    assert_ptr_equal(grad, set.items[0]->grad);
    uint64_t version = set.items[2]->version;
    assert_true(version > 0); /* a packed copy of version 0 is stale */
    params_touch(&set);
    assert_true(set.items[2]->version > version);
    set.items[2]->packed[1] = (struct ParamPacked){.key = &set, .data = malloc(8), .destroy = destroy};
    set.items[2]->shelf.packed[0] = (struct ParamPacked){.key = &set, .data = malloc(8), .destroy = destroy};
    params_release(&set);
    assert_int_equal(destroyed, 2);
}

/* Two sets add to the gradients of matrices in one place; the others', and what is released, are each set's own. */
static void test_shared_gradients(void **state)
{
    (void)state;
    ParamSet a, b;
    fill(&a);
    fill(&b);
    a.items[0]->matrix = b.items[0]->matrix = true;
    assert_int_equal(params_alloc_grads(&a), STATUS_OK);
    assert_int_equal(params_alloc_grads(&b), STATUS_OK);
    assert_null(param_grad_lock(a.items[0]));
    params_share_grads(&b, &a);
    assert_ptr_equal(a.items[0]->grad, b.items[0]->grad);
    assert_non_null(param_grad_lock(a.items[0]));
    assert_ptr_equal(param_grad_lock(a.items[0]), param_grad_lock(b.items[0]));
    for (int i = 1; i < a.count; i++) {
        assert_ptr_not_equal(a.items[i]->grad, b.items[i]->grad);
        assert_null(param_grad_lock(b.items[i]));
    }
    params_release(&b);
    a.items[0]->grad[a.items[0]->size - 1] = 1; /* still there */
    fill(&b);
    b.items[0]->matrix = true;
    assert_int_equal(params_alloc_grads(&b), STATUS_OK);
    params_share_grads(&b, &a); /* another one, after the first is gone */
    assert_true(b.items[0]->grad[a.items[0]->size - 1] == 1);
    params_release(&b);
    params_release(&a);
}

/* Values of a mapped file start at any address: files written before datasets were aligned have them at odd ones. */
static void test_mapped_anywhere(void **state)
{
    (void)state;
    enum { N = 40000 };
    unsigned char *file = calloc(1, 4 * N + 8);
    float *some = malloc(N * sizeof *some);
    for (int half = 0; half < 2; half++) {
        for (int shift = 0; shift < 5; shift += 3) {
            Param p = {.name = "w", .ndim = 1, .dims = {N}, .size = N, .mapped = file + shift, .mapped_half = half};
            for (int i = 0; i < N; i++) {
                float value = (float)(i % 2048 - 1024) / 8;
                uint16_t narrow = f32_to_f16(value);
                if (half) memcpy(file + shift + 2 * i, &narrow, 2);
                else memcpy(file + shift + 4 * i, &value, 4);
            }
            param_read(&p, 1025, N - 1025, some);
            assert_true(some[0] == 0.125f && some[N - 1026] == (float)((N - 1) % 2048 - 1024) / 8);
            assert_null(p.value);
            float *all = param_fetch(&p);
            for (int i = 0; i < N; i++) assert_true(all[i] == (float)(i % 2048 - 1024) / 8);
            assert_ptr_equal(param_fetch(&p), all);
            param_leave(&p); /* gives the copy back; of a file in memory it forgets nothing that matters */
            assert_null(p.value);
        }
    }
    free(some);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registration),
        cmocka_unit_test(test_initial_values),
        cmocka_unit_test(test_gradients_and_versions),
        cmocka_unit_test(test_shared_gradients),
        cmocka_unit_test(test_mapped_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
