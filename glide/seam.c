#include "glide/seam.h"

#include <math.h>
#include <stdlib.h>

/* Sweeps over each grid, after a coarser one has done all but the detail; of more than LARGE cells, in which a model's answer has
 * none, fewer. */
enum { SWEEPS = 40, LEAST_SWEEPS = 8, LARGE = 256 * 256, SMALLEST = 4 };

static const float over_relaxation = 1.5f;

/* One colour's correction c on a grid of w x h cells. An edge ties a cell to a known value. */
typedef struct Grid {
    int w, h;
    uint8_t *painted; /* (h,w) */
    float *edges;     /* (h,w) number of edges of a cell */
    float *missing;   /* (h,w) sum over its edges of what c should be there */
    float *c;         /* (h,w) */
} Grid;

static void grid_release(Grid *g)
{
    free(g->painted);
    free(g->edges);
    free(g->missing);
    free(g->c);
}

static Status grid_init(Grid *g, int w, int h)
{
    size_t cells = (size_t)w * (size_t)h;
    *g = (Grid){w, h, calloc(cells, 1), calloc(cells, sizeof(float)), calloc(cells, sizeof(float)), calloc(cells, sizeof(float))};
    if (g->painted && g->edges && g->missing && g->c) return STATUS_OK;
    grid_release(g);
    return status_fail(STATUS_NO_MEMORY, "out of memory for the border of %dx%d painted pixels", w, h);
}

/* --- the equation ------------------------------------------------------------------------------------ */

static void relax(Grid *g, int x, int y)
{
    size_t row = (size_t)g->w, i = (size_t)y * row + (size_t)x;
    float sum = g->missing[i], n = g->edges[i];
    if (!g->painted[i]) return;
    if (x > 0 && g->painted[i - 1]) sum += g->c[i - 1], n++;
    if (x + 1 < g->w && g->painted[i + 1]) sum += g->c[i + 1], n++;
    if (y > 0 && g->painted[i - row]) sum += g->c[i - row], n++;
    if (y + 1 < g->h && g->painted[i + row]) sum += g->c[i + row], n++;
    if (n > 0) g->c[i] += over_relaxation * (sum / n - g->c[i]);
}

/* Each cell becomes the mean of its neighbours and of what its edges ask for: Gauss-Seidel with over-relaxation, the black cells
 * of a chessboard after the white ones, so that rows do not wait for one another. */
static void sweep(Grid *g)
{
    for (int colour = 0; colour < 2; colour++)
#pragma omp parallel for schedule(static) if (g->w * (int64_t)g->h > LARGE / 4)
        for (int y = 0; y < g->h; y++)
            for (int x = (y + colour) % 2; x < g->w; x += 2) relax(g, x, y);
}

static int sweeps_of(const Grid *g)
{
    int64_t n = (int64_t)SWEEPS * LARGE / ((int64_t)g->w * g->h);
    return n > SWEEPS ? SWEEPS : n < LEAST_SWEEPS ? LEAST_SWEEPS : (int)n;
}

static size_t coarse_cell(const Grid *coarse, int x, int y)
{
    return (size_t)(y / 2) * (size_t)coarse->w + (size_t)(x / 2);
}

static void coarsen(const Grid *g, Grid *coarse)
{
    for (int y = 0; y < g->h; y++)
        for (int x = 0; x < g->w; x++) {
            size_t i = (size_t)y * (size_t)g->w + (size_t)x, j = coarse_cell(coarse, x, y);
            coarse->painted[j] |= g->painted[i];
            coarse->edges[j] += g->edges[i];
            coarse->missing[j] += g->missing[i];
        }
}

/* From half the resolution to this one; there are as many levels as the size has bits. */
static Status solve(Grid *g)
{
    if (g->w > SMALLEST || g->h > SMALLEST) {
        Grid coarse;
        TRY(grid_init(&coarse, (g->w + 1) / 2, (g->h + 1) / 2));
        coarsen(g, &coarse);
        Status s = solve(&coarse);
        for (int y = 0; y < g->h && s == STATUS_OK; y++)
            for (int x = 0; x < g->w; x++) g->c[(size_t)y * (size_t)g->w + (size_t)x] = coarse.c[coarse_cell(&coarse, x, y)];
        grid_release(&coarse);
        TRY(s);
    }
    for (int i = 0, n = sweeps_of(g); i < n; i++) sweep(g);
    return STATUS_OK;
}

/* --- the picture ------------------------------------------------------------------------------------- */

/* One colour of a picture of w x h pixels. */
typedef struct Plane {
    float *x; /* (h,w,3), from this colour on */
    const uint8_t *paint; /* (h,w) */
    int w, h;
} Plane;

static void tie(const Plane *p, Grid *g, size_t cell, int x, int y)
{
    size_t i = (size_t)y * (size_t)p->w + (size_t)x;
    if (x < 0 || y < 0 || x >= p->w || y >= p->h || p->paint[i]) return;
    g->edges[cell]++;
    g->missing[cell] += p->x[3 * i] - p->x[3 * cell];
}

static void fill_grid(const Plane *p, Grid *g)
{
    for (int y = 0; y < p->h; y++)
        for (int x = 0; x < p->w; x++) {
            size_t cell = (size_t)y * (size_t)p->w + (size_t)x;
            if (!p->paint[cell]) continue;
            g->painted[cell] = 1;
            tie(p, g, cell, x - 1, y);
            tie(p, g, cell, x + 1, y);
            tie(p, g, cell, x, y - 1);
            tie(p, g, cell, x, y + 1);
        }
}

Status seam_close_values(float *x, const uint8_t *paint, int w, int h)
{
    for (int channel = 0; channel < 3; channel++) {
        const Plane p = {x + channel, paint, w, h};
        Grid g;
        TRY(grid_init(&g, w, h));
        fill_grid(&p, &g);
        Status s = solve(&g);
        for (size_t i = 0; i < (size_t)w * (size_t)h && s == STATUS_OK; i++)
            if (paint[i]) p.x[3 * i] += g.c[i];
        grid_release(&g);
        TRY(s);
    }
    return STATUS_OK;
}

/* The rectangle and, where the picture has them, the pixels around it. */
typedef struct Framed {
    int x, y, w, h;
} Framed;

static Framed frame(const Image *picture, int x, int y, int w, int h)
{
    int left = x > 0 ? x - 1 : 0, top = y > 0 ? y - 1 : 0;
    int right = x + w < picture->w ? x + w + 1 : picture->w, bottom = y + h < picture->h ? y + h + 1 : picture->h;
    return (Framed){left, top, right - left, bottom - top};
}

static size_t pixel_of(const Image *picture, const Framed *f, int x, int y)
{
    return (size_t)(f->y + y) * (size_t)picture->w + (size_t)(f->x + x);
}

static void take_values(const Image *picture, const uint8_t *paint, const Framed *f, float *values, uint8_t *painted)
{
    for (int y = 0; y < f->h; y++)
        for (int x = 0; x < f->w; x++) {
            size_t from = pixel_of(picture, f, x, y);
            for (int c = 0; c < 3; c++) *values++ = picture->pixels[3 * from + (size_t)c];
            *painted++ = paint[from];
        }
}

static void put_values(const float *values, const uint8_t *painted, const Framed *f, Image *picture)
{
    for (int y = 0; y < f->h; y++)
        for (int x = 0; x < f->w; x++, values += 3) {
            size_t to = pixel_of(picture, f, x, y);
            for (int c = 0; c < 3 && *painted; c++) {
                float value = roundf(values[c]);
                picture->pixels[3 * to + (size_t)c] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
            }
            painted++;
        }
}

Status seam_close(Image *picture, const uint8_t *paint, int x, int y, int w, int h)
{
    Framed f = frame(picture, x, y, w, h);
    size_t pixels = (size_t)f.w * (size_t)f.h;
    float *values = calloc(3 * pixels, sizeof *values);
    uint8_t *painted = calloc(pixels, 1);
    Status s = values && painted ? STATUS_OK
                                 : status_fail(STATUS_NO_MEMORY, "out of memory for the border of %dx%d painted pixels", w, h);
    if (s == STATUS_OK) take_values(picture, paint, &f, values, painted);
    if (s == STATUS_OK) s = seam_close_values(values, painted, f.w, f.h);
    if (s == STATUS_OK) put_values(values, painted, &f, picture);
    free(values);
    free(painted);
    return s;
}
