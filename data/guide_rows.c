#include "data/guide_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Blocks of a row's key; before: concepts and captions. */
enum { BLOCK_FLIP = 32, BLOCK_PARTNER, BLOCK_MOVE /* + 0 .. 2 */, SIDE = DATASET_SMALL_SIDE };

static const float most_zoom = 0.1f, most_shift = 4; /* pixels */

struct GuideRows {
    Dataset *dataset;
    GuideRowOptions options;
    ConceptIndex *index;
    int *concepts; /* of each picture: its number in the index */
};

Status guide_rows_new(Dataset *d, const GuideRowOptions *options, GuideRows **out)
{
    *out = NULL;
    GuideRows *r = calloc(1, sizeof *r);
    if (r) r->concepts = calloc((size_t)dataset_count(d), sizeof *r->concepts);
    Status s = r && r->concepts ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a list of pictures");
    if (s == STATUS_OK) s = concept_index_new(d, &options->filter, &r->index);
    if (s == STATUS_OK) s = dataset_load_small(d);
    if (s != STATUS_OK) {
        guide_rows_free(r);
        return s;
    }
    r->dataset = d;
    r->options = *options;
    for (int k = 0, count; k < concept_index_concepts(r->index); k++) {
        const int *members = concept_index_members(r->index, k, &count);
        for (int i = 0; i < count; i++) r->concepts[members[i]] = k;
    }
    *out = r;
    return STATUS_OK;
}

void guide_rows_free(GuideRows *r)
{
    if (!r) return;
    concept_index_free(r->index);
    free(r->concepts);
    free(r);
}

static int draw_picture(const GuideRows *r, uint32_t step, uint32_t row)
{
    RngKey key = {.seed = r->options.seed, .stream = RNG_DATA, .image = row, .step = step};
    if (!r->options.pairs || row % 4 != 3) return concept_index_draw(r->index, &key);
    int count, before = draw_picture(r, step, row - 1);
    const int *members = concept_index_members(r->index, r->concepts[before], &count);
    int picture = members[rng_below(&key, BLOCK_PARTNER, (uint32_t)count)];
    return picture == before ? concept_index_draw(r->index, &key) : picture;
}

static float pixel(const uint8_t *rgb, int y, int x, int c)
{
    return y < 0 || x < 0 || y >= SIDE || x >= SIDE ? 255.0f : (float)rgb[(y * SIDE + x) * 3 + c];
}

/* x(i,j) = the picture at its centre + zoom * ((i,j) - centre) + shift, between pixels bilinear. */
static void resample(const uint8_t *rgb, float zoom, float dy, float dx, bool flip, float *x)
{
    const float middle = (SIDE - 1) / 2.0f;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            float v = middle + zoom * ((float)i - middle) + dy, u = middle + zoom * ((float)j - middle) + dx;
            int top = (int)floorf(v), left = (int)floorf(u), to = flip ? SIDE - 1 - j : j;
            float below = v - (float)top, right = u - (float)left;
            for (int c = 0; c < 3; c++) {
                float upper = (1 - right) * pixel(rgb, top, left, c) + right * pixel(rgb, top, left + 1, c);
                float lower = (1 - right) * pixel(rgb, top + 1, left, c) + right * pixel(rgb, top + 1, left + 1, c);
                x[(i * SIDE + to) * 3 + c] = ((1 - below) * upper + below * lower) / 127.5f - 1;
            }
        }
}

int guide_rows_draw(const GuideRows *r, uint32_t step, uint32_t row, float *x, char *caption)
{
    const GuideRowOptions *o = &r->options;
    RngKey key = {.seed = o->seed, .stream = RNG_DATA, .image = row, .step = step};
    int picture = draw_picture(r, step, row);
    bool flip = o->flip && rng_uniform(&key, 4 * BLOCK_FLIP) < 0.5f;
    float shift[3] = {0};
    for (uint32_t i = 0; i < 3 && o->move; i++) shift[i] = 2 * rng_uniform(&key, 4 * (BLOCK_MOVE + i)) - 1;
    resample(dataset_small(r->dataset, picture), 1 + most_zoom * shift[0], most_shift * shift[1], most_shift * shift[2], flip, x);
    if (caption) caption_draw(r->dataset, picture, &o->captions, &key, caption, CAPTION_SIZE);
    return picture;
}

void guide_rows_picture(const Dataset *d, int i, float *x)
{
    const uint8_t *rgb = dataset_small(d, i);
    for (size_t j = 0; j < DATASET_SMALL_BYTES; j++) x[j] = (float)rgb[j] / 127.5f - 1;
}

Status guide_rows_held_out(Dataset *d, Split split, int most, int **out, int *count)
{
    int n = dataset_count(d), found = 0, *list = calloc((size_t)n, sizeof *list);
    *out = NULL;
    if (!list) return status_fail(STATUS_NO_MEMORY, "out of memory for a list of pictures");
    for (int i = 0; i < n; i++)
        if (dataset_item(d, i)->split == split && !dataset_item(d, i)->photo) list[found++] = i;
    for (int i = found - 1; i > 0; i--) {
        RngKey key = {.seed = 0, .stream = RNG_DATA, .image = (uint32_t)i, .step = UINT32_MAX - 1}; /* a step no training reaches */
        int j = (int)rng_below(&key, 0, (uint32_t)i + 1), swapped = list[i];
        list[i] = list[j];
        list[j] = swapped;
    }
    *out = list;
    *count = found < most ? found : most;
    Status s = dataset_load_small(d);
    if (s == STATUS_OK) return s;
    free(list);
    *out = NULL;
    return s;
}
