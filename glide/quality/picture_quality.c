#include "glide/quality/picture_quality.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { WINDOW = 11, PLANES = 5 }; /* of SSIM: means of a, b, a^2, b^2, ab */

static double psnr_of(double mean_square)
{
    double psnr = 10 * log10(255.0 * 255.0 / mean_square);
    return psnr < PICTURE_MOST_PSNR ? psnr : PICTURE_MOST_PSNR; /* infinite for equal pictures */
}

double picture_psnr(const Image *a, const Image *b)
{
    assert(a->w == b->w && a->h == b->h);
    const int64_t n = (int64_t)image_bytes(a);
    int64_t sum = 0; /* whole numbers: the same in any order */
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (a->pixels[i] - b->pixels[i]) * (a->pixels[i] - b->pixels[i]);
    return psnr_of((double)sum / (double)n);
}

double picture_consistency(const Image *large, const Image *small, int scale)
{
    assert(large->w == small->w * scale && large->h == small->h * scale);
    const int64_t row = 3 * (int64_t)large->w, area = (int64_t)scale * scale;
    int64_t sum = 0; /* of (area * difference)^2 */
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (int64_t y = 0; y < small->h; y++)
        for (int64_t i = 0; i < 3 * (int64_t)small->w; i++) {
            const uint8_t *from = large->pixels + y * scale * row + i / 3 * scale * 3 + i % 3;
            int64_t block = 0;
            for (int v = 0; v < scale; v++)
                for (int u = 0; u < scale; u++) block += from[v * row + 3 * u];
            block -= area * small->pixels[y * 3 * small->w + i];
            sum += block * block;
        }
    return psnr_of((double)sum / (double)(area * area) / (double)image_bytes(small));
}

static float luma(const uint8_t *rgb)
{
    return 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2];
}

static double square(double x)
{
    return x * x;
}

/* --- edges ----------------------------------------------------------------------------------------------- */

static double row_energy(const Image *p, int y)
{
    const uint8_t *row = p->pixels + (size_t)y * (size_t)p->w * 3, *next = row + (size_t)p->w * 3;
    double sum = 0;
    for (int x = 0; x < p->w; x++) {
        if (x + 1 < p->w) sum += square((double)luma(row + 3 * x + 3) - (double)luma(row + 3 * x));
        if (y + 1 < p->h) sum += square((double)luma(next + 3 * x) - (double)luma(row + 3 * x));
    }
    return sum;
}

double picture_edge_ratio(const Image *result, const Image *original)
{
    assert(result->w == original->w && result->h == original->h);
    double of_result = 0, of_original = 0;
    for (int y = 0; y < result->h; y++) {
        of_result += row_energy(result, y);
        of_original += row_energy(original, y);
    }
    return of_original > 0 ? of_result / of_original : NAN;
}

/* --- structural similarity --------------------------------------------------------------------------------- */

static void fill_window(double *g)
{
    double sum = 0;
    for (int i = 0; i < WINDOW; i++) sum += g[i] = exp(-square(i - WINDOW / 2) / (2 * 1.5 * 1.5));
    for (int i = 0; i < WINDOW; i++) g[i] /= sum;
}

/* Rows y .. y + 10 under the window's column: columns (w,PLANES). */
static void filter_down(const Image *a, const Image *b, int y, const double *g, double *columns)
{
    for (int x = 0; x < a->w; x++) {
        double *m = columns + (size_t)x * PLANES;
        for (int k = 0; k < PLANES; k++) m[k] = 0;
        for (int i = 0; i < WINDOW; i++) {
            size_t at = ((size_t)(y + i) * (size_t)a->w + (size_t)x) * 3;
            double p = (double)luma(a->pixels + at), q = (double)luma(b->pixels + at);
            m[0] += g[i] * p;
            m[1] += g[i] * q;
            m[2] += g[i] * p * p;
            m[3] += g[i] * q * q;
            m[4] += g[i] * p * q;
        }
    }
}

static double similarity_at(const double *columns, const double *g)
{
    const double c1 = square(0.01 * 255), c2 = square(0.03 * 255);
    double m[PLANES] = {0};
    for (int i = 0; i < WINDOW; i++)
        for (int k = 0; k < PLANES; k++) m[k] += g[i] * columns[i * PLANES + k];
    double variance_a = m[2] - m[0] * m[0], variance_b = m[3] - m[1] * m[1], covariance = m[4] - m[0] * m[1];
    return (2 * m[0] * m[1] + c1) * (2 * covariance + c2) / ((m[0] * m[0] + m[1] * m[1] + c1) * (variance_a + variance_b + c2));
}

static Status no_memory(void)
{
    return status_fail(STATUS_NO_MEMORY, "out of memory for the similarity of two pictures");
}

Status picture_ssim(const Image *a, const Image *b, double *out)
{
    assert(a->w == b->w && a->h == b->h);
    const int rows = a->h - WINDOW + 1, places = a->w - WINDOW + 1;
    *out = NAN;
    if (rows < 1 || places < 1) return STATUS_OK;
    double g[WINDOW], *sums = malloc((size_t)rows * sizeof *sums), sum = 0;
    int failed = 0;
    if (!sums) return no_memory();
    fill_window(g);
#pragma omp parallel reduction(| : failed)
    {
        double *columns = malloc((size_t)a->w * PLANES * sizeof *columns);
        failed = failed || !columns;
#pragma omp for schedule(static)
        for (int y = 0; y < rows; y++) {
            if (failed) continue;
            filter_down(a, b, y, g, columns);
            sums[y] = 0;
            for (int x = 0; x < places; x++) sums[y] += similarity_at(columns + (size_t)x * PLANES, g);
        }
        free(columns);
    }
    for (int y = 0; y < rows && !failed; y++) sum += sums[y];
    free(sums);
    if (failed) return no_memory();
    *out = sum / rows / places;
    return STATUS_OK;
}
