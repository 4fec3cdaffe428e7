#include "guidance/modifiers.h"

#include <math.h>

/* Of a row's eps (H,W,6). */
static double deviation(const float *row, int64_t pixels)
{
    double sum = 0, squares = 0, size = (double)(pixels * IMAGE_CHANNELS);
    for (int64_t p = 0; p < pixels; p++)
        for (int c = 0; c < IMAGE_CHANNELS; c++) sum += row[p * MODEL_CHANNELS + c];
    for (int64_t p = 0; p < pixels; p++)
        for (int c = 0; c < IMAGE_CHANNELS; c++) squares += pow(row[p * MODEL_CHANNELS + c] - sum / size, 2);
    return sqrt(squares / size);
}

void guidance_rescale(const float *plain, double phi, int64_t n, int64_t pixels, float *guided)
{
    int64_t size = pixels * MODEL_CHANNELS;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < n; row++) {
        double wide = deviation(guided + row * size, pixels);
        float factor = wide > 0 ? (float)(phi * deviation(plain + row * size, pixels) / wide + 1 - phi) : 1;
        for (int64_t p = 0; p < pixels; p++)
            for (int c = 0; c < IMAGE_CHANNELS; c++) guided[row * size + p * MODEL_CHANNELS + c] *= factor;
    }
}
