/* Photos -> tiles of the training data set.
 *
 * A photo is cut at scales 1, 1/sqrt(2), 1/2, ... down to the one at which its short side is 256: at each it is reduced by area
 * means and laid out with cells, 1.2 to every 256 pixels each way; a tile begins at a random place of its cell. A tile that says
 * little is tried again at other places of the cell, then left out: the root mean square of what its 4x4 block means lose, in luma,
 * is below 1.5 of 255 (out of focus), or that of what the 4x4 block means of these lose is below 2.5 (noise in a clear sky).
 * Places depend on the photo's name alone. Rows of the data set: style and group "photo", root "photo:" and the photo's name, icon
 * the name with size and place. */
#ifndef GLIDE_DATA_BUILD_PHOTOS_H
#define GLIDE_DATA_BUILD_PHOTOS_H

#include "common/image.h"
#include "data/manifest.h"

typedef struct PhotoTile {
    int photo;      /* row of the PhotoList */
    int w, h, x, y; /* size of the reduced photo, and the tile's corner in it */
} PhotoTile;

typedef struct PhotoTiles {
    PhotoTile *items; /* photo by photo, largest scale first */
    int count, capacity;
} PhotoTiles;

/* Decode a photo, halved (but not below 256) if its row says so. `cache` is where fetch.sh unpacked the packages. */
Status photo_read(const PhotoRow *row, const Source *source, const char *cache, Image *out);

/* Add the tiles of photo number `index`. A photo whose short side is below 256 is STATUS_BAD_INPUT. */
Status photo_tiles_add(PhotoTiles *tiles, int index, const PhotoRow *row, const Image *photo);
void photo_tiles_release(PhotoTiles *tiles);

/* rgb (256,256,3): the tile of the photo reduced to the tile's w x h. */
void photo_tile_cut(const Image *reduced, const PhotoTile *tile, uint8_t *rgb);

#endif
