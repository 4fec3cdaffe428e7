#include "guidance/classifier_file.h"

#include "common/unet_fields.h"

#define FIELD(type, name, member) CONFIG_FIELD(ClassifierConfig, type, name, member)

const ConfigField classifier_fields[] = {
    UNET_CONFIG_FIELDS(ClassifierConfig, unet),
    FIELD(CONFIG_TEXT, "pool", pool),
    FIELD(CONFIG_INT, "pool_width", pool_width),
    FIELD(CONFIG_TEXT, "noise_schedule", noise_schedule),
    FIELD(CONFIG_INT, "diffusion_steps", diffusion_steps),
    {0}};

Status classifier_write_header(H5File *file, const Classifier *m)
{
    return config_write(file, "/", classifier_fields, &m->config);
}

Status classifier_save(const char *path, const Classifier *m, H5Kind kind)
{
    H5File *file;
    TRY(weights_create(path, CLASSIFIER_KIND, &file));
    Status s = classifier_write_header(file, m);
    if (s == STATUS_OK) s = weights_write_params(file, &m->params, kind);
    if (s == STATUS_OK) return h5file_commit(file);
    h5file_close(file);
    return s;
}

static Status read_model(const H5File *file, Classifier **out)
{
    ClassifierConfig c = {.unet = {.heads_upsample = -1}};
    TRY(config_read(file, "/", classifier_fields, &c));
    Status s = classifier_new_shapes(&c, out);
    if (s != STATUS_OK) return status_prefix(s, "%s", h5file_path(file));
    TRY(weights_match(file, &(*out)->params)); /* a damaged field must not ask for memory that the file does not fill */
    TRY(params_alloc(&(*out)->params));
    return weights_bind(file, &(*out)->params);
}

Status classifier_load(const char *path, Classifier **out, uint64_t *hash)
{
    H5File *file;
    *out = NULL;
    TRY(weights_open(path, CLASSIFIER_KIND, &file));
    Status s = read_model(file, out);
    h5file_close(file);
    if (s == STATUS_OK && hash) *hash = weights_hash(&(*out)->params);
    if (s == STATUS_OK) return s;
    classifier_free(*out);
    *out = NULL;
    return s;
}
