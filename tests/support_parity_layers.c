/* Parity of single operations: layers.h5. */
#include "common/image.h"
#include "common/ops.h"
#include "tests/support_parity.h"
#include "upsampler/upsampler.h"

#include <string.h>

static const Tolerance layers_tolerance = {.absolute = 1e-5};

/* What the checks of this file share. */
typedef struct Layers {
    Parity *p;
    const H5File *file;
    const char *file_name;
    Tape *t;
} Layers;

/* Compares y with the dataset `name`, which is stored as dims (channels last already when `as_stored`). */
static Status check(Layers *c, Tensor *y, const char *name, int ndim, const int64_t *dims, bool as_stored)
{
    Parity *p = c->p;
    const char *item = parity_text(p, "%s %s", c->file_name, name);
    float *expected;
    TRY(as_stored ? parity_f32(p, c->file, name, ndim, dims, &expected)
                  : parity_channels_last(p, c->file, name, ndim, dims, &expected));
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) n *= dims[i];
    if (tape_status(c->t) != STATUS_OK || tensor_size(y) != n) parity_broken(p, item);
    else parity_compare(p, item, y->data, expected, n, layers_tolerance);
    tape_reset(c->t);
    return STATUS_OK;
}

static Status check_activations(Layers *c, const char *group)
{
    float *x;
    int64_t n;
    TRY(parity_vector(c->p, c->file, parity_text(c->p, "%s/x", group), &x, &n));
    const int64_t dims[2] = {1, n};
    TRY(check(c, op_gelu(c->t, tape_input(c->t, DTYPE_F32, 2, dims, x)), parity_text(c->p, "%s/gelu", group), 1, &n, true));
    return check(c, op_silu(c->t, tape_input(c->t, DTYPE_F32, 2, dims, x)), parity_text(c->p, "%s/silu", group), 1, &n, true);
}

static Status head_counts(Layers *c, const char *group, int64_t *heads, int64_t *channels)
{
    int64_t width;
    TRY(h5file_attr_i64(c->file, group, "heads", heads));
    TRY(h5file_attr_i64(c->file, group, "head_channels", &width));
    if (*heads < 1 || *heads > 1 << 16 || width < 1 || width > 1 << 16) return parity_wrong(c->file, "head counts", group);
    *channels = *heads * width;
    return STATUS_OK;
}

static Status check_attention(Layers *c, const char *group)
{
    Parity *p = c->p;
    float *qkv, *kv = NULL;
    int64_t heads, C = 0, in[3], text[3] = {0};
    TRY(head_counts(c, group, &heads, &C));
    const char *name = parity_text(p, "%s/qkv", group), *kv_name = parity_text(p, "%s/encoder_kv", group);
    TRY(parity_shape(c->file, name, 3, in));
    if (in[1] != 3 * C) return parity_wrong(c->file, "expected 3 * heads * head_channels channels", name);
    TRY(parity_channels_last(p, c->file, name, 3, in, &qkv));
    if (h5file_has_dataset(c->file, kv_name)) {
        TRY(parity_shape(c->file, kv_name, 3, text));
        if (text[1] != 2 * C) return parity_wrong(c->file, "expected 2 * heads * head_channels channels", kv_name);
        TRY(parity_channels_last(p, c->file, kv_name, 3, text, &kv));
    }
    static const struct {
        const char *name;
        bool split_first, with_text;
    } ways[] = {{"legacy", false, false}, {"new", true, false}, {"glide", false, true}};
    for (int i = 0; i < 3; i++) {
        const char *out = parity_text(p, "%s/%s", group, ways[i].name);
        if (!h5file_has_dataset(c->file, out)) continue;
        if (ways[i].with_text && !kv) return parity_wrong(c->file, "needs encoder_kv beside it", out);
        Tensor *x = tape_input(c->t, DTYPE_F32, 3, (int64_t[]){in[0], in[2], in[1]}, qkv), *keys = NULL;
        if (ways[i].with_text) keys = tape_input(c->t, DTYPE_F32, 3, (int64_t[]){text[0], text[2], text[1]}, kv);
        Tensor *y = op_attention(c->t, x, keys, (int)heads, ways[i].split_first);
        TRY(check(c, y, out, 3, (int64_t[]){in[0], C, in[2]}, false));
    }
    return STATUS_OK;
}

static Status check_text_attention(Layers *c, const char *group)
{
    float *qkv;
    int64_t heads, C = 0, in[3];
    TRY(head_counts(c, group, &heads, &C));
    const char *name = parity_text(c->p, "%s/qkv", group);
    TRY(parity_shape(c->file, name, 3, in));
    if (in[2] != 3 * C) return parity_wrong(c->file, "expected 3 * heads * head_channels channels", name);
    TRY(parity_f32(c->p, c->file, name, 3, in, &qkv));
    Tensor *y = op_attention(c->t, tape_input(c->t, DTYPE_F32, 3, in, qkv), NULL, (int)heads, false);
    return check(c, y, parity_text(c->p, "%s/out", group), 3, (int64_t[]){in[0], in[1], C}, true);
}

static Status check_bilinear(Layers *c, const char *group)
{
    float *x;
    int *size, count;
    int64_t in[4];
    const char *name = parity_text(c->p, "%s/x", group);
    TRY(parity_shape(c->file, name, 4, in));
    TRY(parity_channels_last(c->p, c->file, name, 4, in, &x));
    TRY(parity_whole_numbers(c->p, c->file, group, "size", &size, &count));
    if (count != 2 || size[0] < 1 || size[1] < 1) return parity_wrong(c->file, "size: expected height and width", group);
    Tensor *small = tape_input(c->t, DTYPE_F32, 4, (int64_t[]){in[0], in[2], in[3], in[1]}, x);
    Tensor *y = op_resize_bilinear(c->t, small, size[0], size[1]);
    return check(c, y, parity_text(c->p, "%s/out", group), 4, (int64_t[]){in[0], in[1], size[0], size[1]}, false);
}

static Status check_resample(Layers *c, const char *group)
{
    float *x;
    int64_t d[4];
    const char *name = parity_text(c->p, "%s/x", group);
    TRY(parity_shape(c->file, name, 4, d));
    TRY(parity_channels_last(c->p, c->file, name, 4, d, &x));
    const int64_t dims[4] = {d[0], d[2], d[3], d[1]};
    Tensor *y = op_avg_pool2x(c->t, tape_input(c->t, DTYPE_F32, 4, dims, x));
    name = parity_text(c->p, "%s/avg_pool2x", group);
    TRY(check(c, y, name, 4, (int64_t[]){d[0], d[1], d[2] / 2, d[3] / 2}, false));
    y = op_upsample2x(c->t, tape_input(c->t, DTYPE_F32, 4, dims, x));
    name = parity_text(c->p, "%s/nearest2x", group);
    return check(c, y, name, 4, (int64_t[]){d[0], d[1], 2 * d[2], 2 * d[3]}, false);
}

static Status load_norm(Layers *c, const char *group, int64_t channels, ParamSet *set, Norm *norm)
{
    float *weight, *bias;
    TRY(parity_f32(c->p, c->file, parity_text(c->p, "%s/weight", group), 1, &channels, &weight));
    TRY(parity_f32(c->p, c->file, parity_text(c->p, "%s/bias", group), 1, &channels, &bias));
    *norm = norm_make(set, channels, "norm");
    if (!norm->gamma || !norm->beta) return status_fail(STATUS_NO_MEMORY, "out of memory");
    memcpy(norm->gamma->value, weight, (size_t)channels * sizeof *weight);
    memcpy(norm->beta->value, bias, (size_t)channels * sizeof *bias);
    return STATUS_OK;
}

static Status check_group_norm(Layers *c, const char *group, ParamSet *set)
{
    float *x;
    int64_t d[4];
    Norm norm;
    const char *name = parity_text(c->p, "%s/x", group);
    TRY(parity_shape(c->file, name, 4, d));
    TRY(parity_channels_last(c->p, c->file, name, 4, d, &x));
    TRY(load_norm(c, group, d[1], set, &norm));
    const int64_t dims[4] = {d[0], d[2], d[3], d[1]};
    Tensor *y = op_group_norm(c->t, tape_input(c->t, DTYPE_F32, 4, dims, x), &norm, NULL, ACT_NONE);
    TRY(check(c, y, parity_text(c->p, "%s/plain", group), 4, d, false));
    y = op_group_norm(c->t, tape_input(c->t, DTYPE_F32, 4, dims, x), &norm, NULL, ACT_SILU);
    return check(c, y, parity_text(c->p, "%s/swish", group), 4, d, false);
}

static Status check_layer_norm(Layers *c, const char *group, ParamSet *set)
{
    float *x;
    int64_t d[3];
    Norm norm;
    const char *name = parity_text(c->p, "%s/x", group);
    TRY(parity_shape(c->file, name, 3, d));
    TRY(parity_f32(c->p, c->file, name, 3, d, &x));
    TRY(load_norm(c, group, d[2], set, &norm));
    Tensor *y = op_layer_norm(c->t, tape_input(c->t, DTYPE_F32, 3, d, x), &norm);
    return check(c, y, parity_text(c->p, "%s/out", group), 3, d, true);
}

static Status check_picture(Layers *c, const char *group)
{
    Parity *p = c->p;
    float *x, *low_res;
    uint8_t *bytes;
    int64_t d[4], wrong = 0;
    const char *name = parity_text(p, "%s/x", group);
    TRY(parity_shape(c->file, name, 4, d));
    if (d[1] != 3 || d[2] > IMAGE_MAX_SIDE || d[3] > IMAGE_MAX_SIDE) return parity_wrong(c->file, "expected pictures", name);
    TRY(parity_channels_last(p, c->file, name, 4, d, &x));
    TRY(parity_channels_last(p, c->file, parity_text(p, "%s/low_res", group), 4, d, &low_res));
    name = parity_text(p, "%s/bytes", group);
    TRY(parity_u8(p, c->file, name, 4, d, &bytes));
    int64_t pixels = d[2] * d[3];
    for (int64_t n = 0; n < d[0]; n++) {
        Image image = {0};
        TRY(image_from_f32(x + n * pixels * 3, (int)d[3], (int)d[2], &image));
        for (int64_t i = 0; i < 3 * pixels; i++)
            wrong += image.pixels[i] != bytes[n * 3 * pixels + i % 3 * pixels + i / 3];
        image_release(&image);
    }
    parity_exact(p, parity_text(p, "%s %s", c->file_name, name), wrong, d[0] * 3 * pixels, NULL);
    upsampler_round_low_res(x, d[0] * 3 * pixels);
    parity_compare(p, parity_text(p, "%s %s/low_res", c->file_name, group), x, low_res, d[0] * 3 * pixels, layers_tolerance);
    return STATUS_OK;
}

/* A check for every group below `group`, which may hold any number of them. */
static Status check_each(Layers *c, const char *group, Status (*fn)(Layers *, const char *))
{
    char **names;
    int count;
    TRY(parity_list(c->p, c->file, group, H5LIST_GROUPS, &names, &count));
    for (int i = 0; i < count; i++) TRY(fn(c, parity_text(c->p, "%s/%s", group, names[i])));
    return STATUS_OK;
}

static Status check_group(Layers *c, const char *group)
{
    if (!strcmp(group, "activations")) return check_activations(c, group);
    if (!strcmp(group, "attention")) return check_each(c, group, check_attention);
    if (!strcmp(group, "text_attention")) return check_each(c, group, check_text_attention);
    if (!strcmp(group, "bilinear")) return check_each(c, group, check_bilinear);
    if (!strcmp(group, "resample")) return check_resample(c, group);
    if (!strcmp(group, "picture")) return check_picture(c, group);
    ParamSet set;
    Status s = STATUS_OK;
    params_init(&set);
    if (!strcmp(group, "group_norm")) s = check_group_norm(c, group, &set);
    else if (!strcmp(group, "layer_norm")) s = check_layer_norm(c, group, &set);
    else parity_skip(c->p, parity_text(c->p, "%s %s", c->file_name, group), "unknown group");
    params_release(&set);
    return s;
}

Status parity_layers(Parity *p, const char *name)
{
    H5File *file;
    char **groups;
    int count;
    Layers c = {.p = p, .file_name = name};
    TRY(parity_open(p, name, &file));
    c.file = file;
    Status s = tape_new(p->kernels, &c.t);
    if (s == STATUS_OK) s = parity_list(p, file, "/", H5LIST_GROUPS, &groups, &count);
    for (int i = 0; s == STATUS_OK && i < count; i++) s = check_group(&c, groups[i]);
    tape_free(c.t);
    h5file_close(file);
    return s;
}
