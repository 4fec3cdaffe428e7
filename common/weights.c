#include "common/weights.h"

#include "common/params_match.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the file --- */

static Status write_header(H5File *file, const char *kind)
{
    TRY(h5file_set_text(file, "/", "format", WEIGHTS_FORMAT));
    TRY(h5file_set_i64(file, "/", "format_version", WEIGHTS_VERSION));
    TRY(h5file_set_text(file, "/", "kind", kind));
    return h5file_make_group(file, "provenance");
}

Status weights_create(const char *path, const char *kind, H5File **out)
{
    assert(strlen(kind) < WEIGHTS_KIND_MAX);
    TRY(h5file_create(path, out));
    Status status = write_header(*out, kind);
    if (status == STATUS_OK) return STATUS_OK;
    h5file_close(*out);
    *out = NULL;
    return status;
}

Status weights_kind(const H5File *file, char kind[WEIGHTS_KIND_MAX])
{
    char *text;
    TRY(h5file_attr_text(file, "/", "kind", &text));
    snprintf(kind, WEIGHTS_KIND_MAX, "%s", text);
    free(text);
    return STATUS_OK;
}

static Status check_header(const H5File *file, const char *path, const char *kind)
{
    char found[WEIGHTS_KIND_MAX], *format;
    int64_t version;
    TRY(h5file_attr_text_or(file, "/", "format", "", &format));
    bool ours = !strcmp(format, WEIGHTS_FORMAT);
    if (!ours)
        status_fail(STATUS_BAD_INPUT, "%s: not a file of weights: its format is %s%.60s%s, expected \"%s\"", path,
                    *format ? "\"" : "", *format ? format : "not stated", *format ? "\"" : "", WEIGHTS_FORMAT);
    free(format);
    if (!ours) return STATUS_BAD_INPUT;
    TRY(h5file_attr_i64(file, "/", "format_version", &version));
    if (version < 1 || version > WEIGHTS_VERSION)
        return status_fail(STATUS_BAD_INPUT, "%s: weights of format version %lld, this program reads up to %d", path,
                           (long long)version, WEIGHTS_VERSION);
    TRY(weights_kind(file, found));
    if (kind && strcmp(kind, found))
        return status_fail(STATUS_BAD_INPUT, "%s: weights of kind \"%s\", expected \"%s\"", path, found, kind);
    return STATUS_OK;
}

Status weights_open(const char *path, const char *kind, H5File **out)
{
    TRY(h5file_open(path, out));
    Status status = check_header(*out, path, kind);
    if (status == STATUS_OK) return STATUS_OK;
    h5file_close(*out);
    *out = NULL;
    return status;
}

Status weights_write_merges(H5File *file, const char *text)
{
    return h5file_write_texts(file, "tokenizer/merges", &text, 1);
}

Status weights_read_merges(const H5File *file, char **text)
{
    char **texts;
    int count;
    *text = NULL;
    TRY(h5file_load_texts(file, "tokenizer/merges", &texts, &count));
    if (count == 1) *text = strdup(texts[0]);
    free(texts);
    if (count != 1)
        return status_fail(STATUS_BAD_INPUT, "%s: tokenizer/merges holds %d texts, expected 1", h5file_path(file), count);
    return *text ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "%s: out of memory for the merges", h5file_path(file));
}

/* --- arrays --- */

static Status dataset_name(const H5File *file, const char *group, const char *name, char out[512])
{
    if ((size_t)snprintf(out, 512, "%s/%s", group, name) < 512) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: name too long: %.60s...", h5file_path(file), name);
}

/* values NULL: the parameters themselves. */
static Status write_array(H5File *file, const char *group, const ParamSet *params, const float *values, H5Kind kind)
{
    char name[512];
    TRY(h5file_make_group(file, group));
    for (int i = 0; i < params->count; i++) {
        const Param *param = params->items[i];
        const float *from = values ? values : param->value;
        TRY(dataset_name(file, group, param->name, name));
        TRY(params_check_finite(h5file_path(file), name, from, param->size));
        TRY(h5file_write(file, name, kind, param->ndim, param->dims, from));
        if (values) values += param->size;
    }
    return STATUS_OK;
}

Status weights_write_param(H5File *file, const Param *param, H5Kind kind)
{
    char name[512];
    TRY(dataset_name(file, "params", param->name, name));
    TRY(params_check_finite(h5file_path(file), name, param->value, param->size));
    return h5file_write(file, name, kind, param->ndim, param->dims, param->value);
}

Status weights_write_params(H5File *file, const ParamSet *params, H5Kind kind)
{
    return write_array(file, "params", params, NULL, kind);
}

Status weights_write_array(H5File *file, const char *group, const ParamSet *params, const float *values, H5Kind kind)
{
    return write_array(file, group, params, values, kind);
}

/* What the group holds. The names are one block, infos and shapes another each; free all three. */
typedef struct GroupShapes {
    char **names;
    H5Info *infos;
    NamedShape *shapes;
    int count;
} GroupShapes;

static void group_shapes_release(GroupShapes *group)
{
    free(group->names);
    free(group->infos);
    free(group->shapes);
}

static Status group_shapes_read(const H5File *file, const char *group, GroupShapes *out)
{
    char name[512];
    TRY(h5file_list(file, group, H5LIST_DATASETS | H5LIST_RECURSE, &out->names, &out->count));
    out->infos = calloc((size_t)out->count + 1, sizeof *out->infos);
    out->shapes = calloc((size_t)out->count + 1, sizeof *out->shapes);
    if (!out->infos || !out->shapes)
        return status_fail(STATUS_NO_MEMORY, "%s: out of memory for %d names", h5file_path(file), out->count);
    for (int i = 0; i < out->count; i++) {
        TRY(dataset_name(file, group, out->names[i], name));
        TRY(h5file_stat(file, name, &out->infos[i]));
        out->shapes[i] = (NamedShape){out->names[i], out->infos[i].ndim, out->infos[i].dims};
    }
    return STATUS_OK;
}

/* infos (params->count, free()): where the values of each parameter are; NULL: not wanted. */
static Status match_group(const H5File *file, const char *group, const ParamSet *params, H5Info **infos)
{
    GroupShapes shapes = {0};
    int *index = malloc((size_t)(params->count + 1) * sizeof *index);
    if (infos) *infos = calloc((size_t)params->count + 1, sizeof **infos);
    Status status = index && (!infos || *infos) ? group_shapes_read(file, group, &shapes)
                                                : status_fail(STATUS_NO_MEMORY, "%s: out of memory", h5file_path(file));
    if (status == STATUS_OK) status = params_match(params, h5file_path(file), shapes.shapes, shapes.count, index);
    for (int i = 0; i < params->count && infos && status == STATUS_OK; i++) (*infos)[i] = shapes.infos[index[i]];
    group_shapes_release(&shapes);
    free(index);
    return status;
}

Status weights_match(const H5File *file, const ParamSet *params)
{
    return match_group(file, "params", params, NULL);
}

/* values NULL: into the parameters. */
static Status read_array(const H5File *file, const char *group, const ParamSet *params, float *values)
{
    char name[512];
    TRY(match_group(file, group, params, NULL));
    for (int i = 0; i < params->count; i++) {
        const Param *param = params->items[i];
        float *to = values ? values : param->value;
        TRY(dataset_name(file, group, param->name, name));
        TRY(h5file_read(file, name, H5KIND_F32, param->ndim, param->dims, to));
        TRY(params_check_finite(h5file_path(file), name, to, param->size));
        if (values) values += param->size;
    }
    return STATUS_OK;
}

Status weights_bind(const H5File *file, ParamSet *params)
{
    Status status = read_array(file, "params", params, NULL);
    params_touch(params);
    return status;
}

Status weights_read_array(const H5File *file, const char *group, const ParamSet *params, float *values)
{
    return read_array(file, group, params, values);
}

/* --- hash --- */

/* The finaliser of SplitMix64: every bit of the input changes half of the bits of the result. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* FNV-1a over 32-bit words in eight interleaved lanes: one multiplication per word, and no lane waits for another. Values come in
 * blocks; the length of each but the last is a multiple of the lanes. */
enum { LANES = 8 };

static void hash_block(uint64_t lane[LANES], const float *values, size_t count)
{
    for (size_t i = 0; i < count; i += LANES) {
        uint32_t words[LANES] = {0};
        size_t n = count - i < LANES ? count - i : LANES;
        memcpy(words, values + i, 4 * n);
        for (int j = 0; j < LANES; j++) lane[j] = (lane[j] ^ words[j]) * 0x100000001b3u;
    }
}

/* A parameter's share in the hash of its set: the sum, so that their order does not matter. */
static uint64_t hash_param(const Param *param, const uint64_t lane[LANES])
{
    uint64_t hash = 0xcbf29ce484222325u, values = param->size;
    for (int j = 0; j < LANES; j++) values = mix(values ^ lane[j]);
    for (const char *c = param->name; *c; c++) hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
    hash = mix(hash ^ (uint64_t)param->ndim);
    for (int j = 0; j < param->ndim; j++) hash = mix(hash ^ (uint64_t)param->dims[j]);
    return mix(hash ^ values);
}

/* Looks at each value once, wherever it is. *finite (may be NULL): false when one is not. */
static uint64_t read_and_hash(const Param *param, bool *finite)
{
    enum { BLOCK = 4096 };
    float block[BLOCK];
    uint64_t lane[LANES];
    for (int j = 0; j < LANES; j++) lane[j] = mix((uint64_t)j + 1);
    for (size_t i = 0; i < param->size; i += BLOCK) {
        size_t n = param->size - i < BLOCK ? param->size - i : BLOCK;
        if (!param->value) param_read(param, i, n, block);
        const float *values = param->value ? param->value + i : block;
        hash_block(lane, values, n);
        if (finite && params_check_finite("", "", values, n) != STATUS_OK) *finite = false;
    }
    return hash_param(param, lane);
}

uint64_t weights_hash(const ParamSet *params)
{
    uint64_t total = 0;
#pragma omp parallel for schedule(dynamic) reduction(+ : total)
    for (int i = 0; i < params->count; i++) total += read_and_hash(params->items[i], NULL);
    return mix(total);
}

/* --- mapping --- */

enum { MAPPED_FROM = 1 << 14 }; /* values; smaller parameters are in memory, where reading them costs nothing */

static Status place_param(const H5File *file, const ParamSet *params, Param *param, const H5Info *info)
{
    char name[512];
    bool half = info->kind == H5KIND_F16;
    size_t each = half ? sizeof(uint16_t) : sizeof(float), offset = (size_t)info->offset;
    bool plain = (half || info->kind == H5KIND_F32) && info->offset >= 0 && offset <= params->map_size &&
                 param->size <= (params->map_size - offset) / each;
    if (!plain) {
        TRY(dataset_name(file, "params", param->name, name));
        TRY(param_alloc(param));
        return h5file_read(file, name, H5KIND_F32, param->ndim, param->dims, param->value);
    }
    param->mapped = (const char *)params->map + offset;
    param->mapped_half = half;
    if (param->ndim > 1 && param->size >= MAPPED_FROM) {
        param->shared = !half && offset % each == 0; /* else a copy is made when it is fetched */
        if (param->shared) param->value = (float *)param->mapped;
        return STATUS_OK;
    }
    bool copied = param_fetch(param) != NULL;
    param->mapped = NULL;
    return copied ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "%s: out of memory for %s", h5file_path(file), param->name);
}

/* Looks at all values once. The name of the first parameter that is not finite decides what the error says. */
static Status check_and_hash(const H5File *file, const ParamSet *params, uint64_t *hash)
{
    uint64_t total = 0;
    int bad = params->count;
#pragma omp parallel for schedule(dynamic) reduction(+ : total) reduction(min : bad)
    for (int i = 0; i < params->count; i++) {
        bool finite = true;
        total += read_and_hash(params->items[i], &finite);
        if (!finite) bad = i < bad ? i : bad;
        param_leave(params->items[i]);
    }
    if (hash) *hash = mix(total);
    if (bad == params->count) return STATUS_OK;
    char name[512];
    Param *param = params->items[bad];
    const float *values = param_fetch(param);
    TRY(dataset_name(file, "params", param->name, name));
    if (!values) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", h5file_path(file));
    return params_check_finite(h5file_path(file), name, values, param->size);
}

Status weights_map(const H5File *file, ParamSet *params, uint64_t *hash)
{
    assert(params->shapes_only);
    H5Info *infos = NULL;
    Status s = match_group(file, "params", params, &infos);
    if (s == STATUS_OK) s = h5file_map(file, &params->map, &params->map_size);
    for (int i = 0; i < params->count && s == STATUS_OK; i++) s = place_param(file, params, params->items[i], &infos[i]);
    free(infos);
    TRY(s);
    params->shapes_only = false;
    params_touch(params);
    return check_and_hash(file, params, hash);
}

/* --- summary --- */

Status weights_summary(const H5File *file, WeightsSummary *out)
{
    *out = (WeightsSummary){0};
    GroupShapes shapes = {0};
    TRY(weights_kind(file, out->kind));
    Status status = group_shapes_read(file, "params", &shapes);
    for (int i = 0; i < shapes.count && status == STATUS_OK; i++) {
        out->elements += shapes.infos[i].size;
        if (shapes.infos[i].kind == H5KIND_F16) out->halves += shapes.infos[i].size;
    }
    out->params = shapes.count;
    group_shapes_release(&shapes);
    out->has_merges = h5file_has_dataset(file, "tokenizer/merges");
    out->has_checkpoint = h5file_has_group(file, "checkpoint");
    return status;
}
