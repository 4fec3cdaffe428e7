#include "common/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 15 }; /* values that stay in the cache with their gradient, moments and average */

typedef struct OptimizerPiece {
    int param;
    size_t from, n; /* values of the parameter */
    size_t at;      /* of the first in moments and average */
    double squares; /* the sum of its gradients' */
} OptimizerPiece;

void optimizer_options_defaults(OptimizerOptions *o)
{
    *o = (OptimizerOptions){.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.01, .clip_norm = 1,
                            .ema_decay = 0.999, .ema_warmup = true, .warmup_steps = 500, .decay_fraction = 0.3,
                            .decay_floor = 0.02};
}

static int count_pieces(const ParamSet *params)
{
    int count = 0;
    for (int i = 0; i < params->count; i++) count += (int)((params->items[i]->size + PIECE - 1) / PIECE);
    return count;
}

static void cut_into_pieces(Optimizer *o)
{
    size_t at = 0;
    for (int i = 0; i < o->params->count; i++) {
        size_t size = o->params->items[i]->size;
        for (size_t from = 0; from < size; from += PIECE) {
            size_t n = size - from < PIECE ? size - from : PIECE;
            o->pieces[o->piece_count++] = (OptimizerPiece){.param = i, .from = from, .n = n, .at = at + from};
        }
        at += size;
    }
}

Status optimizer_init(Optimizer *o, ParamSet *params, const OptimizerOptions *options)
{
    size_t n = params->total;
    *o = (Optimizer){.options = *options, .params = params};
    o->m = calloc(n, sizeof(float));
    o->v = calloc(n, sizeof(float));
    o->ema = malloc(n * sizeof(float));
    o->pieces = calloc((size_t)count_pieces(params) + 1, sizeof *o->pieces);
    if (!o->m || !o->v || !o->ema || !o->pieces) {
        optimizer_release(o);
        return status_fail(STATUS_NO_MEMORY, "out of memory for the optimiser: 3 x %zu numbers", n);
    }
    cut_into_pieces(o);
    for (int i = 0; i < o->piece_count; i++) {
        const OptimizerPiece *p = &o->pieces[i];
        memcpy(o->ema + p->at, params->items[p->param]->value + p->from, p->n * sizeof(float));
    }
    return STATUS_OK;
}

void optimizer_release(Optimizer *o)
{
    free(o->m);
    free(o->v);
    free(o->ema);
    free(o->pieces);
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

/* The pieces' sums do not depend on threads; they are added in the pieces' order. */
static double gradient_norm(const Optimizer *o, Kernels *k)
{
    double sum = 0;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < o->piece_count; i++) {
        OptimizerPiece *p = &o->pieces[i];
        p->squares = k->sum_squares((int64_t)p->n, o->params->items[p->param]->grad + p->from);
    }
    for (int i = 0; i < o->piece_count; i++) sum += o->pieces[i].squares;
    return sqrt(sum);
}

/* AdamW, average and zeroed gradient of a piece while it is in the cache. */
static void update(const Optimizer *o, Kernels *k, const AdamWStep *step, double decay, const OptimizerPiece *piece)
{
    const Param *p = o->params->items[piece->param];
    int64_t n = (int64_t)piece->n;
    float *value = p->value + piece->from, *grad = p->grad + piece->from;
    AdamWStep own = *step;
    own.lr *= p->lr_scale;
    if (p->trainable) k->adamw(n, value, grad, o->m + piece->at, o->v + piece->at, &own);
    k->ema(n, decay, value, o->ema + piece->at);
    memset(grad, 0, piece->n * sizeof *grad);
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
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < o->piece_count; i++) update(o, k, &step, decay, &o->pieces[i]);
    params_touch(o->params);
    return STATUS_OK;
}

void optimizer_swap_ema(Optimizer *o)
{
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < o->piece_count; i++) {
        const OptimizerPiece *p = &o->pieces[i];
        float *value = o->params->items[p->param]->value + p->from, *ema = o->ema + p->at;
        for (size_t j = 0; j < p->n; j++) {
            float kept = value[j];
            value[j] = ema[j];
            ema[j] = kept;
        }
    }
    params_touch(o->params);
}
