#include "glide/quality/judge_distance.h"

#include "common/diffusion.h"
#include "glide/ablation/judge_model.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PATCHES = 8 }; /* of each picture, seen at once */

/* --- maps ---------------------------------------------------------------------------------------------- */

static double place_distance(const float *a, const float *b, int64_t channels)
{
    double aa = 0, bb = 0, sum = 0;
    for (int64_t c = 0; c < channels; c++) {
        aa += (double)a[c] * (double)a[c];
        bb += (double)b[c] * (double)b[c];
    }
    double to_a = 1 / (sqrt(aa) + 1e-10), to_b = 1 / (sqrt(bb) + 1e-10); /* LPIPS's guard, too */
    for (int64_t c = 0; c < channels; c++) {
        double d = (double)a[c] * to_a - (double)b[c] * to_b;
        sum += d * d;
    }
    return sum;
}

/* The first n rows of the map against the following n. */
static void add_level(const Tensor *map, int64_t n, int levels, double *out)
{
    const int64_t places = map->dims[1] * map->dims[2], C = map->dims[3];
    const float *x = map->data;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t p = i * places; p < (i + 1) * places; p++) sum += place_distance(x + p * C, x + (n * places + p) * C, C);
        out[i] += sum / (double)places / levels;
    }
}

/* both (2n,side,side,3): of one picture, then of the other. */
static Status distances(Judge *j, Tape *t, const float *both, int64_t n, double *out)
{
    const int64_t side = judge_side(j);
    Tensor *maps[JUDGE_MOST_LEVELS];
    tape_reset(t);
    judge_image_maps(t, j, tape_input(t, DTYPE_F32, 4, (int64_t[]){2 * n, side, side, IMAGE_CHANNELS}, both), maps);
    TRY(tape_status(t));
    for (int64_t i = 0; i < n; i++) out[i] = 0;
    for (int l = 0; l < j->config.levels; l++) add_level(maps[l], n, j->config.levels, out);
    return STATUS_OK;
}

typedef struct Work {
    Tape *tape;
    float *both; /* (2 PATCHES,side,side,3) */
} Work;

static void work_release(Work *w)
{
    tape_free(w->tape);
    free(w->both);
}

static Status work_init(Work *w, const Judge *j, Kernels *kernels)
{
    *w = (Work){0};
    TRY(tape_new(kernels, &w->tape));
    w->both = malloc(2 * PATCHES * 3 * (size_t)judge_side(j) * (size_t)judge_side(j) * sizeof *w->both);
    if (w->both) return STATUS_OK;
    work_release(w);
    return status_fail(STATUS_NO_MEMORY, "out of memory for patches to judge");
}

Status judge_patch_distances(Judge *j, Kernels *kernels, const float *a, const float *b, int64_t n, double *out)
{
    Work w;
    const size_t size = 3 * (size_t)judge_side(j) * (size_t)judge_side(j);
    TRY(work_init(&w, j, kernels));
    Status s = STATUS_OK;
    for (int64_t first = 0; first < n && s == STATUS_OK; first += PATCHES) {
        size_t rows = (size_t)(n - first < PATCHES ? n - first : PATCHES);
        memcpy(w.both, a + (size_t)first * size, rows * size * sizeof *a);
        memcpy(w.both + rows * size, b + (size_t)first * size, rows * size * sizeof *b);
        s = distances(j, w.tape, w.both, (int64_t)rows, out + first);
    }
    work_release(&w);
    return s;
}

/* --- patches ------------------------------------------------------------------------------------------- */

static int patch_start(int patch, int patches, int length, int side)
{
    return length > side && patch == patches - 1 ? length - side : patch * side;
}

static void cut_patch(const Image *p, int top, int left, int side, float *out)
{
    for (int i = 0; i < side * side; i++) {
        int y = top + i / side < p->h ? top + i / side : p->h - 1, x = left + i % side < p->w ? left + i % side : p->w - 1;
        const uint8_t *from = p->pixels + ((size_t)y * (size_t)p->w + (size_t)x) * 3;
        for (int c = 0; c < 3; c++) out[3 * i + c] = (float)from[c] / 127.5f - 1;
    }
}

Status judge_picture_distance(Judge *j, Kernels *kernels, const Image *a, const Image *b, double *out)
{
    assert(a->w == b->w && a->h == b->h && a->w > 0 && a->h > 0);
    const int side = judge_side(j), across = (a->w + side - 1) / side, down = (a->h + side - 1) / side;
    const int64_t count = (int64_t)across * down, size = 3 * (int64_t)side * side;
    Work w;
    double sum = 0, found[PATCHES];
    *out = NAN;
    TRY(work_init(&w, j, kernels));
    Status s = STATUS_OK;
    for (int64_t first = 0; first < count && s == STATUS_OK; first += PATCHES) {
        int64_t rows = count - first < PATCHES ? count - first : PATCHES;
        for (int64_t i = 0; i < rows; i++) {
            int top = patch_start((int)((first + i) / across), down, a->h, side);
            int left = patch_start((int)((first + i) % across), across, a->w, side);
            cut_patch(a, top, left, side, w.both + i * size);
            cut_patch(b, top, left, side, w.both + (rows + i) * size);
        }
        s = distances(j, w.tape, w.both, rows, found);
        for (int64_t i = 0; i < rows && s == STATUS_OK; i++) sum += found[i];
    }
    work_release(&w);
    if (s == STATUS_OK) *out = sum / (double)count;
    return s;
}
