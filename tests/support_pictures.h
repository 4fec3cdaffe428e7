/* Picture files with what they say besides pixels, made in memory. */
#ifndef GLIDE_TESTS_SUPPORT_PICTURES_H
#define GLIDE_TESTS_SUPPORT_PICTURES_H

#include "common/picture.h"

typedef struct FileBytes {
    unsigned char *bytes; /* free() */
    size_t size;
} FileBytes;

enum { TEST_ICC_SIZE = 444, TEST_EXIF_SIZE = 26 };

/* An ICC profile as readers take it, of a colour space ("RGB ", "GRAY", "CMYK"). */
void test_icc(const char *space, unsigned char out[TEST_ICC_SIZE]);
/* A TIFF block that says the orientation; `little`: its order of bytes. */
void test_exif(int orientation, bool little, unsigned char out[TEST_EXIF_SIZE]);

/* A picture of w x h whose pixels tell their places: values[c] depend on x, y and c; alpha falls to the right. */
Picture test_picture(int w, int h, int channels, int bits, bool grey);

/* With the picture's profile, and exif (TEST_EXIF_SIZE), if not NULL. PNGs as png_write.h makes them, plus an eXIf chunk. */
FileBytes test_png_file(const Picture *p, const unsigned char *exif);
FileBytes test_jpeg_file(const Picture *p, const unsigned char *exif);
FileBytes test_webp_file(const Picture *p, bool lossless, const unsigned char *exif);

#endif
