/* Tokenizers inside weights files (common/weights.h, tokenizer/merges): a text in the official format. */
#ifndef GLIDE_TEXT_TRANSFORMER_TOKENIZER_FILE_H
#define GLIDE_TEXT_TRANSFORMER_TOKENIZER_FILE_H

#include "common/weights.h"
#include "text_transformer/bpe.h"
#include "text_transformer/clip_bpe.h"

/* NULL: nothing is written. */
Status tokenizer_write(H5File *file, const Bpe *bpe);
Status tokenizer_write_clip(H5File *file, const ClipBpe *bpe);

/* *out is the caller's, NULL after a failure. STATUS_BAD_INPUT names the file, and the line or that the tokens are not n_vocab; a
 * CLIP has room for tokens that its tokenizer does not use, so its callers compare. */
Status tokenizer_read(const H5File *file, int n_vocab, Bpe **out);
Status tokenizer_read_clip(const H5File *file, ClipBpe **out);

#endif
