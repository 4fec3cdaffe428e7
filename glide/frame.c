#include "glide/frame.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BAND = 3 };  /* pixels: alpha is 0 where none of the nine around a pixel has any, and filters reach no further either */
#define SEEN 0.125f /* alpha from which on a colour counts as seen; below, its few bits say ever less */

static float full_of(const Picture *p)
{
    return p->bits == 16 ? 65535.0f : 255.0f;
}

static Status frame_init(int w, int h, Frame *out)
{
    *out = (Frame){w, h, malloc((size_t)w * (size_t)h * 3 * sizeof(float))};
    if (out->x) return STATUS_OK;
    *out = (Frame){0};
    return status_fail(STATUS_NO_MEMORY, "out of memory for a picture of %dx%d", w, h);
}

void frame_release(Frame *f)
{
    free(f->x);
    *f = (Frame){0};
}

/* --- what cannot be seen ------------------------------------------------------------------------------ */

/* The mean of the nine pixels around, weighted by `seen` (f->h,f->w); false: none of them is seen. */
static bool mean_around(const Frame *f, const float *seen, int x, int y, float mean[3])
{
    float sum[3] = {0}, total = 0;
    for (int fy = y - 1; fy <= y + 1; fy++)
        for (int fx = x - 1; fx <= x + 1; fx++) {
            if (fx < 0 || fy < 0 || fx >= f->w || fy >= f->h) continue;
            size_t at = (size_t)fy * (size_t)f->w + (size_t)fx;
            total += seen[at];
            for (size_t c = 0; c < 3; c++) sum[c] += seen[at] * f->x[3 * at + c];
        }
    for (int c = 0; c < 3 && total > 0; c++) mean[c] = sum[c] / total;
    return total > 0;
}

/* A step outwards: what is unseen beside something seen takes its colours, as far as it is unseen. */
static void spread(const Frame *f, const float *seen, float *next_x, float *next_seen)
{
    for (int y = 0; y < f->h; y++)
        for (int x = 0; x < f->w; x++) {
            size_t at = (size_t)y * (size_t)f->w + (size_t)x;
            float mean[3];
            memcpy(next_x + 3 * at, f->x + 3 * at, 3 * sizeof(float));
            next_seen[at] = seen[at];
            if (seen[at] >= 1 || !mean_around(f, seen, x, y, mean)) continue;
            next_seen[at] = 1;
            for (size_t c = 0; c < 3; c++) next_x[3 * at + c] = seen[at] * f->x[3 * at + c] + (1 - seen[at]) * mean[c];
        }
}

static Status hide_unseen(const Picture *p, Frame *f)
{
    size_t n = (size_t)p->w * (size_t)p->h;
    float *seen = malloc(n * sizeof *seen), *next_seen = malloc(n * sizeof *next_seen), *next_x = malloc(3 * n * sizeof *next_x);
    Status s = STATUS_OK;
    if (!seen || !next_seen || !next_x) s = status_fail(STATUS_NO_MEMORY, "out of memory for a picture of %dx%d", p->w, p->h);
    for (size_t i = 0; s == STATUS_OK && i < n; i++) seen[i] = fminf(1, (float)picture_value(p, 4 * i + 3) / (SEEN * full_of(p)));
    for (int i = 0; s == STATUS_OK && i < BAND; i++) {
        spread(f, seen, next_x, next_seen);
        memcpy(seen, next_seen, n * sizeof *seen);
        memcpy(f->x, next_x, 3 * n * sizeof *next_x);
    }
    for (size_t i = 0; s == STATUS_OK && i < 3 * n; i++)
        if (seen[i / 3] == 0) f->x[i] = 1;
    free(seen);
    free(next_seen);
    free(next_x);
    return s;
}

/* --- from pictures ------------------------------------------------------------------------------------ */

Status frame_of_colours(const Picture *p, Frame *out)
{
    TRY(frame_init(p->w, p->h, out));
    size_t n = (size_t)p->w * (size_t)p->h, channels = (size_t)p->channels;
    float half = full_of(p) / 2;
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < 3; c++) out->x[3 * i + c] = (float)picture_value(p, i * channels + c) / half - 1;
    Status s = p->channels == 4 ? hide_unseen(p, out) : STATUS_OK;
    if (s != STATUS_OK) frame_release(out);
    return s;
}

Status frame_of_alpha(const Picture *p, Frame *out)
{
    TRY(frame_init(p->w, p->h, out));
    size_t n = (size_t)p->w * (size_t)p->h;
    float half = full_of(p) / 2;
    for (size_t i = 0; i < 3 * n; i++) out->x[i] = (float)picture_value(p, i / 3 * 4 + 3) / half - 1;
    return STATUS_OK;
}

bool frame_alpha_varies(const Picture *p)
{
    size_t n = (size_t)p->w * (size_t)p->h;
    if (p->channels == 3) return false;
    for (size_t i = 1; i < n; i++)
        if (picture_value(p, 4 * i + 3) != picture_value(p, 3)) return true;
    return false;
}

/* --- sizes -------------------------------------------------------------------------------------------- */

void frame_halve(Frame *f)
{
    size_t row = (size_t)f->w * 3;
    int w = f->w / 2, h = f->h / 2;
    for (int y = 0; y < h; y++) /* in place: writing never overtakes reading */
        for (int x = 0; x < w; x++)
            for (size_t c = 0; c < 3; c++) {
                const float *from = f->x + 2 * (size_t)y * row + 6 * (size_t)x + c;
                f->x[((size_t)y * (size_t)w + (size_t)x) * 3 + c] = 0.25f * ((from[0] + from[3]) + (from[row] + from[row + 3]));
            }
    float *smaller = realloc(f->x, (size_t)w * (size_t)h * 3 * sizeof *smaller);
    *f = (Frame){w, h, smaller ? smaller : f->x};
}

Status frame_resize(Frame *f, int w, int h)
{
    Frame out;
    TRY(frame_init(w, h, &out));
    Status s = image_resize_f32(f->x, f->w, f->h, w, h, out.x);
    frame_release(s == STATUS_OK ? f : &out);
    if (s == STATUS_OK) *f = out;
    return s;
}

/* --- into pictures ------------------------------------------------------------------------------------ */

/* NaN is 0, halves to even, as image_from_f32(). */
static void put(Picture *p, size_t i, float x)
{
    float full = full_of(p), v = (x + 1) * (full / 2);
    unsigned value = !(v > 0) ? 0 : v >= full ? (unsigned)full : (unsigned)lrintf(v);
    if (p->bits == 16) ((uint16_t *)p->values)[i] = (uint16_t)value;
    else ((uint8_t *)p->values)[i] = (uint8_t)value;
}

void frame_to_colours(const Frame *f, Picture *out)
{
    size_t n = (size_t)f->w * (size_t)f->h, channels = (size_t)out->channels;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        const float *x = f->x + 3 * i;
        float mean = (x[0] + x[1] + x[2]) / 3;
        for (size_t c = 0; c < 3; c++) put(out, i * channels + c, out->grey ? mean : x[c]);
    }
}

/* The least and the most alpha of a pixel and those around it, as [-1,1]. */
static void range_around(const Picture *p, int x, int y, float *least, float *most)
{
    unsigned low = 65535, high = 0;
    for (int dy = y > 0 ? -1 : 0; dy <= (y + 1 < p->h); dy++)
        for (int dx = x > 0 ? -1 : 0; dx <= (x + 1 < p->w); dx++) {
            unsigned a = picture_value(p, ((size_t)(y + dy) * (size_t)p->w + (size_t)(x + dx)) * 4 + 3);
            if (a < low) low = a;
            if (a > high) high = a;
        }
    *least = (float)low / (full_of(p) / 2) - 1;
    *most = (float)high / (full_of(p) / 2) - 1;
}

void frame_to_alpha(const Frame *f, const Picture *small, Picture *out)
{
    float same = (float)picture_value(small, 3) / (full_of(small) / 2) - 1;
#pragma omp parallel for schedule(static)
    for (int y = 0; y < out->h; y++)
        for (int x = 0; x < out->w; x++) {
            size_t i = (size_t)y * (size_t)out->w + (size_t)x;
            float alpha = same, least, most;
            if (f) {
                range_around(small, (int)((int64_t)x * small->w / out->w), (int)((int64_t)y * small->h / out->h), &least, &most);
                alpha = (f->x[3 * i] + f->x[3 * i + 1] + f->x[3 * i + 2]) / 3;
                alpha = fminf(fmaxf(alpha, least), most);
            }
            put(out, 4 * i + 3, alpha);
        }
}
