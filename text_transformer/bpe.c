#include "text_transformer/bpe.h"

#include "text_transformer/bpe_merger.h"
#include "text_transformer/unicode.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SINGLE_BYTES 256
#define MAX_MERGES   ((size_t)1 << 24)

static const char end_token_text[] = "<|endoftext|>";

typedef struct Token {
    const uint8_t *bytes; /* in Bpe.merges, Bpe.single or end_token_text */
    uint32_t size;
} Token;

struct Bpe {
    BpeMerges merges;
    uint8_t single[SINGLE_BYTES]; /* the byte of each id */
    Token *tokens;                /* (n_vocab) */
    BpeRules rules;               /* (merges) */
    int32_t n_vocab;
};

/* --- making one --- */

/* A merge's token and which merge made it, to find tokens by their bytes while the ids are given out. */
typedef struct Made {
    const uint8_t *bytes;
    size_t size, rank;
} Made;

static int compare_bytes(const Made *a, const Made *b)
{
    if (a->size != b->size) return a->size < b->size ? -1 : 1;
    return memcmp(a->bytes, b->bytes, a->size);
}

static int compare_made(const void *a, const void *b)
{
    const Made *x = a, *y = b;
    int order = compare_bytes(x, y);
    return order ? order : (x->rank > y->rank) - (x->rank < y->rank);
}

/* Id of the token with these bytes among the single bytes and the merges before `rank`; -1 when there is none. */
static int32_t find_token(const Bpe *bpe, const Made *made, const uint8_t *bytes, size_t size, size_t rank)
{
    if (size == 1) return bpe_byte_id(bytes[0]);
    Made wanted = {bytes, size, 0};
    size_t low = 0, high = bpe->merges.count; /* the first that is not less: the earliest of equal ones */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_bytes(&made[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == bpe->merges.count || compare_bytes(&made[low], &wanted) != 0 || made[low].rank >= rank) return -1;
    return bpe->rules.items[made[low].rank].made;
}

static Status fail_unknown_part(size_t rank, const uint8_t *bytes, size_t size)
{
    char quote[48];
    return status_fail(STATUS_BAD_INPUT, "merge %zu: expected a byte or a token of an earlier merge, found \"%s\"",
                       rank, utf8_quote((const char *)bytes, size, quote, sizeof quote));
}

static Status add_rule(Bpe *bpe, const Made *made, size_t rank)
{
    const BpeMerge *merge = &bpe->merges.items[rank];
    size_t size = (size_t)merge->left_size + merge->right_size;
    const uint8_t *right_bytes = merge->bytes + merge->left_size;
    int32_t left = find_token(bpe, made, merge->bytes, merge->left_size, rank);
    if (left < 0) return fail_unknown_part(rank, merge->bytes, merge->left_size);
    int32_t right = find_token(bpe, made, right_bytes, merge->right_size, rank);
    if (right < 0) return fail_unknown_part(rank, right_bytes, merge->right_size);
    int32_t id = find_token(bpe, made, merge->bytes, size, rank);
    if (id < 0) {
        id = bpe->n_vocab++;
        bpe->tokens[id] = (Token){merge->bytes, (uint32_t)size};
    }
    bpe->rules.items[rank] = (BpeRule){left, right, id};
    return STATUS_OK;
}

static Status add_rules(Bpe *bpe, Made *made)
{
    size_t count = bpe->merges.count;
    for (size_t i = 0; i < count; i++) {
        const BpeMerge *merge = &bpe->merges.items[i];
        made[i] = (Made){merge->bytes, (size_t)merge->left_size + merge->right_size, i};
    }
    qsort(made, count, sizeof *made, compare_made);
    for (size_t i = 0; i < count; i++) TRY(add_rule(bpe, made, i));
    return bpe_rules_sort(&bpe->rules);
}

static Status fill(Bpe *bpe, const BpeMerges *merges)
{
    size_t count = merges->count;
    if (count > MAX_MERGES)
        return status_fail(STATUS_BAD_INPUT, "merges: expected at most %zu, found %zu", MAX_MERGES, count);
    for (size_t i = 0; i < count; i++) {
        const BpeMerge *merge = &merges->items[i];
        TRY(bpe_merges_add(&bpe->merges, merge->bytes, merge->left_size, merge->bytes + merge->left_size,
                           merge->right_size));
    }
    TRY(bpe_rules_init(&bpe->rules, count));
    bpe->tokens = calloc(SINGLE_BYTES + count + 1, sizeof *bpe->tokens);
    Made *made = calloc(count + 1, sizeof *made);
    if (!bpe->tokens || !made) {
        free(made);
        return status_fail(STATUS_NO_MEMORY, "out of memory for a vocabulary of %zu merges", count);
    }
    for (int byte = 0; byte < SINGLE_BYTES; byte++) {
        int32_t id = bpe_byte_id((uint8_t)byte);
        bpe->single[id] = (uint8_t)byte;
        bpe->tokens[id] = (Token){&bpe->single[id], 1};
    }
    bpe->n_vocab = SINGLE_BYTES;
    Status status = add_rules(bpe, made);
    bpe->tokens[bpe->n_vocab++] = (Token){(const uint8_t *)end_token_text, sizeof end_token_text - 1};
    free(made);
    return status;
}

Status bpe_new(const BpeMerges *merges, Bpe **out)
{
    *out = NULL;
    Bpe *bpe = calloc(1, sizeof *bpe);
    if (!bpe) return status_fail(STATUS_NO_MEMORY, "out of memory for a vocabulary");
    Status status = fill(bpe, merges);
    if (status == STATUS_OK)
        *out = bpe;
    else
        bpe_free(bpe);
    return status;
}

Status bpe_from_text(const char *merges_text, size_t size, Bpe **out)
{
    *out = NULL;
    BpeMerges merges;
    TRY(bpe_merges_parse(merges_text, size, &merges));
    Status status = bpe_new(&merges, out);
    bpe_merges_release(&merges);
    return status;
}

void bpe_free(Bpe *bpe)
{
    if (!bpe) return;
    bpe_merges_release(&bpe->merges);
    free(bpe->tokens);
    bpe_rules_release(&bpe->rules);
    free(bpe);
}

int32_t bpe_vocab_size(const Bpe *bpe)
{
    return bpe->n_vocab;
}

int32_t bpe_end_token(const Bpe *bpe)
{
    return bpe->n_vocab - 1;
}

const BpeMerges *bpe_merges(const Bpe *bpe)
{
    return &bpe->merges;
}

const uint8_t *bpe_token_bytes(const Bpe *bpe, int32_t id, size_t *size)
{
    assert(id >= 0 && id < bpe->n_vocab);
    *size = bpe->tokens[id].size;
    return bpe->tokens[id].bytes;
}

/* --- pieces --- */

static size_t contraction_size(const char *text, size_t left)
{
    static const char *const endings[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    if (text[0] != '\'') return 0;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t size = strlen(endings[i]);
        if (size < left && memcmp(text + 1, endings[i], size) == 0) return 1 + size;
    }
    return 0;
}

static UnicodeClass next_class(const char *text, size_t size, size_t *at)
{
    return unicode_class(utf8_next(text, size, at));
}

/* \s+(?!\S)|\s+ : a run at the end of the text is one piece; before a word its last character is left to the word
 * (which takes it if it is a plain space, else it stands alone). */
static size_t space_end(const char *text, size_t size, size_t start)
{
    size_t last = start, end = start;
    for (size_t next = start; end < size; last = end, end = next)
        if (next_class(text, size, &next) != UNICODE_SPACE) return last > start ? last : end;
    return end;
}

size_t bpe_piece_end(const char *text, size_t size, size_t start)
{
    size_t at = start, contraction = contraction_size(text + start, size - start);
    if (contraction) return start + contraction;

    UnicodeClass class = next_class(text, size, &at);
    if (text[start] == ' ' && at < size) class = next_class(text, size, &at); /* the optional space before a word */
    if (class == UNICODE_SPACE) return space_end(text, size, start);
    for (size_t next = at; at < size; at = next)
        if (next_class(text, size, &next) != class) break;
    return at;
}

/* --- merging --- */

static bool encode_piece(const Bpe *bpe, BpeMerger *m, const uint8_t *piece, size_t size, BpeSink *sink)
{
    if (!bpe_merger_start(m, size)) return false;
    for (size_t i = 0; i < size; i++) m->ids[i] = bpe_byte_id(piece[i]);
    return bpe_merger_emit(m, &bpe->rules, size, sink);
}

/* Pieces are independent, so an encoder of a fixed length may stop once that is reached. */
static Status encode(const Bpe *bpe, const char *text, size_t size, bool stop_when_full, BpeSink *sink)
{
    char *lower;
    size_t lower_size;
    TRY(utf8_lower(text, size, &lower, &lower_size));
    BpeMerger merger = {0};
    Status status = STATUS_OK;
    for (size_t start = 0, end; start < lower_size && status == STATUS_OK; start = end) {
        if (stop_when_full && sink->count >= sink->capacity) break;
        end = bpe_piece_end(lower, lower_size, start);
        if (!encode_piece(bpe, &merger, (const uint8_t *)lower + start, end - start, sink))
            status = status_fail(STATUS_NO_MEMORY, "out of memory for the tokens of a text of %zu bytes", size);
    }
    bpe_merger_release(&merger);
    free(lower);
    return status;
}

Status bpe_encode(const Bpe *bpe, const char *text, size_t size, int32_t *ids, size_t capacity, size_t *count)
{
    BpeSink sink = {.ids = ids, .capacity = capacity};
    Status status = encode(bpe, text, size, false, &sink);
    *count = status == STATUS_OK ? sink.count : 0;
    return status;
}

Status bpe_encode_padded(const Bpe *bpe, const char *text, size_t size, int text_ctx, int32_t *tokens, uint8_t *mask)
{
    assert(text_ctx > 0);
    BpeSink sink = {.ids = tokens, .capacity = (size_t)text_ctx};
    TRY(encode(bpe, text, size, true, &sink));
    for (size_t i = 0; i < sink.capacity; i++) {
        mask[i] = i < sink.count;
        if (!mask[i]) tokens[i] = bpe_end_token(bpe);
    }
    return STATUS_OK;
}

Status bpe_decode(const Bpe *bpe, const int32_t *ids, size_t count, char **text, size_t *size)
{
    *text = NULL;
    size_t total = 0, used = 0;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= bpe->n_vocab)
            return status_fail(STATUS_BAD_INPUT, "token %zu: expected an id in [0,%d), found %d", i, bpe->n_vocab,
                               ids[i]);
        total += bpe->tokens[ids[i]].size;
    }
    char *bytes = malloc(total + 1);
    if (!bytes) return status_fail(STATUS_NO_MEMORY, "out of memory for the text of %zu tokens", count);
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes + used, bpe->tokens[ids[i]].bytes, bpe->tokens[ids[i]].size);
        used += bpe->tokens[ids[i]].size;
    }
    Status status = utf8_repair(bytes, total, text, size);
    free(bytes);
    return status;
}
