#include "glide/quality/colour_difference.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#define DEGREES (180 / 3.14159265358979323846)
/* Hues that lie opposite one another are not further apart than half a turn; rounding must not decide (pairs 10 and 14 of the
 * published ones are exactly opposite). */
#define HALF_TURN (180 + 1e-9)

/* --- the formula --------------------------------------------------------------------------------------- */

static double cosine(double degrees)
{
    return cos(degrees / DEGREES);
}

/* sqrt(c^7 / (c^7 + 25^7)) */
static double chroma_share(double c)
{
    double c7 = c * c * c * c * c * c * c;
    return sqrt(c7 / (c7 + 6103515625.0));
}

static double hue(double a, double b)
{
    if (a == 0 && b == 0) return 0;
    double h = atan2(b, a) * DEGREES;
    return h < 0 ? h + 360 : h;
}

static double hue_difference(double h1, double h2, bool grey)
{
    double d = h2 - h1;
    if (grey) return 0;
    return d > HALF_TURN ? d - 360 : d < -HALF_TURN ? d + 360 : d;
}

static double mean_hue(double h1, double h2, bool grey)
{
    if (grey) return h1 + h2;
    if (fabs(h1 - h2) <= HALF_TURN) return (h1 + h2) / 2;
    return h1 + h2 < 360 ? (h1 + h2 + 360) / 2 : (h1 + h2 - 360) / 2;
}

double ciede2000(const double first[3], const double second[3])
{
    double stretch = 1.5 - 0.5 * chroma_share((hypot(first[1], first[2]) + hypot(second[1], second[2])) / 2); /* 1 + G */
    double a1 = stretch * first[1], a2 = stretch * second[1];
    double c1 = hypot(a1, first[2]), c2 = hypot(a2, second[2]);
    double h1 = hue(a1, first[2]), h2 = hue(a2, second[2]);
    bool grey = c1 * c2 == 0;
    double d_hue = 2 * sqrt(c1 * c2) * sin(hue_difference(h1, h2, grey) / 2 / DEGREES);
    double lightness = (first[0] + second[0]) / 2 - 50, chroma = (c1 + c2) / 2, h = mean_hue(h1, h2, grey);
    double t = 1 - 0.17 * cosine(h - 30) + 0.24 * cosine(2 * h) + 0.32 * cosine(3 * h + 6) - 0.20 * cosine(4 * h - 63);
    double near_blue = (h - 275) / 25, turn = 60 * exp(-near_blue * near_blue); /* 2 Delta theta */
    double l = (second[0] - first[0]) / (1 + 0.015 * lightness * lightness / sqrt(20 + lightness * lightness));
    double c = (c2 - c1) / (1 + 0.045 * chroma), d = d_hue / (1 + 0.015 * chroma * t);
    double square = l * l + c * c + d * d - 2 * chroma_share(chroma) * sin(turn / DEGREES) * c * d;
    return square > 0 ? sqrt(square) : 0;
}

/* --- pictures ------------------------------------------------------------------------------------------ */

static double linear(uint8_t code)
{
    double v = code / 255.0;
    return v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4);
}

static double lab_curve(double t)
{
    return t > 216.0 / 24389 ? cbrt(t) : (24389.0 / 27 * t + 16) / 116;
}

static void lab_of_linear(const double rgb[3], double lab[3])
{
    static const double xyz[3][3] = {{0.4124564, 0.3575761, 0.1804375},
                                     {0.2126729, 0.7151522, 0.0721750},
                                     {0.0193339, 0.1191920, 0.9503041}};
    static const double white[3] = {0.95047, 1, 1.08883};
    double f[3];
    for (int i = 0; i < 3; i++) f[i] = lab_curve((xyz[i][0] * rgb[0] + xyz[i][1] * rgb[1] + xyz[i][2] * rgb[2]) / white[i]);
    lab[0] = 116 * f[1] - 16;
    lab[1] = 500 * (f[0] - f[1]);
    lab[2] = 200 * (f[1] - f[2]);
}

void lab_of_srgb(const uint8_t rgb[3], double lab[3])
{
    lab_of_linear((const double[3]){linear(rgb[0]), linear(rgb[1]), linear(rgb[2])}, lab);
}

static double row_difference(const uint8_t *a, const uint8_t *b, int w, const double *curve)
{
    double sum = 0, first[3], second[3];
    for (int x = 0; x < w; x++, a += 3, b += 3) {
        if (a[0] == b[0] && a[1] == b[1] && a[2] == b[2]) continue;
        lab_of_linear((const double[3]){curve[a[0]], curve[a[1]], curve[a[2]]}, first);
        lab_of_linear((const double[3]){curve[b[0]], curve[b[1]], curve[b[2]]}, second);
        sum += ciede2000(first, second);
    }
    return sum;
}

Status picture_colour_difference(const Image *a, const Image *b, double *out)
{
    assert(a->w == b->w && a->h == b->h);
    double curve[256], sum = 0, *rows = malloc((size_t)a->h * sizeof *rows);
    const size_t row = (size_t)a->w * 3;
    *out = NAN;
    if (!rows) return status_fail(STATUS_NO_MEMORY, "out of memory for the colours of two pictures");
    for (int i = 0; i < 256; i++) curve[i] = linear((uint8_t)i);
#pragma omp parallel for schedule(static)
    for (int y = 0; y < a->h; y++) rows[y] = row_difference(a->pixels + (size_t)y * row, b->pixels + (size_t)y * row, a->w, curve);
    for (int y = 0; y < a->h; y++) sum += rows[y];
    free(rows);
    *out = sum / a->h / a->w;
    return STATUS_OK;
}
