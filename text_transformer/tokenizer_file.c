#include "text_transformer/tokenizer_file.h"

#include <stdlib.h>
#include <string.h>

Status tokenizer_write(H5File *file, const Bpe *bpe)
{
    char *text;
    if (!bpe) return STATUS_OK;
    TRY(bpe_merges_text(bpe_merges(bpe), &text, NULL));
    Status s = weights_write_merges(file, text);
    free(text);
    return s;
}

Status tokenizer_write_clip(H5File *file, const ClipBpe *bpe)
{
    return bpe ? weights_write_merges(file, clip_bpe_text(bpe)) : STATUS_OK;
}

static Status name_file(const H5File *file, Status s)
{
    return s == STATUS_OK ? s : status_prefix(s, "%s: tokenizer/merges", h5file_path(file));
}

Status tokenizer_read(const H5File *file, int n_vocab, Bpe **out)
{
    char *text;
    *out = NULL;
    TRY(weights_read_merges(file, &text));
    Status s = bpe_from_text(text, strlen(text), out);
    free(text);
    TRY(name_file(file, s));
    int tokens = bpe_vocab_size(*out);
    if (tokens == n_vocab) return STATUS_OK;
    bpe_free(*out);
    *out = NULL;
    return status_fail(STATUS_BAD_INPUT, "%s: n_vocab is %d, but the tokenizer's merges make %d tokens", h5file_path(file), n_vocab,
                       tokens);
}

Status tokenizer_read_clip(const H5File *file, ClipBpe **out)
{
    char *text;
    *out = NULL;
    TRY(weights_read_merges(file, &text));
    Status s = clip_bpe_from_text(text, strlen(text), out);
    free(text);
    return name_file(file, s);
}
