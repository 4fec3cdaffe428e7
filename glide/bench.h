/* How fast this machine computes: convolutions alone, which are the measure, then training steps and sampling steps against it.
 * Rates are GFLOP/s (a multiplication and an addition are two). The convolution rate is the best of several, since other
 * processes only ever slow down; steps are medians. */
#ifndef GLIDE_BENCH_H
#define GLIDE_BENCH_H

#include "glide/bench_profile.h"
#include "glide/cascade.h"

/* --- convolutions --- */
typedef struct BenchConv {
    ConvShape shape; /* 3x3, stride 1 */
    double forward, backward_data, backward_weights; /* GFLOP/s */
} BenchConv;

enum { BENCH_CONV_SHAPES = 3 };

typedef struct BenchConvs {
    BenchConv items[BENCH_CONV_SHAPES];
    double rate; /* the best forward one: "the convolution rate" that others are compared with */
} BenchConvs;

Status bench_convs(Kernels *k, DType type, BenchConvs *out);
Status bench_conv_rate(Kernels *k, DType type, double *rate); /* that alone */

/* --- whole models --- */
typedef struct BenchRun {
    double seconds;    /* of a training step, or of a sampling step: the median */
    int runs;          /* of so many */
    double gflop;      /* in it */
    size_t peak_bytes; /* of activations, all workers' */
    int workers;       /* training */
} BenchRun;

static inline double bench_rate(const BenchRun *r)
{
    return r->seconds > 0 ? r->gflop / r->seconds : 0;
}

/* Training steps (forward, backward, optimiser) on random pictures and captions, divided among workers as glide train does it
 * (bench_train.c); m's parameters change. The first step, which makes primitives, is left out. */
typedef struct BenchTraining {
    DType type;
    int side, batch;
    int runs;               /* steps that are timed; 0: 4 */
    int workers;            /* 0: as many as glide train would take */
    bool checkpoint_blocks; /* keep only blocks' inputs */
} BenchTraining;

/* profile may be NULL; its parts are the workers'. */
Status bench_train(Kernels *k, TextUNet *m, const BenchTraining *training, BenchRun *out, BenchProfile *profile);

/* Steps of sampling by DDIM as they follow one another: from the end of one to the end of the next. What comes before the first
 * one's end (text, packing of weights, primitives) is left out. */
typedef struct BenchStep {
    DType type;
    int batch, side;       /* pictures, and their size; side 0: the model's */
    double guidance_scale; /* above 1: two evaluations a picture. Models without text take 1 */
    int runs;              /* steps that are timed; 0: two seconds of them, from 5 to 40 */
} BenchStep;

/* The model must have a tokenizer, or take no text. profile may be NULL. */
Status bench_step(Kernels *k, const TextUNet *m, const BenchStep *step, BenchRun *out, BenchProfile *profile);

/* GFLOP of a call of the cascade, without computing it (bench_count.c): the models run on kernels that do nothing. upsampler may
 * be NULL. */
Status bench_count_sample(const TextUNet *base, const TextUNet *upsampler, const CascadeOptions *options, int n, double *gflop);

/* A tokenizer of single bytes, for a model that takes text and has none. */
Status bench_give_tokenizer(TextUNet *m);

/* A model with random weights and such a tokenizer. */
Status bench_random_model(const TextUNetConfig *config, TextUNet **out);

/* Standard normal numbers, always the same for `which`; free(*out). */
Status bench_random(size_t n, uint32_t which, float **out);

/* Seconds on a clock that only goes forward. */
double bench_now(void);

/* Sorts the values; 0 of none. */
double bench_median(double *values, int count);

#endif
