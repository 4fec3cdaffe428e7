#include "glide/ablation/set_distance.h"

#include "glide/ablation/dot.h"
#include "glide/ablation/frechet.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct Vectors {
    int n, d;
    double *x;      /* (n,d) */
    double *square; /* (n) of their lengths */
} Vectors;

struct RealSet {
    Vectors v;
    Gaussian gaussian;
    double *radius2; /* (n) of the manifold's balls; NaN when n is too small */
    double kernels;  /* sum over pairs of different members, both orders */
    double distance; /* mean over pairs */
};

static double kernel(double product, int d)
{
    double k = product / d + 1;
    return k * k * k;
}

/* --- vectors ------------------------------------------------------------------------------------------ */

static void vectors_release(Vectors *v)
{
    free(v->x);
    free(v->square);
    *v = (Vectors){0};
}

static Status vectors_init(Vectors *v, const float *x, int n, int d)
{
    size_t size = (size_t)n * (size_t)d;
    *v = (Vectors){.n = n, .d = d, .x = malloc(size * sizeof(double)), .square = malloc((size_t)n * sizeof(double))};
    bool finite = true;
    for (size_t i = 0; i < size && v->x; i++) finite &= isfinite(v->x[i] = x[i]) != 0;
    if (v->x && v->square && finite) {
        for (int i = 0; i < n; i++) v->square[i] = dot(v->x + (size_t)i * (size_t)d, v->x + (size_t)i * (size_t)d, d);
        return STATUS_OK;
    }
    vectors_release(v);
    return finite ? status_fail(STATUS_NO_MEMORY, "out of memory for the features of %d pictures", n)
                  : status_fail(STATUS_BAD_INPUT, "features of %d pictures: not all of them are finite", n);
}

/* products (b->n): of row i of a with all of b. */
static void row_products(const Vectors *a, int i, const Vectors *b, double *products)
{
    const double *row = a->x + (size_t)i * (size_t)a->d;
    for (int j = 0; j < b->n; j++) products[j] = dot(row, b->x + (size_t)j * (size_t)a->d, a->d);
}

static double distance2(double square_a, double square_b, double product)
{
    return fmax(square_a + square_b - 2 * product, 0);
}

/* The `count` smallest distances of member i to others, ascending, and whose they are. */
typedef struct Nearest {
    double distance2;
    int index;
} Nearest;

static void find_nearest(const Vectors *v, int i, const double *products, int count, Nearest *nearest)
{
    int found = 0;
    for (int k = 0; k < count; k++) nearest[k] = (Nearest){NAN, -1};
    for (int j = 0; j < v->n; j++) {
        if (j == i) continue;
        double d2 = distance2(v->square[i], v->square[j], products[j]);
        if (found == count && d2 >= nearest[count - 1].distance2) continue;
        int at = found < count ? found++ : count - 1;
        for (; at > 0 && nearest[at - 1].distance2 > d2; at--) nearest[at] = nearest[at - 1];
        nearest[at] = (Nearest){d2, j};
    }
}

/* --- the real set ------------------------------------------------------------------------------------- */

/* What one member adds: kernels and distances to all others, and its ball. */
static void real_row(RealSet *r, int i, double *products, double *kernels, double *distances)
{
    const Vectors *v = &r->v;
    Nearest nearest[MANIFOLD_NEIGHBOURS];
    row_products(v, i, v, products);
    find_nearest(v, i, products, MANIFOLD_NEIGHBOURS, nearest);
    r->radius2[i] = v->n > MANIFOLD_NEIGHBOURS ? nearest[MANIFOLD_NEIGHBOURS - 1].distance2 : NAN;
    *kernels = *distances = 0;
    for (int j = 0; j < v->n; j++) {
        if (j == i) continue;
        *kernels += kernel(products[j], v->d);
        *distances += sqrt(distance2(v->square[i], v->square[j], products[j]));
    }
}

static Status real_rows(RealSet *r)
{
    int n = r->v.n;
    double *kernels = malloc(2 * (size_t)n * sizeof *kernels), *distances = kernels + n;
    bool enough = kernels != NULL;
    if (enough) {
#pragma omp parallel for schedule(dynamic, 16)
        for (int i = 0; i < n; i++) {
            double *products = malloc((size_t)n * sizeof *products);
            if (products) real_row(r, i, products, &kernels[i], &distances[i]);
            else kernels[i] = NAN;
            free(products);
        }
        for (int i = 0; i < n; i++) r->kernels += kernels[i], r->distance += distances[i] / n / (n - 1);
        enough = !isnan(r->kernels);
    }
    free(kernels);
    return enough ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for the distances of %d pictures", n);
}

Status real_set_new(const float *x, int count, int features, RealSet **out)
{
    *out = NULL;
    if (count < 2 || features < 1)
        return status_fail(STATUS_BAD_INPUT, "%d real pictures with %d features: expected 2 or more with 1 or more", count,
                           features);
    RealSet *r = calloc(1, sizeof *r);
    if (r) r->radius2 = malloc((size_t)count * sizeof *r->radius2);
    Status s =
        r && r->radius2 ? vectors_init(&r->v, x, count, features) : status_fail(STATUS_NO_MEMORY, "out of memory for features");
    if (s == STATUS_OK) s = gaussian_init(&r->gaussian, r->v.x, count, features);
    if (s == STATUS_OK) s = real_rows(r);
    if (s == STATUS_OK) *out = r;
    else real_set_free(r);
    return s;
}

void real_set_free(RealSet *r)
{
    if (!r) return;
    vectors_release(&r->v);
    gaussian_release(&r->gaussian);
    free(r->radius2);
    free(r);
}

double real_set_mean_distance(const RealSet *r)
{
    return r->distance;
}

double real_set_own_kid(const RealSet *r)
{
    double same = 0, n = r->v.n;
    for (int i = 0; i < r->v.n; i++) same += kernel(r->v.square[i], r->v.d) / n;
    return -2 / n * (same - r->kernels / n / (n - 1));
}

/* --- values of groups --------------------------------------------------------------------------------- */

/* Of what is known with all groups and without each: jackknife pseudo-values, moved so that their mean is the value itself. */
static void pseudo_values(double value, int groups, double *of_group)
{
    double mean = 0;
    for (int g = 0; g < groups; g++) {
        of_group[g] = groups * value - (groups - 1) * of_group[g];
        mean += of_group[g] / groups;
    }
    for (int g = 0; g < groups; g++) of_group[g] += value - mean;
}

static void constant_values(double value, int groups, double *of_group)
{
    for (int g = 0; g < groups; g++) of_group[g] = value;
}

/* The pictures' products with each other and with the real ones. */
typedef struct Work {
    const RealSet *real;
    Vectors v;
    int groups, each;
    double *own;   /* (n,n) products */
    double *cross; /* (n,real n) products */
} Work;

/* Of picture i: kernels with the real ones, with all others, with others of its group. */
static void kernel_sums(const Work *w, int i, double *cross, double *all, double *within)
{
    int n = w->v.n, r = w->real->v.n, d = w->v.d, group = i / w->each;
    *cross = *all = *within = 0;
    for (int j = 0; j < r; j++) *cross += kernel(w->cross[(size_t)i * (size_t)r + (size_t)j], d);
    for (int j = 0; j < n; j++) {
        if (j == i) continue;
        double k = kernel(w->own[(size_t)i * (size_t)n + (size_t)j], d);
        *all += k;
        if (j / w->each == group) *within += k;
    }
}

static double mmd2(double real_mean, double own, double cross, double n, double r)
{
    return n < 2 ? NAN : real_mean + own / (n * (n - 1)) - 2 * cross / (n * r);
}

static Status measure_kid(const Work *w, double *distance, double *of_group)
{
    int n = w->v.n, groups = w->groups, r = w->real->v.n;
    double own = 0, cross = 0, real_mean = w->real->kernels / r / (r - 1);
    double *sums = calloc(3 * (size_t)groups, sizeof *sums), *cross_of = sums, *all_of = sums + groups,
           *within_of = all_of + groups;
    if (!sums) return status_fail(STATUS_NO_MEMORY, "out of memory for KID");
    for (int i = 0; i < n; i++) {
        double c, a, in;
        kernel_sums(w, i, &c, &a, &in);
        cross_of[i / w->each] += c;
        all_of[i / w->each] += a;
        within_of[i / w->each] += in;
        cross += c;
        own += a;
    }
    *distance = mmd2(real_mean, own, cross, n, r);
    for (int g = 0; g < groups && of_group; g++)
        of_group[g] = mmd2(real_mean, own - 2 * all_of[g] + within_of[g], cross - cross_of[g], n - w->each, r);
    if (of_group && n - w->each >= 2) pseudo_values(*distance, groups, of_group);
    else if (of_group) constant_values(*distance, groups, of_group);
    free(sums);
    return STATUS_OK;
}

static void measure_precision(const Work *w, double *distance, double *of_group)
{
    int r = w->real->v.n, total = 0;
    for (int g = 0; g < w->groups; g++) {
        int count = 0;
        for (int i = g * w->each; i < (g + 1) * w->each; i++) {
            const double *products = w->cross + (size_t)i * (size_t)r;
            bool inside = false;
            for (int j = 0; j < r && !inside; j++)
                inside = distance2(w->v.square[i], w->real->v.square[j], products[j]) <= w->real->radius2[j];
            count += inside;
        }
        if (of_group) of_group[g] = r > MANIFOLD_NEIGHBOURS ? count / (double)w->each : NAN;
        total += count;
    }
    *distance = r > MANIFOLD_NEIGHBOURS ? total / (double)w->v.n : NAN;
}

/* Squared radius of picture i's ball without the pictures of `group` (-1: none); NaN when too few are left. */
static double radius2_without(const Nearest *nearest, int kept, int each, int group)
{
    for (int k = 0, left = MANIFOLD_NEIGHBOURS; k < kept && nearest[k].index >= 0; k++)
        if (nearest[k].index / each != group && --left == 0) return nearest[k].distance2;
    return NAN;
}

/* Recall without a group: its balls go, and those of pictures that had it among their nearest grow. `cover` (real n) counts the
 * balls each real picture lies in; `changed` is room for as many. */
static double recall_without(const Work *w, const Nearest *nearest, int kept, const int *cover, int *changed, int group)
{
    int n = w->v.n, r = w->real->v.n, covered = 0;
    memcpy(changed, cover, (size_t)r * sizeof *changed);
    for (int i = 0; i < n; i++) {
        const Nearest *own = nearest + (size_t)i * (size_t)kept;
        const double *products = w->cross + (size_t)i * (size_t)r;
        double before = radius2_without(own, kept, w->each, -1);
        double after = i / w->each == group ? -1 : radius2_without(own, kept, w->each, group);
        if (after == before) continue;
        for (int j = 0; j < r; j++) {
            double d2 = distance2(w->v.square[i], w->real->v.square[j], products[j]);
            changed[j] += (d2 <= after) - (d2 <= before);
        }
    }
    for (int j = 0; j < r; j++) covered += changed[j] > 0;
    return covered / (double)r;
}

static Status measure_recall(const Work *w, double *distance, double *of_group)
{
    int n = w->v.n, r = w->real->v.n, kept = MANIFOLD_NEIGHBOURS + w->each;
    *distance = NAN;
    if (of_group) constant_values(NAN, w->groups, of_group);
    if (n <= MANIFOLD_NEIGHBOURS) return STATUS_OK;
    Nearest *nearest = malloc((size_t)n * (size_t)kept * sizeof *nearest);
    int *cover = calloc(2 * (size_t)r, sizeof *cover), covered = 0;
    Status s = nearest && cover ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for recall");
    for (int i = 0; i < n && s == STATUS_OK; i++) {
        find_nearest(&w->v, i, w->own + (size_t)i * (size_t)n, kept, nearest + (size_t)i * (size_t)kept);
        double radius2 = radius2_without(nearest + (size_t)i * (size_t)kept, kept, w->each, -1);
        for (int j = 0; j < r; j++)
            cover[j] += distance2(w->v.square[i], w->real->v.square[j], w->cross[(size_t)i * (size_t)r + (size_t)j]) <= radius2;
    }
    if (s == STATUS_OK) {
        for (int j = 0; j < r; j++) covered += cover[j] > 0;
        *distance = covered / (double)r;
        bool enough = w->groups > 1 && n - w->each > MANIFOLD_NEIGHBOURS;
        for (int g = 0; g < w->groups && of_group && enough; g++)
            of_group[g] = recall_without(w, nearest, kept, cover, cover + r, g);
        if (of_group && enough) pseudo_values(*distance, w->groups, of_group);
        else if (of_group) constant_values(*distance, w->groups, of_group);
    }
    free(nearest);
    free(cover);
    return s;
}

/* --- all of them -------------------------------------------------------------------------------------- */

static Status measure_all(Work *w, double distance[SET_DISTANCES], double *of_group)
{
    int n = w->v.n, r = w->real->v.n;
    double *of[SET_DISTANCES];
    for (int k = 0; k < SET_DISTANCES; k++) of[k] = of_group ? of_group + (size_t)k * (size_t)w->groups : NULL;
    for (int i = 0; i < n; i++) {
        row_products(&w->v, i, &w->v, w->own + (size_t)i * (size_t)n);
        row_products(&w->v, i, &w->real->v, w->cross + (size_t)i * (size_t)r);
    }
    TRY(measure_kid(w, &distance[DISTANCE_KID], of[DISTANCE_KID]));
    measure_precision(w, &distance[DISTANCE_PRECISION], of[DISTANCE_PRECISION]);
    TRY(measure_recall(w, &distance[DISTANCE_RECALL], of[DISTANCE_RECALL]));
    if (n < 2) {
        distance[DISTANCE_FRECHET] = NAN;
        if (of_group) constant_values(NAN, w->groups, of[DISTANCE_FRECHET]);
        return STATUS_OK;
    }
    return frechet_distance(&w->real->gaussian, w->v.x, w->groups, w->each, &distance[DISTANCE_FRECHET], of[DISTANCE_FRECHET]);
}

Status set_distance(const RealSet *real, const float *y, int groups, int each, double distance[SET_DISTANCES], double *of_group)
{
    Work w = {.real = real, .groups = groups, .each = each};
    size_t n = (size_t)groups * (size_t)each;
    if (groups < 1 || each < 1)
        return status_fail(STATUS_BAD_INPUT, "distance of %dx%d pictures: expected 1 or more", groups, each);
    TRY(vectors_init(&w.v, y, (int)n, real->v.d));
    w.own = malloc(n * n * sizeof *w.own);
    w.cross = malloc(n * (size_t)real->v.n * sizeof *w.cross);
    Status s = w.own && w.cross ? measure_all(&w, distance, of_group)
                                : status_fail(STATUS_NO_MEMORY, "out of memory for the distances of %zu pictures", n);
    free(w.own);
    free(w.cross);
    vectors_release(&w.v);
    return s;
}

Status set_distance_plain(const float *a, int n_a, const float *b, int n_b, int features, double distance[SET_DISTANCES])
{
    for (int k = 0; k < SET_DISTANCES; k++) distance[k] = NAN;
    if (n_a < 2 || n_b < 1) return STATUS_OK;
    RealSet *real;
    TRY(real_set_new(a, n_a, features, &real));
    Status s = set_distance(real, b, n_b, 1, distance, NULL);
    real_set_free(real);
    return s;
}
