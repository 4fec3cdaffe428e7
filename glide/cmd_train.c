/* glide train base|upsampler|classifier|clip|judge */
#include "common/interrupt.h"
#include "glide/cli_commands.h"
#include "glide/trainer.h"

#include <omp.h>
#include <string.h>

typedef struct TrainCommand {
    const char *data, *config, *out, *init, *subgroups;
    bool inpaint, resume, quiet, no_samples, checkpoint_blocks, flip, noise_conditioning;
    int64_t side, batch, micro_batch, workers, steps, warmup, seed, vocab, threads;
    double lr, text_lr, ema, weight_decay, beta2, decay, minutes, checkpoint_minutes, drop, min_snr, snr_floor, noisy_steps;
    double vb_weight, korean, toned, photos, unseen;
    int precision, degrade;
} TrainCommand;

static const char *const precisions[] = {"bf16", "f32", NULL};
static const char *const degradations[] = {"plain", "real", NULL}; /* by DegradeKind */
static const char *const targets[] = {"base", "upsampler", "classifier", "clip", "judge", NULL}; /* in the order of TrainTarget */

static const CliOption options[] = {
    CLI_FILE(TrainCommand, data, 'd', "data", "FILE", NULL, "data set made by glide dataset"),
    CLI_TEXT(TrainCommand, config, 'c', "config", "NAME", "small", "size of a new model: tiny, small; base also medium, glide"),
    CLI_OUTPUT(TrainCommand, out, 'o', "out", "FILE.h5", NULL, "where the weights go; checkpoint, curve and samples beside it"),
    CLI_FILE(TrainCommand, subgroups, 0, "subgroups", "FILE", NULL, "classifier: which subgroup each concept is in (default: the "
             "project's data/subgroups.tsv)"),
    CLI_FLAG(TrainCommand, resume, 'r', "resume", "go on from the checkpoint beside --out"),
    CLI_FILE(TrainCommand, init, 0, "init", "FILE", NULL, "start from these weights instead of random ones"),
    CLI_FLAG(TrainCommand, inpaint, 0, "inpaint", "train on pictures with erased regions; --init may be a model that draws from text "
             "alone"),
    CLI_DOUBLE(TrainCommand, unseen, 0, "unseen", "X", 0, 1, "0.1", "share of pictures of which --inpaint shows nothing: 0.5 for a "
               "model that is also to draw from text alone"),
    CLI_CHOICE(TrainCommand, degrade, 0, "degrade", degradations, "plain", "upsampler: its input is a little blurred and noisy, or what "
               "happens to pictures in the world (blur, other reductions, noise, JPEG)"),
    CLI_FLAG(TrainCommand, noise_conditioning, 0, "noise-conditioning", "upsampler: noise is added to its input and its level told; "
             "--init may be a model that is not told"),
    CLI_INT(TrainCommand, steps, 0, "steps", "N", 1, 100000000, "20000", "optimiser steps to reach"),
    CLI_DOUBLE(TrainCommand, minutes, 0, "minutes", "M", 0, 1e6, "0", "stop after this time (0: when the steps are done)"),
    CLI_INT(TrainCommand, batch, 'b', "batch", "N", 1, 65536, "32", "pictures per step"),
    CLI_INT(TrainCommand, micro_batch, 0, "micro-batch", "N", 0, 65536, "0", "a worker's pictures at once, gradients adding up (0: all)"),
    CLI_INT(TrainCommand, workers, 0, "workers", "N", 0, 1024, "0", "parts of a step at the same time, each with a copy of the "
            "gradients (0: as many as pay off)"),
    CLI_INT(TrainCommand, side, 0, "side", "PX", 8, 256, "64", "base: 64, or 16 and 32 to begin with; upsampler: size of the crops"),
    CLI_DOUBLE(TrainCommand, lr, 0, "lr", "X", 0, 1, "0.0005", "learning rate"),
    CLI_DOUBLE(TrainCommand, text_lr, 0, "text-lr", "X", 0, 1000, "0.3", "learning rate of the text transformer's blocks, as a "
               "multiple of --lr"),
    CLI_INT(TrainCommand, warmup, 0, "warmup", "N", 0, 1000000, "200", "steps in which the learning rate rises"),
    CLI_DOUBLE(TrainCommand, decay, 0, "decay", "X", 0, 1, "0.3", "share of the steps, at the end, in which it falls"),
    CLI_DOUBLE(TrainCommand, beta2, 0, "beta2", "X", 0, 1, "0.99", "AdamW's memory of squared gradients"),
    CLI_DOUBLE(TrainCommand, weight_decay, 0, "weight-decay", "X", 0, 1, "0.01", "AdamW's weight decay"),
    CLI_DOUBLE(TrainCommand, ema, 0, "ema", "X", 0, 1, "0.999", "decay of the averaged weights"),
    CLI_DOUBLE(TrainCommand, drop, 0, "drop", "X", 0, 1, "0.15", "share of empty captions (upsampler: 0.5 is good)"),
    CLI_DOUBLE(TrainCommand, korean, 0, "korean", "X", 0, 1, "0.25", "share of Korean captions"),
    CLI_DOUBLE(TrainCommand, toned, 0, "toned", "X", 0, 1, "1", "weight of pictures with skin tones within a concept"),
    CLI_DOUBLE(TrainCommand, photos, 0, "photos", "X", 0, 1, "0", "share of rows cut from photos, mirrored at random (0: none; "
               "upsampler: 0.5 is good)"),
    CLI_FLAG(TrainCommand, flip, 0, "flip", "mirror half of the pictures"),
    CLI_DOUBLE(TrainCommand, min_snr, 0, "min-snr", "X", 0, 1000, "5", "min-SNR weighting of the loss (0: off)"),
    CLI_DOUBLE(TrainCommand, snr_floor, 0, "snr-floor", "X", 0, 1000, "0.1", "more weight to steps of less SNR (0: off)"),
    CLI_DOUBLE(TrainCommand, noisy_steps, 0, "noisy-steps", "X", 0, 10, "0", "draw steps of much noise more often: density as t "
               "to this power"),
    CLI_DOUBLE(TrainCommand, vb_weight, 0, "vb-weight", "X", 0, 1000, "0.1", "weight of the variational bound"),
    CLI_INT(TrainCommand, vocab, 0, "vocab", "N", 258, 60000, "2048", "tokens of a new model's tokenizer"),
    CLI_INT(TrainCommand, seed, 's', "seed", "N", 0, INT64_MAX, "0", "of everything random"),
    CLI_CHOICE(TrainCommand, precision, 0, "precision", precisions, "bf16", "of the activations"),
    CLI_FLAG(TrainCommand, checkpoint_blocks, 0, "checkpoint-blocks", "keep less in memory, compute a third more"),
    CLI_DOUBLE(TrainCommand, checkpoint_minutes, 0, "checkpoint-minutes", "M", 0.01, 10000, "5", "between checkpoints"),
    CLI_FLAG(TrainCommand, no_samples, 0, "no-samples", "write no sample grids"),
    CLI_INT(TrainCommand, threads, 't', "threads", "N", 0, 1024, "0", "threads to use (0: all cores)"),
    CLI_FLAG(TrainCommand, quiet, 'q', "quiet", "show no progress"),
};

enum {
    OF_UPSAMPLER = 1 << TRAIN_UPSAMPLER,
    OF_UNETS = 1 << TRAIN_BASE | OF_UPSAMPLER,
    OF_CLASSIFIER = 1 << TRAIN_CLASSIFIER,
    OF_READERS = OF_UNETS | 1 << TRAIN_CLIP | 1 << TRAIN_JUDGE
};

/* Options that not all targets have. */
static const struct {
    const char *name;
    unsigned targets;
} partial[] = {{"inpaint", OF_UNETS},  {"micro-batch", OF_UNETS}, {"side", OF_UNETS},           {"text-lr", OF_UNETS},
               {"drop", OF_UNETS},     {"photos", OF_UNETS},      {"flip", OF_UNETS},           {"min-snr", OF_UNETS},
               {"snr-floor", OF_UNETS}, {"noisy-steps", OF_UNETS}, {"vb-weight", OF_UNETS},      {"no-samples", OF_UNETS},
               {"unseen", OF_UNETS},   {"korean", OF_READERS},    {"vocab", OF_READERS},        {"checkpoint-blocks", OF_UNETS},
               {"degrade", OF_UPSAMPLER}, {"noise-conditioning", OF_UPSAMPLER}, {"subgroups", OF_CLASSIFIER}};

static Status check_options(CliArgs *args, TrainTarget target)
{
    for (int i = 0; i < CLI_COUNT(partial); i++)
        if (!(partial[i].targets & 1u << target) && cli_given(args, partial[i].name))
            return cli_usage_fail(args, "--%s: not an option of \"train %s\"", partial[i].name, targets[target]);
    return STATUS_OK;
}

/* Where an option was not given, its default of this target. */
static void keep_defaults(const CliArgs *args, const TrainerOptions *defaults, TrainerOptions *o)
{
    if (!cli_given(args, "steps")) o->optimizer.total_steps = defaults->optimizer.total_steps;
    if (!cli_given(args, "lr")) o->optimizer.lr = defaults->optimizer.lr;
    if (!cli_given(args, "warmup")) o->optimizer.warmup_steps = defaults->optimizer.warmup_steps;
    if (!cli_given(args, "weight-decay")) o->optimizer.weight_decay = defaults->optimizer.weight_decay;
    if (!cli_given(args, "ema")) o->optimizer.ema_decay = defaults->optimizer.ema_decay;
    if (!cli_given(args, "batch")) o->batch = defaults->batch;
    if (!cli_given(args, "vocab")) o->n_vocab = defaults->n_vocab;
    if (!cli_given(args, "seed")) o->seed = defaults->seed;
    o->samples = defaults->samples;
}

static void fill(TrainerOptions *o, const TrainCommand *c)
{
    o->data = c->data;
    o->config = c->config;
    o->out = c->out;
    o->init = c->init;
    o->subgroups = c->subgroups;
    o->inpaint = c->inpaint;
    o->unseen = c->unseen;
    o->degrade = (DegradeKind)c->degrade;
    o->noise_conditioning = c->noise_conditioning;
    o->resume = c->resume;
    o->side = (int)c->side;
    o->batch = (int)c->batch;
    o->micro_batch = (int)c->micro_batch;
    o->workers = (int)c->workers;
    o->n_vocab = (int)c->vocab;
    o->checkpoint_minutes = c->checkpoint_minutes;
    o->minutes = c->minutes;
    o->bf16 = strcmp(precisions[c->precision], "bf16") == 0;
    o->checkpoint_blocks = c->checkpoint_blocks;
    o->samples = !c->no_samples;
    o->seed = (uint64_t)c->seed;
    o->optimizer.lr = c->lr;
    o->text_lr = c->text_lr;
    o->optimizer.beta2 = c->beta2;
    o->optimizer.weight_decay = c->weight_decay;
    o->optimizer.ema_decay = c->ema;
    o->optimizer.warmup_steps = c->warmup;
    o->optimizer.total_steps = c->steps;
    o->optimizer.decay_fraction = c->decay;
    o->loss.min_snr_gamma = c->min_snr;
    o->loss.snr_floor = c->snr_floor;
    o->loss.vb_weight = c->vb_weight;
    o->noisy_steps = c->noisy_steps;
    o->batches.caption_drop = (float)c->drop;
    o->batches.captions.korean = (float)c->korean;
    o->batches.filter.toned_weight = (float)c->toned;
    o->batches.flip = c->flip;
    o->batches.photos = (float)c->photos;
    o->progress = c->quiet ? PROGRESS_QUIET : PROGRESS_AUTO;
    o->stop = interrupt_requested;
}

static Status run(CliArgs *args)
{
    const TrainCommand *c = args->options;
    int target;
    TrainerOptions o, defaults;
    TRY(cli_operand_choice(args, 0, targets, &target));
    TRY(check_options(args, (TrainTarget)target));
    if (!c->data) return cli_usage_fail(args, "--data: expected a data set (glide dataset -o FILE makes one)");
    if (!c->out) return cli_usage_fail(args, "--out: expected a file for the weights, such as base.h5");
    if (c->resume && c->init) return cli_usage_fail(args, "--resume and --init exclude one another");
    if (c->threads > 0) omp_set_num_threads((int)c->threads);
    trainer_options_defaults(&o, (TrainTarget)target);
    defaults = o;
    fill(&o, c);
    if (target > TRAIN_UPSAMPLER) keep_defaults(args, &defaults, &o);
    interrupt_install("\nsaving a checkpoint after this step; Ctrl-C again stops at once\n");
    return trainer_run(&o);
}

const CliCommand cli_command_train = {
    .name = "train",
    .summary = "train a model that draws, guides or judges on a data set",
    .operands = "base|upsampler|classifier|clip|judge",
    .takes_texts = true,
    .min_operands = 1,
    .max_operands = 1,
    .description = "Writes OUT.h5 (ready to use), OUT.resume.h5 (to go on from), OUT.loss.csv, OUT.loss.svg and, of base and upsampler, "
                   "OUT.samples.png every few minutes.\n"
                   "A classifier tells subjects (Unicode's subgroups) and styles of noised pictures, a CLIP how well noised pictures and "
                   "captions fit: they guide sampling. The judge does that for clean pictures, for ablations, and is trained on another "
                   "half of the pictures than the two. Defaults of these three: batch 64 (classifier) or 128, --lr 0.001, --ema 0.995, "
                   "--weight-decay 0.05, 1500 to 2000 steps; glide evaluate measures them.",
    .examples = "glide train base --data emoji.h5 --out base.h5 --side 32 --steps 10000\n"
                "glide train base --data emoji.h5 --out base.h5 --resume --steps 14000\n"
                "glide train classifier --data emoji.h5 --out classifier.h5",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(TrainCommand),
    .run = run,
};
