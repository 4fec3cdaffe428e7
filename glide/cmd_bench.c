/* glide bench all|conv|train|sample */
#include "base_model/base_model.h"
#include "glide/bench.h"
#include "glide/cascade.h"
#include "glide/cli_commands.h"
#include "glide/cmd_sampling.h"
#include "glide/weights_path.h"
#include "text_transformer/text_unet_file.h"
#include "upsampler/upsampler.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <omp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct BenchCommand {
    const char *config, *weights, *upsampler_weights;
    int64_t batch, side, threads;
    int precision;
    bool json;
} BenchCommand;

static const CliOption options[] = {
    CLI_TEXT(BenchCommand, config, 'c', "config", "NAME", "small", "base model to train, as in glide train"),
    CLI_INT(BenchCommand, batch, 'b', "batch", "N", 1, 4096, "32", "pictures of a training step"),
    CLI_INT(BenchCommand, side, 0, "side", "PX", 8, 256, "64", "their size"),
    CLI_FILE(BenchCommand, weights, 'w', "weights", "FILE", NULL, "base model to sample with (default base.h5; random weights "
             "when there is none)"),
    CLI_FILE(BenchCommand, upsampler_weights, 0, "upsampler-weights", "FILE", NULL, "upsampler (default upsampler.h5, likewise)"),
    CLI_CHOICE(BenchCommand, precision, 0, "precision", cli_precisions, NULL, "of training and sampling; bf16 is the default "
               "where the processor has it"),
    CLI_INT(BenchCommand, threads, 't', "threads", "N", 0, 1024, "0", "threads to use, 0 for all cores"),
    CLI_FLAG(BenchCommand, json, 0, "json", "print JSON instead of a table"),
};

static const char *const parts[] = {"all", "conv", "train", "sample", NULL};
enum { PART_ALL, PART_CONV, PART_TRAIN, PART_SAMPLE };

/* What was measured; a part that was not has zero seconds. */
typedef struct Report {
    const char *kernels;
    int threads;
    DType type; /* of training and sampling */
    bool int8;  /* and 8 bits inside, when sampling */
    BenchConvs convs[2]; /* by DType */
    BenchRun train, base, upsampler;
    BenchRun checkpointed, single; /* train's step: with blocks run again in the backward pass; with one thread */
    bool random_base, random_upsampler; /* no weights were there */
    double png_seconds;
    long png_peak_kb;
} Report;

static const char *type_name(DType type)
{
    return type == DTYPE_BF16 ? "bf16" : "f32";
}

static const char *precision_name(const Report *r)
{
    return r->int8 ? "int8" : type_name(r->type);
}

/* --- measuring -------------------------------------------------------------------------------------- */

/* details: what else "glide bench train" tells. */
static Status measure_train(Kernels *k, const BenchCommand *c, bool details, Report *r)
{
    TextUNetConfig config;
    TextUNet *m;
    BenchTraining t = {.type = r->type, .side = (int)c->side, .batch = (int)c->batch}, again = t;
    TRY(base_model_config(c->config, &config));
    TRY(bench_random_model(&config, &m));
    again.checkpoint_blocks = true;
    Status s = bench_train(k, m, &t, &r->train);
    if (s == STATUS_OK && details) s = bench_train(k, m, &again, &r->checkpointed);
    if (s == STATUS_OK && details && r->threads > 1) {
        omp_set_num_threads(1);
        s = bench_train(k, m, &t, &r->single);
        omp_set_num_threads(r->threads);
    }
    text_unet_free(m);
    return s;
}

/* The file that was named, else the default one, else random weights. */
static Status open_model(const char *path, bool upsampler, TextUNet **m, bool *random)
{
    char found[PATH_MAX];
    TextUNetConfig config;
    const char *kind = upsampler ? "upsampler" : "base";
    *random = false;
    if (path) return text_unet_map(path, kind, m, NULL);
    if (weights_path_default(upsampler ? "upsampler.h5" : "base.h5", found, sizeof found) == STATUS_OK)
        return text_unet_map(found, kind, m, NULL);
    *random = true;
    TRY(upsampler ? upsampler_config("small", &config) : base_model_config("small", &config));
    return bench_random_model(&config, m);
}

static Status measure_stage(Kernels *k, const char *path, bool upsampler, const Report *r, BenchRun *out, bool *random)
{
    TextUNet *m;
    TRY(open_model(path, upsampler, &m, random));
    Status s = cascade_check_model(m, path ? path : "the default weights");
    if (r->int8) text_unet_set_int8(m);
    if (s == STATUS_OK) s = bench_sample(k, m, r->type, upsampler ? 1 : CASCADE_GUIDANCE, out);
    text_unet_free(m);
    return s;
}

static Status wait_for(pid_t child, long *peak_kb)
{
    int how;
    struct rusage usage;
    while (wait4(child, &how, 0, &usage) < 0)
        if (errno != EINTR) return status_fail(STATUS_INTERNAL, "glide sample: cannot be waited for: %s", strerror(errno));
    *peak_kb = usage.ru_maxrss;
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0) return STATUS_OK;
    return status_fail(STATUS_INTERNAL, "glide sample failed; its message is above");
}

/* The whole program, start included, as a user runs it. To be measured first: the peak memory of a process counts what its
 * parent had when it was started. */
static Status measure_png(const BenchCommand *c, Report *r)
{
    char output[] = "/tmp/glide-bench-XXXXXX", threads[24];
    const char *argv[24];
    int n = 0, fd = mkstemp(output);
    if (fd < 0) return status_fail(STATUS_IO, "%s: cannot be made: %s", output, strerror(errno));
    close(fd);
    snprintf(threads, sizeof threads, "%d", r->threads);
    const char *fixed[] = {"glide", "sample", "red apple, fluent 3d emoji", "--seed", "1", "--quiet", "-o", output,
                           "--threads", threads, "--precision", precision_name(r)};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) argv[n++] = fixed[i];
    if (c->weights) argv[n++] = "--weights", argv[n++] = c->weights;
    if (c->upsampler_weights) argv[n++] = "--upsampler-weights", argv[n++] = c->upsampler_weights;
    argv[n] = NULL;
    pid_t child;
    double start = bench_now();
    int error = posix_spawn(&child, "/proc/self/exe", NULL, NULL, (char *const *)argv, environ);
    Status s = error ? status_fail(STATUS_IO, "glide sample: cannot be started: %s", strerror(error))
                     : wait_for(child, &r->png_peak_kb);
    r->png_seconds = bench_now() - start;
    unlink(output);
    return s;
}

static Status measure_sample(Kernels *k, const BenchCommand *c, Report *r)
{
    TRY(measure_stage(k, c->weights, false, r, &r->base, &r->random_base));
    return measure_stage(k, c->upsampler_weights, true, r, &r->upsampler, &r->random_upsampler);
}

static bool has_weights(const char *path, const char *usual)
{
    char found[PATH_MAX];
    return path || weights_path_default(usual, found, sizeof found) == STATUS_OK;
}

static Status measure(Kernels *k, const BenchCommand *c, int part, Report *r)
{
    bool both = part == PART_ALL || part == PART_CONV, sample = part == PART_ALL || part == PART_SAMPLE;
    if (sample && has_weights(c->weights, "base.h5") && has_weights(c->upsampler_weights, "upsampler.h5")) TRY(measure_png(c, r));
    if (both || r->type == DTYPE_F32) TRY(bench_convs(k, DTYPE_F32, &r->convs[DTYPE_F32]));
    if ((both && k->native_bf16) || r->type == DTYPE_BF16) TRY(bench_convs(k, DTYPE_BF16, &r->convs[DTYPE_BF16]));
    if (part == PART_ALL || part == PART_TRAIN) TRY(measure_train(k, c, part == PART_TRAIN, r));
    return sample ? measure_sample(k, c, r) : STATUS_OK;
}

static double percent(const Report *r, const BenchRun *run)
{
    return 100 * bench_rate(run) / r->convs[r->type].rate;
}

/* --- as a table ------------------------------------------------------------------------------------- */

static void print_convs(const Report *r)
{
    puts("\n3x3 convolutions, GFLOP/s         forward   backward data   backward weights");
    for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        const BenchConvs *all = &r->convs[type];
        for (int i = 0; i < BENCH_CONV_SHAPES && all->rate > 0; i++) {
            const BenchConv *c = &all->items[i];
            char shape[64];
            snprintf(shape, sizeof shape, "%lldx%lldx%lldx%lld", (long long)c->shape.N, (long long)c->shape.H,
                     (long long)c->shape.W, (long long)c->shape.Cin);
            printf("  %-4s  %-24s %8.0f  %14.0f  %17.0f\n", type_name((DType)type), shape, c->forward, c->backward_data,
                   c->backward_weights);
        }
        if (all->rate > 0) printf("  %-4s  %-24s %8.0f\n", type_name((DType)type), "convolution rate", all->rate);
    }
}

static void print_run(const Report *r, const BenchRun *run)
{
    printf("  %.4f s, %.1f GFLOP: %.0f GFLOP/s, %.1f %% of the %s convolution rate; %.0f MB of activations\n", run->seconds,
           run->gflop, bench_rate(run), percent(r, run), type_name(r->type), (double)run->peak_bytes * 1e-6);
}

/* One thread's time over that of all, per thread. */
static double scaling(const Report *r)
{
    return 100 * r->single.seconds / r->train.seconds / r->threads;
}

static void print_train(const BenchCommand *c, const Report *r)
{
    printf("\ntraining step of the base model \"%s\", %s, %lld pictures of %lldx%lld, %d worker%s (%.1f images/s)\n", c->config,
           type_name(r->type), (long long)c->batch, (long long)c->side, (long long)c->side, r->train.workers,
           r->train.workers > 1 ? "s" : "", (double)c->batch / r->train.seconds);
    print_run(r, &r->train);
    if (r->checkpointed.seconds > 0)
        printf("  with --checkpoint-blocks: %.4f s, %.0f MB of activations\n", r->checkpointed.seconds,
               (double)r->checkpointed.peak_bytes * 1e-6);
    if (r->single.seconds > 0)
        printf("  with one thread: %.4f s; %d threads scale to %.1f %%\n", r->single.seconds, r->threads, scaling(r));
}

static void print_table(const BenchCommand *c, const Report *r)
{
    printf("kernels %s, %d threads\n", r->kernels, r->threads);
    print_convs(r);
    if (r->train.seconds > 0) print_train(c, r);
    if (r->base.seconds > 0) {
        printf("\nsampling step of the base model, %s, guidance %d%s\n", precision_name(r), CASCADE_GUIDANCE,
               r->random_base ? ", configuration \"small\" with random weights" : "");
        print_run(r, &r->base);
        printf("\nsampling step of the upsampler, %s%s\n", precision_name(r),
               r->random_upsampler ? ", configuration \"small\" with random weights" : "");
        print_run(r, &r->upsampler);
    }
    if (r->png_seconds > 0)
        printf("\nfrom prompt to PNG, the start of the program included\n  %.2f s, peak memory %.0f MB\n", r->png_seconds,
               (double)r->png_peak_kb * 1.024e-3);
}

/* --- as JSON ---------------------------------------------------------------------------------------- */

static json_t *json_of_convs(const BenchConvs *all)
{
    json_t *shapes = json_array();
    for (int i = 0; i < BENCH_CONV_SHAPES; i++) {
        const BenchConv *c = &all->items[i];
        json_array_append_new(shapes, json_pack("{s:I, s:I, s:I, s:f, s:f, s:f}", "n", (json_int_t)c->shape.N, "side",
                                                (json_int_t)c->shape.H, "channels", (json_int_t)c->shape.Cin, "forward",
                                                c->forward, "backward_data", c->backward_data, "backward_weights",
                                                c->backward_weights));
    }
    return json_pack("{s:f, s:o}", "rate", all->rate, "shapes", shapes);
}

static void add_run(json_t *root, const char *name, const Report *r, const BenchRun *run)
{
    if (run->seconds <= 0) return;
    json_object_set_new(root, name, json_pack("{s:f, s:f, s:f, s:f, s:I}", "seconds", run->seconds, "gflop", run->gflop,
                                              "gflop_per_second", bench_rate(run), "percent_of_convolution_rate",
                                              percent(r, run), "activation_bytes", (json_int_t)run->peak_bytes));
}

static Status print_json(const BenchCommand *c, const Report *r)
{
    json_t *root = json_pack("{s:s, s:i, s:s, s:s, s:I, s:I}", "kernels", r->kernels, "threads", r->threads, "precision",
                             precision_name(r), "config", c->config, "batch", (json_int_t)c->batch, "side",
                             (json_int_t)c->side);
    if (!root) return status_fail(STATUS_NO_MEMORY, "out of memory for JSON");
    for (int type = DTYPE_F32; type <= DTYPE_BF16; type++)
        if (r->convs[type].rate > 0)
            json_object_set_new(root, type == DTYPE_F32 ? "conv_f32" : "conv_bf16", json_of_convs(&r->convs[type]));
    add_run(root, "train", r, &r->train);
    add_run(root, "train_checkpointed", r, &r->checkpointed);
    add_run(root, "train_one_thread", r, &r->single);
    if (r->train.seconds > 0) json_object_set_new(root, "train_workers", json_integer(r->train.workers));
    if (r->single.seconds > 0) json_object_set_new(root, "train_scaling_percent", json_real(scaling(r)));
    add_run(root, "sample_base", r, &r->base);
    add_run(root, "sample_upsampler", r, &r->upsampler);
    if (r->base.seconds > 0) json_object_set_new(root, "random_weights", json_boolean(r->random_base || r->random_upsampler));
    if (r->png_seconds > 0)
        json_object_set_new(root, "prompt_to_png", json_pack("{s:f, s:I}", "seconds", r->png_seconds, "peak_bytes",
                                                             (json_int_t)r->png_peak_kb * 1024));
    int failed = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    json_decref(root);
    putchar('\n');
    return failed ? status_fail(STATUS_IO, "standard output cannot be written") : STATUS_OK;
}

/* ---------------------------------------------------------------------------------------------------- */

static Status run(CliArgs *args)
{
    const BenchCommand *c = args->options;
    int part;
    Kernels *k;
    Report r = {0};
    TRY(cli_operand_choice(args, 0, parts, &part));
    if (c->threads > 0) omp_set_num_threads((int)c->threads);
    TRY(kernels_new(KERNELS_BEST, &k));
    GlidePrecision precision = cli_precision(args, c->precision);
    bool bf16 = precision == GLIDE_PRECISION_BF16 || (precision == GLIDE_PRECISION_AUTO && k->native_bf16);
    r.kernels = k->name;
    r.threads = omp_get_max_threads();
    r.int8 = precision == GLIDE_PRECISION_INT8;
    r.type = bf16 || r.int8 ? DTYPE_BF16 : DTYPE_F32;
    Status s = measure(k, c, part, &r);
    if (s == STATUS_OK && c->json) s = print_json(c, &r);
    else if (s == STATUS_OK) print_table(c, &r);
    kernels_free(k);
    return s;
}

const CliCommand cli_command_bench = {
    .name = "bench",
    .summary = "measure how fast this machine convolves, trains and samples",
    .operands = "all|conv|train|sample",
    .min_operands = 1,
    .max_operands = 1,
    .description =
        "conv: the rate of large 3x3 convolutions in f32 and bf16, forward and backward; the best forward one is the "
        "convolution rate. train: a training step of the base model on random pictures, with the workers that glide train "
        "would take, and its share of that rate; by itself also the memory and time with --checkpoint-blocks, and how well "
        "threads scale. sample: a sampling step of the base model and of the upsampler, likewise, and the time and the peak "
        "memory of \"glide sample\" with the default steps. all: everything.\n"
        "\n"
        "Times are the best of several. Close other programs first.",
    .examples = "glide bench all\n"
                "glide bench train --batch 16 --json",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(BenchCommand),
    .run = run,
};
