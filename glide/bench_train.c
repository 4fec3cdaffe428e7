/* Training steps as glide train takes them, with the same workers (train_team.h), on random pictures and captions. */
#include "common/ops.h"
#include "glide/bench.h"
#include "glide/train_team.h"
#include "text_transformer/text_unet_train.h"
#include "upsampler/upsampler.h"

#include <stdlib.h>

enum { STEPS = 4, MOST_STEPS = 1000 };

/* What the workers share: Trainer.state. */
typedef struct Shared {
    TextUNet *model;
    Diffusion diffusion;
    DiffusionLoss loss;
    float *x, *low;
    int32_t *tokens;
    uint8_t *mask;
    BenchProfile *profile; /* NULL: none */
} Shared;

typedef struct Own {
    TextUNet *model;
    TrainWorkspace *workspace;
} Own;

static Status out_of_memory(void)
{
    return status_fail(STATUS_NO_MEMORY, "out of memory for a measurement");
}

/* --- a worker ----------------------------------------------------------------------------------------- */

static Status worker_open(TrainWorker *w)
{
    const Shared *all = w->trainer->state;
    Own *own = w->state = calloc(1, sizeof *own);
    if (!own) return out_of_memory();
    tape_set_profile(w->tape, bench_profile_add(all->profile));
    own->model = all->model;
    own->workspace = train_workspace_new();
    if (!own->workspace) return out_of_memory();
    if (w->first > 0) {
        own->model = NULL;
        TRY(text_unet_new_shapes(&all->model->config, &own->model));
        params_share(&own->model->params, &all->model->params);
        TRY(params_alloc_grads(&own->model->params));
        w->params = &own->model->params;
    }
    unet_set_checkpoint(own->model->unet, w->trainer->options->checkpoint_blocks);
    return STATUS_OK;
}

static void worker_close(TrainWorker *w)
{
    Own *own = w->state;
    if (!own) return;
    train_workspace_free(own->workspace);
    if (w->first > 0 && own->model) text_unet_free(own->model);
    free(own);
}

static Status step(TrainWorker *w)
{
    const TrainerOptions *o = w->trainer->options;
    const Shared *all = w->trainer->state;
    Own *own = w->state;
    int64_t side = o->side, ctx = own->model->config.text.ctx, small = side / UPSAMPLER_FACTOR;
    TrainLoss loss = {0};
    TrainBatch b = {.N = w->rows, .side = side, .seed = 1, .step = w->step, .first_row = (uint32_t)w->first, .total = o->batch};
    b.x_start = all->x + w->first * side * side * IMAGE_CHANNELS;
    b.tokens = all->tokens + w->first * ctx;
    b.mask = all->mask + w->first * ctx;
    if (own->model->config.low_res) b.low_res = all->low + w->first * small * small * IMAGE_CHANNELS, b.low_side = small;
    Status s = text_unet_train_step(w->tape, own->model, &all->diffusion, &all->loss, &b, own->workspace, &loss);
    tape_block(w->tape, "training", -1);
    tape_op(w->tape, "waiting for workers, adding their gradients");
    return s;
}

static const TrainKind kind = {.name = "bench", .worker_open = worker_open, .worker_close = worker_close, .step = step};

/* --- the steps ---------------------------------------------------------------------------------------- */

static void shared_release(Shared *all)
{
    if (all->diffusion.tables) diffusion_release(&all->diffusion);
    free(all->x);
    free(all->low);
    free(all->tokens);
    free(all->mask);
}

static Status random_captions(Shared *all, int64_t batch)
{
    const TextUNetConfig *c = &all->model->config;
    int64_t n = batch * c->text.ctx;
    all->tokens = calloc((size_t)n + 1, sizeof *all->tokens);
    all->mask = calloc((size_t)n + 1, 1);
    if (!all->tokens || !all->mask) return out_of_memory();
    for (int64_t i = 0; i < n && all->model->text; i++) {
        all->tokens[i] = (int32_t)rng_below(&(RngKey){.stream = RNG_TEST}, (uint32_t)i, (uint32_t)c->text.n_vocab);
        all->mask[i] = i % c->text.ctx < c->text.ctx / 2;
    }
    return STATUS_OK;
}

static Status shared_init(Shared *all, TextUNet *m, const BenchTraining *t)
{
    size_t pixels = (size_t)t->batch * (size_t)(t->side * t->side) * IMAGE_CHANNELS;
    *all = (Shared){.model = m};
    diffusion_loss_defaults(&all->loss);
    TRY(diffusion_init(&all->diffusion, m->config.noise_schedule, m->config.diffusion_steps, ""));
    TRY(bench_random(pixels, 5, &all->x));
    TRY(bench_random(pixels, 6, &all->low));
    return random_captions(all, t->batch);
}

/* The first step, which makes primitives and takes memory, does not count. */
static Status time_steps(Trainer *tr, TrainTeam *team, const BenchTraining *t, BenchRun *out, BenchProfile *profile)
{
    double seconds[MOST_STEPS], begin = 0;
    out->runs = t->runs > 0 && t->runs < MOST_STEPS ? t->runs : STEPS;
    for (int i = -1; i < out->runs; i++) {
        double norm, loss[TRAIN_LOSSES], start = bench_now(), flops = train_team_flops(team);
        if (i == 0) begin = start, bench_profile_start(profile);
        TRY(train_team_step(team, (uint32_t)(i + 1), loss));
        bench_profile_mark(profile, "training", "optimiser");
        TRY(optimizer_step(&tr->optimizer, tr->kernels, &norm));
        bench_profile_mark(profile, "training", "noise and inputs");
        out->gflop = (train_team_flops(team) - flops) * 1e-9;
        if (i >= 0) seconds[i] = bench_now() - start;
    }
    bench_profile_stop(profile);
    if (profile) profile->steps = out->runs, profile->seconds = bench_now() - begin;
    out->seconds = bench_median(seconds, out->runs);
    out->peak_bytes = train_team_peak_bytes(team);
    out->workers = train_team_workers(team);
    return STATUS_OK;
}

static Status run(Trainer *tr, const BenchTraining *t, BenchRun *out, BenchProfile *profile)
{
    OptimizerOptions options;
    TrainTeam *team = NULL;
    optimizer_options_defaults(&options);
    TRY(params_alloc_grads(tr->params));
    TRY(optimizer_init(&tr->optimizer, tr->params, &options));
    TRY(tape_new(tr->kernels, &tr->tape));
    tape_set_dtype(tr->tape, t->type);
    Status s = train_team_new(tr, &team);
    if (s == STATUS_OK) s = time_steps(tr, team, t, out, profile);
    train_team_free(team);
    return s;
}

Status bench_train(Kernels *k, TextUNet *m, const BenchTraining *t, BenchRun *out, BenchProfile *profile)
{
    Shared all;
    const TrainerOptions options = {.side = t->side, .batch = t->batch, .workers = t->workers,
                                    .checkpoint_blocks = t->checkpoint_blocks};
    Trainer tr = {.options = &options, .kind = &kind, .kernels = k, .params = &m->params, .state = &all};
    *out = (BenchRun){0};
    Status s = shared_init(&all, m, t);
    all.profile = profile;
    if (s == STATUS_OK) s = run(&tr, t, out, profile);
    optimizer_release(&tr.optimizer);
    tape_free(tr.tape);
    unet_set_checkpoint(m->unet, false);
    shared_release(&all);
    return s;
}
