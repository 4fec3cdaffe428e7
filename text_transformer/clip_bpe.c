#include "text_transformer/clip_bpe.h"

#include "text_transformer/bpe_merger.h"
#include "text_transformer/bpe_merges.h"
#include "text_transformer/clip_clean.h"
#include "text_transformer/unicode.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { BYTES = 256, FIRST_MERGE = 2 * BYTES, LONG_S = 0x17f };

#define TITLE "#version: 0.2\n"

static const char word_end[] = "</w>", start_text[] = "<|startoftext|>", end_text[] = "<|endoftext|>";

/* Bytes, and whether they end a piece. */
typedef struct Token {
    const uint8_t *bytes;
    uint32_t size;
    bool ends;
} Token;

typedef struct Merge {
    Token made;
    uint32_t left_size;
} Merge;

struct ClipBpe {
    char *text;     /* clip_bpe_text() */
    uint8_t *bytes; /* of all merges */
    Merge *merges;  /* (rules.count), in rank order */
    uint32_t *by_token; /* (rules.count): ranks in the order of their tokens */
    BpeRules rules;
};

/* --- the file's lines --- */

/* "LEFT RIGHT" or "LEFT RIGHT</w>"; bytes has room for `size`. */
static Status parse_line(const char *line, size_t size, size_t number, uint8_t *bytes, Merge *merge)
{
    const char *space = memchr(line, ' ', size);
    size_t left = space ? (size_t)(space - line) : 0, right = space ? size - left - 1 : 0, end = sizeof word_end - 1;
    bool ends = right > end && !memcmp(line + size - end, word_end, end);
    uint32_t left_size = (uint32_t)bpe_symbols_to_bytes(line, left, bytes), right_size = 0;
    if (left_size) right_size = (uint32_t)bpe_symbols_to_bytes(space + 1, ends ? right - end : right, bytes + left_size);
    *merge = (Merge){{bytes, left_size + right_size, ends}, left_size};
    if (left_size && right_size) return STATUS_OK;
    char quote[48];
    return status_fail(STATUS_BAD_INPUT, "merges, line %zu: expected two words of byte symbols, found \"%s\"", number,
                       utf8_quote(line, size, quote, sizeof quote));
}

/* Lines after the title, up to the last that is used. */
static size_t count_lines(const char *text, size_t size)
{
    size_t count = 0;
    const char *end = memchr(text, '\n', size);
    for (size_t at = end ? (size_t)(end - text) + 1 : size; at < size && count < CLIP_BPE_MOST_MERGES; count++) {
        end = memchr(text + at, '\n', size - at);
        at = end ? (size_t)(end - text) + 1 : size;
    }
    return count;
}

static Status parse_lines(ClipBpe *bpe, const char *text, size_t size)
{
    const char *end = memchr(text, '\n', size);
    size_t at = end ? (size_t)(end - text) + 1 : size, used = 0, stored = sizeof TITLE - 1;
    memcpy(bpe->text, TITLE, stored);
    for (size_t i = 0; i < bpe->rules.count; i++) {
        end = memchr(text + at, '\n', size - at);
        size_t length = end ? (size_t)(end - text) - at : size - at;
        const char *line = text + at;
        at += length + 1;
        if (length && line[length - 1] == '\r') length--;
        TRY(parse_line(line, length, i + 2, bpe->bytes + used, &bpe->merges[i]));
        used += bpe->merges[i].made.size;
        memcpy(bpe->text + stored, line, length);
        bpe->text[stored + length] = '\n';
        stored += length + 1;
    }
    bpe->text[stored] = '\0';
    return STATUS_OK;
}

/* --- the vocabulary --- */

static int compare_tokens(const Token *a, const Token *b)
{
    if (a->size != b->size) return a->size < b->size ? -1 : 1;
    if (a->ends != b->ends) return a->ends ? 1 : -1;
    return memcmp(a->bytes, b->bytes, a->size);
}

static int compare_ranks(const void *a, const void *b, void *merges)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = compare_tokens(&((const Merge *)merges)[x].made, &((const Merge *)merges)[y].made);
    return order ? order : (x > y) - (x < y);
}

/* Id of the token; of several merges that make it, the last, as the reference has it. -1 when there is none. */
static int32_t find_token(const ClipBpe *bpe, const Token *token)
{
    if (token->size == 1) return bpe_byte_id(token->bytes[0]) + (token->ends ? BYTES : 0);
    size_t low = 0, high = bpe->rules.count; /* the first that is greater */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_tokens(&bpe->merges[bpe->by_token[middle]].made, token) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || compare_tokens(&bpe->merges[bpe->by_token[low - 1]].made, token) != 0) return -1;
    return FIRST_MERGE + (int32_t)bpe->by_token[low - 1];
}

static Status make_rules(ClipBpe *bpe)
{
    for (size_t i = 0; i < bpe->rules.count; i++) bpe->by_token[i] = (uint32_t)i;
    qsort_r(bpe->by_token, bpe->rules.count, sizeof *bpe->by_token, compare_ranks, bpe->merges);
    for (size_t i = 0; i < bpe->rules.count; i++) {
        const Merge *m = &bpe->merges[i];
        Token left = {m->made.bytes, m->left_size, false};
        Token right = {m->made.bytes + m->left_size, m->made.size - m->left_size, m->made.ends};
        BpeRule rule = {find_token(bpe, &left), find_token(bpe, &right), find_token(bpe, &m->made)};
        if (rule.left < 0 || rule.right < 0) {
            char quote[48];
            const Token *part = rule.left < 0 ? &left : &right;
            return status_fail(STATUS_BAD_INPUT, "merges, line %zu: \"%s\" is neither a byte nor what another merge makes", i + 2,
                               utf8_quote((const char *)part->bytes, part->size, quote, sizeof quote));
        }
        bpe->rules.items[i] = rule;
    }
    return bpe_rules_sort(&bpe->rules);
}

static Status fill(ClipBpe *bpe, const char *text, size_t size)
{
    size_t count = count_lines(text, size);
    if (!count) return status_fail(STATUS_BAD_INPUT, "merges: expected a title line and lines of two words below it");
    TRY(bpe_rules_init(&bpe->rules, count));
    bpe->text = malloc(size + sizeof TITLE + 1);
    bpe->bytes = malloc(size + 1);
    bpe->merges = calloc(count + 1, sizeof *bpe->merges);
    bpe->by_token = calloc(count + 1, sizeof *bpe->by_token);
    if (!bpe->text || !bpe->bytes || !bpe->merges || !bpe->by_token)
        return status_fail(STATUS_NO_MEMORY, "out of memory for a vocabulary of %zu merges", count);
    TRY(parse_lines(bpe, text, size));
    return make_rules(bpe);
}

Status clip_bpe_from_text(const char *text, size_t size, ClipBpe **out)
{
    *out = NULL;
    ClipBpe *bpe = calloc(1, sizeof *bpe);
    if (!bpe) return status_fail(STATUS_NO_MEMORY, "out of memory for a vocabulary");
    Status s = fill(bpe, text, size);
    if (s == STATUS_OK) *out = bpe;
    else clip_bpe_free(bpe);
    return s;
}

Status clip_bpe_from_file(const char *path, ClipBpe **out)
{
    char *text;
    size_t size;
    *out = NULL;
    TRY(bpe_read_text(path, &text, &size));
    Status s = clip_bpe_from_text(text, size, out);
    free(text);
    return s == STATUS_OK ? STATUS_OK : status_prefix(s, "%s", path);
}

void clip_bpe_free(ClipBpe *bpe)
{
    if (!bpe) return;
    free(bpe->text);
    free(bpe->bytes);
    free(bpe->merges);
    free(bpe->by_token);
    bpe_rules_release(&bpe->rules);
    free(bpe);
}

int32_t clip_bpe_start_token(const ClipBpe *bpe)
{
    return FIRST_MERGE + (int32_t)bpe->rules.count;
}

int32_t clip_bpe_end_token(const ClipBpe *bpe)
{
    return clip_bpe_start_token(bpe) + 1;
}

int32_t clip_bpe_vocab_size(const ClipBpe *bpe)
{
    return clip_bpe_end_token(bpe) + 1;
}

const char *clip_bpe_text(const ClipBpe *bpe)
{
    return bpe->text;
}

const char *clip_bpe_token_text(const ClipBpe *bpe, int32_t id, char *text, size_t room)
{
    assert(id >= 0 && id < clip_bpe_vocab_size(bpe) && room > 0);
    uint8_t byte = 0;
    Token token = {&byte, 1, id >= BYTES};
    if (id >= clip_bpe_start_token(bpe)) {
        snprintf(text, room, "%s", id == clip_bpe_end_token(bpe) ? end_text : start_text);
        return text;
    }
    if (id >= FIRST_MERGE) token = bpe->merges[id - FIRST_MERGE].made;
    else while (bpe_byte_id(byte) != id % BYTES) byte++;
    size_t used = 0;
    for (uint32_t i = 0; i < token.size && used + 4 < room; i++)
        used += (size_t)utf8proc_encode_char(bpe_byte_symbol(token.bytes[i]), (utf8proc_uint8_t *)text + used);
    snprintf(text + used, room - used, "%s", token.ends ? word_end : "");
    return text;
}

/* --- pieces --- */

/* The literal at the start of a lower-cased text, case ignored: how many bytes it takes there, 0 when it is not there. Only the
 * long s is a lower-case letter that equals another one. */
static size_t literal_size(const char *text, size_t size, const char *literal)
{
    size_t at = 0;
    for (; *literal; literal++) {
        if (at == size) return 0;
        int32_t c = utf8_next(text, size, &at);
        if (c != *literal && !(c == LONG_S && *literal == 's')) return 0;
    }
    return at;
}

static size_t piece_end(const char *text, size_t size, size_t start)
{
    static const char *const literals[] = {start_text, end_text, "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof literals / sizeof *literals; i++) {
        size_t taken = literal_size(text + start, size - start, literals[i]);
        if (taken) return start + taken;
    }
    size_t at = start;
    UnicodeClass class = unicode_class(utf8_next(text, size, &at));
    if (class == UNICODE_NUMBER || class == UNICODE_SPACE) return at;
    for (size_t next = at; at < size; at = next)
        if (unicode_class(utf8_next(text, size, &next)) != class) break;
    return at;
}

/* --- encoding --- */

static bool piece_is(const char *piece, size_t size, const char *text)
{
    return size == strlen(text) && !memcmp(piece, text, size);
}

static bool encode_piece(const ClipBpe *bpe, BpeMerger *m, const char *piece, size_t size, BpeSink *sink)
{
    if (piece_is(piece, size, start_text) || piece_is(piece, size, end_text)) {
        bpe_sink_put(sink, piece[2] == 's' ? clip_bpe_start_token(bpe) : clip_bpe_end_token(bpe));
        return true;
    }
    if (!bpe_merger_start(m, size)) return false;
    for (size_t i = 0; i < size; i++) m->ids[i] = bpe_byte_id((uint8_t)piece[i]) + (i + 1 == size ? BYTES : 0);
    return bpe_merger_emit(m, &bpe->rules, size, sink);
}

static Status encode(const ClipBpe *bpe, const char *text, size_t size, bool stop_when_full, BpeSink *sink)
{
    char *clean;
    size_t clean_size;
    BpeMerger merger = {0};
    TRY(clip_clean(text, size, &clean, &clean_size));
    Status s = STATUS_OK;
    for (size_t start = 0, end; start < clean_size && s == STATUS_OK; start = end) {
        if (stop_when_full && sink->count >= sink->capacity) break;
        end = piece_end(clean, clean_size, start);
        if (clean[start] == ' ') continue; /* the only white space that is left */
        if (!encode_piece(bpe, &merger, clean + start, end - start, sink))
            s = status_fail(STATUS_NO_MEMORY, "out of memory for the tokens of a text of %zu bytes", size);
    }
    bpe_merger_release(&merger);
    free(clean);
    return s;
}

Status clip_bpe_encode(const ClipBpe *bpe, const char *text, size_t size, int32_t *ids, size_t capacity, size_t *count)
{
    BpeSink sink = {.ids = ids, .capacity = capacity};
    Status s = encode(bpe, text, size, false, &sink);
    *count = s == STATUS_OK ? sink.count : 0;
    return s;
}

Status clip_bpe_encode_padded(const ClipBpe *bpe, const char *text, size_t size, int text_ctx, int32_t *tokens,
                              int32_t *length)
{
    assert(text_ctx >= 2);
    BpeSink sink = {.ids = tokens + 1, .capacity = (size_t)text_ctx - 2};
    TRY(encode(bpe, text, size, true, &sink));
    size_t count = sink.count < sink.capacity ? sink.count : sink.capacity;
    tokens[0] = clip_bpe_start_token(bpe);
    tokens[1 + count] = clip_bpe_end_token(bpe);
    for (size_t i = count + 2; i < (size_t)text_ctx; i++) tokens[i] = 0;
    *length = (int32_t)count + 2;
    return STATUS_OK;
}
