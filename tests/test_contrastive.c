/* The contrastive loss against the formula and finite differences, and what it leaves out. */
#include "common/contrastive.h"
#include "common/rng.h"

#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N = 7, WIDTH = 5, SIZE = N * 2 * WIDTH };

static void must(Status s)
{
    if (s != STATUS_OK) fail_msg("%s", status_message());
}

static const ContrastivePair distinct[N] = {{0, 0, false}, {1, 0, false}, {2, 0, false}, {3, 0, false},
                                            {4, 0, false}, {5, 0, false}, {6, 0, false}};
/* 0 and 1 show the same; text 2 is of the same subject and names no style; 3 is in another style */
static const ContrastivePair related[N] = {{0, 0, false}, {0, 0, false}, {0, 1, true}, {0, 2, false}, {4, 0, false}, {5, 0, false},
                                           {6, 0, false}};

static void random_embeddings(float z[SIZE])
{
    rng_normal(&(RngKey){.seed = 11, .stream = RNG_TEST}, z, SIZE);
    for (int row = 0; row < 2 * N; row++) {
        double length = 0;
        for (int c = 0; c < WIDTH; c++) length += (double)z[row * WIDTH + c] * z[row * WIDTH + c];
        for (int c = 0; c < WIDTH; c++) z[row * WIDTH + c] /= (float)sqrt(length);
    }
}

static double product(const float *z, int i, int j)
{
    double sum = 0;
    for (int c = 0; c < WIDTH; c++) sum += (double)z[2 * i * WIDTH + c] * (double)z[(2 * j + 1) * WIDTH + c];
    return sum;
}

static void test_formula(void **state)
{
    (void)state;
    float z[SIZE], d_z[SIZE];
    double loss, hits, expected = 0, expected_hits = 0;
    random_embeddings(z);
    must(contrastive_loss(distinct, z, N, WIDTH, 3, &loss, &hits, d_z));
    for (int i = 0; i < N; i++) {
        double texts = 0, pictures = 0;
        int first = 1;
        for (int j = 0; j < N; j++) {
            texts += exp(3 * product(z, i, j));
            pictures += exp(3 * product(z, j, i));
            first = first && (i == j || product(z, i, j) < product(z, i, i));
        }
        expected += (log(texts) + log(pictures) - 6 * product(z, i, i)) / (2 * N);
        expected_hits += first / (double)N;
    }
    assert_true(fabs(loss - expected) < 1e-6 && fabs(hits - expected_hits) < 1e-12);
}

static void check_gradient(const ContrastivePair *pairs)
{
    float z[SIZE], d_z[SIZE], ignored[SIZE];
    double loss, hits;
    random_embeddings(z);
    must(contrastive_loss(pairs, z, N, WIDTH, 4, &loss, &hits, d_z));
    for (int i = 0; i < SIZE; i++) {
        const float kept = z[i], h = 1e-3f;
        double up, down;
        z[i] = kept + h;
        const float above = z[i];
        must(contrastive_loss(pairs, z, N, WIDTH, 4, &up, &hits, ignored));
        z[i] = kept - h;
        const float below = z[i];
        must(contrastive_loss(pairs, z, N, WIDTH, 4, &down, &hits, ignored));
        z[i] = kept;
        double numeric = (up - down) / ((double)above - (double)below);
        if (fabs(numeric - (double)d_z[i]) > 2e-5) fail_msg("derivative %d: %g, expected %g", i, (double)d_z[i], numeric);
    }
}

static void test_gradient(void **state)
{
    (void)state;
    check_gradient(distinct);
    check_gradient(related);
}

/* What is left out draws neither towards nor away: pictures 0 and text 1 know nothing of one another. */
static void test_left_out(void **state)
{
    (void)state;
    float z[SIZE], d_z[SIZE], moved[SIZE];
    double loss, hits, loss_moved;
    random_embeddings(z);
    must(contrastive_loss(related, z, 3, WIDTH, 4, &loss, &hits, d_z));
    /* three pairs of one subject: texts 0 and 1 describe pictures 0 and 1, text 2 describes all, texts 0 and 1 do not describe
     * picture 2 */
    double expected = 0;
    for (int i = 0; i < 2; i++) { /* picture 2 against texts; text 0 and 1 against pictures */
        double own = 4 * product(z, i, i);
        expected += log(exp(own) + exp(4 * product(z, 2, i))) - own;
    }
    double own = 4 * product(z, 2, 2);
    expected += log(exp(own) + exp(4 * product(z, 2, 0)) + exp(4 * product(z, 2, 1))) - own;
    assert_true(fabs(loss - expected / 6) < 1e-6);
    ContrastivePair same[3] = {{0, 0, false}, {0, 0, false}, {0, 0, false}};
    must(contrastive_loss(same, z, 3, WIDTH, 4, &loss_moved, &hits, moved));
    assert_true(loss_moved == 0 && hits == 1);
    for (int i = 0; i < 6 * WIDTH; i++) assert_true(moved[i] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formula),
        cmocka_unit_test(test_gradient),
        cmocka_unit_test(test_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
