/* Byte-level byte-pair encoder with GLIDE's rules: text -> token ids of the text transformer, and back.
 *
 *     Bpe *bpe;
 *     TRY(bpe_from_text(merges_text, strlen(merges_text), &bpe));       or bpe_new() from a BpeMerges
 *     TRY(bpe_encode_padded(bpe, prompt, strlen(prompt), text_ctx, tokens, mask));
 *     bpe_free(bpe);
 *
 * Text is lower-cased with full Unicode rules (no other normalisation), cut into pieces by the pattern
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * and the bytes of each piece are merged: always the pair of lowest rank, all its occurrences from left to right.
 * Ids: 0..255 are the single bytes (bpe_byte_id()), then the tokens that merges make in rank order, last the end token,
 * which is also the padding. "<|endoftext|>" in a text is ordinary text. Any bytes are accepted (see unicode.h); texts
 * have a size and may contain NUL. A Bpe does not change after creation: threads may share it.
 * Source: GLIDE's tokenizer/bpe.py, Encoder. */
#ifndef GLIDE_TEXT_TRANSFORMER_BPE_H
#define GLIDE_TEXT_TRANSFORMER_BPE_H

#include "common/status.h"
#include "text_transformer/bpe_merges.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Bpe Bpe;

/* *out is the caller's, NULL after a failure; `merges` is copied. Both parts of a merge must be bytes or tokens of
 * earlier merges, and no pair may come twice: else STATUS_BAD_INPUT names the merge. (Two merges of different parts may
 * make the same token: it has one id, and n_vocab is one less. The trainer never makes such.) */
Status bpe_new(const BpeMerges *merges, Bpe **out);
Status bpe_from_text(const char *merges_text, size_t size, Bpe **out); /* the official format, see bpe_merges.h */
void bpe_free(Bpe *bpe);                                               /* NULL is fine */

int32_t bpe_vocab_size(const Bpe *bpe);      /* n_vocab = 256 + merges + 1 */
int32_t bpe_end_token(const Bpe *bpe);       /* n_vocab - 1 */
const BpeMerges *bpe_merges(const Bpe *bpe); /* borrowed; bpe_merges_text() makes the text to store with weights */
/* Bytes of a token, borrowed; "<|endoftext|>" for the end token. id in [0, n_vocab). */
const uint8_t *bpe_token_bytes(const Bpe *bpe, int32_t id, size_t *size);

/* All tokens of a text: the first `capacity` are written to `ids` (NULL is fine with 0), *count is how many there are,
 * which may be more. There are never more than 3 * size. Errors: STATUS_NO_MEMORY, STATUS_BAD_INPUT above UTF8_MAX_TEXT
 * bytes. */
Status bpe_encode(const Bpe *bpe, const char *text, size_t size, int32_t *ids, size_t capacity, size_t *count);

/* What the text transformer takes: tokens (T) cut to T = text_ctx or padded with the end token, mask (T) 1 for tokens
 * and 0 for padding. Errors as bpe_encode(). */
Status bpe_encode_padded(const Bpe *bpe, const char *text, size_t size, int text_ctx, int32_t *tokens, uint8_t *mask);

/* The text of tokens; bytes that are not UTF-8 become U+FFFD. *text is NUL-terminated and the caller's to free(), NULL
 * after a failure; *size (without the NUL) may be NULL. Errors: STATUS_BAD_INPUT for an id outside [0, n_vocab). */
Status bpe_decode(const Bpe *bpe, const int32_t *ids, size_t count, char **text, size_t *size);

/* Where the piece that begins at `start` < size ends; text is lower-cased already. */
size_t bpe_piece_end(const char *text, size_t size, size_t start);

#endif
