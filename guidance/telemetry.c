#include "guidance/telemetry.h"

#include <math.h>
#include <stdio.h>

/* --- measuring --- */

/* Sums over a row's eps. */
static double products(const float *a, const float *b, int64_t pixels)
{
    double sum = 0;
    for (int64_t p = 0; p < pixels; p++)
        for (int c = 0; c < IMAGE_CHANNELS; c++) sum += (double)a[p * MODEL_CHANNELS + c] * b[p * MODEL_CHANNELS + c];
    return sum;
}

static double norm_of(const float *a, int64_t row, int64_t pixels)
{
    const float *x = a ? a + row * pixels * MODEL_CHANNELS : NULL;
    return a ? sqrt(products(x, x, pixels) / (double)(pixels * IMAGE_CHANNELS)) : NAN;
}

static void measure_pair(const float *cond, const float *uncond, int64_t pixels, GuidanceTelemetry *t)
{
    double squares = 0, product = sqrt(products(cond, cond, pixels)) * sqrt(products(uncond, uncond, pixels));
    for (int64_t p = 0; p < pixels; p++)
        for (int c = 0; c < IMAGE_CHANNELS; c++)
            squares += pow((double)cond[p * MODEL_CHANNELS + c] - uncond[p * MODEL_CHANNELS + c], 2);
    t->difference_norm = sqrt(squares / (double)(pixels * IMAGE_CHANNELS));
    t->cosine = product > 0 ? products(cond, uncond, pixels) / product : 0;
}

/* x_0 = x_t / alpha - sigma / alpha eps; the change of x_0 is that of eps times the factor. */
static void measure_parts(const GuidanceStep *s, const float *x_t, const float *start, const float *guided, int64_t pixels,
                          GuidanceTelemetry *t)
{
    double factor = -s->level.sigma / s->level.alpha, onto = 0, square = 0, change2 = 0;
    for (int64_t p = 0; p < pixels; p++) {
        for (int c = 0; c < IMAGE_CHANNELS; c++) {
            int64_t i = p * MODEL_CHANNELS + c;
            double x_0 = x_t[p * IMAGE_CHANNELS + c] / s->level.alpha + factor * start[i];
            double change = factor * ((double)guided[i] - start[i]);
            onto += x_0 * change;
            square += x_0 * x_0;
            change2 += change * change;
        }
    }
    double size = (double)(pixels * IMAGE_CHANNELS), parallel2 = square > 0 ? onto * onto / square : 0;
    t->parallel_norm = sqrt(parallel2 / size);
    t->orthogonal_norm = sqrt(fmax(change2 - parallel2, 0) / size);
}

void telemetry_measure(const GuidanceStep *s, const float *guided, GuidanceTelemetry *telemetry)
{
    int64_t pixels = s->height * s->width, size = pixels * MODEL_CHANNELS;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < s->n; row++) {
        GuidanceTelemetry *t = &telemetry[row];
        t->cond_norm = norm_of(s->cond, row, pixels);
        t->uncond_norm = norm_of(s->uncond, row, pixels);
        t->weaker_norm = norm_of(s->weaker, row, pixels);
        t->guided_norm = norm_of(guided, row, pixels);
        if (s->cond && s->uncond) measure_pair(s->cond + row * size, s->uncond + row * size, pixels, t);
        measure_parts(s, s->x_t + row * pixels * IMAGE_CHANNELS, s->start + row * size, guided + row * size, pixels, t);
    }
}

void telemetry_measure_x_0(const float *x_0, int64_t n, int64_t pixels, GuidanceTelemetry *telemetry)
{
    int64_t size = pixels * IMAGE_CHANNELS;
    for (int64_t row = 0; row < n; row++) {
        int64_t outside = 0;
        for (int64_t i = 0; i < size; i++) outside += fabsf(x_0[row * size + i]) > 1;
        telemetry[row].clipped = (double)outside / (double)size;
    }
}

void telemetry_measure_gradient(const float *gradient, const float *score, int64_t n, int64_t pixels, int mode,
                                GuidanceTelemetry *telemetry)
{
    int64_t size = pixels * IMAGE_CHANNELS;
    for (int64_t row = 0; row < n; row++) {
        double squares = 0;
        for (int64_t i = 0; i < size; i++) squares += (double)gradient[row * size + i] * gradient[row * size + i];
        telemetry[row].gradient_norm[mode] = sqrt(squares / (double)size);
        telemetry[row].score[mode] = score[row];
    }
}

void telemetry_clear(GuidanceTelemetry *telemetry, int64_t n)
{
    for (int64_t row = 0; row < n; row++)
        for (size_t i = 0; i < sizeof *telemetry / sizeof(double); i++) ((double *)&telemetry[row])[i] = NAN;
}

/* --- by number --- */

static const char *const singles[] = {"cond_norm", "uncond_norm",   "weaker_norm",     "guided_norm", "difference_norm",
                                      "cosine",    "parallel_norm", "orthogonal_norm", "clipped"};
enum { SINGLES = sizeof singles / sizeof *singles };

_Static_assert(sizeof(GuidanceTelemetry) == (SINGLES + 3 * GUIDANCE_MODES) * sizeof(double), "names and fields are as many");

const char *telemetry_name(int index, char *text, size_t size)
{
    static const char *const ends[] = {"scale", "gradient_norm", "score"};
    if (index < 0 || index >= SINGLES + 3 * GUIDANCE_MODES) return NULL;
    int array = (index - SINGLES) / GUIDANCE_MODES, mode = (index - SINGLES) % GUIDANCE_MODES;
    if (index < SINGLES) snprintf(text, size, "%s", singles[index]);
    else if (array > 0 && !guidance_mode((GuidanceModeId)mode)->gradient) *text = 0;
    else snprintf(text, size, "%s_%s", guidance_mode((GuidanceModeId)mode)->name, ends[array]);
    return text;
}

double telemetry_value(const GuidanceTelemetry *t, int index)
{
    return ((const double *)t)[index];
}
