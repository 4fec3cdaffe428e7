/* Vocabularies with CLIP's rules: merges by hand, and round trips through files' notation. */
#include "text_transformer/clip_bpe_train.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void must(Status s)
{
    if (s != STATUS_OK) fail_msg("%s", status_message());
}

static void test_by_hand(void **state)
{
    (void)state;
    /* "ab" ends a piece four times, "aa" begins one twice; pieces are "ab" x 2, "aab" x 2, "c", "1", "1" */
    static const char *const texts[] = {"AB aab", "ab, aab c 11"};
    ClipBpe *bpe;
    must(clip_bpe_train(texts, 2, 10, &bpe));
    assert_string_equal(clip_bpe_text(bpe), "#version: 0.2\na b</w>\na ab</w>\n");
    assert_int_equal(clip_bpe_vocab_size(bpe), 512 + 2 + 2);
    int32_t ids[8];
    size_t count;
    must(clip_bpe_encode(bpe, "aab ab", 6, ids, 8, &count));
    assert_true(count == 2 && ids[0] == 513 && ids[1] == 512);
    clip_bpe_free(bpe);
}

static void test_words_become_tokens(void **state)
{
    (void)state;
    enum { TIMES = 40 };
    static const char *const captions[] = {"red apple, noto emoji", "빨간 사과, 노토 이모지", "firefighter, dark skin tone, fluent 3d emoji"};
    const char *texts[3 * TIMES];
    int32_t tokens[40], length;
    for (int i = 0; i < 3 * TIMES; i++) texts[i] = captions[i % 3];
    ClipBpe *bpe, *again;
    must(clip_bpe_train(texts, 3 * TIMES, 200, &bpe));
    must(clip_bpe_encode_padded(bpe, "Red  APPLE, Noto emoji", 22, 40, tokens, &length));
    assert_int_equal(length, 2 + 5); /* start, red, apple, comma, noto, emoji, end */
    must(clip_bpe_from_text(clip_bpe_text(bpe), strlen(clip_bpe_text(bpe)), &again));
    assert_int_equal(clip_bpe_vocab_size(again), clip_bpe_vocab_size(bpe));
    must(clip_bpe_encode_padded(bpe, "\xf0\x9f\x8d\x8e unseen", 11, 40, tokens, &length)); /* any text has tokens */
    assert_true(length > 2);
    clip_bpe_free(again);
    clip_bpe_free(bpe);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const once[] = {"a b c"};
    ClipBpe *bpe;
    assert_int_equal(clip_bpe_train(once, 1, 10, &bpe), STATUS_BAD_INPUT);
    assert_null(bpe);
    assert_int_equal(clip_bpe_train(once, 1, 0, &bpe), STATUS_BAD_INPUT);
    assert_int_equal(clip_bpe_train(once, 0, 10, &bpe), STATUS_BAD_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_words_become_tokens),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
