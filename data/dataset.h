/* Reader of the training data set: one HDF5 file with
 *   images    (N,256,256,3) u8, on white, compressed picture by picture
 *   images64  (N,64,64,3) u8, the 4x4 block means of images, plain
 *   label_en, label_ko, tags_en, tags_ko ('|' between), style, root, tone, group, split, code, licence: N strings
 * and the attributes format, format_version, count, count_train, ..., attribution, packages.
 *
 *     Dataset *d;
 *     TRY(dataset_open("emoji.h5", &d));
 *     ConceptIndex *index;
 *     TRY(concept_index_new(d, NULL, &index));           the training split, all styles
 *     int i = concept_index_draw(index, &key);           a concept, then one of its pictures
 *     memcpy(x, dataset_small(d, i), DATASET_SMALL_BYTES);   after dataset_load_small(d)
 *
 * Once open and loaded, all of it may be used by any number of threads at once. */
#ifndef GLIDE_DATA_DATASET_H
#define GLIDE_DATA_DATASET_H

#include "common/rng.h"
#include "common/status.h"
#include "data/manifest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATASET_FORMAT         "glide-dataset"
#define DATASET_FORMAT_VERSION 1
#define DATASET_SIDE           256
#define DATASET_BYTES          ((size_t)DATASET_SIDE * DATASET_SIDE * 3)
#define DATASET_SMALL_SIDE     64
#define DATASET_SMALL_BYTES    ((size_t)DATASET_SMALL_SIDE * DATASET_SMALL_SIDE * 3)
#define DATASET_MAX_COUNT      (1 << 22)
#define DATASET_MAX_TEXT       4096 /* bytes of one string */

/* What is known of a picture. Texts are UTF-8 and belong to the Dataset. */
typedef struct DatasetItem {
    const char *label_en, *label_ko; /* "firefighter: dark skin tone" */
    const char *tags_en, *tags_ko;   /* keywords, '|' between, may be "" */
    const char *style;               /* "fluent 3d" */
    const char *root;                /* the concept: "1F9D1-200D-1F692" */
    const char *tone;                /* skin tones: "", "5", "1-3" */
    const char *group;               /* "people-body" */
    const char *code;                /* code points: "1F9D1-1F3FF-200D-1F692" */
    const char *licence;
    Split split;
    bool photo;   /* a tile of a photo: its group is "photo" and its root "photo:" and the photo's name */
    int style_id; /* index for dataset_style() */
    int root_id;  /* index for dataset_root() */
} DatasetItem;

typedef struct Dataset Dataset;

/* Open, check format, shapes and strings, and read all but the pictures. Errors name the file and the dataset. */
Status dataset_open(const char *path, Dataset **out);
void dataset_free(Dataset *d); /* NULL is fine */

int dataset_count(const Dataset *d);
const DatasetItem *dataset_item(const Dataset *d, int i); /* 0 <= i < count */
int dataset_style_count(const Dataset *d);
const char *dataset_style(const Dataset *d, int style_id); /* in the order of first appearance */
int dataset_style_id(const Dataset *d, const char *style); /* -1 when there is none */
int dataset_root_count(const Dataset *d);
const char *dataset_root(const Dataset *d, int root_id);
const char *dataset_attribution(const Dataset *d); /* "" when the file has none */
int dataset_split_count(const Dataset *d, Split split);

/* Read all 64-pixel pictures into memory (12 KiB each). */
Status dataset_load_small(Dataset *d);
/* Picture i (64,64,3) u8; needs dataset_load_small(). */
const uint8_t *dataset_small(const Dataset *d, int i);
/* Read and decompress picture i: rgb (256,256,3) u8, about a millisecond. Any thread; one at a time gets its turn. */
Status dataset_read(Dataset *d, int i, uint8_t *rgb);

/* The pictures of training in two halves, so that what judges has seen no drawing that what guides was trained on. By concept and
 * style (skin tones stay together, and so do the three Fluent styles, which share drawings): the judge's when
 * u("judge:" root ":" family) < 500, u and family as in manifest.h, with the style's name for the source's id; else the guides'. */
typedef enum { HALF_BOTH, HALF_GUIDES, HALF_JUDGE } DatasetHalf;
DatasetHalf dataset_half(const DatasetItem *item);

/* Which pictures an index holds. */
typedef struct DatasetFilter {
    Split split;                /* default SPLIT_TRAIN */
    const float *style_weights; /* [dataset_style_count]; 0 leaves a style out. NULL: all 1 */
    DatasetHalf half;   /* default HALF_BOTH */
    float toned_weight; /* of pictures with skin tones, against 1 for the others; default 1, 0 leaves them out */
    bool photos;        /* tiles of photos, and nothing else; default false: none of them */
} DatasetFilter;

DatasetFilter dataset_filter_defaults(void);

/* Pictures by concept. Drawing takes a concept uniformly, then one of its pictures by weight, so that the many
 * skin-tone variants of people do not drown everything else. */
typedef struct ConceptIndex ConceptIndex;

/* `filter` NULL: the defaults. An index without any picture is an error. */
Status concept_index_new(const Dataset *d, const DatasetFilter *filter, ConceptIndex **out);
void concept_index_free(ConceptIndex *index); /* NULL is fine */
int concept_index_concepts(const ConceptIndex *index);
int concept_index_pictures(const ConceptIndex *index);
/* Pictures of concept k, 0 <= k < concepts: *count of them, borrowed. */
const int *concept_index_members(const ConceptIndex *index, int k, int *count);
/* A picture. Depends on the key only (stream RNG_DATA; step and image say which draw it is); the first 16 blocks of the
 * key's sequence are reserved for it. */
int concept_index_draw(const ConceptIndex *index, const RngKey *key);
/* A picture, each as likely as any other, whatever its concept: number rng_below(key, block, pictures). */
int concept_index_draw_picture(const ConceptIndex *index, const RngKey *key, uint32_t block);

#endif
