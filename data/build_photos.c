#include "data/build_photos.h"

#include "common/image_read.h"
#include "common/rng.h"
#include "data/dataset.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 4, SIDE = DATASET_SIDE };
#define DENSITY      1.2 /* cells per 256 pixels each way */
/* Root mean square of luma minus its 4x4 block means, of 255, and of these means minus theirs. */
#define LEAST_FINE   1.5
#define LEAST_COARSE 2.5

Status photo_read(const PhotoRow *row, const Source *source, const char *cache, Image *out)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s-%s/%s", cache, source->id, source->version, row->file);
    Image full = {0};
    TRY(image_read(path, &full));
    int side = full.w < full.h ? full.w : full.h, wanted = side / 2 > SIDE ? side / 2 : SIDE;
    if (side < SIDE) {
        Status status = status_fail(STATUS_BAD_INPUT, "%s: %dx%d pixels, expected at least %d each way", path, full.w, full.h,
                                    SIDE);
        image_release(&full);
        return status;
    }
    if (!row->halve) {
        *out = full;
        return STATUS_OK;
    }
    double scale = (double)wanted / side;
    Status status = image_resize(&full, (int)lround(full.w * scale), (int)lround(full.h * scale), out);
    image_release(&full);
    return status;
}

static double luma(const uint8_t *p)
{
    return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
}

/* x (side,side) -> its 4x4 block means, in place; returns the root mean square of what they lose. */
static double reduce(float *x, int side)
{
    double sum = 0;
    for (int block = 0; block < side * side / 16; block++) {
        int top = block / (side / 4) * 4, left = block % (side / 4) * 4;
        double first = 0, second = 0;
        for (int i = 0; i < 16; i++) {
            double v = x[(top + i / 4) * side + left + i % 4];
            first += v;
            second += v * v;
        }
        x[block] = (float)(first / 16); /* before all that blocks to come read */
        sum += fmax(0, second - first * first / 16);
    }
    return sqrt(sum / (side * side));
}

/* x: (256,256) to work in. */
static bool says_something(const Image *image, int left, int top, float *x)
{
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++)
            x[row * SIDE + column] =
                (float)luma(image->pixels + 3 * ((size_t)(top + row) * (size_t)image->w + (size_t)(left + column)));
    return reduce(x, SIDE) >= LEAST_FINE && reduce(x, SIDE / 4) >= LEAST_COARSE;
}

static Status add_tile(PhotoTiles *tiles, const PhotoTile *tile)
{
    if (tiles->count == tiles->capacity) {
        int capacity = tiles->capacity ? 2 * tiles->capacity : 1024;
        PhotoTile *grown = realloc(tiles->items, (size_t)capacity * sizeof *grown);
        if (!grown) return status_fail(STATUS_NO_MEMORY, "photos: out of memory");
        tiles->items = grown;
        tiles->capacity = capacity;
    }
    tiles->items[tiles->count++] = *tile;
    return STATUS_OK;
}

/* A place between the begin and the end of cell i of n along `room` places (0..room). */
static int place(float u, int i, int n, int room)
{
    int at = (int)(((double)i + u) / n * (room + 1));
    return at < room ? at : room;
}

static Status add_scale(PhotoTiles *tiles, PhotoTile tile, const Image *reduced, RngKey key, float *work)
{
    int columns = (int)lround(DENSITY * reduced->w / SIDE), rows = (int)lround(DENSITY * reduced->h / SIDE);
    for (int cell = 0; cell < rows * columns; cell++) {
        key.image = (uint32_t)cell;
        for (uint32_t i = 0; i < TRIES; i++) {
            tile.x = place(rng_uniform(&key, 8 * i), cell % columns, columns, reduced->w - SIDE);
            tile.y = place(rng_uniform(&key, 8 * i + 4), cell / columns, rows, reduced->h - SIDE);
            if (!says_something(reduced, tile.x, tile.y, work)) continue;
            TRY(add_tile(tiles, &tile));
            break;
        }
    }
    return STATUS_OK;
}

static Status add_all_scales(PhotoTiles *tiles, int index, const PhotoRow *row, const Image *photo, float *work)
{
    int side = photo->w < photo->h ? photo->w : photo->h;
    RngKey key = {.seed = split_hash(row->name), .stream = RNG_DATA};
    for (int k = 0;; k++) {
        double scale = pow(0.5, 0.5 * k);
        bool last = side * scale < SIDE * 1.19; /* the next would be too small, or nearly the same */
        if (last) scale = (double)SIDE / side;
        PhotoTile tile = {.photo = index, .w = (int)lround(photo->w * scale), .h = (int)lround(photo->h * scale)};
        Image reduced = {0};
        TRY(image_resize(photo, tile.w, tile.h, &reduced));
        key.step = (uint32_t)k;
        Status status = add_scale(tiles, tile, &reduced, key, work);
        image_release(&reduced);
        TRY(status);
        if (last) return STATUS_OK;
    }
}

Status photo_tiles_add(PhotoTiles *tiles, int index, const PhotoRow *row, const Image *photo)
{
    float *work = malloc(SIDE * SIDE * sizeof *work);
    if (!work) return status_fail(STATUS_NO_MEMORY, "photos: out of memory");
    Status status = add_all_scales(tiles, index, row, photo, work);
    free(work);
    return status;
}

void photo_tiles_release(PhotoTiles *tiles)
{
    free(tiles->items);
    *tiles = (PhotoTiles){0};
}

void photo_tile_cut(const Image *reduced, const PhotoTile *tile, uint8_t *rgb)
{
    for (int y = 0; y < SIDE; y++)
        memcpy(rgb + (size_t)y * SIDE * 3, reduced->pixels + 3 * ((size_t)(tile->y + y) * (size_t)reduced->w + (size_t)tile->x),
               SIDE * 3);
}
