#include "glide/ablation/judge_model.h"

#include "text_transformer/tokenizer_file.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 16 }; /* seen or read at once */

#define FIELD(type, name, member) CONFIG_FIELD(JudgeConfig, type, name, member)

static const ConfigField fields[] = {
    FIELD(CONFIG_INT, "image_size", image_size),
    CONFIG_ARRAY(JudgeConfig, CONFIG_INTS, "channels", channels, levels),
    FIELD(CONFIG_INT, "blocks", blocks),
    FIELD(CONFIG_INT, "embedding", embedding),
    FIELD(CONFIG_INT, "n_vocab", n_vocab),
    FIELD(CONFIG_INT, "text_ctx", text_ctx),
    FIELD(CONFIG_INT, "text_width", text_width),
    FIELD(CONFIG_INT, "text_hidden", text_hidden),
    FIELD(CONFIG_DOUBLE, "logit_scale", logit_scale),
    {0}};

/* --- files --------------------------------------------------------------------------------------- */

Status judge_write_header(H5File *file, const Judge *j)
{
    TRY(config_write(file, "/", fields, &j->config));
    return tokenizer_write(file, j->bpe);
}

Status judge_read_header(const H5File *file, Judge **out)
{
    JudgeConfig c = {0};
    TRY(config_read(file, "/", fields, &c));
    Status s = judge_new(&c, true, out);
    if (s != STATUS_OK) return status_prefix(s, "%s", h5file_path(file));
    s = weights_match(file, &(*out)->params); /* a damaged field must not ask for memory that the file does not fill */
    if (s == STATUS_OK) s = tokenizer_read(file, c.n_vocab, &(*out)->bpe);
    if (s == STATUS_OK) s = params_alloc(&(*out)->params);
    if (s == STATUS_OK) return s;
    judge_free(*out);
    *out = NULL;
    return s;
}

Status judge_load(const char *path, Judge **out)
{
    H5File *file;
    *out = NULL;
    TRY(weights_open(path, JUDGE_KIND, &file));
    Status s = judge_read_header(file, out);
    if (s == STATUS_OK) s = weights_bind(file, &(*out)->params);
    h5file_close(file);
    if (s == STATUS_OK) return s;
    judge_free(*out);
    *out = NULL;
    return s;
}

void judge_free(Judge *j)
{
    if (!j) return;
    params_release(&j->params);
    bpe_free(j->bpe);
    free(j);
}

int judge_side(const Judge *j)
{
    return j->config.image_size;
}

int judge_features(const Judge *j)
{
    return j->config.channels[j->config.levels - 1];
}

int judge_embedding(const Judge *j)
{
    return j->config.embedding;
}

uint64_t judge_hash(const Judge *j)
{
    return weights_hash(&j->params);
}

/* --- judging ------------------------------------------------------------------------------------- */

static Status see_rows(Judge *j, Tape *t, const float *x, int64_t rows, float *features, float *embeddings)
{
    const int64_t side = j->config.image_size;
    Tensor *seen = NULL;
    tape_reset(t);
    Tensor *in = tape_input(t, DTYPE_F32, 4, (int64_t[]){rows, side, side, 3}, x);
    Tensor *z = judge_image_forward(t, j, in, &seen);
    TRY(tape_status(t));
    if (features) memcpy(features, seen->data, tensor_bytes(seen));
    if (embeddings) memcpy(embeddings, z->data, tensor_bytes(z));
    return STATUS_OK;
}

Status judge_see(Judge *j, Kernels *kernels, const float *x, int64_t n, float *features, float *embeddings)
{
    const int64_t picture = 3 * (int64_t)j->config.image_size * j->config.image_size, F = judge_features(j);
    Tape *t;
    TRY(tape_new(kernels, &t));
    Status s = STATUS_OK;
    for (int64_t first = 0; first < n && s == STATUS_OK; first += ROWS)
        s = see_rows(j, t, x + first * picture, n - first < ROWS ? n - first : ROWS, features ? features + first * F : NULL,
                     embeddings ? embeddings + first * j->config.embedding : NULL);
    tape_free(t);
    return s;
}

static Status read_rows(Judge *j, Tape *t, const char *const *texts, int64_t rows, int32_t *tokens, uint8_t *mask,
                        float *embeddings)
{
    const int T = j->config.text_ctx;
    tape_reset(t);
    for (int64_t i = 0; i < rows; i++)
        TRY(bpe_encode_padded(j->bpe, texts[i], strlen(texts[i]), T, tokens + i * T, mask + i * T));
    Tensor *z = judge_text_forward(t, j, tokens, mask, rows);
    TRY(tape_status(t));
    memcpy(embeddings, z->data, tensor_bytes(z));
    return STATUS_OK;
}

Status judge_read(Judge *j, Kernels *kernels, const char *const *texts, int64_t n, float *embeddings)
{
    const size_t T = (size_t)j->config.text_ctx;
    Tape *t;
    TRY(tape_new(kernels, &t));
    int32_t *tokens = malloc(ROWS * T * sizeof *tokens);
    uint8_t *mask = malloc(ROWS * T);
    Status s = tokens && mask ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for %lld texts", (long long)n);
    for (int64_t first = 0; first < n && s == STATUS_OK; first += ROWS)
        s = read_rows(j, t, texts + first, n - first < ROWS ? n - first : ROWS, tokens, mask,
                      embeddings + first * j->config.embedding);
    free(tokens);
    free(mask);
    tape_free(t);
    return s;
}
