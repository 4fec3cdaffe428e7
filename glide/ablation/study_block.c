#include "glide/ablation/study_block.h"

#include "guidance/telemetry.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- setting up ----------------------------------------------------------------------------------------------- */

static void fork_release(StudyFork *f)
{
    sampler_state_release(&f->state);
    free(f->telemetry);
    f->telemetry = NULL;
}

Status study_block_init(StudyBlock *b, const Study *s, int block)
{
    const StudySpec *spec = &s->spec;
    *b = (StudyBlock){.study = s, .block = block};
    b->n = study_block_rows(spec, block, &b->first);
    size_t n = (size_t)b->n, side = (size_t)spec->side;
    b->rows = calloc(n, sizeof *b->rows);
    b->prompts = calloc(3 * n, sizeof *b->prompts);
    b->labels = calloc(n, sizeof *b->labels);
    b->forks = calloc((size_t)spec->conditions, sizeof *b->forks);
    b->x = calloc(n * side * side * IMAGE_CHANNELS, sizeof *b->x);
    if (!b->rows || !b->prompts || !b->labels || !b->forks || !b->x) {
        study_block_release(b);
        return status_fail(STATUS_NO_MEMORY, "out of memory for %d pictures", (int)n);
    }
    for (int i = 0; i < b->n; i++) {
        int prompt = (b->first + i) / spec->seeds, other = spec->other[prompt];
        b->rows[i] = (SamplerRow){.seed = spec->seed, .image = (uint32_t)(b->first + i)};
        b->prompts[CONDITION_OWN_PROMPT * b->n + i] = spec->prompt[prompt];
        b->prompts[CONDITION_OTHER_PROMPT * b->n + i] = spec->prompt[other < 0 ? prompt : other];
        b->prompts[CONDITION_NO_PROMPT * b->n + i] = "";
        b->labels[i] = spec->label[prompt];
    }
    return STATUS_OK;
}

void study_block_release(StudyBlock *b)
{
    for (int c = 0; b->forks && c < b->study->spec.conditions; c++) fork_release(&b->forks[c]);
    free(b->rows);
    free(b->prompts);
    free(b->labels);
    free(b->forks);
    free(b->x);
    *b = (StudyBlock){0};
}

/* --- what is shared ------------------------------------------------------------------------------------------- */

int study_shares(const Study *s, int condition, int *steps)
{
    const Condition *c = &s->grid.items[condition];
    int best = -1;
    *steps = 0;
    if (!condition_forks(c) || c->shown.equals >= 0) return -1;
    for (int k = 0; k < condition; k++) {
        const Condition *before = &s->grid.items[k];
        if (!condition_forks(before) || before->shown.equals >= 0) continue;
        int shared = condition_shared(&s->walk, &c->guidance, &before->guidance);
        if (shared <= *steps) continue;
        *steps = shared;
        best = k;
    }
    return best;
}

/* --- a condition ---------------------------------------------------------------------------------------------- */

typedef struct Run {
    StudyBlock *block;
    int condition;
    const StudyFork *from; /* NULL: from noise */
    CellShard *out;
    int columns;
    int *index;            /* (columns) of telemetry_value() */
    double *evaluations, *gradients, *seconds; /* (steps) of each step: of a picture, of a picture, of all */
    int64_t rows_run, gradient_rows_run; /* so far */
    double before;         /* when the step in work began */
    int steps;             /* and the upsampler's work in shares of the whole */
    double share_of_base;
    int (*progress)(void *ctx, double share);
    void *ctx;
} Run;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static Status watch_step(void *ctx, const GuidedDenoiser *guided, const SamplerProgress *progress, int done)
{
    Run *r = ctx;
    int step = done - 1, n = r->block->n;
    (void)progress;
    for (int row = 0; row < n; row++) {
        float *to = r->out->telemetry + ((size_t)row * (size_t)r->steps + (size_t)step) * (size_t)r->columns;
        for (int i = 0; i < r->columns; i++) to[i] = (float)telemetry_value(&guided->telemetry[row], r->index[i]);
    }
    r->evaluations[step] = (double)(guided->rows_run - r->rows_run) / n;
    r->gradients[step] = (double)(guided->gradient_rows_run - r->gradient_rows_run) / n;
    r->rows_run = guided->rows_run;
    r->gradient_rows_run = guided->gradient_rows_run;
    double t = now();
    r->seconds[step] = t - r->before;
    r->before = t;
    return STATUS_OK;
}

static int tell_progress(void *ctx, const SamplerProgress *p)
{
    Run *r = ctx;
    return r->progress ? r->progress(r->ctx, r->share_of_base * p->done / p->total) : 0;
}

/* Sums of the first `steps`. */
static void sum_steps(const Run *r, int steps, double *evaluations, double *gradients, double *seconds)
{
    const StudyFork *f = r->from;
    *evaluations = f ? f->evaluations : 0;
    *gradients = f ? f->gradients : 0;
    *seconds = f ? f->seconds : 0;
    for (int i = f ? f->state.done : 0; i < steps; i++) {
        *evaluations += r->evaluations[i];
        *gradients += r->gradients[i];
        *seconds += r->seconds[i];
    }
}

/* Rows of `steps` steps each. */
static void copy_telemetry(const Run *r, int steps, int from_steps, const float *from, int to_steps, float *to)
{
    for (int row = 0; row < r->block->n; row++)
        memcpy(to + (size_t)row * (size_t)to_steps * (size_t)r->columns,
               from + (size_t)row * (size_t)from_steps * (size_t)r->columns,
               (size_t)steps * (size_t)r->columns * sizeof *to);
}

static Status complete_fork(const Run *r, StudyFork *f)
{
    int done = f->state.done;
    if (!f->state.x) return STATUS_OK;
    f->telemetry = malloc((size_t)r->block->n * (size_t)done * (size_t)r->columns * sizeof(float));
    if (!f->telemetry) {
        fork_release(f);
        return status_fail(STATUS_NO_MEMORY, "out of memory for telemetry");
    }
    copy_telemetry(r, done, r->steps, r->out->telemetry, done, f->telemetry);
    sum_steps(r, done, &f->evaluations, &f->gradients, &f->seconds);
    return STATUS_OK;
}

static Status sample_base(Run *r, SamplerState *const *save, int save_count)
{
    StudyBlock *b = r->block;
    const Study *s = b->study;
    const Condition *c = &s->grid.items[r->condition];
    StageOptions o = s->options.base;
    StageWatch watch = {.step = watch_step, .ctx = r, .save = save, .save_count = save_count,
                        .resume = r->from ? &r->from->state : NULL};
    o.guidance = c->guidance;
    if (c->untrained) o.guides.classifier = s->untrained;
    o.stage = CASCADE_STAGE_BASE;
    o.progress = tell_progress;
    o.progress_ctx = r;
    o.watch = &watch;
    StageInput in = {.n = b->n, .side = s->spec.side, .prompts = b->prompts + c->prompt * b->n, .labels = b->labels,
                     .rows = b->rows};
    r->before = now();
    return stage_sample(s->glide->kernels, s->glide->base.net, &o, &in, b->x);
}

/* As the cascade does it: from the picture in 8 bits. */
static Status enlarge(Run *r, int row, const Image *small)
{
    StudyBlock *b = r->block;
    const Study *s = b->study;
    const StudySpec *spec = &s->spec;
    size_t size = (size_t)spec->large_side * (size_t)spec->large_side * 3;
    float *x = malloc(size * sizeof *x), *low = malloc(image_bytes(small) * sizeof *low);
    Image large = {0};
    StageOptions o = s->options.upsampler;
    o.stage = CASCADE_STAGE_UPSAMPLER;
    Status status = x && low ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a picture");
    if (status == STATUS_OK) {
        image_to_f32(small, low);
        StageInput in = {.n = 1, .side = spec->large_side, .rows = &b->rows[row], .low_res = low, .low_side = spec->side,
                         .prompts = &b->prompts[s->grid.items[r->condition].prompt * b->n + row]};
        status = stage_sample(s->glide->kernels, s->glide->upsampler.net, &o, &in, x);
    }
    if (status == STATUS_OK) status = image_from_f32(x, spec->large_side, spec->large_side, &large);
    if (status == STATUS_OK) memcpy(r->out->large + (size_t)row * size, large.pixels, size);
    image_release(&large);
    free(low);
    free(x);
    return status;
}

static Status finish_pictures(Run *r)
{
    const StudyBlock *b = r->block;
    const StudySpec *spec = &b->study->spec;
    size_t size = (size_t)spec->side * (size_t)spec->side * 3;
    Status status = STATUS_OK;
    for (int row = 0; row < b->n && status == STATUS_OK; row++) {
        Image small = {0};
        status = image_from_f32(b->x + (size_t)row * size, spec->side, spec->side, &small);
        if (status == STATUS_OK) memcpy(r->out->pictures + (size_t)row * size, small.pixels, size);
        if (status == STATUS_OK && r->out->large) {
            double share = r->share_of_base + (1 - r->share_of_base) * row / b->n;
            status = enlarge(r, row, &small);
            if (status == STATUS_OK && r->progress && r->progress(r->ctx, share))
                status = status_fail(STATUS_INTERRUPTED, "stopped at picture %d", row + 1);
        }
        image_release(&small);
    }
    return status;
}

/* The beginnings that later conditions want of this one, each once. */
static int wanted_forks(const StudyBlock *b, int condition, const bool *wanted, StudyFork **forks)
{
    int count = 0, steps;
    for (int c = condition + 1; c < b->study->spec.conditions; c++) {
        if (!wanted[c] || study_shares(b->study, c, &steps) != condition) continue;
        int k = 0;
        while (k < count && forks[k]->state.done != steps) k++;
        if (k < count) continue;
        forks[count] = &b->forks[c];
        forks[count]->condition = condition;
        forks[count++]->state.done = steps;
    }
    return count;
}

/* The one that is ready for a condition. */
static const StudyFork *ready_fork(const StudyBlock *b, int condition)
{
    int steps, from = study_shares(b->study, condition, &steps);
    for (int c = 0; from >= 0 && c < b->study->spec.conditions; c++)
        if (b->forks[c].state.x && b->forks[c].condition == from && b->forks[c].state.done == steps) return &b->forks[c];
    return NULL;
}

static Status sample(Run *r, const bool *wanted, double *seconds)
{
    StudyBlock *b = r->block;
    int conditions = b->study->spec.conditions;
    StudyFork **forks = calloc((size_t)conditions, sizeof *forks);
    SamplerState **save = calloc((size_t)conditions, sizeof *save);
    Status s = forks && save ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for conditions");
    int count = s == STATUS_OK ? wanted_forks(b, r->condition, wanted, forks) : 0;
    for (int i = 0; i < count; i++) save[i] = &forks[i]->state;
    if (s == STATUS_OK && r->from) copy_telemetry(r, r->from->state.done, r->from->state.done, r->from->telemetry, r->steps,
                                                  r->out->telemetry);
    if (s == STATUS_OK) s = sample_base(r, save, count);
    for (int i = 0; i < count && s == STATUS_OK; i++) s = complete_fork(r, forks[i]);
    if (s == STATUS_OK) {
        sum_steps(r, r->steps, &r->out->evaluations, &r->out->gradients, seconds);
        r->before = now();
        s = finish_pictures(r);
        *seconds += now() - r->before;
    }
    free(save);
    free(forks);
    return s;
}

Status study_block_sample(StudyBlock *b, int condition, const bool *wanted, int (*progress)(void *ctx, double share), void *ctx,
                          CellShard *out, double *seconds)
{
    const Study *study = b->study;
    size_t steps = (size_t)study->spec.steps;
    int columns = shard_telemetry_count(), index[SHARD_TELEMETRY_MOST];
    double base = study_work(study, condition, 0), up = study->spec.large_side ? study->upsampler_cost : 0;
    double *sums = calloc(3 * steps, sizeof *sums);
    if (!sums) return status_fail(STATUS_NO_MEMORY, "out of memory for %d steps", (int)steps);
    for (int i = 0; i < columns; i++) index[i] = shard_telemetry_index(i);
    Run r = {.block = b, .condition = condition, .from = ready_fork(b, condition), .out = out, .columns = columns, .index = index,
             .evaluations = sums, .gradients = sums + steps, .seconds = sums + 2 * steps, .steps = (int)steps,
             .share_of_base = base > 0 ? (base - up) / base : 1, .progress = progress, .ctx = ctx};
    out->first = b->first;
    Status s = sample(&r, wanted, seconds);
    free(sums);
    return s;
}
