/* Requests as JSON: of jobs, and of recipes. */
#include "glide/recipe.h"
#include "glide/serve/serve_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {"sample", "inpaint", "upsample"};
static const char *const modes[GUIDANCE_MODES] = {"cfg", "autoguidance", "classifier", "clip"};

static json_t *text_or_null(const char *text)
{
    return *text ? json_string(text) : json_null();
}

static json_t *guidance_to_json(const JobRequest *r)
{
    json_t *g = json_object();
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        const JobTerm *t = &r->terms[i];
        if (i > 0 && t->scale == 0 && !*t->schedule) continue;
        json_object_set_new(g, modes[i],
                            json_pack("{s:f,s:o,s:o}", "scale", t->scale, "interval", text_or_null(t->interval), "schedule",
                                      text_or_null(t->schedule)));
    }
    if (r->rescale > 0) json_object_set_new(g, "rescale", json_real(r->rescale));
    if (*r->threshold) json_object_set_new(g, "threshold", json_string(r->threshold));
    if (r->cfgpp) json_object_set_new(g, "cfgpp", json_true());
    if (r->apg)
        json_object_set_new(g, "apg",
                            json_pack("{s:f,s:f,s:f}", "eta", r->apg_eta, "norm", r->apg_norm, "momentum", r->apg_momentum));
    return g;
}

json_t *request_to_json(const JobRequest *r)
{
    json_t *out =
        json_pack("{s:s,s:s,s:s,s:i,s:I,s:I,s:s,s:o,s:b,s:s,s:s,s:f,s:f,s:i,s:b}", "kind", kinds[r->kind], "prompt", r->prompt,
                  "negative_prompt", r->negative_prompt, "n", r->n, "seed", (json_int_t)r->seed, "image", (json_int_t)r->image,
                  "sampler", r->sampler, "steps", text_or_null(r->steps), "upsample", r->upsample, "upsampler_sampler",
                  r->upsampler_sampler, "upsampler_steps", r->upsampler_steps, "upsampler_guidance_scale", r->upsampler_scale,
                  "upsample_temp", r->upsample_temp, "colour_cells", r->colour_cells, "keep", r->keep);
    if (!out) return NULL;
    if (r->label >= 0) json_object_set_new(out, "class", json_integer(r->label));
    if (r->kind == JOB_INPAINT) {
        json_object_set_new(out, "jump", json_integer(r->jump));
        json_object_set_new(out, "repeats", json_integer(r->repeats));
    }
    if (r->kind == JOB_INPAINT || (r->kind == JOB_SAMPLE && r->picture.rgb))
        json_object_set_new(out, "strength", json_real(r->strength));
    if (r->kind == JOB_UPSAMPLE)
        json_object_update_new(out, json_pack("{s:i,s:i,s:i,s:f,s:f}", "scale", r->scale, "width", r->width, "height", r->height,
                                              "fidelity", r->fidelity, "noise_level", r->noise_level));
    json_object_set_new(out, "guidance", guidance_to_json(r));
    return out;
}

/* --- of recipes ------------------------------------------------------------------------------------- */

static void take_text(const GlideRecipe *r, const char *key, json_t *out)
{
    const char *value = recipe_find(r, key);
    if (value) json_object_set_new(out, key, json_string(value));
}

static void take_number(const GlideRecipe *r, const char *key, json_t *out, const char *name)
{
    const char *value = recipe_find(r, key);
    if (value) json_object_set_new(out, name, json_real(strtod(value, NULL)));
}

static void take_int(const GlideRecipe *r, const char *key, json_t *out)
{
    const char *value = recipe_find(r, key);
    if (value) json_object_set_new(out, key, json_integer(strtoll(value, NULL, 10)));
}

static json_t *guidance_from_recipe(const GlideRecipe *r)
{
    static const RecipeKey scales[GUIDANCE_MODES] = {RECIPE_GUIDANCE_SCALE, RECIPE_AUTOGUIDANCE_SCALE, RECIPE_CLASSIFIER_SCALE,
                                                     RECIPE_CLIP_SCALE};
    json_t *out = json_object();
    double eta = 0, norm = 0, momentum = 0;
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        json_t *term = json_object();
        const char *interval = recipe_find(r, recipe_key(scales[i] + 1, false));
        const char *schedule = recipe_find(r, recipe_key(scales[i] + 2, false));
        take_number(r, recipe_key(scales[i], false), term, "scale");
        if (interval) json_object_set_new(term, "interval", json_string(interval));
        if (schedule) json_object_set_new(term, "schedule", json_string(schedule));
        if (json_object_size(term))
            json_object_set_new(out, modes[i], term);
        else
            json_decref(term);
    }
    take_number(r, recipe_key(RECIPE_GUIDANCE_RESCALE, false), out, "rescale");
    take_text(r, recipe_key(RECIPE_THRESHOLD, false), out);
    if (recipe_find(r, recipe_key(RECIPE_CFGPP, false))) json_object_set_new(out, "cfgpp", json_true());
    const char *apg = recipe_find(r, recipe_key(RECIPE_APG, false));
    if (apg && sscanf(apg, "%lf:%lf:%lf", &eta, &norm, &momentum) >= 1)
        json_object_set_new(out, "apg", json_pack("{s:f,s:f,s:f}", "eta", eta, "norm", norm, "momentum", momentum));
    return out;
}

json_t *request_from_recipe(const GlideRecipe *r)
{
    static const char *const texts[] = {"prompt", "negative_prompt", "sampler", "steps", "upsampler_sampler", "upsampler_steps"};
    static const char *const ints[] = {"seed", "image", "class", "colour_cells", "jump", "repeats", "scale", "width", "height"};
    static const char *const numbers[] = {"upsample_temp", "strength", "upsampler_guidance_scale", "fidelity", "noise_level"};
    bool upsampled = recipe_find(r, "upsampler_sampler");
    const char *task = recipe_find(r, "task");
    json_t *out = json_object();
    json_object_set_new(out, "kind", json_string(task ? task : kinds[JOB_SAMPLE])); /* tasks have the names of kinds */
    json_object_set_new(out, "upsample", json_boolean(upsampled));
    if (task && !strcmp(task, kinds[JOB_UPSAMPLE])) json_object_set_new(out, "scale", json_integer(0)); /* unless it says one */
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) take_text(r, texts[i], out);
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) take_int(r, ints[i], out);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) take_number(r, numbers[i], out, numbers[i]);
    json_object_set_new(out, "guidance", guidance_from_recipe(r));
    return out;
}
