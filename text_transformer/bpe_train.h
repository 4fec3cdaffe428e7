/* Trainer of byte-level BPE vocabularies: captions -> merges for bpe_new().
 *
 * Captions are lower-cased and cut into pieces as the encoder does it, and no merge crosses the end of a piece. Each
 * step merges the adjacent pair of tokens that occurs most often in all pieces (times their captions' counts; in "aaa"
 * the pair "aa" counts twice). Of equally frequent pairs the one with the smaller left id wins, then the one with the
 * smaller right id, so the result depends neither on the order of the captions nor on the machine. Source: Sennrich et
 * al., arXiv 1508.07909, over bytes as in GPT-2. */
#ifndef GLIDE_TEXT_TRANSFORMER_BPE_TRAIN_H
#define GLIDE_TEXT_TRANSFORMER_BPE_TRAIN_H

#include "common/status.h"
#include "text_transformer/bpe_merges.h"

#include <stddef.h>
#include <stdint.h>

/* texts (n_texts): NUL-terminated UTF-8; counts (n_texts): how often each counts, NULL for once. *out is overwritten,
 * the caller releases it; it is empty after a failure. It has n_merges merges, or fewer when no pair is left that
 * occurs at least twice. Errors: STATUS_NO_MEMORY, STATUS_BAD_INPUT for texts that are too long, counts too large,
 * n_merges < 0. */
Status bpe_train(const char *const *texts, const uint64_t *counts, size_t n_texts, int n_merges, BpeMerges *out);

#endif
