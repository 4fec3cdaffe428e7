/* glide upsample IN -o OUT */
#include "glide/cascade.h"
#include "glide/cli_commands.h"
#include "glide/cmd_guidance.h"
#include "glide/cmd_sampling.h"

#include <stdio.h>
#include <string.h>

typedef struct UpsampleCommand {
    const char *output, *prompt, *steps, *weights;
    int64_t seed, image, label, threads, colour_cells;
    double upsample_temp;
    CliGuidance guidance;
    int sampler, precision;
    bool quiet;
} UpsampleCommand;

static const CliOption options[] = {
    CLI_FILE(UpsampleCommand, output, 'o', "output", "FILE", NULL, "where the picture goes (needed); a folder is fine, and - "
             "is standard output"),
    CLI_TEXT(UpsampleCommand, prompt, 'p', "prompt", "TEXT", NULL, "what the picture shows; helps the upsampler"),
    CLI_INT(UpsampleCommand, label, 'c', "class", "C", 0, 1048575, NULL, "what it shows, for class-conditional upsamplers and "
            "--classifier"),
    CLI_INT(UpsampleCommand, seed, 's', "seed", "S", 0, INT64_MAX, NULL, "where randomness starts; drawn and shown when not "
            "given"),
    CLI_INT(UpsampleCommand, image, 0, "image", "I", 1, 1000000000, "1", "number of the picture of this seed"),
    CLI_CHOICE(UpsampleCommand, sampler, 0, "sampler", cli_samplers, CASCADE_UPSAMPLER, "how to sample"),
    CLI_TEXT(UpsampleCommand, steps, 0, "steps", "N", CASCADE_UPSAMPLER_STEPS, "steps, or a respacing such as logsnr8, fast27, ddim50 "
             "or 10,10,3"),
    CLI_DOUBLE(UpsampleCommand, upsample_temp, 0, "upsample-temp", "T", 0, 10, CASCADE_TEXT(CASCADE_UPSAMPLE_TEMP),
               "starts from noise times this"),
    CLI_INT(UpsampleCommand, colour_cells, 0, "colour-cells", "N", 0, 1024, CASCADE_TEXT(CASCADE_COLOUR_CELLS), "keeps the mean "
            "colours of so many cells a side; 0 leaves the model alone"),
    CLI_GUIDANCE_OPTIONS(UpsampleCommand, guidance, "1"),
    CLI_FILE(UpsampleCommand, weights, 'w', "upsampler-weights", "FILE", NULL, "of the upsampler (default upsampler.h5, as "
             "\"glide help sample\" says)"),
    CLI_CHOICE(UpsampleCommand, precision, 0, "precision", cli_precisions, NULL, "of the computation; bf16 is the default where "
               "the processor has it; int8 is faster and coarser"),
    CLI_INT(UpsampleCommand, threads, 't', "threads", "N", 0, 1024, "0", "threads to use, 0 for all cores"),
    CLI_FLAG(UpsampleCommand, quiet, 'q', "quiet", "print nothing but warnings and errors"),
};

static Status check_usage(CliArgs *args, const UpsampleCommand *c)
{
    if (!c->output) return cli_usage_fail(args, "--output: expected a file for the picture, such as -o large.png");
    GlideGuidance guidance;
    TRY(cli_check_steps(args, "steps", c->steps));
    TRY(cli_guidance(args, &c->guidance, &guidance));
    return cli_check_not_input(args, args->operands[0], c->output, "upsample");
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

static Status upsample_picture(Glide *g, CliArgs *args, const GlidePicture *in, const CliOutput *output)
{
    const UpsampleCommand *c = args->options;
    GlideUpsampleOptions o = glide_upsample_defaults();
    GlidePicture large = {0};
    CliRun run;
    TRY(cli_guidance(args, &c->guidance, &o.guidance));
    TRY(check_model(g, args));
    TRY(cli_choose_seed(args, c->seed, c->quiet, &o.seed));
    o.trace = c->guidance.trace;
    o.prompt = c->prompt;
    if (cli_given(args, "class")) o.label = (int)c->label;
    o.image = (uint32_t)c->image;
    o.sampler = cli_samplers[c->sampler];
    o.steps = c->steps;
    o.upsample_temp = c->upsample_temp;
    o.colour_cells = (int)c->colour_cells;
    cli_run_start(&run, output, c->quiet, 1);
    run.input = args->operands[0];
    o.callbacks = cli_run_callbacks(&run);
    GlideStatus s = glide_upsample(g, in, &o, &large);
    if (s == GLIDE_OK) s = (GlideStatus)cli_run_write(&run, &large);
    glide_picture_release(&large);
    return cli_run_finish(&run, s);
}

static Status upsample_file(CliArgs *args, const GlidePicture *in)
{
    const UpsampleCommand *c = args->options;
    char name[512];
    CliOutput output;
    Glide *g = NULL;
    TRY(cli_output_init(&output, args, c->output, cli_picture_name(args->operands[0], "256", name, sizeof name), 1));
    GlideOptions o = {.upsampler_weights = c->weights, .threads = (int)c->threads, .precision = cli_precision(args, c->precision)};
    Status s = (Status)glide_open(&o, &g);
    if (s == STATUS_OK) s = upsample_picture(g, args, in, &output);
    glide_close(g);
    cli_output_release(&output);
    return s;
}

static Status run(CliArgs *args)
{
    GlidePicture in = {0};
    TRY(check_usage(args, args->options));
    TRY((Status)glide_picture_read(args->operands[0], &in));
    if (in.width != in.height)
        fprintf(stderr, "glide upsample: warning: %s has %dx%d pixels; made square, its proportions change\n", args->operands[0],
                in.width, in.height);
    Status s = upsample_file(args, &in);
    glide_picture_release(&in);
    return s;
}

const CliCommand cli_command_upsample = {
    .name = "upsample",
    .summary = "enlarge a picture to 256x256 with the upsampler",
    .operands = "IN",
    .min_operands = 1,
    .max_operands = 1,
    .description =
        "Reads a PNG or JPEG (- is standard input), makes it 64x64 where it is of another size, and lets the upsampler take it "
        "to 256x256. A picture made by \"glide sample --no-upsample\", upsampled with the same prompt, seed and image number, "
        "is what \"glide sample\" makes.",
    .examples = "glide upsample small.png -o large.png --prompt \"red apple, fluent 3d emoji\"\n"
                "glide upsample small.png -o large.png -p \"red apple\" -g 2 --negative-prompt \"green\" --trace steps.h5\n"
                "glide sample --no-upsample --seed 1 \"cat face\" -o - | glide upsample - --seed 1 -p \"cat face\" -o cat.png",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(UpsampleCommand),
    .run = run,
};
