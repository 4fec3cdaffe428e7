/* The judge: rows that do not depend on one another, files, gradients. What it learns is in test_train_guides.c. */
#include "tests/support_folder.h"
#include "tests/support_gradcheck.h"
#include "tests/support_judge.h"

#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { ROWS = 37 }; /* more than are seen at once, and no multiple of them */

static void must(Status s)
{
    if (s != STATUS_OK) fail_msg("%s", status_message());
}

static float *random_pictures(int64_t n)
{
    float *x = malloc((size_t)n * 32 * 32 * 3 * sizeof *x);
    assert_non_null(x);
    rng_uniforms(&(RngKey){.seed = 3, .stream = RNG_TEST}, x, n * 32 * 32 * 3);
    for (int64_t i = 0; i < n * 32 * 32 * 3; i++) x[i] = 2 * x[i] - 1;
    return x;
}

static void test_rows_are_independent(void **state)
{
    (void)state;
    Judge *j = small_judge();
    Kernels *k;
    must(kernels_new(KERNELS_BEST, &k));
    const int F = judge_features(j), E = judge_embedding(j), threads = omp_get_max_threads();
    float *x = random_pictures(ROWS), *all = calloc(ROWS, (size_t)(F + 2 * E) * sizeof *all);
    float *z = all + ROWS * F, *texts_z = z + ROWS * E, f1[64], z1[96];
    const char *texts[ROWS] = {"red apple, noto emoji", "", "a", "빨간 사과"};
    for (int i = 4; i < ROWS; i++) texts[i] = i % 2 ? "red red red are a" : "a very long text that goes on and on until the judge stops "
                                              "to read it, which it does after a number of tokens";
    must(judge_see(j, k, x, ROWS, all, z));
    must(judge_read(j, k, texts, ROWS, texts_z));
    for (int t = 1; t <= 2; t++) {
        omp_set_num_threads(t);
        for (int i = 0; i < ROWS; i += 6) {
            must(judge_see(j, k, x + (size_t)i * 32 * 32 * 3, 1, f1, z1));
            assert_memory_equal(f1, all + i * F, (size_t)F * sizeof *f1);
            assert_memory_equal(z1, z + i * E, (size_t)E * sizeof *z1);
            must(judge_read(j, k, texts + i, 1, z1));
            assert_memory_equal(z1, texts_z + i * E, (size_t)E * sizeof *z1);
        }
    }
    omp_set_num_threads(threads);
    for (int i = 0; i < 2 * ROWS; i++) {
        double length = 0;
        for (int e = 0; e < E; e++) length += (double)z[i * E + e] * z[i * E + e];
        assert_true(fabs(length - 1) < 1e-5);
    }
    must(judge_see(j, k, x, 1, f1, NULL));
    must(judge_see(j, k, x, 1, NULL, z1));
    assert_true(memcmp(z, z + E, (size_t)E * sizeof *z) != 0 && memcmp(texts_z, texts_z + E, (size_t)E * sizeof *z) != 0);
    judge_free(j);
    kernels_free(k);
    free(x);
    free(all);
}

static void test_files(void **state)
{
    (void)state;
    Judge *j = small_judge(), *read = NULL;
    Kernels *k;
    float *x = random_pictures(2), z[2][96], text[2][96];
    const char *words = "red apple, noto emoji";
    must(kernels_new(KERNELS_BEST, &k));
    write_judge(j, in_test_folder("judge.h5"));
    must(judge_load(in_test_folder("judge.h5"), &read));
    assert_true(judge_side(read) == 32 && judge_features(read) == 64 && judge_embedding(read) == 96);
    assert_true(judge_hash(read) == judge_hash(j));
    must(judge_see(j, k, x, 1, NULL, z[0]));
    must(judge_see(read, k, x, 1, NULL, z[1]));
    must(judge_read(j, k, &words, 1, text[0]));
    must(judge_read(read, k, &words, 1, text[1]));
    assert_memory_equal(z[0], z[1], sizeof z[0]);
    assert_memory_equal(text[0], text[1], sizeof text[0]);
    judge_free(read);
    j->config.n_vocab++; /* one that the tokenizer and the embeddings contradict */
    write_judge(j, in_test_folder("wrong.h5"));
    assert_int_equal(judge_load(in_test_folder("wrong.h5"), &read), STATUS_BAD_INPUT);
    assert_null(read);
    assert_non_null(strstr(status_message(), "wrong.h5"));
    j->config.levels = 6;
    assert_int_equal(judge_new(&j->config, true, &read), STATUS_BAD_INPUT);
    judge_free(j);
    kernels_free(k);
    free(x);
}

static Tensor *see_fn(Tape *t, const void *ctx, Tensor **in)
{
    return judge_image_forward(t, ctx, in[0], NULL);
}

static Tensor *read_fn(Tape *t, const void *ctx, Tensor **in)
{
    static const int32_t tokens[2][6] = {{1, 2, 3, 9, 9, 9}, {4, 4, 9, 9, 9, 9}};
    static const uint8_t mask[2][6] = {{1, 1, 1}, {1, 1}};
    Tensor *z = judge_text_forward(t, ctx, tokens[0], mask[0], 2);
    return op_add(t, z, in[0]); /* a gradient check wants an input */
}

static void test_gradients(void **state)
{
    (void)state;
    /* two channels to a group: the norm takes all effect from the biases of groups of one, and there is nothing to compare */
    JudgeConfig c = {.image_size = 8, .channels = {64, 64}, .levels = 2, .blocks = 1, .embedding = 5, .n_vocab = 10, .text_ctx = 6,
                     .text_width = 4, .text_hidden = 7, .logit_scale = 1};
    Judge *j;
    must(judge_new(&c, false, &j));
    gradcheck(see_fn, j, 1, (int[]){4}, (int64_t[][4]){{2, 8, 8, 3}}, &j->params, 0.03);
    judge_free(j); /* the check released its parameters */
    must(judge_new(&c, false, &j));
    gradcheck(read_fn, j, 1, (int[]){2}, (int64_t[][4]){{2, 5}}, &j->params, 0.03);
    judge_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_independent),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_gradients),
    };
    return cmocka_run_group_tests(tests, test_folder_setup, test_folder_teardown);
}
