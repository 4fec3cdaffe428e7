/* Tokenizers from files other than weights: what comes with checkpoints from elsewhere. */
#ifndef GLIDE_TEXT_TRANSFORMER_BPE_FILE_H
#define GLIDE_TEXT_TRANSFORMER_BPE_FILE_H

#include "text_transformer/bpe.h"

/* JSON {"merges": [["LEFT", "RIGHT"], ...]}, the parts in the alphabet of the official format (bpe_merges.h), or the official
 * format itself, plain or gzip. Told apart by the first character. *out is the caller's.
 * STATUS_BAD_INPUT names the file and the line or the merge; STATUS_IO. */
Status bpe_from_file(const char *path, Bpe **out);

#endif
