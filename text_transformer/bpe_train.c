#include "text_transformer/bpe_train.h"

#include "text_transformer/bpe.h"
#include "text_transformer/bpe_util.h"
#include "text_transformer/unicode.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SINGLE_BYTES 256

typedef struct Piece {
    const char *bytes; /* in one of Trainer.lower */
    size_t size;
    uint64_t count;
} Piece;

typedef struct Word { /* a distinct piece as tokens */
    size_t start;     /* in Trainer.tokens */
    uint32_t size;    /* tokens; shrinks as they are merged */
    uint64_t count;
} Word;

typedef struct PairStat {
    int32_t left, right;
    uint64_t count;
    uint32_t *words; /* where it was found at some time; may hold words that have lost it, and a word twice */
    size_t n_words, words_capacity;
} PairStat;

typedef struct Trainer {
    char **lower; /* (n_texts) */
    size_t n_texts;
    Piece *pieces;
    size_t n_pieces, pieces_capacity;
    Word *words;
    size_t n_words;
    int32_t *tokens;
    PairStat *pairs;
    size_t n_pairs, pairs_capacity;
    uint32_t *slots; /* hash table: index into pairs + 1, 0 when free; n_slots is a power of two */
    size_t n_slots;
    Heap heap; /* (~count, key) of pairs; a count may have fallen since: see next_pair() */
    uint8_t single[SINGLE_BYTES];
} Trainer;

/* --- captions to words --- */

static Status add_text(Trainer *t, const char *text, uint64_t count)
{
    size_t size;
    TRY(utf8_lower(text, strlen(text), &t->lower[t->n_texts], &size));
    const char *lower = t->lower[t->n_texts++];
    for (size_t start = 0, end; start < size; start = end) {
        end = bpe_piece_end(lower, size, start);
        if (!array_reserve(&t->pieces, &t->pieces_capacity, t->n_pieces + 1))
            return status_fail(STATUS_NO_MEMORY, "out of memory for the words of the captions");
        t->pieces[t->n_pieces++] = (Piece){lower + start, end - start, count};
    }
    return STATUS_OK;
}

static int compare_pieces(const void *a, const void *b)
{
    const Piece *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return memcmp(x->bytes, y->bytes, x->size);
}

/* Make equal pieces one, and see that no count of pairs can overflow. *bytes: of the distinct pieces. */
static Status unite_pieces(Trainer *t, size_t *bytes)
{
    if (t->n_pieces) qsort(t->pieces, t->n_pieces, sizeof *t->pieces, compare_pieces);
    size_t kept = 0;
    uint64_t total = 0;
    *bytes = 0;
    for (size_t i = 0; i < t->n_pieces; i++) {
        uint64_t weight;
        if (__builtin_mul_overflow(t->pieces[i].count, t->pieces[i].size, &weight) ||
            __builtin_add_overflow(total, weight, &total))
            return status_fail(STATUS_BAD_INPUT, "captions: counts times lengths do not fit 64 bits");
        if (kept && compare_pieces(&t->pieces[kept - 1], &t->pieces[i]) == 0) {
            t->pieces[kept - 1].count += t->pieces[i].count;
        } else {
            *bytes += t->pieces[i].size;
            t->pieces[kept++] = t->pieces[i];
        }
    }
    t->n_pieces = kept;
    if (kept >= UINT32_MAX) return status_fail(STATUS_BAD_INPUT, "captions: %zu different words are too many", kept);
    return STATUS_OK;
}

static Status pieces_to_words(Trainer *t)
{
    size_t bytes;
    TRY(unite_pieces(t, &bytes));
    t->words = calloc(t->n_pieces + 1, sizeof *t->words);
    t->tokens = calloc(bytes + 1, sizeof *t->tokens);
    if (!t->words || !t->tokens) return status_fail(STATUS_NO_MEMORY, "out of memory for %zu words", t->n_pieces);
    size_t used = 0;
    for (size_t i = 0; i < t->n_pieces; i++) {
        const Piece *piece = &t->pieces[i];
        t->words[t->n_words++] = (Word){used, (uint32_t)piece->size, piece->count};
        for (size_t k = 0; k < piece->size; k++) t->tokens[used++] = bpe_byte_id((uint8_t)piece->bytes[k]);
    }
    return STATUS_OK;
}

/* --- counts of pairs --- */

/* The slot that has the pair or is free for it. */
static uint32_t *find_slot(const Trainer *t, int32_t left, int32_t right)
{
    uint64_t hash = pair_key(left, right) * UINT64_C(0x9E3779B97F4A7C15); /* Fibonacci hashing */
    size_t at = (size_t)(hash >> 32) & (t->n_slots - 1);
    for (;; at = (at + 1) & (t->n_slots - 1)) {
        uint32_t *slot = &t->slots[at];
        if (!*slot || (t->pairs[*slot - 1].left == left && t->pairs[*slot - 1].right == right)) return slot;
    }
}

static bool grow_slots(Trainer *t)
{
    size_t n_slots = t->n_slots ? 2 * t->n_slots : 1024;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (!slots) return false;
    free(t->slots);
    t->slots = slots;
    t->n_slots = n_slots;
    for (size_t i = 0; i < t->n_pairs; i++) *find_slot(t, t->pairs[i].left, t->pairs[i].right) = (uint32_t)i + 1;
    return true;
}

/* The pair's statistics, made if they are not there; NULL when out of memory. Valid until the next call. */
static PairStat *get_pair(Trainer *t, int32_t left, int32_t right)
{
    if (2 * (t->n_pairs + 1) > t->n_slots && !grow_slots(t)) return NULL;
    uint32_t *slot = find_slot(t, left, right);
    if (!*slot) {
        if (t->n_pairs >= UINT32_MAX - 1 || !array_reserve(&t->pairs, &t->pairs_capacity, t->n_pairs + 1)) return NULL;
        t->pairs[t->n_pairs++] = (PairStat){.left = left, .right = right};
        *slot = (uint32_t)t->n_pairs;
    }
    return &t->pairs[*slot - 1];
}

static void uncount_word(Trainer *t, const Word *word)
{
    const int32_t *tokens = t->tokens + word->start;
    for (uint32_t i = 0; i + 1 < word->size; i++)
        t->pairs[*find_slot(t, tokens[i], tokens[i + 1]) - 1].count -= word->count;
}

/* Count the word's pairs; those with a token of at least `first_new` are new in it. */
static bool count_word(Trainer *t, size_t index, int32_t first_new)
{
    const Word *word = &t->words[index];
    const int32_t *tokens = t->tokens + word->start;
    for (uint32_t i = 0; i + 1 < word->size; i++) {
        PairStat *pair = get_pair(t, tokens[i], tokens[i + 1]);
        if (!pair) return false;
        pair->count += word->count;
        if (tokens[i] < first_new && tokens[i + 1] < first_new) continue;
        if (pair->n_words && pair->words[pair->n_words - 1] == index) continue;
        if (!array_reserve(&pair->words, &pair->words_capacity, pair->n_words + 1)) return false;
        pair->words[pair->n_words++] = (uint32_t)index;
    }
    return true;
}

static bool push_pairs(Trainer *t, size_t first)
{
    for (size_t i = first; i < t->n_pairs; i++)
        if (!heap_push(&t->heap, ~t->pairs[i].count, pair_key(t->pairs[i].left, t->pairs[i].right))) return false;
    return true;
}

/* --- merging --- */

static bool word_has_pair(const Trainer *t, const Word *word, int32_t left, int32_t right)
{
    const int32_t *tokens = t->tokens + word->start;
    for (uint32_t i = 0; i + 1 < word->size; i++)
        if (tokens[i] == left && tokens[i + 1] == right) return true;
    return false;
}

/* Replace the pair by `made`, left to right. */
static void merge_word(Trainer *t, Word *word, int32_t left, int32_t right, int32_t made)
{
    int32_t *tokens = t->tokens + word->start;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < word->size; i++) {
        bool here = i + 1 < word->size && tokens[i] == left && tokens[i + 1] == right;
        tokens[kept++] = here ? made : tokens[i];
        i += here;
    }
    word->size = kept;
}

/* Merge the pair in all words that have it, and bring counts, lists and heap up to date. */
static bool apply_merge(Trainer *t, size_t pair_index, int32_t made)
{
    PairStat pair = t->pairs[pair_index]; /* t->pairs moves when it grows */
    t->pairs[pair_index].words = NULL;
    t->pairs[pair_index].n_words = t->pairs[pair_index].words_capacity = 0;
    size_t n_before = t->n_pairs;
    bool ok = true;
    for (size_t i = 0; i < pair.n_words && ok; i++) {
        Word *word = &t->words[pair.words[i]];
        if (!word_has_pair(t, word, pair.left, pair.right)) continue;
        uncount_word(t, word);
        merge_word(t, word, pair.left, pair.right, made);
        ok = count_word(t, pair.words[i], made);
    }
    free(pair.words);
    return ok && push_pairs(t, n_before); /* pairs that are new all have the new token */
}

/* Take the most frequent pair from the heap. Counts only fall once a pair is in the heap, so an entry is never too low,
 * and one that is too high goes back with its present count. False when no pair occurs twice; *ok false when out of
 * memory. */
static bool next_pair(Trainer *t, size_t *pair_index, bool *ok)
{
    while (t->heap.count) {
        HeapItem item = heap_pop(&t->heap);
        int32_t left = (int32_t)(item.minor >> 32), right = (int32_t)(uint32_t)item.minor;
        *pair_index = *find_slot(t, left, right) - 1;
        uint64_t count = t->pairs[*pair_index].count;
        if (count == ~item.major && count >= 2) return true;
        if (count >= 2 && !(*ok = heap_push(&t->heap, ~count, item.minor))) return false;
    }
    return false;
}

typedef struct TokenBytes {
    const uint8_t *bytes;
    size_t size;
} TokenBytes;

static TokenBytes token_bytes(const Trainer *t, const BpeMerges *merges, int32_t id)
{
    if (id < SINGLE_BYTES) return (TokenBytes){&t->single[id], 1};
    const BpeMerge *merge = &merges->items[id - SINGLE_BYTES];
    return (TokenBytes){merge->bytes, (size_t)merge->left_size + merge->right_size};
}

static Status train(Trainer *t, int n_merges, BpeMerges *out)
{
    TRY(pieces_to_words(t));
    bool ok = grow_slots(t);
    for (size_t i = 0; i < t->n_words && ok; i++) ok = count_word(t, i, 0);
    ok = ok && push_pairs(t, 0);
    size_t best;
    while (ok && out->count < (size_t)n_merges && next_pair(t, &best, &ok)) {
        TokenBytes left = token_bytes(t, out, t->pairs[best].left), right = token_bytes(t, out, t->pairs[best].right);
        TRY(bpe_merges_add(out, left.bytes, left.size, right.bytes, right.size));
        ok = apply_merge(t, best, SINGLE_BYTES + (int32_t)out->count - 1);
    }
    return ok ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory while training on %zu captions", t->n_texts);
}

static void trainer_release(Trainer *t)
{
    for (size_t i = 0; i < t->n_texts; i++) free(t->lower[i]);
    for (size_t i = 0; i < t->n_pairs; i++) free(t->pairs[i].words);
    free(t->lower);
    free(t->pieces);
    free(t->words);
    free(t->tokens);
    free(t->pairs);
    free(t->slots);
    free(t->heap.items);
}

Status bpe_train(const char *const *texts, const uint64_t *counts, size_t n_texts, int n_merges, BpeMerges *out)
{
    bpe_merges_init(out);
    if (n_merges < 0)
        return status_fail(STATUS_BAD_INPUT, "vocabulary: expected at least 0 merges, found %d", n_merges);
    Trainer trainer = {.lower = calloc(n_texts + 1, sizeof *trainer.lower)};
    for (int byte = 0; byte < SINGLE_BYTES; byte++) trainer.single[bpe_byte_id((uint8_t)byte)] = (uint8_t)byte;
    Status status = STATUS_OK;
    if (!trainer.lower) status = status_fail(STATUS_NO_MEMORY, "out of memory for %zu captions", n_texts);
    for (size_t i = 0; i < n_texts && status == STATUS_OK; i++)
        status = add_text(&trainer, texts[i], counts ? counts[i] : 1);
    if (status == STATUS_OK) status = train(&trainer, n_merges, out);
    trainer_release(&trainer);
    if (status != STATUS_OK) bpe_merges_release(out);
    return status;
}
