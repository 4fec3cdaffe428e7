/* Recipes as the text that AUTOMATIC1111's web UI writes, and the names that it has for samplers. Its reader takes the last line
 * apart at commas outside of quotes, each part at its first colon; a value with a comma, a colon or a line's end in it is a JSON
 * string (modules/infotext_utils.py, quote()). */
#include "glide/recipe.h"

#include "common/respace.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROCESS_STEPS = 1000 };

static const char *const samplers[][2] = {{"ddpm", "DDPM"}, {"ddim", "DDIM"}, {"euler", "Euler"}, {"euler_ancestral", "Euler a"},
                                          {"euler_a", "Euler a"}, {"heun", "Heun"}, {"dpmpp_2m", "DPM++ 2M"},
                                          {"dpmpp_3m", "DPM++ 3M"}, {"dpmpp_2s", "DPM++ 2S"}, {"dpmpp_3s", "DPM++ 3S"},
                                          {"plms", "PLMS"}};
enum { SAMPLERS = sizeof samplers / sizeof *samplers };

const char *recipe_a1111_sampler(const char *sampler)
{
    for (int i = 0; i < SAMPLERS; i++)
        if (!strcmp(samplers[i][0], sampler)) return samplers[i][1];
    return sampler;
}

const char *recipe_sampler_of_a1111(const char *name)
{
    for (int i = 0; i < SAMPLERS; i++)
        if (!strcmp(samplers[i][1], name) || !strcmp(samplers[i][0], name)) return samplers[i][0];
    return !strcmp(name, "dpmpp_3m_full") ? "dpmpp_3m_full" : NULL;
}

static void put(FILE *out, const char *name, const char *value)
{
    static const char first[] = "Steps";
    if (!value || !*value) return;
    fprintf(out, "%s%s: ", strcmp(name, first) ? ", " : "", name);
    json_t *text = strpbrk(value, ",:\n\"") ? json_string(value) : NULL;
    char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    fputs(quoted ? quoted : value, out);
    free(quoted);
    json_decref(text);
}

/* The largest scale of a schedule's points, which readers get where there is no one scale. */
static double most_of_points(const char *schedule)
{
    double most = -INFINITY;
    for (const char *colon = schedule; (colon = strchr(colon, ':')) != NULL; colon++) {
        double scale = strtod(colon + 1, NULL);
        if (scale > most) most = scale;
    }
    return isfinite(most) ? most : 1;
}

static void put_scale(FILE *out, const GlideRecipe *r, bool upsampler)
{
    char text[32];
    const char *scale = recipe_find(r, recipe_key(RECIPE_GUIDANCE_SCALE, upsampler));
    const char *schedule = recipe_find(r, recipe_key(RECIPE_GUIDANCE_SCHEDULE, upsampler));
    snprintf(text, sizeof text, "%g", schedule ? most_of_points(schedule) : 1);
    put(out, "CFG scale", scale ? scale : text);
}

static void put_model(FILE *out, const GlideRecipe *r, const char *key)
{
    char file[RECIPE_MAX_KEY], name[256];
    put(out, "Model hash", recipe_find(r, key));
    snprintf(file, sizeof file, "%s_file", key);
    const char *path = recipe_find(r, file);
    snprintf(name, sizeof name, "%s", path ? path : key);
    char *dot = strrchr(name, '.');
    if (dot && dot != name) *dot = 0;
    put(out, "Model", name);
}

static void put_last_line(FILE *out, const GlideRecipe *r, int w, int h)
{
    static const char *const others[][2] = {{"Denoising strength", "strength"}, {"Image", "image"}, {"Class", "class"},
                                            {"Guidance interval", "guidance_interval"}, {"Guidance schedule", "guidance_schedule"},
                                            {"CFG rescale", "guidance_rescale"}, {"Precision", "precision"}};
    bool upsampler = !recipe_find(r, "sampler"); /* alone */
    const char *steps = recipe_find(r, upsampler ? "upsampler_steps" : "steps");
    const char *sampler = recipe_find(r, upsampler ? "upsampler_sampler" : "sampler");
    char text[300];
    int count = 0;
    if (!steps || respacing_count(PROCESS_STEPS, steps, NULL, &count) != STATUS_OK) count = 0;
    snprintf(text, sizeof text, "%d", count);
    put(out, "Steps", text);
    put(out, "Sampler", recipe_a1111_sampler(sampler ? sampler : ""));
    snprintf(text, sizeof text, "%s", steps ? steps : "");
    if (strspn(text, "0123456789") != strlen(text)) put(out, "Schedule type", text);
    put_scale(out, r, upsampler);
    put(out, "Seed", recipe_find(r, "seed"));
    snprintf(text, sizeof text, "%dx%d", w, h);
    put(out, "Size", text);
    put_model(out, r, upsampler ? "upsampler_weights" : "weights");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) put(out, others[i][0], recipe_find(r, others[i][1]));
    snprintf(text, sizeof text, "glide %s", recipe_find(r, "version") ? recipe_find(r, "version") : "");
    put(out, "Version", text);
}

Status recipe_to_a1111(const GlideRecipe *r, int w, int h, char **out)
{
    size_t size;
    *out = NULL;
    FILE *text = open_memstream(out, &size);
    if (!text) return status_fail(STATUS_NO_MEMORY, "out of memory for a picture's recipe");
    const char *prompt = recipe_find(r, "prompt");
    const char *negative = recipe_find(r, recipe_key(RECIPE_NEGATIVE_PROMPT, !recipe_find(r, "sampler")));
    if (prompt && *prompt) fprintf(text, "%s\n", prompt);
    if (negative && *negative) fprintf(text, "Negative prompt: %s\n", negative);
    put_last_line(text, r, w, h);
    bool ok = !ferror(text);
    if (fclose(text) == 0 && ok) return STATUS_OK;
    free(*out);
    *out = NULL;
    return status_fail(STATUS_NO_MEMORY, "out of memory for a picture's recipe");
}
