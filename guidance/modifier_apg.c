#include "guidance/modifiers.h"

#include <math.h>
#include <stddef.h>

static double dot(const float *a, const float *b, int64_t size)
{
    double sum = 0;
    for (int64_t i = 0; i < size; i++) sum += (double)a[i] * b[i];
    return sum;
}

/* One row: the difference of x_0, D, is direction * -sigma/alpha. */
static void project_row(const GuidanceApg *apg, double ratio, const float *x_t, double alpha, const float *answer, int64_t pixels,
                        float *direction, float *running)
{
    int64_t size = pixels * IMAGE_CHANNELS;
    double onto = 0, square = 0;
    for (int64_t i = 0; running && i < size; i++) {
        running[i] = (float)(-ratio * direction[i] + apg->momentum * running[i]);
        direction[i] = (float)(-running[i] / ratio);
    }
    double length = ratio * sqrt(dot(direction, direction, size));
    double shrink = apg->norm > 0 && length > apg->norm ? apg->norm / length : 1;
    for (int64_t i = 0; i < size; i++) { /* the conditional x_0 */
        double x_0 = x_t[i] / alpha - ratio * answer[i / IMAGE_CHANNELS * MODEL_CHANNELS + i % IMAGE_CHANNELS];
        onto += x_0 * direction[i];
        square += x_0 * x_0;
    }
    double along = square > 0 ? (1 - apg->eta) * onto / square : 0; /* what of x_0 is taken out */
    for (int64_t i = 0; i < size; i++) {
        double x_0 = x_t[i] / alpha - ratio * answer[i / IMAGE_CHANNELS * MODEL_CHANNELS + i % IMAGE_CHANNELS];
        direction[i] = (float)(shrink * (direction[i] - along * x_0));
    }
}

void guidance_project(const GuidanceApg *apg, const NoiseLevel *level, const float *x_t, const float *answer, int64_t n,
                      int64_t pixels, float *direction, float *running)
{
    int64_t size = pixels * IMAGE_CHANNELS;
    double ratio = level->sigma / level->alpha;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < n; row++)
        project_row(apg, ratio, x_t + row * size, level->alpha, answer + row * pixels * MODEL_CHANNELS, pixels,
                    direction + row * size, running ? running + row * size : NULL);
}
