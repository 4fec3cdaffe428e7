/* Captions: exact forms, shares, what they may never say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "data/captions.h"
#include "data/manifest.h"
#include "tests/support_dataset.h"
#include "tests/support_folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { APPLE = 0, HEDGEHOG_ONE_TAG = 3, HEDGEHOG_NO_TAGS = 4, FIREFIGHTER = 5, ROCKET = 11 };

static char path[128];
static Dataset *tiny;

static int setup(void **state)
{
    test_folder_setup(state);
    strcpy(path, in_test_folder("a.h5"));
    return tiny_dataset_write(path, NULL) != STATUS_OK || dataset_open(path, &tiny) != STATUS_OK;
}

static int teardown(void **state)
{
    (void)state;
    dataset_free(tiny);
    return test_folder_remove_with(path);
}

static RngKey key_of(int k)
{
    return (RngKey){.seed = 9, .stream = RNG_DATA, .image = (uint32_t)k, .step = 4};
}

/* Only the given form, Korean or not. */
static CaptionOptions only(CaptionForm form, bool korean)
{
    CaptionOptions o = {.korean = korean};
    o.shares[form] = 1;
    return o;
}

static const char *draw(int i, CaptionForm form, bool korean, int k)
{
    static char text[CAPTION_SIZE];
    CaptionOptions o = only(form, korean);
    RngKey key = key_of(k);
    size_t n = caption_draw(tiny, i, &o, &key, text, sizeof text);
    assert_int_equal(n, strlen(text));
    return text;
}

static void test_plain(void **state)
{
    (void)state;
    char text[CAPTION_SIZE];
    static const struct {
        int picture;
        bool korean;
        const char *expected;
    } cases[] = {
        {APPLE, false, "red apple, noto emoji"},
        {APPLE + 1, true, "빨간 사과, 트위모지 이모지"},
        {FIREFIGHTER, false, "firefighter, dark skin tone, noto emoji"},
        {FIREFIGHTER, true, "소방관, 검은색 피부, 노토 이모지"},
        {ROCKET, false, "rocket, fluent 3d emoji"},
        {ROCKET, true, "rocket, fluent 3d emoji"}, /* has no Korean label */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = caption_plain(tiny, cases[i].picture, cases[i].korean, text, sizeof text);
        assert_string_equal(text, cases[i].expected);
        assert_int_equal(n, strlen(text));
        assert_string_equal(draw(cases[i].picture, CAPTION_LABEL_STYLE, cases[i].korean, 1), cases[i].expected);
    }
    assert_string_equal(draw(FIREFIGHTER, CAPTION_LABEL, false, 1), "firefighter, dark skin tone");
    assert_string_equal(draw(APPLE, CAPTION_LABEL, true, 1), "빨간 사과");
}

/* Two different keywords that the label does not say, in any order; each possible one turns up. */
static void test_keywords_in_brackets(void **state)
{
    (void)state;
    static const char *const tags[] = {"diet", "food", "fruit", "ripe"};
    int seen[4] = {0};
    for (int k = 0; k < 300; k++) {
        char first[32], second[32], rest[64];
        const char *text = draw(APPLE, CAPTION_LABEL_TAGS_STYLE, false, k);
        assert_int_equal(sscanf(text, "red apple (%31[^,], %31[^)])%63[^\n]", first, second, rest), 3);
        assert_string_equal(rest, ", noto emoji");
        assert_string_not_equal(first, second);
        int known = 0;
        for (int t = 0; t < 4; t++) {
            int here = !strcmp(first, tags[t]) + !strcmp(second, tags[t]);
            known += here;
            seen[t] += here;
        }
        assert_int_equal(known, 2);
    }
    for (int t = 0; t < 4; t++) assert_in_range(seen[t], 100, 200);
}

static void test_keywords_alone(void **state)
{
    (void)state;
    int three = 0;
    for (int k = 0; k < 300; k++) {
        char t[3][32];
        const char *text = draw(APPLE, CAPTION_TAGS_STYLE, false, k);
        assert_null(strstr(text, "red apple"));
        if (sscanf(text, "%31[^,], %31[^,], %31[^,], noto emoji", t[0], t[1], t[2]) == 3 &&
            strcmp(t[2], "noto emoji") != 0) {
            three++;
            assert_string_not_equal(t[0], t[2]);
            assert_string_not_equal(t[1], t[2]);
        }
        assert_string_not_equal(t[0], t[1]);
        assert_non_null(strstr("apple|diet|food|fruit|red|ripe", t[0]));
        assert_string_equal(text + strlen(text) - 12, ", noto emoji");
    }
    assert_in_range(three, 100, 200);
}

static void test_too_few_keywords(void **state)
{
    (void)state;
    for (int k = 0; k < 20; k++) {
        assert_string_equal(draw(HEDGEHOG_ONE_TAG, CAPTION_LABEL_TAGS_STYLE, false, k),
                            "hedgehog (animal), noto emoji");
        assert_string_equal(draw(HEDGEHOG_ONE_TAG, CAPTION_TAGS_STYLE, false, k), "hedgehog, noto emoji");
        assert_string_equal(draw(HEDGEHOG_ONE_TAG, CAPTION_TAGS_STYLE, true, k), "고슴도치, 노토 이모지");
        assert_string_equal(draw(HEDGEHOG_NO_TAGS, CAPTION_LABEL_TAGS_STYLE, false, k), "hedgehog, twemoji emoji");
    }
}

static bool close_to(int count, int n, double p)
{
    return fabs(count - n * p) < 5 * sqrt(n * p * (1 - p));
}

static void test_default_shares(void **state)
{
    (void)state;
    enum { N = 20000 };
    int korean = 0, forms[CAPTION_FORMS] = {0};
    for (int k = 0; k < N; k++) {
        char text[CAPTION_SIZE];
        RngKey key = key_of(k);
        caption_draw(tiny, APPLE, NULL, &key, text, sizeof text);
        bool ko = false;
        for (const char *p = text; *p; p++) ko = ko || (*p & 0x80);
        bool label = strstr(text, "red apple") || strstr(text, "빨간 사과");
        bool style = strstr(text, " emoji") || strstr(text, " 이모지");
        korean += ko;
        forms[!style              ? CAPTION_LABEL
              : !label            ? CAPTION_TAGS_STYLE
              : strchr(text, '(') ? CAPTION_LABEL_TAGS_STYLE
                                  : CAPTION_LABEL_STYLE]++;
    }
    assert_true(close_to(korean, N, 0.25));
    assert_true(close_to(forms[CAPTION_LABEL_STYLE], N, 0.6));
    assert_true(close_to(forms[CAPTION_LABEL_TAGS_STYLE], N, 0.2));
    assert_true(close_to(forms[CAPTION_TAGS_STYLE], N, 0.1));
    assert_true(close_to(forms[CAPTION_LABEL], N, 0.1));
}

static void test_depends_on_key_only(void **state)
{
    (void)state;
    char first[50][CAPTION_SIZE], text[CAPTION_SIZE];
    int different = 0;
    for (int k = 0; k < 50; k++) {
        RngKey key = key_of(k);
        caption_draw(tiny, APPLE, NULL, &key, first[k], sizeof first[k]);
        different += strcmp(first[k], first[0]) != 0;
    }
    for (int k = 49; k >= 0; k--) {
        RngKey key = key_of(k);
        caption_draw(tiny, APPLE, NULL, &key, text, sizeof text);
        assert_string_equal(text, first[k]);
    }
    assert_true(different > 10);
}

/* Whatever fits is a whole number of characters and the beginning of the caption; nothing is written behind `size`. */
static void test_cut_between_characters(void **state)
{
    (void)state;
    char whole[CAPTION_SIZE], text[CAPTION_SIZE];
    size_t length = caption_plain(tiny, FIREFIGHTER, true, whole, sizeof whole);
    for (size_t size = 1; size <= length + 1; size++) {
        memset(text, '#', sizeof text);
        size_t n = caption_plain(tiny, FIREFIGHTER, true, text, size);
        assert_true(n < size && text[n] == 0 && size - n <= 3 + (size == length + 1));
        assert_memory_equal(text, whole, n);
        assert_int_not_equal(whole[n] & 0xc0, 0x80);
        for (size_t i = size; i < sizeof text; i++) assert_int_equal(text[i], '#');
    }
}

static void test_samples_are_of_the_index(void **state)
{
    (void)state;
    ConceptIndex *index;
    assert_int_equal(concept_index_new(tiny, NULL, &index), STATUS_OK);
    char text[CAPTION_SIZE], again[CAPTION_SIZE];
    int dark = 0;
    for (uint32_t k = 0; k < 3000; k++) {
        caption_sample(tiny, index, NULL, 1, k, text, sizeof text);
        assert_null(strstr(text, "laptop"));
        assert_null(strstr(text, "노트북"));
        assert_null(strstr(text, "medium skin"));
        dark += strstr(text, "dark skin") != NULL;
    }
    assert_true(dark > 50);
    caption_sample(tiny, index, NULL, 1, 2999, again, sizeof again);
    assert_string_equal(text, again);
    concept_index_free(index);
}

static void test_every_style_has_a_korean_word(void **state)
{
    (void)state;
    SourceList sources;
    assert_int_equal(sources_load("data/sources.tsv", &sources), STATUS_OK);
    for (int i = 0; i < sources.count; i++) assert_true(caption_style_korean(sources.items[i].style)[0] & 0x80);
    sources_release(&sources);
    assert_string_equal(caption_style_korean("crayon"), "crayon");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_keywords_in_brackets),
        cmocka_unit_test(test_keywords_alone),
        cmocka_unit_test(test_too_few_keywords),
        cmocka_unit_test(test_default_shares),
        cmocka_unit_test(test_depends_on_key_only),
        cmocka_unit_test(test_cut_between_characters),
        cmocka_unit_test(test_samples_are_of_the_index),
        cmocka_unit_test(test_every_style_has_a_korean_word),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
