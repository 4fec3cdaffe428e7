/* Parity of the forward passes: text_transformer.h5, unet_*.h5 and gd_*.h5. */
#include "common/unet.h"
#include "tests/support_parity.h"

#include <stdlib.h>
#include <string.h>

/* --- the text transformer --- */

static Status run_text(Parity *p, const H5File *file, const char *name, TextUNet *m, Tape *t)
{
    ParityTrace trace = {.p = p, .file = file, .item = name, .group = "", .tolerance = {.absolute = 3e-5}};
    int64_t d[2];
    int32_t *tokens;
    uint8_t *mask;
    char **names;
    int count, stored = 0;
    TRY(parity_shape(file, "tokens", 2, d));
    if (!m->text) return parity_wrong(file, "the model takes no text", "xf_width");
    TRY(parity_captions(p, file, "", "", m, d[0], &tokens, &mask));
    TRY(parity_list(p, file, "/", H5LIST_DATASETS, &names, &count));
    for (int i = 0; i < count; i++) stored += strcmp(names[i], "tokens") && strcmp(names[i], "mask");
    TextFeatures f = text_transformer_forward(t, m->text, tokens, mask, d[0], &(TextTrace){parity_trace_tokens, &trace});
    if (tape_status(t) != STATUS_OK) {
        parity_broken(p, name);
        return STATUS_OK;
    }
    parity_trace_block(&trace, "xf_out", f.sequence);
    parity_trace_block(&trace, "xf_proj", f.pooled);
    parity_trace_count(&trace, stored);
    return trace.status;
}

/* The model of a file about one, and a tape, for a check of it. */
typedef Status Check(Parity *p, const H5File *file, const char *name, TextUNet *m, Tape *t);

static Status with_model(Parity *p, const char *name, Check *check)
{
    H5File *file;
    TextUNet *m = NULL;
    Tape *t = NULL;
    TRY(parity_open(p, name, &file));
    Status s = parity_model(p, file, NULL, name, &m);
    if (s == STATUS_OK) s = tape_new(p->kernels, &t);
    if (s == STATUS_OK && m) s = check(p, file, name, m, t);
    tape_free(t);
    text_unet_free(m);
    h5file_close(file);
    return s;
}

Status parity_text_transformer(Parity *p, const char *name)
{
    return with_model(p, name, run_text);
}

/* --- U-Nets --- */

/* One batch: a group with x, timesteps and what else the model takes. */
typedef struct Batch {
    Parity *p;
    const H5File *file;
    const char *file_name, *group;
    const TextUNet *m;
    Tape *t;
    int64_t N, H, W;
    float *x, *timesteps;
    int32_t *tokens, *labels;
    uint8_t *mask;
} Batch;

static Status load_labels(Batch *b)
{
    const UNetConfig *u = &b->m->config.unet;
    const char *name = parity_text(b->p, "%s/y", b->group);
    if (u->num_classes <= 0) return STATUS_OK;
    TRY(parity_i32(b->p, b->file, name, 1, &b->N, &b->labels));
    for (int64_t i = 0; i < b->N; i++)
        if (b->labels[i] < 0 || b->labels[i] >= u->num_classes) return parity_wrong(b->file, "a label out of range", name);
    return STATUS_OK;
}

static Status load_batch(Batch *b)
{
    int64_t d[4];
    const char *name = parity_text(b->p, "%s/x", b->group);
    TRY(parity_shape(b->file, name, 4, d));
    if (d[1] != 3) return parity_wrong(b->file, "expected 3 channels", name);
    b->N = d[0];
    b->H = d[2];
    b->W = d[3];
    TRY(parity_channels_last(b->p, b->file, name, 4, d, &b->x));
    TRY(parity_f32(b->p, b->file, parity_text(b->p, "%s/timesteps", b->group), 1, &b->N, &b->timesteps));
    TRY(parity_captions(b->p, b->file, b->group, "", b->m, b->N, &b->tokens, &b->mask));
    return load_labels(b);
}

/* A picture-like input of the first N rows; *out NULL when the file has none. */
static Status optional_input(const Batch *b, int64_t N, const char *part, int64_t channels, Tensor **out)
{
    int64_t d[4];
    float *data;
    const char *name = parity_text(b->p, "%s/%s", b->group, part);
    *out = NULL;
    if (!h5file_has_dataset(b->file, name)) return STATUS_OK;
    TRY(parity_shape(b->file, name, 4, d));
    if (d[0] != b->N || d[1] != channels) return parity_wrong(b->file, "unexpected rows or channels", name);
    TRY(parity_channels_last(b->p, b->file, name, 4, d, &data));
    *out = tape_input(b->t, DTYPE_F32, 4, (int64_t[]){N, d[2], d[3], d[1]}, data);
    return STATUS_OK;
}

/* The first N rows, with the low-resolution picture of that name and perhaps without what is known for inpainting. */
static Status forward(const Batch *b, int64_t N, const char *low_res, bool inpaint, const UNetTrace *trace, Tensor **out)
{
    const TextUNetConfig *c = &b->m->config;
    TextUNetInput in = {.timesteps = b->timesteps};
    in.x = tape_input(b->t, DTYPE_F32, 4, (int64_t[]){N, b->H, b->W, 3}, b->x);
    if (c->low_res) TRY(optional_input(b, N, low_res, 3, &in.low_res));
    if (c->inpaint && inpaint) {
        TRY(optional_input(b, N, "inpaint_image", 3, &in.inpaint_image));
        TRY(optional_input(b, N, "inpaint_mask", 1, &in.inpaint_mask));
    }
    UNetCondition condition = text_unet_encode(b->t, b->m, b->tokens, b->mask, b->labels, N, NULL);
    *out = text_unet_forward(b->t, b->m, &in, &condition, trace);
    return STATUS_OK;
}

/* What follows "out" in a dataset's name tells what is different: "", "_low_res_1", "_no_inpaint", "_legacy", "_new". */
static Status check_output(Batch *b, const char *output, Tolerance tolerance)
{
    Parity *p = b->p;
    Tensor *y;
    float *expected;
    const char *how = output + 3, *name = parity_text(p, "%s/%s", b->group, output);
    const char *item = parity_text(p, "%s %s", b->file_name, name);
    bool other_low_res = !strncmp(how, "_low_res", 8);
    if (other_low_res && !h5file_has_dataset(b->file, parity_text(p, "%s/%s", b->group, how + 1)))
        return parity_wrong(b->file, "no picture for it", name);
    int64_t channels = b->m->config.unet.out_channels;
    TRY(parity_channels_last(p, b->file, name, 4, (int64_t[]){b->N, channels, b->H, b->W}, &expected));
    TRY(forward(b, b->N, other_low_res ? how + 1 : "low_res", strcmp(how, "_no_inpaint") != 0, NULL, &y));
    if (tape_status(b->t) != STATUS_OK) parity_broken(p, item);
    else parity_compare(p, item, y->data, expected, tensor_size(y), tolerance);
    tape_reset(b->t);
    return STATUS_OK;
}

/* Which outputs this run of the model is for: those of one attention order, or those that name none. */
static bool wanted(const char *output, const char *order)
{
    bool legacy = !strcmp(output, "out_legacy"), new = !strcmp(output, "out_new");
    if (strncmp(output, "out", 3)) return false;
    return legacy || new ? !strcmp(output + 4, order) : !strcmp(order, "legacy");
}

/* trace/...: row 0 of the first group, alone. */
static Status check_trace(Batch *b)
{
    ParityTrace trace = {.p = b->p, .file = b->file, .item = b->file_name, .group = "trace", .tolerance = {.absolute = 5e-4}};
    Tensor *y;
    char **names;
    int count;
    TRY(parity_list(b->p, b->file, "trace", H5LIST_DATASETS, &names, &count));
    if (b->m->text) {
        TextFeatures f = text_transformer_forward(b->t, b->m->text, b->tokens, b->mask, 1, NULL);
        if (tape_status(b->t) == STATUS_OK) {
            parity_trace_block(&trace, "xf_out", f.sequence);
            parity_trace_block(&trace, "xf_proj", f.pooled);
        }
    }
    TRY(forward(b, 1, "low_res", true, &(UNetTrace){parity_trace_block, &trace}, &y));
    if (tape_status(b->t) != STATUS_OK) parity_broken(b->p, parity_text(b->p, "%s trace", b->file_name));
    tape_reset(b->t);
    parity_trace_count(&trace, count);
    return trace.status;
}

static bool is_batch(Parity *p, const H5File *file, const char *group)
{
    return h5file_has_dataset(file, parity_text(p, "%s/x", group)) &&
           h5file_has_dataset(file, parity_text(p, "%s/timesteps", group));
}

static Status check_batch(Batch *b, const char *order, Tolerance tolerance)
{
    char **names;
    int count;
    TRY(load_batch(b));
    TRY(parity_list(b->p, b->file, b->group, H5LIST_DATASETS, &names, &count));
    for (int i = 0; i < count; i++)
        if (wanted(names[i], order)) TRY(check_output(b, names[i], tolerance));
    if (strcmp(b->group, "a") || strcmp(order, "legacy") || !h5file_has_group(b->file, "trace")) return STATUS_OK;
    return check_trace(b);
}

/* Runs all groups with the model as the file describes it, in one attention order. */
static Status check_order(Parity *p, const H5File *file, const char *file_name, TextUNet *m, const char *order, Tape *t)
{
    char **groups;
    int count;
    Tolerance tolerance = {.absolute = m->text ? 2e-4 : 1e-4}; /* GLIDE's and guided-diffusion's */
    TRY(parity_list(p, file, "/", H5LIST_GROUPS, &groups, &count));
    for (int i = 0; i < count; i++) {
        Batch b = {.p = p, .file = file, .file_name = file_name, .group = groups[i], .m = m, .t = t};
        if (is_batch(p, file, groups[i])) TRY(check_batch(&b, order, tolerance));
    }
    return STATUS_OK;
}

/* Does any group have results of guided-diffusion's new attention order? */
static Status has_new_order(Parity *p, const H5File *file, bool *out)
{
    char **groups;
    int count;
    *out = false;
    TRY(parity_list(p, file, "/", H5LIST_GROUPS, &groups, &count));
    for (int i = 0; i < count; i++) *out = *out || h5file_has_dataset(file, parity_text(p, "%s/out_new", groups[i]));
    return STATUS_OK;
}

/* The same weights under the other order of q, k and v. */
static Status reordered(const TextUNet *m, TextUNet **out)
{
    TextUNetConfig c = m->config;
    c.unet.split_first = true;
    TRY(text_unet_new(&c, out));
    for (int i = 0; i < m->params.count; i++)
        memcpy((*out)->params.items[i]->value, m->params.items[i]->value, m->params.items[i]->size * sizeof(float));
    params_touch(&(*out)->params);
    return STATUS_OK;
}

static Status check_unet(Parity *p, const H5File *file, const char *name, TextUNet *m, Tape *t)
{
    bool has_new;
    TextUNet *other;
    TRY(check_order(p, file, name, m, "legacy", t));
    TRY(has_new_order(p, file, &has_new));
    if (!has_new) return STATUS_OK;
    TRY(reordered(m, &other));
    Status s = check_order(p, file, name, other, "new", t);
    text_unet_free(other);
    return s;
}

Status parity_unet(Parity *p, const char *name)
{
    return with_model(p, name, check_unet);
}
