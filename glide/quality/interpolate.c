#include "glide/quality/interpolate.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_TAPS = 8 };

/* Which pixels a pixel of the result is made of, along an axis. */
typedef struct Taps {
    int first, count;
    float weights[MOST_TAPS];
} Taps;

static double sinc(double x)
{
    const double pi = 3.14159265358979323846;
    return x == 0 ? 1 : sin(pi * x) / (pi * x);
}

static double kernel(Interpolation kind, double x)
{
    x = fabs(x);
    if (kind == INTERPOLATE_LANCZOS) return x < 3 ? sinc(x) * sinc(x / 3) : 0;
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

static void fill_taps(Interpolation kind, int at, int scale, int length, Taps *t)
{
    double centre = (at + 0.5) / scale - 0.5, sum = 0, w[MOST_TAPS];
    int reach = kind == INTERPOLATE_LANCZOS ? 3 : 2, from = (int)floor(centre) - reach + 1, to = from + 2 * reach;
    if (kind == INTERPOLATE_NEAREST) {
        *t = (Taps){.first = at / scale, .count = 1, .weights = {1}};
        return;
    }
    if (from < 0) from = 0;
    if (to > length) to = length;
    t->first = from;
    t->count = to - from;
    for (int i = 0; i < t->count; i++) sum += w[i] = kernel(kind, from + i - centre);
    for (int i = 0; i < t->count; i++) t->weights[i] = (float)(w[i] / sum);
}

static Taps *make_taps(Interpolation kind, int length, int scale)
{
    Taps *t = malloc((size_t)length * (size_t)scale * sizeof *t);
    for (int i = 0; t && i < length * scale; i++) fill_taps(kind, i, scale, length, &t[i]);
    return t;
}

/* wide (h,w*scale,3) */
static void across(const Image *in, int w, const Taps *taps, float *wide)
{
#pragma omp parallel for schedule(static)
    for (int y = 0; y < in->h; y++)
        for (int x = 0; x < w; x++) {
            const uint8_t *from = in->pixels + ((size_t)y * (size_t)in->w + (size_t)taps[x].first) * 3;
            float *to = wide + ((size_t)y * (size_t)w + (size_t)x) * 3;
            for (int c = 0; c < 3; c++) {
                to[c] = 0;
                for (int i = 0; i < taps[x].count; i++) to[c] += taps[x].weights[i] * from[3 * i + c];
            }
        }
}

static void down(const float *wide, const Taps *taps, Image *out)
{
    const size_t row = (size_t)out->w * 3;
#pragma omp parallel for schedule(static)
    for (int y = 0; y < out->h; y++)
        for (size_t i = 0; i < row; i++) {
            float sum = 0;
            for (int k = 0; k < taps[y].count; k++) sum += taps[y].weights[k] * wide[(size_t)(taps[y].first + k) * row + i];
            out->pixels[(size_t)y * row + i] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : rintf(sum));
        }
}

Status image_interpolate(Interpolation kind, const Image *in, int scale, Image *out)
{
    if (scale < 1 || in->w > IMAGE_MAX_SIDE / scale || in->h > IMAGE_MAX_SIDE / scale)
        return status_fail(STATUS_BAD_INPUT, "a picture of %dx%d cannot be made %d times as large: expected sides of at most %d",
                           in->w, in->h, scale, IMAGE_MAX_SIDE);
    TRY(image_init(in->w * scale, in->h * scale, out));
    Taps *columns = make_taps(kind, in->w, scale), *rows = make_taps(kind, in->h, scale);
    float *wide = malloc((size_t)in->h * (size_t)out->w * 3 * sizeof *wide);
    Status s = columns && rows && wide ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for enlarging a picture");
    if (s == STATUS_OK) {
        across(in, out->w, columns, wide);
        down(wide, rows, out);
    } else {
        image_release(out);
    }
    free(columns);
    free(rows);
    free(wide);
    return s;
}
