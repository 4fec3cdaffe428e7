/* glide inpaint IMAGE --mask MASK --prompt P -o OUT */
#include "glide/cascade.h"
#include "glide/cli_commands.h"
#include "glide/cmd_plan_lines.h"
#include "glide/cmd_sampling.h"
#include "glide/weights_path.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct InpaintCommand {
    CliShowOptions show;
    const char *output, *mask, *prompt, *steps, *upsampler_steps, *weights, *upsampler_weights;
    int64_t n, seed, image, threads, jump, repeats, colour_cells;
    double guidance_scale, upsample_temp, strength;
    int sampler, upsampler_sampler, precision;
    int64_t quality;
    bool inverted, no_upsample, quiet;
} InpaintCommand;

static const CliOption options[] = {
    CLI_OUTPUT(InpaintCommand, output, 'o', "output", "FILE", NULL, "where the picture goes (needed); several get numbers before "
             "the ending; a folder is fine, and - is standard output"),
    CLI_QUALITY_OPTION(InpaintCommand),
    CLI_FILE(InpaintCommand, mask, 'm', "mask", "FILE", NULL, "what is to be painted (needed): transparent pixels, or, where none "
             "are, white ones; of any size"),
    CLI_FLAG(InpaintCommand, inverted, 0, "invert-mask", "paint what the mask does not mark"),
    CLI_TEXT(InpaintCommand, prompt, 'p', "prompt", "TEXT", NULL, "what the picture is to show"),
    CLI_INT(InpaintCommand, n, 'n', "number", "N", 1, 100000, "1", "pictures to make"),
    CLI_INT(InpaintCommand, seed, 's', "seed", "S", 0, INT64_MAX, NULL, "where randomness starts; drawn and shown when not "
            "given"),
    CLI_INT(InpaintCommand, image, 0, "image", "I", 1, 1000000000, "1", "number of the first picture of this seed"),
    CLI_DOUBLE(InpaintCommand, guidance_scale, 'g', "guidance-scale", "G", 0, 100, CASCADE_TEXT(CASCADE_GUIDANCE),
               "how closely to follow the prompt; 1 is without guidance"),
    CLI_DOUBLE(InpaintCommand, strength, 0, "strength", "S", 0, 1, NULL, "how much is drawn anew: 1 starts from noise, less from the "
               "colours around the mask (default 1, without a prompt " CASCADE_TEXT(CASCADE_FILL_STRENGTH) ")"),
    CLI_CHOICE(InpaintCommand, sampler, 0, "sampler", cli_samplers, CASCADE_INPAINT_SAMPLER, "of the base model"),
    CLI_TEXT(InpaintCommand, steps, 0, "steps", "N", NULL, "steps of the base model, or a respacing such as fast27 (default "
             CASCADE_DDPM_STEPS " for ddpm, else " CASCADE_STEPS ")"),
    CLI_INT(InpaintCommand, repeats, 0, "repeats", "R", 1, 16, CASCADE_TEXT(CASCADE_REPEATS), "models not trained for masks take "
            "each stretch of steps R times, so that what is painted comes to fit"),
    CLI_INT(InpaintCommand, jump, 0, "jump", "J", 1, 1000, CASCADE_TEXT(CASCADE_JUMP), "steps in such a stretch"),
    CLI_CHOICE(InpaintCommand, upsampler_sampler, 0, "upsampler-sampler", cli_samplers, CASCADE_INPAINT_UPSAMPLER, "of the upsampler"),
    CLI_TEXT(InpaintCommand, upsampler_steps, 0, "upsampler-steps", "N", CASCADE_INPAINT_UPSAMPLER_STEPS, "steps of the upsampler"),
    CLI_DOUBLE(InpaintCommand, upsample_temp, 0, "upsample-temp", "T", 0, 10, CASCADE_TEXT(CASCADE_UPSAMPLE_TEMP),
               "the upsampler starts from noise times this"),
    CLI_INT(InpaintCommand, colour_cells, 0, "colour-cells", "N", 0, 1024, CASCADE_TEXT(CASCADE_COLOUR_CELLS), "the upsampler "
            "keeps the mean colours of so many cells a side; 0 leaves it alone"),
    CLI_FLAG(InpaintCommand, no_upsample, 0, "no-upsample", "paint with the base model alone"),
    CLI_FILE(InpaintCommand, weights, 'w', "weights", "FILE", NULL, "of the base model (default base-inpaint.h5 "
             "where one is there, else base.h5; in the places that \"glide help sample\" says)"),
    CLI_FILE(InpaintCommand, upsampler_weights, 0, "upsampler-weights", "FILE", NULL, "of the upsampler (default upsampler.h5)"),
    CLI_CHOICE(InpaintCommand, precision, 0, "precision", cli_precisions, NULL, "of the computation; bf16 is the default where "
               "the processor has it; int8 is faster and coarser"),
    CLI_INT(InpaintCommand, threads, 't', "threads", "N", 0, 1024, "0", "threads to use, 0 for all cores"),
    CLI_SHOW_OPTIONS(InpaintCommand, show),
    CLI_FLAG(InpaintCommand, quiet, 'q', "quiet", "print nothing but warnings and errors"),
};

static Status check_usage(CliArgs *args, const InpaintCommand *c, bool plan)
{
    if (!c->output && !plan) return cli_usage_fail(args, "--output: expected a file for the picture, such as -o painted.png");
    if (c->output) TRY(cli_check_quality(args, c->output));
    if (!c->mask) return cli_usage_fail(args, "--mask: expected a picture that marks what is to be painted");
    if (!strcmp(c->mask, "-") && !strcmp(args->operands[0], "-"))
        return cli_usage_fail(args, "--mask: standard input is the picture already; expected a file");
    if (c->steps) TRY(cli_check_steps(args, "steps", c->steps));
    return cli_check_steps(args, "upsampler-steps", c->upsampler_steps);
}

static GlideInpaintOptions inpaint_options(const CliArgs *args)
{
    const InpaintCommand *c = args->options;
    GlideInpaintOptions o = glide_inpaint_defaults();
    o.jump = (int)c->jump;
    o.repeats = (int)c->repeats;
    o.sample.n = (int)c->n;
    if (cli_given(args, "strength")) o.sample.strength = c->strength;
    else if (!c->prompt || !*c->prompt) o.sample.strength = CASCADE_FILL_STRENGTH;
    o.sample.image = (uint32_t)c->image;
    o.sample.guidance.cfg.scale = c->guidance_scale;
    o.sample.sampler = cli_samplers[c->sampler];
    o.sample.steps = c->steps;
    o.sample.upsample = !c->no_upsample;
    o.sample.upsampler_sampler = cli_samplers[c->upsampler_sampler];
    o.sample.upsampler_steps = c->upsampler_steps;
    o.sample.upsample_temp = c->upsample_temp;
    o.sample.colour_cells = (int)c->colour_cells;
    return o;
}

static Status paint(Glide *g, CliArgs *args, const GlidePicture *in, const GlideMask *mask, const CliOutput *output)
{
    const InpaintCommand *c = args->options;
    uint64_t seed;
    CliRun run;
    Plan plan;
    GlideInpaintOptions o = inpaint_options(args);
    TRY(plan_inpaint(g, &o, &plan));
    TRY(cli_check_memory(args, plan.bytes));
    GlidePicture *pictures = calloc((size_t)c->n, sizeof *pictures);
    if (!pictures) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld pictures", (long long)c->n);
    cli_choose_seed(args, c->seed, c->quiet, &seed);
    o.sample.seed = seed;
    cli_run_start(&run, output, c->quiet, 1);
    run.quality = (int)c->quality;
    run.input = args->operands[0];
    cli_show_start(&run.show, args, &c->show, c->quiet);
    run.mask = c->mask;
    run.invert_mask = c->inverted;
    o.sample.callbacks = cli_run_callbacks(&run);
    Status s = cli_run_finish(&run, glide_inpaint(g, in, mask, c->prompt, &o, pictures));
    free(pictures); /* each was written and emptied by the run */
    return s;
}

static Status open_models(const CliArgs *args, Glide **g)
{
    const InpaintCommand *c = args->options;
    char path[PATH_MAX];
    GlideOptions o = {.weights = c->weights ? c->weights : weights_path_painter(path, sizeof path),
                      .upsampler_weights = c->upsampler_weights, .threads = (int)c->threads,
                      .precision = cli_precision(args, c->precision)};
    return (Status)glide_open(&o, g);
}

static Status paint_file(CliArgs *args, const GlidePicture *in, const GlideMask *mask)
{
    const InpaintCommand *c = args->options;
    char name[512];
    CliOutput output;
    Glide *g = NULL;
    cli_picture_name(args->operands[0], "painted", ".png", name, sizeof name);
    TRY(cli_output_init(&output, args, c->output, name, (int)c->n));
    Status s = open_models(args, &g);
    if (s == STATUS_OK) s = paint(g, args, in, mask, &output);
    glide_close(g);
    cli_output_release(&output);
    return s;
}

/* --- glide plan inpaint ------------------------------------------------------------------------------- */

static Status plan_with(Glide *g, CliArgs *args, const GlidePicture *in, const GlideMask *mask)
{
    const InpaintCommand *c = args->options;
    GlideInpaintOptions o = inpaint_options(args);
    Plan plan;
    TRY(plan_inpaint(g, &o, &plan));
    TRY(cli_plan_memory(args, plan.bytes));
    TRY(plan_measure_inpaint(g, in, mask, c->prompt, &o, &plan));
    cli_plan_stage("base", &plan.base);
    cli_plan_stage("upsampler", &plan.upsampler);
    cli_plan_time(plan.seconds, plan.pictures, "");
    return STATUS_OK;
}

static Status plan_file(CliArgs *args, const GlidePicture *in, const GlideMask *mask)
{
    Glide *g = NULL;
    Status s = open_models(args, &g);
    if (s == STATUS_OK) s = plan_with(g, args, in, mask);
    glide_close(g);
    return s;
}

/* --- the command -------------------------------------------------------------------------------------- */

static Status with_files(CliArgs *args, bool plan)
{
    const InpaintCommand *c = args->options;
    GlidePicture in = {0};
    GlideMask mask = {0};
    TRY(check_usage(args, c, plan));
    TRY((Status)glide_picture_read(args->operands[0], &in));
    Status s = (Status)glide_mask_read(c->mask, c->inverted, in.width, in.height, &mask);
    if (s == STATUS_OK) s = plan ? plan_file(args, &in, &mask) : paint_file(args, &in, &mask);
    glide_picture_release(&in);
    glide_mask_release(&mask);
    return s;
}

static Status plan_run(CliArgs *args)
{
    return with_files(args, true);
}

static Status run(CliArgs *args)
{
    return with_files(args, false);
}

const CliCommand cli_command_inpaint = {
    .name = "inpaint",
    .summary = "paint a part of a picture anew",
    .operands = "IMAGE",
    .min_operands = 1,
    .max_operands = 1,
    .description =
        "Reads a PNG, JPEG or WebP of any size (- is standard input) and paints the part that the mask marks. The models see a square "
        "around the mask; every pixel outside the mask comes back as it was, with its transparency, 16 bits and the "
        "colour profile (a JPEG has no room for the first two). What is painted is shifted in colour so that it meets the pixels around "
        "it. It keeps the transparency that was there, but where the mask marks nothing that can be seen, as one that is the "
        "picture's own transparent part does, it becomes opaque.\n"
        "\n"
        "Models trained for masks, as the default ones were, are told what is known. Others are led to "
        "it: the known part is put back after every step, and stretches of steps are repeated. Without a prompt what is painted is "
        "shifted to the colours around it at every step, so that it continues the picture; with one it may differ from them.",
    .examples = "glide inpaint photo.jpg --mask mask.png --prompt \"red apple, fluent 3d emoji\" -o painted.png\n"
                "glide inpaint photo.png --mask photo.png -p \"a hat\" -n 4 -o out/     the photo's transparent part",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(InpaintCommand),
    .plan = plan_run,
    .run = run,
};
