#include "common/image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

Status image_init(int w, int h, Image *out)
{
    *out = (Image){0};
    if (w < 1 || h < 1 || w > IMAGE_MAX_SIDE || h > IMAGE_MAX_SIDE || (int64_t)w * h > IMAGE_MAX_PIXELS)
        return status_fail(STATUS_BAD_INPUT,
                           "picture of %dx%d: expected sides from 1 to %d and at most %lld million pixels", w, h,
                           IMAGE_MAX_SIDE, (long long)(IMAGE_MAX_PIXELS / 1000000));
    uint8_t *pixels = calloc((size_t)w * (size_t)h, 3);
    if (!pixels) return status_fail(STATUS_NO_MEMORY, "picture of %dx%d: out of memory", w, h);
    *out = (Image){w, h, pixels};
    return STATUS_OK;
}

void image_release(Image *image)
{
    free(image->pixels);
    *image = (Image){0};
}

static uint8_t round_to_u8(float v)
{
    if (!(v > 0)) return 0; /* NaN too */
    return v >= 255 ? 255 : (uint8_t)lrintf(v);
}

Status image_from_f32(const float *x, int w, int h, Image *out)
{
    TRY(image_init(w, h, out));
    size_t n = image_bytes(out);
    for (size_t i = 0; i < n; i++) out->pixels[i] = round_to_u8((x[i] + 1) * 127.5f);
    return STATUS_OK;
}

void image_to_f32(const Image *image, float *x)
{
    size_t n = image_bytes(image);
    for (size_t i = 0; i < n; i++) x[i] = (float)image->pixels[i] / 127.5f - 1;
}

/* --- resizing: for each output position along an axis, which inputs count and how much --- */
typedef struct Taps {
    int *first;    /* (size): first input */
    int *count;    /* (size): how many inputs */
    float *weight; /* (size, most): their weights, which add up to 1 */
    int size, most;
} Taps;

static void taps_release(Taps *taps)
{
    free(taps->first);
    free(taps->count);
    free(taps->weight);
}

static void taps_area(Taps *taps, int from)
{
    double scale = (double)from / taps->size;
    for (int i = 0; i < taps->size; i++) {
        /* the ends as whole-number ratios, so that neighbours share them exactly */
        double begin = (double)((int64_t)i * from) / taps->size, end = (double)((int64_t)(i + 1) * from) / taps->size;
        int first = (int)begin, last = (int)ceil(end) - 1;
        taps->first[i] = first;
        taps->count[i] = last - first + 1;
        for (int k = first; k <= last; k++)
            taps->weight[(size_t)i * taps->most + (k - first)] = (float)((fmin(end, k + 1) - fmax(begin, k)) / scale);
    }
}

static void taps_linear(Taps *taps, int from)
{
    for (int i = 0; i < taps->size; i++) {
        double centre = fmax(0, (i + 0.5) * from / taps->size - 0.5);
        int first = (int)centre;
        float part = (float)(centre - first);
        float *weight = taps->weight + (size_t)i * taps->most;
        taps->first[i] = first;
        taps->count[i] = first + 1 < from && part > 0 ? 2 : 1;
        weight[0] = taps->count[i] == 2 ? 1 - part : 1;
        weight[1] = part;
    }
}

static Status taps_init(Taps *taps, int from, int to)
{
    *taps = (Taps){.size = to, .most = to < from ? from / to + 2 : 2};
    taps->first = calloc((size_t)to, sizeof(int));
    taps->count = calloc((size_t)to, sizeof(int));
    taps->weight = calloc((size_t)to * (size_t)taps->most, sizeof(float));
    if (!taps->first || !taps->count || !taps->weight) {
        taps_release(taps);
        return status_fail(STATUS_NO_MEMORY, "resizing a picture: out of memory");
    }
    if (to < from) taps_area(taps, from);
    else taps_linear(taps, from);
    return STATUS_OK;
}

/* What is resized: bytes, or numbers as they are. */
typedef struct Source {
    const uint8_t *u8; /* (H,W,3); NULL: f32 */
    const float *f32;
    int w, h;
} Source;

/* Row y; of bytes, in `room` (W,3). */
static const float *row_of(const Source *in, int y, float *room)
{
    size_t n = (size_t)in->w * 3;
    if (!in->u8) return in->f32 + (size_t)y * n;
    for (size_t i = 0; i < n; i++) room[i] = in->u8[(size_t)y * n + i];
    return room;
}

/* sum[x] += weight * (row resized to taps->size); row (from,3), sum (taps->size,3) */
static void add_row(const float *row, const Taps *taps, float weight, float *sum)
{
    for (int x = 0; x < taps->size; x++) {
        const float *p = row + (size_t)taps->first[x] * 3;
        const float *w = taps->weight + (size_t)x * taps->most;
        float r = 0, g = 0, b = 0;
        for (int k = 0; k < taps->count[x]; k++, p += 3) {
            r += w[k] * p[0];
            g += w[k] * p[1];
            b += w[k] * p[2];
        }
        sum[x * 3 + 0] += weight * r;
        sum[x * 3 + 1] += weight * g;
        sum[x * 3 + 2] += weight * b;
    }
}

/* Into `bytes` or `numbers` (H2,W2,3). scratch: a row of both. */
static void resize_rows(const Source *in, const Taps *tx, const Taps *ty, float *scratch, uint8_t *bytes, float *numbers)
{
    size_t row = (size_t)tx->size * 3;
    for (int y = 0; y < ty->size; y++) {
        float *sum = numbers ? numbers + (size_t)y * row : scratch;
        memset(sum, 0, row * sizeof *sum);
        for (int k = 0; k < ty->count[y]; k++)
            add_row(row_of(in, ty->first[y] + k, scratch + row), tx, ty->weight[(size_t)y * ty->most + k], sum);
        for (size_t i = 0; bytes && i < row; i++) bytes[(size_t)y * row + i] = round_to_u8(sum[i]);
    }
}

static Status resize(const Source *in, int w, int h, uint8_t *bytes, float *numbers)
{
    Taps tx, ty;
    TRY(taps_init(&tx, in->w, w));
    Status status = taps_init(&ty, in->h, h);
    if (status == STATUS_OK) {
        float *scratch = calloc(((size_t)w + (size_t)in->w) * 3, sizeof *scratch);
        if (scratch) resize_rows(in, &tx, &ty, scratch, bytes, numbers);
        else status = status_fail(STATUS_NO_MEMORY, "resizing a picture: out of memory");
        free(scratch);
        taps_release(&ty);
    }
    taps_release(&tx);
    return status;
}

Status image_resize(const Image *in, int w, int h, Image *out)
{
    TRY(image_init(w, h, out));
    Status status = resize(&(Source){in->pixels, NULL, in->w, in->h}, w, h, out->pixels, NULL);
    if (status != STATUS_OK) image_release(out);
    return status;
}

Status image_resize_f32(const float *x, int w, int h, int new_w, int new_h, float *out)
{
    return resize(&(Source){NULL, x, w, h}, new_w, new_h, NULL, out);
}

Status image_block_mean(const Image *in, int factor, Image *out)
{
    if (factor < 1 || factor > 256 || in->w % factor || in->h % factor)
        return status_fail(STATUS_BAD_INPUT, "block mean of %dx%d pixels: expected sides that are multiples of %d",
                           in->w, in->h, factor);
    TRY(image_init(in->w / factor, in->h / factor, out));
    uint32_t n = (uint32_t)(factor * factor);
    size_t stride = (size_t)in->w * 3;
    for (int y = 0; y < out->h; y++)
        for (int x = 0; x < out->w; x++)
            for (int c = 0; c < 3; c++) {
                const uint8_t *block = in->pixels + (size_t)y * factor * stride + (size_t)x * factor * 3 + c;
                uint32_t sum = 0;
                for (int i = 0; i < factor; i++)
                    for (int j = 0; j < factor; j++) sum += block[(size_t)i * stride + (size_t)j * 3];
                uint32_t mean = sum / n, rest = sum % n * 2;
                if (rest > n || (rest == n && mean % 2)) mean++;
                out->pixels[((size_t)y * out->w + x) * 3 + c] = (uint8_t)mean;
            }
    return STATUS_OK;
}

ContactSheet contact_sheet_defaults(void)
{
    return (ContactSheet){.columns = 0, .gap = 4, .background = {255, 255, 255}};
}

static void image_paste(const Image *in, int x, int y, Image *out)
{
    for (int row = 0; row < in->h; row++)
        memcpy(out->pixels + ((size_t)(y + row) * out->w + x) * 3, in->pixels + (size_t)row * in->w * 3,
               (size_t)in->w * 3);
}

Status image_contact_sheet(const Image *images, int count, const ContactSheet *sheet, Image *out)
{
    int columns = sheet->columns > 0 ? sheet->columns : (int)ceil(sqrt(count));
    if (count < 1 || sheet->gap < 0 || sheet->gap > 1000)
        return status_fail(STATUS_BAD_INPUT,
                           "contact sheet of %d pictures, gap %d: expected at least 1 picture and a gap of 0 to 1000",
                           count, sheet->gap);
    if (columns > count) columns = count;
    int rows = (count - 1) / columns + 1, w = 1, h = 1;
    for (int i = 0; i < count; i++) {
        if (images[i].w > w) w = images[i].w;
        if (images[i].h > h) h = images[i].h;
    }
    int64_t full_w = (int64_t)columns * (w + sheet->gap) + sheet->gap;
    int64_t full_h = (int64_t)rows * (h + sheet->gap) + sheet->gap;
    if (full_w > IMAGE_MAX_SIDE || full_h > IMAGE_MAX_SIDE)
        return status_fail(STATUS_BAD_INPUT, "contact sheet of %lldx%lld pixels: expected sides of at most %d",
                           (long long)full_w, (long long)full_h, IMAGE_MAX_SIDE);
    TRY(image_init((int)full_w, (int)full_h, out));
    size_t pixels = image_bytes(out) / 3;
    for (size_t i = 0; i < pixels; i++) memcpy(out->pixels + i * 3, sheet->background, 3);
    for (int i = 0; i < count; i++)
        image_paste(&images[i], sheet->gap + (i % columns) * (w + sheet->gap) + (w - images[i].w) / 2,
                    sheet->gap + (i / columns) * (h + sheet->gap) + (h - images[i].h) / 2, out);
    return STATUS_OK;
}
