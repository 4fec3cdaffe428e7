#include "glide/recipe_call.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- values: a missing line leaves what is there ------------------------------------------------------ */

static Status bad_line(const char *key, const char *expected, const char *found)
{
    return status_fail(STATUS_BAD_INPUT, "recipe: \"%s\": expected %s, found \"%.60s\"", key, expected, found);
}

static Status take_text(const GlideRecipe *r, const char *key, const char **out)
{
    const char *value = recipe_find(r, key);
    if (value) *out = value;
    return STATUS_OK;
}

static Status take_double(const GlideRecipe *r, const char *key, double *out)
{
    const char *value = recipe_find(r, key);
    char *end;
    if (!value) return STATUS_OK;
    *out = strtod(value, &end);
    return end != value && !*end && isfinite(*out) ? STATUS_OK : bad_line(key, "a number", value);
}

static Status take_whole(const GlideRecipe *r, const char *key, uint64_t most, uint64_t *out)
{
    const char *value = recipe_find(r, key);
    char *end;
    if (!value) return STATUS_OK;
    errno = 0;
    *out = strtoull(value, &end, 10);
    return *value >= '0' && *value <= '9' && !*end && !errno && *out <= most ? STATUS_OK : bad_line(key, "a whole number", value);
}

static Status take_int(const GlideRecipe *r, const char *key, int *out)
{
    uint64_t value = UINT64_MAX;
    TRY(take_whole(r, key, 1 << 30, &value));
    if (recipe_find(r, key)) *out = (int)value;
    return STATUS_OK;
}

/* --- guidance ----------------------------------------------------------------------------------------- */

static Status take_term(const GlideRecipe *r, RecipeKey scale, bool upsampler, GlideGuidanceTerm *t)
{
    TRY(take_double(r, recipe_key(scale, upsampler), &t->scale));
    TRY(take_text(r, recipe_key(scale + 1, upsampler), &t->interval));
    return take_text(r, recipe_key(scale + 2, upsampler), &t->schedule);
}

static Status take_apg(const GlideRecipe *r, bool upsampler, GlideGuidance *g)
{
    const char *key = recipe_key(RECIPE_APG, upsampler), *value = recipe_find(r, key);
    int end = 0;
    g->apg = value != NULL;
    if (!value || (sscanf(value, "%lf:%lf:%lf%n", &g->apg_eta, &g->apg_norm, &g->apg_momentum, &end) == 3 && !value[end]))
        return STATUS_OK;
    return bad_line(key, "ETA:NORM:MOMENTUM", value);
}

static Status take_guidance(const GlideRecipe *r, bool upsampler, GlideGuidance *g)
{
    *g = glide_guidance_defaults();
    TRY(take_term(r, RECIPE_GUIDANCE_SCALE, upsampler, &g->cfg));
    TRY(take_term(r, RECIPE_AUTOGUIDANCE_SCALE, upsampler, &g->autoguidance));
    TRY(take_term(r, RECIPE_CLASSIFIER_SCALE, upsampler, &g->classifier));
    TRY(take_term(r, RECIPE_CLIP_SCALE, upsampler, &g->clip));
    TRY(take_text(r, recipe_key(RECIPE_NEGATIVE_PROMPT, upsampler), &g->negative_prompt));
    TRY(take_double(r, recipe_key(RECIPE_GUIDANCE_RESCALE, upsampler), &g->rescale));
    TRY(take_text(r, recipe_key(RECIPE_THRESHOLD, upsampler), &g->threshold));
    g->cfgpp = recipe_find(r, recipe_key(RECIPE_CFGPP, upsampler)) != NULL;
    return take_apg(r, upsampler, g);
}

/* --- calls -------------------------------------------------------------------------------------------- */

static Status take_image(const GlideRecipe *r, uint32_t *out)
{
    uint64_t image = 1;
    TRY(take_whole(r, "image", UINT32_MAX - 1, &image));
    *out = (uint32_t)image;
    return STATUS_OK;
}

static Status take_sample(const GlideRecipe *r, GlideSampleOptions *o)
{
    TRY(take_whole(r, "seed", UINT64_MAX, &o->seed));
    TRY(take_image(r, &o->image));
    TRY(take_int(r, "class", &o->label));
    TRY(take_text(r, "sampler", &o->sampler));
    TRY(take_text(r, "steps", &o->steps));
    TRY(take_guidance(r, false, &o->guidance));
    TRY(take_guidance(r, true, &o->upsampler_guidance));
    o->upsample = recipe_find(r, "upsampler_weights") != NULL;
    TRY(take_text(r, "upsampler_sampler", &o->upsampler_sampler));
    TRY(take_text(r, "upsampler_steps", &o->upsampler_steps));
    TRY(take_double(r, "upsample_temp", &o->upsample_temp));
    TRY(take_int(r, "colour_cells", &o->colour_cells));
    return take_double(r, "strength", &o->strength);
}

static Status take_upsample(const GlideRecipe *r, GlideUpsampleOptions *o)
{
    TRY(take_text(r, "prompt", &o->prompt));
    TRY(take_whole(r, "seed", UINT64_MAX, &o->seed));
    TRY(take_image(r, &o->image));
    TRY(take_int(r, "class", &o->label));
    TRY(take_text(r, "upsampler_sampler", &o->sampler));
    TRY(take_text(r, "upsampler_steps", &o->steps));
    TRY(take_double(r, "upsample_temp", &o->upsample_temp));
    TRY(take_int(r, "colour_cells", &o->colour_cells));
    TRY(take_int(r, "scale", &o->scale));
    TRY(take_int(r, "width", &o->width));
    TRY(take_int(r, "height", &o->height));
    TRY(take_double(r, "fidelity", &o->fidelity));
    TRY(take_double(r, "noise_level", &o->noise_level));
    TRY(take_int(r, "tile", &o->tile));
    return take_guidance(r, true, &o->guidance);
}

static Status take_precision(const GlideRecipe *r, GlidePrecision *out)
{
    static const struct {
        const char *name;
        GlidePrecision precision;
    } all[] = {{"f32", GLIDE_PRECISION_F32}, {"bf16", GLIDE_PRECISION_BF16}, {"int8", GLIDE_PRECISION_INT8}};
    const char *value = recipe_find(r, "precision");
    for (int i = 0; value && i < 3; i++)
        if (!strcmp(value, all[i].name)) {
            *out = all[i].precision;
            return STATUS_OK;
        }
    return value ? bad_line("precision", "f32, bf16 or int8", value) : STATUS_OK;
}

Status recipe_call(const GlideRecipe *r, RecipeCall *out)
{
    static const char *const tasks[] = {"sample", "inpaint", "upsample"};
    const char *task = recipe_find(r, "task");
    int i = 0;
    *out = (RecipeCall){.prompt = "", .sample = glide_sample_defaults(), .inpaint = glide_inpaint_defaults(),
                        .upsample = glide_upsample_defaults()};
    while (i < 3 && task && strcmp(task, tasks[i])) i++;
    if (!task || i == 3) return bad_line("task", "sample, inpaint or upsample", task ? task : "");
    out->task = (RecipeTask)i;
    TRY(take_text(r, "prompt", &out->prompt));
    TRY(take_precision(r, &out->precision));
    switch (out->task) {
    case RECIPE_SAMPLE: return take_sample(r, &out->sample);
    case RECIPE_UPSAMPLE: return take_upsample(r, &out->upsample);
    case RECIPE_INPAINT: break;
    }
    TRY(take_sample(r, &out->inpaint.sample));
    TRY(take_int(r, "jump", &out->inpaint.jump));
    return take_int(r, "repeats", &out->inpaint.repeats);
}
