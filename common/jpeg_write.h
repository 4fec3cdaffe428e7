/* Write JPEG files (libjpeg): baseline, without metadata but what is asked for. The same picture and options give the same bytes. */
#ifndef GLIDE_COMMON_JPEG_WRITE_H
#define GLIDE_COMMON_JPEG_WRITE_H

#include "common/image.h"

#include <stdbool.h>

#define JPEG_WRITE_QUALITY   95
#define JPEG_PICTURE_QUALITY 92 /* of what people asked for by name */

/* A text goes into as many comments (COM) as it takes, each with the prefix in front; image_read.h's readers of texts give it back
 * under the key. */
#define JPEG_TEXT_PREFIX "glide "
#define JPEG_TEXT_KEY    "glide"

typedef struct JpegOptions {
    int quality;          /* 1 to 100 */
    bool halved_colours;  /* 4:2:0; else every pixel has its own colour (4:4:4) */
    bool grey;            /* one value for a pixel; the picture's three are equal */
    const unsigned char *icc; /* (icc_size) profile of the colours; NULL: none */
    size_t icc_size;
    const char *text;     /* NULL: none */
} JpegOptions;

/* Does the name end as JPEG files do: .jpg or .jpeg? */
bool jpeg_is_named(const char *path);

/* In memory; *bytes is the caller's to free(). */
Status jpeg_encode(const Image *image, const JpegOptions *options, unsigned char **bytes, size_t *size);

/* To a file, all or nothing, or to standard output: see file_write.h. */
Status jpeg_write(const char *path, const Image *image, const JpegOptions *options);

#endif
