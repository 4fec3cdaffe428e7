/* glide evaluate guide|upsample: what models are worth on held-out pictures. */
#include "glide/cmd_evaluate.h"

#include "glide/cascade.h"
#include "glide/cmd_sampling.h"

const char *const evaluate_splits[] = {"train", "test_pair", "test_tone", "test_concept", NULL};
static const char *const subjects[] = {"guide", "upsample", NULL};
static const char *const scales[] = {"2", "4", "8", NULL};
enum { GUIDE, UPSAMPLE };

static const CliOption options[] = {
    CLI_FILE(EvaluateCommand, data, 'd', "data", "FILE", NULL, "data set made by glide dataset"),
    CLI_CHOICE(EvaluateCommand, split, 0, "split", evaluate_splits, "test_pair", "which of its pictures; all but train are held "
               "out"),
    CLI_INT(EvaluateCommand, limit, 'n', "limit", "N", 1, 1000000, NULL, "pictures at most (default: all; of a data set for "
            "upsample 64)"),
    CLI_FILE(EvaluateCommand, subgroups, 0, "subgroups", "FILE", NULL, "guide: which subgroup each concept is in (default: the "
             "project's data/subgroups.tsv)"),
    CLI_FILE(EvaluateCommand, pairs, 0, "pairs", "DIR", NULL, "upsample: a folder of originals, which are reduced by means of "
             "scale x scale pixels; or of folders x, small pictures, and y, the originals under the same names"),
    CLI_CHOICE(EvaluateCommand, scale, 'x', "scale", scales, "4", "upsample: how many times as large"),
    CLI_INT(EvaluateCommand, crop, 0, "crop", "N", 0, 65500, "0", "upsample: only the middle N pixels a side of each original; "
            "0: all"),
    CLI_TEXT(EvaluateCommand, outside, 0, "outside", "CMD", NULL, "upsample: another program to compare with, such as \"tool {in} "
             "{out} {scale}\"; run without a shell on PNG files, once for each picture"),
    CLI_TEXT(EvaluateCommand, outside_name, 0, "outside-name", "NAME", "outside", "upsample: what it is called in the table"),
    CLI_OUTPUT(EvaluateCommand, sheet, 0, "sheet", "FILE", NULL, "upsample: draw the middle of the first ten pictures before and "
             "after to this PNG"),
    CLI_FLAG(EvaluateCommand, captions, 0, "captions", "upsample: tell the model the captions of --data"),
    CLI_FILE(EvaluateCommand, judge, 0, "judge", "FILE", NULL, "upsample: that sees the judge distance (default judge.h5)"),
    CLI_INT(EvaluateCommand, seed, 's', "seed", "S", 0, INT64_MAX, "0", "upsample: where randomness starts"),
    CLI_DOUBLE(EvaluateCommand, fidelity, 0, "fidelity", "F", 0, 1, "1", "upsample: as in glide upsample, like the following"),
    CLI_DOUBLE(EvaluateCommand, noise_level, 0, "noise-level", "X", 0, 1, "0", "upsample: noise that is added and told"),
    CLI_INT(EvaluateCommand, tile, 0, "tile", "N", 0, 4096, "0", "upsample: pixels a side of windows; 0: the trained size"),
    CLI_CHOICE(EvaluateCommand, sampler, 0, "sampler", cli_samplers, CASCADE_UPSAMPLER, "upsample: how to sample"),
    CLI_TEXT(EvaluateCommand, steps, 0, "steps", "N", CASCADE_UPSAMPLER_STEPS, "upsample: steps, or a respacing"),
    CLI_DOUBLE(EvaluateCommand, upsample_temp, 0, "upsample-temp", "T", 0, 10, CASCADE_TEXT(CASCADE_UPSAMPLE_TEMP),
               "upsample: starts from noise times this"),
    CLI_FILE(EvaluateCommand, weights, 'w', "upsampler-weights", "FILE", NULL, "upsample: of the model (default upsampler.h5)"),
    CLI_CHOICE(EvaluateCommand, precision, 0, "precision", cli_precisions, NULL, "upsample: of the computation; bf16 is the "
               "default where the processor has it"),
    CLI_FLAG(EvaluateCommand, json, 0, "json", "print JSON instead of a table"),
    CLI_INT(EvaluateCommand, threads, 't', "threads", "N", 0, 1024, "0", "threads to use (0: all cores)"),
    CLI_FLAG(EvaluateCommand, quiet, 'q', "quiet", "upsample: show no progress"),
};

/* The options that only one subject has. */
static Status check_options(CliArgs *args, int subject)
{
    static const char *const of_upsample[] = {"pairs", "scale", "crop", "outside", "outside-name", "sheet", "captions", "judge",
                                              "seed", "fidelity", "noise-level", "tile", "sampler", "steps", "upsample-temp",
                                              "upsampler-weights", "precision", "quiet"};
    if (subject == UPSAMPLE && cli_given(args, "subgroups"))
        return cli_usage_fail(args, "--subgroups: not an option of \"evaluate upsample\"");
    for (int i = 0; i < CLI_COUNT(of_upsample); i++)
        if (subject == GUIDE && cli_given(args, of_upsample[i]))
            return cli_usage_fail(args, "--%s: not an option of \"evaluate guide\"", of_upsample[i]);
    return STATUS_OK;
}

static Status run(CliArgs *args)
{
    int subject;
    TRY(cli_operand_choice(args, 0, subjects, &subject));
    TRY(check_options(args, subject));
    return subject == GUIDE ? evaluate_guide(args) : evaluate_upsample(args);
}

const CliCommand cli_command_evaluate = {
    .name = "evaluate",
    .summary = "measure a guide, a judge or the upsampler on held-out pictures",
    .operands = "guide FILE|upsample",
    .min_operands = 1,
    .max_operands = 2,
    .description =
        "guide: a classifier: how often subject and style of pictures with noise are right, by noise level. A CLIP and a judge: "
        "how often a picture's own caption is the most similar one, or among the first five, and the other way round, among 64 "
        "pairs and among all.\n"
        "\n"
        "upsample: originals (--pairs or --data) are reduced and enlarged again: by nearest neighbours, bicubic and Lanczos "
        "interpolation, another program (--outside) and the model. Against the original: PSNR, SSIM (of luma), the judge distance "
        "(of feature maps of the judge's network), colour (mean CIEDE2000 pixel by pixel, which on photos is mostly detail that was "
        "lost by reducing: a shift of colours is what tint tells), edge energy (1: as sharp). Against what was given: consistency "
        "(PSNR of the result, reduced again) and tint (CIEDE2000, likewise). Seams: the error at borders of windows "
        "against beside them, with z. Each mean has its 95 % interval over pictures.",
    .examples = "glide evaluate guide classifier.h5 --data emoji.h5\n"
                "glide evaluate guide judge.h5 --data emoji.h5 --split test_concept --json\n"
                "glide evaluate upsample --pairs photos/ --crop 512 --sheet sheet.png\n"
                "glide evaluate upsample --data emoji.h5 --limit 64 --json\n"
                "glide evaluate upsample --pairs photos/ --outside \"node esrgan.js {in} {out} {scale}\" --outside-name ESRGAN",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(EvaluateCommand),
    .run = run,
};
