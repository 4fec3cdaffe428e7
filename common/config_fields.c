#include "common/config_fields.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const void *member(const ConfigField *field, const void *config)
{
    return (const char *)config + field->offset;
}

static int array_count(const ConfigField *field, const void *config)
{
    int count;
    memcpy(&count, (const char *)config + field->count_offset, sizeof count);
    assert(count >= 0 && (size_t)count * 4 <= field->bytes);
    return count;
}

/* A float as the shortest decimal that reads back as the same float, so that 0.1f is stored as 0.1. */
static double shortest(float value)
{
    char text[32];
    for (int digits = 1; digits < 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) return strtod(text, NULL);
    }
    return value;
}

static Status write_floats(H5File *file, const char *object, const ConfigField *field, const void *config)
{
    int count = array_count(field, config);
    const float *values = member(field, config);
    double *wide = malloc((size_t)(count ? count : 1) * sizeof *wide);
    if (!wide) return status_fail(STATUS_NO_MEMORY, "out of memory for attribute %s", field->name);
    for (int i = 0; i < count; i++) wide[i] = shortest(values[i]);
    Status status = h5file_set_f64s(file, object, field->name, wide, count);
    free(wide);
    return status;
}

static Status write_field(H5File *file, const char *object, const ConfigField *field, const void *config)
{
    const void *value = member(field, config);
    const char *name = field->name;
    switch (field->type) {
    case CONFIG_INT: return h5file_set_i64(file, object, name, *(const int *)value);
    case CONFIG_I64: return h5file_set_i64(file, object, name, *(const int64_t *)value);
    case CONFIG_BOOL: return h5file_set_i64(file, object, name, *(const bool *)value);
    case CONFIG_FLOAT: return h5file_set_f64(file, object, name, shortest(*(const float *)value));
    case CONFIG_DOUBLE: return h5file_set_f64(file, object, name, *(const double *)value);
    case CONFIG_INTS: return h5file_set_i32s(file, object, name, value, array_count(field, config));
    case CONFIG_FLOATS: return write_floats(file, object, field, config);
    case CONFIG_TEXT: return h5file_set_text(file, object, name, value);
    }
    return STATUS_OK;
}

Status config_write(H5File *file, const char *object, const ConfigField *fields, const void *config)
{
    for (; fields->name; fields++) TRY(write_field(file, object, fields, config));
    return STATUS_OK;
}

static Status read_whole(const H5File *file, const char *object, const char *name, int64_t low, int64_t high, int64_t *out)
{
    TRY(h5file_attr_i64(file, object, name, out));
    if (*out >= low && *out <= high) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: attribute %s is %lld, expected %lld to %lld", h5file_path(file), name,
                       (long long)*out, (long long)low, (long long)high);
}

static Status read_real(const H5File *file, const char *object, const char *name, double *out)
{
    TRY(h5file_attr_f64(file, object, name, out));
    if (isfinite(*out)) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: attribute %s is not a finite number", h5file_path(file), name);
}

static Status read_array(const H5File *file, const char *object, const ConfigField *field, void *config)
{
    int count = 0, room = (int)(field->bytes / 4);
    int32_t *whole = NULL;
    double *wide = NULL;
    void *out = (char *)config + field->offset;
    if (field->type == CONFIG_INTS) TRY(h5file_attr_i32s(file, object, field->name, &whole, &count));
    else TRY(h5file_attr_f64s(file, object, field->name, &wide, &count));
    Status status = STATUS_OK;
    if (count > room)
        status = status_fail(STATUS_BAD_INPUT, "%s: attribute %s has %d values, expected at most %d", h5file_path(file),
                             field->name, count, room);
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        if (whole) {
            ((int *)out)[i] = whole[i];
            continue;
        }
        ((float *)out)[i] = (float)wide[i];
        if (!isfinite(((float *)out)[i]))
            status = status_fail(STATUS_BAD_INPUT, "%s: attribute %s holds a number that is not finite", h5file_path(file),
                                 field->name);
    }
    if (status == STATUS_OK) memcpy((char *)config + field->count_offset, &count, sizeof count);
    free(whole);
    free(wide);
    return status;
}

static Status read_text(const H5File *file, const char *object, const ConfigField *field, char *out)
{
    char *text;
    TRY(h5file_attr_text(file, object, field->name, &text));
    size_t length = strlen(text);
    bool fits = length < field->bytes;
    if (fits) memcpy(out, text, length + 1);
    free(text);
    return fits ? STATUS_OK
                : status_fail(STATUS_BAD_INPUT, "%s: attribute %s has %zu characters, expected at most %zu",
                              h5file_path(file), field->name, length, field->bytes - 1);
}

static Status read_field(const H5File *file, const char *object, const ConfigField *field, void *config)
{
    void *out = (char *)config + field->offset;
    int64_t whole = 0;
    double real = 0;
    switch (field->type) {
    case CONFIG_INT:
        TRY(read_whole(file, object, field->name, INT_MIN, INT_MAX, &whole));
        *(int *)out = (int)whole;
        break;
    case CONFIG_I64: return h5file_attr_i64(file, object, field->name, out);
    case CONFIG_BOOL:
        TRY(read_whole(file, object, field->name, 0, 1, &whole));
        *(bool *)out = whole == 1;
        break;
    case CONFIG_FLOAT:
        TRY(read_real(file, object, field->name, &real));
        *(float *)out = (float)real;
        break;
    case CONFIG_DOUBLE: return read_real(file, object, field->name, out);
    case CONFIG_INTS:
    case CONFIG_FLOATS: return read_array(file, object, field, config);
    case CONFIG_TEXT: return read_text(file, object, field, out);
    }
    return STATUS_OK;
}

Status config_read(const H5File *file, const char *object, const ConfigField *fields, void *config)
{
    for (; fields->name; fields++)
        if (!fields->optional || h5file_has_attr(file, object, fields->name))
            TRY(read_field(file, object, fields, config));
    return STATUS_OK;
}

const char *config_show(const ConfigField *field, const void *config, char *text, size_t size)
{
    const void *value = member(field, config);
    int count = field->type == CONFIG_INTS || field->type == CONFIG_FLOATS ? array_count(field, config) : 1;
    size_t used = 0;
    if (size) text[0] = '\0';
    for (int i = 0; i < count && used < size; i++) {
        char *at = text + used;
        const char *comma = i ? "," : "";
        size_t room = size - used;
        int added = 0;
        switch (field->type) {
        case CONFIG_INT:
        case CONFIG_INTS: added = snprintf(at, room, "%s%d", comma, ((const int *)value)[i]); break;
        case CONFIG_I64: added = snprintf(at, room, "%lld", (long long)*(const int64_t *)value); break;
        case CONFIG_BOOL: added = snprintf(at, room, "%s", *(const bool *)value ? "yes" : "no"); break;
        case CONFIG_FLOAT:
        case CONFIG_FLOATS: added = snprintf(at, room, "%s%.9g", comma, shortest(((const float *)value)[i])); break;
        case CONFIG_DOUBLE: added = snprintf(at, room, "%.15g", *(const double *)value); break;
        case CONFIG_TEXT: added = snprintf(at, room, "%s", (const char *)value); break;
        }
        used += (size_t)added;
    }
    return text;
}
