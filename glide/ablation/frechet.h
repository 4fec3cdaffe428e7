/* Frechet distance of two Gaussians fitted to sets of vectors (arXiv 1706.08500): |m_x - m_y|^2 + tr(S_x + S_y - 2 (S_x
 * S_y)^(1/2)), covariances over n - 1. The trace of the root is that of (A S_y A)^(1/2) with A the root of S_x, which is symmetric.
 */
#ifndef GLIDE_ABLATION_FRECHET_H
#define GLIDE_ABLATION_FRECHET_H

#include "common/status.h"

typedef struct Gaussian {
    int d;
    double *mean; /* (d) */
    double *root; /* (d,d) of the covariance */
    double trace; /* of the covariance */
} Gaussian;

/* x (n,d), n >= 2. */
Status gaussian_init(Gaussian *g, const double *x, int n, int d);
void gaussian_release(Gaussian *g);

/* x (groups * each,d), two rows or more. of_group (groups): distance + the influence function at each group, whose mean is the
 * distance: what moving weight to that group would change, to first order. */
Status frechet_distance(const Gaussian *g, const double *x, int groups, int each, double *distance, double *of_group);

#endif
