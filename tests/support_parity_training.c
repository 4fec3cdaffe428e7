/* Parity of training: training.h5. Losses, gradients, optimiser steps. */
#include "common/diffusion.h"
#include "common/optimizer.h"
#include "tests/support_parity.h"
#include "text_transformer/text_unet_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const Tolerance loss_tolerance = {.relative = 1e-4}, vb_tolerance = {.relative = 1e-3};
static const Tolerance grad_tolerance = {.absolute = 1e-5, .of_rms = 1e-3};
static const Tolerance norm_tolerance = {.absolute = 1e-5, .relative = 1e-3}; /* the same for a single value */
static const Tolerance adamw_tolerance = {.relative = 1e-5}, step_tolerance = {.absolute = 2e-5};

/* A model under training and where its checks stand. */
typedef struct Training {
    Parity *p;
    const H5File *file;
    const char *file_name;
    TextUNet *m;
    Tape *t;
    TrainWorkspace *workspace;
    Optimizer optimizer;
} Training;

/* --- one batch --- */

typedef struct Batch {
    TrainBatch input;
    int32_t *t;
    float *mse, *vb; /* (N) found */
} Batch;

/* x_start, noise, tokens and mask of `group`; t of `t_group`, which counts steps of `d`. */
static Status load_batch(Training *c, const char *group, const char *t_group, const Diffusion *d, Batch *b)
{
    Parity *p = c->p;
    int64_t dims[4];
    float *x_start, *noise;
    int32_t *tokens;
    uint8_t *mask;
    const char *name = parity_text(p, "%s/x_start", group);
    TRY(parity_shape(c->file, name, 4, dims));
    if (dims[1] != IMAGE_CHANNELS || dims[2] != dims[3]) return parity_wrong(c->file, "expected square RGB pictures", name);
    TRY(parity_channels_last(p, c->file, name, 4, dims, &x_start));
    TRY(parity_channels_last(p, c->file, parity_text(p, "%s/noise", group), 4, dims, &noise));
    TRY(parity_captions(p, c->file, group, "", c->m, dims[0], &tokens, &mask));
    name = parity_text(p, "%s/t", t_group);
    TRY(parity_i32(p, c->file, name, 1, dims, &b->t));
    for (int64_t i = 0; i < dims[0]; i++)
        if (b->t[i] < 0 || b->t[i] >= d->num_timesteps) return parity_wrong(c->file, "a step outside the process", name);
    b->input = (TrainBatch){.N = dims[0], .side = dims[2], .x_start = x_start, .tokens = tokens, .mask = mask,
                            .t = b->t, .noise = noise};
    b->mse = parity_alloc(p, dims[0], sizeof *b->mse);
    b->vb = parity_alloc(p, dims[0], sizeof *b->vb);
    return STATUS_OK;
}

static Status compare_row(Training *c, const char *group, const char *part, const float *found, int64_t n, Tolerance tolerance)
{
    float *expected;
    const char *name = parity_text(c->p, "%s/%s", group, part);
    TRY(parity_f32(c->p, c->file, name, 1, &n, &expected));
    parity_compare(c->p, parity_text(c->p, "%s %s", c->file_name, name), found, expected, n, tolerance);
    return STATUS_OK;
}

/* Forward and backward; then mse, vb and loss of `group`. *ok: gradients are there. */
static Status run_batch(Training *c, const char *group, const Diffusion *d, bool rescale, Batch *b, bool *ok)
{
    int64_t n = b->input.N;
    DiffusionLoss options;
    TrainLoss loss = {.mse = b->mse, .vb = b->vb};
    diffusion_loss_defaults(&options);
    options.rescale_vb = rescale;
    params_zero_grads(&c->m->params);
    *ok = text_unet_train_step(c->t, c->m, d, &options, &b->input, c->workspace, &loss) == STATUS_OK;
    if (!*ok) {
        parity_broken(c->p, parity_text(c->p, "%s %s", c->file_name, group));
        return STATUS_OK;
    }
    float *sum = parity_alloc(c->p, n, sizeof *sum);
    for (int64_t i = 0; i < n; i++) sum[i] = b->mse[i] + b->vb[i];
    TRY(compare_row(c, group, "mse", b->mse, n, loss_tolerance));
    TRY(compare_row(c, group, "vb", b->vb, n, vb_tolerance));
    return compare_row(c, group, "loss", sum, n, loss_tolerance);
}

/* --- gradients --- */

Status parity_grads(Parity *p, const H5File *file, const char *file_name, const char *group, const ParamSet *params)
{
    char **names;
    int count;
    TRY(parity_list(p, file, group, H5LIST_DATASETS, &names, &count));
    for (int i = 0; i < count; i++) {
        float *expected;
        int64_t n;
        const char *name = parity_text(p, "%s/%s", group, names[i]), *item = parity_text(p, "%s %s", file_name, name);
        const Param *param = params_find(params, names[i]);
        TRY(parity_vector(p, file, name, &expected, &n));
        if (!param || n > (int64_t)param->size) return parity_wrong(file, "no such parameter, or larger than it", name);
        parity_compare(p, item, param->grad, expected, n, grad_tolerance);
    }
    return STATUS_OK;
}

Status parity_grad_norms(Parity *p, const H5File *file, const char *file_name, const char *group, const ParamSet *params)
{
    char **names;
    int count, missing = 0;
    float *expected;
    const char *name = parity_text(p, "%s/grad_norms", group), *item = parity_text(p, "%s %s", file_name, name);
    TRY(h5file_load_texts(file, parity_text(p, "%s/names", group), &names, &count));
    parity_keep(p, names);
    const int64_t n = count;
    TRY(parity_f32(p, file, name, 1, &n, &expected));
    float *found = parity_alloc(p, n, sizeof *found);
    for (int i = 0; i < count; i++) {
        const Param *param = params_find(params, names[i]);
        if (param) found[i] = (float)sqrt(p->kernels->sum_squares((int64_t)param->size, param->grad));
        else missing++;
    }
    parity_exact(p, parity_text(p, "%s %s/names", file_name, group), missing + (count != params->count), count, NULL);
    parity_compare(p, item, found, expected, n, norm_tolerance);
    return STATUS_OK;
}

static Status check_grads(Training *c, const char *group)
{
    return parity_grads(c->p, c->file, c->file_name, group, &c->m->params);
}

/* --- optimiser steps --- */

/* Which elements the step vectors hold: of parameter names[j] the first count[j], at offset[j]. */
typedef struct Index {
    char **names;
    int32_t *count, *offset;
    int params;
    int64_t total;
    uint8_t *stable; /* (total) */
    float *start;    /* (total) values before the first step */
} Index;

static Status load_index(Training *c, Index *x)
{
    Parity *p = c->p;
    int32_t *size;
    H5Info info;
    TRY(h5file_load_texts(c->file, "index/names", &x->names, &x->params));
    parity_keep(p, x->names);
    const int64_t n = x->params;
    TRY(parity_i32(p, c->file, "index/count", 1, &n, &x->count));
    TRY(parity_i32(p, c->file, "index/offset", 1, &n, &x->offset));
    TRY(parity_i32(p, c->file, "index/size", 1, &n, &size));
    TRY(h5file_load_u8(c->file, "stable", &x->stable, &info));
    parity_keep(p, x->stable);
    x->total = info.size;
    for (int i = 0; i < x->params; i++) {
        const Param *param = params_find(&c->m->params, x->names[i]);
        if (!param || (int64_t)param->size != size[i] || x->count[i] < 0 || x->count[i] > size[i] || x->offset[i] < 0 ||
            x->offset[i] + (int64_t)x->count[i] > x->total)
            return parity_wrong(c->file, "no such parameter, or of another size", parity_text(p, "index: %s", x->names[i]));
    }
    parity_exact(p, parity_text(p, "%s index/names", c->file_name), x->params != c->m->params.count, x->params, NULL);
    return STATUS_OK;
}

/* The parameters (or, `ema`, their average) laid out as a step vector. */
static float *step_vector(Training *c, const Index *x, bool ema)
{
    float *out = parity_alloc(c->p, x->total, sizeof *out);
    if (ema) optimizer_swap_ema(&c->optimizer);
    for (int i = 0; i < x->params; i++)
        memcpy(out + x->offset[i], params_find(&c->m->params, x->names[i])->value, (size_t)x->count[i] * sizeof *out);
    if (ema) optimizer_swap_ema(&c->optimizer);
    return out;
}

/* Stable elements must agree. The others move by noise, but by no more than lr a step (and the weight decay). */
static Status compare_step(Training *c, const Index *x, int step, const char *part, bool ema)
{
    Parity *p = c->p;
    const OptimizerOptions *o = &c->optimizer.options;
    float *expected, *found = step_vector(c, x, ema);
    int64_t stable = 0, too_far = 0;
    const char *name = parity_text(p, "step%d/%s", step, part), *item = parity_text(p, "%s %s", c->file_name, name);
    TRY(parity_f32(p, c->file, name, 1, &x->total, &expected));
    for (int64_t i = 0; i < x->total; i++) {
        double far = step * o->lr * (1 + o->weight_decay * fabs(x->start[i])) * 1.01 + 1e-6 * fabs(x->start[i]);
        if (!x->stable[i] && !(fabs(found[i] - (double)x->start[i]) <= far)) too_far++;
        if (!x->stable[i]) continue;
        found[stable] = found[i];
        expected[stable++] = expected[i];
    }
    parity_compare(p, item, found, expected, stable, step_tolerance);
    parity_exact(p, parity_text(p, "%s, not stable, moved by lr at most", item), too_far, x->total - stable, NULL);
    return STATUS_OK;
}

static Status optimizer_options(const H5File *file, OptimizerOptions *o)
{
    *o = (OptimizerOptions){0};
    TRY(h5file_attr_f64(file, "/", "lr", &o->lr));
    TRY(h5file_attr_f64(file, "/", "beta1", &o->beta1));
    TRY(h5file_attr_f64(file, "/", "beta2", &o->beta2));
    TRY(h5file_attr_f64(file, "/", "eps", &o->eps));
    TRY(h5file_attr_f64(file, "/", "weight_decay", &o->weight_decay));
    return h5file_attr_f64(file, "/", "ema_rate", &o->ema_decay);
}

static Status check_batch_norm(Training *c, const char *group, double found)
{
    float value = (float)found;
    const char *name = parity_text(c->p, "%s/grad_norm", group);
    if (!h5file_has_dataset(c->file, name)) return STATUS_OK;
    return compare_row(c, group, "grad_norm", &value, 1, norm_tolerance);
}

/* batch/0, batch/1, ...: losses before each step, all gradients of the first, parameters and average after it. */
static Status check_steps(Training *c, const Diffusion *d)
{
    Parity *p = c->p;
    Index x = {0};
    int64_t steps;
    TRY(load_index(c, &x));
    x.start = step_vector(c, &x, false);
    TRY(h5file_attr_i64(c->file, "/", "steps", &steps));
    for (int i = 0; i < steps; i++) {
        const char *group = parity_text(p, "batch/%d", i);
        Batch b;
        bool ok;
        double norm;
        TRY(load_batch(c, group, group, d, &b));
        TRY(run_batch(c, group, d, false, &b, &ok));
        if (!ok) return STATUS_OK;
        if (i == 0) TRY(check_grads(c, "grads"));
        tape_reset(c->t);
        if (optimizer_step(&c->optimizer, p->kernels, &norm) != STATUS_OK) {
            parity_broken(p, parity_text(p, "%s step%d", c->file_name, i + 1));
            return STATUS_OK;
        }
        TRY(check_batch_norm(c, group, norm));
        TRY(compare_step(c, &x, i + 1, "params", false));
        TRY(compare_step(c, &x, i + 1, "ema", true));
    }
    return STATUS_OK;
}

/* --- the other groups --- */

/* RESCALED_MSE with a respaced process, on the pictures of batch 0 and the first parameters. */
static Status check_rescaled(Training *c)
{
    char *respacing;
    Batch b;
    Diffusion d;
    bool ok;
    const TextUNetConfig *m = &c->m->config;
    if (!h5file_has_group(c->file, "rescaled")) return STATUS_OK;
    TRY(h5file_attr_text(c->file, "/", "rescaled_respacing", &respacing));
    parity_keep(c->p, respacing);
    if (diffusion_init(&d, m->noise_schedule, m->diffusion_steps, respacing) != STATUS_OK) {
        parity_broken(c->p, parity_text(c->p, "%s rescaled", c->file_name));
        return STATUS_OK;
    }
    Status s = load_batch(c, "batch/0", "rescaled", &d, &b);
    if (s == STATUS_OK) s = run_batch(c, "rescaled", &d, true, &b, &ok);
    diffusion_release(&d);
    TRY(s);
    return ok ? check_grads(c, "rescaled/grads") : STATUS_OK;
}

static Status check_base(Training *c)
{
    Batch b;
    Diffusion d;
    bool ok;
    const TextUNetConfig *m = &c->m->config;
    if (diffusion_init(&d, m->noise_schedule, m->diffusion_steps, "") != STATUS_OK) {
        parity_broken(c->p, parity_text(c->p, "%s base", c->file_name));
        return STATUS_OK;
    }
    Status s = load_batch(c, "base", "base", &d, &b);
    if (s == STATUS_OK) s = run_batch(c, "base", &d, false, &b, &ok);
    diffusion_release(&d);
    TRY(s);
    if (!ok) return STATUS_OK;
    TRY(parity_grad_norms(c->p, c->file, c->file_name, "base", &c->m->params));
    return check_grads(c, "base/grads");
}

/* The optimiser alone: a vector of parameters and the gradient of every step. */
static Status check_adamw(Parity *p, const H5File *file, const char *file_name, ParamSet *set, Optimizer *o)
{
    int64_t d[2];
    float *start, *grads, *params, *ema, *m, *v;
    OptimizerOptions options;
    TRY(parity_shape(file, "adamw/grads", 2, d));
    TRY(parity_f32(p, file, "adamw/grads", 2, d, &grads));
    TRY(parity_f32(p, file, "adamw/param", 1, d + 1, &start));
    TRY(parity_f32(p, file, "adamw/params", 2, d, &params));
    TRY(parity_f32(p, file, "adamw/ema", 2, d, &ema));
    TRY(parity_f32(p, file, "adamw/exp_avg", 1, d + 1, &m));
    TRY(parity_f32(p, file, "adamw/exp_avg_sq", 1, d + 1, &v));
    TRY(optimizer_options(file, &options));
    Param *param = params_add(set, INIT_ZERO, 0, 1, d + 1, "param");
    if (!param) return status_fail(STATUS_NO_MEMORY, "out of memory");
    memcpy(param->value, start, param->size * sizeof *start);
    TRY(params_alloc_grads(set));
    TRY(optimizer_init(o, set, &options));
    float *found = parity_alloc(p, d[0] * d[1], sizeof *found), *average = parity_alloc(p, d[0] * d[1], sizeof *average);
    for (int64_t i = 0; i < d[0]; i++) {
        memcpy(param->grad, grads + i * d[1], param->size * sizeof *grads);
        if (optimizer_step(o, p->kernels, NULL) != STATUS_OK) {
            parity_broken(p, parity_text(p, "%s adamw", file_name));
            return STATUS_OK;
        }
        memcpy(found + i * d[1], param->value, param->size * sizeof *found);
        memcpy(average + i * d[1], o->ema, param->size * sizeof *average);
    }
    parity_compare(p, parity_text(p, "%s adamw/params", file_name), found, params, d[0] * d[1], adamw_tolerance);
    parity_compare(p, parity_text(p, "%s adamw/ema", file_name), average, ema, d[0] * d[1], adamw_tolerance);
    parity_compare(p, parity_text(p, "%s adamw/exp_avg", file_name), o->m, m, d[1], adamw_tolerance);
    parity_compare(p, parity_text(p, "%s adamw/exp_avg_sq", file_name), o->v, v, d[1], adamw_tolerance);
    return STATUS_OK;
}

/* --- the file --- */

static Status training_init(Training *c)
{
    OptimizerOptions options;
    TRY(optimizer_options(c->file, &options));
    TRY(params_alloc_grads(&c->m->params));
    TRY(optimizer_init(&c->optimizer, &c->m->params, &options));
    TRY(tape_new(c->p->kernels, &c->t));
    c->workspace = train_workspace_new();
    return c->workspace ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory");
}

static void training_release(Training *c)
{
    train_workspace_free(c->workspace);
    tape_free(c->t);
    optimizer_release(&c->optimizer);
    text_unet_free(c->m);
}

static Status check_first_model(Training *c)
{
    Diffusion d;
    const TextUNetConfig *m = &c->m->config;
    TRY(check_rescaled(c)); /* before the steps, which change the parameters */
    if (diffusion_init(&d, m->noise_schedule, m->diffusion_steps, "") != STATUS_OK) {
        parity_broken(c->p, c->file_name);
        return STATUS_OK;
    }
    Status s = check_steps(c, &d);
    diffusion_release(&d);
    return s;
}

static Status with_model(Parity *p, const H5File *file, const char *name, const H5File *about,
                         Status (*check)(Training *c))
{
    Training c = {.p = p, .file = file, .file_name = name};
    Status s = parity_model(p, about, NULL, name, &c.m);
    if (s == STATUS_OK && c.m) s = training_init(&c);
    if (s == STATUS_OK && c.m) s = check(&c);
    training_release(&c);
    return s;
}

static Status check_file(Parity *p, const H5File *file, const char *name)
{
    TRY(with_model(p, file, name, file, check_first_model));
    if (h5file_has_group(file, "base")) {
        H5File *about;
        TRY(parity_open(p, "unet_base.h5", &about)); /* the README's word, no attribute says it */
        Status s = with_model(p, file, name, about, check_base);
        h5file_close(about);
        TRY(s);
    }
    if (h5file_has_group(file, "classifier")) TRY(parity_classifier_training(p, file, name));
    if (!h5file_has_group(file, "adamw")) return STATUS_OK;
    ParamSet set;
    Optimizer o = {0};
    params_init(&set);
    Status s = check_adamw(p, file, name, &set, &o);
    optimizer_release(&o);
    params_release(&set);
    return s;
}

Status parity_training(Parity *p, const char *name)
{
    H5File *file;
    TRY(parity_open(p, name, &file));
    Status s = check_file(p, file, name);
    h5file_close(file);
    return s;
}
