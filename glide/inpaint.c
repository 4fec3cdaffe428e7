#include "glide/inpaint.h"

#include "glide/seam.h"

#include <stdlib.h>
#include <string.h>

/* --- the part that is shown ------------------------------------------------------------------------ */

/* Along one axis: `length` pixels of 0..size-1 whose middle is that of first..last, as far as the edges allow. */
static int place(int first, int last, int length, int size)
{
    int start = (first + last + 1 - length) / 2;
    if (start > size - length) start = size - length;
    return start < 0 ? 0 : start;
}

/* Half as large again as the mask, so that the models see what surrounds it, and at least what they draw at full size. */
static Status choose_part(Inpaint *p, int least)
{
    int left = p->w, right = -1, top = p->h, bottom = -1;
    for (int y = 0; y < p->h; y++)
        for (int x = 0; x < p->w; x++) {
            if (!p->paint[(size_t)y * (size_t)p->w + (size_t)x]) continue;
            if (x < left) left = x;
            if (x > right) right = x;
            if (y < top) top = y;
            bottom = y;
        }
    if (right < 0) return status_fail(STATUS_BAD_INPUT, "the mask marks nothing to be painted");
    int w = right - left + 1, h = bottom - top + 1, side = (w > h ? w : h) / 2 * 3;
    if (side < least) side = least;
    p->part_w = side < p->w ? side : p->w;
    p->part_h = side < p->h ? side : p->h;
    p->x = place(left, right, p->part_w, p->w);
    p->y = place(top, bottom, p->part_h, p->h);
    return STATUS_OK;
}

/* The part, what is to be painted filled with the colours around it: one colour there, shifted until no step to its border is left. */
static Status cut_part(const Inpaint *p, const Image *picture, Image *out)
{
    size_t w = (size_t)p->part_w, h = (size_t)p->part_h;
    uint8_t *paint = malloc(w * h);
    if (!paint) return status_fail(STATUS_NO_MEMORY, "out of memory for a part of %dx%d pixels", p->part_w, p->part_h);
    Status s = image_init(p->part_w, p->part_h, out);
    for (size_t y = 0; y < h && s == STATUS_OK; y++) {
        size_t from = ((size_t)p->y + y) * (size_t)p->w + (size_t)p->x;
        memcpy(paint + y * w, p->paint + from, w);
        memcpy(out->pixels + y * w * 3, picture->pixels + from * 3, w * 3);
        for (size_t x = 0; x < w; x++)
            if (paint[y * w + x]) memset(out->pixels + (y * w + x) * 3, 128, 3);
    }
    if (s == STATUS_OK) s = seam_close(out, paint, 0, 0, p->part_w, p->part_h);
    free(paint);
    return s;
}

/* --- in the models' sizes -------------------------------------------------------------------------- */

/* Whether a pixel in first_x..last_x, first_y..last_y of the part is to be painted. */
static bool any_painted(const Inpaint *p, int first_x, int last_x, int first_y, int last_y)
{
    for (int y = first_y; y <= last_y; y++) {
        const uint8_t *row = p->paint + (size_t)(p->y + y) * (size_t)p->w + p->x;
        for (int x = first_x; x <= last_x; x++)
            if (row[x]) return true;
    }
    return false;
}

/* The last pixel that cell i of `cells` touches on an axis of `size` pixels; the first is i * size / cells. */
static int last_touched(int i, int size, int cells)
{
    return (int)(((int64_t)(i + 1) * size + cells - 1) / cells) - 1;
}

static void make_mask(const Inpaint *p, int side, float *mask)
{
    for (int i = 0; i < side; i++) {
        int first_y = (int)((int64_t)i * p->part_h / side), last_y = last_touched(i, p->part_h, side);
        for (int j = 0; j < side; j++) {
            int first_x = (int)((int64_t)j * p->part_w / side), last_x = last_touched(j, p->part_w, side);
            mask[i * side + j] = any_painted(p, first_x, last_x, first_y, last_y) ? 0 : 1;
        }
    }
}

static Status show_part(const Inpaint *p, const Image *part, int side, const float **picture, const float **mask)
{
    Image resized = {0};
    size_t pixels = (size_t)side * (size_t)side;
    float *x = malloc(3 * pixels * sizeof *x), *m = malloc(pixels * sizeof *m);
    *picture = x; /* released with p */
    *mask = m;
    if (!x || !m) return status_fail(STATUS_NO_MEMORY, "out of memory for a picture of %d pixels a side", side);
    TRY(image_resize(part, side, side, &resized));
    image_to_f32(&resized, x);
    image_release(&resized);
    make_mask(p, side, m);
    return STATUS_OK;
}

Status inpaint_init(Inpaint *p, const Image *picture, const uint8_t *paint, int small_side, int large_side)
{
    Image part = {0};
    *p = (Inpaint){.w = picture->w, .h = picture->h, .paint = paint};
    TRY(choose_part(p, large_side ? large_side : small_side));
    Status s = cut_part(p, picture, &part);
    if (s == STATUS_OK) s = show_part(p, &part, small_side, &p->given.small, &p->given.small_mask);
    if (s == STATUS_OK && large_side) s = show_part(p, &part, large_side, &p->given.large, &p->given.large_mask);
    image_release(&part);
    if (s != STATUS_OK) inpaint_release(p);
    return s;
}

void inpaint_release(Inpaint *p)
{
    free((void *)p->given.small);
    free((void *)p->given.large);
    free((void *)p->given.small_mask);
    free((void *)p->given.large_mask);
    *p = (Inpaint){0};
}

/* --- back into the picture -------------------------------------------------------------------------- */

Status inpaint_paste(const Inpaint *p, const Image *picture, const Image *answer, Image *out)
{
    Image part = {0};
    TRY(image_resize(answer, p->part_w, p->part_h, &part));
    Status s = image_init(p->w, p->h, out);
    if (s == STATUS_OK) memcpy(out->pixels, picture->pixels, image_bytes(picture));
    for (int y = 0; y < p->part_h && s == STATUS_OK; y++)
        for (int x = 0; x < p->part_w; x++) {
            size_t to = (size_t)(p->y + y) * (size_t)p->w + (size_t)(p->x + x);
            if (p->paint[to]) memcpy(out->pixels + 3 * to, part.pixels + 3 * ((size_t)y * (size_t)p->part_w + (size_t)x), 3);
        }
    image_release(&part);
    if (s == STATUS_OK) s = seam_close(out, p->paint, p->x, p->y, p->part_w, p->part_h);
    if (s != STATUS_OK) image_release(out);
    return s;
}

Status inpaint_fit_mask(const Mask *mask, bool inverted, int w, int h, uint8_t **paint)
{
    uint8_t *out = *paint = malloc((size_t)w * (size_t)h);
    if (!out) return status_fail(STATUS_NO_MEMORY, "out of memory for a mask of %dx%d pixels", w, h);
    for (int y = 0; y < h; y++) {
        const uint8_t *row = mask->values + (2 * (int64_t)y + 1) * mask->h / (2 * (int64_t)h) * mask->w;
        for (int x = 0; x < w; x++) *out++ = (row[(2 * (int64_t)x + 1) * mask->w / (2 * (int64_t)w)] >= 128) != inverted;
    }
    return STATUS_OK;
}
