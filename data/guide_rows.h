/* Rows of a training step for guides and judge: a picture of 64 pixels, what is known of it, and a freshly drawn caption. Row r of
 * step s depends only on (seed, s, r), as in batches.h. */
#ifndef GLIDE_DATA_GUIDE_ROWS_H
#define GLIDE_DATA_GUIDE_ROWS_H

#include "data/captions.h"
#include "data/dataset.h"

typedef struct GuideRowOptions {
    uint64_t seed;
    bool flip;  /* mirror half of the pictures */
    bool move;  /* enlarge or shrink by up to a tenth, and move by up to 4 pixels; what comes in is white */
    bool pairs; /* every fourth row shows another picture of the concept of the row before it: styles have to be told apart */
    CaptionOptions captions;
    DatasetFilter filter;
} GuideRowOptions;

typedef struct GuideRows GuideRows;

/* `d` is borrowed. Several threads may draw rows at the same time. */
Status guide_rows_new(Dataset *d, const GuideRowOptions *options, GuideRows **out);
void guide_rows_free(GuideRows *r); /* NULL is fine */

/* x (64,64,3) in [-1,1]; caption (CAPTION_SIZE bytes) may be NULL. Returns which picture it is. */
int guide_rows_draw(const GuideRows *r, uint32_t step, uint32_t row, float *x, char *caption);

/* Picture i as it is, (64,64,3) in [-1,1]; needs dataset_load_small(). */
void guide_rows_picture(const Dataset *d, int i, float *x);

/* Up to `most` pictures of a split, without photos, in an order that looks random and is always the same: *out is the caller's. */
Status guide_rows_held_out(Dataset *d, Split split, int most, int **out, int *count);

#endif
