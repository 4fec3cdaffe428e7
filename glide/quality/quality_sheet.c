#include "glide/quality/quality_sheet.h"

#include "common/ascii_text.h"
#include "common/pixel_text.h"

#include <stdio.h>
#include <string.h>

enum { SIDE = QUALITY_SHEET_SIDE, GAP = 4, BETWEEN = 12, TOP = PIXEL_TEXT_HEIGHT + 2 * GAP,
      ROW = SIDE + PIXEL_TEXT_HEIGHT + 2 * GAP };

static const uint8_t black[3] = {0, 0, 0}, grey[3] = {110, 110, 110};

static Status crop(const Image *in, Image *out)
{
    int w = in->w < SIDE ? in->w : SIDE, h = in->h < SIDE ? in->h : SIDE, left = (in->w - w) / 2, top = (in->h - h) / 2;
    TRY(image_init(w, h, out));
    for (int y = 0; y < h; y++)
        memcpy(out->pixels + (size_t)y * (size_t)w * 3, in->pixels + ((size_t)(top + y) * (size_t)in->w + (size_t)left) * 3,
               (size_t)w * 3);
    return STATUS_OK;
}

Status quality_sheet_add(QualitySheet *s, const char *name, const Image *interpolated, const Image *made, const Image *original)
{
    if (s->count == QUALITY_SHEET_PICTURES) return STATUS_OK;
    QualityCrop *c = &s->crops[s->count++];
    *c = (QualityCrop){0};
    ascii_text(name, c->name, sizeof c->name);
    TRY(crop(interpolated, &c->parts[0]));
    TRY(crop(made, &c->parts[1]));
    return crop(original, &c->parts[2]);
}

void quality_sheet_release(QualitySheet *s)
{
    for (int i = 0; i < s->count; i++)
        for (int k = 0; k < 3; k++) image_release(&s->crops[i].parts[k]);
    s->count = 0;
}

static void draw_text(Image *out, int x, int y, const char *text, const uint8_t *colour)
{
    char fits[SIDE / PIXEL_TEXT_WIDTH + 1];
    snprintf(fits, sizeof fits, "%s", text);
    pixel_text_draw(out, x, y, 1, fits, colour);
}

static void paste(const Image *in, int x, int y, Image *out)
{
    for (int i = 0; i < in->h; i++)
        memcpy(out->pixels + ((size_t)(y + i) * (size_t)out->w + (size_t)x) * 3, in->pixels + (size_t)i * (size_t)in->w * 3,
               (size_t)in->w * 3);
}

Status quality_sheet_draw(const QualitySheet *s, const char *const *titles, Image *out)
{
    const int groups = s->count > 1 ? 2 : 1, rows = (s->count + groups - 1) / groups, group = 3 * (SIDE + GAP) + BETWEEN;
    if (s->count == 0) return status_fail(STATUS_BAD_INPUT, "there is no picture for the sheet");
    TRY(image_init(2 * GAP + groups * group - BETWEEN, TOP + rows * ROW, out));
    memset(out->pixels, 255, image_bytes(out));
    for (int i = 0; i < 3 * groups; i++) draw_text(out, GAP + i / 3 * group + i % 3 * (SIDE + GAP), GAP, titles[i % 3], black);
    for (int i = 0; i < s->count; i++) {
        int left = GAP + i % groups * group, top = TOP + i / groups * ROW;
        for (int k = 0; k < 3; k++) paste(&s->crops[i].parts[k], left + k * (SIDE + GAP), top, out);
        draw_text(out, left, top + SIDE + GAP, s->crops[i].name, grey);
    }
    return STATUS_OK;
}
