#include "common/diffusion.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>

void diffusion_loss_defaults(DiffusionLoss *options)
{
    *options = (DiffusionLoss){.vb_weight = 1, .rescale_vb = true, .min_snr_gamma = 0};
}

double diffusion_eps_mse(const float *out6, const float *noise, int64_t pixels, double scale, float *d_out6)
{
    double sum = 0, mean_of = (double)(pixels * IMAGE_CHANNELS);
    for (int64_t p = 0; p < pixels; p++) {
        for (int c = 0; c < IMAGE_CHANNELS; c++) {
            double difference = (double)out6[p * MODEL_CHANNELS + c] - noise[p * IMAGE_CHANNELS + c];
            sum += difference * difference;
            if (d_out6) d_out6[p * MODEL_CHANNELS + c] += (float)(scale * 2 * difference / mean_of);
        }
    }
    return sum / mean_of;
}

/* What the bound term needs of the tables at one step. */
typedef struct BoundTerm {
    double x_0_from_x_t, x_0_from_eps; /* x_0 = x_0_from_x_t * x_t - x_0_from_eps * eps */
    double mean_from_x_0, mean_from_x_t;
    double log_var_min, log_var_max; /* the range that v in [-1,1] spans */
    double log_var_true;             /* of q(x_t-1|x_t,x_0) */
} BoundTerm;

/* KL(N(a, log_var_true) || N(b, log_var)) in nats, difference = a - b; *d_log_var is its derivative. */
static inline double gaussian_kl(double difference, double log_var_true, double log_var, double *d_log_var)
{
    double ratio = exp(log_var_true - log_var), distance = difference * difference * exp(-log_var);
    *d_log_var = 0.5 * (1 - ratio - distance);
    return 0.5 * (log_var - log_var_true - 1 + ratio + distance);
}

/* The normal distribution's CDF, approximated as the reference does; *density is this approximation's derivative. */
static inline double approx_cdf(double x, double *density)
{
    const double scale = 0.79788456080286535588, cubic = 0.044715; /* sqrt(2 / pi) */
    double h = tanh(scale * (x + cubic * x * x * x));
    *density = 0.5 * (1 - h * h) * scale * (1 + 3 * cubic * x * x);
    return 0.5 * (1 + h);
}

/* -log of the probability that a Gaussian of this mean and log variance gives to the 8-bit bin around x in [-1,1]; the
 * outermost bins reach to infinity (DDPM, equation 13). *d_log_var is its derivative. */
static inline double bin_nll(double x, double mean, double log_var, double *d_log_var)
{
    double inv_std = exp(-0.5 * log_var);
    double upper = inv_std * (x - mean + 1.0 / 255), lower = inv_std * (x - mean - 1.0 / 255);
    double upper_density, lower_density, probability, d_probability;
    double upper_cdf = approx_cdf(upper, &upper_density), lower_cdf = approx_cdf(lower, &lower_density);
    if (x < -0.999) { /* d upper / d log_var is -upper / 2 */
        probability = upper_cdf;
        d_probability = -0.5 * upper * upper_density;
    } else if (x > 0.999) {
        probability = 1 - lower_cdf;
        d_probability = 0.5 * lower * lower_density;
    } else {
        probability = upper_cdf - lower_cdf;
        d_probability = -0.5 * (upper * upper_density - lower * lower_density);
    }
    const double least = 1e-12; /* no gradient below it, as a clamp has none */
    *d_log_var = probability < least ? 0 : -d_probability / probability;
    return -log(fmax(probability, least));
}

double diffusion_vb_bits(const Diffusion *d, int step, const float *out6, const float *x_start, const float *x_t,
                         int64_t pixels, double scale, float *d_out6)
{
    assert(step >= 0 && step < d->num_timesteps);
    const BoundTerm k = {
        .x_0_from_x_t = d->sqrt_recip_alphas_cumprod[step],
        .x_0_from_eps = d->sqrt_recipm1_alphas_cumprod[step],
        .mean_from_x_0 = d->posterior_mean_coef1[step],
        .mean_from_x_t = d->posterior_mean_coef2[step],
        .log_var_min = d->posterior_log_variance_clipped[step],
        .log_var_max = log(d->betas[step]),
        .log_var_true = d->posterior_log_variance_clipped[step],
    };
    double sum = 0, to_bits = 1 / (M_LN2 * (double)(pixels * IMAGE_CHANNELS));
    double d_v_factor = scale * to_bits * 0.5 * (k.log_var_max - k.log_var_min);
    for (int64_t p = 0; p < pixels; p++) {
        for (int c = 0; c < IMAGE_CHANNELS; c++) {
            int64_t i = p * IMAGE_CHANNELS + c, eps = p * MODEL_CHANNELS + c, v = eps + IMAGE_CHANNELS;
            double x_0 = k.x_0_from_x_t * x_t[i] - k.x_0_from_eps * out6[eps], d_log_var;
            double fraction = (out6[v] + 1.0) / 2;
            double log_var = fraction * k.log_var_max + (1 - fraction) * k.log_var_min;
            if (step == 0)
                sum += bin_nll(x_start[i], k.mean_from_x_0 * x_0 + k.mean_from_x_t * x_t[i], log_var, &d_log_var);
            else
                sum += gaussian_kl(k.mean_from_x_0 * (x_start[i] - x_0), k.log_var_true, log_var, &d_log_var);
            if (d_out6) d_out6[v] += (float)(d_v_factor * d_log_var);
        }
    }
    return sum * to_bits;
}

#define MOST_FLOOR_WEIGHT 20.0

static double mse_weight(const Diffusion *d, const DiffusionLoss *options, int step)
{
    double snr = diffusion_snr(d, step), weight = 1;
    if (options->min_snr_gamma > 0) weight = fmin(snr, options->min_snr_gamma) / snr;
    if (options->snr_floor > snr) weight *= fmin(options->snr_floor / snr, MOST_FLOOR_WEIGHT);
    return weight;
}

void diffusion_loss(const Diffusion *d, const DiffusionLoss *options, const DiffusionBatch *batch, const float *out6,
                    float *loss_mse, float *loss_vb, const float *d_loss, float *d_out6)
{
    int64_t pixels = batch->pixels, size = pixels * IMAGE_CHANNELS;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t row = 0; row < batch->n; row++) {
        int step = batch->t[row];
        const float *out = out6 + row * pixels * MODEL_CHANNELS;
        float *d_out = d_out6 ? d_out6 + row * pixels * MODEL_CHANNELS : NULL;
        double weight = batch->weights ? batch->weights[row] : 1, seed = d_loss ? d_loss[row] : 1.0 / (double)batch->n;
        double of_mse = weight * mse_weight(d, options, step);
        double of_vb = weight * options->vb_weight * (options->rescale_vb ? d->num_timesteps / 1000.0 : 1);
        loss_mse[row] =
            (float)(of_mse * diffusion_eps_mse(out, batch->noise + row * size, pixels, seed * of_mse, d_out));
        loss_vb[row] = 0;
        if (options->vb_weight > 0)
            loss_vb[row] = (float)(of_vb * diffusion_vb_bits(d, step, out, batch->x_start + row * size,
                                                             batch->x_t + row * size, pixels, seed * of_vb, d_out));
    }
}
