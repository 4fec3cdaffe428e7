/* Training batches: pictures of the data set and freshly drawn captions as what a training step takes. Row r of step s depends only
 * on (seed, s, r), so an interrupted training goes on with exactly the rows it would have had. */
#ifndef GLIDE_DATA_BATCHES_H
#define GLIDE_DATA_BATCHES_H

#include "data/captions.h"
#include "data/dataset.h"
#include "text_transformer/bpe.h"

typedef struct BatchOptions {
    uint64_t seed;
    int text_ctx;
    float caption_drop; /* share of empty captions, for classifier-free guidance */
    bool flip;          /* mirror half of the pictures; half of the photos are mirrored anyhow */
    float photos;       /* share of rows that are tiles of photos, all tiles alike; 0: none, and the rows of a data set without */
    CaptionOptions captions;
    DatasetFilter filter;
} BatchOptions;

BatchOptions batch_options_defaults(void);

typedef struct Batches Batches;

/* `d` and `bpe` are borrowed. Several threads may draw rows at the same time. A share of photos above 0 of a data set that has
 * none is STATUS_BAD_INPUT. */
Status batches_new(Dataset *d, const Bpe *bpe, const BatchOptions *options, Batches **out);
void batches_free(Batches *b); /* NULL is fine */

/* Rows first_row..first_row+N-1 of a step. x (N,side,side,3) in [-1,1]; tokens, mask (N,text_ctx). */
/* The base model's: whole pictures at 64, or block means of them at a side that divides 64. */
Status batches_base(Batches *b, uint32_t step, uint32_t first_row, int64_t N, int side, float *x, int32_t *tokens,
                    uint8_t *mask);
/* The upsampler's: crops at random places (multiples of 4) of the 256 px pictures, preferring ones with something in them, and
 * low (N,side/4,side/4,3), their block means. */
Status batches_upsampler(Batches *b, uint32_t step, uint32_t first_row, int64_t N, int side, float *x, float *low,
                         int32_t *tokens, uint8_t *mask);

/* A tokenizer trained on captions of the index's pictures: 256 bytes + merges + the end token = n_vocab ids. */
Status batches_train_bpe(const Dataset *d, int n_vocab, Bpe **out);

#endif
