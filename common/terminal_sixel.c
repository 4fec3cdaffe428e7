/* Pictures as sixel: a palette by median cut (Heckbert 1982), then six rows at a time, one colour after the other. */
#include "common/terminal_picture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 256, BITS = 5, CELLS = 1 << 3 * BITS, ROWS = 6 };

/* Colours that share the upper bits. */
typedef struct Bin {
    int count;
    int64_t sum[3];
    int colour; /* of the palette */
} Bin;

typedef struct Box { /* order[first .. first+count-1] */
    int first, count;
} Box;

typedef struct Palette {
    Bin bins[CELLS];
    int order[CELLS]; /* bins that are used */
    int count;
    uint8_t colours[MOST][3];
} Palette;

static int bin_of(const uint8_t *c)
{
    return (c[0] >> (8 - BITS)) << 2 * BITS | (c[1] >> (8 - BITS)) << BITS | c[2] >> (8 - BITS);
}

static int level(int bin, int channel)
{
    return bin >> (2 - channel) * BITS & ((1 << BITS) - 1);
}

/* The longest side, and how long it is. */
static int longest_side(const Palette *p, const Box *b, int *length)
{
    int side = 0;
    *length = -1;
    for (int c = 0; c < 3; c++) {
        int low = 1 << BITS, high = -1;
        for (int i = 0; i < b->count; i++) {
            int v = level(p->order[b->first + i], c);
            if (v < low) low = v;
            if (v > high) high = v;
        }
        if (high - low > *length) *length = high - low, side = c;
    }
    return side;
}

/* Sorted by one channel (a counting sort, so that equal bins keep their order). */
static void sort_box(Palette *p, const Box *b, int side, int *spare)
{
    int used = 0;
    for (int v = 0; v < 1 << BITS; v++)
        for (int i = 0; i < b->count; i++)
            if (level(p->order[b->first + i], side) == v) spare[used++] = p->order[b->first + i];
    memcpy(p->order + b->first, spare, (size_t)used * sizeof *spare);
}

/* Cuts the box with the most pixels times length where half of its pixels are on each side. */
static bool cut_one(Palette *p, Box *boxes, int *count, int *spare)
{
    int best = -1, side = 0;
    int64_t most = 0;
    for (int i = 0; i < *count; i++) {
        int length, s = longest_side(p, &boxes[i], &length);
        int64_t pixels = 0;
        for (int k = 0; k < boxes[i].count; k++) pixels += p->bins[p->order[boxes[i].first + k]].count;
        if (boxes[i].count > 1 && pixels * (length + 1) > most) most = pixels * (length + 1), best = i, side = s;
    }
    if (best < 0) return false;
    Box *b = &boxes[best];
    int64_t all = 0, half = 0;
    int n = 0;
    sort_box(p, b, side, spare);
    for (int k = 0; k < b->count; k++) all += p->bins[p->order[b->first + k]].count;
    while (n < b->count - 1 && (n == 0 || 2 * half < all)) half += p->bins[p->order[b->first + n++]].count;
    boxes[(*count)++] = (Box){b->first + n, b->count - n};
    b->count = n;
    return true;
}

static void fill_palette(Palette *p, const Image *a, int *spare)
{
    Box boxes[MOST];
    int used = 0;
    for (size_t i = 0; i < (size_t)a->w * (size_t)a->h; i++) {
        Bin *b = &p->bins[bin_of(a->pixels + 3 * i)];
        b->count++;
        for (int c = 0; c < 3; c++) b->sum[c] += a->pixels[3 * i + (size_t)c];
    }
    for (int i = 0; i < CELLS; i++)
        if (p->bins[i].count) p->order[used++] = i;
    boxes[0] = (Box){0, used};
    p->count = 1;
    while (p->count < MOST && cut_one(p, boxes, &p->count, spare)) continue;
    for (int i = 0; i < p->count; i++) {
        int64_t sum[3] = {0}, pixels = 0;
        for (int k = 0; k < boxes[i].count; k++) {
            Bin *b = &p->bins[p->order[boxes[i].first + k]];
            b->colour = i;
            pixels += b->count;
            for (int c = 0; c < 3; c++) sum[c] += b->sum[c];
        }
        for (int c = 0; c < 3; c++) p->colours[i][c] = (uint8_t)((sum[c] + pixels / 2) / pixels);
    }
}

/* --- writing ------------------------------------------------------------------------------------------ */

static void put_run(FILE *out, int bits, int length)
{
    if (length > 3) fprintf(out, "!%d%c", length, 63 + bits);
    else
        for (int i = 0; i < length; i++) fputc(63 + bits, out);
}

/* The pixels of one colour in six rows; nothing behind the last one. */
static void put_colour_row(FILE *out, const uint8_t *indices, int w, int rows, int colour)
{
    int run = 0, before = 0;
    for (int x = 0; x < w; x++) {
        int bits = 0;
        for (int y = 0; y < rows; y++) bits |= (indices[y * w + x] == colour) << y;
        if (x > 0 && bits != before) put_run(out, before, run), run = 0;
        before = bits;
        run++;
    }
    if (before) put_run(out, before, run);
}

static void put_band(FILE *out, const Palette *p, const Image *a, int top, uint8_t *indices)
{
    int rows = a->h - top < ROWS ? a->h - top : ROWS;
    bool there[MOST] = {false}, first = true;
    for (int i = 0; i < rows * a->w; i++) {
        const Bin *b = &p->bins[bin_of(a->pixels + ((size_t)(top * a->w) + (size_t)i) * 3)];
        indices[i] = (uint8_t)b->colour;
        there[b->colour] = true;
    }
    for (int c = 0; c < p->count; c++) {
        if (!there[c]) continue;
        fprintf(out, "%s#%d", first ? "" : "$", c);
        put_colour_row(out, indices, a->w, rows, c);
        first = false;
    }
    if (top + ROWS < a->h) fputc('-', out);
}

Status terminal_sixel(const Image *a, char **bytes, size_t *size)
{
    Palette *p = calloc(1, sizeof *p);
    int *spare = malloc(CELLS * sizeof *spare);
    uint8_t *indices = malloc((size_t)a->w * ROWS);
    *bytes = NULL;
    FILE *out = p && spare && indices ? open_memstream(bytes, size) : NULL;
    if (out) {
        fill_palette(p, a, spare);
        fprintf(out, "\033P0;1;0q\"1;1;%d;%d", a->w, a->h);
        for (int i = 0; i < p->count; i++)
            fprintf(out, "#%d;2;%d;%d;%d", i, (p->colours[i][0] * 100 + 127) / 255, (p->colours[i][1] * 100 + 127) / 255,
                    (p->colours[i][2] * 100 + 127) / 255);
        for (int y = 0; y < a->h; y += ROWS) put_band(out, p, a, y, indices);
        fputs("\033\\", out);
        if (fclose(out) != 0) free(*bytes), *bytes = NULL;
    }
    free(p);
    free(spare);
    free(indices);
    return *bytes ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a picture on the terminal");
}
