#include "guidance/modifiers.h"

#include <math.h>

/* values[k] becomes what it would be if they were sorted, with none larger before it and none smaller behind (Hoare's
 * selection). NaN compares as equal to everything, which ends the loops. */
static float select_kth(float *values, int64_t n, int64_t k)
{
    int64_t low = 0, high = n - 1;
    while (low < high) {
        float pivot = values[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (values[i] < pivot) i++;
            while (values[j] > pivot) j--;
            if (i > j) break;
            float swap = values[i];
            values[i++] = values[j];
            values[j--] = swap;
        }
        if (k <= j) high = j;
        else if (k >= i) low = i;
        else break;
    }
    return values[k];
}

/* Between the two nearest of the sorted values. */
static double quantile(float *values, int64_t n, double share)
{
    double at = share * (double)(n - 1);
    int64_t k = (int64_t)floor(at);
    if (k >= n - 1) k = n - 1;
    float below = select_kth(values, n, k), above = k + 1 < n ? values[k + 1] : below;
    for (int64_t i = k + 2; i < n; i++)
        if (values[i] < above) above = values[i];
    return below + (at - (double)k) * ((double)above - below);
}

void guidance_threshold(double percentile, int64_t n, int64_t pixels, float *x_0, float *scratch)
{
    int64_t size = pixels * IMAGE_CHANNELS;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < n; row++) {
        float *x = x_0 + row * size, *sizes = scratch + row * size;
        for (int64_t i = 0; i < size; i++) sizes[i] = fabsf(x[i]);
        float limit = (float)quantile(sizes, size, percentile);
        if (!(limit > 1)) continue; /* the sampler's clamp does the rest */
        for (int64_t i = 0; i < size; i++) x[i] = (x[i] > limit ? limit : x[i] < -limit ? -limit : x[i]) / limit;
    }
}
