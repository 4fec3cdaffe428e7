/* The Gaussian diffusion process: noise schedules, the tables made from them, noising, and the training loss.
 *
 *     Diffusion d;
 *     TRY(diffusion_init(&d, "squaredcos_cap_v2", 1000, "100"));
 *     diffusion_q_sample(&d, x_start, noise, t, n, H * W * 3, x_t);
 *     diffusion_release(&d);
 *
 * q(x_t|x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I), abar_t = prod_{s<=t} (1 - beta_s): DDPM, arXiv 2006.11239; learned
 * variance and the cosine schedule: Improved DDPM, arXiv 2102.09672. Tables are double precision.
 *
 * Layouts: x_start, x_t, noise (N,H,W,3) f32 in [-1,1] scale; a model's output is (N,H,W,6): channels 0..2 eps, 3..5
 * the variance value v. `pixels` is H*W. A Diffusion is read-only after init, so threads may share it. */
#ifndef GLIDE_COMMON_DIFFUSION_H
#define GLIDE_COMMON_DIFFUSION_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

#define DIFFUSION_MAX_TIMESTEPS 65536
#define IMAGE_CHANNELS          3 /* of x_0, x_t, eps and v each */
#define MODEL_CHANNELS          6 /* eps, then v */

typedef struct Diffusion {
    int num_timesteps;      /* of this, perhaps respaced, process: every table's length */
    int original_timesteps; /* of the process the model was trained on */
    int32_t *timestep_map;  /* this process's step -> the original timestep; in a process of levels, which may lie between
                               timesteps, the step itself. A number of its own for each step, which noise is keyed by */
    double *timesteps;      /* what the model is told at each step: as timestep_map, or fractional */
    double *betas, *alphas_cumprod;
    double *alphas_cumprod_prev; /* starts with 1, or where a process of levels ends */
    double *alphas_cumprod_next; /* ends with 0 */
    double *sqrt_alphas_cumprod, *sqrt_one_minus_alphas_cumprod, *log_one_minus_alphas_cumprod;
    double *sqrt_recip_alphas_cumprod, *sqrt_recipm1_alphas_cumprod; /* sqrt(1/abar), sqrt(1/abar - 1) */
    /* q(x_t-1|x_t,x_0): DDPM equations 6 and 7 */
    double *posterior_variance;
    double *posterior_log_variance_clipped;              /* the first entry, log 0, is replaced by the second */
    double *posterior_mean_coef1, *posterior_mean_coef2; /* weights of x_0 and of x_t */
    double *tables;                                      /* the memory of all of the above but the map */
    double *original_alphas_cumprod;                     /* (original_timesteps) of the process the model was trained on */
} Diffusion;

/* --- building --- */
/* betas[0..num_timesteps-1] of a named schedule: "linear" (beta_t from 1e-4 to 0.02, scaled by 1000/steps) or
 * "squaredcos_cap_v2". STATUS_BAD_INPUT: unknown name, or steps that give a beta outside (0,1). */
Status schedule_betas(const char *schedule, int num_timesteps, double *betas);

/* A named schedule of `num_timesteps`, respaced as common/respace.h says ("" keeps all), "karras20" and "logsnr20" among
 * it. A process has at least 2 steps. STATUS_BAD_INPUT, STATUS_NO_MEMORY; *d is then released already. */
Status diffusion_init(Diffusion *d, const char *schedule, int num_timesteps, const char *respacing);
/* The noise levels that are to be visited, from little noise to much: what the model is told at each and its abar, which
 * falls strictly. `end` is the abar that the last step leads to: 1, the picture, or one above alphas_cumprod[0]. The process
 * that the model was trained on is that of `of`. STATUS_BAD_INPUT, STATUS_NO_MEMORY; *d is then released already. */
Status diffusion_init_levels(Diffusion *d, const Diffusion *of, const double *timesteps, const double *alphas_cumprod, int n,
                             double end);
/* From any betas, copied; the map is the identity. */
Status diffusion_init_betas(Diffusion *d, const double *betas, int num_timesteps);
void diffusion_release(Diffusion *d); /* a released or zeroed one is fine */
/* For models' fields: is there such a process? STATUS_BAD_INPUT as diffusion_init(). */
Status diffusion_check(const char *schedule, int num_timesteps);

/* --- one noise level --- */
/* Where a sampler stands; all that models, guidance and samplers need to know about it. */
typedef struct NoiseLevel {
    int step;        /* index in the (respaced) process */
    double timestep; /* what the model is told: the original timestep, fractional for some solvers */
    double alpha;    /* x = alpha x_0 + sigma eps: sqrt(abar) */
    double sigma;    /* sqrt(1 - abar) */
} NoiseLevel;

NoiseLevel diffusion_level(const Diffusion *d, int step);

/* --- functions on arrays --- */
/* out (n,dim): cosines, then sines, then one zero if dim is odd, of t * 10000^(-i/(dim/2)). Frequencies are computed in
 * single precision, as the reference did in training. Timesteps may be fractional. dim >= 2. */
void timestep_embedding(const float *t, int64_t n, int64_t dim, float *out);

/* x_t = sqrt(abar_t) x_start + sqrt(1 - abar_t) noise, all (n,size); t (n) are steps of this process. x_t may be
 * x_start. */
void diffusion_q_sample(const Diffusion *d, const float *x_start, const float *noise, const int32_t *t, int64_t n,
                        int64_t size, float *x_t);

/* abar / (1 - abar) of a step of this process. */
double diffusion_snr(const Diffusion *d, int step);

/* --- the training loss --- */
typedef struct DiffusionLoss {
    double vb_weight;     /* of the variational bound; 0: not computed. Default 1 */
    bool rescale_vb;      /* bound times num_timesteps/1000 (RESCALED_MSE; else MSE). Default true */
    double min_snr_gamma; /* > 0: a sample's MSE times min(SNR, gamma) / SNR (arXiv 2303.09556). Default 0: off */
    double snr_floor;     /* > 0: times max(SNR, floor) / SNR, at most 20: as an error of x_0, every step with more noise than
                             that counts alike. There the caption decides, but eps' error is small. Default 0: off */
} DiffusionLoss;

void diffusion_loss_defaults(DiffusionLoss *options);

typedef struct DiffusionBatch {
    int64_t n, pixels;
    const float *x_start; /* (n,H,W,3) in [-1,1] */
    const float *x_t;     /* (n,H,W,3) */
    const float *noise;   /* (n,H,W,3): the eps in x_t */
    const int32_t *t;     /* (n) steps of this process */
    const float *weights; /* (n) factors of each sample's whole loss (values and gradient), or NULL: all 1 */
} DiffusionBatch;

/* The hybrid loss of Improved DDPM: per sample, means over pixels and channels,
 *     mse = weight * mean (eps - noise)^2
 *     vb  = vb_weight * num_timesteps/1000 * bound term in bits, whose mean is taken from eps as a constant
 *           (KL divergence of the posterior to the model's step; at step 0 the likelihood of the 8-bit picture).
 * out6 (n,H,W,6); loss_mse, loss_vb (n). d_out6 (n,H,W,6), or NULL for values alone, accumulates the gradient of
 * sum_i d_loss[i] * (mse_i + vb_i); d_loss (n), or NULL: 1/n each. Threaded over samples; same bits on any threads. */
void diffusion_loss(const Diffusion *d, const DiffusionLoss *options, const DiffusionBatch *batch, const float *out6,
                    float *loss_mse, float *loss_vb, const float *d_loss, float *d_out6);

/* Its two parts for one sample, not weighted. pixels = H*W of that sample; d_out6 (NULL: none) accumulates `scale`
 * times the gradient. vb is in bits, without the num_timesteps/1000 factor, and its gradient concerns v alone. */
double diffusion_eps_mse(const float *out6, const float *noise, int64_t pixels, double scale, float *d_out6);
double diffusion_vb_bits(const Diffusion *d, int step, const float *out6, const float *x_start, const float *x_t,
                         int64_t pixels, double scale, float *d_out6);

#endif
