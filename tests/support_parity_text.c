/* Parity of the tokenizer: tokenizer.json, the official tables beside it, and the Unicode tables. */
#include "tests/support_parity.h"
#include "text_transformer/clip_bpe.h"
#include "text_transformer/unicode.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* --- JSON --- */

static Status open_json(Parity *p, const char *name, json_t **out)
{
    json_error_t error;
    const char *path = parity_path(p, name);
    *out = json_load_file(path, 0, &error);
    if (*out) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: line %d: %s", path, error.line, error.text);
}

static Status bad_field(Parity *p, const char *file, const char *name, const char *expected)
{
    return status_fail(STATUS_BAD_INPUT, "%s: %s: expected %s", parity_path(p, file), name, expected);
}

static Status get_list(Parity *p, const char *file, const json_t *object, const char *name, const json_t **out)
{
    *out = json_object_get(object, name);
    return json_is_array(*out) ? STATUS_OK : bad_field(p, file, name, "a list");
}

static Status get_whole(Parity *p, const char *file, const json_t *object, const char *name, int64_t *out)
{
    const json_t *value = json_object_get(object, name);
    *out = json_integer_value(value);
    return json_is_integer(value) ? STATUS_OK : bad_field(p, file, name, "a whole number");
}

typedef struct Bytes {
    char *data; /* NUL-terminated */
    size_t size;
} Bytes;

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static Status from_hex(Parity *p, const char *file, const json_t *text, const char *name, Bytes *out)
{
    const char *hex = json_string_value(text);
    size_t length = hex ? strlen(hex) : 1;
    if (length % 2) return bad_field(p, file, name, "bytes in hex");
    *out = (Bytes){parity_alloc(p, (int64_t)length / 2, 1), length / 2};
    for (size_t i = 0; i < out->size; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
        if (high < 0 || low < 0) return bad_field(p, file, name, "bytes in hex");
        out->data[i] = (char)(high * 16 + low);
    }
    return STATUS_OK;
}

/* --- counting --- */

/* One item over many cases. */
typedef struct Tally {
    int64_t wrong, count;
    const char *first;
} Tally;

static void tally(Parity *p, Tally *t, bool same, const char *about)
{
    t->count++;
    if (same) return;
    if (!t->wrong++) t->first = parity_text(p, "first: %s", about);
}

static bool same_bytes(const Bytes *expected, const void *found, size_t size)
{
    return expected->size == size && !memcmp(expected->data, found, size);
}

static bool same_ids(const json_t *list, const int32_t *ids, size_t count)
{
    bool same = json_array_size(list) == count;
    for (size_t i = 0; i < count && same; i++) same = ids[i] == json_integer_value(json_array_get(list, i));
    return same;
}

/* --- the tokenizer --- */

static Status load_merges(Parity *p, const char *file, const json_t *root, BpeMerges *merges)
{
    const json_t *list;
    TRY(get_list(p, file, root, "merges", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i);
        Bytes left, right;
        TRY(from_hex(p, file, json_array_get(pair, 0), "merges", &left));
        TRY(from_hex(p, file, json_array_get(pair, 1), "merges", &right));
        TRY(bpe_merges_add(merges, left.data, left.size, right.data, right.size));
    }
    return STATUS_OK;
}

static Status load_bpe(Parity *p, const char *file, const json_t *root, Bpe **out)
{
    BpeMerges merges;
    bpe_merges_init(&merges);
    Status s = load_merges(p, file, root, &merges);
    if (s == STATUS_OK) s = bpe_new(&merges, out);
    bpe_merges_release(&merges);
    return s;
}

static Status check_vocabulary(Parity *p, const char *file, const json_t *root, const Bpe *bpe)
{
    int64_t n_vocab, end;
    const json_t *vocab;
    Tally t = {0};
    TRY(get_whole(p, file, root, "n_vocab", &n_vocab));
    TRY(get_whole(p, file, root, "end_token", &end));
    TRY(get_list(p, file, root, "vocab", &vocab));
    tally(p, &t, n_vocab == bpe_vocab_size(bpe), "n_vocab");
    tally(p, &t, end == bpe_end_token(bpe), "end_token");
    tally(p, &t, (int64_t)json_array_size(vocab) == bpe_vocab_size(bpe), "size of vocab");
    for (int32_t i = 0; i < bpe_vocab_size(bpe) && (size_t)i < json_array_size(vocab); i++) {
        Bytes expected;
        size_t size;
        TRY(from_hex(p, file, json_array_get(vocab, (size_t)i), "vocab", &expected));
        const uint8_t *found = bpe_token_bytes(bpe, i, &size);
        tally(p, &t, same_bytes(&expected, found, size), parity_text(p, "token %d", i));
    }
    parity_exact(p, parity_text(p, "%s vocab", file), t.wrong, t.count, t.first);
    return STATUS_OK;
}

typedef struct CaseTallies {
    Tally lower, pieces, ids, padded, mask;
} CaseTallies;

/* expected: the list of pieces in hex */
static Status check_pieces(Parity *p, const char *file, const json_t *expected, const char *lower, size_t size, bool *same)
{
    size_t n = 0;
    *same = true;
    for (size_t start = 0, end; start < size; start = end, n++) {
        Bytes piece;
        end = bpe_piece_end(lower, size, start);
        if (n >= json_array_size(expected)) continue;
        TRY(from_hex(p, file, json_array_get(expected, n), "pieces", &piece));
        *same = *same && same_bytes(&piece, lower + start, end - start);
    }
    *same = *same && n == json_array_size(expected);
    return STATUS_OK;
}

static Status check_case(Parity *p, const char *file, const json_t *test, const Bpe *bpe, int ctx, CaseTallies *t)
{
    const json_t *pieces, *ids, *padded, *mask;
    Bytes text, lower;
    char *found;
    size_t size, count;
    bool same;
    TRY(from_hex(p, file, json_object_get(test, "text"), "text", &text));
    TRY(from_hex(p, file, json_object_get(test, "lower"), "lower", &lower));
    TRY(get_list(p, file, test, "pieces", &pieces));
    TRY(get_list(p, file, test, "ids", &ids));
    TRY(get_list(p, file, test, "padded", &padded));
    TRY(get_list(p, file, test, "mask", &mask));
    const char *about = parity_text(p, "\"%.40s\"", text.data);
    TRY(utf8_lower(text.data, text.size, &found, &size));
    parity_keep(p, found);
    tally(p, &t->lower, same_bytes(&lower, found, size), about);
    TRY(check_pieces(p, file, pieces, found, size, &same));
    tally(p, &t->pieces, same, about);

    int32_t *tokens = parity_alloc(p, 3 * (int64_t)text.size + ctx, sizeof *tokens);
    uint8_t *ones = parity_alloc(p, ctx, 1);
    TRY(bpe_encode(bpe, text.data, text.size, tokens, 3 * text.size, &count));
    tally(p, &t->ids, same_ids(ids, tokens, count), about);
    TRY(bpe_encode_padded(bpe, text.data, text.size, ctx, tokens, ones));
    tally(p, &t->padded, same_ids(padded, tokens, (size_t)ctx), about);
    for (int i = 0; i < ctx; i++) tokens[i] = ones[i];
    tally(p, &t->mask, same_ids(mask, tokens, (size_t)ctx), about);
    return STATUS_OK;
}

static Status check_cases(Parity *p, const char *file, const json_t *root, const Bpe *bpe)
{
    const json_t *cases;
    int64_t ctx;
    CaseTallies t = {0};
    TRY(get_list(p, file, root, "cases", &cases));
    TRY(get_whole(p, file, root, "ctx", &ctx));
    if (ctx < 1 || ctx > 1 << 20) return bad_field(p, file, "ctx", "a context length");
    for (size_t i = 0; i < json_array_size(cases); i++)
        TRY(check_case(p, file, json_array_get(cases, i), bpe, (int)ctx, &t));
    parity_exact(p, parity_text(p, "%s lower", file), t.lower.wrong, t.lower.count, t.lower.first);
    parity_exact(p, parity_text(p, "%s pieces", file), t.pieces.wrong, t.pieces.count, t.pieces.first);
    parity_exact(p, parity_text(p, "%s ids", file), t.ids.wrong, t.ids.count, t.ids.first);
    parity_exact(p, parity_text(p, "%s padded", file), t.padded.wrong, t.padded.count, t.padded.first);
    parity_exact(p, parity_text(p, "%s mask", file), t.mask.wrong, t.mask.count, t.mask.first);
    return STATUS_OK;
}

static Status check_decode(Parity *p, const char *file, const json_t *root, const Bpe *bpe)
{
    const json_t *cases, *list;
    Tally t = {0};
    TRY(get_list(p, file, root, "decode_cases", &cases));
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *test = json_array_get(cases, i);
        Bytes expected;
        char *found;
        size_t size;
        TRY(get_list(p, file, test, "ids", &list));
        TRY(from_hex(p, file, json_object_get(test, "text"), "text", &expected));
        int32_t *ids = parity_alloc(p, (int64_t)json_array_size(list), sizeof *ids);
        for (size_t j = 0; j < json_array_size(list); j++) ids[j] = (int32_t)json_integer_value(json_array_get(list, j));
        TRY(bpe_decode(bpe, ids, json_array_size(list), &found, &size));
        parity_keep(p, found);
        tally(p, &t, same_bytes(&expected, found, size), parity_text(p, "\"%.40s\"", expected.data));
    }
    parity_exact(p, parity_text(p, "%s decode", file), t.wrong, t.count, t.first);
    return STATUS_OK;
}

static Status check_tokenizer(Parity *p, const char *file, const json_t *root, const Bpe *bpe)
{
    TRY(check_vocabulary(p, file, root, bpe));
    TRY(check_cases(p, file, root, bpe));
    return check_decode(p, file, root, bpe);
}

Status parity_tokenizer(Parity *p, const char *name)
{
    json_t *root;
    Bpe *bpe = NULL;
    TRY(open_json(p, name, &root));
    Status s = load_bpe(p, name, root, &bpe);
    if (s == STATUS_OK) s = check_tokenizer(p, name, root, bpe);
    bpe_free(bpe);
    json_decref(root);
    return s;
}

Status parity_merges(Parity *p, const char *name, const char *tokenizer)
{
    json_t *root;
    BpeMerges ours, official;
    char *a = NULL, *b = NULL;
    bpe_merges_init(&ours);
    bpe_merges_init(&official);
    TRY(open_json(p, tokenizer, &root));
    Status s = load_merges(p, tokenizer, root, &ours);
    if (s == STATUS_OK) s = bpe_merges_load(parity_path(p, name), &official);
    if (s == STATUS_OK) s = bpe_merges_text(&ours, &a, NULL);
    if (s == STATUS_OK) s = bpe_merges_text(&official, &b, NULL);
    if (s == STATUS_OK) parity_exact(p, parity_text(p, "%s merges", name), strcmp(a, b) != 0, (int64_t)ours.count, NULL);
    free(a);
    free(b);
    bpe_merges_release(&ours);
    bpe_merges_release(&official);
    json_decref(root);
    return s;
}

/* --- CLIP's tokenizer --- */

/* The JSON's merges as a text of the official format, which has one reader. */
static Status clip_merges_text(Parity *p, const char *file, const json_t *root, char **out, size_t *size)
{
    const json_t *list;
    TRY(get_list(p, file, root, "merges", &list));
    FILE *f = open_memstream(out, size);
    if (!f) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", file);
    Status s = STATUS_OK;
    fputs("title\n", f);
    for (size_t i = 0; i < json_array_size(list) && s == STATUS_OK; i++) {
        Bytes left = {0}, right = {0};
        s = from_hex(p, file, json_array_get(json_array_get(list, i), 0), "merges", &left);
        if (s == STATUS_OK) s = from_hex(p, file, json_array_get(json_array_get(list, i), 1), "merges", &right);
        if (s == STATUS_OK) fprintf(f, "%s %s\n", left.data, right.data);
    }
    if (fclose(f) == 0 && s == STATUS_OK) return STATUS_OK;
    free(*out);
    return s == STATUS_OK ? status_fail(STATUS_NO_MEMORY, "%s: out of memory", file) : s;
}

static Status check_clip_vocabulary(Parity *p, const char *file, const json_t *root, const ClipBpe *bpe)
{
    int64_t n_vocab, start, end;
    const json_t *vocab;
    Tally t = {0};
    TRY(get_whole(p, file, root, "n_vocab", &n_vocab));
    TRY(get_whole(p, file, root, "start_token", &start));
    TRY(get_whole(p, file, root, "end_token", &end));
    TRY(get_list(p, file, root, "vocab", &vocab));
    tally(p, &t, n_vocab == clip_bpe_vocab_size(bpe), "n_vocab");
    tally(p, &t, start == clip_bpe_start_token(bpe), "start_token");
    tally(p, &t, end == clip_bpe_end_token(bpe), "end_token");
    tally(p, &t, (int64_t)json_array_size(vocab) == clip_bpe_vocab_size(bpe), "size of vocab");
    for (int32_t i = 0; i < clip_bpe_vocab_size(bpe) && (size_t)i < json_array_size(vocab); i++) {
        Bytes expected;
        char found[512];
        TRY(from_hex(p, file, json_array_get(vocab, (size_t)i), "vocab", &expected));
        clip_bpe_token_text(bpe, i, found, sizeof found);
        tally(p, &t, same_bytes(&expected, found, strlen(found)), parity_text(p, "token %d", i));
    }
    parity_exact(p, parity_text(p, "%s vocab", file), t.wrong, t.count, t.first);
    return STATUS_OK;
}

static Status check_clip_cases(Parity *p, const char *file, const json_t *root, const ClipBpe *bpe)
{
    const json_t *cases;
    int64_t ctx;
    Tally ids = {0}, padded = {0}, len = {0};
    TRY(get_list(p, file, root, "cases", &cases));
    TRY(get_whole(p, file, root, "ctx", &ctx));
    if (ctx < 2 || ctx > 1 << 20) return bad_field(p, file, "ctx", "a context length");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *test = json_array_get(cases, i), *expected_ids, *expected_padded;
        Bytes text;
        size_t count;
        int64_t expected_length;
        int32_t length;
        TRY(from_hex(p, file, json_object_get(test, "text"), "text", &text));
        TRY(get_list(p, file, test, "ids", &expected_ids));
        TRY(get_list(p, file, test, "padded", &expected_padded));
        TRY(get_whole(p, file, test, "len", &expected_length));
        const char *about = parity_text(p, "\"%.40s\"", text.data);
        int64_t room = 8 * (int64_t)text.size + ctx;
        int32_t *tokens = parity_alloc(p, room, sizeof *tokens);
        TRY(clip_bpe_encode(bpe, text.data, text.size, tokens, (size_t)room, &count));
        tally(p, &ids, count <= (size_t)room && same_ids(expected_ids, tokens, count), about);
        TRY(clip_bpe_encode_padded(bpe, text.data, text.size, (int)ctx, tokens, &length));
        tally(p, &padded, same_ids(expected_padded, tokens, (size_t)ctx), about);
        tally(p, &len, length == expected_length, about);
    }
    parity_exact(p, parity_text(p, "%s ids", file), ids.wrong, ids.count, ids.first);
    parity_exact(p, parity_text(p, "%s padded", file), padded.wrong, padded.count, padded.first);
    parity_exact(p, parity_text(p, "%s len", file), len.wrong, len.count, len.first);
    return STATUS_OK;
}

static Status check_clip_tokenizer(Parity *p, const char *file, const json_t *root)
{
    static const char official[] = "clip_bpe.txt.gz";
    ClipBpe *bpe = NULL, *other = NULL;
    char *text;
    size_t size;
    TRY(clip_merges_text(p, file, root, &text, &size));
    Status s = clip_bpe_from_text(text, size, &bpe);
    free(text);
    TRY(s);
    s = check_clip_vocabulary(p, file, root, bpe);
    if (s == STATUS_OK) s = check_clip_cases(p, file, root, bpe);
    if (s == STATUS_OK && parity_has(p, official)) {
        s = clip_bpe_from_file(parity_path(p, official), &other);
        if (s == STATUS_OK) parity_exact(p, parity_text(p, "%s merges", official), strcmp(clip_bpe_text(bpe), clip_bpe_text(other)) != 0,
                                         clip_bpe_vocab_size(bpe) - 514, NULL);
    }
    clip_bpe_free(other);
    clip_bpe_free(bpe);
    return s;
}

Status parity_clip_tokenizer(Parity *p, const char *name)
{
    json_t *root;
    TRY(open_json(p, name, &root));
    Status s = check_clip_tokenizer(p, name, root);
    json_decref(root);
    return s;
}

/* --- Unicode tables --- */

enum { UNICODE_END = 0x110000 };

static Status mark_ranges(Parity *p, const char *file, const json_t *root, const char *name, uint8_t *marks, uint8_t mark)
{
    const json_t *ranges;
    TRY(get_list(p, file, root, name, &ranges));
    for (size_t i = 0; i < json_array_size(ranges); i++) {
        const json_t *range = json_array_get(ranges, i);
        json_int_t first = json_integer_value(json_array_get(range, 0)), last = json_integer_value(json_array_get(range, 1));
        if (first < 0 || last >= UNICODE_END) return bad_field(p, file, name, "code points");
        for (json_int_t c = first; c <= last; c++) marks[c] = mark;
    }
    return STATUS_OK;
}

static Status mark_lower(Parity *p, const char *file, const json_t *root, int32_t (*lower)[2])
{
    const json_t *rows;
    for (int32_t c = 0; c < UNICODE_END; c++) lower[c][0] = c;
    TRY(get_list(p, file, root, "lower", &rows));
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        json_int_t c = json_integer_value(json_array_get(row, 0));
        size_t n = json_array_size(row);
        if (c < 0 || c >= UNICODE_END || n < 2 || n > 3) return bad_field(p, file, "lower", "code points");
        for (size_t j = 1; j < n; j++) lower[c][j - 1] = (int32_t)json_integer_value(json_array_get(row, j));
    }
    return STATUS_OK;
}

/* A utf8proc newer than 2.8 knows characters of which the tables say nothing; all that they say must still hold. */
static bool unknown_to_tables(uint8_t class, uint8_t letter_case, const int32_t *lower, int32_t c)
{
    return class == UNICODE_OTHER && letter_case == UNICODE_UNCASED && lower[0] == c;
}

static Status check_unicode(Parity *p, const char *file, const json_t *root)
{
    uint8_t *classes = parity_alloc(p, UNICODE_END, 1), *cases = parity_alloc(p, UNICODE_END, 1);
    int32_t(*lowers)[2] = parity_alloc(p, UNICODE_END, sizeof *lowers);
    bool newer = strncmp(utf8proc_unicode_version(), "15.0", 4) != 0;
    Tally class = {0}, letter_case = {0}, lower = {0};
    memset(classes, UNICODE_OTHER, UNICODE_END);
    memset(cases, UNICODE_UNCASED, UNICODE_END);
    TRY(mark_ranges(p, file, root, "letter", classes, UNICODE_LETTER));
    TRY(mark_ranges(p, file, root, "number", classes, UNICODE_NUMBER));
    TRY(mark_ranges(p, file, root, "space", classes, UNICODE_SPACE));
    TRY(mark_ranges(p, file, root, "cased_not_ignorable", cases, UNICODE_CASED));
    TRY(mark_ranges(p, file, root, "case_ignorable", cases, UNICODE_CASE_IGNORABLE));
    TRY(mark_lower(p, file, root, lowers));
    for (int32_t c = 0; c < UNICODE_END; c++) {
        int32_t found[2] = {0};
        char about[16];
        if (newer && unknown_to_tables(classes[c], cases[c], lowers[c], c)) continue;
        snprintf(about, sizeof about, "U+%04X", c);
        if (unicode_lower(c, found) == 1) found[1] = 0;
        tally(p, &class, unicode_class(c) == classes[c], about);
        tally(p, &letter_case, unicode_case(c) == cases[c], about);
        tally(p, &lower, found[0] == lowers[c][0] && found[1] == lowers[c][1], about);
    }
    parity_exact(p, parity_text(p, "%s classes", file), class.wrong, class.count, class.first);
    parity_exact(p, parity_text(p, "%s cases", file), letter_case.wrong, letter_case.count, letter_case.first);
    parity_exact(p, parity_text(p, "%s lower", file), lower.wrong, lower.count, lower.first);
    return STATUS_OK;
}

Status parity_unicode(Parity *p, const char *name)
{
    json_t *root;
    TRY(open_json(p, name, &root));
    Status s = check_unicode(p, name, root);
    json_decref(root);
    return s;
}
