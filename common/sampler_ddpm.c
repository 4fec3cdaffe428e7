#include "common/sampler.h"

#include <math.h>

/* x_t-1 = mean + std * noise. The mean is the posterior's for the predicted x_0 (DDPM, equation 7), moved by
 * variance * gradient under guidance (arXiv 2105.05233, algorithm 1); log variance is interpolated by v between the
 * posterior's and beta (arXiv 2102.09672, equation 15). The last step adds no noise. */
Status sampler_step_ddpm(Sampler *s, float *x)
{
    TRY(sampler_predict(s, x));
    const Diffusion *d = s->diffusion;
    int t = s->level.step;
    float from_x_0 = (float)d->posterior_mean_coef1[t], from_x_t = (float)d->posterior_mean_coef2[t];
    float log_var_min = (float)d->posterior_log_variance_clipped[t], log_var_max = (float)log(d->betas[t]);
    int64_t pixels = s->n * s->height * s->width;
#pragma omp parallel for schedule(static) if (pixels >= SAMPLER_PARALLEL_FROM)
    for (int64_t p = 0; p < pixels; p++) {
        for (int c = 0; c < IMAGE_CHANNELS; c++) {
            int64_t i = p * IMAGE_CHANNELS + c;
            float fraction = (s->prediction[p * MODEL_CHANNELS + IMAGE_CHANNELS + c] + 1) / 2;
            float log_var = fraction * log_var_max + (1 - fraction) * log_var_min;
            float mean = from_x_0 * s->x_0[i] + from_x_t * x[i];
            if (s->grad) mean += expf(log_var) * s->grad[i];
            x[i] = t > 0 ? mean + expf(0.5f * log_var) * s->noise[i] : mean;
        }
    }
    return STATUS_OK;
}
