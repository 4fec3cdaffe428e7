#include "glide/stage_hooks.h"

#include <math.h>
#include <stdlib.h>

/* --- colours ----------------------------------------------------------------------------------------- */

/* out (n,cells,cells,3): means over the cells of x (n,side,side,3). */
static void cell_means(const float *x, int64_t n, int64_t side, int64_t cells, float *out)
{
    int64_t size = side / cells;
#pragma omp parallel for schedule(static)
    for (int64_t cell = 0; cell < n * cells * cells; cell++) {
        int64_t row = cell / (cells * cells), cy = cell / cells % cells, cx = cell % cells;
        double sum[IMAGE_CHANNELS] = {0};
        for (int64_t y = cy * size; y < (cy + 1) * size; y++)
            for (int64_t x_at = cx * size; x_at < (cx + 1) * size; x_at++)
                for (int c = 0; c < IMAGE_CHANNELS; c++)
                    sum[c] += x[((row * side + y) * side + x_at) * IMAGE_CHANNELS + c];
        for (int c = 0; c < IMAGE_CHANNELS; c++) out[cell * IMAGE_CHANNELS + c] = (float)(sum[c] / (double)(size * size));
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

/* x (side,side,3) += the bilinear surface through `error` (cells,cells,3). */
static void add_surface(const float *error, int64_t cells, int64_t side, float *x)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < side; i++) {
        int64_t top, bottom, left, right;
        float down = between(i, side, cells, &top, &bottom);
        for (int64_t j = 0; j < side; j++) {
            float across = between(j, side, cells, &left, &right);
            for (int c = 0; c < IMAGE_CHANNELS; c++) {
                const float *e = error + c;
                float above = (1 - across) * e[(top * cells + left) * IMAGE_CHANNELS] +
                              across * e[(top * cells + right) * IMAGE_CHANNELS];
                float below = (1 - across) * e[(bottom * cells + left) * IMAGE_CHANNELS] +
                              across * e[(bottom * cells + right) * IMAGE_CHANNELS];
                x[(i * side + j) * IMAGE_CHANNELS + c] += (1 - down) * above + down * below;
            }
        }
    }
}

/* The noise hides a large picture's mean colours from the model in the first steps, where eps says next to nothing about
 * them; the picture to enlarge does know them. */
static void match_colours(const StageHooks *h, float *x_0)
{
    int64_t side = h->in->side, size = h->cells * h->cells * IMAGE_CHANNELS;
    cell_means(x_0, h->in->n, side, h->cells, h->error);
    for (int64_t i = 0; i < h->in->n * size; i++) h->error[i] = h->wanted[i] - h->error[i];
    for (int64_t row = 0; row < h->in->n; row++)
        add_surface(h->error + row * size, h->cells, side, x_0 + row * side * side * IMAGE_CHANNELS);
}

/* --- known pixels ------------------------------------------------------------------------------------ */

static void put_known(const StageInput *in, float *x_0)
{
    int64_t pixels = in->side * in->side;
    for (int64_t p = 0; p < in->n * pixels; p++) {
        float known = in->mask[p % pixels];
        for (int c = 0; known > 0 && c < IMAGE_CHANNELS; c++) {
            float *x = &x_0[p * IMAGE_CHANNELS + c];
            *x = known * in->known[p % pixels * IMAGE_CHANNELS + c] + (1 - known) * *x;
        }
    }
}

/* --- the hook ---------------------------------------------------------------------------------------- */

static Status denoised(void *ctx, const NoiseLevel *level, float *x_0)
{
    const StageHooks *h = ctx;
    if (h->before) TRY(h->before(h->before_ctx, level, x_0));
    if (h->cells > 0) match_colours(h, x_0);
    if (h->in->known) put_known(h->in, x_0);
    return STATUS_OK;
}

Status stage_hooks_init(StageHooks *h, const StageOptions *o, const StageInput *in)
{
    int64_t cells = o->colour_cells;
    *h = (StageHooks){.in = in};
    if (!in->low_res || cells < 1 || in->side % cells || in->low_side % cells) return STATUS_OK;
    h->cells = cells;
    size_t bytes = (size_t)(in->n * cells * cells * IMAGE_CHANNELS) * sizeof(float);
    h->wanted = malloc(bytes);
    h->error = malloc(bytes);
    if (!h->wanted || !h->error) {
        stage_hooks_release(h);
        return status_fail(STATUS_NO_MEMORY, "out of memory for the colours of %lld pictures", (long long)in->n);
    }
    cell_means(in->low_res, in->n, in->low_side, cells, h->wanted);
    return STATUS_OK;
}

void stage_hooks_release(StageHooks *h)
{
    free(h->wanted);
    free(h->error);
    *h = (StageHooks){0};
}

void stage_hooks_install(StageHooks *h, Denoiser *denoiser)
{
    if (h->cells == 0 && !h->in->known) return;
    h->before = denoiser->denoised;
    h->before_ctx = denoiser->denoised_ctx;
    denoiser->denoised = denoised;
    denoiser->denoised_ctx = h;
}
