/* 8-bit RGB pictures: what is read from files, shown, and written to files. The networks' side is f32 in [-1,1].
 *
 *     Image small = {0}, big = {0};
 *     TRY(image_read("photo.jpg", &big));            common/image_read.h
 *     Status s = image_resize(&big, 64, 64, &small);
 *     image_release(&big);
 *
 * An Image owns its pixels. Functions that make one replace nothing: `out` must be empty ({0}) or released before, and
 * stays empty when they fail. Colours are sRGB codes throughout; means are taken over codes, as the data set's are. */
#ifndef GLIDE_COMMON_IMAGE_H
#define GLIDE_COMMON_IMAGE_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

/* Larger pictures are refused before memory is asked for: 134 million pixels are 402 MB. */
#define IMAGE_MAX_SIDE   65500
#define IMAGE_MAX_PIXELS (INT64_C(1) << 27)

typedef struct Image {
    int w, h;
    uint8_t *pixels; /* (H,W,3), rows without padding; NULL when empty */
} Image;

/* Black picture of w x h. Fails on sizes outside the limits and when out of memory. */
Status image_init(int w, int h, Image *out);
void image_release(Image *image); /* leaves it empty; fine on an empty one */

static inline size_t image_bytes(const Image *image)
{
    return (size_t)image->w * (size_t)image->h * 3;
}

/* x (H,W,3) f32 [-1,1] -> u8: (x + 1) * 127.5, halves to even, clamped, as GLIDE's notebook shows pictures; NaN is 0. */
Status image_from_f32(const float *x, int w, int h, Image *out);
/* u8 -> x (H,W,3) f32 [-1,1]: u / 127.5 - 1. */
void image_to_f32(const Image *image, float *x);

/* Any size to any size, each axis on its own: the area mean where it shrinks, bilinear (half-pixel centres, edges
 * repeated; PyTorch's align_corners=False) where it grows. Rounds halves to even. */
Status image_resize(const Image *in, int w, int h, Image *out);
/* The same of x (h,w,3) f32 into out (new_h,new_w,3), without rounding. Sides are at least 1. */
Status image_resize_f32(const float *x, int w, int h, int new_w, int new_h, float *out);

/* Mean of factor x factor blocks, halves to even: how 64x64 pictures are made of 256x256 ones. Both sides must be
 * multiples of factor. */
Status image_block_mean(const Image *in, int factor, Image *out);

typedef struct ContactSheet {
    int columns;           /* 0: about as many as rows */
    int gap;               /* pixels between and around the pictures */
    uint8_t background[3]; /* of gaps and empty places */
} ContactSheet;

ContactSheet contact_sheet_defaults(void); /* as square as it gets, gap 4, white */

/* `count` >= 1 pictures row by row in one; each is centred in a cell as large as the widest and the highest. */
Status image_contact_sheet(const Image *images, int count, const ContactSheet *sheet, Image *out);

#endif
