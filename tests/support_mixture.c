#include "tests/support_mixture.h"

#include <math.h>

Mixture mixture_make(int components, int64_t rows)
{
    Mixture m = {.components = components, .rows = rows, .weights = {0.5, 0.2, 0.3}, .stds = {0.3, 0.1, 0.2}, .v = NAN};
    for (int k = 0; k < components; k++)
        for (int i = 0; i < MIXTURE_SIZE; i++) m.means[k][i] = 0.6 * sin(i * (k + 1.3) + k);
    return m;
}

static double log_density(const Mixture *m, int k, const double *x, double alpha, double sigma)
{
    double var = alpha * alpha * m->stds[k] * m->stds[k] + sigma * sigma, distance = 0;
    for (int i = 0; i < MIXTURE_SIZE; i++) distance += pow(x[i] - alpha * m->means[k][i], 2);
    return log(m->weights[k]) - 0.5 * MIXTURE_SIZE * log(2 * M_PI * var) - 0.5 * distance / var;
}

double mixture_at(const Mixture *m, const double *x, double alpha, double sigma, double *eps)
{
    double log_p[MIXTURE_COMPONENTS], top = -INFINITY, sum = 0;
    for (int k = 0; k < m->components; k++) top = fmax(top, log_p[k] = log_density(m, k, x, alpha, sigma));
    for (int k = 0; k < m->components; k++) sum += exp(log_p[k] - top);
    for (int i = 0; eps && i < MIXTURE_SIZE; i++) eps[i] = 0;
    for (int k = 0; eps && k < m->components; k++) {
        double share = exp(log_p[k] - top) / sum, var = alpha * alpha * m->stds[k] * m->stds[k] + sigma * sigma;
        for (int i = 0; i < MIXTURE_SIZE; i++) eps[i] += sigma * share * (x[i] - alpha * m->means[k][i]) / var;
    }
    return top + log(sum);
}

/* The variance value of element i. */
static float mixture_variance(const Mixture *m, int i)
{
    return isnan(m->v) ? (float)sin(0.7 * i) : m->v;
}

static Status mixture_predict(void *ctx, const float *x_t, const NoiseLevel *level, float *out)
{
    Mixture *m = ctx;
    m->calls++;
    for (int64_t row = 0; row < m->rows; row++) {
        double x[MIXTURE_SIZE], eps[MIXTURE_SIZE];
        for (int i = 0; i < MIXTURE_SIZE; i++) x[i] = x_t[row * MIXTURE_SIZE + i];
        mixture_at(m, x, level->alpha, level->sigma, eps);
        for (int i = 0; i < MIXTURE_SIZE; i++) {
            float *pixel = out + row * MIXTURE_PIXELS * 6 + i / 3 * 6;
            pixel[i % 3] = (float)eps[i];
            pixel[3 + i % 3] = mixture_variance(m, i);
        }
    }
    return STATUS_OK;
}

Denoiser mixture_denoiser(Mixture *m)
{
    return (Denoiser){.predict = mixture_predict, .predict_ctx = m};
}
