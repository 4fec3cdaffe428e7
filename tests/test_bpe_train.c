/* The trainer of byte-pair vocabularies: by hand, against a plain twin, and round trips through the encoder. */
#include "common/rng.h"
#include "tests/support_status.h"
#include "text_transformer/bpe.h"
#include "text_transformer/bpe_train.h"
#include "text_transformer/unicode.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint32_t random_below(uint32_t sequence, uint32_t index, uint32_t n)
{
    RngKey key = {.seed = 6, .stream = RNG_TEST, .image = sequence};
    return rng_below(&key, index, n);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static const char *const captions[] = {
    "Red apple, fluent 3D emoji", "a picture of a RED heart",
    "red heart suit emoji",       "빨간 사과 그림",
    "빨간색 하트 그림",           "파란색 하트 이모지",
    "green apple emoji",          "사과나무 그림, 빨간색",
    "a green heart, it's small",  "하트 이모지 ❤️ 그림",
    "빨간 하트와 초록 하트",      "3D 이모지: 빨간 사과",
};
#define N_CAPTIONS (sizeof captions / sizeof *captions)

static void test_trainer_by_hand(void **state)
{
    (void)state;
    static const char *const texts[] = {"AB abd", "xyxy", "ab"};
    static const uint64_t counts[] = {3, 2, 1};
    static const struct {
        const char *left, *right;
    } expected[] = {
        /* ids: a b d x y are 64 65 67 87 88, space 220 */
        {"a", "b"},   /* 3 + 3 + 1 */
        {"x", "y"},   /* 2 * 2; nothing else is above 3 */
        {" ", "ab"},  /* 3, as "ab d" is: ids (220, 256) against (256, 67) */
        {" ab", "d"}, /* 3 */
        {"xy", "xy"}, /* 2 */
    };
    size_t n_expected = sizeof expected / sizeof *expected;
    BpeMerges merges;
    OK(bpe_train(texts, counts, 3, 100, &merges));
    assert_int_equal(merges.count, n_expected); /* then every piece is one token */
    for (size_t i = 0; i < n_expected; i++) {
        size_t left = strlen(expected[i].left), right = strlen(expected[i].right);
        assert_int_equal(merges.items[i].left_size, left);
        assert_int_equal(merges.items[i].right_size, right);
        assert_memory_equal(merges.items[i].bytes, expected[i].left, left);
        assert_memory_equal(merges.items[i].bytes + left, expected[i].right, right);
    }
    bpe_merges_release(&merges);

    OK(bpe_train(NULL, NULL, 0, 10, &merges));
    assert_int_equal(merges.count, 0);
    assert_int_equal(bpe_train(texts, NULL, 3, -1, &merges), STATUS_BAD_INPUT);
    static const uint64_t huge[] = {UINT64_MAX, 1, 1};
    assert_int_equal(bpe_train(texts, huge, 3, 10, &merges), STATUS_BAD_INPUT);
    assert_int_equal(merges.count, 0);
}

static void test_trainer_round_trip(void **state)
{
    (void)state;
    BpeMerges merges;
    Bpe *bpe, *loaded;
    char *text, *again;
    OK(bpe_train(captions, NULL, N_CAPTIONS, 150, &merges));
    assert_in_range(merges.count, 50, 149); /* fewer than asked for: nothing else is there twice */
    OK(bpe_new(&merges, &bpe));
    assert_int_equal(bpe_vocab_size(bpe), 256 + (int32_t)merges.count + 1);
    OK(bpe_merges_text(&merges, &text, NULL));
    OK(bpe_from_text(text, strlen(text), &loaded));
    size_t total_tokens = 0, total_bytes = 0;
    for (size_t i = 0; i < N_CAPTIONS; i++) {
        int32_t ids[200], same[200];
        size_t count, size = strlen(captions[i]);
        char *lower, *decoded;
        OK(bpe_encode(bpe, captions[i], size, ids, 200, &count));
        OK(bpe_decode(bpe, ids, count, &decoded, NULL));
        OK(utf8_lower(captions[i], size, &lower, NULL));
        assert_string_equal(decoded, lower);
        OK(bpe_encode(loaded, captions[i], size, same, 200, &count));
        assert_memory_equal(ids, same, count * sizeof *ids);
        total_tokens += count;
        total_bytes += size;
        free(lower);
        free(decoded);
    }
    printf("    %zu merges: %zu bytes -> %zu tokens\n", merges.count, total_bytes, total_tokens);
    assert_true(2 * total_tokens < total_bytes);
    for (int i = 0; i < 2; i++) { /* frequent words are one token, Korean ones too */
        static const char *const words[] = {" emoji", " 그림"};
        size_t count;
        OK(bpe_encode(bpe, words[i], strlen(words[i]), NULL, 0, &count));
        assert_int_equal(count, 1);
    }

    /* no token holds the end of one piece and the beginning of the next */
    for (int32_t id = 256; id < bpe_end_token(bpe); id++) {
        size_t size;
        const uint8_t *bytes = bpe_token_bytes(bpe, id, &size);
        assert_null(memchr(bytes + 1, ' ', size - 1));
    }

    /* the order of captions does not matter, and counts stand for repeats */
    const char *mixed[N_CAPTIONS + 3];
    uint64_t counts[N_CAPTIONS];
    for (size_t i = 0; i < N_CAPTIONS; i++) {
        mixed[i] = captions[N_CAPTIONS - 1 - i];
        counts[i] = i == 4 ? 4 : 1;
    }
    BpeMerges other;
    OK(bpe_train(mixed, NULL, N_CAPTIONS, 150, &other));
    OK(bpe_merges_text(&other, &again, NULL));
    assert_string_equal(again, text);
    free(again);
    free(text);
    bpe_merges_release(&other);
    for (size_t i = N_CAPTIONS; i < N_CAPTIONS + 3; i++) mixed[i] = captions[4];
    OK(bpe_train(mixed, NULL, N_CAPTIONS + 3, 150, &other));
    OK(bpe_merges_text(&other, &again, NULL));
    bpe_merges_release(&other);
    OK(bpe_train(captions, counts, N_CAPTIONS, 150, &other));
    OK(bpe_merges_text(&other, &text, NULL));
    assert_string_equal(again, text);
    free(again);
    free(text);
    bpe_merges_release(&other);
    bpe_merges_release(&merges);
    bpe_free(bpe);
    bpe_free(loaded);
}

/* --- a twin that counts all pairs anew in every step --- */

enum { N_WORDS = 60, LENGTH = 12, N_MERGES = 40, N_IDS = 256 + N_MERGES };

typedef struct TwinWord {
    int32_t tokens[LENGTH];
    size_t size;
} TwinWord;

static uint32_t most_frequent_pair(const TwinWord *words, int32_t n_ids, int32_t *left, int32_t *right)
{
    uint32_t(*counts)[N_IDS] = calloc(N_IDS, sizeof *counts);
    for (size_t w = 0; w < N_WORDS; w++)
        for (size_t i = 0; i + 1 < words[w].size; i++) counts[words[w].tokens[i]][words[w].tokens[i + 1]]++;
    *left = *right = 0;
    for (int32_t l = 0; l < n_ids; l++)
        for (int32_t r = 0; r < n_ids; r++)
            if (counts[l][r] > counts[*left][*right]) *left = l, *right = r;
    uint32_t count = counts[*left][*right];
    free(counts);
    return count;
}

static void merge_everywhere(TwinWord *words, int32_t left, int32_t right, int32_t made)
{
    for (size_t w = 0; w < N_WORDS; w++) {
        int32_t *tokens = words[w].tokens;
        size_t kept = 0;
        for (size_t i = 0; i < words[w].size; i++) {
            bool here = i + 1 < words[w].size && tokens[i] == left && tokens[i + 1] == right;
            tokens[kept++] = here ? made : tokens[i];
            i += here;
        }
        words[w].size = kept;
    }
}

static void test_trainer_against_twin(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 30; round++) {
        char text[N_WORDS][LENGTH + 1] = {{0}};
        const char *texts[N_WORDS];
        TwinWord words[N_WORDS];
        for (uint32_t w = 0, index = 0; w < N_WORDS; w++) { /* letters only, so each text is one piece */
            texts[w] = text[w];
            words[w].size = 1 + random_below(round, index++, LENGTH);
            for (size_t i = 0; i < words[w].size; i++) {
                text[w][i] = "abcd"[random_below(round, index++, 2 + round % 3)];
                words[w].tokens[i] = bpe_byte_id((uint8_t)text[w][i]);
            }
        }
        BpeMerges merges;
        Bpe *bpe;
        OK(bpe_train(texts, NULL, N_WORDS, N_MERGES, &merges));
        OK(bpe_new(&merges, &bpe));
        int32_t left, right, n_ids = 256 + (int32_t)merges.count;
        assert_int_equal(bpe_vocab_size(bpe), n_ids + 1); /* no token is made twice */
        for (int32_t made = 256; made < n_ids; made++) {
            size_t left_size, right_size;
            assert_true(most_frequent_pair(words, made, &left, &right) >= 2);
            const uint8_t *left_bytes = bpe_token_bytes(bpe, left, &left_size);
            const uint8_t *right_bytes = bpe_token_bytes(bpe, right, &right_size);
            const BpeMerge *merge = &merges.items[made - 256];
            assert_int_equal(merge->left_size, left_size);
            assert_int_equal(merge->right_size, right_size);
            assert_memory_equal(merge->bytes, left_bytes, left_size);
            assert_memory_equal(merge->bytes + left_size, right_bytes, right_size);
            merge_everywhere(words, left, right, made);
        }
        if (merges.count < N_MERGES) assert_in_range(most_frequent_pair(words, n_ids, &left, &right), 0, 1);
        bpe_free(bpe);
        bpe_merges_release(&merges);
    }
}

static void test_trainer_speed(void **state)
{
    (void)state;
    enum { N = 20000, SIZE = 80 };
    char *pool = malloc((size_t)N * SIZE);
    const char **texts = malloc(N * sizeof *texts);
    for (uint32_t i = 0; i < N; i++) { /* 6 made-up words each, of 3,000 */
        char *to = pool + (size_t)i * SIZE;
        texts[i] = to;
        for (uint32_t w = 0; w < 6; w++) {
            uint32_t word = random_below(7, 6 * i + w, 3000);
            if (w) *to++ = ' ';
            for (uint32_t k = 0, length = 3 + word % 7; k < length; k++)
                *to++ = (char)('a' + random_below(8, 16 * word + k, 26));
        }
        *to = '\0';
    }
    BpeMerges merges;
    double start = seconds();
    OK(bpe_train(texts, NULL, N, 2000, &merges));
    double took = seconds() - start;
    printf("    %d captions, %zu merges: %.2f s\n", (int)N, merges.count, took);
    assert_int_equal(merges.count, 2000);
    assert_true(took < 10);
    bpe_merges_release(&merges);
    free(texts);
    free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_by_hand),
        cmocka_unit_test(test_trainer_round_trip),
        cmocka_unit_test(test_trainer_against_twin),
        cmocka_unit_test(test_trainer_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
