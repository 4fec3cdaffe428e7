#include "glide/cmd_grid.h"

#include "common/file_write.h"
#include "common/interrupt.h"
#include "glide/cli_commands.h"
#include "glide/cmd_from.h"
#include "glide/cmd_grid_sheet.h"
#include "glide/cmd_sample.h"
#include "glide/cmd_plan_lines.h"
#include "glide/recipe_call.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_CELLS = 1024 };

typedef struct Cell {
    SampleCommand command;
    CliArgs args;
    const char *operand;
    char *prompt[2]; /* owned: what each axis made of it */
    char path[PATH_MAX];
    Image image;     /* of the finished picture */
    GlideRecipe *recipe;
} Cell;

typedef struct Grid {
    CliArgs *args;
    const SampleCommand *command;
    GridAxis axes[2];
    int axis_count, columns, count;
    Cell *cells; /* (count) row by row */
    bool kept; /* on the disk: cells while they are made, then the sheet; else nothing is written */
    CliOutput output, listed; /* listed: for the progress bar, so many cells */
    char folder[PATH_MAX], seed[24];
    Glide *glide;
    GlideOptions opened; /* what glide was opened with */
    GlidePicture init;
    CliRun run;
} Grid;

static Grid *grid_new(CliArgs *args, bool kept)
{
    Grid *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->args = args;
    g->command = args->options;
    g->kept = kept;
    return g;
}

static void grid_free(Grid *g)
{
    for (int i = 0; g->cells && i < g->count; i++) {
        free(g->cells[i].prompt[0]);
        free(g->cells[i].prompt[1]);
        image_release(&g->cells[i].image);
        recipe_free(g->cells[i].recipe);
    }
    free(g->cells);
    for (int i = 0; i < 2; i++) grid_axis_release(&g->axes[i]);
    cli_output_release(&g->output);
    glide_picture_release(&g->init);
    glide_close(g->glide);
    free(g);
}

/* --- the cells' options ------------------------------------------------------------------------------- */

static Status apply_axis(Grid *g, Cell *c, int axis, int index)
{
    const GridAxis *a = &g->axes[axis];
    if (strcmp(a->name, "prompt")) {
        Status s = cli_set(&c->args, a->name, a->values[index]);
        g->args->usage_error |= s != STATUS_OK;
        return s == STATUS_OK ? s : status_prefix(s, "--grid");
    }
    const char *before = c->args.operand_count ? c->args.operands[0] : "";
    if (a->word && !*before) return cli_usage_fail(g->args, "--grid: prompt:%s: expected a prompt that has the word", a->word);
    TRY(grid_axis_prompt(g->args, a, index, before, &c->prompt[axis]));
    c->operand = c->prompt[axis];
    c->args.operands = &c->operand;
    c->args.operand_count = 1;
    return STATUS_OK;
}

static Status fill_cell(Grid *g, int i)
{
    Cell *c = &g->cells[i];
    int row = i / g->columns, column = i % g->columns;
    c->command = *g->command;
    c->args = *g->args;
    c->args.options = &c->command;
    for (int axis = 0; axis < g->axis_count; axis++) TRY(apply_axis(g, c, axis, axis ? row : column));
    if ((size_t)snprintf(c->path, sizeof c->path, "%s/r%03d-c%03d.png", g->folder, row + 1, column + 1) >= sizeof c->path)
        return cli_usage_fail(g->args, "--output: too long a name");
    Status s = sample_check(&c->args);
    g->args->usage_error |= c->args.usage_error;
    return s;
}

/* Drawn once for all cells; cells that are there already tell which it was. */
static Status choose_seed(Grid *g)
{
    uint64_t seed;
    for (int i = 0; i < g->axis_count; i++)
        if (!strcmp(g->axes[i].name, "seed")) return STATUS_OK;
    if (cli_has(g->args, "seed")) return STATUS_OK;
    for (int i = 0; i < g->count && g->kept; i++) {
        GlideRecipe *r;
        if (access(g->cells[i].path, R_OK) != 0 || recipe_read(g->cells[i].path, &r) != STATUS_OK) continue;
        snprintf(g->seed, sizeof g->seed, "%s", recipe_find(r, "seed") ? recipe_find(r, "seed") : "");
        recipe_free(r);
        if (*g->seed) break;
    }
    if (!*g->seed) {
        TRY(cli_choose_seed(g->args, 0, g->command->quiet, &seed));
        snprintf(g->seed, sizeof g->seed, "%llu", (unsigned long long)seed);
    }
    for (int i = 0; i < g->count; i++) TRY(cli_preset(&g->cells[i].args, "seed", g->seed));
    return STATUS_OK;
}

static Status check_usage(const Grid *g)
{
    const SampleCommand *c = g->command;
    CliArgs *args = g->args;
    if (c->grid.count > 2) return cli_usage_fail(args, "--grid: expected one or two of them, found %d", c->grid.count);
    if (args->operand_count > 1) return cli_usage_fail(args, "--grid: expected one prompt, found %d", args->operand_count);
    if (c->n != 1) return cli_usage_fail(args, "--grid: expected no --number beside it; --grid seed=1,2,3 makes several");
    if (c->guidance.trace) return cli_usage_fail(args, "--grid: expected no --trace beside it");
    if (g->kept && (!strcmp(c->output, "-") || !strcmp(c->output, "/dev/stdout")))
        return cli_usage_fail(args, "--grid: expected a file name for --output, found standard output");
    return STATUS_OK;
}

static Status grid_init(Grid *g)
{
    const SampleCommand *c = g->command;
    TRY(check_usage(g));
    for (g->axis_count = 0; g->axis_count < c->grid.count; g->axis_count++)
        TRY(grid_axis_parse(g->args, c->grid.items[g->axis_count], &g->axes[g->axis_count]));
    if (g->axis_count == 2 && !strcmp(g->axes[0].name, g->axes[1].name) &&
        (!g->axes[0].word || !g->axes[1].word || !strcmp(g->axes[0].word, g->axes[1].word)))
        return cli_usage_fail(g->args, "--grid: expected two different options, found %s twice", g->axes[0].name);
    g->columns = g->axes[0].count;
    g->count = g->columns * (g->axis_count == 2 ? g->axes[1].count : 1);
    if (g->count > MOST_CELLS)
        return cli_usage_fail(g->args, "--grid: expected at most %d pictures, found %d", MOST_CELLS, g->count);
    if (g->kept) TRY(cli_output_init(&g->output, g->args, c->output, "glide.png", 1));
    if (g->kept && (size_t)snprintf(g->folder, sizeof g->folder, "%s.grid", g->output.path) >= sizeof g->folder)
        return cli_usage_fail(g->args, "--output: too long a name");
    g->cells = calloc((size_t)g->count, sizeof *g->cells);
    if (!g->cells) return status_fail(STATUS_NO_MEMORY, "out of memory for %d pictures", g->count);
    for (int i = 0; i < g->count; i++) TRY(fill_cell(g, i));
    return choose_seed(g);
}

/* --- making them -------------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static Status open_for(Grid *g, const Cell *c)
{
    GlideOptions o = {.weights = c->command.weights, .upsampler_weights = c->command.upsampler_weights,
                      .threads = (int)c->command.threads, .precision = cli_precision(&c->args, c->command.precision)};
    if (g->glide && same_text(o.weights, g->opened.weights) && same_text(o.upsampler_weights, g->opened.upsampler_weights) &&
        o.precision == g->opened.precision)
        return STATUS_OK;
    glide_close(g->glide);
    g->glide = NULL;
    g->opened = o;
    return (Status)glide_open(&o, &g->glide);
}

/* Is it there, made as the cell would be made now? */
static bool take_finished(Cell *c)
{
    GlideRecipe *found;
    if (access(c->path, R_OK) != 0 || recipe_read(c->path, &found) != STATUS_OK) return false;
    bool same = recipe_compare(found, c->recipe, NULL, 0) == 0;
    recipe_free(found);
    return same && image_read(c->path, &c->image) == STATUS_OK;
}

static Status make_cell(Grid *g, Cell *c)
{
    GlideGuidance guidance;
    GlidePicture picture;
    Plan plan;
    int label;
    Status s = sample_guidance(&c->args, &guidance, &label);
    if (s == STATUS_OK) s = sample_check_model(g->glide, &c->args, &guidance, label);
    g->args->usage_error |= c->args.usage_error;
    TRY(s);
    GlideSampleOptions o = sample_options(&c->command, &guidance, (uint64_t)c->command.seed, label);
    const char *prompt = c->args.operand_count ? c->args.operands[0] : "";
    if (c->command.init_image) {
        glide_picture_release(&g->init);
        TRY((Status)glide_picture_read(c->command.init_image, &g->init));
        o.init_image = &g->init;
    }
    TRY(recipe_expect(g->glide, prompt, &o, &c->recipe));
    recipe_add_file(c->recipe, "init_image", c->command.init_image);
    if (g->kept && take_finished(c)) return STATUS_OK;
    TRY(plan_sample(g->glide, &o, &plan));
    TRY(cli_check_memory(g->args, plan.bytes));
    o.callbacks = cli_run_callbacks(&g->run);
    o.callbacks.picture = NULL;
    TRY((Status)glide_sample(g->glide, prompt, &o, &picture));
    recipe_add_file(picture.recipe, "init_image", c->command.init_image);
    s = g->kept ? (Status)glide_picture_write(&picture, c->path) : STATUS_OK;
    c->image = (Image){picture.width, picture.height, picture.rgb};
    picture.rgb = NULL;
    glide_picture_release(&picture);
    return s;
}

static Status make_cells(Grid *g)
{
    g->listed = (CliOutput){g->output.path, g->count};
    cli_run_start(&g->run, &g->listed, g->command->quiet, g->count);
    cli_show_start(&g->run.show, g->args, &g->command->show, g->command->quiet);
    Status s = STATUS_OK;
    for (int i = 0; i < g->count && s == STATUS_OK; i++) {
        g->run.call = g->run.written = i;
        s = open_for(g, &g->cells[i]);
        if (s == STATUS_OK) s = make_cell(g, &g->cells[i]);
        if (s == STATUS_OK && interrupt_requested()) s = status_fail(STATUS_INTERRUPTED, "stopped");
    }
    cli_run_end(&g->run, s == STATUS_OK);
    return s;
}

/* In a folder where what is finished outlives a kill. */
static Status keep_cells(Grid *g)
{
    if (mkdir(g->folder, 0777) != 0 && errno != EEXIST)
        return status_fail(STATUS_IO, "%s: cannot be made: %s", g->folder, strerror(errno));
    Status s = make_cells(g);
    if (s == STATUS_INTERRUPTED)
        return status_fail(s, "stopped; %d of %d pictures are kept in %s: the same command goes on", g->run.call,
                           g->count, g->folder);
    if (s != STATUS_OK) rmdir(g->folder); /* where nothing is kept in it */
    return s;
}

/* --- the sheet ---------------------------------------------------------------------------------------- */

/* Lines that the axis tells: "guidance_scale" and "weights_file" of guidance-scale=... and weights=... */
static bool told_by_axis(const GridAxis *a, const char *key)
{
    size_t n = strlen(a->name);
    for (size_t i = 0; i < n; i++)
        if (key[i] != (a->name[i] == '-' ? '_' : a->name[i])) return false;
    return !key[n] || !strcmp(key + n, "_file");
}

/* What the cells that have such a line say alike: a line may be missing where it means nothing, as an interval of no guidance. NULL:
 * they differ. */
static const char *common_value(const Grid *g, const char *key)
{
    const char *value = NULL;
    for (int i = 0; i < g->count; i++) {
        const char *here = recipe_find(g->cells[i].recipe, key);
        if (here && value && strcmp(here, value)) return NULL;
        if (here) value = here;
    }
    return value;
}

static void add_common(const Grid *g, const GlideRecipe *cell, GlideRecipe *out)
{
    for (int i = 0; i < cell->count; i++) {
        const char *key = cell->lines[i].key, *value = common_value(g, key);
        bool told = !strcmp(key, "version") || !strcmp(key, "task") || !strcmp(key, "prompt") || recipe_find(out, key);
        for (int axis = 0; axis < g->axis_count; axis++) told |= told_by_axis(&g->axes[axis], key);
        if (value && !told) recipe_add_text(out, key, value);
    }
}

/* The prompt before the axes change it, the cells' lines, the axes: what --from makes the same sheet of. */
static Status sheet_recipe(const Grid *g, GlideRecipe **out)
{
    static const char *const names[] = {"columns", "rows"};
    TRY(recipe_new("grid", out));
    if (g->args->operand_count) recipe_add_text(*out, "prompt", g->args->operands[0]);
    for (int i = 0; i < g->count; i++) add_common(g, g->cells[i].recipe, *out);
    for (int i = 0; i < g->axis_count; i++) recipe_add_text(*out, names[i], g->command->grid.items[i]);
    Status s = recipe_status(*out);
    if (s != STATUS_OK) recipe_free(*out);
    return s;
}

static const char *title_of(const GlideRecipe *r, char *text, size_t size)
{
    const char *prompt = recipe_find(r, "prompt"), *seed = recipe_find(r, "seed"), *image = recipe_find(r, "image");
    int n = snprintf(text, size, "%.400s", prompt ? prompt : "");
    if (seed) n += snprintf(text + n, size - (size_t)n, "%sseed %s", n ? ", " : "", seed);
    if (image && strcmp(image, "1")) snprintf(text + n, size - (size_t)n, ", image %s", image);
    return text;
}

static Status make_sheet(const Grid *g, GlidePicture *out)
{
    char title[512];
    GlideRecipe *recipe;
    Image sheet = {0}, *cells = calloc((size_t)g->count, sizeof *cells);
    if (!cells) return status_fail(STATUS_NO_MEMORY, "out of memory for %d pictures", g->count);
    for (int i = 0; i < g->count; i++) cells[i] = g->cells[i].image;
    Status s = sheet_recipe(g, &recipe);
    if (s == STATUS_OK) {
        s = grid_sheet_make(g->axes, g->axis_count, cells, title_of(recipe, title, sizeof title), &sheet);
        if (s != STATUS_OK) recipe_free(recipe);
        else *out = (GlidePicture){.width = sheet.w, .height = sheet.h, .rgb = sheet.pixels, .recipe = recipe};
    }
    free(cells);
    return s;
}

static Status write_sheet(Grid *g)
{
    GlidePicture sheet;
    GlideWriteOptions o = {.jpeg_quality = (int)g->command->quality};
    TRY(make_sheet(g, &sheet));
    Status s = (Status)glide_picture_write_with(&sheet, g->output.path, &o);
    if (s == STATUS_OK) cli_show_picture(&g->run.show, NULL, &sheet);
    glide_picture_release(&sheet);
    return s;
}

/* Our own files, of whatever sheet, and what a kill left of them; the folder, where nothing else is in it. */
static void remove_cells(const Grid *g)
{
    char path[PATH_MAX + 300];
    DIR *dir = opendir(g->folder);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        int row, column, end = 0;
        bool cell = sscanf(e->d_name, "r%d-c%d.png%n", &row, &column, &end) == 2 && end && !e->d_name[end];
        if (!cell) continue;
        snprintf(path, sizeof path, "%s/%s", g->folder, e->d_name);
        unlink(path);
    }
    if (dir) closedir(dir);
    (void)file_remove_stale(g->folder);
    rmdir(g->folder);
}

Status grid_run(CliArgs *args)
{
    Grid *g = grid_new(args, true);
    if (!g) return status_fail(STATUS_NO_MEMORY, "out of memory");
    Status s = grid_init(g);
    if (s == STATUS_OK) s = keep_cells(g);
    if (s == STATUS_OK) s = write_sheet(g);
    if (s == STATUS_OK) remove_cells(g);
    if (s == STATUS_OK && !g->command->quiet) puts(g->output.path);
    if (s != STATUS_INTERRUPTED) interrupt_restore();
    grid_free(g);
    return s;
}

/* The sheet alone; nothing is written. */
static Status make_alone(CliArgs *args, GlidePicture *out)
{
    Grid *g = grid_new(args, false);
    if (!g) return status_fail(STATUS_NO_MEMORY, "out of memory");
    Status s = grid_init(g);
    if (s == STATUS_OK) s = make_cells(g);
    if (s == STATUS_OK) s = make_sheet(g, out);
    if (s != STATUS_INTERRUPTED) interrupt_restore();
    grid_free(g);
    return s;
}

Status grid_again(int argc, char **argv, GlidePicture *out)
{
    SampleCommand command;
    CliArgs args;
    CliFrom from = {0};
    Status s = cli_parse(&cli_command_sample, argc, argv, &command, &args);
    if (s == STATUS_OK) s = cli_from(&args, command.from, &from);
    if (s == STATUS_OK) s = make_alone(&args, out);
    cli_from_release(&from);
    cli_args_release(&args);
    return s;
}
