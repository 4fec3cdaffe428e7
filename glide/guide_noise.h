/* Noise for guides: what they are trained on and measured with. */
#ifndef GLIDE_GUIDE_NOISE_H
#define GLIDE_GUIDE_NOISE_H

#include "common/diffusion.h"

/* Rows first .. first+n-1 of a training step's `total`: x (n,size) becomes x_t. Timesteps are spread evenly with one random offset
 * a step, as in text_unet_train.h; timesteps (n). */
void guide_noise_draw(const Diffusion *d, uint64_t seed, uint32_t step, uint32_t first, int64_t n, int64_t total, int64_t size,
                      float *x, float *timesteps);
/* One picture (size) at a timestep, with noise that is always the same for `row`. */
void guide_noise_at(const Diffusion *d, int timestep, uint32_t row, int64_t size, float *x);

#endif
