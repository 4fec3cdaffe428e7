#include "glide/tiles.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* How much a window says about pixel i of its `tile`: its distance from the window's edges, up to the overlap; an edge of the
 * picture is none of them. */
static float raw_weight(const TileAxis *a, int window, int64_t i, int64_t overlap)
{
    int64_t most = overlap > 0 ? 2 * overlap : 1, left = 2 * i + 1, right = 2 * (a->tile - i) - 1;
    if (window > 0 && left < most) most = left;
    if (window < a->count - 1 && right < most) most = right;
    return (float)most;
}

static void fill_weights(TileAxis *a, int64_t overlap, float *sums)
{
    memset(sums, 0, (size_t)a->length * sizeof *sums);
    for (int w = 0; w < a->count; w++)
        for (int64_t i = 0; i < a->tile; i++)
            sums[a->starts[w] + i] += a->weights[w * a->tile + i] = raw_weight(a, w, i, overlap);
    for (int w = 0; w < a->count; w++)
        for (int64_t i = 0; i < a->tile; i++) a->weights[w * a->tile + i] /= sums[a->starts[w] + i];
}

Status tile_axis_init(TileAxis *a, int64_t length, int64_t tile, int64_t overlap)
{
    assert(length > 0 && length % TILE_STEP == 0 && tile > 0 && tile % TILE_STEP == 0 && overlap >= 0 && overlap < tile);
    if (tile > length) tile = length;
    int64_t step = tile - overlap, room = length - tile;
    *a = (TileAxis){.length = length, .tile = tile, .count = room > 0 ? (int)(1 + (room + step - 1) / step) : 1};
    a->starts = calloc((size_t)a->count, sizeof *a->starts);
    a->weights = malloc((size_t)(a->count * tile) * sizeof *a->weights);
    float *sums = malloc((size_t)length * sizeof *sums);
    if (!a->starts || !a->weights || !sums) {
        free(sums);
        tile_axis_release(a);
        return status_fail(STATUS_NO_MEMORY, "out of memory for windows over %lld pixels", (long long)length);
    }
    for (int i = 1; i < a->count; i++) a->starts[i] = room / TILE_STEP * i / (a->count - 1) * TILE_STEP;
    fill_weights(a, overlap, sums);
    free(sums);
    return STATUS_OK;
}

void tile_axis_release(TileAxis *a)
{
    free(a->starts);
    free(a->weights);
    *a = (TileAxis){0};
}

Status tiles_init(Tiles *t, int64_t height, int64_t width, int64_t tile, int64_t overlap)
{
    *t = (Tiles){0};
    TRY(tile_axis_init(&t->y, height, tile, overlap));
    Status s = tile_axis_init(&t->x, width, tile, overlap);
    if (s != STATUS_OK) tiles_release(t);
    return s;
}

void tiles_release(Tiles *t)
{
    tile_axis_release(&t->y);
    tile_axis_release(&t->x);
}

int64_t tiles_count(const Tiles *t)
{
    return (int64_t)t->y.count * t->x.count;
}

void tiles_cut(const Tiles *t, int64_t k, int64_t shrink, const float *x, int64_t n, int channels, float *out)
{
    int64_t top = t->y.starts[k / t->x.count] / shrink, left = t->x.starts[k % t->x.count] / shrink;
    int64_t h = t->y.tile / shrink, w = t->x.tile / shrink, height = t->y.length / shrink, width = t->x.length / shrink;
    for (int64_t row = 0; row < n * h; row++)
        memcpy(out + row * w * channels, x + ((row / h * height + top + row % h) * width + left) * channels,
               (size_t)(w * channels) * sizeof *out);
}

void tiles_blend(const Tiles *t, int64_t k, const float *part, int64_t n, int part_channels, int channels, float *x)
{
    int64_t ky = k / t->x.count, kx = k % t->x.count, h = t->y.tile, w = t->x.tile;
    const float *wy = t->y.weights + ky * h, *wx = t->x.weights + kx * w;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < n * h; row++) {
        const float *from = part + row * w * part_channels;
        float *to = x + ((row / h * t->y.length + t->y.starts[ky] + row % h) * t->x.length + t->x.starts[kx]) * channels;
        for (int64_t i = 0; i < w; i++)
            for (int c = 0; c < channels; c++) to[i * channels + c] += wy[row % h] * wx[i] * from[i * part_channels + c];
    }
}
