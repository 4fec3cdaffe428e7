/* A model's weights in HDF5, in a file that describes itself.
 *
 *     /                    attributes: format "glide-weights", format_version, kind ("base", "upsampler", ...) and every
 *                          hyper-parameter (config_fields.h)
 *     /provenance          attributes: where the weights come from (dataset, steps, seed, licence, trained_with, ...)
 *     /tokenizer/merges    the tokenizer's merges: one text in the official vocab.bpe format
 *     /params/NAME         one dataset per parameter, f32 or f16, in PyTorch's order of axes and the model's order of names
 *     /checkpoint/...      training only: adam_m/NAME, adam_v/NAME, ema/NAME (f32); attributes step, seed, ...
 *
 * Writing:                                               Reading:
 *     H5File *f;                                             H5File *f;
 *     TRY(weights_create(path, "base", &f));                 TRY(weights_open(path, "base", &f));
 *     config_write(f, "/", fields, &config);                 config_read(f, "/", fields, &config);
 *     weights_write_merges(f, text);                         weights_read_merges(f, &text);
 *     h5file_set_text(f, "provenance", "licence", "...");    model_new(&config, &params, ...);
 *     weights_write_params(f, &params, H5KIND_F16);          weights_bind(f, &params);
 *     weights_write_array(f, "checkpoint/ema", &params, ema, H5KIND_F32);
 *     h5file_commit(f)  or  h5file_close(f) to abandon       h5file_close(f);
 *
 * A file appears whole or not at all (h5file.h). Errors: STATUS_BAD_INPUT names the file and what in it is wrong. */
#ifndef GLIDE_COMMON_WEIGHTS_H
#define GLIDE_COMMON_WEIGHTS_H

#include "common/config_fields.h"
#include "common/params.h"

#define WEIGHTS_FORMAT "glide-weights"
#define WEIGHTS_VERSION 1
#define WEIGHTS_KIND_MAX 32 /* bytes of a kind's name, NUL included */

Status weights_create(const char *path, const char *kind, H5File **out);

/* Opens and checks format, version and kind (NULL: any). Errors tell apart: not HDF5, another format, a newer version,
 * another kind. */
Status weights_open(const char *path, const char *kind, H5File **out);
Status weights_kind(const H5File *file, char kind[WEIGHTS_KIND_MAX]);

Status weights_write_merges(H5File *file, const char *text);
Status weights_read_merges(const H5File *file, char **text); /* free() */

/* Store every parameter as `kind` (H5KIND_F32 or H5KIND_F16). A value that is not finite, or too large for F16, is an error
 * that names the parameter. */
Status weights_write_params(H5File *file, const ParamSet *params, H5Kind kind);
/* One of them, for models that are written piece by piece. Call for each, in the set's order. */
Status weights_write_param(H5File *file, const Param *param, H5Kind kind);

/* Do names and shapes fit? As weights_bind(), before memory is taken for values. */
Status weights_match(const H5File *file, const ParamSet *params);
/* Read every parameter of the model, by name and shape; missing, unexpected and wrongly shaped ones are one error that
 * lists them (params_match.h), NaN and infinity another. On failure some values may have been overwritten. */
Status weights_bind(const H5File *file, ParamSet *params);

/* The same for a model that will only be read: `params`, a set of shapes alone (ParamSet.shapes_only), takes the values from the
 * mapped file when a kernel wants them (param_fetch()). All are read once, to find NaN and infinity and for *hash (weights_hash();
 * may be NULL). The file may be replaced afterwards, but not written over. On failure the set is to be released. */
Status weights_map(const H5File *file, ParamSet *params, uint64_t *hash);

/* Any other f32 array per parameter (moments, averages): `values` has params->total elements, parameters one after the
 * other in their order; the group holds one dataset per parameter under its name. */
Status weights_write_array(H5File *file, const char *group, const ParamSet *params, const float *values, H5Kind kind);
Status weights_read_array(const H5File *file, const char *group, const ParamSet *params, float *values);

/* A hash over names, shapes and values (as f32, so half precision on disk and the same values in single have one hash);
 * independent of the order of parameters, the machine and the number of threads. Shown as 16 hex digits. */
uint64_t weights_hash(const ParamSet *params);

typedef struct WeightsSummary {
    char kind[WEIGHTS_KIND_MAX];
    int params;       /* how many datasets */
    int64_t elements; /* in all of them */
    int64_t halves;   /* elements that are stored in half precision */
    bool has_merges, has_checkpoint;
} WeightsSummary;

/* For `glide info`: what can be told without reading values. */
Status weights_summary(const H5File *file, WeightsSummary *out);

#endif
