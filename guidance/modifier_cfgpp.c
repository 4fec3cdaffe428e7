#include "guidance/modifiers.h"

void guidance_cfgpp_shift(const NoiseLevel *level, const float *uncond, const float *guided, int64_t n, int64_t pixels,
                          float *shift)
{
    float sigma = (float)level->sigma;
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < n * pixels; p++)
        for (int c = 0; c < IMAGE_CHANNELS; c++)
            shift[p * IMAGE_CHANNELS + c] = sigma * (uncond[p * MODEL_CHANNELS + c] - guided[p * MODEL_CHANNELS + c]);
}
