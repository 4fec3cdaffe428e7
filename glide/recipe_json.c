/* Recipes as JSON. */
#include "glide/json_text.h"
#include "glide/recipe.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_EXACT (INT64_C(1) << 53) /* larger whole numbers are not safe in readers that know doubles only */

/* Lines that are numbers; those of the upsampler's guidance besides. */
static bool is_number(const char *key)
{
    static const char *const keys[] = {"seed", "image", "class", "upsample_temp", "colour_cells", "scale", "width", "height", "fidelity",
                                       "noise_level", "tile", "strength", "jump", "repeats",
                                       "guidance_scale", "guidance_rescale", "autoguidance_scale", "classifier_scale",
                                       "clip_scale"};
    if (!strncmp(key, "upsampler_", 10)) key += 10;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i])) return true;
    return false;
}

static bool is_flag(const char *key)
{
    return !strcmp(key, "cfgpp") || !strcmp(key, "upsampler_cfgpp") || !strcmp(key, "invert_mask");
}

/* --- writing ------------------------------------------------------------------------------------------ */

static json_t *number_value(const char *text)
{
    char *end;
    errno = 0;
    long long whole = strtoll(text, &end, 10);
    if (!errno && end != text && !*end) return llabs(whole) < MOST_EXACT ? json_integer(whole) : json_string(text);
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || fabs(value) >= (double)MOST_EXACT) return json_text(text);
    return json_real(value);
}

/* How many digits bring every real number of the object back; jansson has one setting for all. */
static size_t digits_of(const json_t *object)
{
    const char *key;
    json_t *value;
    int most = 1;
    json_object_foreach((json_t *)object, key, value) {
        char text[40];
        if (!json_is_real(value)) continue;
        int digits = 1;
        for (; digits < 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, json_real_value(value));
            if (strtod(text, NULL) == json_real_value(value)) break;
        }
        if (digits > most) most = digits;
    }
    return (size_t)most;
}

Status recipe_to_json(const GlideRecipe *r, int indent, char **out)
{
    json_t *object = json_object();
    bool ok = object != NULL;
    for (int i = 0; i < r->count && ok; i++) {
        const PngText *line = &r->lines[i];
        json_t *value = is_number(line->key) ? number_value(line->value)
                        : is_flag(line->key) && !strcmp(line->value, "yes") ? json_true()
                                                                            : json_text(line->value);
        ok = value && json_object_set_new(object, line->key, value) == 0;
    }
    size_t flags = JSON_PRESERVE_ORDER | (indent > 0 ? JSON_INDENT((size_t)indent) : JSON_COMPACT);
    *out = ok ? json_dumps(object, flags | JSON_REAL_PRECISION(digits_of(object))) : NULL;
    json_decref(object);
    return *out ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a picture's recipe");
}

/* --- reading ------------------------------------------------------------------------------------------ */

static Status take_value(const char *name, const char *key, const json_t *value, GlideRecipe *r)
{
    size_t length = strlen(key);
    if (length < 1 || length >= RECIPE_MAX_KEY)
        return status_fail(STATUS_BAD_INPUT, "%s: its recipe has a key of %zu bytes, expected 1 to %d", name, length,
                           RECIPE_MAX_KEY - 1);
    if (r->count == RECIPE_MAX_LINES)
        return status_fail(STATUS_BAD_INPUT, "%s: its recipe has more than %d lines", name, RECIPE_MAX_LINES);
    if (json_is_string(value)) recipe_add_text(r, key, json_string_value(value));
    else if (json_is_integer(value)) recipe_add(r, key, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value)) recipe_add_number(r, key, json_real_value(value));
    else if (json_is_true(value)) recipe_add_text(r, key, "yes");
    else if (!json_is_false(value) && !json_is_null(value))
        return status_fail(STATUS_BAD_INPUT, "%s: \"%s\" of its recipe: expected a text or a number", name, key);
    return STATUS_OK;
}

static Status take_object(const char *name, json_t *object, GlideRecipe *r)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object)) return status_fail(STATUS_BAD_INPUT, "%s: its recipe is no JSON object", name);
    json_object_foreach(object, key, value) TRY(take_value(name, key, value, r));
    if (!recipe_find(r, "version") || !recipe_find(r, "task"))
        return status_fail(STATUS_BAD_INPUT, "%s: its recipe has no \"version\" and \"task\"", name);
    return recipe_status(r);
}

Status recipe_from_json(const char *name, const char *text, size_t size, GlideRecipe **out)
{
    json_error_t error;
    *out = NULL;
    if (size > RECIPE_MAX_BYTES)
        return status_fail(STATUS_BAD_INPUT, "%s: a recipe of %zu bytes, expected at most %d", name, size, RECIPE_MAX_BYTES);
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        return status_fail(STATUS_BAD_INPUT, "%s: its recipe is no JSON: %s in line %d, column %d", name, error.text, error.line,
                           error.column);
    GlideRecipe *r = calloc(1, sizeof *r);
    Status s = r ? take_object(name, object, r) : status_fail(STATUS_NO_MEMORY, "out of memory for a picture's recipe");
    json_decref(object);
    if (s == STATUS_OK) *out = r;
    else recipe_free(r);
    return s;
}
