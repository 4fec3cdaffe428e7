#include "common/sampler.h"

/* Adams-Bashforth on eps over evenly spaced timesteps, of an order that rises with what is remembered; x then goes on as DDIM's
 * would with that eps (arXiv 2202.09778, equations 11 and 12). */
static const double weights[SAMPLER_MEMORY][SAMPLER_MEMORY] = {
    {1},
    {3.0 / 2, -1.0 / 2},
    {23.0 / 12, -16.0 / 12, 5.0 / 12},
    {55.0 / 24, -59.0 / 24, 37.0 / 24, -9.0 / 24},
};

/* The first step has no eps before it, so it takes the mean with the one at its end. */
static Status first_step(Sampler *s, const NoiseLevel *next, double of_eps, float *x)
{
    float *eps = s->memory[0], *there = s->memory[SAMPLER_MEMORY - 1];
    sampler_move(s, next, x);
    if (next->step < 0) return STATUS_OK;
    s->level = *next;
    sampler_mix(s, there, 0, 1, (const float *const[]){x}, (const double[]){1}); /* predicting may change it */
    TRY(sampler_denoise(s, there));
    sampler_eps(s, there, there);
    sampler_mix(s, x, 1, 2, (const float *const[]){there, eps}, (const double[]){of_eps / 2, -of_eps / 2});
    return STATUS_OK;
}

Status sampler_step_plms(Sampler *s, float *x)
{
    NoiseLevel next = sampler_next(s);
    double of_x = next.alpha / s->level.alpha, of_eps = next.sigma - s->level.sigma * of_x, factors[SAMPLER_MEMORY];
    TRY(sampler_denoise(s, x));
    if (sampler_mostly_noise(s)) {
        sampler_move(s, &next, x);
        s->taken = -1; /* the next is the first one */
        return STATUS_OK;
    }
    sampler_eps(s, x, sampler_remember(s));
    if (s->taken == 0) return first_step(s, &next, of_eps, x);
    int before = s->taken < SAMPLER_MEMORY ? s->taken : SAMPLER_MEMORY - 1;
    for (int i = 0; i <= before; i++) factors[i] = of_eps * weights[before][i];
    sampler_mix(s, x, of_x, before + 1, (const float *const *)s->memory, factors);
    return STATUS_OK;
}
