/* Random masks for training inpainting models: regions of a picture are erased, as the GLIDE paper (arXiv 2112.10741, section
 * 2.4) describes; the rest and the mask are what the model is shown. */
#ifndef GLIDE_DATA_MASKS_H
#define GLIDE_DATA_MASKS_H

#include "common/rng.h"

/* mask (N,side,side): 1 known, 0 erased by one to four rectangles or brush strokes; a share `unseen` (0 to 1) of the masks
 * shows nothing, so that the model still draws from text alone. Row i draws from (seed, step, first_row + i). */
void masks_draw(uint64_t seed, uint32_t step, uint32_t first_row, double unseen, int64_t N, int side, float *mask);

#endif
