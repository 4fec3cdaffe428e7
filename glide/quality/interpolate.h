/* Enlarging without a model, to compare with: nearest neighbours, bicubic and Lanczos interpolation, by a whole factor, each axis
 * on its own, with half-pixel centres. */
#ifndef GLIDE_QUALITY_INTERPOLATE_H
#define GLIDE_QUALITY_INTERPOLATE_H

#include "common/image.h"

typedef enum {
    INTERPOLATE_NEAREST,
    INTERPOLATE_BICUBIC, /* Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -1/2 */
    INTERPOLATE_LANCZOS  /* sinc(x) sinc(x/3) for |x| < 3 */
} Interpolation;

/* Weights are scaled to add up to 1; at the edges those of pixels that are there. Rounds halves to even, once, at the end. *out is
 * empty after a failure: no memory, or a size beyond common/image.h. */
Status image_interpolate(Interpolation kind, const Image *in, int scale, Image *out);

#endif
