/* The upsampler: a 64x64 picture (and maybe a caption) -> 256x256. Its named configurations, and how its low-resolution
 * input is degraded in training, so that it takes what the base model really makes. */
#ifndef GLIDE_UPSAMPLER_H
#define GLIDE_UPSAMPLER_H

#include "common/rng.h"
#include "text_transformer/text_unet.h"

enum { UPSAMPLER_SIDE = 256, UPSAMPLER_FACTOR = 4 };

extern const TextUNetPreset upsampler_presets[]; /* ends with a NULL name */

/* Fill `c` with a named configuration; STATUS_BAD_INPUT lists the names there are. n_vocab is the tokenizer's to say. */
Status upsampler_config(const char *name, TextUNetConfig *c);

/* low (N,side,side,3) in [-1,1], in place: half of the rows are blurred (3x3 box, by a random share) and half get Gaussian noise
 * (standard deviation up to 0.12), independently. Row i draws from (seed, step, first_row + i). As Cascaded Diffusion,
 * arXiv 2106.15282, section 4, without telling the model the level. scratch (side,side,3). */
void upsampler_degrade(float *low, int64_t N, int64_t side, uint64_t seed, uint32_t step, uint32_t first_row, float *scratch);

/* x (n values) in about [-1,1], in place: the base model's result as the upsampler gets it, round((x + 1) * 127.5) / 127.5 - 1,
 * halves to even, not clamped: as GLIDE's notebook does it, so that a picture read from an 8-bit file gives the same. */
void upsampler_round_low_res(float *x, int64_t n);

#endif
