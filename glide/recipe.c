#include "glide/recipe.h"

#include "glide/version.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything a recipe can say, in the order in which it says it; guidance of the base model and of the upsampler in between. */
static const char *const first_keys[] = {"prompt", "seed", "image", "sampler", "steps", NULL};
static const char *const last_keys[] = {"class",     "upsampler_sampler", "upsampler_steps", "upsample_temp",     "colour_cells",
                                        "strength",  "jump",              "repeats",
                                        "precision", "weights",         "upsampler_weights", RECIPE_SOFTWARE_KEY, NULL};

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

Status recipe_new(GlideRecipe **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out) return status_fail(STATUS_NO_MEMORY, "out of memory for a picture's recipe");
    recipe_add_text(*out, RECIPE_SOFTWARE_KEY, "glide " GLIDE_VERSION);
    return STATUS_OK;
}

void recipe_free(GlideRecipe *r)
{
    if (!r) return;
    for (int i = 0; i < r->count; i++) free((char *)r->lines[i].value);
    free(r);
}

void recipe_add_text(GlideRecipe *r, const char *key, const char *value)
{
    char *copy = r->count < RECIPE_MAX_LINES ? strdup(value) : NULL;
    if (copy) r->lines[r->count++] = (PngText){key, copy};
    else r->failed = true;
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

void recipe_add_number(GlideRecipe *r, const char *key, double value)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    recipe_add_text(r, key, text);
}

Status recipe_status(const GlideRecipe *r)
{
    return r->failed ? status_fail(STATUS_NO_MEMORY, "out of memory for a picture's recipe") : STATUS_OK;
}

const char *recipe_find(const GlideRecipe *r, const char *key)
{
    for (int i = 0; i < r->count; i++)
        if (!strcmp(r->lines[i].key, key)) return r->lines[i].value;
    return NULL;
}

static void take_line(const PngTexts *texts, const char *key, GlideRecipe *r)
{
    const char *value = png_texts_find(texts, key);
    if (value) recipe_add_text(r, key, value);
}

Status recipe_from_png(const PngTexts *texts, GlideRecipe **out)
{
    const char *software = png_texts_find(texts, RECIPE_SOFTWARE_KEY);
    *out = NULL;
    if (!software || strncmp(software, "glide ", 6) != 0) return STATUS_OK;
    GlideRecipe *r = calloc(1, sizeof *r);
    if (!r) return status_fail(STATUS_NO_MEMORY, "out of memory for a picture's recipe");
    for (int i = 0; first_keys[i]; i++) take_line(texts, first_keys[i], r);
    for (int i = 0; i < 2 * RECIPE_GUIDANCE_KEYS; i++)
        take_line(texts, recipe_key((RecipeKey)(i % RECIPE_GUIDANCE_KEYS), i >= RECIPE_GUIDANCE_KEYS), r);
    for (int i = 0; last_keys[i]; i++) take_line(texts, last_keys[i], r);
    Status s = recipe_status(r);
    if (s == STATUS_OK) *out = r;
    else recipe_free(r);
    return s;
}
