#include "guidance/clip_file.h"

#define FIELD(type, name, member) CONFIG_FIELD(ClipConfig, type, name, member)

const ConfigField clip_fields[] = {
    FIELD(CONFIG_INT, "image_size", image_size),
    FIELD(CONFIG_INT, "patch_size", patch_size),
    FIELD(CONFIG_INT, "n_embd", n_embd),
    FIELD(CONFIG_INT, "n_state_image", image.width),
    FIELD(CONFIG_INT, "n_head_image", image.heads),
    FIELD(CONFIG_INT, "n_xf_blocks_image", image.layers),
    FIELD(CONFIG_INT, "n_state_text", text.width),
    FIELD(CONFIG_INT, "n_head_text", text.heads),
    FIELD(CONFIG_INT, "n_xf_blocks_text", text.layers),
    FIELD(CONFIG_INT, "n_vocab", n_vocab),
    FIELD(CONFIG_INT, "max_text_len", max_text_len),
    FIELD(CONFIG_INT, "n_timesteps", n_timesteps),
    FIELD(CONFIG_TEXT, "beta_schedule", beta_schedule),
    FIELD(CONFIG_DOUBLE, "logit_scale", logit_scale),
    {0}};

Status clip_write_header(H5File *file, const Clip *m)
{
    return config_write(file, "/", clip_fields, &m->config);
}

Status clip_save(const char *path, const Clip *m, H5Kind kind)
{
    H5File *file;
    TRY(weights_create(path, CLIP_KIND, &file));
    Status s = clip_write_header(file, m);
    if (s == STATUS_OK) s = weights_write_params(file, &m->params, kind);
    if (s == STATUS_OK) return h5file_commit(file);
    h5file_close(file);
    return s;
}

Status clip_read_header(const H5File *file, Clip **out)
{
    ClipConfig c = {0};
    TRY(config_read(file, "/", clip_fields, &c));
    Status s = clip_new_shapes(&c, out);
    if (s != STATUS_OK) return status_prefix(s, "%s", h5file_path(file));
    s = weights_match(file, &(*out)->params); /* a damaged field must not ask for memory that the file does not fill */
    if (s == STATUS_OK) s = params_alloc(&(*out)->params);
    if (s == STATUS_OK) return s;
    clip_free(*out);
    *out = NULL;
    return s;
}

static Status read_model(const H5File *file, Clip **out)
{
    TRY(clip_read_header(file, out));
    return weights_bind(file, &(*out)->params);
}

Status clip_load(const char *path, Clip **out, uint64_t *hash)
{
    H5File *file;
    *out = NULL;
    TRY(weights_open(path, CLIP_KIND, &file));
    Status s = read_model(file, out);
    h5file_close(file);
    if (s == STATUS_OK && hash) *hash = weights_hash(&(*out)->params);
    if (s == STATUS_OK) return s;
    clip_free(*out);
    *out = NULL;
    return s;
}
