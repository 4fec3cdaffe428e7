/* The merges of a byte-level BPE vocabulary: what a tokenizer is made from, what the trainer makes, what files hold.
 *
 * In memory a token is the plain bytes it stands for. In the official format (vocab.bpe) each byte is written as a
 * printable character, "symbol", as GPT-2's bytes_to_unicode() maps them: a first line "#version: 0.2", then one merge
 * a line in rank order, "LEFT RIGHT". That text holds no NUL and can be stored as one string. Source: GLIDE's
 * tokenizer/bpe.py (as in GPT-2). */
#ifndef GLIDE_TEXT_TRANSFORMER_BPE_MERGES_H
#define GLIDE_TEXT_TRANSFORMER_BPE_MERGES_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct BpeMerge {
    uint8_t *bytes;      /* left_size + right_size bytes: the token that the merge makes; owned by the list */
    uint32_t left_size;  /* >= 1 */
    uint32_t right_size; /* >= 1 */
} BpeMerge;

typedef struct BpeMerges {
    BpeMerge *items; /* in rank order */
    size_t count, capacity;
} BpeMerges;

void bpe_merges_init(BpeMerges *merges);
void bpe_merges_release(BpeMerges *merges); /* frees what the list owns and leaves it empty */

/* Append a copy. Errors: STATUS_BAD_INPUT for an empty part, STATUS_NO_MEMORY. */
Status bpe_merges_add(BpeMerges *merges, const void *left, size_t left_size, const void *right, size_t right_size);

/* Read the official format from memory or from a file (plain or gzip, as vocab.bpe.gz). *out is overwritten, the caller
 * releases it; it is empty after a failure. Errors: STATUS_BAD_INPUT names the line; STATUS_IO. Whether the parts are
 * tokens is for bpe_new() to check.
 */
Status bpe_merges_parse(const char *text, size_t size, BpeMerges *out);
Status bpe_merges_load(const char *path, BpeMerges *out);

/* Write the official format. *text is NUL-terminated and the caller's to free(); *size (without the NUL) may be NULL.
 */
Status bpe_merges_text(const BpeMerges *merges, char **text, size_t *size);

/* Id of the token of a single byte: printable Latin-1 characters come first, so "!" is 0. */
int32_t bpe_byte_id(uint8_t byte);
/* Code point that stands for a byte in the official format: itself if printable, else from U+0100 on. */
int32_t bpe_byte_symbol(uint8_t byte);
/* Turn the symbols of a word back into bytes, for which there is room for `size`. How many, 0 when one is not a symbol. */
size_t bpe_symbols_to_bytes(const char *word, size_t size, uint8_t *bytes);

/* What a plain or gzip file holds, at most 64 MiB. *text is NUL-terminated and the caller's to free(). Errors: STATUS_IO,
 * STATUS_BAD_INPUT for damaged data. */
Status bpe_read_text(const char *path, char **text, size_t *size);

#endif
