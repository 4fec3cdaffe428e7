#include "common/picture.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ICC_HEADER = 128, ICC_COLOUR_SPACE = 16 }; /* ICC.1:2022, table 17 */

Status picture_init(int w, int h, int channels, int bits, Picture *out)
{
    assert((channels == 3 || channels == 4) && (bits == 8 || bits == 16));
    *out = (Picture){.w = w, .h = h, .channels = channels, .bits = bits};
    if (w < 1 || h < 1 || w > IMAGE_MAX_SIDE || h > IMAGE_MAX_SIDE || (int64_t)w * h > IMAGE_MAX_PIXELS) {
        *out = (Picture){0};
        return status_fail(STATUS_BAD_INPUT, "picture of %dx%d: expected sides from 1 to %d and at most %lld million pixels", w, h,
                           IMAGE_MAX_SIDE, (long long)(IMAGE_MAX_PIXELS / 1000000));
    }
    out->values = calloc((size_t)w * (size_t)h, picture_pixel_bytes(out));
    if (out->values) return STATUS_OK;
    *out = (Picture){0};
    return status_fail(STATUS_NO_MEMORY, "picture of %dx%d: out of memory", w, h);
}

void picture_release(Picture *p)
{
    free(p->values);
    free(p->icc);
    *p = (Picture){0};
}

/* --- 8 bits ------------------------------------------------------------------------------------------- */

static unsigned value_of_8(const Picture *p, size_t i)
{
    unsigned value = picture_value(p, i);
    return p->bits == 16 ? picture_8_of_16(value) : value;
}

Status picture_to_image(const Picture *p, Image *out)
{
    TRY(image_init(p->w, p->h, out));
    size_t n = (size_t)p->w * (size_t)p->h, channels = (size_t)p->channels;
    if (channels == 3 && p->bits == 8) {
        memcpy(out->pixels, p->values, 3 * n);
        return STATUS_OK;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned a = channels == 4 ? value_of_8(p, i * 4 + 3) : 255;
        for (size_t c = 0; c < 3; c++)
            out->pixels[i * 3 + c] = (uint8_t)((value_of_8(p, i * channels + c) * a + 255 * (255 - a) + 127) / 255);
    }
    return STATUS_OK;
}

/* --- orientation -------------------------------------------------------------------------------------- */

/* Where pixel x, y of the upright picture lies in the file's, of w x h; EXIF 2.32, page 21. */
static size_t source_of(int orientation, int w, int h, int x, int y)
{
    int at_x[] = {x, w - 1 - x, w - 1 - x, x, y, y, w - 1 - y, w - 1 - y};
    int at_y[] = {y, y, h - 1 - y, h - 1 - y, x, h - 1 - x, h - 1 - x, x};
    return (size_t)at_y[orientation - 1] * (size_t)w + (size_t)at_x[orientation - 1];
}

Status picture_turn(Picture *p, int orientation)
{
    if (orientation < 2 || orientation > 8) return STATUS_OK;
    size_t size = picture_pixel_bytes(p), n = (size_t)p->w * (size_t)p->h;
    int w = orientation > 4 ? p->h : p->w, h = orientation > 4 ? p->w : p->h;
    char *turned = malloc(n * size), *to = turned;
    if (!turned) return status_fail(STATUS_NO_MEMORY, "picture of %dx%d: out of memory", w, h);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, to += size)
            memcpy(to, (const char *)p->values + source_of(orientation, p->w, p->h, x, y) * size, size);
    free(p->values);
    p->values = turned;
    p->w = w;
    p->h = h;
    return STATUS_OK;
}

static unsigned take(const unsigned char *p, int n, bool little)
{
    unsigned value = 0;
    for (int i = 0; i < n; i++) value |= (unsigned)p[i] << 8 * (little ? i : n - 1 - i);
    return value;
}

int exif_orientation(const unsigned char *bytes, size_t size)
{
    enum { ENTRY = 12, TAG = 0x0112, SHORT = 3, LONG = 4 };
    if (size >= 6 && !memcmp(bytes, "Exif\0\0", 6)) bytes += 6, size -= 6;
    if (size < 8 || (memcmp(bytes, "II*\0", 4) != 0 && memcmp(bytes, "MM\0*", 4) != 0)) return 1;
    bool little = bytes[0] == 'I';
    size_t at = take(bytes + 4, 4, little);
    if (at > size || size - at < 2) return 1;
    for (unsigned left = take(bytes + at, 2, little); left > 0; left--) {
        size_t entry = at + 2;
        if (size - entry < ENTRY) return 1;
        const unsigned char *p = bytes + entry;
        unsigned type = take(p + 2, 2, little), value = take(p + 8, type == LONG ? 4 : 2, little);
        if (take(p, 2, little) == TAG) return (type == SHORT || type == LONG) && value >= 1 && value <= 8 ? (int)value : 1;
        at += ENTRY;
    }
    return 1;
}

/* --- profiles ----------------------------------------------------------------------------------------- */

Status picture_set_profile(Picture *p, const void *icc, size_t size)
{
    free(p->icc);
    p->icc = NULL;
    p->icc_size = 0;
    if (!icc || size < ICC_HEADER || size > ICC_MAX_BYTES) return STATUS_OK;
    if (memcmp((const char *)icc + ICC_COLOUR_SPACE, p->grey ? "GRAY" : "RGB ", 4) != 0) return STATUS_OK;
    p->icc = malloc(size);
    if (!p->icc) return status_fail(STATUS_NO_MEMORY, "out of memory for a colour profile of %zu bytes", size);
    memcpy(p->icc, icc, size);
    p->icc_size = size;
    return STATUS_OK;
}
