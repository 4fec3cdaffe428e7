#include "common/sampler.h"

#include <math.h>

/* x = sqrt(abar_to) x_0 + sqrt(1 - abar_to - noise_std^2) eps + noise_std * noise (DDIM, arXiv 2010.02502, equation
 * 12). eps is derived again from x_0, so that clamping x_0 acts on it. Under guidance eps is shifted by the gradient
 * and x_0 follows, without a second clamp (arXiv 2105.05233, algorithm 2). */
static void move(Sampler *s, float *x, double abar_to, double noise_std)
{
    const Diffusion *d = s->diffusion;
    int t = s->level.step;
    float from_x = (float)d->sqrt_recip_alphas_cumprod[t], from_eps = (float)d->sqrt_recipm1_alphas_cumprod[t];
    float to_grad = (float)d->sqrt_one_minus_alphas_cumprod[t], to_noise = (float)noise_std;
    float to_x_0 = (float)sqrt(abar_to);
    float to_eps = (float)sqrt(fmax(1 - abar_to - noise_std * noise_std, 0)); /* eta 1: 0 but for rounding */
    int64_t size = sampler_size(s);
#pragma omp parallel for schedule(static) if (size >= SAMPLER_PARALLEL_FROM)
    for (int64_t i = 0; i < size; i++) {
        float eps = (from_x * x[i] - s->x_0[i]) / from_eps;
        if (s->grad) {
            eps -= to_grad * s->grad[i];
            s->x_0[i] = from_x * x[i] - from_eps * eps;
        }
        x[i] = s->x_0[i] * to_x_0 + to_eps * eps;
        if (to_noise > 0) x[i] += to_noise * s->noise[i];
    }
}

Status sampler_step_ddim(Sampler *s, float *x)
{
    const Diffusion *d = s->diffusion;
    int t = s->level.step;
    double abar = d->alphas_cumprod[t], abar_prev = d->alphas_cumprod_prev[t];
    TRY(sampler_predict(s, x));
    /* equation 16; abar_prev is 1 in the last step, which so adds none */
    move(s, x, abar_prev, s->options.eta * sqrt((1 - abar_prev) / (1 - abar)) * sqrt(1 - abar / abar_prev));
    return STATUS_OK;
}

/* The deterministic step the other way; the last one ends in eps alone. */
Status sampler_step_ddim_reverse(Sampler *s, float *x)
{
    TRY(sampler_predict(s, x));
    move(s, x, s->diffusion->alphas_cumprod_next[s->level.step], 0);
    return STATUS_OK;
}
