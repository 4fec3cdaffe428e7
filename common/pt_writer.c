#include "common/pt_writer.h"

#include "common/file_write.h"
#include "common/float16.h"
#include "common/pickle_write.h"
#include "common/pt_source.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, EXTRA_FIELD = 0x4246 /* "FB", as PyTorch calls its padding */, LOCAL_HEADER = 30, ZIP64_FIELD = 20 };

typedef struct PtWriter {
    const char *path;
    const NamedShape *tensors;
    int count;
    const PtWriteOptions *options;
    char name[NAME_MAX + 1]; /* of the archive's folder */
    PickleWriter pickle;
    zip_t *zip;
    struct Entry *entries;
    int64_t at, done;        /* in the new file; values written */
    Status status;           /* of what libzip asked us for */
} PtWriter;

/* One storage: the source that libzip reads it from. */
typedef struct Entry {
    PtWriter *writer;
    int index;
    float *values; /* while it is open; narrowed in place for half precision */
    int64_t size, bytes, read;
} Entry;

/* --- the pickle --- */

static void put_tuple(PickleWriter *p, int count, const int64_t *numbers)
{
    pickle_put(p, "(");
    for (int i = 0; i < count; i++) pickle_put_int(p, numbers[i]);
    pickle_put(p, "t");
}

/* torch._utils._rebuild_tensor_v2(storage, 0, dims, strides, False, OrderedDict()) */
static void put_tensor(PtWriter *w, int index)
{
    PickleWriter *p = &w->pickle;
    const NamedShape *tensor = &w->tensors[index];
    char key[16];
    int64_t strides[PT_MAX_DIMS], size = 1;
    for (int i = tensor->ndim - 1; i >= 0; i--) {
        strides[i] = size;
        size *= tensor->dims[i];
    }
    snprintf(key, sizeof key, "%d", index);
    pickle_put_text(p, tensor->name);
    pickle_put_global(p, "torch._utils", "_rebuild_tensor_v2");
    pickle_put(p, "((");
    pickle_put_text(p, "storage");
    pickle_put_global(p, "torch", w->options->dtype == PT_F16 ? "HalfStorage" : "FloatStorage");
    pickle_put_text(p, key);
    pickle_put_text(p, "cpu");
    pickle_put_int(p, size);
    pickle_put(p, "tQ");
    pickle_put_int(p, 0);
    put_tuple(p, tensor->ndim, tensor->dims);
    put_tuple(p, tensor->ndim, strides);
    pickle_put(p, "\x89");
    pickle_put_global(p, "collections", "OrderedDict");
    pickle_put(p, ")RtR");
}

static Status make_pickle(PtWriter *w)
{
    PickleWriter *p = &w->pickle;
    pickle_put(p, "\x80\x02");
    pickle_put_global(p, "collections", "OrderedDict");
    pickle_put(p, ")R(");
    for (int i = 0; i < w->count; i++) put_tensor(w, i);
    pickle_put(p, "u.");
    return p->failed ? status_fail(STATUS_NO_MEMORY, "%s: out of memory for %d names", w->path, w->count) : STATUS_OK;
}

/* --- values, when libzip asks for them --- */

static Status narrow(const Entry *e)
{
    const PtWriter *w = e->writer;
    uint16_t *halves = (uint16_t *)(void *)e->values;
    for (int64_t i = 0; i < e->size; i++) {
        float value = e->values[i];
        uint16_t half = f32_to_f16(value);
        if (fabsf(value) >= 65520)
            return status_fail(STATUS_BAD_INPUT, "%s: %s: %g is too large for half precision", w->path,
                               w->tensors[e->index].name, (double)value);
        memcpy(halves + i, &half, sizeof half); /* behind what is still to be read */
    }
    return STATUS_OK;
}

static Status entry_open(Entry *e)
{
    PtWriter *w = e->writer;
    if (w->options->stop && w->options->stop()) return status_fail(STATUS_INTERRUPTED, "stopped; %s was not written", w->path);
    e->read = 0;
    e->values = malloc((size_t)e->size * sizeof *e->values + 1);
    if (!e->values) return status_fail(STATUS_NO_MEMORY, "%s: out of memory for %lld values", w->path, (long long)e->size);
    TRY(w->options->read(w->options->ctx, e->index, e->values));
    TRY(params_check_finite(w->path, w->tensors[e->index].name, e->values, (size_t)e->size));
    return w->options->dtype == PT_F16 ? narrow(e) : STATUS_OK;
}

static zip_int64_t entry_read(Entry *e, void *out, zip_uint64_t room)
{
    int64_t n = e->bytes - e->read < (int64_t)room ? e->bytes - e->read : (int64_t)room;
    memcpy(out, (char *)e->values + e->read, (size_t)n);
    e->read += n;
    return n;
}

static void entry_close(Entry *e)
{
    PtWriter *w = e->writer;
    free(e->values);
    e->values = NULL;
    w->done += e->size;
    if (w->options->progress) w->options->progress(w->options->ctx, w->done);
}

static zip_int64_t entry_stat(const Entry *e, zip_stat_t *st)
{
    zip_stat_init(st);
    st->size = (zip_uint64_t)e->bytes;
    st->valid = ZIP_STAT_SIZE;
    return sizeof *st;
}

/* libzip's callback. After a failure writer->status has the reason and the thread's message its text. */
static zip_int64_t entry_source(void *ctx, void *data, zip_uint64_t length, zip_source_cmd_t command)
{
    Entry *e = ctx;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        e->writer->status = entry_open(e);
        return e->writer->status == STATUS_OK ? 0 : -1;
    case ZIP_SOURCE_READ: return entry_read(e, data, length);
    case ZIP_SOURCE_CLOSE: entry_close(e); return 0;
    case ZIP_SOURCE_STAT: return entry_stat(e, data);
    case ZIP_SOURCE_ERROR: memcpy(data, (int[2]){ZIP_ER_INTERNAL, 0}, 2 * sizeof(int)); return 2 * sizeof(int);
    case ZIP_SOURCE_FREE: free(e->values); e->values = NULL; return 0;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                              ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, -1);
    default: return -1;
    }
}

/* --- the archive --- */

static Status zip_failed(const PtWriter *w, zip_error_t *error)
{
    status_fail(zip_error_code_zip(error) == ZIP_ER_MEMORY ? STATUS_NO_MEMORY : STATUS_IO, "%s: cannot be written: %s", w->path,
                zip_error_strerror(error));
    return zip_error_code_zip(error) == ZIP_ER_MEMORY ? STATUS_NO_MEMORY : STATUS_IO;
}

/* Padding in the local header, so that the contents start at a multiple of 64 bytes. */
static bool pad(PtWriter *w, zip_uint64_t index, const char *name, int64_t bytes)
{
    static const uint8_t filler[ALIGNMENT] = "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ";
    int64_t start = w->at + LOCAL_HEADER + (int64_t)strlen(name) + 4 + (bytes >= UINT32_MAX ? ZIP64_FIELD : 0);
    int64_t length = (ALIGNMENT - start % ALIGNMENT) % ALIGNMENT;
    w->at = start + length + bytes;
    return zip_file_extra_field_set(w->zip, index, EXTRA_FIELD, ZIP_EXTRA_FIELD_NEW, filler, (zip_uint16_t)length,
                                    ZIP_FL_LOCAL) == 0;
}

/* Takes `source`, which may be NULL for a failure to make it. */
static Status add_entry(PtWriter *w, const char *part, zip_source_t *source, int64_t bytes)
{
    char name[2 * NAME_MAX];
    snprintf(name, sizeof name, "%s/%s", w->name, part);
    zip_int64_t index = source ? zip_file_add(w->zip, name, source, ZIP_FL_ENC_UTF_8) : -1;
    bool ok = index >= 0 && zip_set_file_compression(w->zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) == 0 &&
              zip_file_set_dostime(w->zip, (zip_uint64_t)index, 0, 0x21, 0) == 0 && pad(w, (zip_uint64_t)index, name, bytes);
    if (!ok && index < 0 && source) zip_source_free(source);
    return ok ? STATUS_OK : zip_failed(w, zip_get_error(w->zip));
}

static Status add_storage(PtWriter *w, int index)
{
    Entry *e = &w->entries[index];
    char part[32];
    *e = (Entry){.writer = w, .index = index, .size = 1};
    for (int i = 0; i < w->tensors[index].ndim; i++) e->size *= w->tensors[index].dims[i];
    e->bytes = e->size * (int64_t)pt_dtype_size(w->options->dtype);
    snprintf(part, sizeof part, "data/%d", index);
    return add_entry(w, part, zip_source_function(w->zip, entry_source, e), e->bytes);
}

static Status add_entries(PtWriter *w)
{
    static const char version[] = "3\n";
    TRY(add_entry(w, "data.pkl", zip_source_buffer(w->zip, w->pickle.bytes, w->pickle.size, 0), (int64_t)w->pickle.size));
    for (int i = 0; i < w->count; i++) TRY(add_storage(w, i));
    return add_entry(w, "version", zip_source_buffer(w->zip, version, 2, 0), 2);
}

/* libzip writes all of it when the archive is closed: under a temporary name of its own, which it then renames. */
static Status write_archive(void *ctx, const char *name)
{
    PtWriter *w = ctx;
    int code = 0;
    zip_error_t error;
    w->zip = zip_open(name, ZIP_CREATE | ZIP_TRUNCATE, &code);
    if (!w->zip) {
        zip_error_init_with_code(&error, code);
        Status s = zip_failed(w, &error);
        zip_error_fini(&error);
        return s;
    }
    Status s = add_entries(w);
    if (s == STATUS_OK && zip_close(w->zip) == 0) return STATUS_OK;
    if (s == STATUS_OK) s = w->status != STATUS_OK ? w->status : zip_failed(w, zip_get_error(w->zip));
    zip_discard(w->zip);
    return s;
}

/* "DIR/base.pt" -> "base", what torch.save() calls the folder inside. */
static Status prepare(PtWriter *w)
{
    const char *slash = strrchr(w->path, '/'), *name = slash ? slash + 1 : w->path, *dot = strrchr(name, '.');
    size_t length = dot && dot != name ? (size_t)(dot - name) : strlen(name);
    bool plain = length > 0 && length <= NAME_MAX;
    for (size_t i = 0; i < length && plain; i++) plain = name[i] > 32 && name[i] < 127;
    snprintf(w->name, sizeof w->name, "%.*s", plain ? (int)length : 7, plain ? name : "archive");
    w->entries = calloc((size_t)w->count + 1, sizeof *w->entries);
    return w->entries ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "%s: out of memory", w->path);
}

Status pt_write(const char *path, const NamedShape *tensors, int count, const PtWriteOptions *options)
{
    assert(options->dtype == PT_F32 || options->dtype == PT_F16);
    PtWriter *w = calloc(1, sizeof *w);
    if (!w) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    w->path = path;
    w->tensors = tensors;
    w->count = count;
    w->options = options;
    Status s = prepare(w);
    if (s == STATUS_OK) s = make_pickle(w);
    if (s == STATUS_OK) s = file_write_with(path, write_archive, w);
    pickle_writer_release(&w->pickle);
    free(w->entries);
    free(w);
    return s;
}
