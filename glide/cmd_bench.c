/* glide bench PART */
#include "glide/cmd_bench.h"

#include "base_model/base_model.h"
#include "common/interrupt.h"
#include "glide/cli_commands.h"
#include "glide/cmd_sampling.h"
#include "glide/model_names.h"
#include "text_transformer/text_unet_file.h"

#include <limits.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

enum { TRAIN_BATCH = 32, TRAIN_SIDE = 64 };

static const CliOption options[] = {
    CLI_TEXT(BenchCommand, config, 'c', "config", "NAME", NULL, "a model of random weights, by glide init's names or glide train's: "
             "glide-base, glide-upsampler, small-base, medium ... (train: default small; the others take files by default; table: a "
             "name without -base)"),
    CLI_FILE(BenchCommand, weights, 'w', "weights", "FILE", NULL, "the model (default base.h5; small of random weights when there "
             "is none)"),
    CLI_FILE(BenchCommand, upsampler_weights, 0, "upsampler-weights", "FILE", NULL, "sample, all: the upsampler (default "
             "upsampler.h5)"),
    CLI_CHOICE(BenchCommand, precision, 0, "precision", cli_precisions, NULL, "bf16 is the default where the processor has it"),
    CLI_INT(BenchCommand, batch, 'b', "batch", "N", 1, 4096, NULL, "pictures of a step or a run (default 1; train: 32)"),
    CLI_INT(BenchCommand, side, 0, "side", "PX", 8, 1024, NULL, "their size (default the model's; train: 64)"),
    CLI_INT(BenchCommand, channels, 0, "channels", "C", 32, 1024, NULL, "with --config: channels of the first level"),
    CLI_TEXT(BenchCommand, steps, 0, "steps", "N", NULL, "sample: the base model's, as glide sample takes them"),
    CLI_INT(BenchCommand, runs, 'r', "runs", "N", 1, 100, NULL, "runs that the median is of (default: a few seconds of them)"),
    CLI_INT(BenchCommand, threads, 't', "threads", "N", 0, 1024, "0", "threads to use, 0 for all cores"),
    CLI_FLAG(BenchCommand, profile, 0, "profile", "step, train: also the time of each kind of op and of each block"),
    CLI_FLAG(BenchCommand, brief, 0, "brief", "train: without the measurements of checkpointing and of one thread"),
    CLI_OUTPUT(BenchCommand, output, 'o', "output", "PATH", NULL, "table: the file to write instead of standard output; curves: "
             "the folder (needed)"),
    CLI_FLAG(BenchCommand, json, 0, "json", "print JSON instead of text"),
};

typedef enum { PART_ALL, PART_CONV, PART_STEP, PART_SAMPLE, PART_TRAIN, PART_LOAD, PART_TABLE, PART_CURVES } Part;
static const char *const parts[] = {"all", "conv", "step", "sample", "train", "load", "table", "curves", NULL};

/* --- models ----------------------------------------------------------------------------------------- */

static Status find_config(const BenchCommand *c, const char *name, TextUNetConfig *config)
{
    char names[600];
    if (!model_named(name, config) && base_model_config(name, config) != STATUS_OK)
        return status_fail(STATUS_BAD_INPUT, "--config: expected one of %s; found %s", model_names(names, sizeof names), name);
    if (c->channels > 0) config->unet.channels = (int)c->channels;
    return STATUS_OK;
}

static Status random_model(const BenchCommand *c, const char *name, TextUNet **m)
{
    TextUNetConfig config;
    TRY(find_config(c, name, &config));
    return bench_random_model(&config, m);
}

/* The file that was named, a configuration, the default file, else random weights. */
static Status open_model(const BenchCommand *c, BenchReport *r, TextUNet **m)
{
    char path[PATH_MAX];
    const char *name = c->config ? c->config : "small-base";
    if (!c->config && bench_has_weights(c->weights, "base.h5", path, sizeof path)) {
        snprintf(r->config, sizeof r->config, "%s", path);
        TRY(text_unet_map(path, NULL, m, NULL));
        return bench_give_tokenizer(*m);
    }
    snprintf(r->config, sizeof r->config, "%s", name);
    return random_model(c, name, m);
}

static const char *kind_of(const TextUNet *m)
{
    return m->config.low_res ? "upsampler" : "base model";
}

/* --- parts ------------------------------------------------------------------------------------------ */

static Status measure_convs(Kernels *k, BenchReport *r)
{
    if (r->both || r->f32) TRY(bench_convs(k, DTYPE_F32, &r->convs[DTYPE_F32]));
    if (r->both ? k->native_bf16 : !r->f32) TRY(bench_convs(k, DTYPE_BF16, &r->convs[DTYPE_BF16]));
    const BenchConvs *best = &r->convs[bench_type(r)];
    for (int i = 0; i < BENCH_CONV_SHAPES; i++) {
        const ConvShape *s = &best->items[i].shape;
        if (best->items[i].forward < best->rate) continue;
        r->run.gflop = 2e-9 * (double)(s->N * s->H * s->W * s->Cin * s->Cout * 9);
        r->run.seconds = r->run.gflop / best->rate;
        r->batch = s->N;
        r->side = s->H;
    }
    r->peak = best->rate;
    snprintf(r->what, sizeof r->what, "3x3 convolutions");
    return STATUS_OK;
}

static Status measure_step(Kernels *k, const BenchCommand *c, BenchReport *r)
{
    TextUNet *m;
    TRY(open_model(c, r, &m));
    BenchStep step = {.type = bench_type(r), .batch = c->batch > 0 ? (int)c->batch : 1, .side = (int)c->side, .runs = (int)c->runs,
                      .guidance_scale = m->config.low_res ? 1 : CASCADE_GUIDANCE};
    Status s = cascade_check_model(m, r->config);
    if (r->int8) text_unet_set_int8(m);
    if (s == STATUS_OK) s = bench_step(k, m, &step, &r->run, c->profile ? &r->profile : NULL);
    r->batch = step.batch;
    r->side = step.side ? step.side : m->config.unet.image_size;
    snprintf(r->what, sizeof r->what, "sampling step of the %s %s%s, %s, %d picture%s of %lldx%lld", kind_of(m), r->config,
             m->text && !m->config.low_res ? " with guidance" : "", bench_precision(r), step.batch, step.batch > 1 ? "s" : "",
             (long long)r->side, (long long)r->side);
    text_unet_free(m);
    return s;
}

/* Unless told to be brief: what else there is to know of training. */
static Status measure_training(Kernels *k, TextUNet *m, const BenchCommand *c, BenchReport *r)
{
    BenchTraining t = {.type = bench_type(r), .side = (int)r->side, .batch = (int)r->batch, .runs = (int)c->runs}, again = t;
    again.checkpoint_blocks = true;
    TRY(bench_train(k, m, &t, &r->run, c->profile ? &r->profile : NULL));
    r->peak_rss = bench_own_peak();
    if (c->brief || c->profile) return STATUS_OK;
    TRY(bench_train(k, m, &again, &r->checkpointed, NULL));
    if (r->threads == 1) return STATUS_OK;
    omp_set_num_threads(1);
    Status s = bench_train(k, m, &t, &r->single, NULL);
    omp_set_num_threads(r->threads);
    return s;
}

static Status measure_train(Kernels *k, const BenchCommand *c, BenchReport *r)
{
    const char *name = c->config ? c->config : "small";
    TextUNet *m;
    TRY(random_model(c, name, &m));
    r->batch = c->batch > 0 ? c->batch : TRAIN_BATCH;
    r->side = c->side > 0 ? c->side : TRAIN_SIDE;
    snprintf(r->config, sizeof r->config, "%s", name);
    snprintf(r->what, sizeof r->what, "training step of the %s \"%s\", %s, %lld pictures of %lldx%lld", kind_of(m), name,
             bench_precision(r), (long long)r->batch, (long long)r->side, (long long)r->side);
    Status s = measure_training(k, m, c, r);
    text_unet_free(m);
    return s;
}

/* Children are measured before this process grows. */
static Status measure_program(const BenchCommand *c, Part part, BenchReport *r)
{
    r->batch = c->batch > 0 ? c->batch : 1;
    if (part == PART_LOAD) {
        TRY(bench_measure_load(c, r));
        snprintf(r->what, sizeof r->what, "opening %s, which is in the system's cache, by a program that starts for it", r->config);
    }
    if (part == PART_SAMPLE) {
        TRY(bench_measure_program(c, r));
        snprintf(r->what, sizeof r->what, "from prompt to %s, the start of the program included, %s, %s",
                 r->batch > 1 ? "PNGs" : "PNG", bench_precision(r), r->config);
    }
    return STATUS_OK;
}

static Status measure(Kernels *k, const BenchCommand *c, Part part, BenchReport *r)
{
    TRY(measure_program(c, part, r));
    if (part == PART_CONV) TRY(measure_convs(k, r));
    else TRY(bench_conv_rate(k, bench_type(r), &r->peak));
    if (part == PART_STEP) TRY(measure_step(k, c, r));
    if (part == PART_TRAIN) TRY(measure_train(k, c, r));
    if (r->peak_rss <= 0) r->peak_rss = bench_own_peak();
    return STATUS_OK;
}

/* --- the command ------------------------------------------------------------------------------------ */

static Status check(CliArgs *args, const BenchCommand *c, Part part)
{
    if (c->profile && part != PART_STEP && part != PART_TRAIN)
        return cli_usage_fail(args, "--profile: expected bench step or bench train, found bench %s", parts[part]);
    if (c->config && c->weights) return cli_usage_fail(args, "--config and --weights exclude one another");
    if (part == PART_CURVES && !c->output) return cli_usage_fail(args, "--output: expected a folder for the curves, such as -o curves");
    if (c->output && part != PART_CURVES && part != PART_TABLE)
        return cli_usage_fail(args, "--output: expected bench table or bench curves, found bench %s", parts[part]);
    return STATUS_OK;
}

static Status run_part(CliArgs *args, Part part)
{
    const BenchCommand *c = args->options;
    Kernels *k;
    TRY(kernels_new(KERNELS_BEST, &k));
    GlidePrecision precision = cli_precision(args, c->precision);
    BenchReport r = {.part = parts[part], .kernels = k->name, .threads = omp_get_max_threads(),
                     .int8 = precision == GLIDE_PRECISION_INT8, .both = precision == GLIDE_PRECISION_AUTO};
    r.f32 = precision == GLIDE_PRECISION_F32 || (precision == GLIDE_PRECISION_AUTO && !k->native_bf16);
    Status s = measure(k, c, part, &r);
    if (s == STATUS_OK) s = c->json ? bench_print_json(bench_report_json(&r)) : bench_print_text(&r);
    bench_profile_release(&r.profile);
    kernels_free(k);
    return s;
}

static Status run(CliArgs *args)
{
    const BenchCommand *c = args->options;
    const char *precision = cli_given(args, "precision") ? cli_precisions[c->precision] : NULL;
    int part;
    TRY(cli_operand_choice(args, 0, parts, &part));
    TRY(check(args, c, (Part)part));
    if (part == PART_TABLE && c->config) TRY(base_model_config(c->config, &(TextUNetConfig){0}));
    if (c->threads > 0) omp_set_num_threads((int)c->threads);
    if (part != PART_CONV && part != PART_STEP && part != PART_TRAIN) /* these have children and files to end, see cmd_bench_child.c */
        interrupt_install("\nstopping; Ctrl-C again stops at once\n");
    if (part == PART_ALL) return bench_all(c, precision);
    if (part == PART_TABLE) return bench_table(c);
    if (part == PART_CURVES) return bench_curves(c, precision);
    return run_part(args, (Part)part);
}

const CliCommand cli_command_bench = {
    .name = "bench",
    .summary = "measure how fast this machine samples, trains, loads and convolves",
    .operands = "step|sample|train|load|conv|all|table|curves",
    .takes_texts = true,
    .min_operands = 1,
    .max_operands = 1,
    .description =
        "step: a step of sampling as they follow one another, with guidance for base models; text, packing of weights and "
        "whatever else is done once come before. sample: the whole of glide sample, from its start to the PNG. train: a training "
        "step on random pictures, with the workers that glide train would take, and how much memory --checkpoint-blocks saves and "
        "how well threads scale. load: opening a weights file that is in the system's cache, every value checked. conv: large 3x3 "
        "convolutions, forward and backward.\n"
        "\n"
        "Each prints seconds (the median of several), multiplications and additions (GMAC), GFLOP/s, their share of the rate "
        "of the convolutions that it measures first, and peak memory.\n"
        "\n"
        "all: each of them for the default weights. table: those of SPEED.md's table, full-size models of random weights among "
        "them, in Markdown (minutes; 1.6 GB in the folder for temporary files), or with --config those of one configuration. "
        "curves: how seconds, GFLOP/s and memory of a step grow with size, batch and channels, and those of a picture with steps, as "
        "CSV and SVG. Close other programs first.",
    .examples = "glide bench all\n"
                "glide bench step --config glide-base --precision bf16 --profile\n"
                "glide bench train --config medium --batch 16 --json\n"
                "glide bench curves -o curves",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(BenchCommand),
    .run = run,
};
