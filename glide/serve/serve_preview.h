/* PNGs of pictures that are looked at for a moment: packed for speed (libpng's simplified API), several times faster than those
 * that are kept. */
#ifndef GLIDE_SERVE_PREVIEW_H
#define GLIDE_SERVE_PREVIEW_H

#include "common/image.h"

/* *bytes is to be freed. */
Status preview_encode(const Image *image, unsigned char **bytes, size_t *size);

#endif
