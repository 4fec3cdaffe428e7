#include "glide/ablation/statistics.h"

#include "common/rng.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { DRAWS = 4000, SIGNS = 8, PATTERNS = 1 << SIGNS, ENOUGH = 400, LOOK_EVERY = 1 << 14 };

struct Resampling {
    int n, sign_bytes; /* sign_bytes: of a flip's signs, a bit each */
    uint32_t *draw;    /* (DRAWS,n) units */
    uint8_t *signs;    /* (RESAMPLING_FLIPS,sign_bytes); NULL when all flips are tried */
};

static void fill_draws(Resampling *r)
{
    for (int d = 0; d < DRAWS; d++) {
        RngKey key = {.stream = RNG_RESAMPLING, .image = (uint32_t)d};
        for (int i = 0; i < r->n; i++) r->draw[(size_t)d * (size_t)r->n + (size_t)i] = rng_below(&key, (uint32_t)i, (uint32_t)r->n);
    }
}

static void fill_signs(Resampling *r)
{
    for (int f = 0; f < RESAMPLING_FLIPS; f++) {
        RngKey key = {.stream = RNG_RESAMPLING, .image = (uint32_t)f, .step = 1};
        uint32_t bits[4];
        for (int b = 0; b < r->sign_bytes; b += (int)sizeof bits) {
            size_t left = (size_t)(r->sign_bytes - b);
            rng_bits(&key, (uint32_t)b, bits);
            memcpy(r->signs + (size_t)f * (size_t)r->sign_bytes + b, bits, left < sizeof bits ? left : sizeof bits);
        }
    }
}

Status resampling_new(int n, Resampling **out)
{
    *out = NULL;
    if (n < 1) return status_fail(STATUS_BAD_INPUT, "resampling of %d units: expected at least 1", n);
    Resampling *r = calloc(1, sizeof *r);
    if (!r) return status_fail(STATUS_NO_MEMORY, "out of memory for resampling");
    r->n = n;
    r->sign_bytes = (n + SIGNS - 1) / SIGNS;
    r->draw = malloc((size_t)DRAWS * (size_t)n * sizeof *r->draw);
    if (n > RESAMPLING_EXACT_UNITS) r->signs = malloc((size_t)RESAMPLING_FLIPS * (size_t)r->sign_bytes);
    if (!r->draw || (n > RESAMPLING_EXACT_UNITS && !r->signs)) {
        resampling_free(r);
        return status_fail(STATUS_NO_MEMORY, "out of memory for resampling %d units", n);
    }
    fill_draws(r);
    if (r->signs) fill_signs(r);
    *out = r;
    return STATUS_OK;
}

void resampling_free(Resampling *r)
{
    if (!r) return;
    free(r->draw);
    free(r->signs);
    free(r);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of sorted values, between two neighbours by straight line. */
static double quantile(const double *sorted, int n, double q)
{
    double at = q * (n - 1);
    int below = (int)at;
    return below + 1 < n ? sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]) : sorted[n - 1];
}

double resampling_interval(const Resampling *r, const double *v, double *low, double *high)
{
    int n = r->n;
    double mean = 0, means[DRAWS];
    for (int i = 0; i < n; i++) mean += v[i];
    mean /= n;
    *low = *high = NAN;
    if (n < 2 || !isfinite(mean)) return mean;
    for (int d = 0; d < DRAWS; d++) {
        const uint32_t *units = r->draw + (size_t)d * (size_t)n;
        double sum = 0;
        for (int i = 0; i < n; i++) sum += v[units[i]];
        means[d] = sum / n;
    }
    qsort(means, DRAWS, sizeof *means, compare_doubles);
    double wider = sqrt(n / (n - 1.0));
    *low = mean + wider * (quantile(means, DRAWS, 0.025) - mean);
    *high = mean + wider * (quantile(means, DRAWS, 0.975) - mean);
    return mean;
}

/* partial[b][pattern]: the sum of values 8 b .. 8 b + 7, each with the sign of its bit; a flip is then a few look-ups. */
static void partial_sums(const double *v, int n, int bytes, double (*partial)[PATTERNS])
{
    for (int b = 0; b < bytes; b++)
        for (int pattern = 0; pattern < PATTERNS; pattern++) {
            partial[b][pattern] = 0;
            for (int i = 0; i < SIGNS && b * SIGNS + i < n; i++)
                partial[b][pattern] += pattern >> i & 1 ? -v[b * SIGNS + i] : v[b * SIGNS + i];
        }
}

double resampling_sign_flip(const Resampling *r, const double *v)
{
    int n = r->n, bytes = r->sign_bytes;
    double sum = 0, size = 0;
    for (int i = 0; i < n; i++) sum += v[i], size += fabs(v[i]);
    if (!isfinite(sum)) return NAN;
    double(*partial)[PATTERNS] = malloc((size_t)bytes * sizeof *partial);
    if (!partial) return NAN; /* a few kilobytes */
    partial_sums(v, n, bytes, partial);
    double bar = fabs(sum) - 1e-12 * size; /* flips that give the same sum in another order count as the same */
    long count = 0, flips = r->signs ? RESAMPLING_FLIPS : 1L << n;
    for (long f = 0; f < flips; f++) {
        if (r->signs && f > 0 && f % LOOK_EVERY == 0 && count >= ENOUGH) flips = f;
        if (f == flips) break;
        double flipped = 0;
        for (int b = 0; b < bytes; b++)
            flipped += partial[b][r->signs ? r->signs[(size_t)f * (size_t)bytes + (size_t)b] : (uint8_t)(f >> (SIGNS * b))];
        count += fabs(flipped) >= bar;
    }
    free(partial);
    return r->signs ? (double)(count + 1) / (double)(flips + 1) : (double)count / (double)flips;
}

typedef struct Ranked {
    double p;
    int at;
} Ranked;

static int compare_ranked(const void *a, const void *b)
{
    const Ranked *x = a, *y = b;
    return x->p != y->p ? (x->p > y->p) - (x->p < y->p) : x->at - y->at;
}

Status holm_correct(const double *p, int n, double *corrected, int *tests)
{
    Ranked *ranked = malloc((size_t)(n > 0 ? n : 1) * sizeof *ranked);
    if (!ranked) return status_fail(STATUS_NO_MEMORY, "out of memory for %d p-values", n);
    int count = 0;
    for (int i = 0; i < n; i++)
        if (!isnan(p[i])) ranked[count++] = (Ranked){p[i], i};
    if (corrected != p) memcpy(corrected, p, (size_t)n * sizeof *p);
    qsort(ranked, (size_t)count, sizeof *ranked, compare_ranked);
    double highest = 0;
    for (int i = 0; i < count; i++) {
        highest = fmax(highest, fmin(1, ranked[i].p * (count - i)));
        corrected[ranked[i].at] = highest;
    }
    free(ranked);
    if (tests) *tests = count;
    return STATUS_OK;
}

/* Sattolo's shuffle: one cycle through all, so nothing stays in place. */
Status derangement(int n, int *out)
{
    if (n < 2) return status_fail(STATUS_BAD_INPUT, "shuffling %d prompts: expected at least 2", n);
    RngKey key = {.stream = RNG_RESAMPLING, .step = 2};
    for (int i = 0; i < n; i++) out[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int j = (int)rng_below(&key, (uint32_t)i, (uint32_t)i), other = out[i];
        out[i] = out[j];
        out[j] = other;
    }
    return STATUS_OK;
}
