#include "glide/serve/serve_json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DEPTH = 40 };

void fields_fail(Fields *f, const char *name, const char *format, ...)
{
    char what[160];
    va_list args;
    if (f->status != STATUS_OK) return;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    f->status = STATUS_BAD_INPUT;
    snprintf(f->message, sizeof f->message, "%s%s%s: %s", f->where, *f->where ? "." : "", name, what);
}

void fields_init(Fields *f, const json_t *object, const char *where)
{
    *f = (Fields){.where = where};
    if (!json_is_object(object)) {
        f->status = STATUS_BAD_INPUT;
        snprintf(f->message, sizeof f->message, "%s: expected a JSON object", *where ? where : "body");
        return;
    }
    f->rest = json_copy((json_t *)object);
    if (!f->rest) fields_fail(f, "body", "out of memory");
}

json_t *fields_any(Fields *f, const char *name)
{
    json_t *value = f->rest ? json_object_get(f->rest, name) : NULL;
    if (!value) return NULL;
    json_object_del(f->rest, name); /* the original object still holds it */
    return json_is_null(value) ? NULL : value;
}

const char *fields_text(Fields *f, const char *name, size_t most, const char *fallback)
{
    const json_t *value = fields_any(f, name);
    if (!value) return fallback;
    if (!json_is_string(value))
        fields_fail(f, name, "expected a text");
    else if (json_string_length(value) > most)
        fields_fail(f, name, "expected at most %zu bytes, found %zu", most, json_string_length(value));
    return f->status == STATUS_OK ? json_string_value(value) : fallback;
}

int64_t fields_int(Fields *f, const char *name, int64_t low, int64_t high, int64_t fallback)
{
    const json_t *value = fields_any(f, name);
    if (!value) return fallback;
    double real = json_is_real(value) ? json_real_value(value) : 0.5; /* 20.0 is a whole number, too */
    bool whole = json_is_integer(value) || (real == floor(real) && fabs(real) < 9e15);
    int64_t found = json_is_integer(value) ? json_integer_value(value) : whole ? (int64_t)real : 0;
    if (!whole)
        fields_fail(f, name, "expected a whole number");
    else if (found < low || found > high)
        fields_fail(f, name, "expected %lld to %lld, found %lld", (long long)low, (long long)high, (long long)found);
    else
        return found;
    return fallback;
}

double fields_number(Fields *f, const char *name, double low, double high, double fallback)
{
    const json_t *value = fields_any(f, name);
    if (!value) return fallback;
    double found = json_number_value(value);
    if (!json_is_number(value))
        fields_fail(f, name, "expected a number");
    else if (!(found >= low && found <= high))
        fields_fail(f, name, "expected %g to %g, found %g", low, high, found);
    else
        return found;
    return fallback;
}

bool fields_bool(Fields *f, const char *name, bool fallback)
{
    const json_t *value = fields_any(f, name);
    if (!value) return fallback;
    if (!json_is_boolean(value)) fields_fail(f, name, "expected true or false");
    return json_is_true(value);
}

Status fields_end(Fields *f, bool strict)
{
    const char *left = f->rest ? json_object_iter_key(json_object_iter(f->rest)) : NULL;
    char name[64];
    snprintf(name, sizeof name, "%.60s", left ? left : "");
    if (strict && left) fields_fail(f, name, "no such field");
    json_decref(f->rest);
    f->rest = NULL;
    return f->status == STATUS_OK ? STATUS_OK : status_fail(f->status, "%s", f->message);
}

/* --- texts ------------------------------------------------------------------------------------------ */

/* jansson goes down to 2048 levels; nothing that is asked for here needs more than a few. */
static bool too_deep(const char *text, size_t size)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted && (text[i] == '[' || text[i] == '{') && ++depth > MOST_DEPTH)
            return true;
        else if (!quoted && (text[i] == ']' || text[i] == '}'))
            depth--;
    }
    return false;
}

Status json_parse(const char *text, size_t size, json_t **out)
{
    json_error_t error;
    *out = NULL;
    if (too_deep(text, size)) return status_fail(STATUS_BAD_INPUT, "body: expected JSON of at most %d levels", MOST_DEPTH);
    *out = json_loadb(text ? text : "", size, JSON_REJECT_DUPLICATES, &error);
    if (*out) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "body: expected JSON, line %d column %d: %.120s", error.line, error.column, error.text);
}

json_t *json_number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}
