/* k-diffusion's solvers: dx/dsigma = eps in the picture y = x / alpha with noise of sigma = sigma_t / alpha_t (arXiv
 * 2206.00364). A step of theirs with x_0 held is sampler_move()'s, so x stays x here and only sigmas are theirs. */
#include "common/noise_levels.h"
#include "common/sampler.h"

#include <math.h>

static double k_sigma(const NoiseLevel *level)
{
    return level->sigma / level->alpha;
}

static NoiseLevel k_level(const Sampler *s, double sigma)
{
    const Diffusion *d = s->diffusion;
    double alpha = 1 / sqrt(1 + sigma * sigma);
    return (NoiseLevel){
        .step = s->level.step,
        .timestep = noise_levels_timestep(d->original_alphas_cumprod, d->original_timesteps, sigma),
        .alpha = alpha,
        .sigma = sigma * alpha,
    };
}

static void add_noise(Sampler *s, float *x, double of_x, double amount)
{
    double factor = amount * s->options.s_noise;
    sampler_draw_step(s);
    sampler_mix(s, x, of_x, 1, (const float *const[]){s->noise}, &factor);
}

/* More noise than the level has, which the step then takes away as well (algorithm 2, lines 4 to 6). */
static void churn(Sampler *s, float *x)
{
    const SamplerOptions *o = &s->options;
    double sigma = k_sigma(&s->level);
    if (o->s_churn == 0 || sigma < o->s_tmin || sigma > o->s_tmax) return;
    double gamma = fmin(o->s_churn / s->diffusion->num_timesteps, sqrt(2) - 1);
    NoiseLevel more = k_level(s, sigma * (1 + gamma));
    add_noise(s, x, more.alpha / s->level.alpha, more.alpha * sigma * sqrt(gamma * (2 + gamma)));
    s->level = more;
}

Status sampler_step_euler(Sampler *s, float *x)
{
    NoiseLevel next = sampler_next(s);
    churn(s, x);
    TRY(sampler_denoise(s, x));
    sampler_move(s, &next, x);
    return STATUS_OK;
}

/* Down to less noise than the next level has, then up to it with fresh one; eta 1 is the variance of the process itself. */
Status sampler_step_euler_ancestral(Sampler *s, float *x)
{
    NoiseLevel next = sampler_next(s);
    double from = k_sigma(&s->level), to = k_sigma(&next);
    double up = fmin(to, s->options.eta * to / from * sqrt(from * from - to * to)), down = sqrt(fmax(to * to - up * up, 0));
    NoiseLevel below = {.alpha = 1 / sqrt(1 + down * down), .sigma = down / sqrt(1 + down * down)};
    TRY(sampler_denoise(s, x));
    sampler_move(s, &below, x);
    if (up > 0) add_noise(s, x, next.alpha / below.alpha, next.alpha * up);
    return STATUS_OK;
}

/* Euler's step, then half the difference that eps at its end makes (algorithm 1); x' depends on eps by the factor below. */
Status sampler_step_heun(Sampler *s, float *x)
{
    NoiseLevel next = sampler_next(s);
    churn(s, x);
    TRY(sampler_denoise(s, x));
    if (next.step < 0 || sampler_mostly_noise(s)) {
        sampler_move(s, &next, x);
        return STATUS_OK;
    }
    double half = 0.5 * (next.sigma - next.alpha * k_sigma(&s->level));
    float *eps = sampler_remember(s), *there = s->memory[1];
    sampler_eps(s, x, eps);
    sampler_move(s, &next, x);
    s->level = next;
    sampler_mix(s, there, 0, 1, (const float *const[]){x}, (const double[]){1}); /* predicting may change it */
    TRY(sampler_denoise(s, there));
    sampler_eps(s, there, there);
    sampler_mix(s, x, 1, 2, (const float *const[]){there, eps}, (const double[]){half, -half});
    return STATUS_OK;
}
