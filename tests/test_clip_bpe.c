/* CLIP's tokenizer: against the reference's ids, and its clean-up rule by rule. */
#include "tests/support_json.h"
#include "tests/support_status.h"
#include "text_transformer/clip_bpe.h"
#include "text_transformer/clip_clean.h"
#include "text_transformer/html_entities.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TABLES "tests/fixtures/clip_bpe.txt.gz"

enum { CTX_MOST = 64 };

/* --- the reference's vocabulary and ids --- */

static size_t from_hex(const json_t *text, char *out)
{
    const char *hex = json_string_value(text);
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out[i] = (char)byte;
    }
    out[n] = 0;
    return n;
}

static void test_vocabulary(void **state)
{
    (void)state;
    ClipBpe *bpe;
    json_t *root = load_json("tests/fixtures/clip_tokenizer.json"), *vocab = json_object_get(root, "vocab");
    char expected[128], found[128];
    OK(clip_bpe_from_file(TABLES, &bpe));
    assert_int_equal(clip_bpe_vocab_size(bpe), json_integer_value(json_object_get(root, "n_vocab")));
    assert_int_equal(clip_bpe_start_token(bpe), json_integer_value(json_object_get(root, "start_token")));
    assert_int_equal(clip_bpe_end_token(bpe), json_integer_value(json_object_get(root, "end_token")));
    assert_int_equal(json_array_size(vocab), clip_bpe_vocab_size(bpe));
    for (int32_t i = 0; i < clip_bpe_vocab_size(bpe); i++) {
        from_hex(json_array_get(vocab, (size_t)i), expected);
        assert_string_equal(clip_bpe_token_text(bpe, i, found, sizeof found), expected);
    }
    clip_bpe_free(bpe);
    json_decref(root);
}

static void check_case(const ClipBpe *bpe, const json_t *test, int ctx)
{
    char text[1024];
    int32_t ids[1024], padded[CTX_MOST], length;
    size_t size = from_hex(json_object_get(test, "text"), text), count;
    const json_t *expected = json_object_get(test, "ids");
    OK(clip_bpe_encode(bpe, text, size, ids, 1024, &count));
    if (count != json_array_size(expected)) fail_msg("\"%s\": %zu tokens", text, count);
    for (size_t i = 0; i < count; i++)
        if (ids[i] != json_integer_value(json_array_get(expected, i))) fail_msg("\"%s\": token %zu is %d", text, i, ids[i]);
    OK(clip_bpe_encode_padded(bpe, text, size, ctx, padded, &length));
    assert_int_equal(length, json_integer_value(json_object_get(test, "len")));
    for (int i = 0; i < ctx; i++)
        assert_int_equal(padded[i], json_integer_value(json_array_get(json_object_get(test, "padded"), (size_t)i)));
}

static void test_cases(void **state)
{
    (void)state;
    ClipBpe *bpe, *again;
    json_t *root = load_json("tests/fixtures/clip_tokenizer.json"), *cases = json_object_get(root, "cases");
    int ctx = (int)json_integer_value(json_object_get(root, "ctx"));
    assert_true(ctx <= CTX_MOST && json_array_size(cases) >= 40);
    OK(clip_bpe_from_file(TABLES, &bpe));
    OK(clip_bpe_from_text(clip_bpe_text(bpe), strlen(clip_bpe_text(bpe)), &again)); /* as weights files keep it */
    assert_string_equal(clip_bpe_text(bpe), clip_bpe_text(again));
    for (size_t i = 0; i < json_array_size(cases); i++) {
        check_case(bpe, json_array_get(cases, i), ctx);
        check_case(again, json_array_get(cases, i), ctx);
    }
    clip_bpe_free(again);
    clip_bpe_free(bpe);
    json_decref(root);
}

/* --- the clean-up --- */

static void test_unescape(void **state)
{
    (void)state;
    static const char *const cases[][2] = { /* Python 3.11: html.unescape() */
        {"", ""}, {"a&b", "a&b"}, {"&amp;", "&"}, {"&ampx", "&x"}, {"&amp;lt;", "&lt;"}, {"&AMP", "&"}, {"&Amp;", "&Amp;"},
        {"&lt;b&gt", "<b>"}, {"&notit;", "\u00acit;"}, {"&notin;", "\u2209"}, {"&nosuch;", "&nosuch;"}, {"&n", "&n"}, {"&", "&"},
        {"&nGt;", "\u226b\u20d2"}, {"&fjlig;", "fj"}, {"&hellip", "&hellip"}, {"&hellip;", "\u2026"}, {"&eacute&eacute;", "\u00e9\u00e9"},
        {"&#39;", "'"}, {"&#39", "'"}, {"&#x27;&#X27;", "''"}, {"&#;", "&#;"}, {"&#x;", "&#x;"}, {"&#xg", "&#xg"}, {"&#128;", "\u20ac"},
        {"&#129;", "\xc2\x81"}, {"&#0;", "\ufffd"}, {"&#xD800;", "\ufffd"}, {"&#99999999999999999999;", "\ufffd"}, {"&#1;", ""},
        {"&#xFFFE;", ""}, {"&#x1F600;", "\U0001f600"}, {"&CounterClockwiseContourIntegral;", "\u2233"}, {"&&lt;", "&<"},
        {"&lt &gt;", "< >"}, {"&\u00e9lt;", "&\u00e9lt;"}, {"&quot;&#34", "\"\""}, {"&copyright", "\u00a9right"}, {"&zwnj;", "\u200c"},
        {"&AElig;", "\u00c6"}, {"&zwj;", "\u200d"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out;
        size_t size;
        OK(html_unescape(cases[i][0], strlen(cases[i][0]), &out, &size));
        if (strcmp(out, cases[i][1]) || size != strlen(out)) fail_msg("%s: \"%s\", expected \"%s\"", cases[i][0], out, cases[i][1]);
        free(out);
    }
}

static void test_clean(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"  A \t\n B\u00a0\u3000c ", "a b c"}, {"\u201cDon\u2019t\u201d", "\"don't\""}, {"&amp;lt;", "<"}, {"&amp;amp;lt;", "&lt;"},
        {"\ufb01ne \uff21\uff22", "fine ab"}, {"e\u0301", "\u00e9"}, {"\ud55c\uae00 \u1112\u1161\u11ab", "\ud55c\uae00 \ud55c"},
        {"a\x01" "b\x7f" "c\ufeff", "abc"}, {"a\xff" "b", "a\ufffd" "b"}, {"&nbsp;x&nbsp;", "x"}, {" ", ""}, {"", ""}, {"\u0149", "'n"},
        {"\u039f\u03a3", "\u03bf\u03c2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out;
        size_t size;
        OK(clip_clean(cases[i][0], strlen(cases[i][0]), &out, &size));
        if (strcmp(out, cases[i][1]) || size != strlen(out)) fail_msg("%s: \"%s\", expected \"%s\"", cases[i][0], out, cases[i][1]);
        free(out);
    }
}

/* --- files --- */

static void refuse(const char *text, const char *part)
{
    ClipBpe *bpe;
    FAILS(clip_bpe_from_text(text, strlen(text), &bpe), STATUS_BAD_INPUT, part);
    assert_null(bpe);
}

static void test_files(void **state)
{
    (void)state;
    ClipBpe *bpe;
    int32_t ids[8], length;
    size_t count;
    refuse("", "expected a title line");
    refuse("title\n", "expected a title line");
    refuse("title\na\n", "line 2: expected two words of byte symbols, found \"a\"");
    refuse("title\na b\na \n", "line 3: expected two words");
    refuse("title\na b\n\xff x\n", "line 3: expected two words");
    refuse("title\nab c\n", "line 2: \"ab\" is neither a byte nor what another merge makes");
    refuse("title\na b</w>\nab c\n", "line 3: \"ab\" is neither"); /* it ends a piece, so nothing follows it */
    refuse("title\na b\nc d\na b\n", "merge 2: expected a new pair, found that of merge 0");
    assert_int_equal(clip_bpe_from_file("/nowhere", &bpe), STATUS_IO);
    FAILS(clip_bpe_from_file("tests/fixtures/pt_zip.pt", &bpe), STATUS_BAD_INPUT, "pt_zip.pt: merges, line ");
    static const char text[] = "title\r\na b</w>\r\na b\r\nab c</w>";
    OK(clip_bpe_from_text(text, sizeof text - 1, &bpe));
    assert_int_equal(clip_bpe_vocab_size(bpe), 512 + 3 + 2);
    OK(clip_bpe_encode(bpe, "ab ABC abb", 10, ids, 8, &count));
    assert_int_equal(count, 4);
    assert_memory_equal(ids, ((int32_t[]){512, 514, 513, 256 + 'b' - 33}), 4 * sizeof *ids);
    OK(clip_bpe_encode(bpe, "ab ABC abb", 10, NULL, 0, &count));
    assert_int_equal(count, 4);
    OK(clip_bpe_encode_padded(bpe, "ab ABC abb", 10, 2, ids, &length));
    assert_memory_equal(ids, ((int32_t[]){515, 516}), 2 * sizeof *ids);
    assert_int_equal(length, 2);
    clip_bpe_free(bpe);
}

/* The published file has more lines than are used. */
static void test_limit(void **state)
{
    (void)state;
    char *text = malloc(1 << 20), *to = stpcpy(text, "\"title\n");
    ClipBpe *bpe;
    int lines = 0;
    for (int a = 'a'; a <= 'z'; a++)
        for (int b = 'a'; b <= 'z'; b++) to += sprintf(to, "%c %c\n", a, b), lines++;
    for (int c = 'a'; c <= 'z' && lines < CLIP_BPE_MOST_MERGES + 100; c++)
        for (int a = 'a'; a <= 'z'; a++)
            for (int b = 'a'; b <= 'z' && lines < CLIP_BPE_MOST_MERGES + 100; b++) to += sprintf(to, "%c%c %c\n", a, b, c), lines++;
    for (int i = 0; lines < CLIP_BPE_MOST_MERGES + 100; i++, lines++) /* "abc de" */
        to += sprintf(to, "%c%c%c %c%c\n", 'a' + i / 676 % 26, 'a' + i / 26 % 26, 'a' + i % 26, 'a', 'a' + i / 17576);
    (void)to;
    Status s = clip_bpe_from_text(text, strlen(text), &bpe);
    if (s == STATUS_OK) assert_int_equal(clip_bpe_vocab_size(bpe), 49408);
    else fail_msg("%s", status_message());
    clip_bpe_free(bpe);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocabulary), cmocka_unit_test(test_cases), cmocka_unit_test(test_unescape),
        cmocka_unit_test(test_clean),      cmocka_unit_test(test_files), cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
