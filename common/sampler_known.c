#include "common/sampler.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { MOST_REPEATS = 16 }; /* as many visits of a step as noise is keyed for */

/* The known part of x becomes alpha * x_0 + sigma * noise at the level that `step` led to (RePaint, arXiv 2201.09865, equation
 * 8a); the last step leads to x_0 itself. */
static void put_known(Sampler *s, const SamplerKnown *k, int step, float *x)
{
    double abar = s->diffusion->alphas_cumprod_prev[step];
    float alpha = (float)sqrt(abar), sigma = (float)sqrt(1 - abar);
    int64_t pixels = s->height * s->width;
    sampler_draw(s, RNG_KNOWN_NOISE, sampler_noise_key(s), s->noise);
    for (int64_t p = 0; p < s->n * pixels; p++) {
        float known = k->mask[p % pixels];
        for (int c = 0; known > 0 && c < IMAGE_CHANNELS; c++) {
            float target = alpha * k->x_0[p % pixels * IMAGE_CHANNELS + c] + sigma * s->noise[p * IMAGE_CHANNELS + c];
            x[p * IMAGE_CHANNELS + c] = known * target + (1 - known) * x[p * IMAGE_CHANNELS + c];
        }
    }
}

/* From where `from` steps are left to where `to` are, which is noisier: the process itself, several steps at once. */
static void go_back(Sampler *s, int from, int to, float *x)
{
    double ratio = s->diffusion->alphas_cumprod[to - 1] / s->diffusion->alphas_cumprod_prev[from];
    float keep = (float)sqrt(ratio), add = (float)sqrt(1 - ratio);
    sampler_draw(s, RNG_JUMP_NOISE, sampler_noise_key(s), s->noise);
    for (int64_t i = 0; i < sampler_size(s); i++) x[i] = keep * x[i] + add * s->noise[i];
}

static Status check(const SamplerKnown *k)
{
    if (k->jump < 1) return status_fail(STATUS_BAD_INPUT, "jump: expected 1 or more steps, found %d", k->jump);
    if (k->repeats >= 1 && k->repeats <= MOST_REPEATS) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "repeats: expected 1 to %d, found %d", MOST_REPEATS, k->repeats);
}

Status sampler_run_known(Sampler *s, const SamplerKnown *k, float *x)
{
    assert(!s->options.kind->ascending);
    TRY(check(k));
    if (!s->noise) s->noise = malloc((size_t)sampler_size(s) * sizeof *s->noise); /* of kinds that draw none themselves */
    if (!s->noise) return status_fail(STATUS_NO_MEMORY, "out of memory for noise of %lld pictures", (long long)s->n);
    int left = s->diffusion->num_timesteps - s->options.skip, total = left * k->repeats, done = 0;
    while (left > 0) {
        int stretch = left < k->jump ? left : k->jump, end = left - stretch;
        for (s->visit = 0; s->visit < k->repeats; s->visit++) {
            if (s->visit > 0) go_back(s, end, left, x);
            for (int step = left - 1; step >= end; step--) {
                TRY(sampler_step(s, x, step));
                put_known(s, k, step, x);
                TRY(sampler_report(s, ++done, total, x));
            }
        }
        left = end;
    }
    s->visit = 0;
    return STATUS_OK;
}
