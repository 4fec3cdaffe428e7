/* Do the arrays that a file holds fit a model's parameters? By name and shape, with one error that lists what does
 * not. */
#ifndef GLIDE_COMMON_PARAMS_MATCH_H
#define GLIDE_COMMON_PARAMS_MATCH_H

#include "common/params.h"

typedef struct NamedShape {
    const char *name; /* borrowed */
    int ndim;
    const int64_t *dims; /* borrowed */
} NamedShape;

/* found[0..count): what the file `path` has. index[i] (params->count of them, the caller's): which of them is parameter i.
 * STATUS_BAD_INPUT: "PATH: the weights do not fit the model: 2 missing, 1 unexpected, 1 of another shape", and as details
 * (status.h) which ones, with the nearest name that the other side has to spare: up to MATCH_LINES lines in all.
 *
 *     missing:
 *       out.2.weightx (near out.2.weight)
 *       out.2.bias
 *     unexpected:
 *       out.2.weight (near out.2.weightx)
 *     of another shape:
 *       input_blocks.0.0.weight: found (8,3,3), expected (9,3,3) */
enum { MATCH_LINES = 20 };
Status params_match(const ParamSet *params, const char *path, const NamedShape *found, int count, int *index);

/* The name that is most like this one, if any is near enough to be a misspelling; else NULL. */
const char *name_nearest(const char *name, const char *const *names, int count);

/* STATUS_BAD_INPUT when values (count) hold NaN or infinity: "PATH: NAME holds 2 value(s) that are not finite ...". */
Status params_check_finite(const char *path, const char *name, const float *values, size_t count);

#endif
