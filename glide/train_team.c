#include "glide/train_team.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 13 }; /* of gradients: two of them fit into a core's first caches */
enum { FEWEST_ROWS = 8, MOST_WORKERS = 8 }; /* chosen when the options leave the number of workers open */

struct TrainTeam {
    Trainer *trainer;
    TrainWorker *workers; /* the first one borrows what is the trainer's */
    int count, threads;   /* threads of each */
    Status (*part)(TrainTeam *team, TrainWorker *w); /* of a step: what the workers are to do now */
    int *largest;    /* parameters' numbers, the largest first: */
    atomic_int next; /* place of the one that the next worker takes */
};

typedef struct Start {
    TrainWorker *worker;
    TrainTeam *team;
} Start;

/* --- one worker ------------------------------------------------------------------------------------ */

static Status worker_open(TrainWorker *w)
{
    Trainer *tr = w->trainer;
    if (w->first == 0) {
        w->kernels = tr->kernels;
        w->tape = tr->tape;
        w->params = tr->params;
        return tr->kind->worker_open(w);
    }
    TRY(kernels_new(KERNELS_BEST, &w->kernels));
    TRY(tape_new(w->kernels, &w->tape));
    tape_set_dtype(w->tape, tape_dtype(tr->tape));
    return tr->kind->worker_open(w);
}

static void worker_close(TrainWorker *w)
{
    w->trainer->kind->worker_close(w); /* its packed parameters before the kernels that packed them */
    if (w->first == 0) return;
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

typedef struct Sized {
    size_t size;
    int number;
} Sized;

static int larger_first(const void *a, const void *b)
{
    const Sized *x = a, *y = b;
    return x->size != y->size ? (x->size < y->size) - (x->size > y->size) : x->number - y->number;
}

static Status order_params(TrainTeam *team, const ParamSet *params)
{
    Sized *sized = calloc((size_t)params->count + 1, sizeof *sized);
    team->largest = calloc((size_t)params->count + 1, sizeof *team->largest);
    Status s = sized && team->largest ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for training");
    for (int i = 0; s == STATUS_OK && i < params->count; i++) sized[i] = (Sized){params->items[i]->size, i};
    if (s == STATUS_OK) qsort(sized, (size_t)params->count, sizeof *sized, larger_first);
    for (int i = 0; s == STATUS_OK && i < params->count; i++) team->largest[i] = sized[i].number;
    free(sized);
    return s;
}

/* Of a step, each worker all at once: then pairs of them may add to the same gradients. */
static bool adds_once(const TrainerOptions *o, const TrainWorker *w)
{
    return o->micro_batch <= 0 || o->micro_batch >= w->rows;
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
        TrainWorker *w = &team->workers[team->count++];
        w->trainer = tr;
        w->first = (int)(batch * i / count);
        w->rows = (int)(batch * (i + 1) / count) - w->first;
        TRY(worker_open(w));
        if (i % 2 && adds_once(tr->options, w)) params_share_grads(w->params, team->workers[i - 1].params);
    }
    return order_params(team, tr->params);
}

void train_team_free(TrainTeam *team)
{
    if (!team) return;
    for (int i = 0; team->workers && i < team->count; i++) worker_close(&team->workers[i]);
    free(team->workers);
    free(team->largest);
    free(team);
}

/* sum += part, and part = 0 */
static void collect(float *sum, float *part, size_t n)
{
    for (size_t j = 0; j < n; j++) sum[j] += part[j];
    memset(part, 0, n * sizeof *part);
}

static float *gradient(const TrainTeam *team, int worker, int param)
{
    return team->workers[worker].params->items[param]->grad;
}

/* The gradients of the other workers' rows go to the trainer's model, in their order, and are zeroed for the next step while they
 * are in the cache. */
static void collect_gradients(TrainTeam *team)
{
    const ParamSet *all = team->trainer->params;
#pragma omp parallel if (team->count > 1)
    for (int i = 0; i < all->count; i++) {
        size_t size = all->items[i]->size;
#pragma omp for schedule(static) nowait
        for (size_t from = 0; from < size; from += CHUNK)
            for (int k = 1; k < team->count; k++)
                if (gradient(team, k, i) != gradient(team, k - 1, i)) /* else they are in that sum already */
                    collect(all->items[i]->grad + from, gradient(team, k, i) + from, size - from < CHUNK ? size - from : CHUNK);
    }
}

static void *worker_main(void *arg)
{
    Start *start = arg;
    TrainWorker *w = start->worker;
    omp_set_num_threads(start->team->threads);
    w->status = start->team->part(start->team, w);
    if (w->status != STATUS_OK) snprintf(w->message, sizeof w->message, "%s", status_message());
    return NULL;
}

/* All workers do `part` at the same time. */
static Status run(TrainTeam *team, Status (*part)(TrainTeam *team, TrainWorker *w))
{
    Start starts[1024];
    int threads = omp_get_max_threads(), started = 1;
    team->part = part;
    for (int i = 0; i < team->count; i++) starts[i] = (Start){&team->workers[i], team};
    for (; started < team->count; started++)
        if (pthread_create(&team->workers[started].thread, NULL, worker_main, &starts[started]) != 0) break;
    for (int i = started; i < team->count; i++) worker_main(&starts[i]); /* no more threads to be had */
    worker_main(&starts[0]);
    for (int i = 1; i < started; i++) pthread_join(team->workers[i].thread, NULL);
    omp_set_num_threads(threads);
    for (int i = 0; i < team->count; i++)
        if (team->workers[i].status != STATUS_OK) return status_fail(team->workers[i].status, "%s", team->workers[i].message);
    return STATUS_OK;
}

/* The optimiser changed the weights: each worker packs some for all. Without that all would come to a layer at the same time, and
 * one would pack its weights while the others wait. The thread sanitizer has nothing to say about these copies; what it reports of
 * test_trainer is within oneDNN's cache of primitives, whose locks it cannot see. */
static Status pack_weights(TrainTeam *team, TrainWorker *w)
{
    for (int i = team->next++; i < w->params->count && w->kernels->pack_shared; i = team->next++)
        TRY(w->kernels->pack_shared(w->kernels, w->params->items[team->largest[i]]));
    return STATUS_OK;
}

static Status begin_step(TrainTeam *team, TrainWorker *w)
{
    (void)team;
    memset(w->loss, 0, sizeof w->loss);
    return w->trainer->kind->step(w);
}

static Status finish_step(TrainTeam *team, TrainWorker *w)
{
    (void)team;
    return w->trainer->kind->finish(w);
}

Status train_team_step(TrainTeam *team, uint32_t step, double mean[TRAIN_LOSSES])
{
    Trainer *tr = team->trainer;
    for (int i = 0; i < team->count; i++) {
        team->workers[i].step = step;
        params_touch(team->workers[i].params);
    }
    memset(mean, 0, TRAIN_LOSSES * sizeof *mean);
    team->next = 0;
    if (team->count > 1) TRY(run(team, pack_weights));
    TRY(run(team, begin_step));
    if (tr->kind->meet) {
        TRY(tr->kind->meet(tr, mean));
        TRY(run(team, finish_step));
    }
    for (int i = 0; i < team->count; i++)
        for (int k = 0; k < TRAIN_LOSSES; k++) mean[k] += team->workers[i].loss[k];
    collect_gradients(team);
    return STATUS_OK;
}

double train_team_flops(const TrainTeam *team)
{
    double sum = 0;
    for (int i = 0; i < team->count; i++) sum += tape_flops(team->workers[i].tape);
    return sum;
}

size_t train_team_peak_bytes(const TrainTeam *team)
{
    size_t sum = 0;
    for (int i = 0; i < team->count; i++) sum += tape_peak_bytes(team->workers[i].tape);
    return sum;
}

int train_team_workers(const TrainTeam *team)
{
    return team->count;
}
