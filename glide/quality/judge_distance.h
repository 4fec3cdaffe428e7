/* How different two pictures look to the judge of ablations (glide/ablation/judge.h): a distance of the feature maps of its picture
 * network, built like LPIPS (Zhang and others, arXiv 1801.03924, equation 1) but on another network, with patches and without
 * learned weights, so its numbers are no LPIPS and compare with nothing but themselves. It is called the judge distance.
 *
 *   patches   both pictures are cut into the same patches of the judge's side (64), side by side from the upper left; the last of a
 *             row or column ends with the picture (and overlaps its neighbour). Smaller pictures are enlarged by repeating edges.
 *   maps      of each patch, what the network holds at the end of each of its levels (32, 16, 8 and 4 pixels a side)
 *   distance  at each place of a map both vectors of channels are scaled to unit length; their squared difference, 0 to 4, is
 *             averaged over the places, then over the levels, all alike; then over the patches
 *
 * The judge learnt from clean emoji pictures and captions (data/TRAINING.md), and from nothing about enlarging. */
#ifndef GLIDE_QUALITY_JUDGE_DISTANCE_H
#define GLIDE_QUALITY_JUDGE_DISTANCE_H

#include "common/image.h"
#include "glide/ablation/judge.h"

/* a, b (n,side,side,3) in [-1,1] -> out (n): 0 is alike, 4 opposite. Patches depend on neither one another nor n nor threads. */
Status judge_patch_distances(Judge *j, Kernels *kernels, const float *a, const float *b, int64_t n, double *out);

/* Of two pictures of one size. */
Status judge_picture_distance(Judge *j, Kernels *kernels, const Image *a, const Image *b, double *out);

#endif
