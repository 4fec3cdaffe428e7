#include "glide/train_team.h"

#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEWEST_ROWS = 8, MOST_WORKERS = 8 }; /* chosen when the options leave the number of workers open */

typedef struct Worker {
    TrainTeam *team;
    TextUNet *model;
    Kernels *kernels;
    Tape *tape;
    TrainWorkspace *workspace;
    int first, rows; /* of the step's */
    TrainRows loaded;
    TrainLoss loss;  /* each row's weighs 1 / rows of the step */
    Status status;
    char message[512];
    pthread_t thread;
} Worker;

struct TrainTeam {
    Trainer *trainer;
    Worker *workers; /* the first one borrows what is the trainer's */
    int count, threads; /* threads of each */
    uint32_t step;
};

/* --- one worker ------------------------------------------------------------------------------------ */

static int micro_batch(const TrainerOptions *o, int rows)
{
    return o->micro_batch > 0 && o->micro_batch < rows ? o->micro_batch : rows;
}

static Status compute(Worker *w)
{
    Trainer *tr = w->team->trainer;
    const TrainerOptions *o = tr->options;
    uint32_t step = w->team->step;
    int micro = micro_batch(o, w->rows);
    w->loss = (TrainLoss){0};
    for (int done = 0; done < w->rows; done += micro) {
        int first = w->first + done, n = w->rows - done < micro ? w->rows - done : micro;
        TrainBatch b;
        TrainLoss part = {0};
        TRY(train_rows_load(tr, tr->batches, &w->loaded, step, (uint32_t)first, n, o->batch, &b));
        b.noisy_steps = o->noisy_steps;
        tape_set_dropout(w->tape, (RngKey){.seed = o->seed, .step = step * 4096 + (uint32_t)first});
        TRY(text_unet_train_step(w->tape, w->model, &tr->diffusion, &o->loss, &b, w->workspace, &part));
        w->loss.mean_mse += part.mean_mse * n / o->batch;
        w->loss.mean_vb += part.mean_vb * n / o->batch;
    }
    tape_reset(w->tape);
    return STATUS_OK;
}

static void *worker_main(void *arg)
{
    Worker *w = arg;
    omp_set_num_threads(w->team->threads);
    params_touch(&w->model->params);
    w->status = compute(w);
    if (w->status != STATUS_OK) snprintf(w->message, sizeof w->message, "%s", status_message());
    return NULL;
}

static Status worker_open(Worker *w)
{
    Trainer *tr = w->team->trainer;
    const TrainerOptions *o = tr->options;
    TRY(train_rows_init(&w->loaded, micro_batch(o, w->rows), o->side, tr->model->config.text.ctx));
    if (w->first == 0) {
        w->model = tr->model;
        w->tape = tr->tape;
        w->workspace = tr->workspace;
        return STATUS_OK;
    }
    TRY(text_unet_new_shapes(&tr->model->config, &w->model));
    params_share(&w->model->params, &tr->model->params);
    TRY(params_alloc_grads(&w->model->params));
    unet_set_checkpoint(w->model->unet, o->checkpoint_blocks);
    TRY(kernels_new(KERNELS_BEST, &w->kernels));
    TRY(tape_new(w->kernels, &w->tape));
    tape_set_dtype(w->tape, tape_dtype(tr->tape));
    w->workspace = train_workspace_new();
    return w->workspace ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for training");
}

static void worker_close(Worker *w)
{
    train_rows_release(&w->loaded);
    if (w->first == 0) return;
    train_workspace_free(w->workspace);
    text_unet_free(w->model); /* its packed parameters before the kernels that packed them */
    tape_free(w->tape);
    kernels_free(w->kernels);
}

/* --- all of them ----------------------------------------------------------------------------------- */

static int workers_wanted(const TrainerOptions *o)
{
    if (o->workers > 0) return o->workers < o->batch ? o->workers : o->batch;
    int most = omp_get_max_threads() < MOST_WORKERS ? omp_get_max_threads() : MOST_WORKERS;
    int busy = o->batch / FEWEST_ROWS;
    return busy < 1 ? 1 : busy < most ? busy : most;
}

Status train_team_new(Trainer *tr, TrainTeam **out)
{
    int count = workers_wanted(tr->options);
    TrainTeam *team = calloc(1, sizeof *team);
    if (team) team->workers = calloc((size_t)count, sizeof *team->workers);
    *out = team;
    if (!team || !team->workers) return status_fail(STATUS_NO_MEMORY, "out of memory for training");
    team->trainer = tr;
    team->threads = omp_get_max_threads() / count > 1 ? omp_get_max_threads() / count : 1;
    for (int i = 0; i < count; i++) {
        int64_t batch = tr->options->batch;
        Worker *w = &team->workers[team->count++];
        w->team = team;
        w->first = (int)(batch * i / count);
        w->rows = (int)(batch * (i + 1) / count) - w->first;
        TRY(worker_open(w));
    }
    return STATUS_OK;
}

void train_team_free(TrainTeam *team)
{
    if (!team) return;
    for (int i = 0; team->workers && i < team->count; i++) worker_close(&team->workers[i]);
    free(team->workers);
    free(team);
}

/* The gradients of the other workers' rows go to the trainer's model, in their order, and are zeroed for the next step. */
static void collect_gradients(TrainTeam *team)
{
    const ParamSet *all = &team->trainer->model->params;
#pragma omp parallel for schedule(dynamic, 4)
    for (int i = 0; i < all->count; i++) {
        size_t size = all->items[i]->size;
        float *sum = all->items[i]->grad;
        for (int k = 1; k < team->count; k++) {
            float *part = team->workers[k].model->params.items[i]->grad;
            for (size_t j = 0; j < size; j++) sum[j] += part[j];
            memset(part, 0, size * sizeof *part);
        }
    }
}

Status train_team_step(TrainTeam *team, uint32_t step, TrainLoss *mean)
{
    int threads = omp_get_max_threads(), started = 1;
    team->step = step;
    *mean = (TrainLoss){0};
    for (; started < team->count; started++) {
        Worker *w = &team->workers[started];
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) break;
    }
    for (int i = started; i < team->count; i++) worker_main(&team->workers[i]); /* no more threads to be had */
    worker_main(&team->workers[0]);
    for (int i = 1; i < started; i++) pthread_join(team->workers[i].thread, NULL);
    omp_set_num_threads(threads);
    for (int i = 0; i < team->count; i++) {
        const Worker *w = &team->workers[i];
        if (w->status != STATUS_OK) return status_fail(w->status, "%s", w->message);
        mean->mean_mse += w->loss.mean_mse;
        mean->mean_vb += w->loss.mean_vb;
    }
    collect_gradients(team);
    return STATUS_OK;
}

double train_team_flops(const TrainTeam *team)
{
    double sum = 0;
    for (int i = 0; i < team->count; i++) sum += tape_flops(team->workers[i].tape);
    return sum;
}
