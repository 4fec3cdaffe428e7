#include "glide/cmd_from.h"

#include "glide/weights_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- files -------------------------------------------------------------------------------------------- */

static bool is_picture(const char *key)
{
    return !strcmp(key, "init_image") || !strcmp(key, "input");
}

/* Is it there, and the right one? Masks are compared when they are fitted to their picture. */
static bool is_it(const GlideRecipe *r, const char *key, const char *path)
{
    Image image = {0};
    char hash[24];
    const char *expected = recipe_find(r, key);
    if (access(path, R_OK) != 0) return false;
    if (!is_picture(key)) return true;
    if (!expected || image_read(path, &image) != STATUS_OK) return false;
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)recipe_hash_pixels(image.w, image.h, 3, image.pixels));
    image_release(&image);
    return !strcmp(hash, expected);
}

const char *cli_recipe_file(const GlideRecipe *r, const char *key, const char *picture, char path[PATH_MAX])
{
    char hint[RECIPE_MAX_KEY + 8];
    snprintf(hint, sizeof hint, "%s_file", key);
    const char *name = recipe_find(r, hint), *slash = strrchr(picture, '/');
    if (!name || !*name || strchr(name, '/') || !strcmp(name, "..")) return NULL; /* a picture names no other folder */
    if ((size_t)snprintf(path, PATH_MAX, "%.*s%s", slash ? (int)(slash + 1 - picture) : 0, picture, name) < PATH_MAX &&
        is_it(r, key, path))
        return path;
    if ((size_t)snprintf(path, PATH_MAX, "%s", name) < PATH_MAX && is_it(r, key, path)) return path;
    return weights_path_default(name, path, PATH_MAX) == STATUS_OK && is_it(r, key, path) ? path : NULL;
}

/* --- options ------------------------------------------------------------------------------------------ */

/* "guidance_scale" -> "guidance-scale" */
static const char *option_of(const char *key, char *name, size_t size)
{
    snprintf(name, size, "%s", key);
    for (char *c = name; *c; c++)
        if (*c == '_') *c = '-';
    return name;
}

static const char *const file_keys[CLI_FROM_FILES] = {"weights",    "upsampler_weights", "guide_weights",
                                                      "classifier", "clip",              "init_image"};

static int file_key(const char *key) /* -1: none */
{
    for (int i = 0; i < CLI_FROM_FILES; i++)
        if (!strcmp(key, file_keys[i])) return i;
    return -1;
}

/* Default weights are left to be found as always. */
static Status preset_file(CliArgs *args, const char *picture, CliFrom *from, int i)
{
    char name[64], hint[RECIPE_MAX_KEY];
    const char *key = file_keys[i];
    option_of(key, name, sizeof name);
    snprintf(hint, sizeof hint, "%s_file", key);
    const char *file = recipe_find(from->recipe, hint);
    bool usual = (i == 0 && file && !strcmp(file, "base.h5")) || (i == 1 && file && !strcmp(file, "upsampler.h5"));
    if (cli_given(args, name)) return STATUS_OK;
    if (cli_recipe_file(from->recipe, key, picture, from->paths[i]))
        return usual ? STATUS_OK : cli_preset(args, name, from->paths[i]);
    if (usual) return STATUS_OK;
    return cli_usage_fail(args, "--from: %s was made with the %s %s (%s), which is not here; expected --%s beside it", picture,
                          is_picture(key) ? "picture" : "file", file ? file : "of hash", recipe_find(from->recipe, key), name);
}

/* What is no option of the command, and is not needed to make the picture again. */
static bool is_told_otherwise(const char *key)
{
    static const char *const keys[] = {"version", "task", "prompt", "upsampler_negative_prompt"};
    size_t n = strlen(key);
    for (int i = 0; i < CLI_COUNT(keys); i++)
        if (!strcmp(key, keys[i])) return true;
    return n > 5 && !strcmp(key + n - 5, "_file");
}

/* A sheet's axes. */
static bool is_axis(const char *key)
{
    return !strcmp(key, "columns") || !strcmp(key, "rows");
}

static Status preset_line(CliArgs *args, const char *picture, CliFrom *from, const PngText *line)
{
    char name[RECIPE_MAX_KEY];
    if (is_axis(line->key) && cli_option(args->command, "grid")) return cli_preset(args, "grid", line->value);
    int file = file_key(line->key);
    if (file >= 0) return preset_file(args, picture, from, file);
    if (is_told_otherwise(line->key)) return STATUS_OK;
    if (!cli_option(args->command, option_of(line->key, name, sizeof name)))
        return cli_usage_fail(args, "--from: %s: glide %s has no option for \"%s\" of its recipe", picture,
                              args->command->name, line->key);
    Status s = cli_preset(args, name, line->value);
    args->usage_error |= s != STATUS_OK;
    return s == STATUS_OK ? s : status_prefix(s, "--from: %s", picture);
}

/* A scale that was typed takes the place of a schedule's points. */
static void drop_schedules(CliArgs *args)
{
    static const char *const modes[] = {"guidance", "autoguidance", "classifier", "clip"};
    for (int i = 0; i < CLI_COUNT(modes); i++) {
        char scale[64], schedule[64];
        snprintf(scale, sizeof scale, "%s-scale", modes[i]);
        snprintf(schedule, sizeof schedule, "%s-schedule", modes[i]);
        const CliOption *o = cli_option(args->command, schedule);
        const char **value = (const char **)((char *)args->options + o->offset);
        if (cli_given(args, scale) && !cli_given(args, schedule) && *value && strchr(*value, ':')) *value = NULL;
    }
}

static bool is_of_upsampler(const char *option)
{
    return !strncmp(option, "upsampl", 7) || !strncmp(option, "colour-cells", 12);
}

/* Whether the upsampler is asked for: by its weights, an axis over one of its options, or such an option here. */
static bool wants_upsampler(const CliArgs *args, const GlideRecipe *r)
{
    if (recipe_find(r, "upsampler_weights")) return true;
    for (int i = 0; i < r->count; i++)
        if (is_axis(r->lines[i].key) && is_of_upsampler(r->lines[i].value)) return true;
    for (int i = 0; i < args->command->option_count; i++)
        if (is_of_upsampler(args->command->options[i].name) && args->given >> i & 1) return true;
    return false;
}

Status cli_from(CliArgs *args, const char *picture, CliFrom *from)
{
    *from = (CliFrom){0};
    TRY(recipe_read(picture, &from->recipe));
    const GlideRecipe *r = from->recipe;
    const char *task = recipe_find(r, "task"), *prompt = recipe_find(r, "prompt");
    bool sheet = !strcmp(task, "grid") && cli_option(args->command, "grid");
    if (strcmp(task, args->command->name) && !sheet)
        return cli_usage_fail(args, "--from: %s was made by glide %.20s, expected a picture of glide %s", picture, task,
                              args->command->name);
    for (int i = 0; i < r->count; i++) TRY(preset_line(args, picture, from, &r->lines[i]));
    drop_schedules(args);
    if (!wants_upsampler(args, r)) TRY(cli_preset(args, "no-upsample", "yes"));
    if (args->operand_count == 0 && prompt && *prompt) args->operand_storage[args->operand_count++] = prompt;
    return STATUS_OK;
}

void cli_from_release(CliFrom *from)
{
    recipe_free(from->recipe);
    *from = (CliFrom){0};
}

void cli_from_compare(const CliFrom *from, const CliArgs *args, const char *name, const char *key, uint64_t hash)
{
    const char *expected = from->recipe ? recipe_find(from->recipe, key) : NULL;
    char found[24];
    snprintf(found, sizeof found, "%016llx", (unsigned long long)hash);
    if (!expected || !strcmp(expected, found) || cli_given(args, name)) return;
    fprintf(stderr, "glide %s: warning: --%s: %s here, %s in the recipe: the picture will be another one\n",
            args->command->name, name, found, expected);
}
