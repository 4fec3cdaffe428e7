/* The pictures that glide evaluate upsample measures with: originals and what is to be enlarged. */
#ifndef GLIDE_CMD_EVALUATE_PICTURES_H
#define GLIDE_CMD_EVALUATE_PICTURES_H

#include "common/image.h"
#include "data/dataset.h"
#include "glide/cmd_evaluate.h"

typedef struct EvaluatePictures {
    int count, scale, crop;
    char **originals, **smalls; /* (count) files; smalls[i] NULL: the original reduced. Both NULL with a data set */
    Dataset *dataset;
    int *indices;   /* (count) in the data set */
    double *pixels; /* (count) of originals, for the time that is left */
} EvaluatePictures;

/* Of --pairs or --data, in the order of their names (of a data set: guide_rows_held_out()). Every file is read once, so that a
 * bad one is told of before long work. */
Status evaluate_pictures_init(EvaluatePictures *p, CliArgs *args, int scale);
void evaluate_pictures_release(EvaluatePictures *p); /* zeroed is fine */

/* Both are empty after a failure. */
Status evaluate_pictures_read(const EvaluatePictures *p, int i, Image *original, Image *small);
/* "tiger.png", or a label and style. Returns `name`. */
const char *evaluate_pictures_name(const EvaluatePictures *p, int i, char *name, size_t size);

#endif
