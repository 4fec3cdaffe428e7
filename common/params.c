#include "common/params.h"

#include "common/float16.h"
#include "common/rng.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void params_init(ParamSet *set)
{
    *set = (ParamSet){0};
}

static void packed_free(struct ParamPacked packed[PARAM_MAX_PACKED])
{
    for (int i = 0; i < PARAM_MAX_PACKED; i++) {
        if (packed[i].key && packed[i].destroy) packed[i].destroy(packed[i].data);
        packed[i] = (struct ParamPacked){0};
    }
}

static void param_free(Param *param)
{
    if (!param) return;
    packed_free(param->packed);
    packed_free(param->shelf.packed);
    pthread_mutex_destroy(&param->shelf.lock);
    free(param->name);
    if (!param->shared) free(param->value);
    if (!param->grad_owner || param->grad_owner == param) free(param->grad);
    pthread_mutex_destroy(&param->grad_lock);
    free(param);
}

void params_release(ParamSet *set)
{
    for (int i = 0; i < set->count; i++) param_free(set->items[i]);
    free(set->items);
    if (set->map) munmap(set->map, set->map_size);
    params_init(set);
}

static size_t value_bytes(size_t size)
{
    size_t bytes = (size * sizeof(float) + 63) / 64 * 64;
    return bytes ? bytes : 64;
}

/* Zero-filled and aligned for the widest vectors; NULL when out of memory. */
static float *new_values(size_t size)
{
    float *values = aligned_alloc(64, value_bytes(size));
    if (values) memset(values, 0, value_bytes(size));
    return values;
}

static bool make_room(ParamSet *set)
{
    if (set->count < set->capacity) return true;
    int capacity = set->capacity ? 2 * set->capacity : 64;
    Param **items = realloc(set->items, (size_t)capacity * sizeof *items);
    if (!items) return false;
    set->items = items;
    set->capacity = capacity;
    return true;
}

Param *params_add(ParamSet *set, ParamInit init, float init_scale, int ndim, const int64_t *dims, const char *format, ...)
{
    assert(ndim >= 0 && ndim <= 4);
    Param *param = set->failed ? NULL : calloc(1, sizeof *param);
    set->failed = !param;
    if (!param) return NULL;
    pthread_mutex_init(&param->shelf.lock, NULL);
    pthread_mutex_init(&param->grad_lock, NULL);
    va_list args;
    va_start(args, format);
    if (vasprintf(&param->name, format, args) < 0) param->name = NULL;
    va_end(args);
    param->ndim = ndim;
    param->size = 1;
    bool fits = true;
    for (int i = 0; i < ndim; i++) {
        assert(dims[i] >= 0);
        param->dims[i] = dims[i];
        fits = fits && !__builtin_mul_overflow(param->size, (size_t)dims[i], &param->size) && param->size < SIZE_MAX / 16;
    }
    param->trainable = true;
    param->lr_scale = 1;
    param->init = init;
    param->init_scale = init_scale;
    param->version = 1;
    if (fits && !set->shapes_only) param->value = new_values(param->size);
    if (!param->name || !fits || !(param->value || set->shapes_only) || !make_room(set)) {
        param_free(param);
        set->failed = true;
        return NULL;
    }
    set->items[set->count++] = param;
    set->total += param->size;
    return param;
}

Param *params_find(const ParamSet *set, const char *name)
{
    for (int i = 0; i < set->count; i++)
        if (!strcmp(set->items[i]->name, name)) return set->items[i];
    return NULL;
}

/* --- values in a file ------------------------------------------------------------------------------ */

void param_read(const Param *param, size_t first, size_t count, float *out)
{
    const char *mapped = param->mapped;
    if (param->value || !mapped || !param->mapped_half) {
        const char *from = param->value ? (const char *)param->value : mapped;
        memcpy(out, from + first * sizeof *out, count * sizeof *out);
        return;
    }
    mapped += first * sizeof(uint16_t);
    for (size_t i = 0; i < count; i++) {
        uint16_t half; /* at any address: old files do not align their datasets */
        memcpy(&half, mapped + sizeof half * i, sizeof half);
        out[i] = f16_to_f32(half);
    }
}

void param_read_all(const Param *param, float *out)
{
    enum { BLOCK = 1 << 15 };
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < param->size; i += BLOCK)
        param_read(param, i, param->size - i < BLOCK ? param->size - i : BLOCK, out + i);
}

float *param_fetch(Param *param)
{
    if (param->value || !param->mapped) return param->value;
    float *values = aligned_alloc(64, value_bytes(param->size));
    if (values) param_read_all(param, values);
    return param->value = values;
}

/* Pages that lie wholly within the values are the file's again; the ones at the ends hold neighbours' values, too. */
static void forget_pages(const Param *param)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)param->mapped;
    uintptr_t end = begin + param->size * (param->mapped_half ? sizeof(uint16_t) : sizeof(float));
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
    if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void param_leave(Param *param)
{
    if (!param->mapped) return;
    if (!param->shared) { /* a copy that param_fetch() made */
        free(param->value);
        param->value = NULL;
    }
    forget_pages(param);
}

/* --- initial values -------------------------------------------------------------------------------- */

/* What feeds one output: all dimensions but the first; of a vector, its length. */
static double fan_in(const Param *param)
{
    double fan = param->ndim == 1 ? (double)param->dims[0] : 1;
    for (int i = 1; i < param->ndim; i++) fan *= (double)param->dims[i];
    return fan > 0 ? fan : 1;
}

void param_randomize(Param *param, uint64_t seed, int index)
{
    const RngKey key = {.seed = seed, .stream = RNG_PARAMS, .image = (uint32_t)index};
    float *value = param->value;
    switch (param->init) {
    case INIT_ZERO:
        memset(value, 0, param->size * sizeof *value);
        break;
    case INIT_ONE:
        for (size_t i = 0; i < param->size; i++) value[i] = 1;
        break;
    case INIT_FAN_IN: {
        float bound = (float)(param->init_scale / sqrt(fan_in(param)));
        rng_uniforms(&key, value, (int64_t)param->size);
        for (size_t i = 0; i < param->size; i++) value[i] = (2 * value[i] - 1) * bound; /* 2u - 1 is exact */
        break;
    }
    case INIT_NORMAL:
        rng_normal(&key, value, (int64_t)param->size);
        for (size_t i = 0; i < param->size; i++) value[i] *= param->init_scale;
        break;
    }
}

void params_randomize(ParamSet *set, uint64_t seed)
{
    for (int i = 0; i < set->count; i++) param_randomize(set->items[i], seed, i);
    params_touch(set);
}

Status param_alloc(Param *param)
{
    if (!param->value) param->value = new_values(param->size);
    if (param->value) return STATUS_OK;
    return status_fail(STATUS_NO_MEMORY, "out of memory for %s (%zu values)", param->name, param->size);
}

Status params_alloc(ParamSet *set)
{
    for (int i = 0; i < set->count; i++) TRY(param_alloc(set->items[i]));
    set->shapes_only = false;
    return STATUS_OK;
}

void params_share(ParamSet *set, const ParamSet *owner)
{
    assert(set->shapes_only && set->count == owner->count);
    for (int i = 0; i < set->count; i++) {
        assert(!strcmp(set->items[i]->name, owner->items[i]->name) && set->items[i]->size == owner->items[i]->size);
        Param *from = owner->items[i];
        if (!from->owner) packed_free(from->packed); /* it finds others on its shelf */
        from->owner = from;
        set->items[i]->owner = from;
        set->items[i]->value = from->value;
        set->items[i]->shared = true;
    }
    set->shapes_only = false;
}

void params_share_grads(ParamSet *set, ParamSet *with)
{
    assert(set->count == with->count);
    for (int i = 0; i < set->count; i++) {
        Param *mine = set->items[i], *owner = with->items[i];
        if (!mine->matrix) continue;
        assert(mine->grad && owner->grad && !mine->grad_owner && (!owner->grad_owner || owner->grad_owner == owner));
        free(mine->grad);
        mine->grad = owner->grad;
        mine->grad_owner = owner->grad_owner = owner;
    }
}

Status params_alloc_grads(ParamSet *set)
{
    for (int i = 0; i < set->count; i++) {
        Param *param = set->items[i];
        if (!param->grad) param->grad = new_values(param->size);
        if (!param->grad)
            return status_fail(STATUS_NO_MEMORY, "out of memory for the gradient of %s (%zu values)", param->name,
                               param->size);
    }
    params_zero_grads(set);
    return STATUS_OK;
}

void params_zero_grads(ParamSet *set)
{
    for (int i = 0; i < set->count; i++)
        if (set->items[i]->grad) memset(set->items[i]->grad, 0, set->items[i]->size * sizeof(float));
}

pthread_mutex_t *param_grad_lock(const Param *param)
{
    return param->grad_owner ? &param->grad_owner->grad_lock : NULL;
}

void params_touch(ParamSet *set)
{
    for (int i = 0; i < set->count; i++) set->items[i]->version++;
}
