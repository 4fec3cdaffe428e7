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

typedef struct Seam {
    Image *picture;
    const uint8_t *paint;
    int x, y;     /* of the grid in the picture */
    int channel;
} Seam;

static int value_at(const Seam *s, int x, int y)
{
    return s->picture->pixels[((size_t)y * (size_t)s->picture->w + (size_t)x) * 3 + (size_t)s->channel];
}

static void tie(const Seam *s, Grid *g, size_t cell, int x, int y, int own)
{
    const Image *p = s->picture;
    if (x < 0 || y < 0 || x >= p->w || y >= p->h || s->paint[(size_t)y * (size_t)p->w + (size_t)x]) return;
    g->edges[cell]++;
    g->missing[cell] += (float)(value_at(s, x, y) - own);
}

static void fill_grid(const Seam *s, Grid *g)
{
    for (int i = 0; i < g->h; i++)
        for (int j = 0; j < g->w; j++) {
            int x = s->x + j, y = s->y + i;
            size_t cell = (size_t)i * (size_t)g->w + (size_t)j;
            if (!s->paint[(size_t)y * (size_t)s->picture->w + (size_t)x]) continue;
            int own = value_at(s, x, y);
            g->painted[cell] = 1;
            tie(s, g, cell, x - 1, y, own);
            tie(s, g, cell, x + 1, y, own);
            tie(s, g, cell, x, y - 1, own);
            tie(s, g, cell, x, y + 1, own);
        }
}

static void apply(const Seam *s, const Grid *g)
{
    for (int i = 0; i < g->h; i++)
        for (int j = 0; j < g->w; j++) {
            size_t cell = (size_t)i * (size_t)g->w + (size_t)j;
            uint8_t *value = s->picture->pixels +
                             ((size_t)(s->y + i) * (size_t)s->picture->w + (size_t)(s->x + j)) * 3 + (size_t)s->channel;
            if (!g->painted[cell]) continue;
            float sum = roundf((float)*value + g->c[cell]);
            *value = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
        }
}

Status seam_close(Image *picture, const uint8_t *paint, int x, int y, int w, int h)
{
    for (int channel = 0; channel < 3; channel++) {
        const Seam s = {picture, paint, x, y, channel};
        Grid g;
        TRY(grid_init(&g, w, h));
        fill_grid(&s, &g);
        Status status = solve(&g);
        if (status == STATUS_OK) apply(&s, &g);
        grid_release(&g);
        TRY(status);
    }
    return STATUS_OK;
}
