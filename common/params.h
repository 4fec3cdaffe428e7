/* Parameters of a model: named f32 arrays in PyTorch's order of axes, gradients, and copies packed for the kernels.
 *
 * A model registers its parameters once, in a fixed order, under PyTorch's names; files are then bound to the set by name
 * and shape. Conv weights are (Cout,Cin,kh,kw), linear weights (out,in), norms and biases (C). */
#ifndef GLIDE_COMMON_PARAMS_H
#define GLIDE_COMMON_PARAMS_H

#include "common/status.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARAM_MAX_PACKED 6

typedef enum { INIT_ZERO, INIT_ONE, INIT_FAN_IN, INIT_NORMAL } ParamInit;

/* A kernel's own copy of a parameter in a layout of its own, e.g. oneDNN's blocked bf16. */
struct ParamPacked {
    const void *key; /* what it was packed for; NULL: free slot */
    uint64_t version;
    void *data;
    void (*destroy)(void *data);
};

/* Packed copies that several sets with the same values use at the same time, see params_share(). */
struct ParamShelf {
    pthread_mutex_t lock; /* held while slots are looked at; copies that are not stale stay where they are */
    struct ParamPacked packed[PARAM_MAX_PACKED];
};

typedef struct Param {
    char *name;
    int ndim;
    int64_t dims[4];
    size_t size;      /* elements */
    float *value;     /* f32 master copy; NULL while it is in a file only, see param_fetch() */
    bool shared;      /* value is another set's or a file's, not to be freed */
    const void *mapped; /* the values in a file that is mapped, read-only: f32, or halves, at any address; NULL: there is none */
    bool mapped_half;
    float *grad;      /* d_value, accumulated; NULL unless params_alloc_grads() was called */
    struct Param *grad_owner; /* whose gradient it is, and whose lock is held while something is added; NULL: not shared */
    pthread_mutex_t grad_lock; /* of an owner */
    bool matrix;      /* convolutions or linear layers multiply by it, and nothing else uses it */
    float lr_scale;   /* the optimiser's learning rate times this; 1 at first */
    bool int8;        /* forward kernels may round it, and what they multiply it with, to 8 bits */
    bool trainable;   /* ops skip the gradient when false or grad == NULL */
    ParamInit init;
    float init_scale; /* INIT_FAN_IN: uniform in +-scale/sqrt(fan_in); INIT_NORMAL: standard deviation */
    uint64_t version; /* raised by params_touch(); packed copies made from another version are stale */
    struct ParamPacked packed[PARAM_MAX_PACKED];
    struct Param *owner; /* whose values these are, and whose shelf and version count: itself for one that lends; NULL: not shared */
    struct ParamShelf shelf; /* of an owner */
} Param;

typedef struct ParamSet {
    Param **items; /* in registration order; each has a stable address */
    int count, capacity;
    size_t total;  /* elements of all */
    void *map;     /* of a file, see weights_map(); NULL: none */
    size_t map_size;
    bool shapes_only; /* set before the first is added: names and shapes alone, every value NULL until params_alloc() */
    bool failed;      /* there was no memory for one: none can be added any more, so who adds the last one need look at that only */
} ParamSet;

void params_init(ParamSet *set);
void params_release(ParamSet *set); /* frees everything; the set may be initialised again */

/* Register a parameter; value is zero-filled. NULL when out of memory, now or before. `format` makes the name. */
Param *params_add(ParamSet *set, ParamInit init, float init_scale, int ndim, const int64_t *dims, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
Param *params_find(const ParamSet *set, const char *name); /* NULL when there is none */

/* Fill every parameter from its init rule; the same seed gives the same values on any number of threads. */
void params_randomize(ParamSet *set, uint64_t seed);
/* The same for the one at `index`, which needs no other. */
void param_randomize(Param *param, uint64_t seed, int index);

/* Memory for the values of a set with shapes_only, zero-filled; the set is then as any other. */
Status params_alloc(ParamSet *set);
Status param_alloc(Param *param); /* of one */

/* The values of `owner`, a set of the same parameters that must live longer, serve `set` as well, which has none (shapes_only).
 * When they change, both sets have to be touched. Packed copies, too, are shared from now on: kernels in several threads, each
 * thread with one of the sets, find each other's. */
void params_share(ParamSet *set, const ParamSet *owner);

/* After params_alloc_grads() of both: the gradients of `set`'s matrices are added to those of `with`, a set of the same parameters that
 * must live longer, under a lock that kernels take. Sums of two have the same bits whoever comes first: so two sets, and no more, as
 * long as each adds to a matrix once before the sums are used. Other gradients, which are small, stay the set's own. */
void params_share_grads(ParamSet *set, ParamSet *with);
pthread_mutex_t *param_grad_lock(const Param *param); /* NULL: not shared */

/* Large parameters of a set that weights_map() filled stay in the file. Kernels and ops that read a weight (norms and biases are
 * always in memory) fetch its values, and leave it once they have a copy in a layout of their own: the memory of the values is
 * free again until the next fetch. Parameters in memory just stay there. NULL: out of memory. */
float *param_fetch(Param *param);
void param_leave(Param *param);
/* The same into the caller's memory: some values, or all of them, by all threads. */
void param_read(const Param *param, size_t first, size_t count, float *out);
void param_read_all(const Param *param, float *out);

Status params_alloc_grads(ParamSet *set); /* zero-filled */
void params_zero_grads(ParamSet *set);
void params_touch(ParamSet *set); /* values changed: packed copies are stale */

#endif
