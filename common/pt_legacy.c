/* The format of torch.save() before PyTorch 1.6: five pickles one after the other (a magic number, the protocol's version,
 * facts about the machine, the saved object, the list of storage keys), then for each key a 64-bit count of elements and
 * the elements. Source: torch/serialization.py, _legacy_save and _legacy_load. */
#include "common/pt_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* PROTO 2, LONG1 of 10 bytes: 0x1950a86a20f9469cfc6c, STOP */
static const uint8_t magic[15] = {0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

bool pt_legacy_is(const uint8_t *start, size_t size)
{
    return size >= sizeof magic && !memcmp(start, magic, sizeof magic);
}

/* Where the reading stands, in the part of the file that is in memory. */
typedef struct LegacyReader {
    PtSource *source;
    size_t at;
} LegacyReader;

static Status next_pickle(LegacyReader *r, Pickle **out)
{
    const PtSource *source = r->source;
    const PickleOptions options = {.allowed = pt_allowed_names, .max_bytes = pt_source_budget(source)};
    size_t used = 0;
    Status status = pickle_read(source->pickled + r->at, source->pickled_size - r->at, &options, out, &used);
    r->at += used;
    return status == STATUS_OK ? STATUS_OK : status_prefix(status, "%s", source->path);
}

static Status check_machine(LegacyReader *r)
{
    Pickle *pickle;
    TRY(next_pickle(r, &pickle));
    bool version_ok = pickle_root(pickle)->type == PICKLE_INT && pickle_root(pickle)->whole == 1001;
    pickle_free(pickle);
    if (!version_ok)
        return status_fail(STATUS_BAD_INPUT, "%s: older PyTorch format, but not of version 1001", r->source->path);
    TRY(next_pickle(r, &pickle));
    const PickleValue *little = pickle_get(pickle_root(pickle), "little_endian");
    bool little_ok = little && little->type == PICKLE_BOOL && little->whole;
    pickle_free(pickle);
    return little_ok ? STATUS_OK
                     : status_fail(STATUS_BAD_INPUT, "%s: saved on a big-endian machine, expected little-endian",
                                   r->source->path);
}

static int by_key(const void *a, const void *b)
{
    const LegacyStorage *x = a, *y = b;
    size_t shorter = x->key_length < y->key_length ? x->key_length : y->key_length;
    int order = memcmp(x->key, y->key, shorter);
    return order ? order : (x->key_length > y->key_length) - (x->key_length < y->key_length);
}

static LegacyStorage *find_storage(const PtSource *source, const char *key, uint32_t key_length)
{
    const LegacyStorage wanted = {.key = key, .key_length = key_length};
    if (!source->legacy_count) return NULL;
    return bsearch(&wanted, source->legacy, (size_t)source->legacy_count, sizeof wanted, by_key);
}

/* The table of storages that the object mentions, each once, not yet placed. */
static Status collect_storages(PtSource *source)
{
    const PickleValue *ids = pickle_persistents(source->pickle);
    int unique = 0;
    source->legacy = calloc((size_t)ids->count + 1, sizeof *source->legacy);
    if (!source->legacy) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", source->path);
    for (uint32_t i = 0; i < ids->count; i++) {
        StorageId id;
        TRY(pt_storage_id(source, ids->items[i], &id));
        source->legacy[i] = (LegacyStorage){id.key, id.key_length, id.dtype, id.count, -1};
    }
    qsort(source->legacy, ids->count, sizeof *source->legacy, by_key);
    for (uint32_t i = 0; i < ids->count; i++) {
        LegacyStorage *storage = &source->legacy[i], *last = unique ? &source->legacy[unique - 1] : NULL;
        if (last && by_key(last, storage) == 0) {
            if (last->dtype == storage->dtype && last->count == storage->count) continue;
            return status_fail(STATUS_BAD_INPUT, "%s: damaged pickle: one storage with two sizes", source->path);
        }
        source->legacy[unique++] = *storage;
    }
    source->legacy_count = unique;
    return STATUS_OK;
}

/* The elements of the storages follow the last pickle in the order of the list of keys. */
static Status place_storages(PtSource *source, const PickleValue *keys, int64_t at)
{
    if (keys->type != PICKLE_LIST)
        return status_fail(STATUS_BAD_INPUT, "%s: damaged file: no list of storages", source->path);
    for (uint32_t i = 0; i < keys->count; i++) {
        const PickleValue *key = keys->items[i];
        LegacyStorage *storage = key->type == PICKLE_TEXT ? find_storage(source, key->text, key->count) : NULL;
        int64_t count, bytes;
        if (!storage || storage->offset >= 0)
            return status_fail(STATUS_BAD_INPUT, "%s: damaged file: a storage in the list that no tensor has", source->path);
        bool fits = pread(source->fd, &count, 8, at) == 8;
        at += 8;
        if (fits && count != storage->count)
            return status_fail(STATUS_BAD_INPUT, "%s: a storage has %lld elements, expected %lld", source->path,
                               (long long)count, (long long)storage->count);
        fits = fits && !__builtin_mul_overflow(count, (int64_t)pt_dtype_size(storage->dtype), &bytes) &&
               bytes <= source->bytes - at;
        if (!fits)
            return status_fail(STATUS_BAD_INPUT, "%s: the file is truncated: only %u of %u storages are there", source->path,
                               i, keys->count);
        storage->offset = at;
        at += bytes;
    }
    return STATUS_OK;
}

/* The pickles are at the start, and how long they are shows only when they are read: the whole file is read if it is small,
 * else its beginning, which for a real file holds all of them. */
static Status read_start(PtSource *source)
{
    const int64_t limit = (int64_t)64 << 20;
    source->pickled_size = (size_t)(source->bytes < limit ? source->bytes : limit);
    source->pickled = malloc(source->pickled_size);
    if (!source->pickled) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", source->path);
    if (pread(source->fd, source->pickled, source->pickled_size, 0) != (ssize_t)source->pickled_size)
        return status_fail(STATUS_IO, "%s: cannot read", source->path);
    return STATUS_OK;
}

Status pt_legacy_open(PtSource *source)
{
    LegacyReader reader = {.source = source, .at = sizeof magic};
    Pickle *keys = NULL;
    TRY(read_start(source));
    TRY(check_machine(&reader));
    TRY(next_pickle(&reader, &source->pickle));
    TRY(collect_storages(source));
    TRY(next_pickle(&reader, &keys));
    Status status = place_storages(source, pickle_root(keys), (int64_t)reader.at);
    pickle_free(keys);
    return status;
}

Status pt_legacy_place(const PtSource *source, const StorageId *id, int64_t *place)
{
    const LegacyStorage *storage = find_storage(source, id->key, id->key_length);
    char quote[64];
    if (!storage || storage->offset < 0)
        return status_fail(STATUS_BAD_INPUT, "%s: storage %s is missing from the file", source->path,
                           pickle_quote(id->key, id->key_length, quote));
    *place = storage->offset;
    return STATUS_OK;
}
