/* Models from fixtures: configuration, weights, captions; parity of checkpoints and of the text transformer. */
#include "common/pt_reader.h"
#include "tests/support_parity.h"
#include "text_transformer/text_unet_import.h"

#include <stdlib.h>
#include <string.h>

/* --- configuration --- */

/* A whole number or yes/no attribute; absent: the value stays. */
static Status get(const H5File *file, const char *name, int *value)
{
    int64_t found;
    TRY(h5file_attr_i64_or(file, "/", name, *value, &found));
    if (found < INT32_MIN || found > INT32_MAX) return parity_wrong(file, "out of range", name);
    *value = (int)found;
    return STATUS_OK;
}

static Status get_bool(const H5File *file, const char *name, bool *value)
{
    int found = *value;
    TRY(get(file, name, &found));
    *value = found != 0;
    return STATUS_OK;
}

static Status get_levels(Parity *p, const H5File *file, const char *name, int *values, int *count)
{
    int *found;
    TRY(parity_whole_numbers(p, file, "/", name, &found, count));
    if (*count > UNET_MAX_LEVELS) return parity_wrong(file, "too many entries", name);
    memcpy(values, found, (size_t)*count * sizeof *values);
    return STATUS_OK;
}

/* Factors may be fractions in GLIDE's configurations. */
static Status get_mult(const H5File *file, const char *name, UNetConfig *u)
{
    double *found;
    TRY(h5file_attr_f64s(file, "/", name, &found, &u->levels));
    Status s = u->levels <= UNET_MAX_LEVELS ? STATUS_OK : parity_wrong(file, "too many entries", name);
    for (int i = 0; s == STATUS_OK && i < u->levels; i++) u->mult[i] = (float)found[i];
    free(found);
    return s;
}

static Status text_config(const H5File *file, TextConfig *text)
{
    TRY(get(file, "n_vocab", &text->n_vocab));
    TRY(get(file, "text_ctx", &text->ctx));
    TRY(get(file, "xf_width", &text->width));
    TRY(get(file, "xf_layers", &text->layers));
    TRY(get(file, "xf_heads", &text->heads));
    TRY(get_bool(file, "xf_final_ln", &text->final_ln));
    return get_bool(file, "xf_padding", &text->padding);
}

static Status schedule_config(const H5File *file, TextUNetConfig *c)
{
    char *schedule;
    TRY(get(file, "diffusion_steps", &c->diffusion_steps));
    TRY(h5file_attr_text_or(file, "/", "noise_schedule", c->noise_schedule, &schedule));
    snprintf(c->noise_schedule, sizeof c->noise_schedule, "%s", schedule);
    free(schedule);
    return STATUS_OK;
}

static Status unet_config_both(const H5File *file, UNetConfig *u)
{
    TRY(get(file, "image_size", &u->image_size));
    TRY(get(file, "out_channels", &u->out_channels));
    TRY(get(file, "num_res_blocks", &u->res_blocks));
    TRY(get(file, "num_head_channels", &u->head_channels));
    TRY(get(file, "num_heads", &u->heads));
    TRY(get(file, "num_heads_upsample", &u->heads_upsample));
    TRY(get(file, "num_classes", &u->num_classes));
    TRY(get_bool(file, "use_scale_shift_norm", &u->scale_shift_norm));
    TRY(get_bool(file, "resblock_updown", &u->resblock_updown));
    return get_bool(file, "use_new_attention_order", &u->split_first);
}

/* GLIDE's create_model() takes names of sizes, guided-diffusion's constructors take factors. */
Status parity_config(Parity *p, const H5File *file, TextUNetConfig *c)
{
    UNetConfig *u = &c->unet;
    text_unet_config_defaults(c);
    TRY(unet_config_both(file, u));
    if (h5file_has_attr(file, "/", "num_channels")) {
        TRY(get(file, "num_channels", &u->channels));
        TRY(get_mult(file, "channel_mult_values", u));
        TRY(get_levels(p, file, "attention_ds", u->attention_ds, &u->attention_count));
        TRY(text_config(file, &c->text));
        TRY(get_bool(file, "super_res", &c->low_res));
        TRY(get_bool(file, "inpaint", &c->inpaint));
        TRY(schedule_config(file, c));
    } else {
        int picture = 3, total = 3;
        TRY(get(file, "model_channels", &u->channels));
        TRY(get_mult(file, "channel_mult", u));
        TRY(get_levels(p, file, "attention_resolutions", u->attention_ds, &u->attention_count));
        TRY(get(file, "in_channels", &picture));
        TRY(get(file, "in_channels_total", &total));
        c->text = (TextConfig){0};
        c->low_res = total > picture;
    }
    text_unet_config_complete(c);
    return STATUS_OK;
}

/* --- weights --- */

/* What import would guess from names and shapes alone must be what the file says. */
static void check_inference(Parity *p, const char *item, const TextUNetConfig *c, const TextUNetConfig *found)
{
    const UNetConfig *a = &c->unet, *b = &found->unet;
    const char *first = NULL;
    int wrong = 0;
#define SAME(what, condition)                \
    do {                                     \
        if (!(condition) && !wrong++) first = what; \
    } while (0)
    SAME("channels", a->channels == b->channels && a->in_channels == b->in_channels && a->out_channels == b->out_channels);
    SAME("levels", a->levels == b->levels && a->res_blocks == b->res_blocks);
    for (int i = 0; i < a->levels && !wrong; i++) SAME("channel_mult", a->mult[i] == b->mult[i]);
    SAME("attention levels", a->attention_count == b->attention_count);
    SAME("norm and resampling", a->scale_shift_norm == b->scale_shift_norm &&
                                    (a->levels == 1 || a->resblock_updown == b->resblock_updown));
    SAME("classes", a->num_classes == b->num_classes);
    SAME("inputs", c->low_res == found->low_res && c->inpaint == found->inpaint);
    SAME("text width", c->text.width == found->text.width);
    if (c->text.width > 0) {
        SAME("text sizes", c->text.ctx == found->text.ctx && c->text.n_vocab == found->text.n_vocab &&
                               c->text.layers == found->text.layers);
        SAME("text options", c->text.final_ln == found->text.final_ln && c->text.padding == found->text.padding);
    }
#undef SAME
    parity_exact(p, item, wrong, 8, first);
}

static Status checkpoint_name(Parity *p, const H5File *file, const char *checkpoint, const char **out)
{
    char *name;
    *out = checkpoint;
    if (checkpoint) return STATUS_OK;
    TRY(h5file_attr_text(file, "/", "checkpoint", &name));
    *out = parity_keep(p, name);
    return STATUS_OK;
}

Status parity_model(Parity *p, const H5File *file, const char *checkpoint, const char *item, TextUNet **out)
{
    TextUNetConfig c;
    StateDict *dict;
    *out = NULL;
    TRY(parity_config(p, file, &c));
    TRY(checkpoint_name(p, file, checkpoint, &checkpoint));
    TRY(state_dict_open(parity_path(p, checkpoint), NULL, &dict));
    if (text_unet_import(dict, &c, out) != STATUS_OK) parity_broken(p, item);
    state_dict_close(dict);
    return STATUS_OK;
}

Status parity_captions(Parity *p, const H5File *file, const char *group, const char *prefix, const TextUNet *m, int64_t N,
                       int32_t **tokens, uint8_t **mask)
{
    const TextConfig *text = &m->config.text;
    const int64_t dims[2] = {N, text->ctx};
    *tokens = NULL;
    *mask = NULL;
    if (!m->text) return STATUS_OK;
    const char *name = parity_text(p, "%s/%stokens", group, prefix);
    TRY(parity_i32(p, file, name, 2, dims, tokens));
    for (int64_t i = 0; i < N * text->ctx; i++)
        if ((*tokens)[i] < 0 || (*tokens)[i] >= text->n_vocab) return parity_wrong(file, "a token outside the vocabulary", name);
    return parity_u8(p, file, parity_text(p, "%s/%smask", group, prefix), 2, dims, mask);
}

/* --- checkpoints: what the .pt file holds, read and compared with what was written --- */

typedef struct Listed {
    char **names, **dtypes;
    int32_t *ndim, *shape;
    double *sums;
    float *ends;
    int64_t width; /* columns of shape */
} Listed;

static Status load_listed(Parity *p, const H5File *file, const char *group, Listed *l, int *count)
{
    int types;
    int64_t d[2];
    double **sums = &l->sums;
    H5Info info;
    TRY(h5file_load_texts(file, parity_text(p, "%s/names", group), &l->names, count));
    parity_keep(p, l->names);
    TRY(h5file_load_texts(file, parity_text(p, "%s/dtypes", group), &l->dtypes, &types));
    parity_keep(p, l->dtypes);
    if (types != *count) return parity_wrong(file, "as many dtypes as names expected", group);
    const int64_t n = *count;
    TRY(parity_i32(p, file, parity_text(p, "%s/ndim", group), 1, &n, &l->ndim));
    TRY(parity_shape(file, parity_text(p, "%s/shape", group), 2, d));
    l->width = d[1];
    TRY(parity_i32(p, file, parity_text(p, "%s/shape", group), 2, (int64_t[]){n, d[1]}, &l->shape));
    TRY(h5file_load_f64(file, parity_text(p, "%s/sums", group), sums, &info));
    parity_keep(p, l->sums);
    if (info.size != 3 * n) return parity_wrong(file, "three sums per name expected", group);
    return parity_f32(p, file, parity_text(p, "%s/ends", group), 2, (int64_t[]){n, 2}, &l->ends);
}

static bool as_listed(const StateTensor *tensor, const Listed *l, int i)
{
    bool same = !strcmp(tensor->name, l->names[i]) && !strcmp(pt_dtype_name(tensor->dtype), l->dtypes[i]) &&
                tensor->ndim == l->ndim[i] && tensor->ndim <= l->width;
    for (int j = 0; j < tensor->ndim && same; j++) same = tensor->dims[j] == l->shape[i * l->width + j];
    return same;
}

/* sums: of values, of magnitudes, of (index + 1) * value, as shares of the sums of magnitudes that they are made of. */
static Status sum_up(Parity *p, StateDict *dict, const StateTensor *tensor, const double *listed, double *found,
                     double *expected, int64_t *wrong_ends, const float *ends)
{
    double *values = parity_alloc(p, tensor->size, sizeof *values), weighted = 0, sums[3] = {0};
    TRY(state_dict_read_f64(dict, tensor, values));
    for (int64_t i = 0; i < tensor->size; i++) {
        double size = values[i] < 0 ? -values[i] : values[i];
        sums[0] += values[i];
        sums[1] += size;
        sums[2] += (double)(i + 1) * values[i];
        weighted += (double)(i + 1) * size;
    }
    const double scale[3] = {sums[1], sums[1], weighted};
    for (int j = 0; j < 3; j++) {
        found[j] = scale[j] > 0 ? sums[j] / scale[j] : sums[j];
        expected[j] = scale[j] > 0 ? listed[j] / scale[j] : listed[j];
    }
    if (tensor->size > 0)
        *wrong_ends += (float)values[0] != ends[0] || (float)values[tensor->size - 1] != ends[1];
    return STATUS_OK;
}

static Status compare_checkpoint(Parity *p, const H5File *file, const char *file_name, const char *group, StateDict *dict)
{
    Listed l;
    int count;
    int64_t wrong = 0, wrong_ends = 0;
    const char *first = NULL, *item = parity_text(p, "%s %s", file_name, group);
    TRY(load_listed(p, file, group, &l, &count));
    double *found = parity_alloc(p, 3 * (int64_t)count, sizeof *found);
    double *expected = parity_alloc(p, 3 * (int64_t)count, sizeof *expected);
    for (int i = 0; i < count; i++) {
        if (i >= dict->count || !as_listed(&dict->items[i], &l, i)) {
            if (!wrong++) first = l.names[i];
            expected[3 * i] = 1;
            continue;
        }
        TRY(sum_up(p, dict, &dict->items[i], l.sums + 3 * i, found + 3 * i, expected + 3 * i, &wrong_ends, l.ends + 2 * i));
    }
    wrong += dict->count > count ? dict->count - count : 0;
    parity_exact(p, parity_text(p, "%s names, types, shapes", item), wrong, count, first);
    parity_exact(p, parity_text(p, "%s first and last elements", item), wrong_ends, count, NULL);
    parity_compare_f64(p, parity_text(p, "%s sums", item), found, expected, 3 * count, (Tolerance){.absolute = 1e-12});
    return STATUS_OK;
}

static Status check_checkpoint(Parity *p, const H5File *file, const char *file_name, const char *group)
{
    char *name;
    StateDict *dict;
    TextUNetConfig c, inferred;
    TRY(h5file_attr_text(file, group, "file", &name));
    parity_keep(p, name);
    TRY(state_dict_open(parity_path(p, name), NULL, &dict));
    Status s = compare_checkpoint(p, file, file_name, group, dict);
    bool unet = state_dict_find(dict, "output_blocks.0.0.in_layers.0.weight") != NULL;
    if (s == STATUS_OK && unet && (s = parity_config(p, file, &c)) == STATUS_OK) {
        const char *item = parity_text(p, "%s configuration from names and shapes", file_name);
        if (text_unet_infer(dict, name, &inferred) != STATUS_OK) parity_broken(p, item);
        else check_inference(p, item, &c, &inferred);
    }
    state_dict_close(dict);
    return s;
}

Status parity_checkpoint(Parity *p, const char *name)
{
    H5File *file;
    char **groups;
    int count;
    TRY(parity_open(p, name, &file));
    Status s = parity_list(p, file, "/", H5LIST_GROUPS, &groups, &count);
    for (int i = 0; s == STATUS_OK && i < count; i++)
        if (!strncmp(groups[i], "checkpoint", 10)) s = check_checkpoint(p, file, name, groups[i]);
    h5file_close(file);
    return s;
}

static Status compare_formats(Parity *p, const H5File *file, StateDict *dict, const char *item)
{
    char **names;
    int count, wrong = 0;
    const char *first = NULL;
    TRY(parity_list(p, file, "tensors", H5LIST_DATASETS, &names, &count));
    for (int i = 0; i < count; i++) {
        const char *name = parity_text(p, "tensors/%s", names[i]);
        const StateTensor *tensor = state_dict_find(dict, names[i]);
        char *dtype;
        H5Info info;
        TRY(h5file_attr_text(file, name, "dtype", &dtype));
        parity_keep(p, dtype);
        TRY(h5file_stat(file, name, &info));
        bool whole = info.kind == H5KIND_I32 || info.kind == H5KIND_I64 || info.kind == H5KIND_U8, same = tensor != NULL;
        same = same && !strcmp(pt_dtype_name(tensor->dtype), dtype) && tensor->ndim == info.ndim && tensor->size == info.size;
        for (int j = 0; same && j < info.ndim; j++) same = tensor->dims[j] == info.dims[j];
        if (same && whole) {
            int64_t *a = parity_alloc(p, info.size, 8), *b = parity_alloc(p, info.size, 8);
            TRY(h5file_read(file, name, H5KIND_I64, info.ndim, info.dims, a));
            same = state_dict_read_i64(dict, tensor, b) == STATUS_OK && !memcmp(a, b, (size_t)info.size * 8);
        } else if (same) {
            double *a = parity_alloc(p, info.size, 8), *b = parity_alloc(p, info.size, 8);
            TRY(h5file_read(file, name, H5KIND_F64, info.ndim, info.dims, a));
            same = state_dict_read_f64(dict, tensor, b) == STATUS_OK && !memcmp(a, b, (size_t)info.size * 8);
        }
        if (!same && !wrong++) first = names[i];
    }
    parity_exact(p, item, wrong, count, first);
    return STATUS_OK;
}

static Status check_formats(Parity *p, const H5File *file, const char *file_name)
{
    char *files, *rest;
    StateDict *dict;
    TRY(h5file_attr_text(file, "/", "files", &files));
    parity_keep(p, files);
    for (char *name = strtok_r(files, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
        const char *item = parity_text(p, "%s %s", file_name, name);
        if (state_dict_open(parity_path(p, name), NULL, &dict) != STATUS_OK) {
            parity_broken(p, item);
            continue;
        }
        Status s = compare_formats(p, file, dict, item);
        state_dict_close(dict);
        TRY(s);
    }
    return STATUS_OK;
}

Status parity_pt_formats(Parity *p, const char *name)
{
    H5File *file;
    TRY(parity_open(p, name, &file));
    Status s = check_formats(p, file, name);
    h5file_close(file);
    return s;
}
