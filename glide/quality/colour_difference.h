/* How different two colours look: CIEDE2000 (CIE 142-2001), as Sharma, Wu and Dalal write it in "The CIEDE2000 color-difference
 * formula: implementation notes, supplementary test data, and mathematical observations", Color Research and Application 30(1),
 * 2005, equations 2 to 22, with kL = kC = kH = 1. About 1 is what one just sees when two patches lie side by side. */
#ifndef GLIDE_QUALITY_COLOUR_DIFFERENCE_H
#define GLIDE_QUALITY_COLOUR_DIFFERENCE_H

#include "common/image.h"

/* L*, a*, b* of two colours. */
double ciede2000(const double first[3], const double second[3]);

/* sRGB codes (IEC 61966-2-1) -> L*, a*, b* under D65, 2 degrees. */
void lab_of_srgb(const uint8_t rgb[3], double lab[3]);

/* Mean over the pixels of two pictures of one size. The same on any number of threads. */
Status picture_colour_difference(const Image *a, const Image *b, double *out);

#endif
