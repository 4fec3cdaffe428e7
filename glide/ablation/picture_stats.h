/* What can be said about 8-bit pictures without any model: colourfulness, contrast, clipping, differences. */
#ifndef GLIDE_ABLATION_PICTURE_STATS_H
#define GLIDE_ABLATION_PICTURE_STATS_H

#include <stdint.h>

typedef struct PictureStats {
    double saturation; /* mean of max(R,G,B) - min(R,G,B), in codes / 255 */
    double contrast;   /* standard deviation of luma (0.2126 R + 0.7152 G + 0.0722 B), in codes / 255 */
    double clipped;    /* share of values that are 0 or 255 */
} PictureStats;

/* picture (pixels,3), pixels >= 1. */
PictureStats picture_measure(const uint8_t *picture, int64_t pixels);

/* pictures (count,pixels,3): the mean over pairs of the root mean square difference, in codes / 255. NaN with fewer than two. */
double pictures_diversity(const uint8_t *pictures, int count, int64_t pixels);

#endif
