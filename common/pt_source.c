#include "common/pt_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- types --- */

static const struct {
    const char *storage, *name;
    size_t size;
} dtypes[] = {
    [PT_F32] = {"torch.FloatStorage", "float32", 4},       [PT_F16] = {"torch.HalfStorage", "float16", 2},
    [PT_BF16] = {"torch.BFloat16Storage", "bfloat16", 2},  [PT_F64] = {"torch.DoubleStorage", "float64", 8},
    [PT_I64] = {"torch.LongStorage", "int64", 8},          [PT_I32] = {"torch.IntStorage", "int32", 4},
    [PT_I16] = {"torch.ShortStorage", "int16", 2},         [PT_I8] = {"torch.CharStorage", "int8", 1},
    [PT_U8] = {"torch.ByteStorage", "uint8", 1},           [PT_BOOL] = {"torch.BoolStorage", "bool", 1},
};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

const char *const pt_allowed_names[] = {
    "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch.Size",
    "torch.FloatStorage", "torch.HalfStorage", "torch.BFloat16Storage", "torch.DoubleStorage", "torch.LongStorage",
    "torch.IntStorage", "torch.ShortStorage", "torch.CharStorage", "torch.ByteStorage", "torch.BoolStorage", NULL};

const char *pt_dtype_name(PtDType dtype)
{
    return dtypes[dtype].name;
}

size_t pt_dtype_size(PtDType dtype)
{
    return dtypes[dtype].size;
}

/* --- the zip archive --- */

size_t pt_source_budget(const PtSource *source)
{
    return ((size_t)16 << 20) + 2 * (size_t)source->bytes;
}

/* The record that ends every zip archive; without it the file was cut off. */
static bool has_end_record(const char *path, int64_t bytes)
{
    uint8_t tail[4096]; /* PyTorch writes no comment after the record, so it is the last 22 bytes */
    size_t want = bytes < (int64_t)sizeof tail ? (size_t)bytes : sizeof tail;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool got = fd >= 0 && pread(fd, tail, want, bytes - (int64_t)want) == (ssize_t)want;
    if (fd >= 0) close(fd);
    for (size_t i = 0; got && i + 22 <= want; i++)
        if (!memcmp(tail + i, "PK\5\6", 4)) return true;
    return false;
}

static Status zip_failed(const PtSource *source, int code)
{
    if (code == ZIP_ER_MEMORY) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", source->path);
    if (!has_end_record(source->path, source->bytes))
        return status_fail(STATUS_BAD_INPUT, "%s: the file is truncated: it starts as a zip archive, but the directory at "
                           "its end is missing (%lld bytes are there)", source->path, (long long)source->bytes);
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    status_fail(STATUS_BAD_INPUT, "%s: damaged zip archive: %s", source->path, zip_error_strerror(&error));
    zip_error_fini(&error);
    return STATUS_BAD_INPUT;
}

/* Only stored, not compressed, entries: PyTorch writes no others, and so no entry is larger than the file. */
static Status entry_size(const PtSource *source, zip_uint64_t index, const char *name, int64_t *size)
{
    zip_stat_t st;
    const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if (zip_stat_index(source->zip, index, 0, &st) != 0 || (st.valid & needed) != needed)
        return status_fail(STATUS_BAD_INPUT, "%s: damaged zip archive: entry %s", source->path, name);
    if (st.comp_method != ZIP_CM_STORE || st.encryption_method != ZIP_EM_NONE)
        return status_fail(STATUS_BAD_INPUT, "%s: entry %s is compressed or encrypted, which PyTorch never does", source->path,
                           name);
    if (st.size > (zip_uint64_t)source->bytes || st.comp_size != st.size)
        return status_fail(STATUS_BAD_INPUT, "%s: damaged zip archive: entry %s claims %llu bytes", source->path, name,
                           (unsigned long long)st.size);
    *size = (int64_t)st.size;
    return STATUS_OK;
}

/* libzip compares the checksum when it meets the end, so one more byte is asked for. */
static Status read_entry(const PtSource *source, zip_uint64_t index, const char *name, int64_t size, uint8_t **out)
{
    uint8_t *bytes = malloc(size ? (size_t)size : 1), extra;
    if (!bytes) return status_fail(STATUS_NO_MEMORY, "%s: out of memory for %lld bytes", source->path, (long long)size);
    zip_file_t *entry = zip_fopen_index(source->zip, index, 0);
    int64_t got = 0;
    while (entry && got < size) {
        zip_int64_t n = zip_fread(entry, bytes + got, (zip_uint64_t)(size - got));
        if (n <= 0) break;
        got += n;
    }
    bool complete = entry && got == size && zip_fread(entry, &extra, 1) == 0;
    if (!complete)
        status_fail(STATUS_BAD_INPUT, "%s: damaged zip archive: entry %s: %s", source->path, name,
                    entry ? zip_file_strerror(entry) : zip_strerror(source->zip));
    if (entry) zip_fclose(entry);
    *out = complete ? bytes : NULL;
    if (!complete) free(bytes);
    return complete ? STATUS_OK : STATUS_BAD_INPUT;
}

/* "NAME/data.pkl"; NAME is what the file was called when it was saved. */
static Status find_pickle(PtSource *source, zip_uint64_t *index)
{
    zip_int64_t entries = zip_get_num_entries(source->zip, 0);
    for (zip_int64_t i = 0; i < entries; i++) {
        const char *name = zip_get_name(source->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        size_t length = name ? strlen(name) : 0;
        if (length < 8 || strcmp(name + length - 8, "data.pkl") || (length > 8 && name[length - 9] != '/')) continue;
        source->prefix = strndup(name, length - 8);
        *index = (zip_uint64_t)i;
        return source->prefix ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "%s: out of memory", source->path);
    }
    return status_fail(STATUS_BAD_INPUT, "%s: a zip archive, but not one of PyTorch: it has no data.pkl", source->path);
}

/* Newer PyTorch says which byte order the machine had. */
static Status check_byte_order(const PtSource *source)
{
    char name[300];
    int64_t size;
    uint8_t *order;
    snprintf(name, sizeof name, "%.280sbyteorder", source->prefix);
    zip_int64_t index = zip_name_locate(source->zip, name, ZIP_FL_ENC_RAW);
    if (index < 0) return STATUS_OK;
    TRY(entry_size(source, (zip_uint64_t)index, name, &size));
    TRY(read_entry(source, (zip_uint64_t)index, name, size, &order));
    bool little = size == 6 && !memcmp(order, "little", 6);
    free(order);
    return little ? STATUS_OK
                  : status_fail(STATUS_BAD_INPUT, "%s: saved on a big-endian machine, expected little-endian", source->path);
}

static Status open_zip(PtSource *source)
{
    int code = 0;
    zip_uint64_t index = 0;
    int64_t size;
    source->zip = zip_open(source->path, ZIP_RDONLY, &code);
    if (!source->zip) return zip_failed(source, code);
    TRY(find_pickle(source, &index));
    TRY(check_byte_order(source));
    TRY(entry_size(source, index, "data.pkl", &size));
    TRY(read_entry(source, index, "data.pkl", size, &source->pickled));
    source->pickled_size = (size_t)size;
    const PickleOptions options = {.allowed = pt_allowed_names, .max_bytes = pt_source_budget(source)};
    Status status = pickle_read(source->pickled, source->pickled_size, &options, &source->pickle, NULL);
    return status == STATUS_OK ? STATUS_OK : status_prefix(status, "%s", source->path);
}

/* --- either format --- */

static Status open_source(PtSource *source)
{
    struct stat st;
    uint8_t start[16] = {0};
    source->fd = open(source->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (source->fd < 0 || fstat(source->fd, &st) != 0)
        return status_fail(errno == ENOENT ? STATUS_BAD_INPUT : STATUS_IO, "%s: %s", source->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return status_fail(STATUS_BAD_INPUT, "%s: not a regular file, expected a PyTorch checkpoint", source->path);
    source->bytes = st.st_size;
    ssize_t got = pread(source->fd, start, sizeof start, 0);
    if (got > 0 && pt_legacy_is(start, (size_t)got)) return pt_legacy_open(source);
    close(source->fd);
    source->fd = -1;
    if (got == 0) return status_fail(STATUS_BAD_INPUT, "%s: the file is empty, expected a PyTorch checkpoint", source->path);
    if (got >= 2 && !memcmp(start, "PK\3\4", got < 4 ? (size_t)got : 4)) return open_zip(source);
    return status_fail(STATUS_BAD_INPUT, "%s: not a PyTorch checkpoint (neither a zip archive nor the older format)",
                       source->path);
}

Status pt_source_open(const char *path, PtSource **out)
{
    *out = NULL;
    PtSource *source = calloc(1, sizeof *source);
    if (!source || !(source->path = strdup(path))) {
        free(source);
        return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    }
    source->fd = -1;
    source->cache_place = -1;
    Status status = open_source(source);
    if (status == STATUS_OK) *out = source;
    else pt_source_close(source);
    return status;
}

void pt_source_close(PtSource *source)
{
    if (!source) return;
    pickle_free(source->pickle);
    if (source->zip) zip_discard(source->zip);
    if (source->fd >= 0) close(source->fd);
    free(source->path);
    free(source->pickled);
    free(source->prefix);
    free(source->legacy);
    free(source->cache);
    free(source->verified);
    free(source);
}

/* ("storage", torch.FloatStorage, key, device, number of elements[, None in the older format]) */
Status pt_storage_id(const PtSource *source, const PickleValue *persistent, StorageId *out)
{
    const PickleValue *id = persistent->items[0];
    bool ok = id->type == PICKLE_TUPLE && id->count >= 5 && id->count <= 6 && pickle_text_is(id->items[0], "storage") &&
              id->items[1]->type == PICKLE_GLOBAL && id->items[2]->type == PICKLE_TEXT && id->items[4]->type == PICKLE_INT &&
              id->items[4]->whole >= 0;
    if (!ok) return status_fail(STATUS_BAD_INPUT, "%s: damaged pickle: not the id of a storage", source->path);
    if (id->count == 6 && id->items[5]->type != PICKLE_NONE)
        return status_fail(STATUS_BAD_INPUT, "%s: views of storages (PyTorch before 0.4) are not supported", source->path);
    int dtype = 0;
    while (dtype < DTYPES && !pickle_global_is(id->items[1], dtypes[dtype].storage)) dtype++;
    if (dtype == DTYPES) {
        char quote[64];
        return status_fail(STATUS_BAD_INPUT, "%s: storages of type %s are not supported", source->path,
                           pickle_quote(id->items[1]->text, id->items[1]->count, quote));
    }
    *out = (StorageId){id->items[2]->text, id->items[2]->count, (PtDType)dtype, id->items[4]->whole};
    return STATUS_OK;
}

Status pt_storage_place(const PtSource *source, const StorageId *id, int64_t *place)
{
    char name[400], quote[64];
    int64_t size, bytes;
    pickle_quote(id->key, id->key_length, quote);
    if (__builtin_mul_overflow(id->count, (int64_t)dtypes[id->dtype].size, &bytes) || bytes > source->bytes)
        return status_fail(STATUS_BAD_INPUT, "%s: storage %s claims %lld values, more than the file has", source->path, quote,
                           (long long)id->count);
    if (!source->zip) return pt_legacy_place(source, id, place);
    int length = snprintf(name, sizeof name, "%sdata/%.*s", source->prefix, (int)id->key_length, id->key);
    zip_int64_t index = length < (int)sizeof name ? zip_name_locate(source->zip, name, ZIP_FL_ENC_RAW) : -1;
    if (index < 0) return status_fail(STATUS_BAD_INPUT, "%s: storage %s is missing from the archive", source->path, quote);
    TRY(entry_size(source, (zip_uint64_t)index, quote, &size));
    if (size != bytes)
        return status_fail(STATUS_BAD_INPUT, "%s: storage %s has %lld bytes, expected %lld", source->path, quote,
                           (long long)size, (long long)bytes);
    *place = index;
    return STATUS_OK;
}

static Status read_at(const PtSource *source, int64_t offset, int64_t size, uint8_t **out)
{
    uint8_t *bytes = malloc(size ? (size_t)size : 1);
    if (!bytes) return status_fail(STATUS_NO_MEMORY, "%s: out of memory for %lld bytes", source->path, (long long)size);
    for (int64_t got = 0; got < size;) {
        ssize_t n = pread(source->fd, bytes + got, (size_t)(size - got), offset + got);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            free(bytes);
            return status_fail(STATUS_IO, "%s: cannot read: %s", source->path, n ? strerror(errno) : "the file became shorter");
        }
        got += n;
    }
    *out = bytes;
    return STATUS_OK;
}

/* Read an entry to its end, where libzip compares the checksum. */
static Status verify_entry(const PtSource *source, int64_t place)
{
    uint8_t block[65536];
    zip_int64_t n = 1;
    zip_file_t *entry = zip_fopen_index(source->zip, (zip_uint64_t)place, 0);
    while (entry && n > 0) n = zip_fread(entry, block, sizeof block);
    bool whole = entry && n == 0;
    if (!whole)
        status_fail(STATUS_BAD_INPUT, "%s: damaged zip archive: entry number %lld: %s", source->path, (long long)place,
                    entry ? zip_file_strerror(entry) : zip_strerror(source->zip));
    if (entry) zip_fclose(entry);
    return whole ? STATUS_OK : STATUS_BAD_INPUT;
}

static Status verify_once(PtSource *source, int64_t place)
{
    if (!source->verified) source->verified = calloc((size_t)zip_get_num_entries(source->zip, 0), sizeof *source->verified);
    if (!source->verified) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", source->path);
    if (!source->verified[place]) TRY(verify_entry(source, place));
    source->verified[place] = true;
    return STATUS_OK;
}

/* A part of an entry; its checksum must have been compared before. */
static Status read_part(const PtSource *source, int64_t place, int64_t first, int64_t size, uint8_t **out)
{
    uint8_t *bytes = malloc((size_t)size);
    if (!bytes) return status_fail(STATUS_NO_MEMORY, "%s: out of memory for %lld bytes", source->path, (long long)size);
    zip_file_t *entry = zip_fopen_index(source->zip, (zip_uint64_t)place, 0);
    int64_t got = entry && zip_fseek(entry, first, SEEK_SET) == 0 ? 0 : -1;
    while (got >= 0 && got < size) {
        zip_int64_t n = zip_fread(entry, bytes + got, (zip_uint64_t)(size - got));
        got = n > 0 ? got + n : -1;
    }
    *out = got == size ? bytes : NULL;
    if (!*out)
        status_fail(STATUS_BAD_INPUT, "%s: damaged zip archive: entry number %lld: %s", source->path, (long long)place,
                    entry ? zip_file_strerror(entry) : zip_strerror(source->zip));
    if (entry) zip_fclose(entry);
    if (!*out) free(bytes);
    return *out ? STATUS_OK : STATUS_BAD_INPUT;
}

static Status read_range(PtSource *source, int64_t place, int64_t size, int64_t first, int64_t bytes)
{
    char name[32];
    if (!source->zip) return read_at(source, place + first, bytes, &source->cache);
    if (bytes < size) {
        TRY(verify_once(source, place));
        return read_part(source, place, first, bytes, &source->cache);
    }
    snprintf(name, sizeof name, "number %lld", (long long)place);
    return read_entry(source, (zip_uint64_t)place, name, size, &source->cache);
}

Status pt_storage_bytes(PtSource *source, int64_t place, int64_t size, int64_t first, int64_t bytes, const uint8_t **out)
{
    const int64_t small = 1 << 20; /* such storages are kept whole, for the other tensors in them */
    int64_t skipped = size <= small ? first : 0;
    if (size <= small) {
        first = 0;
        bytes = size;
    }
    bool cached = source->cache && source->cache_place == place && source->cache_first == first && source->cache_bytes == bytes;
    if (!cached) {
        free(source->cache);
        source->cache = NULL;
        TRY(read_range(source, place, size, first, bytes));
        source->cache_place = place;
        source->cache_first = first;
        source->cache_bytes = bytes;
    }
    *out = source->cache + skipped;
    return STATUS_OK;
}
