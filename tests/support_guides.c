#include "tests/support_guides.h"

#include "tests/support_status.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

enum { ROWS = 3 };

float *random_values(int64_t count, uint32_t stream, float scale)
{
    float *x = malloc((size_t)count * sizeof *x);
    assert_non_null(x);
    rng_normal(&(RngKey){.seed = 11, .stream = RNG_TEST, .image = stream}, x, count);
    for (int64_t i = 0; i < count; i++) x[i] *= scale;
    return x;
}

void fill_params(ParamSet *params, uint64_t seed)
{
    for (int i = 0; i < params->count; i++) {
        Param *p = params->items[i];
        float scale = p->ndim > 1 ? sqrtf((float)p->dims[0] / (float)p->size) : 0.1f;
        rng_normal(&(RngKey){.seed = seed, .stream = RNG_TEST, .image = (uint32_t)i}, p->value, (int64_t)p->size);
        for (size_t j = 0; j < p->size; j++) p->value[j] = scale * p->value[j] + (p->init == INIT_ONE);
    }
    params_touch(params);
}

StateDict shapes_as_dict(const ParamSet *params, const char *prefix)
{
    StateDict dict = {.items = calloc((size_t)params->count, sizeof *dict.items)};
    size_t skip = strlen(prefix);
    assert_non_null(dict.items);
    for (int i = 0; i < params->count; i++) {
        const Param *p = params->items[i];
        if (strncmp(p->name, prefix, skip)) continue;
        StateTensor *t = &dict.items[dict.count++];
        *t = (StateTensor){.name = p->name + skip, .ndim = p->ndim, .size = (int64_t)p->size};
        memcpy(t->dims, p->dims, sizeof p->dims);
    }
    return dict;
}

void shapes_release(StateDict *dict)
{
    free(dict->items);
}

/* --- what is asked of every guide --- */

typedef struct Run {
    Kernels *k;
    int64_t side, row; /* values of a picture */
    float *x, timesteps[ROWS], gradient[ROWS * 64 * 64 * 3], score[ROWS];
} Run;

static Run *run_new(int64_t side)
{
    Run *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->side = side;
    r->row = side * side * 3;
    assert_true(side <= 64);
    r->x = random_values(ROWS * r->row, 1, 0.7f);
    for (int i = 0; i < ROWS; i++) r->timesteps[i] = (float)(7 + 23 * i);
    OK(kernels_new(KERNELS_BEST, &r->k));
    return r;
}

static void run_free(Run *r, const ParamSet *params)
{
    for (int i = 0; params && i < params->count; i++) assert_null(params->items[i]->grad);
    kernels_free(r->k);
    free(r->x);
    free(r);
}

/* Rows first... */
static void ask(Run *r, const void *model, MakeGuide make, int64_t first, int64_t n, int64_t batch)
{
    Guide g;
    make(model, r->k, first, n, &g);
    g.batch = batch;
    OK(guide_gradient(&g, r->x + first * r->row, r->side, r->side, r->timesteps + first, r->gradient + first * r->row,
                      r->score + first));
    guide_release(&g);
}

void check_guide_slopes(const void *model, MakeGuide make, int64_t side, double tolerance)
{
    Run *r = run_new(side);
    const float h = 1e-3f;
    ask(r, model, make, 0, ROWS, ROWS);
    float *kept = malloc((size_t)(ROWS * r->row) * sizeof *kept), *gradient = malloc((size_t)(ROWS * r->row) * sizeof *gradient);
    assert_true(kept && gradient);
    memcpy(kept, r->x, (size_t)(ROWS * r->row) * sizeof *kept);
    memcpy(gradient, r->gradient, (size_t)(ROWS * r->row) * sizeof *gradient);
    for (uint32_t trial = 0; trial < 3; trial++) {
        double scores[2][ROWS];
        float *direction = random_values(ROWS * r->row, 20 + trial, 1);
        for (int way = 0; way < 2; way++) {
            for (int64_t i = 0; i < ROWS * r->row; i++) r->x[i] = kept[i] + (way ? -h : h) * direction[i];
            ask(r, model, make, 0, ROWS, ROWS);
            for (int i = 0; i < ROWS; i++) scores[way][i] = (double)r->score[i];
        }
        for (int i = 0; i < ROWS; i++) {
            double slope = (scores[0][i] - scores[1][i]) / (2 * (double)h), along = 0, size = 0;
            for (int64_t j = i * r->row; j < (i + 1) * r->row; j++) {
                along += (double)gradient[j] * (double)direction[j];
                size += (double)gradient[j] * (double)gradient[j];
            }
            assert_true(size > 0);
            if (!(fabs(slope - along) <= tolerance * sqrt(size)))
                fail_msg("row %d: slope %g, the gradient says %g (its norm: %g)", i, slope, along, sqrt(size));
        }
        free(direction);
    }
    free(kept);
    free(gradient);
    run_free(r, NULL);
}

static void expect_bits(const Run *r, const Run *all, int row, const char *how)
{
    size_t bytes = (size_t)r->row * sizeof *r->gradient;
    if (memcmp(&r->score[row], &all->score[row], sizeof *r->score)) fail_msg("score of row %d differs %s", row, how);
    if (memcmp(r->gradient + row * r->row, all->gradient + row * r->row, bytes))
        fail_msg("gradient of row %d differs %s", row, how);
}

void check_guide_rows(const void *model, const ParamSet *params, MakeGuide make, int64_t side)
{
    Run *all = run_new(side), *r = run_new(side);
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    ask(all, model, make, 0, ROWS, ROWS);
    for (int i = 0; i < ROWS; i++) ask(r, model, make, i, 1, 1);
    for (int i = 0; i < ROWS; i++) expect_bits(r, all, i, "when it is alone");
    ask(r, model, make, 0, ROWS, 2);
    for (int i = 0; i < ROWS; i++) expect_bits(r, all, i, "in parts of two");
    omp_set_num_threads(2);
    ask(r, model, make, 0, ROWS, ROWS);
    for (int i = 0; i < ROWS; i++) expect_bits(r, all, i, "on two threads");
    ask(r, model, make, 1, 2, 2);
    for (int i = 1; i < ROWS; i++) expect_bits(r, all, i, "on two threads in a smaller batch");
    omp_set_num_threads(threads);
    run_free(r, params);
    run_free(all, params);
}

void check_guide_bf16(const void *model, MakeGuide make, int64_t side)
{
    Run *exact = run_new(side), *r = run_new(side);
    Guide g;
    ask(exact, model, make, 0, ROWS, ROWS);
    make(model, r->k, 0, ROWS, &g);
    tape_set_dtype(g.tape, DTYPE_BF16);
    OK(guide_gradient(&g, r->x, side, side, r->timesteps, r->gradient, r->score));
    guide_release(&g);
    double product = 0, a = 0, b = 0;
    for (int64_t i = 0; i < ROWS * r->row; i++) {
        product += (double)r->gradient[i] * (double)exact->gradient[i];
        a += (double)r->gradient[i] * (double)r->gradient[i];
        b += (double)exact->gradient[i] * (double)exact->gradient[i];
    }
    if (!(product > 0.99 * sqrt(a * b))) fail_msg("bfloat16's gradient has a cosine of %g to single's", product / sqrt(a * b));
    run_free(r, NULL);
    run_free(exact, NULL);
}
