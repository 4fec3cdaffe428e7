#include "glide/ablation/symmetric_eigen.h"

#include "glide/ablation/dot.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SWEEPS = 60 }; /* QR steps per eigenvalue; two or three are usual */

/* One reflection: column k below the diagonal becomes a multiple of the first unit vector. The reflection's vector stays in row k,
 * right of the diagonal; w (n) is room. Returns the new off-diagonal value. */
static double reflect(double *a, int n, int k, double *w)
{
    double *v = a + (size_t)k * (size_t)n; /* by symmetry row k is column k */
    int first = k + 1, size = n - first;
    double length = sqrt(dot(v + first, v + first, size));
    if (length == 0) return 0;
    double alpha = v[first] > 0 ? -length : length;
    v[first] -= alpha;
    double square = dot(v + first, v + first, size);
    for (int i = first; i < n; i++) w[i] = 2 / square * dot(a + (size_t)i * (size_t)n + first, v + first, size);
    double part = dot(v + first, w + first, size) / square;
    for (int i = first; i < n; i++) w[i] -= part * v[i];
    for (int i = first; i < n; i++) {
        double *row = a + (size_t)i * (size_t)n, vi = v[i], wi = w[i];
        for (int j = first; j < n; j++) row[j] -= vi * w[j] + wi * v[j];
    }
    return alpha;
}

/* a -> diagonal d (n), off-diagonal e (n-1), and in a the matrix whose row k is the k-th basis vector of the reduced form. */
static void tridiagonalise(double *a, int n, double *d, double *e, double *w)
{
    for (int k = 0; k + 1 < n; k++) {
        e[k] = k + 2 < n ? reflect(a, n, k, w) : a[(size_t)k * (size_t)n + (size_t)k + 1];
        d[k] = a[(size_t)k * (size_t)n + (size_t)k];
    }
    d[n - 1] = a[(size_t)n * (size_t)n - 1];
    for (int k = n - 1; k >= 0; k--) { /* rows above k still hold their reflections */
        double *v = a + (size_t)k * (size_t)n;
        memcpy(w, v, (size_t)n * sizeof *w);
        memset(v, 0, (size_t)n * sizeof *v);
        v[k] = 1;
        for (int i = k + 1; i < n; i++) a[(size_t)i * (size_t)n + (size_t)k] = 0;
        double square = k + 2 < n ? dot(w + k + 1, w + k + 1, n - k - 1) : 0;
        for (int i = k + 1; i < n && square > 0; i++) {
            double *row = a + (size_t)i * (size_t)n, onto = 2 / square * dot(row + k + 1, w + k + 1, n - k - 1);
            for (int j = k + 1; j < n; j++) row[j] -= onto * w[j];
        }
    }
}

/* A QR step on rows first..last, which nothing couples with the others; the rotations also turn the rows of a. */
static void qr_step(double *a, int n, double *d, double *e, int first, int last)
{
    double half = (d[last - 1] - d[last]) / 2, t = e[last - 1];
    double shift = d[last] - t * t / (half + copysign(hypot(half, t), half));
    double x = d[first] - shift, z = e[first];
    for (int k = first; k < last; k++) {
        double r = hypot(x, z), c = r > 0 ? x / r : 1, s = r > 0 ? z / r : 0, dk = d[k], dn = d[k + 1], ek = e[k];
        if (k > first) e[k - 1] = r;
        d[k] = c * c * dk + 2 * c * s * ek + s * s * dn;
        d[k + 1] = s * s * dk - 2 * c * s * ek + c * c * dn;
        e[k] = c * s * (dn - dk) + (c * c - s * s) * ek;
        x = e[k];
        if (k + 1 < last) {
            z = s * e[k + 1];
            e[k + 1] *= c;
        }
        double *restrict p = a + (size_t)k * (size_t)n, *restrict q = p + n;
        for (int i = 0; i < n; i++) {
            double pi = p[i], qi = q[i];
            p[i] = c * pi + s * qi;
            q[i] = c * qi - s * pi;
        }
    }
}

static Status diagonalise(double *a, int n, double *d, double *e)
{
    double size = 0;
    for (int i = 0; i < n; i++) size = fmax(size, fabs(d[i]) + (i + 1 < n ? fabs(e[i]) : 0));
    int sweeps = 0;
    for (int last = n - 1; last > 0;) {
        if (fabs(e[last - 1]) <= DBL_EPSILON * size) {
            last--;
            sweeps = 0;
            continue;
        }
        int first = last - 1;
        while (first > 0 && fabs(e[first - 1]) > DBL_EPSILON * size) first--;
        if (++sweeps > MAX_SWEEPS) return status_fail(STATUS_INTERNAL, "eigenvalues of a %dx%d matrix do not converge", n, n);
        qr_step(a, n, d, e, first, last);
    }
    return STATUS_OK;
}

static void sort_ascending(double *a, int n, double *values)
{
    for (int i = 0; i + 1 < n; i++) {
        int least = i;
        for (int j = i + 1; j < n; j++)
            if (values[j] < values[least]) least = j;
        if (least == i) continue;
        double *p = a + (size_t)i * (size_t)n, *q = a + (size_t)least * (size_t)n, v = values[i];
        values[i] = values[least];
        values[least] = v;
        for (int j = 0; j < n; j++) {
            double x = p[j];
            p[j] = q[j];
            q[j] = x;
        }
    }
}

Status symmetric_eigen(double *a, int n, double *values)
{
    for (size_t i = 0; i < (size_t)n * (size_t)n; i++)
        if (!isfinite(a[i])) return status_fail(STATUS_BAD_INPUT, "eigenvalues of a %dx%d matrix: not all values are finite", n, n);
    double *room = malloc(2 * (size_t)n * sizeof *room);
    if (!room) return status_fail(STATUS_NO_MEMORY, "out of memory for eigenvalues of a %dx%d matrix", n, n);
    tridiagonalise(a, n, values, room, room + n);
    Status s = diagonalise(a, n, values, room);
    if (s == STATUS_OK) sort_ascending(a, n, values);
    free(room);
    return s;
}

Status symmetric_root(double *a, int n, double *root)
{
    double *values = malloc((size_t)n * sizeof *values);
    Status s = values ? symmetric_eigen(a, n, values) : status_fail(STATUS_NO_MEMORY, "out of memory for a matrix's root");
    if (s == STATUS_OK) {
        memset(root, 0, (size_t)n * (size_t)n * sizeof *root);
        for (int k = 0; k < n; k++) {
            double weight = sqrt(fmax(values[k], 0));
            const double *v = a + (size_t)k * (size_t)n;
            for (int i = 0; i < n; i++)
                for (int j = 0; j < n; j++) root[(size_t)i * (size_t)n + (size_t)j] += weight * v[i] * v[j];
        }
    }
    free(values);
    return s;
}
