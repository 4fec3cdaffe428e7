/* Trains the base model, the upsampler, the models that guide (classifier, CLIP) or the one that judges from a data set, and keeps
 * what it does on disk:
 *
 *   OUT.h5           the averaged weights in half precision: ready to sample with, rewritten at every checkpoint
 *   OUT.resume.h5    the same file with full precision, the optimiser's moments and counters: what --resume goes on from
 *   OUT.loss.csv     step, losses, learning rate, gradient norm, seconds, held-out measures; OUT.loss.svg, the curve
 *   OUT.samples.png  of models that draw: a grid of samples on fixed prompts and seeds
 *
 * Everything random is drawn by (seed, step, row), so a resumed run continues bit for bit (with the same number of threads and
 * workers). */
#ifndef GLIDE_TRAINER_H
#define GLIDE_TRAINER_H

#include "common/diffusion.h"
#include "common/optimizer.h"
#include "common/progress.h"
#include "data/batches.h"

#include <stdbool.h>

typedef enum { TRAIN_BASE, TRAIN_UPSAMPLER, TRAIN_CLASSIFIER, TRAIN_CLIP, TRAIN_JUDGE } TrainTarget;

/* How the upsampler's input is made: the block means, a little blurred and noisy (upsampler/upsampler.h), or what happens to
 * pictures in the world (upsampler/degrade.h). Held-out rows are always plain. */
typedef enum { DEGRADE_PLAIN, DEGRADE_REAL } DegradeKind;

/* What follows "U-Nets:" concerns the base model and the upsampler alone. */
typedef struct TrainerOptions {
    TrainTarget target;
    const char *data, *config, *out; /* out ends in ".h5" */
    const char *subgroups; /* classifier: the file of subgroups; NULL: the project's data/subgroups.tsv */
    const char *init;   /* a weights file of the same kind to start from, in place of random weights; NULL: none */
    bool inpaint;       /* U-Nets: it is shown a part of the picture; a model of `init` that is not gets the channels it lacks */
    double unseen;      /* share of training rows of which an inpainting model is shown nothing; of held-out rows always */
    DegradeKind degrade; /* upsampler */
    bool noise_conditioning; /* upsampler: a model that is told how noisy its input is; one of `init` that is not learns it */
    bool resume;        /* go on from OUT.resume.h5, which must be there */
    int side;           /* pixels: 64 or 32 for the base model, crops for the upsampler. U-Nets */
    int batch;          /* rows of a step */
    int workers;        /* parts of a step at the same time, each on its share of the threads; 0: as many as pay off */
    int micro_batch;    /* U-Nets: rows of a worker at once; 0: all. Gradients are accumulated over the parts of a step */
    int n_vocab;        /* of a new tokenizer */
    double text_lr;     /* U-Nets: learning rate of the text transformer's blocks, times that of the rest */
    double noisy_steps; /* U-Nets: steps with much noise, where the caption decides, more often: as t to this power */
    double checkpoint_minutes;
    double minutes;     /* stop after that time; 0: when the steps are done */
    bool bf16;
    bool checkpoint_blocks; /* U-Nets: keep only blocks' inputs: less memory, a third more work */
    bool samples;       /* write sample grids */
    uint64_t seed;
    OptimizerOptions optimizer; /* total_steps is the number of steps to reach */
    DiffusionLoss loss; /* U-Nets */
    BatchOptions batches;
    ProgressStyle progress;
    bool (*stop)(void);  /* asked between steps; may be NULL */
} TrainerOptions;

void trainer_options_defaults(TrainerOptions *o, TrainTarget target);

/* STATUS_INTERRUPTED after stop() said so; a checkpoint was written then, too, without a grid of samples. */
Status trainer_run(const TrainerOptions *options);

#endif
