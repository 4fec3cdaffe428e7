#include "common/diffusion.h"

#include "common/noise_levels.h"
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
        if (!(betas[i] > 0 && betas[i] < 1)) /* 1 would leave nothing of the picture, and x_0 = 0/0 */
            return status_fail(STATUS_BAD_INPUT,
                               "noise schedule \"%.80s\" with %d steps: beta %d is %g, expected 0 < beta < 1",
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
        &d->timesteps,
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
    d->original_alphas_cumprod = malloc((size_t)n * sizeof *d->original_alphas_cumprod);
    if (!d->timestep_map || !d->tables || !d->original_alphas_cumprod) {
        diffusion_release(d);
        return status_fail(STATUS_NO_MEMORY, "out of memory for the tables of a diffusion process of %d steps", n);
    }
    for (size_t i = 0; i < count; i++) *tables[i] = d->tables + i * (size_t)n;
    for (int i = 0; i < n; i++) d->timestep_map[i] = i, d->timesteps[i] = i;
    return STATUS_OK;
}

/* Everything else follows from betas and the abar that the process ends with. The order of operations is the reference's, so
 * that tables agree to the last bits. */
static void derive_tables(Diffusion *d, double end)
{
    double abar = end;
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

static void derive_whole(Diffusion *d)
{
    derive_tables(d, 1);
    memcpy(d->original_alphas_cumprod, d->alphas_cumprod, (size_t)d->num_timesteps * sizeof *d->alphas_cumprod);
}

Status diffusion_init_betas(Diffusion *d, const double *betas, int num_timesteps)
{
    memset(d, 0, sizeof *d);
    TRY(check_steps(num_timesteps, 2));
    TRY(check_betas("given betas", betas, num_timesteps));
    TRY(allocate(d, num_timesteps));
    memcpy(d->betas, betas, (size_t)num_timesteps * sizeof *betas);
    derive_whole(d);
    return STATUS_OK;
}

static Status check_levels(const double *abar, int n, double end)
{
    for (int i = 0; i < n; i++) {
        double above = i ? abar[i - 1] : end;
        if (!(abar[i] > 0 && abar[i] < above && above <= 1))
            return status_fail(STATUS_BAD_INPUT, "noise level %d: expected 0 < abar < %g, found %g", i, above, abar[i]);
    }
    return STATUS_OK;
}

Status diffusion_init_levels(Diffusion *d, const Diffusion *of, const double *timesteps, const double *alphas_cumprod, int n,
                             double end)
{
    memset(d, 0, sizeof *d);
    TRY(check_steps(n, 2));
    TRY(check_levels(alphas_cumprod, n, end));
    TRY(allocate(d, n));
    size_t original = (size_t)of->original_timesteps * sizeof *d->original_alphas_cumprod;
    free(d->original_alphas_cumprod);
    d->original_alphas_cumprod = malloc(original);
    if (!d->original_alphas_cumprod) {
        diffusion_release(d);
        return status_fail(STATUS_NO_MEMORY, "out of memory for the tables of a diffusion process of %d levels", n);
    }
    memcpy(d->original_alphas_cumprod, of->original_alphas_cumprod, original);
    d->original_timesteps = of->original_timesteps;
    memcpy(d->timesteps, timesteps, (size_t)n * sizeof *timesteps);
    for (int i = 0; i < n; i++) d->betas[i] = 1 - alphas_cumprod[i] / (i ? alphas_cumprod[i - 1] : end);
    derive_tables(d, end);
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
        d->timesteps[i] = d->timestep_map[i];
        last = abar;
    }
    d->num_timesteps = kept;
    derive_tables(d, 1);
    return STATUS_OK;
}

/* "karras20", "logsnr20": levels between the timesteps of the whole process *d, which they replace. */
static Status place_levels(Diffusion *d, RespacingKind kind, int n)
{
    Diffusion whole = *d;
    double *timesteps = malloc(2 * (size_t)n * sizeof *timesteps), *abar = timesteps + n;
    Status s = timesteps ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for %d noise levels", n);
    if (s == STATUS_OK) s = noise_levels_place(whole.alphas_cumprod, whole.num_timesteps, kind, n, timesteps, abar);
    if (s == STATUS_OK) s = diffusion_init_levels(d, &whole, timesteps, abar, n, 1);
    else memset(d, 0, sizeof *d);
    diffusion_release(&whole);
    free(timesteps);
    return s;
}

static Status respace(Diffusion *d, const char *respacing)
{
    RespacingKind kind;
    int n;
    TRY(respacing_count(d->num_timesteps, respacing, &kind, &n));
    return kind == RESPACING_WHOLE ? keep_steps(d, respacing) : place_levels(d, kind, n);
}

Status diffusion_init(Diffusion *d, const char *schedule, int num_timesteps, const char *respacing)
{
    memset(d, 0, sizeof *d);
    TRY(check_steps(num_timesteps, 2));
    TRY(allocate(d, num_timesteps));
    Status status = schedule_betas(schedule, num_timesteps, d->betas);
    if (status == STATUS_OK) {
        derive_whole(d);
        status = respace(d, respacing);
    }
    if (status != STATUS_OK) diffusion_release(d);
    return status;
}

Status diffusion_check(const char *schedule, int num_timesteps)
{
    Diffusion d;
    TRY(diffusion_init(&d, schedule, num_timesteps, ""));
    diffusion_release(&d);
    return STATUS_OK;
}

void diffusion_release(Diffusion *d)
{
    free(d->timestep_map);
    free(d->tables);
    free(d->original_alphas_cumprod);
    memset(d, 0, sizeof *d);
}

NoiseLevel diffusion_level(const Diffusion *d, int step)
{
    assert(step >= 0 && step < d->num_timesteps);
    return (NoiseLevel){
        .step = step,
        .timestep = d->timesteps[step],
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
