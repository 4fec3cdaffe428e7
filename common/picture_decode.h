/* Private to the readers of pictures: the decoder of each kind of file (image_png.c, image_jpeg.c, image_webp.c), behind
 * image_read.h, which says what they take and refuse. */
#ifndef GLIDE_COMMON_PICTURE_DECODE_H
#define GLIDE_COMMON_PICTURE_DECODE_H

#include "common/image_read.h"

#define DECODER_MAX_BYTES ((size_t)1 << 30)

typedef struct Bytes {
    const char *name; /* for messages */
    const unsigned char *data;
    size_t size, used;
} Bytes;

/* What is wanted of a file. The picture is decoded in any case, so that damage shows. */
typedef struct Decoded {
    Picture *picture; /* upright, with its profile; NULL: not wanted */
    PngTexts *texts;  /* NULL: not wanted */
} Decoded;

/* After a failure both are as they were: empty. */
Status decode_png(Bytes *file, const Decoded *out);
Status decode_jpeg(const Bytes *file, const Decoded *out);
Status decode_webp(const Bytes *file, const Decoded *out); /* finds no texts */

/* Sides and pixels within image.h's limits. STATUS_BAD_INPUT without the file's name. */
Status decode_check_size(int64_t w, int64_t h);

/* Appends a line to `texts`; takes both strings over, which may be NULL for want of memory. */
Status decode_add_text(PngTexts *texts, char *key, char *value);

#endif
