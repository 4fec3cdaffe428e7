#include "text_transformer/text_unet_file.h"

#include "common/unet_fields.h"
#include "text_transformer/tokenizer_file.h"

#include <string.h>

#define TEXT(type, name, member) CONFIG_FIELD(TextUNetConfig, type, name, text.member)

const ConfigField text_unet_fields[] = {
    UNET_CONFIG_FIELDS(TextUNetConfig, unet),
    CONFIG_FIELD(TextUNetConfig, CONFIG_INT, "num_heads_upsample", unet.heads_upsample),
    CONFIG_FIELD(TextUNetConfig, CONFIG_INT, "num_classes", unet.num_classes),
    TEXT(CONFIG_INT, "n_vocab", n_vocab),
    TEXT(CONFIG_INT, "text_ctx", ctx),
    TEXT(CONFIG_INT, "xf_width", width),
    TEXT(CONFIG_INT, "xf_layers", layers),
    TEXT(CONFIG_INT, "xf_heads", heads),
    TEXT(CONFIG_BOOL, "xf_final_ln", final_ln),
    TEXT(CONFIG_BOOL, "xf_padding", padding),
    CONFIG_FIELD(TextUNetConfig, CONFIG_BOOL, "super_res", low_res),
    CONFIG_FIELD(TextUNetConfig, CONFIG_BOOL, "inpaint", inpaint),
    CONFIG_OPTIONAL(TextUNetConfig, CONFIG_BOOL, "low_res_level", low_res_level), /* files from before it: false */
    CONFIG_FIELD(TextUNetConfig, CONFIG_TEXT, "noise_schedule", noise_schedule),
    CONFIG_FIELD(TextUNetConfig, CONFIG_INT, "diffusion_steps", diffusion_steps),
    {0}};

const char *text_unet_kind(const TextUNetConfig *c)
{
    return c->low_res ? "upsampler" : "base";
}

Status text_unet_write_header(H5File *file, const TextUNet *m)
{
    TRY(config_write(file, "/", text_unet_fields, &m->config));
    return tokenizer_write(file, m->bpe);
}

static Status read_tokenizer(const H5File *file, TextUNet *m)
{
    if (m->config.text.width == 0 || !h5file_has_dataset(file, "tokenizer/merges")) return STATUS_OK;
    return tokenizer_read(file, m->config.text.n_vocab, &m->bpe);
}

/* What the program computes depends on these two, so a file may not contradict the other fields. */
static Status check_derived(const H5File *file, const TextUNetConfig *found)
{
    TextUNetConfig c = *found;
    text_unet_config_complete(&c);
    if (c.unet.in_channels == found->unet.in_channels) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: in_channels is %d, expected %d for super_res %d and inpaint %d",
                       h5file_path(file), found->unet.in_channels, c.unet.in_channels, c.low_res, c.inpaint);
}

/* Names and shapes alone. */
static Status read_shapes(const H5File *file, TextUNet **out)
{
    TextUNetConfig c = {0};
    TRY(config_read(file, "/", text_unet_fields, &c));
    TRY(check_derived(file, &c));
    TextUNet *m;
    Status s = text_unet_new_shapes(&c, &m);
    if (s != STATUS_OK) return status_prefix(s, "%s", h5file_path(file));
    s = read_tokenizer(file, m);
    if (s == STATUS_OK) *out = m;
    else text_unet_free(m);
    return s;
}

Status text_unet_read_header(const H5File *file, TextUNet **out)
{
    TRY(read_shapes(file, out));
    Status s = weights_match(file, &(*out)->params); /* a damaged field must not ask for memory that the file does not fill */
    if (s == STATUS_OK) s = params_alloc(&(*out)->params);
    if (s == STATUS_OK) return s;
    text_unet_free(*out);
    *out = NULL;
    return s;
}

static Status read_model(const H5File *file, bool mapped, TextUNet **out, uint64_t *hash)
{
    TextUNet *m;
    TRY(mapped ? read_shapes(file, &m) : text_unet_read_header(file, &m));
    Status s = mapped ? weights_map(file, &m->params, hash) : weights_bind(file, &m->params);
    if (s != STATUS_OK) {
        text_unet_free(m);
        return s;
    }
    if (hash && !mapped) *hash = weights_hash(&m->params);
    *out = m;
    return STATUS_OK;
}

static Status check_kind(const H5File *file, const char *path)
{
    char kind[WEIGHTS_KIND_MAX];
    TRY(weights_kind(file, kind));
    if (strcmp(kind, "base") == 0 || strcmp(kind, "upsampler") == 0) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: weights of kind \"%s\", expected \"base\" or \"upsampler\"", path, kind);
}

static Status open_and_read(const char *path, const char *kind, bool mapped, TextUNet **out, uint64_t *hash)
{
    H5File *file;
    TRY(weights_open(path, kind, &file));
    Status s = check_kind(file, path);
    if (s == STATUS_OK) s = read_model(file, mapped, out, hash);
    h5file_close(file);
    return s;
}

Status text_unet_load(const char *path, const char *kind, TextUNet **out, uint64_t *hash)
{
    return open_and_read(path, kind, false, out, hash);
}

Status text_unet_map(const char *path, const char *kind, TextUNet **out, uint64_t *hash)
{
    return open_and_read(path, kind, true, out, hash);
}
