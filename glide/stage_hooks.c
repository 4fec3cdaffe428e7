#include "glide/stage_hooks.h"

#include "glide/seam.h"

#include <math.h>
#include <stdlib.h>

/* --- colours ----------------------------------------------------------------------------------------- */

/* out (n,height/cell,width/cell,3): means over the cells of x (n,height,width,3). */
static void cell_means(const float *x, int64_t n, int64_t height, int64_t width, int64_t cell, float *out)
{
    int64_t down = height / cell, across = width / cell;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < n * down * across; k++) {
        int64_t row = k / (down * across), cy = k / across % down, cx = k % across;
        double sum[IMAGE_CHANNELS] = {0};
        for (int64_t y = cy * cell; y < (cy + 1) * cell; y++)
            for (int64_t x_at = cx * cell; x_at < (cx + 1) * cell; x_at++)
                for (int c = 0; c < IMAGE_CHANNELS; c++)
                    sum[c] += x[((row * height + y) * width + x_at) * IMAGE_CHANNELS + c];
        for (int c = 0; c < IMAGE_CHANNELS; c++) out[k * IMAGE_CHANNELS + c] = (float)(sum[c] / (double)(cell * cell));
    }
}

/* Where pixel i of `side` lies between the middles of `cells`: cell *low and its neighbour, and how near to the neighbour. */
static float between(int64_t i, int64_t side, int64_t cells, int64_t *low, int64_t *high)
{
    float at = ((float)i + 0.5f) * (float)cells / (float)side - 0.5f, first = floorf(at);
    *low = first < 0 ? 0 : (int64_t)first;
    *high = (int64_t)first + 1 < cells ? (int64_t)first + 1 : cells - 1;
    return at - first;
}

/* x (height,width,3) += the bilinear surface through `error` (down,across,3). */
static void add_surface(const float *error, int64_t cells_down, int64_t cells_across, int64_t height, int64_t width, float *x)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < height; i++) {
        int64_t top, bottom, left, right;
        float down = between(i, height, cells_down, &top, &bottom);
        for (int64_t j = 0; j < width; j++) {
            float across = between(j, width, cells_across, &left, &right);
            for (int c = 0; c < IMAGE_CHANNELS; c++) {
                const float *e = error + c;
                float above = (1 - across) * e[(top * cells_across + left) * IMAGE_CHANNELS] +
                              across * e[(top * cells_across + right) * IMAGE_CHANNELS];
                float below = (1 - across) * e[(bottom * cells_across + left) * IMAGE_CHANNELS] +
                              across * e[(bottom * cells_across + right) * IMAGE_CHANNELS];
                x[(i * width + j) * IMAGE_CHANNELS + c] += (1 - down) * above + down * below;
            }
        }
    }
}

/* x (n,height,width,3) += share of what its cells' means lack of `wanted`; error: as large as wanted. */
static void match_means(const StageInput *in, int64_t cell, const float *wanted, float share, float *error, float *x)
{
    int64_t height = in->side, width = stage_width(in), down = height / cell, across = width / cell;
    int64_t size = down * across * IMAGE_CHANNELS;
    cell_means(x, in->n, height, width, cell, error);
    for (int64_t i = 0; i < in->n * size; i++) error[i] = share * (wanted[i] - error[i]);
    for (int64_t row = 0; row < in->n; row++)
        add_surface(error + row * size, down, across, height, width, x + row * height * width * IMAGE_CHANNELS);
}

void stage_match_low_res(const StageInput *in, float share, float *error, float *x)
{
    match_means(in, in->side / in->low_side, in->low_res, share, error, x);
}

/* --- known pixels ------------------------------------------------------------------------------------ */

static void put_known(const StageInput *in, float *x_0)
{
    int64_t pixels = in->side * stage_width(in);
    for (int64_t p = 0; p < in->n * pixels; p++) {
        float known = in->mask[p % pixels];
        for (int c = 0; known > 0 && c < IMAGE_CHANNELS; c++) {
            float *x = &x_0[p * IMAGE_CHANNELS + c];
            *x = known * in->known[p % pixels * IMAGE_CHANNELS + c] + (1 - known) * *x;
        }
    }
}

/* The noise hides from a model what colours are around, most of all where eps says next to nothing about them: its expectation may
 * lie far outside of what a picture can hold, and is brought back there before its border is looked at. */
static Status close_seams(const StageHooks *h, float *x_0)
{
    int64_t height = h->in->side, width = stage_width(h->in), size = height * width * IMAGE_CHANNELS;
    for (int64_t i = 0; i < h->in->n * size; i++) x_0[i] = fminf(fmaxf(x_0[i], -1), 1);
    for (int64_t row = 0; row < h->in->n; row++) TRY(seam_close_values(x_0 + row * size, h->paint, (int)width, (int)height));
    return STATUS_OK;
}

static Status mark_painted(StageHooks *h)
{
    int64_t pixels = h->in->side * stage_width(h->in);
    h->paint = malloc((size_t)pixels);
    if (!h->paint) return status_fail(STATUS_NO_MEMORY, "out of memory for a mask of %lld pixels", (long long)pixels);
    for (int64_t i = 0; i < pixels; i++) h->paint[i] = h->in->mask[i] < 1;
    return STATUS_OK;
}

/* --- the hook ---------------------------------------------------------------------------------------- */

/* The noise hides a large picture's mean colours from the model in the first steps, where eps says next to nothing about
 * them; the picture to enlarge does know them. */
static Status denoised(void *ctx, const NoiseLevel *level, float *x_0)
{
    const StageHooks *h = ctx;
    const StageInput *in = h->in;
    if (h->before) TRY(h->before(h->before_ctx, level, x_0));
    if (h->cell > 0) match_means(in, h->cell, h->wanted, 1, h->error, x_0);
    if (h->fidelity > 0) stage_match_low_res(in, h->fidelity, h->error, x_0);
    if (in->known) put_known(in, x_0);
    return h->paint ? close_seams(h, x_0) : STATUS_OK;
}

/* Pixels a side of a cell of the large picture; 0: there are none, or they do not divide both sizes evenly. */
static int64_t cell_size(const StageOptions *o, const StageInput *in)
{
    int64_t width = stage_width(in), low_width = stage_low_width(in), cell = o->colour_cell;
    if (!in->low_res) return 0;
    if (cell == 0 && o->colour_cells > 0 && in->side % o->colour_cells == 0) cell = in->side / o->colour_cells;
    if (cell < 1 || in->side % cell || width % cell) return 0;
    int64_t low_cell = cell * in->low_side / in->side;
    if (low_cell < 1 || cell * in->low_side % in->side || in->low_side % low_cell || low_width % low_cell) return 0;
    return cell;
}

Status stage_hooks_init(StageHooks *h, const StageOptions *o, const StageInput *in)
{
    *h = (StageHooks){.in = in, .cell = cell_size(o, in)};
    if (in->low_res && in->side % in->low_side == 0) h->fidelity = (float)o->fidelity;
    if (in->known && o->close_seam) TRY(mark_painted(h));
    if (h->cell == 0 && h->fidelity == 0) return STATUS_OK;
    int64_t cell = h->cell > 0 ? h->cell : in->side, least = h->fidelity > 0 ? in->side / in->low_side : cell;
    if (least > cell) least = cell;
    int64_t width = stage_width(in);
    if (h->cell > 0) h->wanted = malloc((size_t)(in->n * (in->side / cell) * (width / cell) * IMAGE_CHANNELS) * sizeof(float));
    h->error = malloc((size_t)(in->n * (in->side / least) * (width / least) * IMAGE_CHANNELS) * sizeof(float));
    if ((h->cell > 0 && !h->wanted) || !h->error) {
        stage_hooks_release(h);
        return status_fail(STATUS_NO_MEMORY, "out of memory for the colours of %lld pictures", (long long)in->n);
    }
    if (h->cell > 0)
        cell_means(in->low_res, in->n, in->low_side, stage_low_width(in), cell * in->low_side / in->side, h->wanted);
    return STATUS_OK;
}

void stage_hooks_release(StageHooks *h)
{
    free(h->wanted);
    free(h->error);
    free(h->paint);
    *h = (StageHooks){0};
}

void stage_hooks_install(StageHooks *h, Denoiser *denoiser)
{
    if (h->cell == 0 && h->fidelity == 0 && !h->in->known) return;
    h->before = denoiser->denoised;
    h->before_ctx = denoiser->denoised_ctx;
    denoiser->denoised = denoised;
    denoiser->denoised_ctx = h;
}
