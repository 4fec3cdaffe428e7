/* Merging of tokens by rank, which every byte-pair encoder here does: always the pair of lowest rank, all its occurrences
 * from left to right, until none is left. What tokens stand for is the encoder's business. */
#ifndef GLIDE_TEXT_TRANSFORMER_BPE_MERGER_H
#define GLIDE_TEXT_TRANSFORMER_BPE_MERGER_H

#include "common/status.h"
#include "text_transformer/bpe_util.h"

typedef struct BpeRule {
    int32_t left, right, made; /* ids */
} BpeRule;

typedef struct BpePair {
    uint64_t key; /* pair_key() of a rule */
    uint32_t rank;
} BpePair;

typedef struct BpeRules {
    BpeRule *items; /* (count), in rank order, for the owner to fill */
    BpePair *pairs; /* (count), sorted by key */
    size_t count;
} BpeRules;

Status bpe_rules_init(BpeRules *rules, size_t count);
/* To be called when all items are there. STATUS_BAD_INPUT: "merge 7: expected a new pair, found that of merge 3". */
Status bpe_rules_sort(BpeRules *rules);
void bpe_rules_release(BpeRules *rules);

/* Buffers that serve one piece of text after the other. Zero-initialise. A token is known by its place among the piece's
 * first tokens; those that it was made from are skipped. */
typedef struct BpeMerger {
    int32_t *ids;      /* the token that begins at a place, -1 inside of one */
    uint32_t *before;  /* where the token before begins */
    uint32_t *after;   /* where the next one begins */
    uint32_t *changed; /* tokens made in this round */
    size_t ids_capacity, before_capacity, after_capacity, changed_capacity;
    Heap heap; /* (rank, place) of pairs that can be merged; a pair that has changed since is passed over */
} BpeMerger;

/* Room for a piece of `size` tokens: merger->ids[0..size) are the caller's to fill. False when out of memory. */
bool bpe_merger_start(BpeMerger *merger, size_t size);
/* Merge them; afterwards merger->ids[0..*count) are the tokens. False when out of memory. */
bool bpe_merger_run(BpeMerger *merger, const BpeRules *rules, size_t size, size_t *count);

/* Tokens for an encoder's caller: the first `capacity` are kept, all are counted. */
typedef struct BpeSink {
    int32_t *ids;
    size_t capacity, count;
} BpeSink;

void bpe_sink_put(BpeSink *sink, int32_t id);
/* bpe_merger_run() on a piece that is filled in, and its tokens into the sink. False when out of memory. */
bool bpe_merger_emit(BpeMerger *merger, const BpeRules *rules, size_t size, BpeSink *sink);
void bpe_merger_release(BpeMerger *merger);

#endif
