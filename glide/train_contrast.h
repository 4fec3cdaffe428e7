/* Private to train_clip.c and train_judge.c: two networks, one for pictures and one for texts, in contrastive training. */
#ifndef GLIDE_TRAIN_CONTRAST_H
#define GLIDE_TRAIN_CONTRAST_H

#include "common/contrastive.h"
#include "common/ops.h"
#include "data/guide_rows.h"
#include "glide/guide_measures.h"
#include "glide/trainer_state.h"

enum { CONTRAST_SIDE = DATASET_SMALL_SIDE, CONTRAST_SIZE = CONTRAST_SIDE * CONTRAST_SIDE * 3, CONTRAST_HELD_OUT = 256 };

/* The model, which the kind's open() fills in. */
typedef struct ContrastNet {
    void *model;
    int width;     /* of the embeddings */
    double scale;  /* of similarities in the loss */
    DatasetHalf half;
    Status (*share)(const void *model, void **copy, ParamSet **params); /* a copy for a worker, values shared */
    void (*release)(void *model);
    /* x (rows,64,64,3), which may be changed -> (rows,width) of unit length; texts (rows) likewise */
    Tensor *(*see)(TrainWorker *w, const void *model, float *x);
    Tensor *(*read)(TrainWorker *w, const void *model, const char *const *texts);
    /* On n held-out pictures; as TrainKind's. */
    Status (*measure)(Trainer *tr, const int *pictures, int n, double measured[TRAIN_MEASURES], char *text, size_t size);
} ContrastNet;

typedef struct ContrastTraining {
    ContrastNet net;
    GuideRows *rows;
    float *z, *d_z;         /* (batch,2,width) */
    ContrastivePair *pairs; /* (batch) */
    void *own;              /* what else the kind needs */
} ContrastTraining;

/* Captions of the pictures that are trained on, for a tokenizer: *out (count) is one block, the caller's to free(). */
Status contrast_captions(const Trainer *tr, DatasetHalf half, const char ***out, size_t *count);

/* tr->state = *net and all that does not depend on the kind; `own` is the kind's. The net's model is released by contrast_close(),
 * even when this fails. */
Status contrast_open(Trainer *tr, const ContrastNet *net, void *own);
void contrast_close(Trainer *tr);

/* For TrainKind. */
Status contrast_worker_open(TrainWorker *w);
void contrast_worker_close(TrainWorker *w);
Status contrast_step(TrainWorker *w);
Status contrast_meet(Trainer *tr, double loss[TRAIN_LOSSES]);
Status contrast_finish(TrainWorker *w);
Status contrast_measure(Trainer *tr, double measured[TRAIN_MEASURES], char *text, size_t size);
#define CONTRAST_KIND                                                                                       \
    .loss_names = {"loss", "hits"},                                                                         \
    .curve_names = {"contrastive loss", "own text first, in the batch", "own text first, held out"},        \
    .worker_open = contrast_worker_open, .worker_close = contrast_worker_close, .step = contrast_step,      \
    .meet = contrast_meet, .finish = contrast_finish, .measure = contrast_measure

#endif
