/* Fetched packages + manifest + list of photos -> one HDF5 data set, as data/dataset.h describes it. */
#ifndef GLIDE_DATA_BUILD_DATASET_H
#define GLIDE_DATA_BUILD_DATASET_H

#include "common/status.h"

#include <stdbool.h>

typedef struct BuildOptions {
    const char *out;             /* the HDF5 file */
    const char *cache;           /* where fetch.sh unpacked the packages */
    const char *lists;           /* folder of sources.tsv, manifest.tsv.gz, photos.tsv, ATTRIBUTION.txt */
    bool no_photos;              /* photos.tsv is not read */
    int threads;                 /* 0: all */
    bool (*stop)(void *context); /* asked after every picture; true ends with STATUS_INTERRUPTED. May be NULL */
    void (*progress)(void *context, const char *style, int done, int total); /* may be NULL */
    void *context;
} BuildOptions;

/* The file appears whole or not at all. Held-out photos are also written whole, as CACHE/photos-held-out/NAME.png.
 * Errors name the package, the icon or the file. */
Status build_dataset(const BuildOptions *options);

#endif
