#include "glide/guide_noise.h"

#include "common/rng.h"

/* In pieces, so that no buffer is needed. */
static void add_noise(const Diffusion *d, int t, const RngKey *key, int64_t size, float *x)
{
    enum { PIECE = 1 << 14 };
    float noise[PIECE];
    for (int64_t at = 0, part = 0; at < size; at += PIECE, part++) {
        int64_t n = size - at < PIECE ? size - at : PIECE;
        RngKey own = *key;
        own.seed += (uint64_t)part << 32;
        rng_normal(&own, noise, n);
        diffusion_q_sample(d, x + at, noise, &t, 1, n, x + at);
    }
}

void guide_noise_draw(const Diffusion *d, uint64_t seed, uint32_t step, uint32_t first, int64_t n, int64_t total, int64_t size,
                      float *x, float *timesteps)
{
    float offset = rng_uniform(&(RngKey){seed, RNG_DIFFUSION, UINT32_MAX, step}, 0);
    for (int64_t i = 0; i < n; i++) {
        uint32_t row = first + (uint32_t)i;
        double u = (double)offset + (double)row / (double)total;
        int t = (int)((u - (double)(int64_t)u) * d->num_timesteps);
        if (t >= d->num_timesteps) t = d->num_timesteps - 1;
        timesteps[i] = (float)t;
        add_noise(d, t, &(RngKey){seed, RNG_DIFFUSION, row, step}, size, x + i * size);
    }
}

void guide_noise_at(const Diffusion *d, int timestep, uint32_t row, int64_t size, float *x)
{
    add_noise(d, timestep, &(RngKey){.seed = 1, .stream = RNG_DIFFUSION, .image = row, .step = UINT32_MAX}, size, x);
}
