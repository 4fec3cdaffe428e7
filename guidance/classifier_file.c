#include "guidance/classifier_file.h"

#include "common/unet_fields.h"

#define FIELD(type, name, member) CONFIG_FIELD(ClassifierConfig, type, name, member)

const ConfigField classifier_fields[] = {
    UNET_CONFIG_FIELDS(ClassifierConfig, unet),
    FIELD(CONFIG_TEXT, "pool", pool),
    FIELD(CONFIG_INT, "pool_width", pool_width),
    FIELD(CONFIG_TEXT, "noise_schedule", noise_schedule),
    FIELD(CONFIG_INT, "diffusion_steps", diffusion_steps),
    CONFIG_OPTIONAL(ClassifierConfig, CONFIG_INT, "styles", styles),
    {0}};

static const char subjects_name[] = "classes/subjects", styles_name[] = "classes/styles";

Status classifier_write_header(H5File *file, const Classifier *m)
{
    TRY(config_write(file, "/", classifier_fields, &m->config));
    if (!m->subject_names) return STATUS_OK;
    TRY(h5file_write_texts(file, subjects_name, (const char *const *)m->subject_names,
                           m->config.unet.out_channels - m->config.styles));
    return h5file_write_texts(file, styles_name, (const char *const *)m->style_names, m->config.styles);
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

static Status read_names(const H5File *file, const char *name, int expected, char ***out)
{
    int count;
    if (expected < 1 || !h5file_has_dataset(file, name)) return STATUS_OK;
    TRY(h5file_load_texts(file, name, out, &count));
    if (count == expected) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: %s holds %d names, expected %d", h5file_path(file), name, count, expected);
}

static Status read_header(const H5File *file, Classifier **out)
{
    ClassifierConfig c = {.unet = {.heads_upsample = -1}};
    TRY(config_read(file, "/", classifier_fields, &c));
    Status s = classifier_new_shapes(&c, out);
    if (s != STATUS_OK) return status_prefix(s, "%s", h5file_path(file));
    TRY(weights_match(file, &(*out)->params)); /* a damaged field must not ask for memory that the file does not fill */
    TRY(read_names(file, styles_name, c.styles, &(*out)->style_names));
    if ((*out)->style_names) TRY(read_names(file, subjects_name, c.unet.out_channels - c.styles, &(*out)->subject_names));
    if ((*out)->style_names && !(*out)->subject_names)
        return status_fail(STATUS_BAD_INPUT, "%s: names styles, but no subjects", h5file_path(file));
    return params_alloc(&(*out)->params);
}

Status classifier_read_header(const H5File *file, Classifier **out)
{
    *out = NULL;
    Status s = read_header(file, out);
    if (s == STATUS_OK) return s;
    classifier_free(*out);
    *out = NULL;
    return s;
}

static Status read_model(const H5File *file, Classifier **out)
{
    TRY(classifier_read_header(file, out));
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
