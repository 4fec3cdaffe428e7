/* Windows over a picture that is larger than what a model is shown at once. The model's answers in the windows are blended at every
 * step (MultiDiffusion, arXiv 2302.08113), so that all windows draw one picture: each axis has weights that rise from a window's
 * edges and add up to 1 over the windows at every place; a window's weight at a pixel is the product of both axes'. A picture that
 * fits has one window with weights of exactly 1. */
#ifndef GLIDE_TILES_H
#define GLIDE_TILES_H

#include "common/status.h"

#include <stdint.h>

enum { TILE_STEP = 16 }; /* windows begin at multiples of it; lengths are multiples, too */

typedef struct TileAxis {
    int64_t length; /* of the picture */
    int64_t tile;   /* of a window: at most the length */
    int count;
    int64_t *starts;  /* (count) rising; the last window ends with the picture */
    float *weights;   /* (count,tile) */
} TileAxis;

/* Windows of `tile` pixels that overlap by at least `overlap` - TILE_STEP, as few as that takes, evenly spread. length and tile are
 * positive multiples of TILE_STEP, 0 <= overlap < tile. */
Status tile_axis_init(TileAxis *a, int64_t length, int64_t tile, int64_t overlap);
void tile_axis_release(TileAxis *a); /* zeroed is fine */

typedef struct Tiles {
    TileAxis y, x;
} Tiles;

Status tiles_init(Tiles *t, int64_t height, int64_t width, int64_t tile, int64_t overlap);
void tiles_release(Tiles *t);
int64_t tiles_count(const Tiles *t);

/* Rows of window k: out (n,tile_y,tile_x,channels) from x (n,height,width,channels). With `shrink` 4 the picture is a fourth as
 * large, and so is the window. */
void tiles_cut(const Tiles *t, int64_t k, int64_t shrink, const float *x, int64_t n, int channels, float *out);
/* x (n,height,width,channels) += weights * the first `channels` of part (n,tile_y,tile_x,part_channels), of window k. */
void tiles_blend(const Tiles *t, int64_t k, const float *part, int64_t n, int part_channels, int channels, float *x);

#endif
