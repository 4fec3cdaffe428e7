/* CLIP's byte-pair encoder, which has rules of its own (bpe.h has GLIDE's): text -> token ids of CLIP's text encoder.
 *
 *     ClipBpe *bpe;
 *     TRY(clip_bpe_from_file("bpe_simple_vocab_16e6.txt.gz", &bpe));
 *     TRY(clip_bpe_encode_padded(bpe, prompt, strlen(prompt), max_text_len, tokens, &length));
 *     clip_bpe_free(bpe);
 *
 * The text is cleaned (clip_clean.h) and cut, case ignored, by
 *     <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
 * so that white space is no part of any piece and every digit stands alone; in its place the last byte of a piece is another
 * symbol than the same byte elsewhere, written "a</w>". Ids: 256 bytes in the order of bpe_byte_id(), the same 256 at the end
 * of a piece, the merges, the start token, the end token (which both are tokens in a text too).
 * The file: a title line, then one merge a line in rank order, "LEFT RIGHT", in the symbols of bpe_merges.h, plain or gzip.
 * Only the first 48894 merges are used. Source: OpenAI's simple_tokenizer.py, SimpleTokenizer. */
#ifndef GLIDE_TEXT_TRANSFORMER_CLIP_BPE_H
#define GLIDE_TEXT_TRANSFORMER_CLIP_BPE_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

enum { CLIP_BPE_MOST_MERGES = 48894 };

typedef struct ClipBpe ClipBpe;

/* *out is the caller's, NULL after a failure. STATUS_BAD_INPUT names the line or the merge; STATUS_IO. */
Status clip_bpe_from_text(const char *text, size_t size, ClipBpe **out);
Status clip_bpe_from_file(const char *path, ClipBpe **out);
void clip_bpe_free(ClipBpe *bpe); /* NULL is fine */

int32_t clip_bpe_vocab_size(const ClipBpe *bpe); /* n_vocab = 512 + merges + 2; 49408 of the published file */
int32_t clip_bpe_start_token(const ClipBpe *bpe);
int32_t clip_bpe_end_token(const ClipBpe *bpe);
/* What clip_bpe_from_text() takes, with the merges that are used: to store with weights. Borrowed. */
const char *clip_bpe_text(const ClipBpe *bpe);
/* A token in the file's notation ("th", "the</w>", "<|endoftext|>"), NUL-terminated, cut to `room`. Returns `text`. */
const char *clip_bpe_token_text(const ClipBpe *bpe, int32_t id, char *text, size_t room);

/* All tokens of a text, without start and end: the first `capacity` are written to `ids`, *count is how many there are.
 * Errors: STATUS_NO_MEMORY, STATUS_BAD_INPUT above UTF8_MAX_TEXT bytes. */
Status clip_bpe_encode(const ClipBpe *bpe, const char *text, size_t size, int32_t *ids, size_t capacity, size_t *count);

/* What the text encoder takes: tokens (T = text_ctx >= 2): start, tokens cut to T - 2, end, zeros. *length: how many of them
 * are real. Errors as clip_bpe_encode(). */
Status clip_bpe_encode_padded(const ClipBpe *bpe, const char *text, size_t size, int text_ctx, int32_t *tokens,
                              int32_t *length);

#endif
