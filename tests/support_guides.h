/* Small classifiers and CLIPs with random weights, and what is asked of every guide. */
#ifndef GLIDE_TESTS_SUPPORT_GUIDES_H
#define GLIDE_TESTS_SUPPORT_GUIDES_H

#include "common/pt_reader.h"
#include "guidance/guide.h"

/* Every parameter random and none at zero or one, where mistakes hide. */
void fill_params(ParamSet *params, uint64_t seed);

/* count standard normal numbers, or the same times scale; free(). */
float *random_values(int64_t count, uint32_t stream, float scale);

/* A state dict with names and shapes of the parameters behind `skip` bytes of their names, but no values; free its items. */
StateDict shapes_as_dict(const ParamSet *params, const char *prefix);
void shapes_release(StateDict *dict);

/* Makes a guide for n pictures, the first of which is picture `first` of the test. */
typedef void (*MakeGuide)(const void *model, Kernels *k, int64_t first, int64_t n, Guide *out);

/* The gradient is that of the sum of scores: slopes along random directions, in each row alone. */
void check_guide_slopes(const void *model, MakeGuide make, int64_t side, double tolerance);
/* Rows have the same bits alone, in a batch, in parts of one, on one thread and two; and the model's parameters no gradients. */
void check_guide_rows(const void *model, const ParamSet *params, MakeGuide make, int64_t side);
/* bfloat16 points the same way. */
void check_guide_bf16(const void *model, MakeGuide make, int64_t side);

#endif
