#include "data/batches.h"

#include "text_transformer/bpe_train.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_BPE_CAPTIONS = 40000, BPE_CAPTIONS_PER_PICTURE = 16, CROP_TRIES = 4 };
/* Blocks of the key's sequence; before them: data set and captions. */
enum { BLOCKS_BATCH = 32, BLOCK_IS_PHOTO, BLOCK_PHOTO };

struct Batches {
    Dataset *dataset;
    const Bpe *bpe;
    BatchOptions options;
    ConceptIndex *index, *photos; /* photos: NULL when their share is 0 */
};

BatchOptions batch_options_defaults(void)
{
    return (BatchOptions){.text_ctx = 48, .caption_drop = 0.15f, .captions = caption_options_defaults(),
                          .filter = dataset_filter_defaults()};
}

static Status open_photos(Batches *b)
{
    DatasetFilter filter = {.split = b->options.filter.split, .toned_weight = 1, .photos = true};
    Status s = concept_index_new(b->dataset, &filter, &b->photos);
    return s == STATUS_OK ? s : status_prefix(s, "--photos %g", (double)b->options.photos);
}

Status batches_new(Dataset *d, const Bpe *bpe, const BatchOptions *options, Batches **out)
{
    Batches *b = calloc(1, sizeof *b);
    if (!b) return status_fail(STATUS_NO_MEMORY, "out of memory for batches");
    b->dataset = d;
    b->bpe = bpe;
    b->options = *options;
    Status s = concept_index_new(d, &options->filter, &b->index);
    if (s == STATUS_OK && options->photos > 0) s = open_photos(b);
    if (s == STATUS_OK) s = dataset_load_small(d);
    if (s != STATUS_OK) {
        batches_free(b);
        return s;
    }
    *out = b;
    return STATUS_OK;
}

void batches_free(Batches *b)
{
    if (!b) return;
    concept_index_free(b->index);
    concept_index_free(b->photos);
    free(b);
}

static RngKey row_key(const Batches *b, uint32_t step, uint32_t row)
{
    return (RngKey){.seed = b->options.seed, .stream = RNG_DATA, .image = row, .step = step};
}

static int draw_picture(const Batches *b, const RngKey *key)
{
    if (b->photos && rng_uniform(key, 4 * BLOCK_IS_PHOTO) < b->options.photos)
        return concept_index_draw_picture(b->photos, key, BLOCK_PHOTO);
    return concept_index_draw(b->index, key);
}

/* The row's caption as tokens. */
static Status draw_caption(Batches *b, const RngKey *key, int picture, int32_t *tokens, uint8_t *mask)
{
    char caption[CAPTION_SIZE] = "";
    size_t size = 0;
    if (rng_uniform(key, 4 * BLOCKS_BATCH) >= b->options.caption_drop)
        size = caption_draw(b->dataset, picture, &b->options.captions, key, caption, sizeof caption);
    if (size >= sizeof caption) size = sizeof caption - 1;
    return bpe_encode_padded(b->bpe, caption, size, b->options.text_ctx, tokens, mask);
}

static bool draw_flip(const Batches *b, const RngKey *key, int picture)
{
    return (b->options.flip || dataset_item(b->dataset, picture)->photo) && rng_uniform(key, 4 * BLOCKS_BATCH + 1) < 0.5f;
}

/* Block means of `factor` of a square u8 picture of `in_side` pixels, as [-1,1]. `rows` starts at the crop's corner. */
static void block_mean(const uint8_t *rows, int in_side, int factor, int side, bool flip, float *x)
{
    float scale = 1.0f / (127.5f * (float)(factor * factor));
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++)
            for (int c = 0; c < 3; c++) {
                int sum = 0;
                for (int dy = 0; dy < factor; dy++)
                    for (int dx = 0; dx < factor; dx++)
                        sum += rows[((i * factor + dy) * in_side + j * factor + dx) * 3 + c];
                x[(i * side + (flip ? side - 1 - j : j)) * 3 + c] = (float)sum * scale - 1;
            }
}

Status batches_base(Batches *b, uint32_t step, uint32_t first_row, int64_t N, int side, float *x, int32_t *tokens, uint8_t *mask)
{
    if (side < 1 || side > DATASET_SMALL_SIDE || DATASET_SMALL_SIDE % side)
        return status_fail(STATUS_BAD_INPUT, "side: expected a divisor of 64, found %d", side);
    Status status = STATUS_OK;
    int ctx = b->options.text_ctx;
    for (int64_t n = 0; n < N && status == STATUS_OK; n++) {
        RngKey key = row_key(b, step, first_row + (uint32_t)n);
        int picture = draw_picture(b, &key);
        status = draw_caption(b, &key, picture, tokens + n * ctx, mask + n * ctx);
        block_mean(dataset_small(b->dataset, picture), DATASET_SMALL_SIDE, DATASET_SMALL_SIDE / side, side,
                   draw_flip(b, &key, picture), x + n * side * side * 3);
    }
    return status;
}

/* Does the crop hold anything but one colour? */
static bool has_content(const uint8_t *rows, int side)
{
    for (int i = 0; i < side; i += 2)
        for (int j = 0; j < side; j += 2)
            for (int c = 0; c < 3; c++)
                if (abs(rows[(i * DATASET_SIDE + j) * 3 + c] - rows[c]) > 16) return true;
    return false;
}

static const uint8_t *draw_crop(const uint8_t *picture, const RngKey *key, int side)
{
    const uint8_t *corner = picture;
    uint32_t places = (uint32_t)(DATASET_SIDE - side) / 4 + 1;
    for (uint32_t i = 0; i < CROP_TRIES; i++) {
        uint32_t top = 4 * rng_below(key, 4 * BLOCKS_BATCH + 2 + 2 * i, places);
        uint32_t left = 4 * rng_below(key, 4 * BLOCKS_BATCH + 3 + 2 * i, places);
        corner = picture + (top * DATASET_SIDE + left) * 3;
        if (has_content(corner, side)) break;
    }
    return corner;
}

/* One row; `rgb` is a block for its whole picture. */
static Status upsampler_row(Batches *b, const RngKey *key, int side, uint8_t *rgb, float *x, float *low, int32_t *tokens,
                            uint8_t *mask)
{
    int picture = draw_picture(b, key);
    TRY(draw_caption(b, key, picture, tokens, mask));
    TRY(dataset_read(b->dataset, picture, rgb));
    const uint8_t *corner = draw_crop(rgb, key, side);
    bool flip = draw_flip(b, key, picture);
    block_mean(corner, DATASET_SIDE, 1, side, flip, x);
    block_mean(corner, DATASET_SIDE, 4, side / 4, flip, low);
    return STATUS_OK;
}

Status batches_upsampler(Batches *b, uint32_t step, uint32_t first_row, int64_t N, int side, float *x, float *low,
                         int32_t *tokens, uint8_t *mask)
{
    if (side < 4 || side > DATASET_SIDE || side % 4)
        return status_fail(STATUS_BAD_INPUT, "crop side: expected a multiple of 4 up to 256, found %d", side);
    int ctx = b->options.text_ctx, small = side / 4;
    uint8_t *rgb = malloc(DATASET_BYTES);
    if (!rgb) return status_fail(STATUS_NO_MEMORY, "out of memory for a picture");
    Status s = STATUS_OK;
    for (int64_t n = 0; n < N && s == STATUS_OK; n++) {
        RngKey key = row_key(b, step, first_row + (uint32_t)n);
        s = upsampler_row(b, &key, side, rgb, x + n * side * side * 3, low + n * small * small * 3, tokens + n * ctx, mask + n * ctx);
    }
    free(rgb);
    return s;
}

Status batches_train_bpe(const Dataset *d, int n_vocab, Bpe **out)
{
    ConceptIndex *index;
    if (n_vocab < 258) return status_fail(STATUS_BAD_INPUT, "n_vocab: expected at least 258, found %d", n_vocab);
    TRY(concept_index_new(d, NULL, &index));
    CaptionOptions captions = caption_options_defaults();
    size_t count = (size_t)concept_index_pictures(index) * BPE_CAPTIONS_PER_PICTURE;
    if (count > MOST_BPE_CAPTIONS) count = MOST_BPE_CAPTIONS;
    char *text = malloc(count * CAPTION_SIZE);
    const char **texts = malloc(count * sizeof *texts);
    Status s = text && texts ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for captions");
    for (uint32_t k = 0; k < count && s == STATUS_OK; k++) {
        char *at = text + (size_t)k * CAPTION_SIZE;
        caption_sample(d, index, &captions, 0, k, at, CAPTION_SIZE);
        texts[k] = at;
    }
    BpeMerges merges;
    bpe_merges_init(&merges);
    if (s == STATUS_OK) s = bpe_train(texts, NULL, count, n_vocab - 257, &merges);
    if (s == STATUS_OK) s = bpe_new(&merges, out);
    bpe_merges_release(&merges);
    free(texts);
    free(text);
    concept_index_free(index);
    return s;
}
