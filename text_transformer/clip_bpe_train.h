/* Trainer of vocabularies with CLIP's rules: captions -> merges for a ClipBpe. As bpe_train.h, but the pieces are CLIP's
 * (clip_bpe.h): each step merges the adjacent pair of tokens that occurs most often within pieces; of equally frequent pairs the
 * one with the smaller left id wins, then the one with the smaller right id. */
#ifndef GLIDE_TEXT_TRANSFORMER_CLIP_BPE_TRAIN_H
#define GLIDE_TEXT_TRANSFORMER_CLIP_BPE_TRAIN_H

#include "text_transformer/clip_bpe.h"

/* texts (n_texts): NUL-terminated UTF-8. At most n_merges (1 to 8192) merges, fewer when no pair is left that occurs at least
 * twice. *out is the caller's. STATUS_BAD_INPUT: n_merges, or texts without any such pair; STATUS_NO_MEMORY. */
Status clip_bpe_train(const char *const *texts, size_t n_texts, int n_merges, ClipBpe **out);

#endif
