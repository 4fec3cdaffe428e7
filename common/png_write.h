/* Write PNG files, with text chunks that carry how the picture was made.
 *
 *     PngText recipe[] = {{"prompt", "빨간 사과"}, {"seed", "1"}};
 *     TRY(png_write("out.png", &image, recipe, 2));
 *
 * The same picture and texts give the same bytes. 8-bit RGB is written by stb_image_write, with zlib; alpha, 16 bits, grey and
 * colour profiles, most of which that does not know, by libpng. */
#ifndef GLIDE_COMMON_PNG_WRITE_H
#define GLIDE_COMMON_PNG_WRITE_H

#include "common/picture.h"

/* Key: 1 to 79 characters of printable ASCII, no space at an end or two in a row (a programmer's choice: asserted).
 * Value: UTF-8; bytes that are not become U+FFFD. Written as tEXt when every character is printable Latin-1 or a line
 * feed, else as iTXt, uncompressed (PNG specification, 11.3.4). */
typedef struct PngText {
    const char *key, *value;
} PngText;

/* In memory; *bytes is the caller's to free(). */
Status png_encode(const Image *image, const PngText *texts, int text_count, unsigned char **bytes, size_t *size);

/* All that a Picture says: alpha, 16 bits, one value for a pixel where it is grey, its profile (iCCP). `values`, if not NULL, takes
 * the place of the picture's own. */
Status png_encode_picture(const Picture *picture, const void *values, const PngText *texts, int text_count, unsigned char **bytes,
                          size_t *size);

/* To a file, all or nothing, or to standard output: see file_write.h. */
Status png_write(const char *path, const Image *image, const PngText *texts, int text_count);

#endif
