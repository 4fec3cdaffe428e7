#include "guidance/guide.h"

#include "common/noise_levels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

Status guide_init(Guide *g, Kernels *kernels, DType dtype, int64_t n, const char *schedule, int steps)
{
    *g = (Guide){.n = n, .batch = GUIDE_BATCH};
    if (n < 1) return status_fail(STATUS_BAD_INPUT, "guidance: no pictures");
    TRY(diffusion_init(&g->process, schedule, steps, ""));
    TRY(tape_new(kernels, &g->tape));
    tape_set_dtype(g->tape, dtype);
    g->timesteps = calloc((size_t)n, sizeof *g->timesteps);
    return g->timesteps ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for %lld timesteps", (long long)n);
}

void guide_release(Guide *g)
{
    tape_free(g->tape);
    diffusion_release(&g->process);
    free(g->timesteps);
    free(g->labels);
    free(g->text);
    memset(g, 0, sizeof *g);
}

/* --- gradients --- */

static Status pull_rows(Guide *g, const float *x_t, const int64_t dims[4], int64_t first, const float *timesteps,
                        float *gradient, float *score)
{
    const int64_t row = dims[1] * dims[2] * dims[3];
    tape_record(g->tape, true);
    Tensor *x = tape_input(g->tape, DTYPE_F32, 4, dims, x_t + first * row);
    TRY(tape_status(g->tape));
    x->needs_grad = true;
    TRY(g->pull(g, x, first, timesteps, score));
    if (!x->grad) return status_fail(STATUS_INTERNAL, "guidance: no gradient reached the picture");
    memcpy(gradient + first * row, x->grad->data, tensor_bytes(x));
    return STATUS_OK;
}

Status guide_gradient(Guide *g, const float *x_t, int64_t H, int64_t W, const float *timesteps, float *gradient, float *score)
{
    int64_t batch = g->batch < 1 ? 1 : g->batch > GUIDE_BATCH_MAX ? GUIDE_BATCH_MAX : g->batch;
    Status s = STATUS_OK;
    for (int64_t first = 0; first < g->n && s == STATUS_OK; first += batch) {
        int64_t rows = g->n - first < batch ? g->n - first : batch;
        s = pull_rows(g, x_t, (int64_t[]){rows, H, W, IMAGE_CHANNELS}, first, timesteps, gradient, score);
        tape_record(g->tape, false);
        tape_reset(g->tape);
    }
    return s;
}

/* --- noise levels --- */

/* Whether the guide's process has that much noise at that very timestep, or on both sides of it. */
static bool agrees(const Diffusion *d, const NoiseLevel *level)
{
    const double close = 1e-5;
    int below = (int)floor(level->timestep), above = (int)ceil(level->timestep);
    if (below < 0 || above >= d->num_timesteps) return false;
    return level->alpha < d->sqrt_alphas_cumprod[below] + close && level->alpha > d->sqrt_alphas_cumprod[above] - close &&
           level->sigma > d->sqrt_one_minus_alphas_cumprod[below] - close &&
           level->sigma < d->sqrt_one_minus_alphas_cumprod[above] + close;
}

double guide_timestep(const Guide *g, const NoiseLevel *level)
{
    const Diffusion *d = &g->process;
    if (agrees(d, level)) return level->timestep;
    return noise_levels_timestep(d->alphas_cumprod, d->num_timesteps, level->sigma / level->alpha);
}

Status guide_at(Guide *g, const GuidanceStep *s, float *gradient, float *score)
{
    for (int64_t i = 0; i < g->n; i++) g->timesteps[i] = (float)guide_timestep(g, &s->level);
    return guide_gradient(g, s->x_t, s->height, s->width, g->timesteps, gradient, score);
}
