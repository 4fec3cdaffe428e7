/* Eigenvalues and eigenvectors of a symmetric matrix: Householder's reduction to three diagonals, then QR steps with Wilkinson's
 * shift (Golub & Van Loan, Matrix Computations, 8.3). One thread, O(n^3); made for the covariances of a few hundred features. */
#ifndef GLIDE_ABLATION_SYMMETRIC_EIGEN_H
#define GLIDE_ABLATION_SYMMETRIC_EIGEN_H

#include "common/status.h"

/* a (n,n), of which both halves are read; afterwards row k of it is the eigenvector of values[k], of unit length. values (n)
 * ascend. Absolute error about 1e-15 n max|values|. Fails on what is not finite (STATUS_BAD_INPUT), and out of memory. */
Status symmetric_eigen(double *a, int n, double *values);

/* root (n,n) = the symmetric square root of a (n,n), which is overwritten; eigenvalues below 0 (rounding) count as 0. */
Status symmetric_root(double *a, int n, double *root);

#endif
