/* glide evaluate upsample: the upsampler against interpolation, and against another program, on the same pictures. */
#include "common/interrupt.h"
#include "common/png_write.h"
#include "common/file_write.h"
#include "common/progress.h"
#include "data/captions.h"
#include "glide/cmd_evaluate_pictures.h"
#include "glide/cmd_sampling.h"
#include "glide/context.h"
#include "glide/enlarge.h"
#include "glide/json_text.h"
#include "glide/quality/interpolate.h"
#include "glide/quality/outside_program.h"
#include "glide/quality/quality_sheet.h"
#include "glide/quality/quality_table.h"
#include "glide/weights_path.h"

#include <limits.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { BAR_TOTAL = 1000000 };
#define MODEL_SHARE 0.8 /* of a picture's time, for the bar */

/* Methods by their place in the table: INTERPOLATE_NEAREST, _BICUBIC, _LANCZOS, perhaps the outside program, the model. */
enum { INTERPOLATIONS = INTERPOLATE_LANCZOS + 1 };

typedef struct Comparison {
    CliArgs *args;
    const EvaluateCommand *command;
    int scale, model; /* model: its place in the table */
    Glide *glide;
    GlideUpsampleOptions options;
    EvaluatePictures pictures;
    OutsideProgram outside;
    QualityEye eye;
    QualityTable table;
    QualitySheet sheet;
    EnlargeBorders borders; /* of the picture in work */
    Progress bar;
    int picture;
    double done, pixels; /* of all pictures: those finished, and in all */
} Comparison;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- what is asked ---------------------------------------------------------------------------------------- */

static Status check_sheet(CliArgs *args, const char *path)
{
    char quoted[80];
    const char *dot = strrchr(path, '.');
    if (dot && !strcasecmp(dot, ".png")) return file_check_writable(path);
    return cli_usage_fail(args, "--sheet: expected a name that ends in .png, found %s", cli_quote(path, quoted, sizeof quoted));
}

static Status check_usage(CliArgs *args, const EvaluateCommand *c)
{
    if (args->operand_count > 1)
        return cli_usage_fail(args, "expected nothing after \"upsample\", found \"%s\"", args->operands[1]);
    if (!c->data == !c->pairs)
        return cli_usage_fail(args, "expected %s --pairs DIR or --data FILE, where the pictures are",
                              c->data ? "either" : "one of");
    if (c->captions && !c->data) return cli_usage_fail(args, "--captions: expected --data beside it");
    if (!c->data && cli_given(args, "split")) return cli_usage_fail(args, "--split: expected --data beside it");
    if (cli_given(args, "outside-name") && !c->outside) return cli_usage_fail(args, "--outside-name: expected --outside beside it");
    if (c->tile % 16) return cli_usage_fail(args, "--tile: expected a multiple of 16, found %d", (int)c->tile);
    if (c->crop > 0 && c->crop < 8) return cli_usage_fail(args, "--crop: expected 0 or at least 8, found %d", (int)c->crop);
    if (c->sheet) TRY(check_sheet(args, c->sheet));
    return cli_check_steps(args, "steps", c->steps);
}

static void fill_options(Comparison *c)
{
    static const int scales[] = {2, 4, 8};
    const EvaluateCommand *e = c->command;
    c->scale = scales[e->scale];
    c->options = glide_upsample_defaults();
    c->options.scale = c->scale;
    c->options.seed = (uint64_t)e->seed;
    c->options.fidelity = e->fidelity;
    c->options.noise_level = e->noise_level;
    c->options.tile = (int)e->tile;
    c->options.sampler = cli_samplers[e->sampler];
    c->options.steps = e->steps;
    c->options.upsample_temp = e->upsample_temp;
}

/* --- how far it is ---------------------------------------------------------------------------------------- */

static void show(Comparison *c, double share, const char *what)
{
    char name[40], note[128];
    evaluate_pictures_name(&c->pictures, c->picture, name, sizeof name);
    snprintf(note, sizeof note, "%d of %d, %s, %s", c->picture + 1, c->pictures.count, name, what);
    for (char *s = note; *s; s++)
        if ((unsigned char)*s >= 127) *s = '?'; /* labels may have accents */
    double done = c->done + share * c->pictures.pixels[c->picture];
    progress_update(&c->bar, (int64_t)(done / c->pixels * BAR_TOTAL), note);
}

static bool on_progress(void *ctx, const GlideProgress *p)
{
    Comparison *c = ctx;
    char what[48];
    snprintf(what, sizeof what, "step %d of %d", p->step, p->steps);
    show(c, (1 - MODEL_SHARE) + MODEL_SHARE * p->fraction, what);
    return !interrupt_requested();
}

static bool on_outside(void *ctx)
{
    show(ctx, (1 - MODEL_SHARE) * INTERPOLATIONS / (INTERPOLATIONS + 1), "the outside program");
    return interrupt_requested();
}

static Status check_stop(const Comparison *c)
{
    if (!interrupt_requested()) return STATUS_OK;
    return status_fail(STATUS_INTERRUPTED, "stopped after %d of %d pictures", c->picture, c->pictures.count);
}

/* --- one picture ------------------------------------------------------------------------------------------ */

static Status run_model(Comparison *c, const Image *small, Image *out)
{
    GlidePicture in = {.width = small->w, .height = small->h, .rgb = small->pixels}, large = {0};
    char caption[CAPTION_SIZE];
    c->options.image = (uint32_t)c->picture + 1;
    c->options.prompt = NULL;
    if (c->command->captions) {
        caption_plain(c->pictures.dataset, c->pictures.indices[c->picture], false, caption, sizeof caption);
        c->options.prompt = caption;
    }
    Status s = (Status)glide_upsample(c->glide, &in, &c->options, &large);
    if (s == STATUS_OK) {
        *out = (Image){large.width, large.height, large.rgb};
        large.rgb = NULL;
    }
    glide_picture_release(&large);
    return s == STATUS_INTERRUPTED ? check_stop(c) : s;
}

static Status make(Comparison *c, int method, const Image *small, Image *out, double *seconds)
{
    double start = now();
    Status s;
    if (method < INTERPOLATIONS) s = image_interpolate((Interpolation)method, small, c->scale, out);
    else if (method == c->model) s = run_model(c, small, out);
    else return outside_program_run(&c->outside, small, c->scale, on_outside, c, out, seconds);
    *seconds = now() - start;
    return s;
}

static Status measure(Comparison *c, int method, const Image *original, const Image *small, const Image *result, double seconds)
{
    double values[QUALITY_MEASURES];
    SeamLines lines = {c->borders.x, c->borders.y, c->borders.x_count, c->borders.y_count, c->borders.unit};
    TRY(quality_measure(&c->eye, original, small, result, c->scale, values));
    values[QUALITY_SECONDS] = seconds;
    quality_table_put(&c->table, method, c->picture, values);
    return seam_score_add(&c->table.methods[method].seams, result, original, &lines);
}

static Status compare_methods(Comparison *c, const Image *original, const Image *small)
{
    Image results[QUALITY_MOST_METHODS] = {{0}};
    char name[64];
    Status s = STATUS_OK;
    for (int m = 0; m < c->table.method_count && s == STATUS_OK; m++) {
        double seconds = 0;
        s = make(c, m, small, &results[m], &seconds);
        if (s == STATUS_OK) s = measure(c, m, original, small, &results[m], seconds);
        if (s == STATUS_OK) show(c, m == c->model ? 1 : (1 - MODEL_SHARE) * (m + 1) / c->model, "measuring");
        if (s == STATUS_OK) s = check_stop(c);
    }
    if (s == STATUS_OK && c->command->sheet)
        s = quality_sheet_add(&c->sheet, evaluate_pictures_name(&c->pictures, c->picture, name, sizeof name),
                              &results[INTERPOLATE_BICUBIC], &results[c->model], original);
    for (int m = 0; m < QUALITY_MOST_METHODS; m++) image_release(&results[m]);
    return s;
}

static Status compare_picture(Comparison *c)
{
    Image original, small;
    EnlargeOptions o = {.scale = c->scale, .tile = c->options.tile};
    TRY(evaluate_pictures_read(&c->pictures, c->picture, &original, &small));
    Status s = enlarge_borders_init(&c->borders, c->glide->upsampler.net, &o, small.w, small.h);
    if (s == STATUS_OK) s = compare_methods(c, &original, &small);
    enlarge_borders_release(&c->borders);
    image_release(&original);
    image_release(&small);
    return s;
}

/* --- all of them ------------------------------------------------------------------------------------------ */

static Status compare_all(Comparison *c)
{
    ProgressOptions o = progress_defaults(stderr);
    o.style = c->command->quiet ? PROGRESS_QUIET : PROGRESS_AUTO;
    o.label = "measuring";
    o.unit = NULL;
    o.total = BAR_TOTAL;
    for (int i = 0; i < c->pictures.count; i++) c->pixels += c->pictures.pixels[i];
    c->options.callbacks = (GlideCallbacks){.progress = on_progress, .context = c};
    interrupt_install("\nstopping after this step; Ctrl-C again stops at once\n");
    progress_start(&c->bar, &o);
    Status s = STATUS_OK;
    for (c->picture = 0; c->picture < c->pictures.count && s == STATUS_OK; c->picture++) {
        s = compare_picture(c);
        c->done += c->pictures.pixels[c->picture];
    }
    if (s == STATUS_OK) progress_finish(&c->bar);
    else progress_abort(&c->bar);
    return s;
}

static Status load_judge(Comparison *c)
{
    char path[PATH_MAX];
    c->eye.kernels = c->glide->kernels;
    if (c->command->judge) return judge_load(c->command->judge, &c->eye.judge);
    if (weights_path_default("judge.h5", path, sizeof path) == STATUS_OK) return judge_load(path, &c->eye.judge);
    if (!c->command->quiet)
        fprintf(stderr, "glide evaluate: the judge distance is not measured: there is no judge.h5; name one with --judge\n");
    return STATUS_OK;
}

static Status begin_table(Comparison *c)
{
    const char *names[QUALITY_MOST_METHODS] = {"nearest", "bicubic", "lanczos"};
    int count = INTERPOLATIONS;
    if (c->command->outside) names[count++] = c->command->outside_name;
    c->model = count++;
    names[c->model] = "glide";
    return quality_table_init(&c->table, names, count, c->model, c->pictures.count);
}

/* --- what is told ----------------------------------------------------------------------------------------- */

static Status print_json(const Comparison *c)
{
    const EvaluateCommand *e = c->command;
    json_t *table, *names = json_array(), *root;
    char name[NAME_MAX + 1], hash[2][24] = {"", ""};
    TRY(quality_table_json(&c->table, &table));
    for (int i = 0; i < c->pictures.count; i++)
        json_array_append_new(names, json_text(evaluate_pictures_name(&c->pictures, i, name, sizeof name)));
    snprintf(hash[0], sizeof hash[0], "%016llx", (unsigned long long)c->glide->upsampler.hash);
    if (c->eye.judge) snprintf(hash[1], sizeof hash[1], "%016llx", (unsigned long long)judge_hash(c->eye.judge));
    root = json_pack("{s:s, s:o, s:i, s:i, s:s, s:s, s:I, s:f, s:f, s:i, s:s, s:s, s:o}", "source", e->data ? "data" : "pairs",
                     "path", json_text(e->data ? e->data : e->pairs), "scale", c->scale, "crop", (int)e->crop, "sampler",
                     c->options.sampler, "steps", e->steps, "seed", (json_int_t)e->seed, "fidelity", e->fidelity, "noise_level",
                     e->noise_level, "threads", omp_get_max_threads(), "upsampler_weights", hash[0], "judge", hash[1], "pictures",
                     names);
    if (e->data) json_object_set_new(root, "split", json_string(evaluate_splits[e->split]));
    if (e->outside) json_object_set_new(root, "outside", json_text(e->outside));
    json_object_update_missing(root, table);
    json_decref(table);
    if (!root) return status_fail(STATUS_NO_MEMORY, "out of memory for JSON");
    int failed = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(root);
    return failed ? status_fail(STATUS_IO, "standard output: cannot be written") : STATUS_OK;
}

static void print_text(const Comparison *c)
{
    const EvaluateCommand *e = c->command;
    printf("%d pictures of %s%s%s, reduced and enlarged x%d; means with half of their 95 %% intervals\n\n", c->pictures.count,
           e->data ? e->data : e->pairs, e->data ? ", " : "", e->data ? evaluate_splits[e->split] : "", c->scale);
    quality_table_print(&c->table, stdout);
}

static Status draw_sheet(const Comparison *c)
{
    static const char *const titles[] = {"reduced, bicubic", "glide", "original"};
    Image out = {0};
    TRY(quality_sheet_draw(&c->sheet, titles, &out));
    Status s = png_write(c->command->sheet, &out, NULL, 0);
    image_release(&out);
    return s;
}

/* --- the command ------------------------------------------------------------------------------------------ */

static Status evaluate(Comparison *c)
{
    GlideModelInfo info;
    TRY((Status)glide_model_info(c->glide, GLIDE_STAGE_UPSAMPLER, &info));
    TRY(load_judge(c));
    TRY(evaluate_pictures_init(&c->pictures, c->args, c->scale));
    TRY(begin_table(c));
    TRY(compare_all(c));
    TRY(quality_table_summarise(&c->table));
    if (c->command->sheet) TRY(draw_sheet(c));
    if (c->command->json) return print_json(c);
    print_text(c);
    return STATUS_OK;
}

Status evaluate_upsample(CliArgs *args)
{
    const EvaluateCommand *e = args->options;
    Comparison c = {.args = args, .command = e};
    TRY(check_usage(args, e));
    fill_options(&c);
    if (e->outside && outside_program_init(&c.outside, e->outside) != STATUS_OK) {
        char message[512];
        snprintf(message, sizeof message, "%s", status_message());
        return cli_usage_fail(args, "--outside: %s", message);
    }
    GlideOptions o = {.upsampler_weights = e->weights, .threads = (int)e->threads, .precision = cli_precision(args, e->precision)};
    int threads = omp_get_max_threads();
    Status s = (Status)glide_open(&o, &c.glide);
    if (s == STATUS_OK) threads = context_enter(c.glide);
    if (s == STATUS_OK) s = evaluate(&c);
    omp_set_num_threads(threads);
    judge_free(c.eye.judge);
    quality_sheet_release(&c.sheet);
    quality_table_release(&c.table);
    evaluate_pictures_release(&c.pictures);
    outside_program_release(&c.outside);
    glide_close(c.glide);
    return s;
}
