/* Datasets of h5file.h. */
#include "common/float16.h"
#include "common/h5file_internal.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- types --- */

static hid_t half_type(hid_t single)
{
    hid_t type = H5Tcopy(single);
    H5Tset_fields(type, 15, 10, 5, 0, 10); /* sign bit, exponent at and of, mantissa at and of */
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    return type;
}

hid_t h5_text_type(size_t length)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, length ? length : 1);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

hid_t h5_file_type(H5Kind kind)
{
    switch (kind) {
    case H5KIND_F32: return H5Tcopy(H5T_IEEE_F32LE);
    case H5KIND_F16: return half_type(H5T_IEEE_F32LE);
    case H5KIND_F64: return H5Tcopy(H5T_IEEE_F64LE);
    case H5KIND_I32: return H5Tcopy(H5T_STD_I32LE);
    case H5KIND_I64: return H5Tcopy(H5T_STD_I64LE);
    case H5KIND_U8: return H5Tcopy(H5T_STD_U8LE);
    default: return -1;
    }
}

hid_t h5_memory_type(H5Kind kind)
{
    switch (kind) {
    case H5KIND_F32: return H5Tcopy(H5T_NATIVE_FLOAT);
    case H5KIND_F16: return half_type(H5T_NATIVE_FLOAT);
    case H5KIND_F64: return H5Tcopy(H5T_NATIVE_DOUBLE);
    case H5KIND_I32: return H5Tcopy(H5T_NATIVE_INT32);
    case H5KIND_I64: return H5Tcopy(H5T_NATIVE_INT64);
    case H5KIND_U8: return H5Tcopy(H5T_NATIVE_UINT8);
    default: return -1;
    }
}

const char *h5_kind_name(H5Kind kind)
{
    static const char *const names[] = {"f32", "f16", "f64", "i32", "i64", "u8", "text", "other"};
    return names[kind];
}

static size_t memory_size(H5Kind kind)
{
    static const size_t sizes[] = {4, 2, 8, 4, 8, 1, 0, 0};
    return sizes[kind];
}

static bool is_half(hid_t type)
{
    size_t sign, exponent, exponent_bits, mantissa, mantissa_bits;
    return H5Tget_fields(type, &sign, &exponent, &exponent_bits, &mantissa, &mantissa_bits) >= 0 && sign == 15 &&
           exponent_bits == 5 && mantissa_bits == 10 && H5Tget_ebias(type) == 15;
}

H5Kind h5_kind_of(hid_t type)
{
    size_t size = H5Tget_size(type);
    switch (H5Tget_class(type)) {
    case H5T_STRING: return H5KIND_TEXT;
    case H5T_FLOAT:
        if (size == 2 && is_half(type)) return H5KIND_F16;
        return size == 4 ? H5KIND_F32 : size == 8 ? H5KIND_F64 : H5KIND_OTHER;
    case H5T_INTEGER:
        if (H5Tget_sign(type) == H5T_SGN_NONE) return size == 1 ? H5KIND_U8 : H5KIND_OTHER;
        return size == 4 ? H5KIND_I32 : size == 8 ? H5KIND_I64 : H5KIND_OTHER;
    default: return H5KIND_OTHER;
    }
}

bool h5_kind_reads(H5Kind kind, hid_t stored)
{
    H5T_class_t class = H5Tget_class(stored);
    if (kind == H5KIND_TEXT) return class == H5T_STRING;
    if (kind == H5KIND_F32 || kind == H5KIND_F64) return class == H5T_FLOAT;
    if (class != H5T_INTEGER) return false;
    if (kind == H5KIND_U8) return h5_kind_of(stored) == H5KIND_U8;
    size_t size = H5Tget_size(stored), limit = memory_size(kind);
    return size < limit || (size == limit && H5Tget_sign(stored) == H5T_SGN_2);
}

const char *h5info_describe(const H5Info *info, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "(");
    for (int i = 0; i < info->ndim && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? "," : "", (long long)info->dims[i]);
    if (used < size) snprintf(text + used, size - used, ") %s", h5_kind_name(info->kind));
    return text;
}

/* --- what a dataset is, checked --- */

static Status fill_shape(const H5File *file, const char *name, hid_t dataset, H5Info *info)
{
    H5Id space = H5Dget_space(dataset);
    hsize_t dims[H5S_MAX_RANK];
    int ndim = H5Sget_simple_extent_ndims(space);
    if (ndim < 0 || H5Sget_simple_extent_type(space) == H5S_NULL)
        return status_fail(STATUS_BAD_INPUT, "%s: dataset %s has no shape", file->path, name);
    if (ndim > H5FILE_MAX_DIMS)
        return status_fail(STATUS_BAD_INPUT, "%s: dataset %s has %d dimensions, at most %d are expected", file->path, name,
                           ndim, H5FILE_MAX_DIMS);
    H5Sget_simple_extent_dims(space, dims, NULL);
    info->ndim = ndim;
    info->size = 1;
    for (int i = 0; i < ndim; i++) {
        if (dims[i] > INT64_MAX / 16 || __builtin_mul_overflow(info->size, (int64_t)dims[i], &info->size))
            return status_fail(STATUS_BAD_INPUT, "%s: dataset %s has an impossible size", file->path, name);
        info->dims[i] = (int64_t)dims[i];
    }
    return STATUS_OK;
}

/* A file's header may claim any size: memory is taken only for what the file can hold. deflate shrinks 1032:1 at most. */
static Status check_claim(const H5File *file, const char *name, hid_t properties, const H5Info *info, size_t type_size)
{
    H5D_layout_t layout = H5Pget_layout(properties);
    if (layout == H5D_VIRTUAL || H5Pget_external_count(properties) > 0)
        return status_fail(STATUS_BAD_INPUT, "%s: the values of dataset %s are in another file", file->path, name);
    int64_t limit = layout == H5D_CHUNKED ? 1100 * file->bytes : file->bytes, bytes, chunk_bytes = (int64_t)type_size;
    hsize_t chunk[H5S_MAX_RANK];
    int chunk_ndim = layout == H5D_CHUNKED ? H5Pget_chunk(properties, H5S_MAX_RANK, chunk) : 0;
    bool ok = !__builtin_mul_overflow(info->size, (int64_t)type_size, &bytes) && bytes <= limit;
    for (int i = 0; i < chunk_ndim && ok; i++)
        ok = chunk[i] <= INT32_MAX && !__builtin_mul_overflow(chunk_bytes, (int64_t)chunk[i], &chunk_bytes);
    if (ok && chunk_bytes <= limit) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: dataset %s claims more values than a file of %lld bytes can hold", file->path,
                       name, (long long)file->bytes);
}

static Status stat_dataset(const H5File *file, const char *name, hid_t dataset, hid_t type, H5Info *info)
{
    H5Id properties = H5Dget_create_plist(dataset);
    *info = (H5Info){.kind = h5_kind_of(type), .offset = -1};
    TRY(fill_shape(file, name, dataset, info));
    if (!file->writing) TRY(check_claim(file, name, properties, info, H5Tget_size(type)));
    haddr_t offset = H5Dget_offset(dataset);
    H5Id same = h5_file_type(info->kind);
    if (offset != HADDR_UNDEF && offset <= INT64_MAX && same >= 0 && H5Tequal(type, same) > 0 &&
        H5Pget_layout(properties) == H5D_CONTIGUOUS)
        info->offset = (int64_t)offset;
    return STATUS_OK;
}

Status h5file_stat(const H5File *file, const char *name, H5Info *out)
{
    H5_QUIET;
    H5Id dataset = -1;
    TRY(h5_open_dataset(file, name, &dataset));
    H5Id type = H5Dget_type(dataset);
    return stat_dataset(file, name, dataset, type, out);
}

/* --- reading --- */

typedef struct OpenDataset {
    hid_t id, type;
    H5Info info;
} OpenDataset;

static void open_dataset_release(OpenDataset *dataset)
{
    h5_id_release(&dataset->type);
    h5_id_release(&dataset->id);
}

#define OPEN_DATASET __attribute__((cleanup(open_dataset_release))) OpenDataset

static Status open_to_read(const H5File *file, const char *name, H5Kind kind, OpenDataset *out)
{
    TRY(h5_open_dataset(file, name, &out->id));
    out->type = H5Dget_type(out->id);
    TRY(stat_dataset(file, name, out->id, out->type, &out->info));
    if (h5_kind_reads(kind, out->type)) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: dataset %s holds %s values, expected %s", file->path, name,
                       h5_kind_name(out->info.kind), h5_kind_name(kind));
}

/* The n half-precision values in the second half of the buffer become n singles that fill it. */
static void widen_halves(void *buffer, int64_t n)
{
    float *out = buffer;
    uint16_t block[1024];
    for (int64_t i = 0; i < n; i += 1024) {
        int64_t count = n - i < 1024 ? n - i : 1024;
        memcpy(block, (const char *)buffer + 2 * (n + i), 2 * (size_t)count); /* before the loop overwrites it */
        for (int64_t j = 0; j < count; j++) out[i + j] = f16_to_f32(block[j]);
    }
}

/* Read n values of the selection into `out`. HDF5's own conversion from half precision is slow, so ours. */
static Status read_values(const H5File *file, const char *name, const OpenDataset *dataset, H5Kind kind, hid_t memory,
                          hid_t selection, int64_t n, void *out)
{
    bool widen = kind == H5KIND_F32 && dataset->info.kind == H5KIND_F16;
    H5Id type = h5_memory_type(widen ? H5KIND_F16 : kind);
    if (n == 0) return STATUS_OK;
    if (H5Dread(dataset->id, type, memory, selection, H5P_DEFAULT, widen ? (char *)out + 2 * n : out) < 0)
        return h5_fail(file, "cannot read dataset %s", name);
    if (widen) widen_halves(out, n);
    return STATUS_OK;
}

Status h5file_read(const H5File *file, const char *name, H5Kind kind, int ndim, const int64_t *dims, void *out)
{
    H5_QUIET;
    OPEN_DATASET dataset = {-1, -1, {0}};
    TRY(open_to_read(file, name, kind, &dataset));
    H5Info wanted = {.kind = kind, .ndim = ndim};
    bool same = ndim == dataset.info.ndim;
    assert(ndim <= H5FILE_MAX_DIMS);
    for (int i = 0; i < ndim; i++) {
        wanted.dims[i] = dims[i];
        same = same && dims[i] == dataset.info.dims[i];
    }
    if (!same) {
        char found[128], expected[128];
        return status_fail(STATUS_BAD_INPUT, "%s: dataset %s is %s, expected %s", file->path, name,
                           h5info_describe(&dataset.info, found, sizeof found),
                           h5info_describe(&wanted, expected, sizeof expected));
    }
    return read_values(file, name, &dataset, kind, H5S_ALL, H5S_ALL, dataset.info.size, out);
}

/* Selections of rows [first, first+count) in the file and of as many values in memory. */
static Status select_rows(const H5File *file, const char *name, const OpenDataset *dataset, int64_t first, int64_t count,
                          int64_t row, hid_t *memory, hid_t *selection)
{
    const H5Info *info = &dataset->info;
    hsize_t start[H5FILE_MAX_DIMS] = {(hsize_t)first}, sizes[H5FILE_MAX_DIMS];
    int64_t found = 1;
    for (int i = 0; i < info->ndim; i++) sizes[i] = (hsize_t)(i ? info->dims[i] : count);
    for (int i = 1; i < info->ndim; i++) found *= info->dims[i];
    if (info->ndim < 1 || found != row)
        return status_fail(STATUS_BAD_INPUT, "%s: a row of dataset %s has %lld values, expected %lld", file->path, name,
                           (long long)(info->ndim < 1 ? 0 : found), (long long)row);
    if (first < 0 || count < 1 || count > info->dims[0] || first > info->dims[0] - count)
        return status_fail(STATUS_BAD_INPUT, "%s: dataset %s has %lld rows, rows %lld to %lld were asked for", file->path,
                           name, (long long)info->dims[0], (long long)first, (long long)(first + count - 1));
    /* of the file's rank: HDF5 copies chunks 20 times faster when both selections have the same shape */
    *memory = H5Screate_simple(info->ndim, sizes, NULL);
    *selection = H5Dget_space(dataset->id);
    if (*memory < 0 || H5Sselect_hyperslab(*selection, H5S_SELECT_SET, start, NULL, sizes, NULL) < 0)
        return h5_fail(file, "cannot select rows of dataset %s", name);
    return STATUS_OK;
}

Status h5file_read_rows(const H5File *file, const char *name, H5Kind kind, int64_t first, int64_t count, int64_t row,
                        void *out)
{
    H5_QUIET;
    OPEN_DATASET dataset = {-1, -1, {0}};
    H5Id memory = -1, selection = -1;
    if (count == 0) return STATUS_OK;
    TRY(open_to_read(file, name, kind, &dataset));
    TRY(select_rows(file, name, &dataset, first, count, row, &memory, &selection));
    return read_values(file, name, &dataset, kind, memory, selection, count * row, out);
}

static Status load(const H5File *file, const char *name, H5Kind kind, void **out, H5Info *info)
{
    H5_QUIET;
    OPEN_DATASET dataset = {-1, -1, {0}};
    TRY(open_to_read(file, name, kind, &dataset));
    size_t bytes = (size_t)dataset.info.size * memory_size(kind);
    void *values = malloc(bytes ? bytes : 1);
    if (!values)
        return status_fail(STATUS_NO_MEMORY, "%s: out of memory for %zu bytes of dataset %s", file->path, bytes, name);
    Status status = read_values(file, name, &dataset, kind, H5S_ALL, H5S_ALL, dataset.info.size, values);
    if (status != STATUS_OK) {
        free(values);
        return status;
    }
    *out = values;
    if (info) *info = dataset.info;
    return STATUS_OK;
}

#define DEFINE_LOAD(suffix, ctype, kind)                                                            \
    Status h5file_load_##suffix(const H5File *file, const char *name, ctype **out, H5Info *info)    \
    {                                                                                               \
        void *values = NULL;                                                                        \
        Status status = load(file, name, kind, &values, info);                                      \
        *out = values;                                                                              \
        return status;                                                                              \
    }
DEFINE_LOAD(f32, float, H5KIND_F32)
DEFINE_LOAD(f64, double, H5KIND_F64)
DEFINE_LOAD(i32, int32_t, H5KIND_I32)
DEFINE_LOAD(i64, int64_t, H5KIND_I64)
DEFINE_LOAD(u8, uint8_t, H5KIND_U8)

Status h5_texts_add_stored(H5Texts *texts, hid_t type, const void *data, int64_t count)
{
    bool variable = H5Tis_variable_str(type) > 0, spaces = H5Tget_strpad(type) == H5T_STR_SPACEPAD;
    size_t size = H5Tget_size(type);
    for (int64_t i = 0; i < count; i++) {
        const char *text = variable ? ((char *const *)data)[i] : (const char *)data + (size_t)i * size;
        size_t length = !text ? 0 : variable ? strlen(text) : strnlen(text, size);
        while (spaces && !variable && length && text[length - 1] == ' ') length--;
        TRY(h5_texts_add(texts, text ? text : "", length));
    }
    return STATUS_OK;
}

Status h5file_load_texts(const H5File *file, const char *name, char ***out, int *count)
{
    H5_QUIET;
    *out = NULL;
    *count = 0;
    OPEN_DATASET dataset = {-1, -1, {0}};
    TRY(open_to_read(file, name, H5KIND_TEXT, &dataset));
    H5Id space = H5Dget_space(dataset.id);
    int64_t n = dataset.info.size;
    char *data = calloc((size_t)n + 1, H5Tget_size(dataset.type));
    if (!data) return status_fail(STATUS_NO_MEMORY, "%s: out of memory for dataset %s", file->path, name);
    Status status = STATUS_OK;
    H5Texts texts = {0};
    if (n && H5Dread(dataset.id, dataset.type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        status = h5_fail(file, "cannot read dataset %s", name);
    if (status == STATUS_OK) status = h5_texts_add_stored(&texts, dataset.type, data, n);
    if (n && H5Tis_variable_str(dataset.type) > 0) H5Dvlen_reclaim(dataset.type, space, H5P_DEFAULT, data);
    free(data);
    if (status == STATUS_OK) return h5_texts_finish(&texts, out, count);
    free(texts.bytes);
    return status;
}

/* --- writing --- */

static Status create_dataset(H5File *file, const char *name, hid_t type, int ndim, const int64_t *dims,
                             int64_t chunk_rows, int level, hid_t *out)
{
    assert(file->writing && ndim <= H5FILE_MAX_DIMS);
    hsize_t sizes[H5FILE_MAX_DIMS], chunk[H5FILE_MAX_DIMS];
    for (int i = 0; i < ndim; i++) chunk[i] = sizes[i] = (hsize_t)dims[i];
    TRY(h5_make_parents(file, name));
    if (H5Lexists(file->id, h5_clean(name), H5P_DEFAULT) > 0)
        return status_fail(STATUS_BAD_INPUT, "%s: %s would be written twice", file->path, name);
    H5Id space = ndim ? H5Screate_simple(ndim, sizes, NULL) : H5Screate(H5S_SCALAR);
    H5Id properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(properties, false); /* same contents, same bytes */
    H5Pset_attr_creation_order(properties, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    if (chunk_rows > 0 && ndim > 0 && dims[0] > 0) {
        if (chunk_rows < dims[0]) chunk[0] = (hsize_t)chunk_rows;
        H5Pset_chunk(properties, ndim, chunk);
        if (level > 0) H5Pset_deflate(properties, (unsigned)level);
    }
    *out = H5Dcreate2(file->id, h5_clean(name), type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    return *out < 0 ? h5_fail(file, "cannot write dataset %s", name) : STATUS_OK;
}

/* Closing can be what writes, so its failure counts. */
static Status close_written(const H5File *file, const char *name, hid_t *dataset, Status status)
{
    if (H5Dclose(*dataset) < 0 && status == STATUS_OK) status = h5_fail(file, "cannot write dataset %s", name);
    *dataset = -1;
    return status;
}

/* A narrowed copy. What is finite must stay finite. */
static Status narrow_to_halves(const H5File *file, const char *name, const float *values, int64_t n, uint16_t **out)
{
    uint16_t *halves = malloc(n ? 2 * (size_t)n : 1);
    if (!halves) return status_fail(STATUS_NO_MEMORY, "%s: out of memory for dataset %s", file->path, name);
    float largest = 0;
    for (int64_t i = 0; i < n; i++) {
        float magnitude = isinf(values[i]) ? 0 : fabsf(values[i]);
        halves[i] = f32_to_f16(values[i]);
        largest = magnitude > largest ? magnitude : largest;
    }
    *out = halves;
    if (largest < 65520) return STATUS_OK;
    free(halves);
    *out = NULL;
    return status_fail(STATUS_BAD_INPUT, "%s: dataset %s: %g is too large for half precision", file->path, name,
                       (double)largest);
}

static Status write_values(const H5File *file, const char *name, hid_t dataset, H5Kind kind, hid_t memory, hid_t selection,
                           int64_t n, const void *data)
{
    if (n == 0) return STATUS_OK;
    uint16_t *halves = NULL;
    if (kind == H5KIND_F16) TRY(narrow_to_halves(file, name, data, n, &halves));
    H5Id type = h5_memory_type(kind);
    herr_t error = H5Dwrite(dataset, type, memory, selection, H5P_DEFAULT, halves ? halves : data);
    Status status = error < 0 ? h5_fail(file, "cannot write dataset %s", name) : STATUS_OK;
    free(halves);
    return status;
}

Status h5file_write(H5File *file, const char *name, H5Kind kind, int ndim, const int64_t *dims, const void *data)
{
    H5_QUIET;
    assert(kind < H5KIND_TEXT);
    hid_t dataset = -1;
    int64_t n = 1;
    H5Id type = h5_file_type(kind);
    for (int i = 0; i < ndim; i++) n *= dims[i];
    TRY(create_dataset(file, name, type, ndim, dims, 0, 0, &dataset));
    return close_written(file, name, &dataset,
                         write_values(file, name, dataset, kind, H5S_ALL, H5S_ALL, n, data));
}

/* Texts are padded to the longest, so many of them are compressed. */
static Status write_padded(H5File *file, const char *name, const char *padded, int64_t count, size_t longest)
{
    hid_t dataset = -1;
    H5Id type = h5_text_type(longest);
    int64_t chunk_rows = (size_t)count * longest > 65536 ? 1 + 65536 / (int64_t)longest : 0;
    TRY(create_dataset(file, name, type, 1, &count, chunk_rows, 4, &dataset));
    Status status = STATUS_OK;
    if (count && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, padded) < 0)
        status = h5_fail(file, "cannot write dataset %s", name);
    return close_written(file, name, &dataset, status);
}

Status h5file_write_texts(H5File *file, const char *name, const char *const *texts, int count)
{
    H5_QUIET;
    size_t longest = 1;
    for (int i = 0; i < count; i++) longest = strlen(texts[i]) > longest ? strlen(texts[i]) : longest;
    char *padded = calloc((size_t)count + 1, longest);
    if (!padded) return status_fail(STATUS_NO_MEMORY, "%s: out of memory for dataset %s", file->path, name);
    for (int i = 0; i < count; i++) memcpy(padded + (size_t)i * longest, texts[i], strlen(texts[i]));
    Status status = write_padded(file, name, padded, count, longest);
    free(padded);
    return status;
}

Status h5file_create_rows(H5File *file, const char *name, H5Kind kind, int ndim, const int64_t *dims, int64_t chunk_rows,
                          int level)
{
    H5_QUIET;
    assert(kind < H5KIND_TEXT && ndim > 0);
    hid_t dataset = -1;
    H5Id type = h5_file_type(kind);
    TRY(create_dataset(file, name, type, ndim, dims, chunk_rows, level, &dataset));
    return close_written(file, name, &dataset, STATUS_OK);
}

Status h5file_write_rows(H5File *file, const char *name, int64_t first, int64_t count, int64_t row, const void *data)
{
    H5_QUIET;
    assert(file->writing);
    OPEN_DATASET dataset = {-1, -1, {0}};
    H5Id memory = -1, selection = -1;
    if (count == 0) return STATUS_OK;
    TRY(h5_open_dataset(file, name, &dataset.id));
    dataset.type = H5Dget_type(dataset.id);
    TRY(stat_dataset(file, name, dataset.id, dataset.type, &dataset.info));
    TRY(select_rows(file, name, &dataset, first, count, row, &memory, &selection));
    return close_written(file, name, &dataset.id,
                         write_values(file, name, dataset.id, dataset.info.kind, memory, selection, count * row, data));
}

/* Selections of the box in the file and of as many values in memory. */
static Status select_part(const H5File *file, const char *name, const OpenDataset *dataset, int ndim, const int64_t *start,
                          const int64_t *count, hid_t *memory, hid_t *selection)
{
    const H5Info *info = &dataset->info;
    hsize_t from[H5FILE_MAX_DIMS], sizes[H5FILE_MAX_DIMS];
    bool inside = ndim == info->ndim && ndim > 0;
    for (int i = 0; i < ndim && inside; i++) {
        from[i] = (hsize_t)start[i];
        sizes[i] = (hsize_t)count[i];
        inside = start[i] >= 0 && count[i] >= 1 && count[i] <= info->dims[i] && start[i] <= info->dims[i] - count[i];
    }
    if (!inside) return status_fail(STATUS_BAD_INPUT, "%s: the part to write lies outside of dataset %s", file->path, name);
    *memory = H5Screate_simple(ndim, sizes, NULL);
    *selection = H5Dget_space(dataset->id);
    if (*memory < 0 || H5Sselect_hyperslab(*selection, H5S_SELECT_SET, from, NULL, sizes, NULL) < 0)
        return h5_fail(file, "cannot select a part of dataset %s", name);
    return STATUS_OK;
}

Status h5file_write_part(H5File *file, const char *name, int ndim, const int64_t *start, const int64_t *count, const void *data)
{
    H5_QUIET;
    assert(file->writing);
    OPEN_DATASET dataset = {-1, -1, {0}};
    H5Id memory = -1, selection = -1;
    int64_t n = 1;
    TRY(h5_open_dataset(file, name, &dataset.id));
    dataset.type = H5Dget_type(dataset.id);
    TRY(stat_dataset(file, name, dataset.id, dataset.type, &dataset.info));
    TRY(select_part(file, name, &dataset, ndim, start, count, &memory, &selection));
    for (int i = 0; i < ndim; i++) n *= count[i];
    return close_written(file, name, &dataset.id,
                         write_values(file, name, dataset.id, dataset.info.kind, memory, selection, n, data));
}
