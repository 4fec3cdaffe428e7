/* glide sample PROMPT... */
#include "common/file_write.h"
#include "glide/cascade.h"
#include "glide/cli_commands.h"
#include "glide/cmd_from.h"
#include "glide/cmd_grid.h"
#include "glide/cmd_grid_axis.h"
#include "glide/cmd_plan_lines.h"
#include "glide/cmd_sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const CliOption options[] = {
    CLI_OUTPUT(SampleCommand, output, 'o', "output", "FILE", "glide.png", "where the picture goes; several get numbers before the "
             "ending (FILE-1.png); a folder is fine, and - is standard output"),
    CLI_QUALITY_OPTION(SampleCommand),
    CLI_INT(SampleCommand, n, 'n', "number", "N", 1, 100000, "1", "pictures of each prompt"),
    CLI_INT(SampleCommand, seed, 's', "seed", "S", 0, INT64_MAX, NULL, "where randomness starts; drawn and shown when not "
            "given"),
    CLI_INT(SampleCommand, image, 0, "image", "I", 1, 1000000000, "1", "number of the first picture: --image 3 makes the third "
            "of -n 4 alone, with the same bytes"),
    CLI_TEXT(SampleCommand, class_name, 'c', "class", "C", NULL, "what to draw: a number, for class-conditional models "
             "(guided-diffusion's) instead of a prompt, and for --classifier, which may know names: \"food-fruit, noto\""),
    CLI_CHOICE(SampleCommand, sampler, 0, "sampler", cli_samplers, CASCADE_SAMPLER, "of the base model"),
    CLI_TEXT(SampleCommand, steps, 0, "steps", "N", NULL, "steps of the base model, or a respacing such as logsnr20, karras20, fast27, "
             "ddim50 or 10,10,3 (default " CASCADE_STEPS "; for ddpm " CASCADE_DDPM_STEPS ")"),
    CLI_CHOICE(SampleCommand, upsampler_sampler, 0, "upsampler-sampler", cli_samplers, CASCADE_UPSAMPLER, "of the upsampler"),
    CLI_TEXT(SampleCommand, upsampler_steps, 0, "upsampler-steps", "N", CASCADE_UPSAMPLER_STEPS, "steps of the upsampler"),
    CLI_DOUBLE(SampleCommand, upsample_temp, 0, "upsample-temp", "T", 0, 10, CASCADE_TEXT(CASCADE_UPSAMPLE_TEMP),
               "the upsampler starts from noise times this"),
    CLI_INT(SampleCommand, colour_cells, 0, "colour-cells", "N", 0, 1024, CASCADE_TEXT(CASCADE_COLOUR_CELLS), "the upsampler "
            "keeps the mean colours of so many cells a side; 0 leaves it alone"),
    CLI_DOUBLE(SampleCommand, upsampler_guidance_scale, 0, "upsampler-guidance-scale", "G", 0, 100, "1", "--guidance-scale of the "
               "upsampler, with the same negative prompt; the other options of guidance are about the base model"),
    CLI_GUIDANCE_OPTIONS(SampleCommand, guidance, CASCADE_TEXT(CASCADE_GUIDANCE)),
    CLI_FILE(SampleCommand, init_image, 0, "init-image", "FILE", NULL, "start from this picture instead of noise"),
    CLI_DOUBLE(SampleCommand, strength, 0, "strength", "S", 0, 1, CASCADE_TEXT(CASCADE_STRENGTH), "how much of --init-image is "
               "drawn anew: 0 nothing, 1 nearly all"),
    CLI_FILE(SampleCommand, from, 0, "from", "IMG", NULL, "take everything that is not said here from the recipe of this PNG, a "
             "picture or a sheet"),
    CLI_TEXTS(SampleCommand, grid, 0, "grid", "NAME=V,V,...", "a labelled sheet over values of an option, on the same noise; a second "
              "--grid makes rows; prompt:WORD=V,V,... changes a word of the prompt; ; divides values that hold commas"),
    CLI_FLAG(SampleCommand, no_upsample, 0, "no-upsample", "stop at 64x64"),
    CLI_FILE(SampleCommand, weights, 'w', "weights", "FILE", NULL, "of the base model (default base.h5, found as said above)"),
    CLI_FILE(SampleCommand, upsampler_weights, 0, "upsampler-weights", "FILE", NULL, "of the upsampler (default upsampler.h5)"),
    CLI_CHOICE(SampleCommand, precision, 0, "precision", cli_precisions, NULL, "of the computation; bf16 is the default where "
               "the processor has it; int8 is faster and coarser"),
    CLI_INT(SampleCommand, threads, 't', "threads", "N", 0, 1024, "0", "threads to use, 0 for all cores"),
    CLI_SHOW_OPTIONS(SampleCommand, show),
    CLI_FLAG(SampleCommand, quiet, 'q', "quiet", "print nothing but warnings and errors"),
};

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == 0;
}

/* One for each prompt; models that take none are asked once. */
static int calls_of(const CliArgs *args)
{
    return args->operand_count > 0 ? args->operand_count : 1;
}

Status sample_check(CliArgs *args)
{
    const SampleCommand *c = args->options;
    GlideGuidance guidance;
    if (args->operand_count == 0 && !c->weights && !c->from)
        return cli_usage_fail(args, "expected a prompt: what to draw, in quotes");
    for (int i = 0; i < args->operand_count; i++)
        if (is_blank(args->operands[i]))
            return cli_usage_fail(args, "expected a prompt, found an empty one; say what to draw, for example \"red apple, "
                                  "fluent 3d emoji\"");
    if (args->operand_count * c->n > 1000000)
        return cli_usage_fail(args, "--number: expected at most 1000000 pictures in all, found %d prompts times %lld",
                              args->operand_count, (long long)c->n);
    if (c->steps) TRY(cli_check_steps(args, "steps", c->steps));
    TRY(cli_check_quality(args, c->output));
    TRY(cli_guidance(args, &c->guidance, &guidance));
    if (c->guidance.trace && args->operand_count > 1)
        return cli_usage_fail(args, "--trace: expected one prompt, found %d", args->operand_count);
    if (cli_given(args, "strength") && !c->init_image)
        return cli_usage_fail(args, "--strength: expected --init-image beside it");
    if (!c->no_upsample) return cli_check_steps(args, "upsampler-steps", c->upsampler_steps);
    static const char *const of_upsampler[] = {"upsampler-steps",   "upsampler-sampler", "upsample-temp",
                                               "upsampler-weights", "colour-cells",      "upsampler-guidance-scale"};
    for (int i = 0; i < CLI_COUNT(of_upsampler); i++)
        if (cli_given(args, of_upsampler[i]))
            return cli_usage_fail(args, "--no-upsample: expected no option of the upsampler beside it");
    return STATUS_OK;
}

Status sample_guidance(CliArgs *args, GlideGuidance *guidance, int *label)
{
    const SampleCommand *c = args->options;
    *label = -1;
    TRY(cli_guidance(args, &c->guidance, guidance));
    return cli_has(args, "class") ? cli_class(args, c->class_name, guidance, label) : STATUS_OK;
}

GlideSampleOptions sample_options(const SampleCommand *c, const GlideGuidance *guidance, uint64_t seed, int label)
{
    GlideSampleOptions o = glide_sample_defaults();
    o.n = (int)c->n;
    o.seed = seed;
    o.image = (uint32_t)c->image;
    o.label = label;
    o.guidance = *guidance;
    o.upsampler_guidance.cfg.scale = c->upsampler_guidance_scale;
    o.upsampler_guidance.negative_prompt = guidance->negative_prompt;
    o.trace = c->guidance.trace;
    o.sampler = cli_samplers[c->sampler];
    o.steps = c->steps;
    o.upsample = !c->no_upsample;
    o.upsampler_sampler = cli_samplers[c->upsampler_sampler];
    o.upsampler_steps = c->upsampler_steps;
    o.upsample_temp = c->upsample_temp;
    o.colour_cells = (int)c->colour_cells;
    o.strength = c->strength;
    return o;
}

/* A long prompt is no error: what fits is used. */
static Status warn_of_cut_prompts(Glide *g, const CliArgs *args)
{
    char quoted[48];
    for (int i = 0; i < args->operand_count; i++) {
        int64_t tokens;
        int limit;
        TRY((Status)glide_prompt_tokens(g, args->operands[i], &tokens, &limit));
        if (tokens > limit)
            fprintf(stderr, "glide sample: warning: %s: the prompt is cut to its first %d of %lld tokens\n",
                    cli_quote(args->operands[i], quoted, sizeof quoted), limit, (long long)tokens);
    }
    return STATUS_OK;
}

/* What is asked must be what the model takes: prompts, a class, or nothing at all. */
Status sample_check_model(Glide *g, CliArgs *args, const GlideGuidance *guidance, int label)
{
    GlideModelInfo info;
    bool labelled = label >= 0;
    TRY((Status)glide_model_info(g, GLIDE_STAGE_BASE, &info));
    if (info.text && args->operand_count == 0) return cli_usage_fail(args, "expected a prompt: what to draw, in quotes");
    if (info.text && labelled && !guidance->classifier_weights)
        return cli_usage_fail(args, "--class: the base model takes prompts, expected no class without --classifier");
    if (!info.text && args->operand_count > 0)
        return cli_usage_fail(args, "the base model takes no prompts, expected %s, found \"%.40s\"",
                              info.classes ? "--class" : "none", args->operands[0]);
    if (!info.text && !info.classes && labelled && !guidance->classifier_weights)
        return cli_usage_fail(args, "--class: the base model takes none");
    if (info.classes && (!labelled || label >= info.classes))
        return cli_usage_fail(args, "--class: the base model wants one from 0 to %d", info.classes - 1);
    static const char *const of_prompts[] = {"guidance-scale", "negative-prompt", "guidance-interval", "guidance-schedule", "cfgpp",
                                             "clip"};
    for (int i = 0; i < CLI_COUNT(of_prompts) && !info.text; i++)
        if (cli_given(args, of_prompts[i]))
            return cli_usage_fail(args, "--%s: the base model takes no prompts, so there is nothing to %s", of_prompts[i],
                                  strcmp(of_prompts[i], "clip") ? "leave out" : "follow");
    return STATUS_OK;
}

/* All prompts, one call each. `pictures` (n) are emptied by the run as they are written. */
static GlideStatus sample_prompts(Glide *g, const CliArgs *args, GlideSampleOptions *o, CliRun *run, GlidePicture *pictures)
{
    GlideStatus s = GLIDE_OK;
    o->callbacks = cli_run_callbacks(run);
    for (run->call = 0; run->call < run->calls && s == GLIDE_OK; run->call++)
        s = glide_sample(g, args->operand_count > 0 ? args->operands[run->call] : "", o, pictures);
    return s;
}

/* Other weights than the recipe's are worth a warning. */
static Status compare_weights(Glide *g, const CliArgs *args, const CliFrom *from)
{
    const SampleCommand *c = args->options;
    GlideModelInfo info;
    if (!from->recipe) return STATUS_OK;
    TRY((Status)glide_model_info(g, GLIDE_STAGE_BASE, &info));
    cli_from_compare(from, args, "weights", "weights", info.hash);
    if (c->no_upsample) return STATUS_OK;
    TRY((Status)glide_model_info(g, GLIDE_STAGE_UPSAMPLER, &info));
    cli_from_compare(from, args, "upsampler-weights", "upsampler_weights", info.hash);
    return STATUS_OK;
}

/* A run that cannot fit is refused before it starts. */
static Status check_memory(Glide *g, CliArgs *args, const GlideGuidance *guidance, int label, const GlidePicture *init)
{
    Plan plan;
    GlideSampleOptions o = sample_options(args->options, guidance, 0, label);
    o.init_image = init->rgb ? init : NULL;
    TRY(plan_sample(g, &o, &plan));
    return cli_check_memory(args, plan.bytes);
}

static Status sample_with(Glide *g, CliArgs *args, const CliOutput *output, const GlidePicture *init, const CliFrom *from)
{
    const SampleCommand *c = args->options;
    uint64_t seed;
    CliRun run;
    GlideGuidance guidance;
    int label;
    TRY(sample_guidance(args, &guidance, &label));
    GlidePicture *pictures = calloc((size_t)c->n, sizeof *pictures);
    if (!pictures) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld pictures", (long long)c->n);
    Status s = sample_check_model(g, args, &guidance, label);
    if (s == STATUS_OK) s = warn_of_cut_prompts(g, args);
    if (s == STATUS_OK) s = compare_weights(g, args, from);
    if (s == STATUS_OK) s = check_memory(g, args, &guidance, label, init);
    if (s == STATUS_OK) {
        cli_choose_seed(args, c->seed, c->quiet, &seed);
        GlideSampleOptions o = sample_options(c, &guidance, seed, label);
        o.init_image = init->rgb ? init : NULL;
        cli_run_start(&run, output, c->quiet, calls_of(args));
        run.quality = (int)c->quality;
        run.init_image = c->init_image;
        cli_show_start(&run.show, args, &c->show, c->quiet);
        s = cli_run_finish(&run, sample_prompts(g, args, &o, &run, pictures));
    }
    free(pictures);
    return s;
}

static Status sample_files(CliArgs *args, const CliFrom *from)
{
    const SampleCommand *c = args->options;
    CliOutput output;
    GlidePicture init = {0};
    Glide *g = NULL;
    TRY(sample_check(args));
    if (c->guidance.trace) TRY(file_check_writable(c->guidance.trace));
    if (c->init_image) TRY((Status)glide_picture_read(c->init_image, &init));
    Status s = cli_output_init(&output, args, c->output, "glide.png", (int)(calls_of(args) * c->n));
    if (s == STATUS_OK) {
        GlideOptions o = {.weights = c->weights, .upsampler_weights = c->upsampler_weights, .threads = (int)c->threads,
                          .precision = cli_precision(args, c->precision)};
        s = (Status)glide_open(&o, &g);
        if (s == STATUS_OK) s = sample_with(g, args, &output, &init, from);
        glide_close(g);
        cli_output_release(&output);
    }
    glide_picture_release(&init);
    return s;
}

/* --- glide plan sample -------------------------------------------------------------------------------- */

/* One call of `prompts` x `pictures`, measured with the first prompt. */
static Status plan_with(Glide *g, CliArgs *args, const GlidePicture *init)
{
    const SampleCommand *c = args->options;
    GlideGuidance guidance;
    int label;
    Plan plan;
    double pictures = (double)c->n * calls_of(args);
    TRY(sample_guidance(args, &guidance, &label));
    TRY(sample_check_model(g, args, &guidance, label));
    for (int i = 0; i < c->grid.count; i++) {
        GridAxis axis;
        Status s = grid_axis_parse(args, c->grid.items[i], &axis);
        pictures *= axis.count;
        grid_axis_release(&axis);
        TRY(s);
    }
    GlideSampleOptions o = sample_options(c, &guidance, 0, label);
    o.init_image = init->rgb ? init : NULL;
    TRY(plan_sample(g, &o, &plan));
    TRY(cli_plan_memory(args, plan.bytes));
    TRY(plan_measure(g, args->operand_count ? args->operands[0] : "", &o, &plan));
    cli_plan_stage("base", &plan.base);
    cli_plan_stage("upsampler", &plan.upsampler);
    cli_plan_time((plan.base.seconds_a_picture + plan.upsampler.seconds_a_picture) * pictures, pictures,
                  c->grid.count ? ", each as without --grid" : "");
    return STATUS_OK;
}

static Status plan_files(CliArgs *args)
{
    const SampleCommand *c = args->options;
    GlidePicture init = {0};
    Glide *g = NULL;
    TRY(sample_check(args));
    if (c->init_image) TRY((Status)glide_picture_read(c->init_image, &init));
    GlideOptions o = {.weights = c->weights, .upsampler_weights = c->upsampler_weights, .threads = (int)c->threads,
                      .precision = cli_precision(args, c->precision)};
    Status s = (Status)glide_open(&o, &g);
    if (s == STATUS_OK) s = plan_with(g, args, &init);
    glide_close(g);
    glide_picture_release(&init);
    return s;
}

static Status with_recipe(CliArgs *args, bool plan)
{
    const SampleCommand *c = args->options;
    CliFrom from = {0};
    Status s = c->from ? cli_from(args, c->from, &from) : STATUS_OK;
    if (s == STATUS_OK && plan) s = plan_files(args);
    else if (s == STATUS_OK) s = c->grid.count ? grid_run(args) : sample_files(args, &from);
    cli_from_release(&from);
    return s;
}

static Status plan_run(CliArgs *args)
{
    return with_recipe(args, true);
}

static Status run(CliArgs *args)
{
    return with_recipe(args, false);
}

const CliCommand cli_command_sample = {
    .name = "sample",
    .summary = "make pictures from prompts",
    .operands = "[PROMPT...]",
    .takes_texts = true,
    .min_operands = 0,
    .max_operands = CLI_ANY,
    .description =
        "Makes a 256x256 PNG of each PROMPT, or N of them. The base model draws 64x64 pixels, the upsampler takes them to "
        "256x256. The names of the files that were written are printed.\n"
        "\n"
        "The default weights have learned emoji: say what to draw, then a comma and a style, such as \"fluent 3d emoji\", "
        "\"noto emoji\" or \"twemoji emoji\". English and Korean are understood.\n"
        "\n"
        "--grid samples every combination of one or two options' values (numbers, words, files; flags are yes or no) and "
        "writes them as one sheet with labels. Finished pictures are kept in OUTPUT.grid/ until the sheet is complete, so the same "
        "command goes on after Ctrl-C. A sheet has a recipe, too: --from makes it again, with other values or options said here.\n"
        "\n"
        "Models without text, such as guided-diffusion's, draw what --class says, or anything; without --upsampler-weights they "
        "stop at their own size.\n"
        "\n"
        "The same prompt, seed and options make the same file, byte for byte, on any number of threads, alone or among others. "
        "Each PNG carries its recipe, which \"glide recipe\" shows; --from makes another picture by it, with what is said here "
        "instead, and \"glide verify\" the same one again.\n"
        "\n"
        "Default weights are taken from the folder that $GLIDE_WEIGHTS names, else from ../data/weights or ../share/glide "
        "beside the program's own folder.\n"
        "\n"
        "Ctrl-C stops after the step in work; pictures that are finished stay, and the exit status is 130.",
    .examples = "glide sample \"red apple, fluent 3d emoji\" -o apple.png\n"
                "glide sample -n 4 --seed 1 \"rocket, noto emoji\" -o rocket.png\n"
                "glide sample --seed 1 --image 3 \"rocket, noto emoji\" -o third.png\n"
                "glide sample --init-image sketch.png --strength 0.7 \"red apple, noto emoji\"\n"
                "glide sample -g 6 --guidance-interval 100:800 --negative-prompt \"blurry\" \"red apple\" --trace steps.h5\n"
                "glide sample --from apple.png --seed 2 --guidance-scale 5 -o other.png\n"
                "glide sample \"red apple\" --grid guidance-scale=1,2,4,8 --grid sampler=ddim,euler_a -o sheet.png\n"
                "glide sample \"red apple\" --grid prompt:red=red,green,blue --grid seed=1,2,3 -o colours.png\n"
                "glide sample \"빨간 사과\" \"고양이\" -o pictures/",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(SampleCommand),
    .plan = plan_run,
    .run = run,
};
