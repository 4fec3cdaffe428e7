/* How near an enlarged picture is to the original, in pixels. Both have the same size; values are 8-bit codes (0 to 255). Luma is
 * 0.299 R + 0.587 G + 0.114 B of the codes (Rec. BT.601), as the literature on super-resolution takes it.
 *
 * The same pictures give the same numbers on any number of threads. STATUS_NO_MEMORY is the only error where there is one. */
#ifndef GLIDE_QUALITY_PICTURE_QUALITY_H
#define GLIDE_QUALITY_PICTURE_QUALITY_H

#include "common/image.h"

#define PICTURE_MOST_PSNR 100.0 /* dB: what equal pictures count as, so that means stay finite */

/* Peak signal-to-noise ratio, 10 log10(255^2 / mean squared difference) over all pixels and channels, in dB. */
double picture_psnr(const Image *a, const Image *b);

/* Mean structural similarity of luma (Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
 * structural similarity", IEEE Transactions on Image Processing 13(4), 2004, equation 13): a Gaussian window of 11x11 with standard
 * deviation 1.5, weights adding up to 1, K1 = 0.01, K2 = 0.03, L = 255; the mean of
 *
 *     (2 mu_a mu_b + C1) (2 sigma_ab + C2) / ((mu_a^2 + mu_b^2 + C1) (sigma_a^2 + sigma_b^2 + C2)),   C1 = (K1 L)^2, C2 = (K2 L)^2
 *
 * over the places where the whole window is inside of the picture. NaN when a side is under 11. */
Status picture_ssim(const Image *a, const Image *b, double *out);

/* PSNR of `large`, reduced by means of scale x scale pixels (not rounded), against `small`, what it was made of. An original that
 * was reduced so and rounded to 8 bits has about 59 dB. */
double picture_consistency(const Image *large, const Image *small, int scale);

/* Energy of luma's gradient (sum of squared differences of neighbours, across and down) against the original's: 1 is as sharp, less
 * is blurred, more is noisy or overdone. NaN for an original without any. */
double picture_edge_ratio(const Image *result, const Image *original);

#endif
