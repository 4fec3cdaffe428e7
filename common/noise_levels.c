#include "common/noise_levels.h"

#include <assert.h>
#include <math.h>

/* --- k-diffusion ------------------------------------------------------------------------------------- */

static double log_sigma(const double *abar, int step)
{
    return 0.5 * (log1p(-abar[step]) - log(abar[step]));
}

/* The step below or at `at`, but with another above it. */
static int lower(double at, int n)
{
    return at <= 0 ? 0 : at >= n - 1 ? n - 2 : (int)at;
}

double noise_levels_sigma(const double *abar, int n, double timestep)
{
    int low = lower(timestep, n);
    double share = timestep - low;
    return exp((1 - share) * log_sigma(abar, low) + share * log_sigma(abar, low + 1));
}

double noise_levels_timestep(const double *abar, int n, double sigma)
{
    double wanted = log(sigma);
    int low = 0, high = n - 1;
    while (high - low > 1) { /* the last pair whose first is not above what is wanted */
        int middle = (low + high) / 2;
        if (log_sigma(abar, middle) <= wanted) low = middle;
        else high = middle;
    }
    double share = (wanted - log_sigma(abar, low)) / (log_sigma(abar, high) - log_sigma(abar, low));
    return low + fmin(fmax(share, 0), 1);
}

double noise_levels_abar_of(double sigma)
{
    return 1 / (1 + sigma * sigma);
}

void noise_levels_karras(double least, double most, double rho, int count, double *sigmas)
{
    double first = pow(most, 1 / rho), last = pow(least, 1 / rho);
    for (int i = 0; i < count; i++) sigmas[i] = pow(first + (last - first) * i / fmax(count - 1, 1), rho);
}

void noise_levels_even(const double *abar, int n, int count, double *sigmas)
{
    for (int i = 0; i < count; i++) sigmas[i] = noise_levels_sigma(abar, n, (n - 1) * (1 - i / fmax(count - 1, 1)));
}

/* --- DPM-Solver -------------------------------------------------------------------------------------- */

int noise_levels_kept(const double *abar, int n)
{
    int kept = n;
    while (kept > 2 && -log_sigma(abar, kept - 1) < NOISE_LEVELS_LEAST) kept--;
    return kept;
}

double noise_levels_abar_at(const double *abar, int kept, double time)
{
    double at = time * kept - 1;
    int low = lower(at, kept);
    double share = at - low;
    return exp((1 - share) * log(abar[low]) + share * log(abar[low + 1]));
}

double noise_levels_time_of(const double *abar, int kept, double half_log_snr)
{
    double wanted = -log1p(exp(-2 * half_log_snr)); /* log abar */
    int low = 0, high = kept - 1;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (log(abar[middle]) > wanted) low = middle;
        else high = middle;
    }
    double share = (wanted - log(abar[low])) / (log(abar[high]) - log(abar[low]));
    return (low + share + 1) / kept;
}

static double half_log_snr_at(const double *abar, int kept, double time)
{
    double at = noise_levels_abar_at(abar, kept, time);
    return 0.5 * (log(at) - log1p(-at));
}

void noise_levels_times(const double *abar, int kept, LevelSpacing spacing, double first, double last, int steps, double *times)
{
    double from = spacing == LEVELS_LOGSNR ? half_log_snr_at(abar, kept, first) : first;
    double to = spacing == LEVELS_LOGSNR ? half_log_snr_at(abar, kept, last) : last;
    if (spacing == LEVELS_TIME_QUADRATIC) from = sqrt(from), to = sqrt(to);
    for (int i = 0; i <= steps; i++) {
        double at = from + (to - from) * i / steps;
        if (spacing == LEVELS_LOGSNR) times[i] = noise_levels_time_of(abar, kept, at);
        else times[i] = spacing == LEVELS_TIME_QUADRATIC ? at * at : at;
    }
}

/* --- for respaced processes -------------------------------------------------------------------------- */

static void place_karras(const double *abar, int n, int kept, int count, double *timesteps, double *level_abar)
{
    const double rho = 7; /* the paper's */
    noise_levels_karras(exp(log_sigma(abar, 0)), exp(log_sigma(abar, kept - 1)), rho, count, level_abar);
    for (int i = 0; i < count / 2; i++) { /* rising */
        double other = level_abar[i];
        level_abar[i] = level_abar[count - 1 - i];
        level_abar[count - 1 - i] = other;
    }
    for (int i = 0; i < count; i++) {
        timesteps[i] = noise_levels_timestep(abar, n, level_abar[i]);
        level_abar[i] = noise_levels_abar_of(level_abar[i]);
    }
}

/* Unlike the authors' code, which tells the model time * n although some steps are left out, each level keeps its timestep. */
static void place_logsnr(const double *abar, int kept, int count, double *timesteps, double *level_abar)
{
    noise_levels_times(abar, kept, LEVELS_LOGSNR, 1.0 / kept, 1, count - 1, timesteps);
    for (int i = 0; i < count; i++) {
        level_abar[i] = noise_levels_abar_at(abar, kept, timesteps[i]);
        timesteps[i] = fmax(timesteps[i] * kept - 1, 0);
    }
}

Status noise_levels_place(const double *abar, int n, RespacingKind kind, int count, double *timesteps, double *level_abar)
{
    assert(kind != RESPACING_WHOLE && count >= 2);
    if (n < 2) return status_fail(STATUS_BAD_INPUT, "noise levels: a process needs at least 2 steps, found %d", n);
    int kept = noise_levels_kept(abar, n);
    if (kind == RESPACING_KARRAS) place_karras(abar, n, kept, count, timesteps, level_abar);
    else place_logsnr(abar, kept, count, timesteps, level_abar);
    return STATUS_OK;
}
