#include "glide/ablation/frechet.h"

#include "glide/ablation/dot.h"
#include "glide/ablation/symmetric_eigen.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double *new_doubles(int rows, int columns)
{
    return calloc((size_t)rows * (size_t)columns + 1, sizeof(double));
}

static Status no_memory(int n, int d)
{
    return status_fail(STATUS_NO_MEMORY, "out of memory for the Frechet distance of %d pictures with %d features", n, d);
}

static void mean_of(const double *x, int n, int d, double *mean)
{
    memset(mean, 0, (size_t)d * sizeof *mean);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < d; k++) mean[k] += x[(size_t)i * (size_t)d + (size_t)k] / n;
}

/* out (rows,rows) = a a^T factor; a (rows,length) */
static void outer(const double *a, int rows, int length, double factor, double *out)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j <= i; j++) {
            double value = factor * dot(a + (size_t)i * (size_t)length, a + (size_t)j * (size_t)length, length);
            out[(size_t)i * (size_t)rows + (size_t)j] = out[(size_t)j * (size_t)rows + (size_t)i] = value;
        }
}

/* out (columns,rows) = a (rows,columns) transposed, less mean (columns) */
static void transpose_centred(const double *a, int rows, int columns, const double *mean, double *out)
{
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < columns; k++)
            out[(size_t)k * (size_t)rows + (size_t)i] = a[(size_t)i * (size_t)columns + (size_t)k] - (mean ? mean[k] : 0);
}

Status gaussian_init(Gaussian *g, const double *x, int n, int d)
{
    *g = (Gaussian){.d = d, .mean = new_doubles(d, 1), .root = new_doubles(d, d)};
    double *columns = new_doubles(d, n), *covariance = new_doubles(d, d);
    Status s = g->mean && g->root && columns && covariance ? STATUS_OK : no_memory(n, d);
    if (s == STATUS_OK) {
        mean_of(x, n, d, g->mean);
        transpose_centred(x, n, d, g->mean, columns);
        outer(columns, d, n, 1.0 / (n - 1), covariance);
        for (int i = 0; i < d; i++) g->trace += covariance[(size_t)i * (size_t)(d + 1)];
        s = symmetric_root(covariance, d, g->root);
    }
    free(columns);
    free(covariance);
    if (s != STATUS_OK) gaussian_release(g);
    return s;
}

void gaussian_release(Gaussian *g)
{
    free(g->mean);
    free(g->root);
    *g = (Gaussian){0};
}

/* y (n,d) are pictures' vectors, centred and multiplied by the real root, so that their covariance M is the matrix whose root
 * counts. Returns tr M^(1/2); pull (n): y_i^T M^(-1/2) y_i / (n-1), which sum up to that trace. Whichever of y y^T and y^T y is
 * smaller has M's eigenvalues; room is for both. */
static Status root_trace(const double *y, int n, int d, double *room, double *values, double *pull, double *trace)
{
    int size = n < d ? n : d;
    double *columns = room + (size_t)size * (size_t)size, factor = 1.0 / (n - 1);
    if (n >= d) transpose_centred(y, n, d, NULL, columns);
    outer(n < d ? y : columns, size, n < d ? d : n, factor, room);
    TRY(symmetric_eigen(room, size, values));
    *trace = 0;
    memset(pull, 0, (size_t)n * sizeof *pull);
    double nothing = size * DBL_EPSILON * fabs(values[size - 1]); /* rounding: centred vectors have one dimension less, too */
    for (int k = 0; k < size; k++) {
        const double *v = room + (size_t)k * (size_t)size;
        if (values[k] <= nothing) continue;
        double root = sqrt(values[k]);
        *trace += root;
        for (int i = 0; i < n; i++) {
            double part = n < d ? v[i] : dot(v, y + (size_t)i * (size_t)d, d);
            pull[i] += n < d ? part * part * root : part * part / root * factor;
        }
    }
    return STATUS_OK;
}

/* The influence of a group: with weights moved to it the mean moves by m_g - m, the covariance by that of the group about m less S.
 */
static void group_values(const Gaussian *g, const double *x, const double *mean, int groups, int each, const double *pull,
                         double trace, double root, double distance, double *of_group)
{
    int d = g->d, n = groups * each;
    for (int k = 0; k < groups; k++) {
        double along = 0, spread = 0, pulled = 0;
        for (int i = k * each; i < (k + 1) * each; i++) {
            pulled += pull[i];
            for (int j = 0; j < d; j++) {
                double off = x[(size_t)i * (size_t)d + (size_t)j] - mean[j];
                along += 2 * (mean[j] - g->mean[j]) * off / each;
                spread += off * off / each * n / (n - 1);
            }
        }
        of_group[k] = distance + along + (spread - trace) - (groups * pulled - root);
    }
}

Status frechet_distance(const Gaussian *g, const double *x, int groups, int each, double *distance, double *of_group)
{
    int n = groups * each, d = g->d, size = n < d ? n : d;
    double *mean = new_doubles(d, 1), *centred = new_doubles(d, 1), *y = new_doubles(n, d), *values = new_doubles(size, 1),
           *pull = new_doubles(n, 1), *room = malloc(((size_t)size * (size_t)size + (size_t)n * (size_t)d) * sizeof *room);
    Status s = mean && centred && y && values && pull && room ? STATUS_OK : no_memory(n, d);
    double trace = 0, root = 0, apart = 0;
    if (s == STATUS_OK) {
        mean_of(x, n, d, mean);
        for (int i = 0; i < n; i++) {
            for (int k = 0; k < d; k++) centred[k] = x[(size_t)i * (size_t)d + (size_t)k] - mean[k];
            trace += dot(centred, centred, d) / (n - 1);
            for (int k = 0; k < d; k++) y[(size_t)i * (size_t)d + (size_t)k] = dot(g->root + (size_t)k * (size_t)d, centred, d);
        }
        for (int k = 0; k < d; k++) apart += (mean[k] - g->mean[k]) * (mean[k] - g->mean[k]);
        s = root_trace(y, n, d, room, values, pull, &root);
    }
    if (s == STATUS_OK) {
        *distance = apart + g->trace + trace - 2 * root;
        if (of_group) group_values(g, x, mean, groups, each, pull, trace, root, *distance, of_group);
    }
    free(mean);
    free(centred);
    free(y);
    free(values);
    free(pull);
    free(room);
    return s;
}
