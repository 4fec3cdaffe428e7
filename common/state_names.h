/* Reading a model's configuration off the names and shapes of a state dict. */
#ifndef GLIDE_COMMON_STATE_NAMES_H
#define GLIDE_COMMON_STATE_NAMES_H

#include "common/pt_reader.h"

typedef struct StateNames {
    const StateDict *dict;
    const char *path;  /* for messages */
    const char *model; /* what it should be: "a guided-diffusion classifier" */
} StateNames;

/* NULL when there is none. */
const StateTensor *names_find(const StateNames *n, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* dims[0..ndim-1] of a tensor that must be there with `ndim` dimensions of 1 to 2^24. STATUS_BAD_INPUT: "PATH: no parameter
 * NAME: not MODEL (the nearest name is OTHER)", or which dimension is odd. */
Status names_shape(const StateNames *n, const char *name, int ndim, int *dims);

/* The same, and the sizes must be these. Sizes that multiply to others are checked so before a model is made: a file that
 * passes is about as large as its model. */
Status names_expect(const StateNames *n, const char *name, int ndim, const int *expected);

#endif
