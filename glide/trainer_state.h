/* Private to trainer*.c and train_*.c: a training under way, its files and its history, and what differs between kinds of models.
 *
 * One loop (trainer.c) trains everything. A kind is a table of functions (TrainKind) with a file of its own: train_unet.c,
 * train_classifier.c, train_clip.c, train_judge.c. Each step is divided among workers (train_team.h), and what a worker does with
 * its rows is the kind's step(). Where rows have to be compared with one another (contrastive losses), step() stops at the
 * rows' embeddings, meet() makes the loss and its derivatives of all of them, and finish() takes those back through the network:
 * the loss and its gradient are those of the whole batch, however it is divided. */
#ifndef GLIDE_TRAINER_STATE_H
#define GLIDE_TRAINER_STATE_H

#include "common/tape.h"
#include "common/weights.h"
#include "data/dataset.h"
#include "glide/trainer.h"

#include <pthread.h>

enum { TRAIN_LOSSES = 2, TRAIN_MEASURES = 3, TRAIN_PATH = 1024 };

typedef struct TrainRecord {
    double step, loss[TRAIN_LOSSES], lr, grad_norm, seconds; /* seconds of training since the very start */
    double held_out[TRAIN_MEASURES]; /* on held-out pictures with the averaged weights; 0: not measured at this step */
} TrainRecord;

typedef struct TrainRecords {
    TrainRecord *items; /* one a step */
    int64_t count, capacity;
} TrainRecords;

typedef struct Trainer Trainer;

typedef struct TrainWorker {
    Trainer *trainer;
    Kernels *kernels;  /* of the first worker: the trainer's, as tape, params and model */
    Tape *tape;
    ParamSet *params;  /* of the worker's copy of the model: values shared, gradients its own */
    int first, rows;   /* of the step's */
    uint32_t step;
    void *state;       /* the kind's */
    double loss[TRAIN_LOSSES]; /* means over the step's rows, this worker's share of them */
    Status status;
    char message[512];
    pthread_t thread;
} TrainWorker;

typedef struct TrainKind {
    const char *name;  /* kind of the weights file, and label of the progress bar */
    const char *title; /* of the curve */
    const char *loss_names[TRAIN_LOSSES], *measure_names[TRAIN_MEASURES]; /* columns of the history */
    const char *curve_names[TRAIN_LOSSES + 1];                            /* of the losses and the first measure */
    void (*defaults)(TrainerOptions *o);
    /* The model with what it is trained on: tr->state and tr->params. file: a checkpoint or weights to start from, whose
     * configuration it has; its values are read later. NULL: a new model. *tr is closed even after a failure. */
    Status (*open)(Trainer *tr, const H5File *file);
    /* The model of `init` gets what it lacks for the options, maybe in another ParamSet. NULL: there is nothing to get. */
    Status (*extend)(Trainer *tr);
    void (*close)(Trainer *tr);
    Status (*write_header)(const Trainer *tr, H5File *file); /* configuration, tokenizer, names */
    /* w->state and, unless it is the first worker (w->first == 0), w->params. */
    Status (*worker_open)(TrainWorker *w);
    void (*worker_close)(TrainWorker *w);
    Status (*step)(TrainWorker *w);
    Status (*meet)(Trainer *tr, double loss[TRAIN_LOSSES]); /* NULL: rows are independent, step() does it all */
    Status (*finish)(TrainWorker *w);
    /* On held-out pictures, with the weights that are in the parameters; `text` for the log, "" when nothing was measured. */
    Status (*measure)(Trainer *tr, double held_out[TRAIN_MEASURES], char *text, size_t size);
    Status (*samples)(Trainer *tr); /* OUT.samples.png; NULL: there are none */
} TrainKind;

extern const TrainKind train_kind_base, train_kind_upsampler, train_kind_classifier, train_kind_clip, train_kind_judge;
const TrainKind *train_kind(TrainTarget target);

struct Trainer {
    const TrainerOptions *options;
    const TrainKind *kind;
    Kernels *kernels;
    Tape *tape;
    ParamSet *params; /* of the model, which is the kind's */
    void *state;      /* the kind's */
    Dataset *dataset;
    Optimizer optimizer;
    TrainRecords records;
    double seconds;
};

/* Data set, model (random, from a file, or from the checkpoint), optimiser. */
Status trainer_open(Trainer *tr, const TrainerOptions *options);
void trainer_close(Trainer *tr);

/* OUT.h5 and OUT.resume.h5, each whole or as it was. */
Status trainer_save(Trainer *tr);

/* "OUT" + ending for OUT.h5; at most `size` bytes. Returns `path`. */
const char *trainer_path(const Trainer *tr, const char *ending, char *path, size_t size);

Status train_record(Trainer *tr, const double loss[TRAIN_LOSSES], double grad_norm);

#endif
