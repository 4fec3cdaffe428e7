/* All that a picture file says: 8 or 16 bits a value, transparency, a colour profile. image.h has the 8-bit RGB that most of the
 * program works with.
 *
 *     Picture photo = {0};
 *     Image shown = {0};
 *     TRY(picture_read("photo.webp", &photo));       common/image_read.h
 *     Status s = picture_to_image(&photo, &shown);   8 bits, what is transparent laid on white
 *     picture_release(&photo);
 *
 * A Picture owns its values and its profile. Colours are straight, not multiplied by alpha, and are never converted: a profile goes
 * with them, so that they mean what they meant. */
#ifndef GLIDE_COMMON_PICTURE_H
#define GLIDE_COMMON_PICTURE_H

#include "common/image.h"

#include <stdbool.h>

enum { ICC_MAX_BYTES = 4 << 20 /* larger profiles are left out */ };

typedef struct Picture {
    int w, h;
    int channels;       /* 3, or 4 with alpha, whose full value is opaque */
    int bits;           /* of a value: 8 or 16 */
    bool grey;          /* the file has one value for a colour; all three are equal here */
    void *values;       /* (H,W,channels) uint8_t, or uint16_t in the processor's order of bytes; NULL when empty */
    unsigned char *icc; /* profile of the colours, of a grey picture if this is one; NULL: none, they are sRGB */
    size_t icc_size;
} Picture;

/* Values are all 0. Fails on sizes outside of image.h's limits and when out of memory; *out is then empty. */
Status picture_init(int w, int h, int channels, int bits, Picture *out);
void picture_release(Picture *p); /* leaves it empty; fine on an empty one */

static inline size_t picture_pixel_bytes(const Picture *p)
{
    return (size_t)p->channels * (size_t)p->bits / 8;
}

static inline unsigned picture_value(const Picture *p, size_t i)
{
    return p->bits == 16 ? ((const uint16_t *)p->values)[i] : ((const uint8_t *)p->values)[i];
}

/* 8 bits of 16, to the nearest. */
static inline uint8_t picture_8_of_16(unsigned value)
{
    return (uint8_t)((value * 255 + 32895) >> 16);
}

/* 8-bit colours; transparent pixels are laid on white. */
Status picture_to_image(const Picture *p, Image *out);

/* Turned and mirrored so that it is upright, given EXIF's orientation: 1 (upright) to 8. Anything else is taken as 1. */
Status picture_turn(Picture *p, int orientation);

/* EXIF's orientation (tag 0x0112 of the first directory) of a TIFF block, with or without "Exif\0\0" in front; 1 where there is
 * none that makes sense. */
int exif_orientation(const unsigned char *bytes, size_t size);

/* Takes a copy of a profile if it is one for pictures of this kind (RGB or grey) and not too large; else the picture has none. */
Status picture_set_profile(Picture *p, const void *icc, size_t size);

#endif
