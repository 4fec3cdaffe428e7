/* Unicode properties, UTF-8 and lower-casing, against the tables and results of Python and the regex package. */
#include "tests/support_json.h"
#include "tests/support_status.h"
#include "text_transformer/unicode.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define UNICODE_END 0x110000

static void mark_ranges(const json_t *ranges, uint8_t *marks, uint8_t mark)
{
    size_t index;
    json_t *range;
    json_array_foreach(ranges, index, range)
    {
        json_int_t last = json_integer_value(json_array_get(range, 1));
        for (json_int_t c = json_integer_value(json_array_get(range, 0)); c <= last; c++) marks[c] = mark;
    }
}

static void test_unicode_tables(void **state)
{
    (void)state;
    json_t *root = load_json("tests/fixtures/unicode_tables.json");
    uint8_t *classes = malloc(UNICODE_END), *cases = malloc(UNICODE_END);
    const json_t **lowers = calloc(UNICODE_END, sizeof *lowers);
    memset(classes, UNICODE_OTHER, UNICODE_END);
    memset(cases, UNICODE_UNCASED, UNICODE_END);
    mark_ranges(field(root, "letter"), classes, UNICODE_LETTER);
    mark_ranges(field(root, "number"), classes, UNICODE_NUMBER);
    mark_ranges(field(root, "space"), classes, UNICODE_SPACE);
    mark_ranges(field(root, "cased_not_ignorable"), cases, UNICODE_CASED);
    mark_ranges(field(root, "case_ignorable"), cases, UNICODE_CASE_IGNORABLE);
    size_t index;
    json_t *row;
    json_array_foreach(field(root, "lower"), index, row) lowers[json_integer_value(json_array_get(row, 0))] = row;

    /* A utf8proc newer than 2.8 knows characters of which the tables say nothing; all that they say must still hold. */
    bool exact = strncmp(utf8proc_unicode_version(), "15.0", 4) == 0;
    for (int32_t c = 0; c < UNICODE_END; c++) {
        if (!exact && classes[c] == UNICODE_OTHER && cases[c] == UNICODE_UNCASED && !lowers[c]) continue;
        int32_t lower[2], expected[2] = {c, 0};
        int n = unicode_lower(c, lower), n_expected = 1;
        if (lowers[c]) n_expected = (int)json_array_size(lowers[c]) - 1;
        for (int i = 0; lowers[c] && i < n_expected; i++)
            expected[i] = (int32_t)json_integer_value(json_array_get(lowers[c], (size_t)i + 1));
        if (unicode_class(c) != classes[c] || unicode_case(c) != cases[c] || n != n_expected ||
            lower[0] != expected[0] || (n == 2 && lower[1] != expected[1]))
            fail_msg("U+%04X: class %d case %d lower U+%04X, expected class %d case %d lower U+%04X", c,
                     unicode_class(c), unicode_case(c), lower[0], classes[c], cases[c], expected[0]);
    }
    free(classes);
    free(cases);
    free(lowers);
    json_decref(root);
}

/* What CPython 3.11 makes of bytes.decode("utf-8", errors="replace"). */
static void test_broken_utf8(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"a\xff"
         "b",
         "a\uFFFDb"},
        {"\xc0\x80", "\uFFFD\uFFFD"},
        {"\xe2\x82", "\uFFFD"},
        {"\xe2\x82"
         "a",
         "\uFFFDa"},
        {"\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
        {"\xf0\x9f\x98", "\uFFFD"},
        {"\xf0\x9f\x98\x80\x80", "\U0001F600\uFFFD"},
        {"\xf4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
        {"\xf8\x88\x80\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"},
        {"\xe0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
        {"\xf0\x80\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
        {"\xc3", "\uFFFD"},
        {"\xe2\xe2\x82\xac", "\uFFFD\u20AC"},
        {"\xf0\x9f\x98\xf0\x9f\x98\x80", "\uFFFD\U0001F600"},
        {"\xc3(\xee\x80\x80\xed\x9f\xbf\xf4\x8f\xbf\xbf", "\uFFFD(\uE000\uD7FF\U0010FFFF"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *repaired, *lower;
        size_t size;
        OK(utf8_repair(rows[i][0], strlen(rows[i][0]), &repaired, &size));
        assert_string_equal(repaired, rows[i][1]);
        assert_int_equal(size, strlen(rows[i][1]));
        OK(utf8_lower(rows[i][0], strlen(rows[i][0]), &lower, NULL));
        assert_string_equal(lower, rows[i][1]);
        free(repaired);
        free(lower);
    }
    char quote[8];
    assert_string_equal(utf8_quote("a\n\u20ACbcdefgh", 13, quote, sizeof quote), "a\uFFFD");
}

static void test_lower_in_context(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"\u0130I", "i\u0307i"},
        {"ΑΣ ΑΣ.", "ας ας."},
        {"ΑΣ.Α", "ασ.α"},
        {"Α\u0301Σ\u0301\u00AD", "α\u0301ς\u0301\u00AD"}, /* marks and a soft hyphen are looked past */
        {"Σ", "σ"},
        {".Σ", ".σ"},
        {"1ΣΑ", "1σα"},
        {"\u24B6Σ", "\u24D0ς"},           /* cased, though a symbol */
        {"Α\U0001E030Σ", "α\U0001E030σ"}, /* new in Unicode 15, so neither cased nor ignorable */
        {"ΑΣ\u02B0Α", "ασ\u02B0α"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *lower;
        OK(utf8_lower(rows[i][0], strlen(rows[i][0]), &lower, NULL));
        assert_string_equal(lower, rows[i][1]);
        free(lower);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unicode_tables),
        cmocka_unit_test(test_broken_utf8),
        cmocka_unit_test(test_lower_in_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
