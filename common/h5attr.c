/* Attributes of h5file.h. */
#include "common/h5file_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Attributes are small: what claims more than this is damaged. */
enum { MAX_ATTR_BYTES = 1 << 24 };

typedef struct OpenAttr {
    hid_t object, id, type, space;
    int64_t size;
} OpenAttr;

static void open_attr_release(OpenAttr *attr)
{
    h5_id_release(&attr->space);
    h5_id_release(&attr->type);
    h5_id_release(&attr->id);
    h5_id_release(&attr->object);
}

#define OPEN_ATTR __attribute__((cleanup(open_attr_release))) OpenAttr

static const OpenAttr closed_attr = {-1, -1, -1, -1, 0};

/* "attribute x" of the file, "attribute x of a/b" of anything else. */
static const char *describe(const char *object, const char *name, char text[300])
{
    if (!strcmp(h5_clean(object), ".")) snprintf(text, 300, "attribute %s", name);
    else snprintf(text, 300, "attribute %s of %s", name, object);
    return text;
}

static Status open_attr(const H5File *file, const char *object, const char *name, OpenAttr *out)
{
    char what[300];
    describe(object, name, what);
    TRY(h5_open_object(file, object, &out->object));
    if (H5Aexists(out->object, name) <= 0) return status_fail(STATUS_BAD_INPUT, "%s: there is no %s", file->path, what);
    out->id = H5Aopen(out->object, name, H5P_DEFAULT);
    if (out->id < 0) return h5_fail(file, "cannot read %s", what);
    out->type = H5Aget_type(out->id);
    out->space = H5Aget_space(out->id);
    out->size = H5Sget_simple_extent_npoints(out->space);
    int64_t bytes;
    bool ok = out->size >= 0 && !__builtin_mul_overflow(out->size, (int64_t)H5Tget_size(out->type), &bytes);
    if (!ok || bytes > MAX_ATTR_BYTES) return status_fail(STATUS_BAD_INPUT, "%s: %s is too large", file->path, what);
    return STATUS_OK;
}

static Status wrong_type(const H5File *file, const char *object, const char *name, const OpenAttr *attr, const char *wanted)
{
    char what[300];
    return status_fail(STATUS_BAD_INPUT, "%s: %s holds %lld %s value(s), expected %s", file->path,
                       describe(object, name, what), (long long)attr->size, h5_kind_name(h5_kind_of(attr->type)), wanted);
}

/* Numbers as `kind` (I64, I32 or F64, which takes integers too) into new memory of the caller's. */
static Status read_numbers(const H5File *file, const char *object, const char *name, H5Kind kind, const char *wanted,
                           OpenAttr *attr, void **out)
{
    TRY(open_attr(file, object, name, attr));
    bool integer = H5Tget_class(attr->type) == H5T_INTEGER;
    if (!h5_kind_reads(kind, attr->type) && !(kind == H5KIND_F64 && integer))
        return wrong_type(file, object, name, attr, wanted);
    void *values = calloc((size_t)attr->size + 1, kind == H5KIND_I32 ? 4 : 8);
    if (!values) return status_fail(STATUS_NO_MEMORY, "%s: out of memory for attribute %s", file->path, name);
    H5Id type = h5_memory_type(kind);
    if (attr->size && H5Aread(attr->id, type, values) < 0) {
        free(values);
        return h5_fail(file, "cannot read attribute %s", name);
    }
    *out = values;
    return STATUS_OK;
}

static Status read_number(const H5File *file, const char *object, const char *name, H5Kind kind, const char *wanted,
                          void *out)
{
    H5_QUIET;
    OPEN_ATTR attr = closed_attr;
    void *values;
    TRY(read_numbers(file, object, name, kind, wanted, &attr, &values));
    Status status = attr.size == 1 ? STATUS_OK : wrong_type(file, object, name, &attr, wanted);
    if (status == STATUS_OK) memcpy(out, values, 8);
    free(values);
    return status;
}

bool h5file_has_attr(const H5File *file, const char *object, const char *name)
{
    H5_QUIET;
    H5Id id = -1;
    return h5_open_object(file, object, &id) == STATUS_OK && H5Aexists(id, name) > 0;
}

Status h5file_attr_i64(const H5File *file, const char *object, const char *name, int64_t *out)
{
    return read_number(file, object, name, H5KIND_I64, "a whole number", out);
}

Status h5file_attr_f64(const H5File *file, const char *object, const char *name, double *out)
{
    return read_number(file, object, name, H5KIND_F64, "a number", out);
}

Status h5file_attr_text(const H5File *file, const char *object, const char *name, char **out)
{
    H5_QUIET;
    *out = NULL;
    OPEN_ATTR attr = closed_attr;
    TRY(open_attr(file, object, name, &attr));
    if (attr.size != 1 || H5Tget_class(attr.type) != H5T_STRING) return wrong_type(file, object, name, &attr, "a text");
    char *data = calloc(2, H5Tget_size(attr.type));
    if (!data) return status_fail(STATUS_NO_MEMORY, "%s: out of memory for attribute %s", file->path, name);
    H5Texts texts = {0};
    Status status = H5Aread(attr.id, attr.type, data) < 0 ? h5_fail(file, "cannot read attribute %s", name) : STATUS_OK;
    if (status == STATUS_OK) status = h5_texts_add_stored(&texts, attr.type, data, 1);
    if (H5Tis_variable_str(attr.type) > 0) H5Dvlen_reclaim(attr.type, attr.space, H5P_DEFAULT, data);
    free(data);
    *out = texts.bytes; /* one string at the start of the block */
    return status;
}

Status h5file_attr_i32s(const H5File *file, const char *object, const char *name, int32_t **out, int *count)
{
    H5_QUIET;
    OPEN_ATTR attr = closed_attr;
    void *values = NULL;
    Status status = read_numbers(file, object, name, H5KIND_I32, "whole numbers", &attr, &values);
    *out = values;
    *count = status == STATUS_OK ? (int)attr.size : 0;
    return status;
}

Status h5file_attr_f64s(const H5File *file, const char *object, const char *name, double **out, int *count)
{
    H5_QUIET;
    OPEN_ATTR attr = closed_attr;
    void *values = NULL;
    Status status = read_numbers(file, object, name, H5KIND_F64, "numbers", &attr, &values);
    *out = values;
    *count = status == STATUS_OK ? (int)attr.size : 0;
    return status;
}

Status h5file_attr_i64_or(const H5File *file, const char *object, const char *name, int64_t fallback, int64_t *out)
{
    *out = fallback;
    return h5file_has_attr(file, object, name) ? h5file_attr_i64(file, object, name, out) : STATUS_OK;
}

Status h5file_attr_f64_or(const H5File *file, const char *object, const char *name, double fallback, double *out)
{
    *out = fallback;
    return h5file_has_attr(file, object, name) ? h5file_attr_f64(file, object, name, out) : STATUS_OK;
}

Status h5file_attr_text_or(const H5File *file, const char *object, const char *name, const char *fallback, char **out)
{
    if (h5file_has_attr(file, object, name)) return h5file_attr_text(file, object, name, out);
    *out = strdup(fallback);
    return *out ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "%s: out of memory", file->path);
}

static herr_t add_attr_name(hid_t object, const char *name, const H5A_info_t *info, void *data)
{
    (void)object, (void)info;
    return h5_texts_add(data, name, strlen(name)) == STATUS_OK ? 0 : -1;
}

Status h5file_attr_names(const H5File *file, const char *object, char ***names, int *count)
{
    H5_QUIET;
    *names = NULL;
    *count = 0;
    H5Id id = -1;
    TRY(h5_open_object(file, object, &id));
    H5O_info_t info;
    bool ordered = false;
    if (H5Oget_info2(id, &info, H5O_INFO_BASIC) >= 0) {
        H5Id properties = info.type == H5O_TYPE_GROUP ? H5Gget_create_plist(id) : H5Dget_create_plist(id);
        unsigned order = 0;
        if (properties >= 0) H5Pget_attr_creation_order(properties, &order);
        ordered = order & H5P_CRT_ORDER_TRACKED;
    }
    H5Texts texts = {0};
    hsize_t position = 0;
    /* Looking for a name that nothing has decodes every attribute; H5Aiterate2() crashes (1.10.8) where that fails. */
    if (H5Aexists(id, "\x01") < 0) return h5_fail(file, "cannot list the attributes of %s", object);
    if (H5Aiterate2(id, ordered ? H5_INDEX_CRT_ORDER : H5_INDEX_NAME, H5_ITER_INC, &position, add_attr_name, &texts) < 0) {
        free(texts.bytes);
        return h5_fail(file, "cannot list the attributes of %s", object);
    }
    return h5_texts_finish(&texts, names, count);
}

static void show_numbers(const double *values, int count, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%.15g", i ? "," : "", values[i]);
}

Status h5file_attr_show(const H5File *file, const char *object, const char *name, char *text, size_t size)
{
    H5_QUIET;
    OPEN_ATTR attr = closed_attr;
    TRY(open_attr(file, object, name, &attr));
    H5T_class_t class = H5Tget_class(attr.type);
    if (class == H5T_STRING && attr.size == 1) {
        char *value;
        TRY(h5file_attr_text(file, object, name, &value));
        snprintf(text, size, "%s", value);
        free(value);
    } else if (class == H5T_INTEGER || class == H5T_FLOAT) {
        double *values;
        int count;
        TRY(h5file_attr_f64s(file, object, name, &values, &count));
        show_numbers(values, count, text, size);
        free(values);
    } else {
        snprintf(text, size, "(%lld values)", (long long)attr.size);
    }
    return STATUS_OK;
}

/* --- writing --- */

/* count NULL: a single value. An attribute that is there already is replaced. */
static Status write_attr(H5File *file, const char *object, const char *name, hid_t stored, hid_t memory, const int *count,
                         const void *data)
{
    assert(file->writing);
    char what[300];
    describe(object, name, what);
    H5Id target = -1;
    TRY(h5_open_object(file, object, &target));
    if (H5Aexists(target, name) > 0 && H5Adelete(target, name) < 0) return h5_fail(file, "cannot replace %s", what);
    hsize_t size = count ? (hsize_t)*count : 1;
    H5Id space = count ? H5Screate_simple(1, &size, NULL) : H5Screate(H5S_SCALAR);
    H5Id attr = H5Acreate2(target, name, stored, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attr < 0 || (size && H5Awrite(attr, memory, data) < 0)) return h5_fail(file, "cannot write %s", what);
    return STATUS_OK;
}

static Status write_numbers(H5File *file, const char *object, const char *name, H5Kind kind, const int *count,
                            const void *data)
{
    H5_QUIET;
    H5Id stored = h5_file_type(kind), memory = h5_memory_type(kind);
    return write_attr(file, object, name, stored, memory, count, data);
}

Status h5file_set_i64(H5File *file, const char *object, const char *name, int64_t value)
{
    return write_numbers(file, object, name, H5KIND_I64, NULL, &value);
}

Status h5file_set_f64(H5File *file, const char *object, const char *name, double value)
{
    return write_numbers(file, object, name, H5KIND_F64, NULL, &value);
}

Status h5file_set_text(H5File *file, const char *object, const char *name, const char *value)
{
    H5_QUIET;
    H5Id type = h5_text_type(strlen(value));
    return write_attr(file, object, name, type, type, NULL, strlen(value) ? value : "\0");
}

Status h5file_set_i32s(H5File *file, const char *object, const char *name, const int32_t *values, int count)
{
    return write_numbers(file, object, name, H5KIND_I32, &count, values);
}

Status h5file_set_f64s(H5File *file, const char *object, const char *name, const double *values, int count)
{
    return write_numbers(file, object, name, H5KIND_F64, &count, values);
}
