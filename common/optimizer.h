/* AdamW (arXiv 1711.05101) and an exponential moving average over a ParamSet, with gradient clipping and a learning-rate
 * schedule. Everything is f32; the moments and the average are what a checkpoint has to keep besides the parameters. */
#ifndef GLIDE_COMMON_OPTIMIZER_H
#define GLIDE_COMMON_OPTIMIZER_H

#include "common/kernels.h"
#include "common/params.h"

typedef struct OptimizerOptions {
    double lr, beta1, beta2, eps, weight_decay;
    double clip_norm;       /* gradients are scaled down to this norm; 0: off */
    double ema_decay;       /* 0: no average is used (ema follows the parameters) */
    bool ema_warmup;        /* decay min(ema_decay, (1 + step) / (10 + step)), so that early steps are forgotten sooner */
    int64_t warmup_steps;   /* learning rate rises linearly from 0 */
    int64_t total_steps;    /* 0: no end, no decay */
    double decay_fraction;  /* share of total_steps, at their end, in which the rate falls linearly to decay_floor * lr */
    double decay_floor;
} OptimizerOptions;

void optimizer_options_defaults(OptimizerOptions *o);

typedef struct Optimizer {
    OptimizerOptions options;
    ParamSet *params;        /* borrowed; grads must be allocated */
    int64_t step;            /* steps done */
    float *m, *v, *ema;      /* params->total each, parameters one after the other in their order */
    struct OptimizerPiece *pieces; /* of the parameters: what a thread takes at a time */
    int piece_count;
} Optimizer;

Status optimizer_init(Optimizer *o, ParamSet *params, const OptimizerOptions *options); /* ema = the current values */
void optimizer_release(Optimizer *o);

/* Learning rate of the step after `step` steps were done. */
double optimizer_lr(const OptimizerOptions *o, int64_t step);

/* One step from the accumulated gradients, which are zeroed after it. *grad_norm is the norm before clipping. A gradient
 * that is not finite is reported (STATUS_BAD_INPUT) and changes nothing but being zeroed. */
Status optimizer_step(Optimizer *o, Kernels *k, double *grad_norm);

/* Exchange parameters and average: once to sample or save with the average, once more to go on training. */
void optimizer_swap_ema(Optimizer *o);

#endif
