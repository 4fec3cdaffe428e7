/* How fast this machine computes: convolutions alone, which are the measure, then training steps and sampling against it.
 * Rates are GFLOP/s (a multiplication and an addition are two); times are the best of several, since other processes only
 * ever slow down. */
#ifndef GLIDE_BENCH_H
#define GLIDE_BENCH_H

#include "glide/stage.h"

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

/* --- whole models --- */
typedef struct BenchRun {
    double seconds;    /* of a training step, or of a sampling step */
    double gflop;      /* in it */
    size_t peak_bytes; /* of activations, all workers' */
    int workers;       /* training */
} BenchRun;

static inline double bench_rate(const BenchRun *r)
{
    return r->seconds > 0 ? r->gflop / r->seconds : 0;
}

/* Training steps (forward, backward, optimiser) on random pictures and captions, divided among workers as glide train does it
 * (bench_train.c); m's parameters change. */
typedef struct BenchTraining {
    DType type;
    int side, batch;
    int workers;            /* 0: as many as glide train would take */
    bool checkpoint_blocks; /* keep only blocks' inputs */
} BenchTraining;

Status bench_train(Kernels *k, TextUNet *m, const BenchTraining *training, BenchRun *out);

/* Sampling with `guidance_scale` (above 1: two evaluations a step) by DDIM; the model must have a tokenizer. */
Status bench_sample(Kernels *k, const TextUNet *m, DType type, double guidance_scale, BenchRun *out);

/* A model with random weights and a tokenizer of single bytes. */
Status bench_random_model(const TextUNetConfig *config, TextUNet **out);

/* Standard normal numbers, always the same for `which`; free(*out). */
Status bench_random(size_t n, uint32_t which, float **out);

/* Seconds on a clock that only goes forward. */
double bench_now(void);

#endif
