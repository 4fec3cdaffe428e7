#include "glide/cmd_sampling.h"

#include "common/interrupt.h"
#include "common/respace.h"
#include "glide/recipe.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { PROCESS_STEPS = 1000, BAR_TOTAL = 1000000 };

const char *const cli_precisions[] = {"f32", "bf16", "int8", NULL};

const char *const cli_samplers[] = {"ddpm",     "ddim",     "euler",         "euler_ancestral", "euler_a",  "heun",
                                    "dpmpp_2m", "dpmpp_3m", "dpmpp_3m_full", "dpmpp_2s",        "dpmpp_3s", "plms", NULL};

GlidePrecision cli_precision(const CliArgs *args, int choice)
{
    if (!cli_has(args, "precision")) return GLIDE_PRECISION_AUTO;
    static const GlidePrecision precisions[] = {GLIDE_PRECISION_F32, GLIDE_PRECISION_BF16, GLIDE_PRECISION_INT8};
    return precisions[choice];
}

Status cli_check_steps(CliArgs *args, const char *option, const char *steps)
{
    int count = 0;
    char quoted[80];
    if (*steps && respacing_count(PROCESS_STEPS, steps, NULL, &count) == STATUS_OK && count >= 2) return STATUS_OK;
    return cli_usage_fail(args, "--%s: expected a whole number from 2 to %d, or a respacing such as fast27, ddim50, karras20 "
                          "or 10,10,3, found %s", option, PROCESS_STEPS, cli_quote(steps, quoted, sizeof quoted));
}

const char *cli_picture_name(const char *in, const char *what, const char *ending, char *name, size_t size)
{
    const char *slash = strrchr(in, '/'), *base = slash ? slash + 1 : in, *dot = strrchr(base, '.');
    int stem = dot && dot != base ? (int)(dot - base) : (int)strlen(base);
    if (!strcmp(in, "-")) snprintf(name, size, "glide-%s%s", what, ending);
    else snprintf(name, size, "%.*s-%s%s", stem, base, what, ending);
    return name;
}

Status cli_check_quality(CliArgs *args, const char *output)
{
    if (!cli_given(args, "quality") || jpeg_is_named(output)) return STATUS_OK;
    return cli_usage_fail(args, "--quality: is of JPEG files, expected an --output that ends in .jpg");
}

Status cli_choose_seed(const CliArgs *args, int64_t given, bool quiet, uint64_t *seed)
{
    uint32_t drawn;
    *seed = (uint64_t)given;
    if (cli_has(args, "seed")) return STATUS_OK;
    if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn) drawn = (uint32_t)time(NULL) ^ (uint32_t)getpid() << 16;
    *seed = drawn % 1000000000; /* short enough to be typed again */
    if (!quiet) fprintf(stderr, "seed %llu\n", (unsigned long long)*seed);
    return STATUS_OK;
}

void cli_run_start(CliRun *r, const CliOutput *output, bool quiet, int calls)
{
    *r = (CliRun){.output = output, .quiet = quiet, .calls = calls, .quality = JPEG_PICTURE_QUALITY};
    interrupt_install("\nstopping after this step; Ctrl-C again stops at once\n");
}

static void show(CliRun *r, const GlideProgress *p)
{
    char note[96];
    int pictures = r->output->count, first = r->written + 1, n = 0;
    if (!r->bar_shown) {
        ProgressOptions o = progress_defaults(stderr);
        o.style = r->quiet ? PROGRESS_QUIET : PROGRESS_AUTO;
        o.label = "sampling";
        o.unit = NULL;
        o.total = BAR_TOTAL;
        progress_start(&r->bar, &o);
        r->bar_shown = true;
    }
    if (pictures > 1 && p->count > 1) n = snprintf(note, sizeof note, "%d-%d of %d, ", first, first + p->count - 1, pictures);
    else if (pictures > 1) n = snprintf(note, sizeof note, "%d of %d, ", first, pictures);
    snprintf(note + n, sizeof note - (size_t)n, "%dx%d, step %d of %d", p->side, p->height, p->step, p->steps);
    progress_update(&r->bar, (int64_t)((r->call + p->fraction) / r->calls * BAR_TOTAL), note);
}

static bool on_progress(void *ctx, const GlideProgress *p)
{
    CliRun *r = ctx;
    cli_show_step(&r->show, r->bar_shown ? &r->bar : NULL, p);
    show(r, p);
    return !interrupt_requested();
}

static bool on_picture(void *ctx, int index, GlidePicture *picture)
{
    CliRun *r = ctx;
    (void)index;
    r->status = cli_run_write(r, picture);
    if (r->status != STATUS_OK) snprintf(r->failure, sizeof r->failure, "%s", status_message());
    glide_picture_release(picture);
    return r->status == STATUS_OK && !interrupt_requested();
}

GlideCallbacks cli_run_callbacks(CliRun *r)
{
    return (GlideCallbacks){.progress = on_progress, .previews = r->show.on && r->show.steps, .picture = on_picture, .context = r};
}

/* Where the recipe's reader may look for what the picture was made of. */
static Status add_hints(const CliRun *r, GlideRecipe *recipe)
{
    if (!recipe) return STATUS_OK;
    recipe_add_file(recipe, "init_image", r->init_image);
    recipe_add_file(recipe, "input", r->input);
    recipe_add_file(recipe, "mask", r->mask);
    if (r->mask && r->invert_mask) recipe_add_text(recipe, "invert_mask", "yes");
    return recipe_status(recipe);
}

Status cli_run_write(CliRun *r, const GlidePicture *picture)
{
    char path[PATH_MAX];
    cli_output_name(r->output, r->written, path, sizeof path);
    TRY(add_hints(r, picture->recipe));
    GlideWriteOptions o = glide_write_defaults();
    o.jpeg_quality = r->quality;
    TRY((Status)glide_picture_write_with(picture, path, &o));
    cli_show_picture(&r->show, r->bar_shown ? &r->bar : NULL, picture);
    r->written++;
    return STATUS_OK;
}

static void print_names(const CliRun *r)
{
    char path[PATH_MAX];
    if (r->quiet || !strcmp(r->output->path, "-") || !strcmp(r->output->path, "/dev/stdout")) return;
    for (int i = 0; i < r->written; i++) puts(cli_output_name(r->output, i, path, sizeof path));
}

void cli_run_end(CliRun *r, bool finished)
{
    if (r->bar_shown && finished) progress_finish(&r->bar);
    else if (r->bar_shown) progress_abort(&r->bar);
    r->bar_shown = false;
    r->show.area = 0; /* the bar's line is above the cursor now */
}

Status cli_run_finish(CliRun *r, GlideStatus status)
{
    cli_run_end(r, status == GLIDE_OK);
    print_names(r);
    if (status != GLIDE_CANCELLED) return (Status)status;
    if (r->status != STATUS_OK) return status_fail(r->status, "%s", r->failure);
    if (r->output->count == 1) return status_fail(STATUS_INTERRUPTED, "stopped; no picture was written");
    return status_fail(STATUS_INTERRUPTED, "stopped; %d of %d pictures written", r->written, r->output->count);
}
