/* Noise levels between the timesteps that a model was trained on, and where solvers place theirs.
 *
 * `abar` (n) is alphas_cumprod of the whole process, which falls from step 0 on. Between timesteps k-diffusion interpolates
 * the logarithm of sigma = sqrt(1/abar - 1), the noise in proportion to the picture; DPM-Solver that of alpha = sqrt(abar).
 * Where they differ a function says whose way it goes.
 *
 * Sources: arXiv 2206.00364 (sigmas, their spacing), 2206.00927 (DPM-Solver: time, log SNR). */
#ifndef GLIDE_COMMON_NOISE_LEVELS_H
#define GLIDE_COMMON_NOISE_LEVELS_H

#include "common/respace.h"
#include "common/status.h"

/* --- k-diffusion --- */
/* sigma at a timestep within 0..n-1, perhaps between two; and back, where sigmas beyond the ends give 0 or n-1. */
double noise_levels_sigma(const double *abar, int n, double timestep);
double noise_levels_timestep(const double *abar, int n, double sigma);
double noise_levels_abar_of(double sigma); /* 1 / (1 + sigma^2) */

/* sigmas[0..count-1] falling from `most` to `least`, evenly spaced in sigma^(1/rho): arXiv 2206.00364, equation 5. */
void noise_levels_karras(double least, double most, double rho, int count, double *sigmas);
/* Those at `count` timesteps evenly spaced from n-1 to 0, perhaps between whole ones; falling. */
void noise_levels_even(const double *abar, int n, int count, double *sigmas);

/* --- DPM-Solver --- */
/* Half the log SNR below which x says nothing about x_0: the authors' clipped_lambda. */
#define NOISE_LEVELS_LEAST (-5.1)
/* Its time is in (0,1] over the first `kept` timesteps: time = (index + 1) / kept at the timestep `index`. The others, whose
 * half log SNR is below NOISE_LEVELS_LEAST, are left out. */
int noise_levels_kept(const double *abar, int n);
double noise_levels_abar_at(const double *abar, int kept, double time); /* times beyond the ends: as the outer pair goes on */
double noise_levels_time_of(const double *abar, int kept, double half_log_snr);

typedef enum { LEVELS_TIME_UNIFORM, LEVELS_TIME_QUADRATIC, LEVELS_LOGSNR } LevelSpacing;
/* times[0..steps] from `first` down to `last`. */
void noise_levels_times(const double *abar, int kept, LevelSpacing spacing, double first, double last, int steps, double *times);

/* --- for respaced processes --- */
/* `count` levels with rising noise, from timestep 0's to that of the last one kept: timesteps and abar (count) each.
 * `kind` is not RESPACING_WHOLE. */
Status noise_levels_place(const double *abar, int n, RespacingKind kind, int count, double *timesteps, double *level_abar);

#endif
