#include "glide/inpaint_detail.h"

#include <math.h>
#include <string.h>

static unsigned full_of(const Picture *p)
{
    return p->bits == 16 ? 65535 : 255;
}

static void put(Picture *p, size_t i, unsigned value)
{
    if (p->bits == 16) ((uint16_t *)p->values)[i] = (uint16_t)value;
    else ((uint8_t *)p->values)[i] = (uint8_t)value;
}

static Status copy(const Picture *p, Picture *out)
{
    TRY(picture_init(p->w, p->h, p->channels, p->bits, out));
    out->grey = p->grey && p->icc;
    memcpy(out->values, p->values, (size_t)p->w * (size_t)p->h * picture_pixel_bytes(p));
    Status s = picture_set_profile(out, p->icc, p->icc_size);
    if (s != STATUS_OK) picture_release(out);
    return s;
}

/* Whether a pixel that is to be painted is more opaque than transparent. */
static bool paints_on_seen(const Picture *p, const uint8_t *paint)
{
    size_t n = (size_t)p->w * (size_t)p->h;
    if (p->channels == 3) return true;
    for (size_t i = 0; i < n; i++)
        if (paint[i] && picture_value(p, 4 * i + 3) > full_of(p) / 2) return true;
    return false;
}

/* Pixel i, of the alpha that it has, in the colours that look like `shown` (3) on white. */
static void put_pixel(Picture *p, size_t i, const uint8_t *shown)
{
    size_t channels = (size_t)p->channels;
    double full = full_of(p), alpha = channels == 4 ? picture_value(p, 4 * i + 3) : full, x[3];
    if (alpha == 0) return; /* nobody sees it */
    for (int c = 0; c < 3; c++) x[c] = fmax(0, full - (255 - shown[c]) * full / 255 * full / alpha);
    for (size_t c = 0; c < 3; c++) put(p, i * channels + c, (unsigned)lrint(p->grey ? (x[0] + x[1] + x[2]) / 3 : x[c]));
}

Status inpaint_detail(const Picture *before, const uint8_t *paint, const Image *painted, Picture *out)
{
    size_t n = (size_t)before->w * (size_t)before->h;
    bool keeps_alpha = paints_on_seen(before, paint);
    TRY(copy(before, out));
    for (size_t i = 0; i < n; i++) {
        if (!paint[i]) continue;
        if (!keeps_alpha) put(out, 4 * i + 3, full_of(out));
        put_pixel(out, i, painted->pixels + 3 * i);
    }
    return STATUS_OK;
}
