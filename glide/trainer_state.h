/* Private to trainer*.c and train_report.c: a training under way, its files, and its history. */
#ifndef GLIDE_TRAINER_STATE_H
#define GLIDE_TRAINER_STATE_H

#include "glide/trainer.h"
#include "text_transformer/text_unet_train.h"

typedef struct TrainRecord {
    double step, mse, vb, lr, grad_norm, seconds; /* seconds of training since the very start */
    /* Mean squared errors on held-out pictures with the averaged weights; 0: not measured at this step. */
    double held_out;                      /* of eps */
    double held_out_x_0, held_out_silent; /* of x_0, with captions and with empty ones: the difference is what the text tells */
} TrainRecord;

typedef struct TrainRecords {
    TrainRecord *items; /* one a step */
    int64_t count, capacity;
} TrainRecords;

typedef struct Trainer {
    const TrainerOptions *options;
    Kernels *kernels;
    Tape *tape;
    TextUNet *model;
    Diffusion diffusion;
    Dataset *dataset;
    Batches *batches;
    Batches *held_out, *held_out_silent; /* NULL: the data set has no such pictures; silent: with empty captions */
    Optimizer optimizer;
    TrainWorkspace *workspace;
    TrainRecords records;
    double seconds;
} Trainer;

/* Data set, tokenizer, model (random, from a file, or from the checkpoint), optimiser. */
Status trainer_open(Trainer *tr, const TrainerOptions *options);
void trainer_close(Trainer *tr);

/* OUT.h5 and OUT.resume.h5, each whole or as it was. */
Status trainer_save(Trainer *tr);

/* "OUT" + ending for OUT.h5; at most `size` bytes. Returns `path`. */
const char *trainer_path(const Trainer *tr, const char *ending, char *path, size_t size);

Status train_record(Trainer *tr, const TrainLoss *loss, double grad_norm);

/* Rows of a step for the model at hand, from `source`. */
typedef struct TrainRows {
    float *x, *low, *scratch, *known;
    int32_t *tokens;
    uint8_t *mask;
} TrainRows;

Status train_rows_init(TrainRows *r, int64_t n, int64_t side, int ctx);
void train_rows_release(TrainRows *r);
Status train_rows_load(Trainer *tr, Batches *source, TrainRows *r, uint32_t step, uint32_t first, int64_t n, int64_t total,
                       TrainBatch *b);

#endif
