/* Do the arrays that a file holds fit a model's parameters? By name and shape, with one error that lists what does not. */
#ifndef GLIDE_COMMON_PARAMS_MATCH_H
#define GLIDE_COMMON_PARAMS_MATCH_H

#include "common/params.h"

typedef struct NamedShape {
    const char *name; /* borrowed */
    int ndim;
    const int64_t *dims; /* borrowed */
} NamedShape;

/* found[0..count): what the file `path` has. index[i] (params->count of them, the caller's): which of them is parameter i.
 * STATUS_BAD_INPUT: "PATH: the weights do not fit the model: 2 missing (a, did you mean b?; c), 1 unexpected (d, near e), 1 of
 * another shape (f is (3,4), expected (4,4))", each list with its first few: all of it is a screenful at most. */
Status params_match(const ParamSet *params, const char *path, const NamedShape *found, int count, int *index);

/* The name that is most like this one, if any is near enough to be a misspelling; else NULL. */
const char *name_nearest(const char *name, const char *const *names, int count);

/* STATUS_BAD_INPUT when values (count) hold NaN or infinity: "PATH: NAME holds 2 value(s) that are not finite ...". */
Status params_check_finite(const char *path, const char *name, const float *values, size_t count);

#endif
