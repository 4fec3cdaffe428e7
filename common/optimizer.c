#include "common/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 15 }; /* values that stay in the cache with their gradient, moments and average */

void optimizer_options_defaults(OptimizerOptions *o)
{
    *o = (OptimizerOptions){.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.01, .clip_norm = 1,
                            .ema_decay = 0.999, .ema_warmup = true, .warmup_steps = 500, .decay_fraction = 0.3,
                            .decay_floor = 0.02};
}

Status optimizer_init(Optimizer *o, ParamSet *params, const OptimizerOptions *options)
{
    size_t n = params->total, at = 0;
    *o = (Optimizer){.options = *options, .params = params};
    o->m = calloc(n, sizeof(float));
    o->v = calloc(n, sizeof(float));
    o->ema = malloc(n * sizeof(float));
    o->squares = calloc((size_t)params->count + 1, sizeof *o->squares);
    if (!o->m || !o->v || !o->ema || !o->squares) {
        optimizer_release(o);
        return status_fail(STATUS_NO_MEMORY, "out of memory for the optimiser: 3 x %zu numbers", n);
    }
    for (int i = 0; i < params->count; i++) {
        memcpy(o->ema + at, params->items[i]->value, params->items[i]->size * sizeof(float));
        at += params->items[i]->size;
    }
    return STATUS_OK;
}

void optimizer_release(Optimizer *o)
{
    free(o->m);
    free(o->v);
    free(o->ema);
    free(o->squares);
    *o = (Optimizer){0};
}

double optimizer_lr(const OptimizerOptions *o, int64_t step)
{
    double lr = o->lr;
    if (step < o->warmup_steps) lr *= (double)(step + 1) / (double)o->warmup_steps;
    if (o->total_steps <= 0 || o->decay_fraction <= 0) return lr;
    double left = (double)(o->total_steps - step) / (o->decay_fraction * (double)o->total_steps);
    return left >= 1 ? lr : lr * fmax(o->decay_floor, left);
}

/* Threads take whole parameters, whose sums do not depend on threads; these are added in the parameters' order. */
static double gradient_norm(const Optimizer *o, Kernels *k)
{
    const ParamSet *params = o->params;
    double sum = 0;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < params->count; i++)
        o->squares[i] = k->sum_squares((int64_t)params->items[i]->size, params->items[i]->grad);
    for (int i = 0; i < params->count; i++) sum += o->squares[i];
    return sqrt(sum);
}

/* AdamW, average and zeroed gradient of n values from `from` on, while they are in the cache; `at`: the parameter's place in
 * moments and average. */
static void update(const Optimizer *o, Kernels *k, const AdamWStep *step, double decay, const Param *p, size_t at, size_t from,
                   size_t n)
{
    AdamWStep own = *step;
    own.lr *= p->lr_scale;
    at += from;
    if (p->trainable) k->adamw((int64_t)n, p->value + from, p->grad + from, o->m + at, o->v + at, &own);
    k->ema((int64_t)n, decay, p->value + from, o->ema + at);
    memset(p->grad + from, 0, n * sizeof *p->grad);
}

/* One parallel region for all parameters: a hundred of them would each wake the threads. */
static void update_all(const Optimizer *o, Kernels *k, const AdamWStep *step, double decay)
{
#pragma omp parallel
    {
        size_t at = 0;
        for (int i = 0; i < o->params->count; i++) {
            const Param *p = o->params->items[i];
#pragma omp for schedule(static) nowait
            for (size_t from = 0; from < p->size; from += CHUNK)
                update(o, k, step, decay, p, at, from, p->size - from < CHUNK ? p->size - from : CHUNK);
            at += p->size;
        }
    }
}

Status optimizer_step(Optimizer *o, Kernels *k, double *grad_norm)
{
    const OptimizerOptions *c = &o->options;
    double norm = gradient_norm(o, k);
    if (grad_norm) *grad_norm = norm;
    if (!isfinite(norm)) {
        params_zero_grads(o->params);
        return status_fail(STATUS_BAD_INPUT, "the gradient of step %lld is not finite", (long long)o->step + 1);
    }
    double t = (double)++o->step;
    AdamWStep step = {.lr = optimizer_lr(c, o->step - 1), .beta1 = c->beta1, .beta2 = c->beta2, .eps = c->eps,
                      .weight_decay = c->weight_decay, .bias1 = 1 - pow(c->beta1, t),
                      .bias2 = 1 - pow(c->beta2, t),
                      .grad_scale = c->clip_norm > 0 && norm > c->clip_norm ? (float)(c->clip_norm / norm) : 1.0f};
    double decay = c->ema_decay;
    if (c->ema_warmup) decay = fmin(decay, (1 + t) / (10 + t));
    update_all(o, k, &step, decay);
    params_touch(o->params);
    return STATUS_OK;
}

void optimizer_swap_ema(Optimizer *o)
{
    size_t at = 0;
    for (int i = 0; i < o->params->count; i++) {
        Param *p = o->params->items[i];
        for (size_t j = 0; j < p->size; j++) {
            float value = p->value[j];
            p->value[j] = o->ema[at + j];
            o->ema[at + j] = value;
        }
        at += p->size;
    }
    params_touch(o->params);
}
