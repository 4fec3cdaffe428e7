/* PNG files of every kind of picture, by libpng; png_write.h adds the texts. */
#ifndef GLIDE_COMMON_PNG_COMPRESS_H
#define GLIDE_COMMON_PNG_COMPRESS_H

#include "common/picture.h"

/* `values` in the place of the picture's own. A profile that libpng finds broken is left out. *bytes: free(). */
Status png_compress(const Picture *picture, const void *values, unsigned char **bytes, size_t *size);

#endif
