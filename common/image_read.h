/* Read pictures from anywhere: PNG (libpng), JPEG (libjpeg) and WebP (libwebp), told apart by content.
 *
 * PNG of every kind, of 8 and 16 bits; grey and palettes become RGB. JPEG: grey, YCbCr, RGB; CMYK (also Adobe's inverted one) is
 * converted to RGB without its profile. WebP: one picture, no animations. All come upright, as EXIF's orientation says (JPEG's APP1,
 * PNG's eXIf, WebP's EXIF chunk). An ICC profile (JPEG's APP2, PNG's iCCP, WebP's ICCP) is kept beside the colours, which are never
 * converted; gamma is ignored. An Image has 8 bits, and transparent pixels laid on white; a Picture has all there is.
 *
 * Files are hostile until read: sizes are limited as in image.h, the file itself to 256 MiB, decoders to 1 GiB, and
 * truncated or damaged files are refused, never filled up. Errors: STATUS_BAD_INPUT (what it is instead of a picture, or
 * what is wrong with it), STATUS_IO (cannot be read), STATUS_NO_MEMORY; one line that names the file. */
#ifndef GLIDE_COMMON_IMAGE_READ_H
#define GLIDE_COMMON_IMAGE_READ_H

#include "common/picture.h"

#include <stdbool.h>

/* "-" is standard input. */
Status image_read(const char *path, Image *out);

/* From memory; `name` stands for the file in messages. */
Status image_decode(const char *name, const unsigned char *bytes, size_t size, Image *out);

/* The same with all that the file says. */
Status picture_read(const char *path, Picture *out);
Status picture_decode(const char *name, const unsigned char *bytes, size_t size, Picture *out);

/* One byte per pixel. */
typedef struct Mask {
    int w, h;
    uint8_t *values; /* (H,W); NULL when empty */
    bool from_alpha; /* some pixel of the file was transparent */
} Mask;

void mask_release(Mask *mask); /* leaves it empty; fine on an empty one */

/* How much of each pixel is marked, 0 to 255: how transparent it is if any pixel of the file is transparent, else how light. */
Status mask_read(const char *path, Mask *out);
/* From memory; `name` stands for the file in messages. */
Status mask_decode(const char *name, const unsigned char *bytes, size_t size, Mask *out);

/* Text chunks of a PNG (tEXt, zTXt and iTXt), in the order of the file; of a JPEG what jpeg_write.h puts into its comments. */
typedef struct PngTexts {
    int count;
    char **keys, **values; /* (count) UTF-8 */
} PngTexts;

/* The picture is decoded on the way, so a damaged file is an error. A file that cannot have texts has none. */
Status png_read_text(const char *path, PngTexts *out);
Status png_decode_text(const char *name, const unsigned char *bytes, size_t size, PngTexts *out);
void png_texts_release(PngTexts *texts);
const char *png_texts_find(const PngTexts *texts, const char *key); /* first with that key, or NULL */

#endif
