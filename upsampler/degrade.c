#include "upsampler/degrade.h"

#include "common/image_read.h"
#include "common/jpeg_write.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TAPS = 24, LARGEST_BLUR = 16, CHANNELS = 3 };

/* Numbers of a row's decisions in its sequence of uniform numbers. */
enum { U_CLEAN, U_BLUR, U_SIGMA, U_FILTER, U_NOISE, U_NOISE_SIGMA, U_GREY, U_JPEG, U_QUALITY, U_HALVED, U_TOP, U_LEFT, U_TOLD,
       U_LEVEL, U_COUNT };
/* Sequences of a row: RngKey.image is 4 times the row plus one of these. */
enum { KEY_DECISIONS, KEY_NOISE, KEY_LEVEL, KEYS = 4 };

DegradeOptions degrade_defaults(void)
{
    return (DegradeOptions){.clean = 0.3f,
                            .blur = 0.5f,
                            .blur_sigma = {0.4f, 2.4f},
                            .filters = {0.5f, 0.2f, 0.2f, 0.1f},
                            .noise = 0.4f,
                            .noise_sigma = 0.15f,
                            .grey_noise = 0.4f,
                            .jpeg = 0.4f,
                            .jpeg_quality = {40, 95},
                            .halved_colours = 0.5f,
                            .untold_level = 0.5f,
                            .level = 0.4f};
}

static RngKey key_of(const RngKey *row, int which)
{
    return (RngKey){.seed = row->seed, .stream = RNG_AUGMENT, .image = KEYS * row->image + (uint32_t)which, .step = row->step};
}

/* --- blur -------------------------------------------------------------------------------------------- */

static int clamp_index(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* out[i] of n pixels `stride` values apart: the taps' weighted sum around i, edges repeated. */
static void blur_line(const float *x, int n, int stride, const float *taps, int radius, float *out)
{
    for (int i = 0; i < n; i++)
        for (int c = 0; c < CHANNELS; c++) {
            float sum = 0;
            for (int k = -radius; k <= radius; k++) sum += taps[k + radius] * x[clamp_index(i + k, n) * stride + c];
            out[i * stride + c] = sum;
        }
}

void degrade_blur(float *x, int h, int w, float sigma, float *work)
{
    float taps[2 * LARGEST_BLUR + 1], sum = 0;
    int radius = (int)ceilf(3 * sigma);
    if (radius > LARGEST_BLUR) radius = LARGEST_BLUR;
    if (radius < 1) return;
    for (int k = -radius; k <= radius; k++) sum += taps[k + radius] = expf(-0.5f * (float)(k * k) / (sigma * sigma));
    for (int k = 0; k <= 2 * radius; k++) taps[k] /= sum;
    for (int y = 0; y < h; y++) blur_line(x + y * w * CHANNELS, w, CHANNELS, taps, radius, work + y * w * CHANNELS);
    for (int column = 0; column < w; column++)
        blur_line(work + column * CHANNELS, h, w * CHANNELS, taps, radius, x + column * CHANNELS);
}

/* --- reduction --------------------------------------------------------------------------------------- */

static double bicubic(double t) /* Keys, a = -1/2 */
{
    t = fabs(t);
    if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
    return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
}

static double sinc(double t)
{
    return t == 0 ? 1 : sin(M_PI * t) / (M_PI * t);
}

static double weight(ReduceFilter filter, double t) /* t in pixels of the small picture */
{
    switch (filter) {
    case REDUCE_BICUBIC:
        return bicubic(t);
    case REDUCE_LANCZOS:
        return fabs(t) < 3 ? sinc(t) * sinc(t / 3) : 0;
    case REDUCE_MIDDLE:
        return fabs(t) < 0.25 ? 1 : 0;
    default:
        return fabs(t) < 0.5 ? 1 : 0;
    }
}

/* Weights of the large pixels 4 i + 2 - TAPS/2 and on for small pixel i. */
static void fill_taps(ReduceFilter filter, float taps[TAPS])
{
    double w[TAPS], sum = 0;
    for (int k = 0; k < TAPS; k++) sum += w[k] = weight(filter, (k - TAPS / 2 + 0.5) / DEGRADE_FACTOR);
    for (int k = 0; k < TAPS; k++) taps[k] = (float)(w[k] / sum);
}

static void reduce_line(const float *x, int n, int stride, const float taps[TAPS], float *out, int out_stride)
{
    for (int i = 0; i < n / DEGRADE_FACTOR; i++)
        for (int c = 0; c < CHANNELS; c++) {
            float sum = 0;
            for (int k = 0; k < TAPS; k++)
                if (taps[k] != 0) sum += taps[k] * x[clamp_index(DEGRADE_FACTOR * i + 2 - TAPS / 2 + k, n) * stride + c];
            out[i * out_stride + c] = sum;
        }
}

static float clamp_value(float x)
{
    return x < -1 ? -1 : x > 1 ? 1 : x;
}

void degrade_reduce(ReduceFilter filter, const float *x, int h, int w, float *low, float *work)
{
    float taps[TAPS];
    int small = w / DEGRADE_FACTOR;
    fill_taps(filter, taps);
    for (int y = 0; y < h; y++) reduce_line(x + y * w * CHANNELS, w, CHANNELS, taps, work + y * small * CHANNELS, CHANNELS);
    for (int column = 0; column < small; column++)
        reduce_line(work + column * CHANNELS, h, small * CHANNELS, taps, low + column * CHANNELS, small * CHANNELS);
    for (int i = 0; i < h / DEGRADE_FACTOR * small * CHANNELS; i++) low[i] = clamp_value(low[i]);
}

/* --- JPEG -------------------------------------------------------------------------------------------- */

/* The picture with its first rows and columns repeated `top` and `left` times. */
static Status moved(const float *x, int side, int top, int left, Image *out)
{
    TRY(image_init(side + left, side + top, out));
    for (int y = 0; y < side + top; y++)
        for (int column = 0; column < side + left; column++)
            for (int c = 0; c < CHANNELS; c++) {
                float v = x[(clamp_index(y - top, side) * side + clamp_index(column - left, side)) * CHANNELS + c];
                out->pixels[(y * (side + left) + column) * CHANNELS + c] = (uint8_t)lrintf((clamp_value(v) + 1) * 127.5f);
            }
    return STATUS_OK;
}

static Status round_trip(const Image *in, int quality, int halved_colours, Image *out)
{
    unsigned char *bytes;
    size_t size;
    TRY(jpeg_encode(in, &(JpegOptions){.quality = quality, .halved_colours = halved_colours}, &bytes, &size));
    Status status = image_decode("JPEG in memory", bytes, size, out);
    free(bytes);
    return status;
}

Status degrade_jpeg(float *x, int side, int quality, int halved_colours, int top, int left)
{
    Image before = {0}, after = {0};
    TRY(moved(x, side, top, left, &before));
    Status status = round_trip(&before, quality, halved_colours, &after);
    for (int y = 0; status == STATUS_OK && y < side; y++)
        for (int i = 0; i < side * CHANNELS; i++)
            x[y * side * CHANNELS + i] =
                (float)after.pixels[((y + top) * (side + left) + left) * CHANNELS + i] / 127.5f - 1;
    image_release(&before);
    image_release(&after);
    return status;
}

/* --- a row ------------------------------------------------------------------------------------------- */

static ReduceFilter choose_filter(const DegradeOptions *o, float u)
{
    float sum = 0;
    for (int f = 0; f < REDUCE_FILTERS; f++) sum += o->filters[f];
    u *= sum;
    for (int f = 0; f < REDUCE_FILTERS; f++) {
        if (u < o->filters[f]) return (ReduceFilter)f;
        u -= o->filters[f];
    }
    return REDUCE_BLOCK_MEAN;
}

/* work: as large as low. */
static void add_noise(const DegradeOptions *o, const float *u, const RngKey *row, int n, float *low, float *work)
{
    RngKey key = key_of(row, KEY_NOISE);
    float sigma = o->noise_sigma * u[U_NOISE_SIGMA] * u[U_NOISE_SIGMA];
    int grey = u[U_GREY] < o->grey_noise;
    rng_normal(&key, work, n);
    for (int i = 0; i < n; i++) low[i] = clamp_value(low[i] + sigma * work[grey ? i - i % CHANNELS : i]);
}

static int between(const int range[2], float u)
{
    return range[0] + (int)(u * (float)(range[1] - range[0] + 1));
}

/* copy (side,side,3): x, which may be changed; work (side,side,3). */
static Status degrade(const DegradeOptions *o, const float *u, float *copy, int side, const RngKey *row, float *low, float *work)
{
    int small = side / DEGRADE_FACTOR, n = small * small * CHANNELS;
    if (u[U_BLUR] < o->blur)
        degrade_blur(copy, side, side, o->blur_sigma[0] + u[U_SIGMA] * (o->blur_sigma[1] - o->blur_sigma[0]), work);
    degrade_reduce(choose_filter(o, u[U_FILTER]), copy, side, side, low, work);
    if (u[U_NOISE] < o->noise) add_noise(o, u, row, n, low, work);
    if (u[U_JPEG] < o->jpeg)
        return degrade_jpeg(low, small, between(o->jpeg_quality, u[U_QUALITY]), u[U_HALVED] < o->halved_colours,
                            (int)(16 * u[U_TOP]), (int)(16 * u[U_LEFT]));
    for (int i = 0; i < n; i++) low[i] = rintf((low[i] + 1) * 127.5f) / 127.5f - 1;
    return STATUS_OK;
}

Status degrade_row(const DegradeOptions *o, const float *x, int side, const RngKey *row, float *low)
{
    float u[U_COUNT];
    RngKey key = key_of(row, KEY_DECISIONS);
    size_t size = (size_t)(side * side * CHANNELS);
    rng_uniforms(&key, u, U_COUNT);
    float *copy = malloc(2 * size * sizeof *copy);
    if (!copy) return status_fail(STATUS_NO_MEMORY, "out of memory for a picture of %dx%d", side, side);
    Status status = STATUS_OK;
    memcpy(copy, x, size * sizeof *copy);
    if (u[U_CLEAN] < o->clean) degrade_reduce(REDUCE_BLOCK_MEAN, copy, side, side, low, copy + size);
    else status = degrade(o, u, copy, side, row, low, copy + size);
    free(copy);
    return status;
}

float degrade_draw_level(const DegradeOptions *o, const RngKey *row)
{
    float u[U_COUNT];
    RngKey key = key_of(row, KEY_DECISIONS);
    rng_uniforms(&key, u, U_COUNT);
    return u[U_TOLD] < o->untold_level ? 0 : o->level * u[U_LEVEL] * u[U_LEVEL];
}

RngKey degrade_level_key(const RngKey *row)
{
    return key_of(row, KEY_LEVEL);
}

Status degrade_add_noise(float *low, int64_t n, float level, const RngKey *key)
{
    if (level == 0) return STATUS_OK;
    float *noise = malloc((size_t)n * sizeof *noise);
    if (!noise) return status_fail(STATUS_NO_MEMORY, "out of memory for noise of %lld values", (long long)n);
    rng_normal(key, noise, n);
    for (int64_t i = 0; i < n; i++) low[i] += level * noise[i];
    free(noise);
    return STATUS_OK;
}
