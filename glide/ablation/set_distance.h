/* How far a set of pictures is from a set of real ones, in the features of some network: KID, Frechet distance, precision, recall.
 *
 *     RealSet *real;
 *     TRY(real_set_new(x, count, features, &real));
 *     TRY(set_distance(real, y, groups, each, &distances, of_group));
 *     real_set_free(real);
 *
 * The set at hand consists of groups (the pictures of a prompt), which are what varies independently. No distance of sets is a mean
 * over groups, so each comes with values of groups whose mean it is and whose spread over groups tells, to first order, how it
 * would vary with other groups: jackknife pseudo-values for KID and recall, the influence function for the Frechet distance,
 * for precision the plain means.
 *
 * Sums are in double precision and in a fixed order: the same on any number of threads. */
#ifndef GLIDE_ABLATION_SET_DISTANCE_H
#define GLIDE_ABLATION_SET_DISTANCE_H

#include "common/status.h"

typedef enum {
    /* MMD^2 without bias, kernel (x.y / features + 1)^3 (arXiv 1801.01401, section 4): near 0, also below, for like sets */
    DISTANCE_KID,
    /* |m_x - m_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)) with covariances over n - 1 (arXiv 1706.08500). Biased upwards where either
     * set is small beside the number of features */
    DISTANCE_FRECHET,
    /* arXiv 1904.06991, equations 1 to 3: the manifold of a set is the union of balls around its members as large as the distance
     * to the third nearest other member */
    DISTANCE_PRECISION, /* share of the pictures in the manifold of the real ones */
    DISTANCE_RECALL,    /* share of the real ones in the manifold of the pictures */
    SET_DISTANCES
} SetDistance;

enum { MANIFOLD_NEIGHBOURS = 3 };

typedef struct RealSet RealSet;

/* x (count,features) is borrowed. Takes count^2 features operations. Errors: count < 2, not finite. */
Status real_set_new(const float *x, int count, int features, RealSet **out);
void real_set_free(RealSet *real); /* NULL is fine */
double real_set_mean_distance(const RealSet *real); /* of two members */
/* What KID of the set with itself is: not 0, for among its pairs are those of a member with itself, -2/n (mean k(x,x) - mean
 * k(x,x')). */
double real_set_own_kid(const RealSet *real);

/* y (groups * each,features) -> distance (SET_DISTANCES), of_group (SET_DISTANCES,groups). NaN where the set is too small: KID and
 * Frechet distance want 2 pictures, precision and recall more than MANIFOLD_NEIGHBOURS on both sides; with one group, or one too
 * small to be left out, its values are the distance itself. */
Status set_distance(const RealSet *real, const float *y, int groups, int each, double distance[SET_DISTANCES], double *of_group);

/* a (n_a,features), b (n_b,features): one distance, NaN where a set is too small (for the checks: halves, a set and itself). */
Status set_distance_plain(const float *a, int n_a, const float *b, int n_b, int features, double distance[SET_DISTANCES]);

#endif
