/* Photos in training's rows: nothing else changes, shares, captions, mirrored crops, held-out tiles stay out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "data/batches.h"
#include "tests/support_dataset.h"
#include "tests/support_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CTX = 32, N = 64, SIDE = 32, BIG = SIDE * SIDE * 3, SMALL = BIG / 16 };

static char path[2][128];
static Dataset *plain, *both; /* the same pictures without and with photos behind them */
static Bpe *bpe;

#define OK(expr)                                                              \
    do {                                                                      \
        if ((expr) != STATUS_OK) fail_msg("%s: %s", #expr, status_message()); \
    } while (0)

static int setup(void **state)
{
    test_folder_setup(state);
    for (int i = 0; i < 2; i++) strcpy(path[i], in_test_folder(i ? "both.h5" : "plain.h5"));
    if (tiny_dataset_write(path[0], NULL) != STATUS_OK) return -1;
    if (tiny_dataset_write(path[1], &(TinyFaults){.photos = 1}) != STATUS_OK) return -1;
    if (dataset_open(path[0], &plain) != STATUS_OK || dataset_open(path[1], &both) != STATUS_OK) return -1;
    return batches_train_bpe(plain, 300, &bpe) == STATUS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    bpe_free(bpe);
    dataset_free(plain);
    dataset_free(both);
    remove(path[1]);
    return test_folder_remove_with(path[0]);
}

typedef struct Rows {
    float x[N * BIG], low[N * SMALL];
    int32_t tokens[N * CTX];
    uint8_t mask[N * CTX];
} Rows;

static BatchOptions options(float photos)
{
    BatchOptions o = batch_options_defaults();
    o.text_ctx = CTX;
    o.photos = photos;
    return o;
}

static Rows *draw(Dataset *d, const BatchOptions *o, bool upsampler, uint32_t step)
{
    Rows *r = calloc(1, sizeof *r);
    Batches *b;
    OK(batches_new(d, bpe, o, &b));
    if (upsampler) OK(batches_upsampler(b, step, 0, N, SIDE, r->x, r->low, r->tokens, r->mask));
    else OK(batches_base(b, step, 0, N, SIDE, r->x, r->tokens, r->mask));
    batches_free(b);
    return r;
}

static void test_without_share_nothing_changes(void **state)
{
    (void)state;
    for (int upsampler = 0; upsampler < 2; upsampler++) {
        BatchOptions o = options(0);
        o.seed = 3;
        Rows *a = draw(plain, &o, upsampler, 7), *b = draw(both, &o, upsampler, 7);
        assert_memory_equal(a, b, sizeof *a);
        o.filter.split = SPLIT_TEST_PAIR; /* the trainer's held-out rows */
        Rows *c = draw(plain, &o, upsampler, 0), *e = draw(both, &o, upsampler, 0);
        assert_memory_equal(c, e, sizeof *c);
        assert_memory_not_equal(a, c, sizeof *a);
        free(a);
        free(b);
        free(c);
        free(e);
    }
    Bpe *other;
    OK(batches_train_bpe(both, 300, &other)); /* and the tokenizer */
    int32_t x[CTX], y[CTX];
    uint8_t m[CTX];
    OK(bpe_encode_padded(bpe, "red apple, noto emoji", 21, CTX, x, m));
    OK(bpe_encode_padded(other, "red apple, noto emoji", 21, CTX, y, m));
    assert_memory_equal(x, y, sizeof x);
    bpe_free(other);
}

/* The rows that are no photos are those of share 0; about a share of them are photos, and they are trained on. */
static void test_share(void **state)
{
    (void)state;
    BatchOptions none = options(0), half = options(0.5f), all = options(1);
    int photos = 0, kept = 0;
    for (uint32_t step = 0; step < 16; step++) {
        Rows *a = draw(both, &none, false, step), *b = draw(both, &half, false, step), *c = draw(both, &all, false, step);
        for (int i = 0; i < N; i++) {
            size_t size = BIG * sizeof(float);
            bool old = !memcmp(a->x + i * BIG, b->x + i * BIG, size), photo = !memcmp(c->x + i * BIG, b->x + i * BIG, size);
            assert_true(old || photo);
            if (old) assert_memory_equal(a->tokens + i * CTX, b->tokens + i * CTX, CTX * sizeof(int32_t));
            kept += old;
            photos += photo;
        }
        free(a);
        free(b);
        free(c);
    }
    assert_in_range(photos, 16 * N / 2 - 80, 16 * N / 2 + 80); /* five standard deviations */
    assert_int_equal(photos + kept, 16 * N);
}

/* The tile whose 32 px picture (mirrored or not) a row is; -1: none. */
static int which(const float *x, bool *mirrored)
{
    for (int i = 0; i < dataset_count(both); i++)
        for (int flip = 0; flip < 2; flip++) {
            const uint8_t *p = dataset_small(both, i);
            bool same = true;
            for (int at = 0; at < BIG && same; at++) {
                int y = at / (SIDE * 3), column = at / 3 % SIDE, c = at % 3, sum = 0;
                if (flip) column = SIDE - 1 - column;
                for (int k = 0; k < 4; k++) sum += p[((2 * y + k / 2) * 64 + 2 * column + k % 2) * 3 + c];
                float value = (float)sum * (1.0f / (127.5f * 4)) - 1;
                same = x[at] > value - 1e-5f && x[at] < value + 1e-5f;
            }
            if (same) {
                *mirrored = flip;
                return i;
            }
        }
    return -1;
}

static void test_tiles_and_captions(void **state)
{
    (void)state;
    BatchOptions o = options(1);
    o.caption_drop = 0;
    int counts[TINY_PHOTOS] = {0}, mirrors = 0, total = 0;
    for (uint32_t step = 0; step < 8; step++) {
        Rows *r = draw(both, &o, false, step);
        for (int i = 0; i < N; i++) {
            bool mirrored = false;
            int k = which(r->x + i * BIG, &mirrored);
            assert_in_range(k, TINY_COUNT, TINY_COUNT + 3); /* the two last are held out */
            counts[k - TINY_COUNT]++;
            mirrors += mirrored;
            total++;
        }
        free(r);
    }
    for (int k = 0; k < 4; k++) assert_in_range(counts[k], total / 4 - 60, total / 4 + 60); /* all tiles alike, not all photos */
    assert_in_range(mirrors, total / 2 - 70, total / 2 + 70);
    char text[CAPTION_SIZE];
    caption_plain(both, TINY_COUNT, false, text, sizeof text);
    assert_string_equal(text, "lake, photo");
    caption_plain(both, TINY_COUNT + 3, true, text, sizeof text);
    assert_string_equal(text, "북, 사진");
    for (uint32_t i = 0; i < 200; i++) {
        caption_draw(both, TINY_COUNT + 1, NULL, &(RngKey){.seed = 1, .stream = RNG_DATA, .image = i}, text, sizeof text);
        bool fits = !strcmp(text, "lake, photo") || !strcmp(text, "호수, 사진") || !strcmp(text, "lake") || !strcmp(text, "호수");
        if (!fits) fail_msg("%s", text);
    }
}

static void test_upsampler_rows(void **state)
{
    (void)state;
    BatchOptions o = options(1);
    Rows *r = draw(both, &o, true, 0);
    for (int i = 0; i < N * SMALL; i++) { /* block means of the crop */
        int row = i / SMALL, y = i % SMALL / (SIDE / 4 * 3), x = i % SMALL / 3 % (SIDE / 4), c = i % 3;
        float sum = 0;
        for (int k = 0; k < 16; k++) sum += r->x[row * BIG + ((4 * y + k / 4) * SIDE + 4 * x + k % 4) * 3 + c];
        assert_true(sum / 16 - r->low[i] < 1e-4f && r->low[i] - sum / 16 < 1e-4f);
    }
    free(r);
}

static void test_no_photos_is_an_error(void **state)
{
    (void)state;
    Batches *b;
    BatchOptions o = options(0.25f);
    assert_int_equal(batches_new(plain, bpe, &o, &b), STATUS_BAD_INPUT);
    assert_string_equal(status_message(), "--photos 0.25: the data set has no train photos in the chosen styles");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_share_nothing_changes),
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_tiles_and_captions),
        cmocka_unit_test(test_upsampler_rows),
        cmocka_unit_test(test_no_photos_is_an_error),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
