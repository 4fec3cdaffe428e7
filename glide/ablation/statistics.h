/* Intervals and tests over units that are independent of one another (prompts), with random numbers that depend on nothing but
 * their count: the same draws serve all measures, so that what is compared is compared on the same resamples. */
#ifndef GLIDE_ABLATION_STATISTICS_H
#define GLIDE_ABLATION_STATISTICS_H

#include "common/status.h"

enum { RESAMPLING_EXACT_UNITS = 16, RESAMPLING_FLIPS = 1 << 19 };

typedef struct Resampling Resampling;

/* For n >= 1 units. */
Status resampling_new(int n, Resampling **out);
void resampling_free(Resampling *r); /* NULL is fine */

/* The mean of v (n) and its 95 % interval: percentiles of the means of 4000 bootstrap resamples, their distance from the mean
 * widened by sqrt(n / (n-1)), by which a resample's spread falls short. NaN limits with one unit, all NaN with a NaN in v. */
double resampling_interval(const Resampling *r, const double *v, double *low, double *high);

/* Two-sided p-value of "v (n) is as likely to have the other sign, unit by unit": the share of sign flips whose sum is at least as
 * far from 0. All 2^n flips where n <= 16, else random ones, among which the data themselves count as one: RESAMPLING_FLIPS of
 * them, or fewer where enough were as far to know that p is large (Besag & Clifford 1991). NaN with a NaN in v. */
double resampling_sign_flip(const Resampling *r, const double *v);

/* Holm's step-down correction of p (n) for n tests; NaN are no tests and stay NaN. corrected may be p. Returns how many tests. */
Status holm_correct(const double *p, int n, double *corrected, int *tests);

/* A permutation of 0..n-1 (n >= 2) without fixed points. */
Status derangement(int n, int *out);

#endif
