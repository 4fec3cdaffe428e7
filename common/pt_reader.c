#include "common/pt_reader.h"

#include "common/float16.h"
#include "common/params_match.h"
#include "common/pt_source.h"
#include "common/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 16, MAX_VISITS = 1 << 20, MAX_NAME = 400 };

/* --- values of the pickle become tensors --- */

/* State of the walk over the pickle's values. */
typedef struct Walk {
    StateDict *dict;
    const PtSource *source;
    size_t capacity;
    int visits;
    bool flatten;
    char name[MAX_NAME]; /* of what is being looked at */
} Walk;

static Status bad_tensor(const Walk *walk, const char *what)
{
    char quote[64];
    status_fail(STATUS_BAD_INPUT, "%s: tensor %s: %s", walk->source->path, pickle_quote(walk->name, strlen(walk->name), quote),
                what);
    return STATUS_BAD_INPUT;
}

static bool is_call(const PickleValue *value, const char *name)
{
    return value->type == PICKLE_CALL && pickle_global_is(value->items[0], name);
}

/* The call that makes a tensor, out of the Parameters it may be wrapped in; NULL for anything else. */
static const PickleValue *tensor_call(const PickleValue *value)
{
    for (int i = 0; i < 4 && is_call(value, "torch._utils._rebuild_parameter") && value->items[1]->count >= 1; i++)
        value = value->items[1]->items[0];
    return is_call(value, "torch._utils._rebuild_tensor_v2") ? value : NULL;
}

/* A tuple of whole numbers >= 0; torch.Size((...)) is one too. */
static bool read_numbers(const PickleValue *value, int64_t numbers[PT_MAX_DIMS], int *count)
{
    if (is_call(value, "torch.Size") && value->items[1]->count == 1) value = value->items[1]->items[0];
    if ((value->type != PICKLE_TUPLE && value->type != PICKLE_LIST) || value->count > PT_MAX_DIMS) return false;
    for (uint32_t i = 0; i < value->count; i++) {
        if (value->items[i]->type != PICKLE_INT || value->items[i]->whole < 0) return false;
        numbers[i] = value->items[i]->whole;
    }
    *count = (int)value->count;
    return true;
}

/* Every element must lie in the storage. Expanded views (stride 0) may be larger than their storage, but not by so much
 * that a file asks for an array of floats of more than twice its own size. */
static Status check_extent(const Walk *walk, StateTensor *tensor)
{
    int64_t last = tensor->offset, step;
    bool ok = true;
    tensor->size = 1;
    for (int i = 0; i < tensor->ndim; i++)
        ok = ok && !__builtin_mul_overflow(tensor->size, tensor->dims[i], &tensor->size);
    for (int i = 0; i < tensor->ndim && ok && tensor->size > 0; i++)
        ok = !__builtin_mul_overflow(tensor->dims[i] - 1, tensor->strides[i], &step) &&
             !__builtin_add_overflow(last, step, &last);
    if (!ok) return bad_tensor(walk, "impossible shape");
    if (tensor->size > 0 && last >= tensor->storage_size) return bad_tensor(walk, "it reaches beyond its storage");
    if (tensor->size > tensor->storage_size && tensor->size > walk->source->bytes / 2 + (1 << 16))
        return bad_tensor(walk, "a small storage expanded to a huge size");
    return STATUS_OK;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]) */
static Status read_tensor(const Walk *walk, const PickleValue *call, StateTensor *tensor)
{
    const PickleValue *arguments = call->items[1];
    StorageId id;
    int strides;
    if (arguments->count < 6 || arguments->items[0]->type != PICKLE_PERSISTENT || arguments->items[1]->type != PICKLE_INT ||
        arguments->items[1]->whole < 0 || !read_numbers(arguments->items[2], tensor->dims, &tensor->ndim) ||
        !read_numbers(arguments->items[3], tensor->strides, &strides) || strides != tensor->ndim)
        return bad_tensor(walk, "made in an unknown way (or with more than 8 dimensions)");
    tensor->offset = arguments->items[1]->whole;
    TRY(pt_storage_id(walk->source, arguments->items[0], &id));
    TRY(pt_storage_place(walk->source, &id, &tensor->place));
    tensor->dtype = id.dtype;
    tensor->storage_size = id.count;
    return check_extent(walk, tensor);
}

static Status add_tensor(Walk *walk, const PickleValue *call)
{
    StateDict *dict = walk->dict;
    if ((size_t)dict->count == walk->capacity) {
        size_t capacity = walk->capacity ? 2 * walk->capacity : 64;
        if (capacity * sizeof *dict->items > pt_source_budget(walk->source))
            return status_fail(STATUS_BAD_INPUT, "%s: too many tensors for a file of this size", walk->source->path);
        StateTensor *items = realloc(dict->items, capacity * sizeof *items);
        if (!items) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", walk->source->path);
        dict->items = items;
        walk->capacity = capacity;
    }
    StateTensor *tensor = &dict->items[dict->count];
    *tensor = (StateTensor){0};
    TRY(read_tensor(walk, call, tensor));
    tensor->name = strdup(walk->name);
    if (!tensor->name) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", walk->source->path);
    dict->count++;
    return STATUS_OK;
}

/* Append a key to the name; `before` is where it goes. */
static Status extend_name(Walk *walk, size_t before, const PickleValue *key, uint32_t index)
{
    char number[24];
    const char *text = number, *dot = before ? "." : "";
    int64_t whole = key ? key->whole : (int64_t)index;
    size_t length = 0;
    if (key && key->type == PICKLE_TEXT) {
        text = key->text;
        length = key->count;
    } else if (!key || key->type == PICKLE_INT) {
        length = (size_t)snprintf(number, sizeof number, "%lld", (long long)whole);
    }
    if (length == 0 || length + before + 2 > MAX_NAME || memchr(text, '\0', length))
        return status_fail(STATUS_BAD_INPUT, "%s: an entry whose name is empty, too long or not a text", walk->source->path);
    snprintf(walk->name + before, MAX_NAME - before, "%s%.*s", dot, (int)length, text);
    return STATUS_OK;
}

static bool can_nest(const PickleValue *value)
{
    return value->type == PICKLE_DICT || value->type == PICKLE_LIST || value->type == PICKLE_TUPLE;
}

/* Tensors of a dictionary, or with `flatten` of any container. */
static Status walk_container(Walk *walk, const PickleValue *container, int depth)
{
    size_t before = strlen(walk->name);
    uint32_t step = container->type == PICKLE_DICT ? 2 : 1;
    if (depth == MAX_DEPTH)
        return status_fail(STATUS_BAD_INPUT, "%s: dictionaries nested more than %d deep", walk->source->path, MAX_DEPTH);
    for (uint32_t i = 0; i + step <= container->count; i += step) {
        const PickleValue *value = container->items[i + step - 1], *call = tensor_call(value);
        if (++walk->visits > MAX_VISITS)
            return status_fail(STATUS_BAD_INPUT, "%s: more than %d entries", walk->source->path, MAX_VISITS);
        if (!call && !(walk->flatten && can_nest(value))) {
            walk->dict->skipped++;
            continue;
        }
        TRY(extend_name(walk, before, step == 2 ? container->items[i] : NULL, i));
        TRY(call ? add_tensor(walk, call) : walk_container(walk, value, depth + 1));
        walk->name[before] = '\0';
    }
    return STATUS_OK;
}

/* --- which dictionary --- */

static bool holds_tensors(const PickleValue *dict)
{
    for (uint32_t i = 1; dict->type == PICKLE_DICT && i < dict->count; i += 2)
        if (tensor_call(dict->items[i])) return true;
    return false;
}

/* The first dictionary under `key`, outer ones before inner ones' contents. */
static const PickleValue *find_key(const PickleValue *dict, const char *key, int depth, int *visits)
{
    const PickleValue *found = pickle_get(dict, key);
    if (found && found->type == PICKLE_DICT) return found;
    for (uint32_t i = 1; i < dict->count && depth < MAX_DEPTH; i += 2) {
        if (++*visits > MAX_VISITS) return NULL;
        if (dict->items[i]->type != PICKLE_DICT) continue;
        found = find_key(dict->items[i], key, depth + 1, visits);
        if (found) return found;
    }
    return NULL;
}

static Status no_tensors(const PtSource *source, const PickleValue *root, const char *key)
{
    char names[200] = "", quote[64];
    size_t used = 0;
    for (uint32_t i = 0; i + 1 < root->count && used < 120; i += 2)
        if (root->items[i]->type == PICKLE_TEXT)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                                     pickle_quote(root->items[i]->text, root->items[i]->count, quote));
    if (key)
        return status_fail(STATUS_BAD_INPUT, "%s: no dictionary under the key %s; there are: %s", source->path, key, names);
    return status_fail(STATUS_BAD_INPUT, "%s: no tensors by name in it; there are: %s", source->path, names);
}

static Status choose_dict(const PtSource *source, const StateDictOptions *options, const PickleValue **out)
{
    const PickleValue *root = pickle_root(source->pickle);
    int visits = 0;
    if (tensor_call(root)) return status_fail(STATUS_BAD_INPUT, "%s: a single tensor, expected a dictionary", source->path);
    if (root->type != PICKLE_DICT)
        return status_fail(STATUS_BAD_INPUT, "%s: expected a dictionary of tensors", source->path);
    *out = root;
    if (options->key) *out = find_key(root, options->key, 0, &visits);
    else if (!options->flatten && !holds_tensors(root)) *out = find_key(root, "state_dict", 0, &visits);
    return *out ? STATUS_OK : no_tensors(source, root, options->key);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static Status check_names_differ(const StateDict *dict)
{
    char quote[64];
    const char **names = malloc((size_t)(dict->count + 1) * sizeof *names);
    if (!names) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", dict->source->path);
    for (int i = 0; i < dict->count; i++) names[i] = dict->items[i].name;
    qsort(names, (size_t)dict->count, sizeof *names, by_name);
    Status status = STATUS_OK;
    for (int i = 1; i < dict->count && status == STATUS_OK; i++)
        if (!strcmp(names[i - 1], names[i]))
            status = status_fail(STATUS_BAD_INPUT, "%s: there are two tensors %s", dict->source->path,
                                 pickle_quote(names[i], strlen(names[i]), quote));
    free(names);
    return status;
}

static Status fill_dict(StateDict *dict, const char *path, const StateDictOptions *options)
{
    const PickleValue *chosen;
    TRY(pt_source_open(path, &dict->source));
    TRY(choose_dict(dict->source, options, &chosen));
    Walk walk = {.dict = dict, .source = dict->source, .flatten = options->flatten};
    TRY(walk_container(&walk, chosen, 0));
    if (!dict->count) return no_tensors(dict->source, chosen, NULL);
    return check_names_differ(dict);
}

Status state_dict_open(const char *path, const StateDictOptions *options, StateDict **out)
{
    *out = NULL;
    StateDict *dict = calloc(1, sizeof *dict);
    if (!dict) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    Status status = fill_dict(dict, path, options ? options : &(StateDictOptions){0});
    if (status == STATUS_OK) *out = dict;
    else state_dict_close(dict);
    return status;
}

void state_dict_close(StateDict *dict)
{
    if (!dict) return;
    for (int i = 0; i < dict->count; i++) free(dict->items[i].name);
    free(dict->items);
    pt_source_close(dict->source);
    free(dict);
}

int64_t state_dict_bytes(const StateDict *dict)
{
    return dict->source->bytes;
}

StateTensor *state_dict_find(const StateDict *dict, const char *name)
{
    for (int i = 0; i < dict->count; i++)
        if (!strcmp(dict->items[i].name, name)) return &dict->items[i];
    return NULL;
}

/* --- values --- */

enum { BLOCK = 1024 }; /* elements gathered at a time */

/* out[i] = stored element i, for each stored type; `from` is not aligned. */
#define EACH(ctype, value)                                \
    for (int64_t i = 0; i < n; i++) {                     \
        ctype x;                                          \
        memcpy(&x, from + i * (int64_t)sizeof x, sizeof x); \
        to[i] = (value);                                  \
    }                                                     \
    break;

#define DEFINE_CONVERT(name, type)                                               \
    static void name(PtDType dtype, const uint8_t *from, int64_t n, void *out)   \
    {                                                                            \
        type *to = out;                                                          \
        switch (dtype) {                                                         \
        case PT_F32: EACH(float, (type)x)                                        \
        case PT_F16: EACH(uint16_t, (type)f16_to_f32(x))                         \
        case PT_BF16: EACH(uint16_t, (type)bf16_to_f32(x))                       \
        case PT_F64: EACH(double, (type)x)                                       \
        case PT_I64: EACH(int64_t, (type)x)                                      \
        case PT_I32: EACH(int32_t, (type)x)                                      \
        case PT_I16: EACH(int16_t, (type)x)                                      \
        case PT_I8: EACH(int8_t, (type)x)                                        \
        case PT_U8: EACH(uint8_t, (type)x)                                       \
        case PT_BOOL: EACH(uint8_t, (type)(x != 0))                              \
        }                                                                        \
    }
DEFINE_CONVERT(convert_f32, float)
DEFINE_CONVERT(convert_f64, double)
DEFINE_CONVERT(convert_i64, int64_t) /* called for whole numbers only */

static bool is_contiguous(const StateTensor *tensor)
{
    int64_t stride = 1;
    for (int i = tensor->ndim - 1; i >= 0; i--) {
        if (tensor->dims[i] != 1 && tensor->strides[i] != stride) return false;
        stride *= tensor->dims[i];
    }
    return true;
}

/* Copy the next n elements in row-major order; `from` is the first element of all, index (ndim) counts along. */
static void gather(const StateTensor *tensor, const uint8_t *from, int64_t *index, int64_t n, uint8_t *out)
{
    size_t size = pt_dtype_size(tensor->dtype);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        for (int j = 0; j < tensor->ndim; j++) at += index[j] * tensor->strides[j];
        memcpy(out + (size_t)i * size, from + (size_t)at * size, size);
        for (int j = tensor->ndim - 1; j >= 0 && ++index[j] == tensor->dims[j]; j--) index[j] = 0;
    }
}

/* Elements of the storage from the tensor's first to its last. */
static int64_t extent(const StateTensor *tensor)
{
    int64_t last = 0;
    for (int i = 0; i < tensor->ndim; i++) last += (tensor->dims[i] - 1) * tensor->strides[i];
    return last + 1;
}

static Status read_values(StateDict *dict, const StateTensor *tensor, size_t out_size, void *out,
                          void (*convert)(PtDType dtype, const uint8_t *from, int64_t n, void *out))
{
    const uint8_t *from;
    int64_t size = (int64_t)pt_dtype_size(tensor->dtype), index[PT_MAX_DIMS] = {0};
    uint8_t block[BLOCK * 8];
    if (tensor->size == 0) return STATUS_OK;
    TRY(pt_storage_bytes(dict->source, tensor->place, tensor->storage_size * size, tensor->offset * size,
                         extent(tensor) * size, &from));
    if (is_contiguous(tensor)) {
        convert(tensor->dtype, from, tensor->size, out);
        return STATUS_OK;
    }
    for (int64_t i = 0; i < tensor->size; i += BLOCK) {
        int64_t n = tensor->size - i < BLOCK ? tensor->size - i : BLOCK;
        gather(tensor, from, index, n, block);
        convert(tensor->dtype, block, n, (char *)out + (size_t)i * out_size);
    }
    return STATUS_OK;
}

Status state_dict_read_f32(StateDict *dict, const StateTensor *tensor, float *out)
{
    return read_values(dict, tensor, sizeof *out, out, convert_f32);
}

Status state_dict_read_f64(StateDict *dict, const StateTensor *tensor, double *out)
{
    return read_values(dict, tensor, sizeof *out, out, convert_f64);
}

Status state_dict_read_i64(StateDict *dict, const StateTensor *tensor, int64_t *out)
{
    if (tensor->dtype <= PT_F64)
        return status_fail(STATUS_BAD_INPUT, "%s: tensor %s is %s, expected whole numbers", dict->source->path, tensor->name,
                           pt_dtype_name(tensor->dtype));
    return read_values(dict, tensor, sizeof *out, out, convert_i64);
}

Status state_dict_read_param(StateDict *dict, const StateTensor *tensor, Param *param)
{
    if (tensor->dtype > PT_F64)
        return status_fail(STATUS_BAD_INPUT, "%s: tensor %s is %s, expected floating point", dict->source->path, tensor->name,
                           pt_dtype_name(tensor->dtype));
    TRY(state_dict_read_f32(dict, tensor, param->value));
    return params_check_finite(dict->source->path, tensor->name, param->value, param->size);
}

Status state_dict_match(const StateDict *dict, const ParamSet *params, int *index)
{
    NamedShape *shapes = malloc((size_t)(dict->count + 1) * sizeof *shapes);
    if (!shapes) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", dict->source->path);
    for (int i = 0; i < dict->count; i++)
        shapes[i] = (NamedShape){dict->items[i].name, dict->items[i].ndim, dict->items[i].dims};
    Status status = params_match(params, dict->source->path, shapes, dict->count, index);
    free(shapes);
    return status;
}

Status state_dict_bind(StateDict *dict, ParamSet *params)
{
    int *index = malloc((size_t)(params->count + 1) * sizeof *index);
    if (!index) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", dict->source->path);
    Status status = state_dict_match(dict, params, index);
    for (int i = 0; i < params->count && status == STATUS_OK; i++)
        status = state_dict_read_param(dict, &dict->items[index[i]], params->items[i]);
    params_touch(params);
    free(index);
    return status;
}
