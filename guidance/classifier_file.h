/* Classifiers in weights files (common/weights.h), kind "classifier". Where classes have names they are in classes/subjects and
 * classes/styles. */
#ifndef GLIDE_GUIDANCE_CLASSIFIER_FILE_H
#define GLIDE_GUIDANCE_CLASSIFIER_FILE_H

#include "common/weights.h"
#include "guidance/classifier.h"

#define CLASSIFIER_KIND "classifier"

/* Every hyper-parameter under the name guided-diffusion's constructor gives it. */
extern const ConfigField classifier_fields[];

/* Read a whole classifier. *hash (may be NULL) is weights_hash(). Errors name the file and what in it is wrong. */
Status classifier_load(const char *path, Classifier **out, uint64_t *hash);

/* A model as the file describes it, with values of zero. */
Status classifier_read_header(const H5File *file, Classifier **out);

/* The configuration and the names of classes into an open weights file; parameters are the caller's to write. */
Status classifier_write_header(H5File *file, const Classifier *m);
/* A whole file. kind: H5KIND_F32 or H5KIND_F16. */
Status classifier_save(const char *path, const Classifier *m, H5Kind kind);

#endif
