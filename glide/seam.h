/* Closing the seam around what was painted on a picture. */
#ifndef GLIDE_SEAM_H
#define GLIDE_SEAM_H

#include "common/image.h"

/* The painted values keep their differences from one another, and get the colours with which the steps to those around them vanish:
 * painted + c, where c solves Laplace's equation, its values at the border being what is missing there (Perez, Gangnet, Blake:
 * Poisson Image Editing, SIGGRAPH 2003, sections 2 and 3). A model's answer that is off by a colour, or by different ones along the
 * border, so comes to fit; one that fits stays as it is. No other value changes, and what is painted all over stays as it is.
 * x (h,w,3); paint (h,w): not 0 where it was painted. STATUS_NO_MEMORY. */
Status seam_close_values(float *x, const uint8_t *paint, int w, int h);

/* The same for a picture, paint being of all of it and in the rectangle x, y, w, h; values are rounded and held in 0..255. */
Status seam_close(Image *picture, const uint8_t *paint, int x, int y, int w, int h);

#endif
