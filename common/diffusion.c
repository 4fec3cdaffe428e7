#include "common/diffusion.h"

#include "common/respace.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- schedules --- */

/* DDPM's 1e-4..0.02 over 1000 steps; other lengths keep the sum. Evenly spaced as numpy.linspace rounds it. */
static void betas_linear(int n, double *betas)
{
    double scale = 1000.0 / n, first = scale * 0.0001, last = scale * 0.02;
    double stride = (last - first) / (n > 1 ? n - 1 : 1);
    for (int i = 0; i < n; i++) betas[i] = i * stride + first;
    if (n > 1) betas[n - 1] = last;
}

/* Improved DDPM, equation 17, as a function of continuous time in [0,1]. */
static double cosine_alpha_bar(double time)
{
    volatile double square = 2; /* pow() and x * x round differently, and the reference calls pow() */
    return pow(cos((time + 0.008) / 1.008 * M_PI / 2), square);
}

static void betas_squaredcos_cap_v2(int n, double *betas)
{
    for (int i = 0; i < n; i++)
        betas[i] = fmin(1 - cosine_alpha_bar((i + 1.0) / n) / cosine_alpha_bar((double)i / n), 0.999);
}

static const struct {
    const char *name;
    void (*betas)(int n, double *betas);
} schedules[] = {
    {"linear", betas_linear},
    {"squaredcos_cap_v2", betas_squaredcos_cap_v2},
};

static Status check_betas(const char *schedule, const double *betas, int n)
{
    for (int i = 0; i < n; i++)
        if (!(betas[i] > 0 && betas[i] <= 1))
            return status_fail(STATUS_BAD_INPUT,
                               "noise schedule \"%.80s\" with %d steps: beta %d is %g, expected 0 < beta <= 1",
                               schedule, n, i, betas[i]);
    return STATUS_OK;
}

static Status check_steps(int n, int least)
{
    if (n >= least && n <= DIFFUSION_MAX_TIMESTEPS) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "diffusion process: expected %d to %d steps, found %d", least,
                       DIFFUSION_MAX_TIMESTEPS, n);
}

Status schedule_betas(const char *schedule, int num_timesteps, double *betas)
{
    TRY(check_steps(num_timesteps, 1));
    for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
        if (strcmp(schedule, schedules[i].name)) continue;
        schedules[i].betas(num_timesteps, betas);
        return check_betas(schedule, betas, num_timesteps);
    }
    return status_fail(STATUS_BAD_INPUT,
                       "noise schedule: expected \"linear\" or \"squaredcos_cap_v2\", found \"%.80s\"", schedule);
}

/* --- tables --- */

static Status allocate(Diffusion *d, int n)
{
    double **tables[] = {
        &d->betas,
        &d->alphas_cumprod,
        &d->alphas_cumprod_prev,
        &d->alphas_cumprod_next,
        &d->sqrt_alphas_cumprod,
        &d->sqrt_one_minus_alphas_cumprod,
        &d->log_one_minus_alphas_cumprod,
        &d->sqrt_recip_alphas_cumprod,
        &d->sqrt_recipm1_alphas_cumprod,
        &d->posterior_variance,
        &d->posterior_log_variance_clipped,
        &d->posterior_mean_coef1,
        &d->posterior_mean_coef2,
    };
    size_t count = sizeof tables / sizeof *tables;
    d->num_timesteps = d->original_timesteps = n;
    d->timestep_map = malloc((size_t)n * sizeof *d->timestep_map);
    d->tables = malloc(count * (size_t)n * sizeof *d->tables);
    if (!d->timestep_map || !d->tables) {
        diffusion_release(d);
        return status_fail(STATUS_NO_MEMORY, "out of memory for the tables of a diffusion process of %d steps", n);
    }
    for (size_t i = 0; i < count; i++) *tables[i] = d->tables + i * (size_t)n;
    for (int i = 0; i < n; i++) d->timestep_map[i] = i;
    return STATUS_OK;
}

/* Everything else follows from betas. The order of operations is the reference's, so that tables agree to the last
 * bits. */
static void derive_tables(Diffusion *d)
{
    double abar = 1;
    for (int t = 0; t < d->num_timesteps; t++) {
        double prev = abar;
        abar *= 1 - d->betas[t];
        d->alphas_cumprod[t] = abar;
        d->alphas_cumprod_prev[t] = prev;
        d->alphas_cumprod_next[t] = 0;
        if (t) d->alphas_cumprod_next[t - 1] = abar;
        d->sqrt_alphas_cumprod[t] = sqrt(abar);
        d->sqrt_one_minus_alphas_cumprod[t] = sqrt(1 - abar);
        d->log_one_minus_alphas_cumprod[t] = log(1 - abar);
        d->sqrt_recip_alphas_cumprod[t] = sqrt(1 / abar);
        d->sqrt_recipm1_alphas_cumprod[t] = sqrt(1 / abar - 1);
        d->posterior_variance[t] = d->betas[t] * (1 - prev) / (1 - abar);
        d->posterior_log_variance_clipped[t] = log(d->posterior_variance[t]);
        d->posterior_mean_coef1[t] = d->betas[t] * sqrt(prev) / (1 - abar);
        d->posterior_mean_coef2[t] = (1 - prev) * sqrt(1 - d->betas[t]) / (1 - abar);
    }
    d->posterior_log_variance_clipped[0] = d->posterior_log_variance_clipped[1];
}

Status diffusion_init_betas(Diffusion *d, const double *betas, int num_timesteps)
{
    memset(d, 0, sizeof *d);
    TRY(check_steps(num_timesteps, 2));
    TRY(check_betas("given betas", betas, num_timesteps));
    TRY(allocate(d, num_timesteps));
    memcpy(d->betas, betas, (size_t)num_timesteps * sizeof *betas);
    derive_tables(d);
    return STATUS_OK;
}

/* Keep only the steps in the map: betas that lead from one kept abar to the next (Improved DDPM, equation 19). */
static Status keep_steps(Diffusion *d, const char *respacing)
{
    int kept;
    TRY(space_timesteps(d->original_timesteps, respacing, d->timestep_map, &kept));
    if (kept < 2)
        return status_fail(STATUS_BAD_INPUT, "timestep respacing \"%.80s\": a process needs at least 2 steps, found %d",
                           respacing, kept);
    if (kept == d->original_timesteps) return STATUS_OK; /* betas would come out the same but for rounding */
    double last = 1;
    for (int i = 0; i < kept; i++) {
        double abar = d->alphas_cumprod[d->timestep_map[i]]; /* map[i] >= i: overwriting betas[i] is safe */
        d->betas[i] = 1 - abar / last;
        last = abar;
    }
    d->num_timesteps = kept;
    derive_tables(d);
    return STATUS_OK;
}

Status diffusion_init(Diffusion *d, const char *schedule, int num_timesteps, const char *respacing)
{
    memset(d, 0, sizeof *d);
    TRY(check_steps(num_timesteps, 2));
    TRY(allocate(d, num_timesteps));
    Status status = schedule_betas(schedule, num_timesteps, d->betas);
    if (status == STATUS_OK) {
        derive_tables(d);
        status = keep_steps(d, respacing);
    }
    if (status != STATUS_OK) diffusion_release(d);
    return status;
}

void diffusion_release(Diffusion *d)
{
    free(d->timestep_map);
    free(d->tables);
    memset(d, 0, sizeof *d);
}

NoiseLevel diffusion_level(const Diffusion *d, int step)
{
    assert(step >= 0 && step < d->num_timesteps);
    return (NoiseLevel){
        .step = step,
        .timestep = d->timestep_map[step],
        .alpha = d->sqrt_alphas_cumprod[step],
        .sigma = d->sqrt_one_minus_alphas_cumprod[step],
    };
}

double diffusion_snr(const Diffusion *d, int step)
{
    assert(step >= 0 && step < d->num_timesteps);
    return d->alphas_cumprod[step] / (1 - d->alphas_cumprod[step]);
}

/* --- functions on arrays --- */

void timestep_embedding(const float *t, int64_t n, int64_t dim, float *out)
{
    assert(dim >= 2);
    int64_t half = dim / 2;
    for (int64_t i = 0; i < half; i++) {
        float frequency = expf(-9.210340371976184f * (float)i / (float)half); /* 10000 ^ (-i / half) */
        for (int64_t row = 0; row < n; row++) {
            float angle = t[row] * frequency;
            out[row * dim + i] = cosf(angle);
            out[row * dim + half + i] = sinf(angle);
        }
    }
    if (dim % 2)
        for (int64_t row = 0; row < n; row++) out[row * dim + dim - 1] = 0;
}

void diffusion_q_sample(const Diffusion *d, const float *x_start, const float *noise, const int32_t *t, int64_t n,
                        int64_t size, float *x_t)
{
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < n; row++) {
        assert(t[row] >= 0 && t[row] < d->num_timesteps);
        float signal = (float)d->sqrt_alphas_cumprod[t[row]], spread = (float)d->sqrt_one_minus_alphas_cumprod[t[row]];
        for (int64_t i = row * size; i < (row + 1) * size; i++) x_t[i] = signal * x_start[i] + spread * noise[i];
    }
}
