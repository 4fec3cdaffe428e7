/* Which steps of a diffusion process a shorter one keeps.
 *
 * `section_counts`, as users of the reference implementation write them:
 *   ""          all steps
 *   "100"       100 steps at even distances, first and last included
 *   "10,10,3"   the process is cut into 3 equal sections (the first ones get the odd steps) that keep 10, 10 and 3
 *   "ddim50"    every k-th step from 0 on, for the whole k that leaves exactly 50 (arXiv 2010.02502, section 5)
 *   "fast27"    "10,10,3,2,2" with the last step moved two steps down: good for 27-step DDIM upsampling
 *   "karras20"  20 noise levels as arXiv 2206.00364, equation 5, spaces them with rho 7: close together where there is
 *               little noise. They lie between the timesteps (common/noise_levels.h), so the model is told fractional ones
 *   "logsnr20"  20 noise levels evenly spaced in log SNR, likewise (arXiv 2206.00927, section 3.3) */
#ifndef GLIDE_COMMON_RESPACE_H
#define GLIDE_COMMON_RESPACE_H

#include "common/status.h"

#include <stdint.h>

typedef enum { RESPACING_WHOLE, RESPACING_KARRAS, RESPACING_LOGSNR } RespacingKind;

/* Whether a text asks for kept steps or for levels between them, and how many steps it gives. `kind` may be NULL. */
Status respacing_count(int num_timesteps, const char *text, RespacingKind *kind, int *count);

/* For RESPACING_WHOLE. Kept steps of 0..num_timesteps-1 in rising order. `map` has room for num_timesteps entries, *count is
 * how many are used (0 only where all sections ask for 0). STATUS_BAD_INPUT: unreadable text, or a count that the process
 * cannot give. */
Status space_timesteps(int num_timesteps, const char *section_counts, int32_t *map, int *count);

#endif
