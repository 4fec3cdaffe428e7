/* glide upsample IN... -o OUT|DIR */
#include "common/file_write.h"
#include "glide/cascade.h"
#include "glide/cli_commands.h"
#include "glide/cmd_guidance.h"
#include "glide/cmd_plan_lines.h"
#include "glide/cmd_sampling.h"
#include "glide/cmd_upsample_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGE_BYTES  3e8 /* of memory, from which on it is told before the start */

typedef struct UpsampleCommand {
    CliShowOptions show;
    const char *output, *prompt, *steps, *weights, *size;
    int64_t seed, image, label, threads, colour_cells, tile, quality;
    double upsample_temp, fidelity, noise_level;
    CliGuidance guidance;
    int sampler, precision, scale, format;
    bool quiet;
} UpsampleCommand;

static const char *const scales[] = {"2", "4", "8", NULL};

enum { FORMAT_PNG, FORMAT_JPEG };
static const char *const formats[] = {"png", "jpeg", NULL};
static const char *const endings[] = {".png", ".jpg"};

static const CliOption options[] = {
    CLI_OUTPUT(UpsampleCommand, output, 'o', "output", "FILE", NULL, "where the picture goes (needed); a folder is fine, and - "
             "is standard output"),
    CLI_CHOICE(UpsampleCommand, format, 0, "format", formats, NULL, "of the files in a folder (default png); a single file's is "
               "what its name says"),
    CLI_QUALITY_OPTION(UpsampleCommand),
    CLI_CHOICE(UpsampleCommand, scale, 'x', "scale", scales, "4", "how many times as large"),
    CLI_TEXT(UpsampleCommand, size, 0, "size", "WxH", NULL, "the size that is wanted, instead of --scale"),
    CLI_TEXT(UpsampleCommand, prompt, 'p', "prompt", "TEXT", NULL, "what the picture shows; helps the upsampler"),
    CLI_INT(UpsampleCommand, label, 'c', "class", "C", 0, 1048575, NULL, "what it shows, for class-conditional upsamplers and "
            "--classifier"),
    CLI_INT(UpsampleCommand, seed, 's', "seed", "S", 0, INT64_MAX, NULL, "where randomness starts; drawn and shown when not "
            "given"),
    CLI_INT(UpsampleCommand, image, 0, "image", "I", 1, 1000000000, "1", "number of the picture of this seed"),
    CLI_DOUBLE(UpsampleCommand, fidelity, 0, "fidelity", "F", 0, 1, "1", "how much of what the result, reduced, lacks of the picture is "
               "put right at every step, and in the end; 0 leaves the model alone"),
    CLI_DOUBLE(UpsampleCommand, noise_level, 0, "noise-level", "X", 0, 1, "0", "noise that is added to the picture and told to upsamplers "
               "that take it; hides noise and the blocks of JPEG"),
    CLI_INT(UpsampleCommand, tile, 0, "tile", "N", 0, 4096, "0", "pixels a side of the windows that a large picture is made in, a "
            "multiple of 16; 0 is what the upsampler was trained for"),
    CLI_CHOICE(UpsampleCommand, sampler, 0, "sampler", cli_samplers, CASCADE_UPSAMPLER, "how to sample"),
    CLI_TEXT(UpsampleCommand, steps, 0, "steps", "N", CASCADE_UPSAMPLER_STEPS, "steps, or a respacing such as logsnr8, fast27, ddim50 "
             "or 10,10,3"),
    CLI_DOUBLE(UpsampleCommand, upsample_temp, 0, "upsample-temp", "T", 0, 10, CASCADE_TEXT(CASCADE_UPSAMPLE_TEMP),
               "starts from noise times this"),
    CLI_INT(UpsampleCommand, colour_cells, 0, "colour-cells", "N", 0, 1024, CASCADE_TEXT(CASCADE_COLOUR_CELLS), "keeps the mean "
            "colours of so many cells a side of the upsampler's size; 0 leaves the model alone"),
    CLI_GUIDANCE_OPTIONS(UpsampleCommand, guidance, "1"),
    CLI_FILE(UpsampleCommand, weights, 'w', "upsampler-weights", "FILE", NULL, "of the upsampler (default upsampler.h5, as "
             "\"glide help sample\" says)"),
    CLI_CHOICE(UpsampleCommand, precision, 0, "precision", cli_precisions, NULL, "of the computation; bf16 is the default where "
               "the processor has it; int8 is faster and coarser"),
    CLI_INT(UpsampleCommand, threads, 't', "threads", "N", 0, 1024, "0", "threads to use, 0 for all cores"),
    CLI_SHOW_OPTIONS(UpsampleCommand, show),
    CLI_FLAG(UpsampleCommand, quiet, 'q', "quiet", "print nothing but warnings and errors"),
};

/* A call of the command under way. */
typedef struct Upsampling {
    Glide *glide;
    CliArgs *args;
    const UpsampleCommand *command;
    GlideUpsampleOptions options;
    UpsampleFiles files;
    CliRun run;
    GlidePicture only; /* of a single file, read and announced before the seed is told: an error comes alone */
    int failed;        /* files */
} Upsampling;

/* --- what is asked ------------------------------------------------------------------------------------ */

static Status parse_size(CliArgs *args, const char *text, GlideUpsampleOptions *o)
{
    int end = 0;
    if (!text) return STATUS_OK;
    if (sscanf(text, "%7dx%7d%n", &o->width, &o->height, &end) == 2 && !text[end] && o->width > 0 && o->height > 0)
        return STATUS_OK;
    char quoted[80];
    return cli_usage_fail(args, "--size: expected WIDTHxHEIGHT, such as 1920x1080, found %s", cli_quote(text, quoted, sizeof quoted));
}

/* In a folder the program gives the names their endings; elsewhere the user has given one. */
static Status check_format(CliArgs *args, const UpsampleCommand *c)
{
    char quoted[80];
    bool jpeg = c->format == FORMAT_JPEG;
    if (upsample_files_in_folder(args, c->output)) {
        if (jpeg || !cli_given(args, "quality")) return STATUS_OK;
        return cli_usage_fail(args, "--quality: is of JPEG files, expected --format jpeg");
    }
    if (cli_given(args, "format") && jpeg != jpeg_is_named(c->output))
        return cli_usage_fail(args, "--format: expected an --output that ends in %s, or a folder, found %s", endings[c->format],
                              cli_quote(c->output, quoted, sizeof quoted));
    return cli_check_quality(args, c->output);
}

static Status check_usage(CliArgs *args, const UpsampleCommand *c, bool plan, GlideUpsampleOptions *o)
{
    if (!c->output && !plan) return cli_usage_fail(args, "--output: expected a file for the picture, such as -o large.png");
    if (c->output) TRY(check_format(args, c));
    TRY(cli_check_steps(args, "steps", c->steps));
    TRY(cli_guidance(args, &c->guidance, &o->guidance));
    if (c->size && cli_given(args, "scale")) return cli_usage_fail(args, "--size and --scale: expected one of the two");
    TRY(parse_size(args, c->size, o));
    if (c->tile % 16) return cli_usage_fail(args, "--tile: expected a multiple of 16, found %d", (int)c->tile);
    return STATUS_OK;
}

static void fill_options(const UpsampleCommand *c, const CliArgs *args, GlideUpsampleOptions *o)
{
    o->trace = c->guidance.trace;
    o->prompt = c->prompt;
    if (cli_given(args, "class")) o->label = (int)c->label;
    o->image = (uint32_t)c->image;
    o->sampler = cli_samplers[c->sampler];
    o->steps = c->steps;
    o->upsample_temp = c->upsample_temp;
    o->colour_cells = (int)c->colour_cells;
    o->scale = atoi(scales[c->scale]);
    o->fidelity = c->fidelity;
    o->noise_level = c->noise_level;
    o->tile = (int)c->tile;
}

/* What is asked must be what the model takes. */
static Status check_model(Glide *g, CliArgs *args)
{
    static const char *const of_prompts[] = {"guidance-scale", "negative-prompt", "cfgpp", "clip"};
    GlideModelInfo info;
    TRY((Status)glide_model_info(g, GLIDE_STAGE_UPSAMPLER, &info));
    for (int i = 0; i < CLI_COUNT(of_prompts) && !info.text; i++)
        if (cli_given(args, of_prompts[i]))
            return cli_usage_fail(args, "--%s: the upsampler takes no prompts, so there is nothing to guide by", of_prompts[i]);
    return STATUS_OK;
}

/* --- one file after the other ------------------------------------------------------------------------- */

static Status check_fits(Upsampling *u, const char *in, const GlidePicture *picture, const Plan *plan)
{
    Status s = cli_check_memory(u->args, plan->bytes);
    if (s == STATUS_OK) return s;
    return status_prefix(s, "%s: %dx%d to %dx%d pixels", in, picture->width, picture->height, plan->upsampler.width,
                         plan->upsampler.height);
}

/* What cannot fit is refused before it starts; what is large is announced. */
static Status announce(Upsampling *u, const char *in, const GlidePicture *picture)
{
    Plan plan;
    TRY(plan_upsample(u->glide, picture->width, picture->height, &u->options, &plan));
    TRY(check_fits(u, in, picture, &plan));
    if (!u->command->quiet && plan.bytes > LARGE_BYTES)
        fprintf(stderr, "%s: %dx%d to %dx%d pixels in %lld windows, about %.1f GB of memory\n", in, picture->width, picture->height,
                plan.upsampler.width, plan.upsampler.height, (long long)plan.upsampler.windows, plan.bytes * 1e-9);
    return STATUS_OK;
}

static Status upsample_file(Upsampling *u, int i)
{
    GlidePicture in = u->only, large = {0};
    const char *name = u->files.inputs[i];
    bool announced = in.rgb;
    u->only = (GlidePicture){0};
    Status s = announced ? STATUS_OK : (Status)glide_picture_read(name, &in);
    u->run.output = &u->files.outputs[i];
    u->run.input = name;
    u->run.call = i;
    if (s == STATUS_OK && !announced) s = announce(u, name, &in);
    if (s == STATUS_OK) s = (Status)glide_upsample(u->glide, &in, &u->options, &large);
    if (s == STATUS_OK) s = cli_run_write(&u->run, &large);
    glide_picture_release(&large);
    glide_picture_release(&in);
    return s;
}

/* A line on stderr, above the progress bar if there is one. */
static void tell(Upsampling *u, const char *before, const char *text)
{
    if (u->run.bar_shown && !u->command->quiet) progress_log(&u->run.bar, "%s%s", before, text);
    else fprintf(stderr, "%s%s\n", before, text);
}

/* One of many that cannot be read or made is told of, and the others are made. */
static Status upsample_files(Upsampling *u)
{
    if (u->files.count == 1) return upsample_file(u, 0);
    for (int i = 0; i < u->files.count; i++) {
        char path[4096];
        Status s = upsample_file(u, i);
        if (s == STATUS_INTERRUPTED) return s;
        if (s == STATUS_OK && !u->command->quiet) tell(u, "", cli_output_name(&u->files.outputs[i], 0, path, sizeof path));
        if (s == STATUS_OK) continue;
        tell(u, "glide upsample: ", status_message());
        u->failed++;
    }
    return STATUS_OK;
}

static Status upsample_all(Upsampling *u)
{
    const UpsampleCommand *c = u->command;
    TRY(check_model(u->glide, u->args));
    if (u->files.count == 1) {
        TRY((Status)glide_picture_read(u->files.inputs[0], &u->only));
        TRY(announce(u, u->files.inputs[0], &u->only));
    }
    TRY(cli_choose_seed(u->args, c->seed, c->quiet, &u->options.seed));
    cli_run_start(&u->run, &u->files.outputs[0], c->quiet, u->files.count);
    u->run.quality = (int)c->quality;
    cli_show_start(&u->run.show, u->args, &c->show, c->quiet);
    u->options.callbacks = cli_run_callbacks(&u->run);
    Status s = upsample_files(u);
    bool many = u->files.count > 1;
    if (many) u->run.written = 0; /* their names were told one by one */
    s = cli_run_finish(&u->run, (GlideStatus)s);
    if (s != STATUS_OK || u->failed == 0) return s;
    return status_fail(STATUS_BAD_INPUT, "%d of %d pictures could not be made", u->failed, u->files.count);
}

static Status open_model(const CliArgs *args, Glide **g)
{
    const UpsampleCommand *c = args->options;
    GlideOptions o = {.upsampler_weights = c->weights, .threads = (int)c->threads, .precision = cli_precision(args, c->precision)};
    return (Status)glide_open(&o, g);
}

static Status run(CliArgs *args)
{
    const UpsampleCommand *c = args->options;
    Upsampling u = {.args = args, .command = c, .options = glide_upsample_defaults()};
    char what[32];
    TRY(check_usage(args, c, false, &u.options));
    fill_options(c, args, &u.options);
    snprintf(what, sizeof what, "%s%s", c->size ? "" : "x", c->size ? c->size : scales[c->scale]);
    if (c->guidance.trace) TRY(file_check_writable(c->guidance.trace));
    TRY(upsample_files_init(&u.files, args, c->output, what, endings[c->format]));
    Status s = open_model(args, &u.glide);
    if (s == STATUS_OK) s = upsample_all(&u);
    glide_close(u.glide);
    glide_picture_release(&u.only);
    upsample_files_release(&u.files);
    return s;
}

/* --- glide plan upsample ------------------------------------------------------------------------------ */

/* All files: the largest need of memory, the windows of all, measured on the first one. */
typedef struct AllFiles {
    Plan first;
    double bytes, evaluations;
} AllFiles;

static Status plan_file(Upsampling *u, const char *name, bool first, AllFiles *all)
{
    GlidePicture in = {0};
    Plan plan;
    TRY((Status)glide_picture_read(name, &in));
    Status s = plan_upsample(u->glide, in.width, in.height, &u->options, &plan);
    if (s == STATUS_OK && first) s = check_fits(u, name, &in, &plan);
    if (s == STATUS_OK && first) s = plan_measure_upsample(u->glide, &in, &u->options, &plan);
    glide_picture_release(&in);
    TRY(s);
    if (first) all->first = plan;
    if (plan.bytes > all->bytes) all->bytes = plan.bytes;
    all->evaluations += plan.upsampler.answers;
    return STATUS_OK;
}

static Status plan_files(Upsampling *u)
{
    AllFiles all = {0};
    TRY(check_model(u->glide, u->args));
    for (int i = 0; i < u->files.count; i++) TRY(plan_file(u, u->files.inputs[i], i == 0, &all));
    TRY(cli_plan_memory(u->args, all.bytes));
    const PlanStage *first = &all.first.upsampler;
    cli_plan_stage("upsampler", first);
    if (u->files.count > 1) printf("%-10s %d files, %.6g evaluations\n", "all", u->files.count, all.evaluations);
    cli_plan_time(all.first.seconds * all.evaluations / first->answers, u->files.count, "");
    return STATUS_OK;
}

static Status plan_run(CliArgs *args)
{
    const UpsampleCommand *c = args->options;
    Upsampling u = {.args = args, .command = c, .options = glide_upsample_defaults()};
    TRY(check_usage(args, c, true, &u.options));
    fill_options(c, args, &u.options);
    Status s = upsample_files_inputs(&u.files, args);
    if (s == STATUS_OK) s = open_model(args, &u.glide);
    if (s == STATUS_OK) s = plan_files(&u);
    glide_close(u.glide);
    upsample_files_release(&u.files);
    return s;
}

const CliCommand cli_command_upsample = {
    .name = "upsample",
    .summary = "enlarge pictures of any size with the upsampler",
    .operands = "IN...",
    .min_operands = 1,
    .max_operands = CLI_ANY,
    .description =
        "Reads PNG, JPEG and WebP files (- is standard input) or all those in a folder, and makes each 2, 4 or 8 times as large. Large "
        "ones are made in windows that overlap and are blended at every step, so that there are no seams. The result, reduced again, "
        "is the picture that was given, unless --fidelity is lower. Transparency, 16 bits, grey and colour profiles are kept (a JPEG "
        "has no room for the first two: transparent pixels are laid on white), and pictures are turned as EXIF says. Several pictures "
        "need a folder as --output, where they are called NAME-x4.png, or with --format jpeg NAME-x4.jpg. A picture made by "
        "\"glide sample --no-upsample\", upsampled with --fidelity 0 and the same prompt, seed and image number, is what \"glide sample\" "
        "makes.",
    .examples = "glide upsample photo.jpg -o large.png\n"
                "glide upsample icons/ more/cat.png -o out/ --scale 8\n"
                "glide upsample photos/ -o large/ --format jpeg --quality 85\n"
                "glide upsample scan.png -o wide.png --size 1920x1080 --noise-level 0.1\n"
                "glide upsample small.png -o large.png -p \"red apple\" -g 2 --negative-prompt \"green\" --trace steps.h5\n"
                "glide sample --no-upsample --seed 1 \"cat face\" -o - | glide upsample - --seed 1 -p \"cat face\" --fidelity 0 -o cat.png",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(UpsampleCommand),
    .plan = plan_run,
    .run = run,
};
