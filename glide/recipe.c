#include "glide/recipe.h"

#include "glide/version.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUIDANCE_KEY(name) {name, "upsampler_" name}
static const char *const guidance_keys[RECIPE_GUIDANCE_KEYS][2] = {
    GUIDANCE_KEY("guidance_scale"),   GUIDANCE_KEY("guidance_interval"),     GUIDANCE_KEY("guidance_schedule"),
    GUIDANCE_KEY("negative_prompt"),  GUIDANCE_KEY("guidance_rescale"),      GUIDANCE_KEY("threshold"),
    GUIDANCE_KEY("apg"),              GUIDANCE_KEY("cfgpp"),                 GUIDANCE_KEY("guide_weights"),
    GUIDANCE_KEY("autoguidance_scale"), GUIDANCE_KEY("autoguidance_interval"), GUIDANCE_KEY("autoguidance_schedule"),
    GUIDANCE_KEY("classifier"),       GUIDANCE_KEY("classifier_scale"),      GUIDANCE_KEY("classifier_interval"),
    GUIDANCE_KEY("classifier_schedule"), GUIDANCE_KEY("clip"),               GUIDANCE_KEY("clip_scale"),
    GUIDANCE_KEY("clip_interval"),    GUIDANCE_KEY("clip_schedule")};

const char *recipe_key(RecipeKey key, bool upsampler)
{
    return guidance_keys[key][upsampler];
}

static Status out_of_memory(void)
{
    return status_fail(STATUS_NO_MEMORY, "out of memory for a picture's recipe");
}

Status recipe_new(const char *task, GlideRecipe **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out) return out_of_memory();
    recipe_add_text(*out, "version", GLIDE_VERSION);
    recipe_add_text(*out, "task", task);
    return STATUS_OK;
}

static void free_line(PngText *line)
{
    free((char *)line->key);
    free((char *)line->value);
    *line = (PngText){0};
}

void recipe_free(GlideRecipe *r)
{
    if (!r) return;
    for (int i = 0; i < r->count; i++) free_line(&r->lines[i]);
    free(r);
}

Status recipe_copy(const GlideRecipe *r, GlideRecipe **out)
{
    GlideRecipe *copy = calloc(1, sizeof *copy);
    *out = NULL;
    if (!copy) return out_of_memory();
    for (int i = 0; i < r->count; i++) recipe_add_text(copy, r->lines[i].key, r->lines[i].value);
    if (recipe_status(copy) == STATUS_OK) *out = copy;
    else recipe_free(copy);
    return *out ? STATUS_OK : out_of_memory();
}

void recipe_add_text(GlideRecipe *r, const char *key, const char *value)
{
    PngText line = {0};
    if (r->count < RECIPE_MAX_LINES) line = (PngText){strdup(key), strdup(value)};
    if (line.key && line.value) {
        r->lines[r->count++] = line;
    } else {
        free_line(&line);
        r->failed = true;
    }
}

void recipe_add(GlideRecipe *r, const char *key, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    recipe_add_text(r, key, text);
}

const char *recipe_show_number(double value, char text[RECIPE_NUMBER])
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, RECIPE_NUMBER, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    return text;
}

void recipe_add_number(GlideRecipe *r, const char *key, double value)
{
    char text[RECIPE_NUMBER];
    recipe_add_text(r, key, recipe_show_number(value, text));
}

void recipe_add_hash(GlideRecipe *r, const char *key, uint64_t hash)
{
    recipe_add(r, key, "%016llx", (unsigned long long)hash);
}

void recipe_add_file(GlideRecipe *r, const char *key, const char *path)
{
    char name[RECIPE_MAX_KEY];
    if (!path || !strcmp(path, "-")) return;
    const char *slash = strrchr(path, '/');
    snprintf(name, sizeof name, "%s_file", key);
    if (slash ? slash[1] : *path) recipe_add_text(r, name, slash ? slash + 1 : path);
}

void recipe_set(GlideRecipe *r, const char *key, const char *value)
{
    int i = 0;
    while (i < r->count && strcmp(r->lines[i].key, key)) i++;
    if (i == r->count) {
        if (value) recipe_add_text(r, key, value);
    } else if (value) {
        char *copy = strdup(value);
        r->failed |= !copy;
        if (!copy) return;
        free((char *)r->lines[i].value);
        r->lines[i].value = copy;
    } else {
        free_line(&r->lines[i]);
        memmove(&r->lines[i], &r->lines[i + 1], (size_t)(--r->count - i) * sizeof *r->lines);
    }
}

Status recipe_status(const GlideRecipe *r)
{
    return r->failed ? out_of_memory() : STATUS_OK;
}

const char *recipe_find(const GlideRecipe *r, const char *key)
{
    for (int i = 0; i < r->count; i++)
        if (!strcmp(r->lines[i].key, key)) return r->lines[i].value;
    return NULL;
}

static bool is_hint(const char *key)
{
    size_t n = strlen(key);
    return !strcmp(key, "invert_mask") || (n > 5 && !strcmp(key + n - 5, "_file"));
}

int recipe_compare(const GlideRecipe *a, const GlideRecipe *b, RecipeDifference *out, int room)
{
    int count = 0;
    for (int i = 0; i < a->count + b->count; i++) {
        const PngText *line = i < a->count ? &a->lines[i] : &b->lines[i - a->count];
        const char *in_a = recipe_find(a, line->key), *in_b = recipe_find(b, line->key);
        if (is_hint(line->key) || (i >= a->count && in_a) || (in_a && in_b && !strcmp(in_a, in_b))) continue;
        if (count < room) out[count] = (RecipeDifference){line->key, in_a, in_b};
        count++;
    }
    return count;
}

uint64_t recipe_hash_pixels(int w, int h, int channels, const uint8_t *pixels)
{
    const uint64_t prime = 0x100000001b3u;
    uint64_t hash = 0xcbf29ce484222325u;
    const int sizes[] = {w, h, channels};
    for (int i = 0; i < 3; i++) hash = (hash ^ (uint64_t)sizes[i]) * prime;
    for (size_t i = 0, n = (size_t)w * (size_t)h * (size_t)channels; i < n; i++) hash = (hash ^ pixels[i]) * prime;
    return hash;
}

/* --- in PNGs ------------------------------------------------------------------------------------------ */

Status recipe_to_png(const GlideRecipe *r, int w, int h, PngText texts[RECIPE_CHUNKS])
{
    char *json, *a1111;
    TRY(recipe_to_json(r, 0, &json));
    Status s = recipe_to_a1111(r, w, h, &a1111);
    if (s != STATUS_OK) {
        free(json);
        return s;
    }
    texts[0] = (PngText){RECIPE_A1111_CHUNK, a1111};
    texts[1] = (PngText){RECIPE_CHUNK, json};
    return STATUS_OK;
}

Status recipe_from_png(const char *name, const PngTexts *texts, GlideRecipe **out)
{
    const char *json = png_texts_find(texts, RECIPE_CHUNK);
    *out = NULL;
    return json ? recipe_from_json(name, json, strlen(json), out) : STATUS_OK;
}

static Status take_recipe(const char *name, PngTexts *texts, GlideRecipe **out)
{
    Status s = recipe_from_png(name, texts, out);
    const char *a1111 = png_texts_find(texts, RECIPE_A1111_CHUNK);
    if (s == STATUS_OK && !*out)
        s = status_fail(STATUS_BAD_INPUT, "%s: carries no recipe of glide%s", name,
                        !a1111 ? "" : strstr(a1111, "Version: glide ") ? " that can be read: it was changed or damaged"
                                                                        : "; it was made by another program");
    png_texts_release(texts);
    return s;
}

Status recipe_read(const char *path, GlideRecipe **out)
{
    PngTexts texts;
    *out = NULL;
    TRY(png_read_text(path, &texts));
    return take_recipe(!strcmp(path, "-") ? "standard input" : path, &texts, out);
}

Status recipe_decode(const char *name, const unsigned char *bytes, size_t size, GlideRecipe **out)
{
    PngTexts texts;
    *out = NULL;
    TRY(png_decode_text(name, bytes, size, &texts));
    return take_recipe(name, &texts, out);
}
