/* Random arrays in a kernel's dtype together with their exact values, and comparisons with the double-precision
 * reference. */
#ifndef GLIDE_TESTS_SUPPORT_KERNELS_H
#define GLIDE_TESTS_SUPPORT_KERNELS_H

#include "common/kernels.h"

typedef struct Values {
    DType type;
    int64_t n;
    double *exact; /* what data holds; of an output: what was last read back */
    void *data;    /* n elements of type, 64-byte aligned, between guard bytes */
    void *block;   /* private */
} Values;

/* mean + std * standard normal, rounded to type. */
Values values_random(DType type, int64_t n, double mean, double std);
/* Filled with NaN, so that an element that a kernel leaves out is seen. */
Values values_output(DType type, int64_t n);
void values_free(Values *v); /* fails the test when something was written outside */

/* A parameter for the kernels, made from f32 values; param_release frees what kernels packed. */
Param param_from_values(const Values *v, int ndim, const int64_t *dims);
void param_release_packed(Param *param);

/* Fails unless |got - want| <= tolerance * (|want| + rms of want) everywhere. */
void assert_values_close(const char *what, Values *got, const double *want, double tolerance);
/* Fails unless both hold the same bytes. */
void assert_values_same(const char *what, const Values *a, const Values *b);

/* One set of kernels under test, and how far its results may be from the exact ones. */
typedef struct KernelSet {
    KernelsChoice choice;
    const char *label;
    bool avx2; /* plain C for AVX2 where the machine has it: kernels_new() would only choose it where it is the best */
} KernelSet;

#define KERNEL_SETS 4
extern const KernelSet kernel_sets[KERNEL_SETS];

Kernels *kernel_set_open(const KernelSet *set); /* fails the test when it cannot */

/* Rounding of the result to `type`; for matrix products of the bf16 kind the best kernels also round weights
 * and probabilities to bf16. `f32` is the tolerance of f32 results. */
double tolerance_of(DType type, double f32);
double tolerance_of_product(const KernelSet *set, DType type, double f32);

/* omp_set_num_threads, also where there is a single core; but OMP_NUM_THREADS=1 stays 1 */
void use_threads(int count);

#endif
