/* The byte-pair encoder against GLIDE's results and against a plain twin. */
#include "common/rng.h"
#include "tests/support_json.h"
#include "tests/support_status.h"
#include "text_transformer/bpe.h"
#include "text_transformer/unicode.h"

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#define LONG_LIMIT_S 10.0 /* generous: sanitizers are slow; anything quadratic takes minutes */

/* --- helpers --- */

typedef struct Bytes {
    char *data;
    size_t size;
} Bytes;

static uint32_t random_below(uint32_t sequence, uint32_t index, uint32_t n)
{
    RngKey key = {.seed = 5, .stream = RNG_TEST, .image = sequence};
    return rng_below(&key, index, n);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The bytes that a JSON string writes in hex; free .data. */
static Bytes from_hex(const json_t *text)
{
    const char *hex = json_string_value(text);
    assert_non_null(hex);
    Bytes bytes = {malloc(strlen(hex) / 2 + 1), strlen(hex) / 2};
    for (size_t i = 0; i < bytes.size; i++) {
        unsigned value;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
        bytes.data[i] = (char)value;
    }
    bytes.data[bytes.size] = '\0';
    return bytes;
}

static void assert_bytes(const char *found, size_t size, const json_t *hex)
{
    Bytes expected = from_hex(hex);
    assert_int_equal(size, expected.size);
    assert_memory_equal(found, expected.data, size);
    free(expected.data);
}

static void assert_ids(const int32_t *found, size_t count, const json_t *list)
{
    assert_int_equal(count, json_array_size(list));
    for (size_t i = 0; i < count; i++) assert_int_equal(found[i], json_integer_value(json_array_get(list, i)));
}

static Bpe *fixture_bpe(const json_t *root)
{
    BpeMerges merges;
    bpe_merges_init(&merges);
    size_t index;
    json_t *pair;
    json_array_foreach(field(root, "merges"), index, pair)
    {
        Bytes left = from_hex(json_array_get(pair, 0)), right = from_hex(json_array_get(pair, 1));
        OK(bpe_merges_add(&merges, left.data, left.size, right.data, right.size));
        free(left.data);
        free(right.data);
    }
    Bpe *bpe;
    OK(bpe_new(&merges, &bpe));
    bpe_merges_release(&merges);
    return bpe;
}

static Bpe *official_bpe(void)
{
    BpeMerges merges;
    Bpe *bpe;
    OK(bpe_merges_load("tests/fixtures/tokenizer_vocab.bpe.gz", &merges));
    OK(bpe_new(&merges, &bpe));
    bpe_merges_release(&merges);
    return bpe;
}

/* --- encoder --- */

static void test_vocabulary(void **state)
{
    (void)state;
    json_t *root = load_json("tests/fixtures/tokenizer.json");
    Bpe *bpe = fixture_bpe(root);
    assert_int_equal(bpe_vocab_size(bpe), json_integer_value(field(root, "n_vocab")));
    assert_int_equal(bpe_end_token(bpe), json_integer_value(field(root, "end_token")));
    size_t index;
    json_t *token;
    json_array_foreach(field(root, "vocab"), index, token)
    {
        size_t size;
        const uint8_t *bytes = bpe_token_bytes(bpe, (int32_t)index, &size);
        assert_bytes((const char *)bytes, size, token);
    }

    /* the official file says the same, both ways */
    char *text, *again;
    size_t size;
    Bpe *loaded = official_bpe(), *parsed;
    OK(bpe_merges_text(bpe_merges(bpe), &text, &size));
    OK(bpe_merges_text(bpe_merges(loaded), &again, NULL));
    assert_string_equal(text, again);
    assert_int_equal(size, strlen(text));
    gzFile file = gzopen("tests/fixtures/tokenizer_vocab.bpe.gz", "rb");
    char *official = calloc(1, size + 2);
    assert_int_equal(gzread(file, official, (unsigned)size + 1), size);
    assert_string_equal(text, official);
    gzclose(file);
    OK(bpe_from_text(text, size, &parsed));
    assert_int_equal(bpe_vocab_size(parsed), bpe_vocab_size(bpe));
    free(text);
    free(again);
    free(official);
    bpe_free(loaded);
    bpe_free(parsed);
    bpe_free(bpe);
    json_decref(root);
}

static void check_case(const Bpe *bpe, const json_t *test, int ctx)
{
    Bytes text = from_hex(field(test, "text"));
    char *lower;
    size_t lower_size, count, n_pieces = 0;
    OK(utf8_lower(text.data, text.size, &lower, &lower_size));
    assert_bytes(lower, lower_size, field(test, "lower"));

    const json_t *pieces = field(test, "pieces");
    for (size_t start = 0, end; start < lower_size; start = end) {
        end = bpe_piece_end(lower, lower_size, start);
        assert_true(n_pieces < json_array_size(pieces));
        assert_bytes(lower + start, end - start, json_array_get(pieces, n_pieces++));
    }
    assert_int_equal(n_pieces, json_array_size(pieces));

    int32_t *ids = calloc(3 * text.size + 1, sizeof *ids), *padded = calloc((size_t)ctx, sizeof *padded);
    uint8_t *mask = calloc((size_t)ctx, 1);
    OK(bpe_encode(bpe, text.data, text.size, ids, 3 * text.size, &count));
    assert_ids(ids, count, field(test, "ids"));
    OK(bpe_encode_padded(bpe, text.data, text.size, ctx, padded, mask));
    assert_ids(padded, (size_t)ctx, field(test, "padded"));
    for (int i = 0; i < ctx; i++)
        assert_int_equal(mask[i], json_integer_value(json_array_get(field(test, "mask"), (size_t)i)));

    /* tokens hold all of the lower-cased text */
    char *decoded;
    size_t decoded_size;
    OK(bpe_decode(bpe, ids, count, &decoded, &decoded_size));
    assert_bytes(decoded, decoded_size, field(test, "lower"));
    free(decoded);
    free(ids);
    free(padded);
    free(mask);
    free(lower);
    free(text.data);
}

static void test_fixture_cases(void **state)
{
    (void)state;
    json_t *root = load_json("tests/fixtures/tokenizer.json");
    Bpe *bpe = fixture_bpe(root);
    size_t index;
    json_t *test;
    assert_true(json_array_size(field(root, "cases")) > 300);
    json_array_foreach(field(root, "cases"), index, test)
        check_case(bpe, test, (int)json_integer_value(field(root, "ctx")));
    json_array_foreach(field(root, "decode_cases"), index, test)
    {
        const json_t *list = field(test, "ids");
        size_t count = json_array_size(list), size;
        int32_t *ids = calloc(count + 1, sizeof *ids);
        for (size_t i = 0; i < count; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
        char *text;
        OK(bpe_decode(bpe, ids, count, &text, &size));
        assert_bytes(text, size, field(test, "text"));
        free(text);
        free(ids);
    }
    bpe_free(bpe);
    json_decref(root);
}

/* GLIDE's loop as it stands, on byte strings: find the pair of lowest rank, merge all of it, start again. */
static size_t encode_plainly(const BpeMerges *merges, const char *piece, size_t size, size_t *ends)
{
    size_t n = size;
    for (size_t i = 0; i < n; i++) ends[i] = i + 1;
    for (;;) {
        size_t best = merges->count;
        for (size_t rank = 0; rank < best; rank++) {
            const BpeMerge *m = &merges->items[rank];
            for (size_t i = 0, start = 0; i + 1 < n && rank < best; start = ends[i++])
                if (ends[i] - start == m->left_size && ends[i + 1] - ends[i] == m->right_size &&
                    memcmp(piece + start, m->bytes, m->left_size + m->right_size) == 0)
                    best = rank;
        }
        if (best == merges->count) return n;
        const BpeMerge *m = &merges->items[best];
        size_t kept = 0;
        for (size_t i = 0, start = 0; i < n; i++) {
            if (i + 1 < n && ends[i] - start == m->left_size && ends[i + 1] - ends[i] == m->right_size &&
                memcmp(piece + start, m->bytes, m->left_size + m->right_size) == 0)
                i++;
            start = ends[kept++] = ends[i];
        }
        n = kept;
    }
}

/* Words over few letters and merges drawn at random, so that overlaps, repeats and tokens with two origins are common.
 */
static void test_merging_against_twin(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 300; round++) {
        BpeMerges merges;
        bpe_merges_init(&merges);
        uint32_t index = 0;
        for (int tries = 0; tries < 25; tries++) { /* parts: letters or tokens of earlier merges */
            const void *parts[2];
            size_t sizes[2];
            for (int side = 0; side < 2; side++) {
                uint32_t pick = random_below(round, index++, 3 + (uint32_t)merges.count);
                const BpeMerge *m = pick < 3 ? NULL : &merges.items[pick - 3];
                parts[side] = m ? (const void *)m->bytes : &"abc"[pick];
                sizes[side] = m ? m->left_size + m->right_size : 1;
            }
            bool repeated = false;
            for (size_t i = 0; i < merges.count; i++) {
                const BpeMerge *m = &merges.items[i];
                repeated |= m->left_size == sizes[0] && m->right_size == sizes[1] &&
                            memcmp(m->bytes, parts[0], sizes[0]) == 0 &&
                            memcmp(m->bytes + sizes[0], parts[1], sizes[1]) == 0;
            }
            if (!repeated && sizes[0] + sizes[1] <= 8)
                OK(bpe_merges_add(&merges, parts[0], sizes[0], parts[1], sizes[1]));
        }
        Bpe *bpe;
        OK(bpe_new(&merges, &bpe));
        for (int word = 0; word < 20; word++) {
            char text[64];
            size_t size = 1 + random_below(round, index++, sizeof text), ends[64], count;
            for (size_t i = 0; i < size; i++) text[i] = "abc"[random_below(round, index++, 3)];
            size_t expected = encode_plainly(&merges, text, size, ends);
            int32_t ids[64];
            OK(bpe_encode(bpe, text, size, ids, 64, &count));
            assert_int_equal(count, expected);
            for (size_t i = 0, start = 0; i < count; start = ends[i++]) {
                size_t token_size;
                const uint8_t *bytes = bpe_token_bytes(bpe, ids[i], &token_size);
                assert_int_equal(token_size, ends[i] - start);
                assert_memory_equal(bytes, text + start, token_size);
            }
        }
        bpe_free(bpe);
        bpe_merges_release(&merges);
    }
}

static void test_random_bytes(void **state)
{
    (void)state;
    Bpe *bpe = official_bpe();
    for (uint32_t round = 0; round < 2000; round++) {
        size_t size = random_below(round, 0, 200), count, lower_size, decoded_size;
        char text[200], *lower, *decoded;
        for (size_t i = 0; i < size; i++) { /* half of the rounds mostly UTF-8's own bytes */
            uint32_t index = 2 * (uint32_t)i + 1;
            text[i] = round & 1 ? (char)random_below(round, index, 256)
                                : " a'sS1\xce\xa3\xc4\xb0\xf0\x9f\x98\x80\xed\xe0\n"[random_below(round, index, 18)];
        }
        int32_t ids[600], padded[8], few[5] = {-7, -7, -7, -7, -7};
        uint8_t mask[8];
        OK(bpe_encode(bpe, text, size, ids, 600, &count));
        assert_true(count <= 3 * size);
        OK(utf8_lower(text, size, &lower, &lower_size));
        OK(bpe_decode(bpe, ids, count, &decoded, &decoded_size));
        assert_int_equal(decoded_size, lower_size);
        assert_memory_equal(decoded, lower, lower_size);
        free(lower);
        free(decoded);
        OK(bpe_encode_padded(bpe, text, size, 8, padded, mask));
        for (size_t i = 0; i < 8; i++) {
            assert_int_equal(padded[i], i < count ? ids[i] : bpe_end_token(bpe));
            assert_int_equal(mask[i], i < count);
        }
        size_t counted;
        OK(bpe_encode(bpe, text, size, few, 4, &counted)); /* too little room: all are counted, 4 are written */
        assert_int_equal(counted, count);
        assert_memory_equal(few, ids, (count < 4 ? count : 4) * sizeof *ids);
        assert_int_equal(few[4], -7);
        OK(bpe_encode(bpe, text, size, NULL, 0, &counted));
        assert_int_equal(counted, count);
    }
    bpe_free(bpe);
}

static size_t timed_encode(const Bpe *bpe, const char *text, size_t size, const char *what)
{
    size_t count;
    double start = seconds();
    OK(bpe_encode(bpe, text, size, NULL, 0, &count));
    double took = seconds() - start;
    printf("    %s: %zu bytes, %zu tokens, %.1f ms\n", what, size, count, 1e3 * took);
    assert_true(took < LONG_LIMIT_S);
    return count;
}

static void test_long_texts(void **state)
{
    (void)state;
    Bpe *bpe = official_bpe();
    size_t size = 0, repeats = 10000, big = 1 << 20;
    char *text = malloc(big + 100);
    for (size_t i = 0; i < repeats; i++) size += (size_t)sprintf(text + size, "%s", i & 1 ? " 그림" : " Picture");
    assert_int_equal(timed_encode(bpe, text, size, "10,000 words") % (repeats / 2), 0);
    int32_t tokens[128];
    uint8_t mask[128];
    OK(bpe_encode_padded(bpe, text, size, 128, tokens, mask));
    assert_int_equal(mask[127], 1);
    assert_int_not_equal(tokens[127], bpe_end_token(bpe));

    for (size_t i = 0; i < big; i++) text[i] = (char)('a' + random_below(1, (uint32_t)i, 26));
    timed_encode(bpe, text, big, "one word of random letters");
    memset(text, ' ', big);
    assert_int_equal(timed_encode(bpe, text, big, "spaces"), big);
    for (size_t i = 0; i < big; i += 2) memcpy(text + i, i % 64 ? "\xcc\x81" : "\xce\xa3", 2);
    timed_encode(bpe, text, big, "sigmas and marks"); /* the final sigma rule looks around */
    free(text);
    bpe_free(bpe);
}

typedef struct SharedUse {
    const Bpe *bpe;
    const int32_t *expected; /* (count) */
    size_t count;
    int wrong;
} SharedUse;

static const char shared_text[] = "A picture of a RED heart, 하트 그림 ❤️ ΟΔΥΣΣΕΥΣ";

static void *use_shared(void *argument)
{
    SharedUse *use = argument;
    for (int i = 0; i < 500; i++) {
        int32_t ids[256];
        size_t count = 0;
        Status status = bpe_encode(use->bpe, shared_text, sizeof shared_text - 1, ids, 256, &count);
        use->wrong +=
            status != STATUS_OK || count != use->count || memcmp(ids, use->expected, count * sizeof *ids) != 0;
    }
    return NULL;
}

static void test_shared_between_threads(void **state)
{
    (void)state;
    Bpe *bpe = official_bpe();
    int32_t expected[256];
    size_t count;
    OK(bpe_encode(bpe, shared_text, sizeof shared_text - 1, expected, 256, &count));
    pthread_t threads[4];
    SharedUse uses[4];
    for (int i = 0; i < 4; i++) {
        uses[i] = (SharedUse){bpe, expected, count, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, use_shared, &uses[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(uses[i].wrong, 0);
    }
    bpe_free(bpe);
}

/* --- what is refused --- */

/* The first `size` bytes of a file under another name. */
static const char *write_cut_copy(const char *path, size_t size)
{
    static char name[] = "/tmp/glide-test-bpe-XXXXXX";
    char bytes[4096];
    FILE *from = fopen(path, "rb"), *to = fdopen(mkstemp(name), "wb");
    assert_true(from && to && size <= sizeof bytes);
    assert_int_equal(fread(bytes, 1, size, from), size);
    assert_int_equal(fwrite(bytes, 1, size, to), size);
    fclose(from);
    fclose(to);
    return name;
}

static void test_wrong_merges(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "line 1: expected \"#version\", found \"\""},
        {"PK\x03\x04", "line 1: expected \"#version\", found \"PK\uFFFD\uFFFD\""},
        {"#version: 0.2\na b\nab", "line 3: expected a line feed"},
        {"#version: 0.2", "line 1: expected a line feed"},
        {"#version: 0.2\na b\n\n", "line 3: expected two words"},
        {"#version: 0.2\nab\n", "line 2: expected two words of byte symbols, found \"ab\""},
        {"#version: 0.2\na \n", "line 2: expected two words"},
        {"#version: 0.2\n b\n", "line 2: expected two words"},
        {"#version: 0.2\na b c\n", "line 2: expected two words"},
        {"#version: 0.2\na \u0144\n", "line 2: expected two words"},
        {"#version: 0.2\na \xff\n", "line 2: expected two words"},
        {"#version: 0.2\na \t\n", "line 2: expected two words"},
        {"#version: 0.2\na bc\n", "merge 0: expected a byte or a token of an earlier merge, found \"bc\""},
        {"#version: 0.2\nab c\na b\n", "merge 0: expected a byte or a token of an earlier merge, found \"ab\""},
        {"#version: 0.2\na b\nb c\na b\n", "merge 2: expected a new pair, found that of merge 0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Bpe *bpe = (Bpe *)1;
        assert_int_equal(bpe_from_text(rows[i].text, strlen(rows[i].text), &bpe), STATUS_BAD_INPUT);
        assert_null(bpe);
        if (!strstr(status_message(), rows[i].message))
            fail_msg("expected %s, found %s", rows[i].message, status_message());
        assert_null(strchr(status_message(), '\n'));
    }
    BpeMerges merges;
    assert_int_equal(bpe_merges_load("tests/fixtures/no such file", &merges), STATUS_IO);
    assert_int_equal(bpe_merges_load("tests", &merges), STATUS_IO);
    assert_int_equal(bpe_merges_load("tests/fixtures/tokenizer.json", &merges), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "tests/fixtures/tokenizer.json: merges, line 1"));
    assert_int_equal(bpe_merges_add(&merges, "a", 1, "", 0), STATUS_BAD_INPUT);
    const char *cut = write_cut_copy("tests/fixtures/tokenizer_vocab.bpe.gz", 1000);
    assert_int_equal(bpe_merges_load(cut, &merges), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "damaged gzip data"));
    remove(cut);
    bpe_merges_release(&merges);
}

static void test_unusual_merges(void **state)
{
    (void)state;
    Bpe *bpe;
    char *text;
    size_t count;
    int32_t ids[8];
    static const char none[] = "#version: 0.2\n", windows[] = "#version: 0.2\r\na b\r\n";
    OK(bpe_from_text(none, strlen(none), &bpe)); /* bytes only */
    assert_int_equal(bpe_vocab_size(bpe), 257);
    OK(bpe_encode(bpe, "a!\0", 3, ids, 8, &count));
    assert_int_equal(count, 3);
    assert_int_equal(ids[0], 64);
    assert_int_equal(ids[1], 0);
    assert_int_equal(ids[2], 188);
    static const int32_t bad[][2] = {{64, 257}, {-1, 0}};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bpe_decode(bpe, bad[i], 2, &text, NULL), STATUS_BAD_INPUT);
        assert_null(text);
    }
    bpe_free(bpe);
    bpe_free(NULL);

    OK(bpe_from_text(windows, strlen(windows), &bpe));
    assert_int_equal(bpe_vocab_size(bpe), 258);
    bpe_free(bpe);

    static const char twice[] = "#version: 0.2\nb c\na bc\na b\nab c\nabc d\n"; /* "abc" has two origins and one id */
    OK(bpe_from_text(twice, strlen(twice), &bpe));
    assert_int_equal(bpe_vocab_size(bpe), 256 + 4 + 1);
    OK(bpe_encode(bpe, "abcd", 4, ids, 8, &count));
    assert_int_equal(count, 1);
    assert_int_equal(ids[0], 259);
    bpe_free(bpe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocabulary),           cmocka_unit_test(test_fixture_cases),
        cmocka_unit_test(test_merging_against_twin), cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_long_texts),           cmocka_unit_test(test_shared_between_threads),
        cmocka_unit_test(test_wrong_merges),         cmocka_unit_test(test_unusual_merges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
