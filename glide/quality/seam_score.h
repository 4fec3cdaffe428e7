/* Whether the borders of windows show. What is looked at is the error, result minus original, whose own edges are not the
 * picture's: where two windows meet badly it jumps. At a line across the picture, between two rows or columns of pixels,
 *
 *     q = mean |error on the one side - error on the other side|,
 *
 *   edge   sides of 1 pixel, at each pixel along the line: a hard seam
 *   step   means over 8 pixels away from the line and 16 along it: a change of colour or brightness
 *
 * over the line and the three channels, in codes. A border's value is the logarithm of its q against the mean logarithm of up to
 * eight lines beside it, at multiples of `unit` pixels from it (where the phase of the network's down-sampling is the same) and no
 * borders themselves. Without seams borders are lines like any others, and the mean value over all borders of all pictures is 0
 * but for chance: z, the mean over its standard error, is then within 2 of 0 in 95 of 100 cases (of 20
 * borders or more). Borders count as independent of one another.
 *
 *     SeamScore s = {0};
 *     for each picture: TRY(seam_score_add(&s, &result, &original, &lines));
 *     SeamResult r = seam_score_result(&s, SEAM_EDGE);
 *     seam_score_release(&s); */
#ifndef GLIDE_QUALITY_SEAM_SCORE_H
#define GLIDE_QUALITY_SEAM_SCORE_H

#include "common/image.h"

typedef enum { SEAM_EDGE, SEAM_STEP, SEAM_KINDS } SeamKind;

typedef struct SeamLines {
    const int *x, *y; /* borders, rising: between this pixel and the one before */
    int x_count, y_count;
    int unit;         /* at least 1 */
} SeamLines;

typedef struct SeamScore {
    double *values[SEAM_KINDS]; /* (counts[kind]) of borders */
    int counts[SEAM_KINDS], room[SEAM_KINDS];
} SeamScore;

/* A border with fewer than two lines to compare with is left out. STATUS_NO_MEMORY. */
Status seam_score_add(SeamScore *s, const Image *result, const Image *original, const SeamLines *lines);
void seam_score_release(SeamScore *s); /* zeroed is fine */

typedef struct SeamResult {
    int n;                   /* borders */
    double ratio, low, high; /* of q at borders and beside them, geometric mean, and its 95 % interval (normal); 1: no seam */
    double z;
} SeamResult;

/* All NaN with fewer than two borders. */
SeamResult seam_score_result(const SeamScore *s, SeamKind kind);

#endif
