/* State dictionaries of PyTorch: the files torch.save() writes, read without Python and without running anything.
 *
 *     StateDict *dict;
 *     TRY(state_dict_open("base.pt", NULL, &dict));
 *     for (int i = 0; i < dict->count; i++) ... dict->items[i].name, .ndim, .dims ...
 *     Status status = state_dict_bind(dict, &params);      or state_dict_read_f32(dict, &dict->items[i], values)
 *     state_dict_close(dict);
 *
 * Formats: the zip archive of PyTorch 1.6 and later and the older one (told apart by their contents), little-endian. The
 * pickle inside may hold tensors (any strides, shared storages), Parameters, dictionaries, lists and plain values; any
 * other class or function is refused by its name (pickle.h). Values are read when asked for: besides the caller's arrays
 * memory holds the pickle and one tensor as it is stored. Shapes, strides, offsets and storages are checked when the file is opened.
 * Errors: STATUS_BAD_INPUT with the file, the tensor and what is wrong (a file that was cut off is called truncated). */
#ifndef GLIDE_COMMON_PT_READER_H
#define GLIDE_COMMON_PT_READER_H

#include "common/params.h"

#define PT_MAX_DIMS 8

typedef enum {
    PT_F32, PT_F16, PT_BF16, PT_F64, PT_I64, PT_I32, PT_I16, PT_I8, PT_U8, PT_BOOL
} PtDType;

const char *pt_dtype_name(PtDType dtype); /* PyTorch's: "float32", "bfloat16", "int64", ... */

typedef struct StateTensor {
    char *name;
    PtDType dtype; /* as stored */
    int ndim;      /* 0: a scalar */
    int64_t dims[PT_MAX_DIMS];
    int64_t size;  /* elements */
    int64_t strides[PT_MAX_DIMS], offset; /* in elements of the storage */
    int64_t place, storage_size;          /* where the storage is (the source's business), its elements */
} StateTensor;

typedef struct StateDict {
    StateTensor *items; /* in the file's order */
    int count;
    int skipped;        /* entries that are neither tensors nor, with `flatten`, dictionaries or lists */
    struct PtSource *source;
} StateDict;

typedef struct StateDictOptions {
    const char *key; /* read the dictionary under this key, at whatever depth it is first found; NULL: the outermost if it
                      * holds tensors, else the one under "state_dict" */
    bool flatten;    /* also take tensors out of nested dictionaries and lists, as "outer.inner" */
} StateDictOptions;

/* options NULL: {0}. *out is the caller's. */
Status state_dict_open(const char *path, const StateDictOptions *options, StateDict **out);
void state_dict_close(StateDict *dict); /* NULL is fine */

int64_t state_dict_bytes(const StateDict *dict); /* of the file */
StateTensor *state_dict_find(const StateDict *dict, const char *name); /* NULL when there is none */

/* out (tensor->size), row-major. f32 and f64 take any stored type, i64 only whole numbers and bool. */
Status state_dict_read_f32(StateDict *dict, const StateTensor *tensor, float *out);
Status state_dict_read_f64(StateDict *dict, const StateTensor *tensor, double *out);
Status state_dict_read_i64(StateDict *dict, const StateTensor *tensor, int64_t *out);

/* Read every parameter of a model, by name and shape; errors as weights_bind(). */
Status state_dict_bind(StateDict *dict, ParamSet *params);
/* The same piece by piece: index[i] (params->count of them) is the tensor of parameter i; then that one's values. */
Status state_dict_match(const StateDict *dict, const ParamSet *params, int *index);
Status state_dict_read_param(StateDict *dict, const StateTensor *tensor, Param *param);

#endif
