#include "text_transformer/text_unet_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct TrainWorkspace {
    float *noise, *x_t, *d_out, *d_loss, *timesteps, *mse, *vb;
    int32_t *t;
    int64_t rows, values; /* what the buffers hold */
};

TrainWorkspace *train_workspace_new(void)
{
    return calloc(1, sizeof(TrainWorkspace));
}

static void workspace_release(TrainWorkspace *w)
{
    free(w->noise);
    free(w->x_t);
    free(w->d_out);
    free(w->d_loss);
    free(w->timesteps);
    free(w->mse);
    free(w->vb);
    free(w->t);
    *w = (TrainWorkspace){0};
}

void train_workspace_free(TrainWorkspace *w)
{
    if (!w) return;
    workspace_release(w);
    free(w);
}

static Status workspace_reserve(TrainWorkspace *w, int64_t rows, int64_t values)
{
    if (rows <= w->rows && values <= w->values) return STATUS_OK;
    workspace_release(w);
    size_t big = (size_t)values * sizeof(float), small = (size_t)rows * sizeof(float);
    w->noise = malloc(big);
    w->x_t = malloc(big);
    w->d_out = malloc(2 * big);
    w->d_loss = malloc(small);
    w->timesteps = malloc(small);
    w->mse = malloc(small);
    w->vb = malloc(small);
    w->t = malloc(small);
    if (!w->noise || !w->x_t || !w->d_out || !w->d_loss || !w->timesteps || !w->mse || !w->vb || !w->t) {
        workspace_release(w);
        return status_fail(STATUS_NO_MEMORY, "out of memory for a batch of %lld pictures", (long long)rows);
    }
    w->rows = rows;
    w->values = values;
    return STATUS_OK;
}

/* Timesteps are spread evenly over the process with one random offset a step: each row's is uniform, and the mean over a
 * step has less variance than independent ones would give. */
static void draw(const TrainBatch *b, const Diffusion *d, int64_t size, TrainWorkspace *w)
{
    int64_t total = b->total ? b->total : b->N;
    float offset = rng_uniform(&(RngKey){b->seed, RNG_DIFFUSION, UINT32_MAX, b->step}, 0);
    for (int64_t i = 0; i < b->N; i++) {
        uint32_t row = b->first_row + (uint32_t)i;
        double u = offset + (double)row / (double)total;
        int t = (int)(pow(u - (int64_t)u, 1 / (1 + b->noisy_steps)) * d->num_timesteps);
        w->t[i] = t < d->num_timesteps ? t : d->num_timesteps - 1;
        rng_normal(&(RngKey){b->seed, RNG_DIFFUSION, row, b->step}, w->noise + i * size, size);
    }
}

static void fill_loss(TrainLoss *loss, const TrainWorkspace *w, int64_t N)
{
    loss->mean_mse = loss->mean_vb = 0;
    for (int64_t i = 0; i < N; i++) {
        loss->mean_mse += w->mse[i] / (double)N;
        loss->mean_vb += w->vb[i] / (double)N;
    }
    if (loss->mse) memcpy(loss->mse, w->mse, (size_t)N * sizeof(float));
    if (loss->vb) memcpy(loss->vb, w->vb, (size_t)N * sizeof(float));
}

/* Fills the workspace's x_t, t and noise. */
static Status prepare(const Diffusion *d, const TrainBatch *b, TrainWorkspace *w)
{
    int64_t N = b->N, size = b->side * b->side * IMAGE_CHANNELS;
    TRY(workspace_reserve(w, N, N * size));
    if (b->t && b->noise) {
        memcpy(w->t, b->t, (size_t)N * sizeof *w->t);
        memcpy(w->noise, b->noise, (size_t)(N * size) * sizeof(float));
    } else {
        draw(b, d, size, w);
    }
    diffusion_q_sample(d, b->x_start, w->noise, w->t, N, size, w->x_t);
    for (int64_t i = 0; i < N; i++) {
        w->timesteps[i] = (float)d->timestep_map[w->t[i]];
        w->d_loss[i] = 1.0f / (float)(b->total ? b->total : N);
    }
    return STATUS_OK;
}

/* The model's answer (N,side,side,6) to the prepared batch. */
static Tensor *predict(Tape *t, const TextUNet *m, const TrainBatch *b, const TrainWorkspace *w)
{
    TextUNetInput in = {.timesteps = w->timesteps};
    in.x = tape_input(t, DTYPE_F32, 4, (int64_t[]){b->N, b->side, b->side, IMAGE_CHANNELS}, w->x_t);
    if (b->low_res)
        in.low_res = tape_input(t, DTYPE_F32, 4, (int64_t[]){b->N, b->low_side, b->low_side, IMAGE_CHANNELS}, b->low_res);
    if (b->known) {
        in.inpaint_image = tape_input(t, DTYPE_F32, 4, (int64_t[]){b->N, b->side, b->side, IMAGE_CHANNELS}, b->x_start);
        in.inpaint_mask = tape_input(t, DTYPE_F32, 4, (int64_t[]){b->N, b->side, b->side, 1}, b->known);
    }
    UNetCondition condition = text_unet_encode(t, m, b->tokens, b->mask, NULL, b->N, NULL);
    text_unet_tell_level(t, m, b->levels, b->N, &condition);
    return text_unet_forward(t, m, &in, &condition, NULL);
}

static Status run(Tape *t, const TextUNet *m, const Diffusion *d, const DiffusionLoss *options, const TrainBatch *b,
                  TrainWorkspace *w, TrainLoss *loss, bool backward)
{
    tape_block(t, "training", -1);
    tape_op(t, "noise and inputs");
    TRY(prepare(d, b, w));
    tape_reset(t);
    tape_record(t, backward);
    Tensor *out = predict(t, m, b, w);
    TRY(tape_status(t));
    int64_t pixels = b->side * b->side;
    tape_block(t, "training", -1);
    tape_op(t, "loss");
    memset(w->d_out, 0, (size_t)(b->N * pixels) * MODEL_CHANNELS * sizeof(float));
    DiffusionBatch batch = {.n = b->N, .pixels = pixels, .x_start = b->x_start, .x_t = w->x_t, .noise = w->noise, .t = w->t};
    diffusion_loss(d, options, &batch, out->data, w->mse, w->vb, w->d_loss, backward ? w->d_out : NULL);
    fill_loss(loss, w, b->N);
    return backward ? tape_backward(t, out, w->d_out) : STATUS_OK;
}

Status text_unet_train_step(Tape *t, TextUNet *m, const Diffusion *d, const DiffusionLoss *options, const TrainBatch *batch,
                            TrainWorkspace *workspace, TrainLoss *loss)
{
    return run(t, m, d, options, batch, workspace, loss, true);
}

Status text_unet_loss(Tape *t, TextUNet *m, const Diffusion *d, const DiffusionLoss *options, const TrainBatch *batch,
                      TrainWorkspace *workspace, TrainLoss *loss)
{
    return run(t, m, d, options, batch, workspace, loss, false);
}
