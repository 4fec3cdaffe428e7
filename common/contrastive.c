#include "common/contrastive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Does text j describe picture i, which is not its own? */
static bool left_out(const ContrastivePair *pairs, int64_t i, int64_t j)
{
    return i != j && pairs[i].subject == pairs[j].subject && (pairs[j].any_style || pairs[i].style == pairs[j].style);
}

/* s (n,n): picture i, text j; -inf where they are left out. */
static void similarities(const ContrastivePair *pairs, const float *z, int64_t n, int64_t width, double scale, double *s)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            const float *picture = z + 2 * i * width, *text = z + (2 * j + 1) * width;
            double sum = 0;
            for (int64_t c = 0; c < width; c++) sum += (double)picture[c] * (double)text[c];
            s[i * n + j] = left_out(pairs, i, j) ? -INFINITY : scale * sum;
        }
}

/* Cross-entropy of entry `own` among n logits `step` apart; d (as s) accumulates weight times its derivative. */
static double cross_entropy(const double *s, int64_t n, int64_t step, int64_t own, double weight, double *d)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, s[i * step]);
    for (int64_t i = 0; i < n; i++) sum += exp(s[i * step] - top);
    for (int64_t i = 0; i < n; i++) d[i * step] += weight * (exp(s[i * step] - top) / sum - (i == own));
    return top + log(sum) - s[own * step];
}

static void derivatives(const double *d, const float *z, int64_t n, int64_t width, double scale, float *d_z)
{
    memset(d_z, 0, (size_t)(2 * n * width) * sizeof *d_z);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            const float *picture = z + 2 * i * width, *text = z + (2 * j + 1) * width, g = (float)(scale * d[i * n + j]);
            float *d_picture = d_z + 2 * i * width, *d_text = d_z + (2 * j + 1) * width;
            for (int64_t c = 0; c < width; c++) d_picture[c] += g * text[c];
            for (int64_t c = 0; c < width; c++) d_text[c] += g * picture[c];
        }
}

Status contrastive_loss(const ContrastivePair *pairs, const float *z, int64_t n, int64_t width, double scale, double *loss,
                        double *hits, float *d_z)
{
    double *s = calloc(2 * (size_t)(n * n), sizeof *s), *d = s + n * n, weight = 0.5 / (double)n;
    if (!s) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld pairs", (long long)n);
    similarities(pairs, z, n, width, scale, s);
    *loss = *hits = 0;
    for (int64_t i = 0; i < n; i++) {
        bool hit = true;
        for (int64_t j = 0; j < n; j++) hit = hit && (j == i || s[i * n + j] < s[i * n + i]);
        *hits += hit / (double)n;
        *loss += weight * cross_entropy(s + i * n, n, 1, i, weight, d + i * n);
        *loss += weight * cross_entropy(s + i, n, n, i, weight, d + i);
    }
    derivatives(d, z, n, width, scale, d_z);
    free(s);
    return STATUS_OK;
}
