/* Parity of solvers: solvers.h5. DPM-Solver++ and k-diffusion's samplers on a mixture of Gaussians whose eps is exact. Rows of
 * the file become pictures one pixel high, filled up with zeros, which stay zeros. */
#include "tests/support_parity_solvers.h"

#include "common/noise_levels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- DPM-Solver's process, also for samplers.h5 --- */

static Status text_or(Parity *p, const H5File *file, const char *object, const char *name, const char *fallback, char **out)
{
    TRY(h5file_attr_text_or(file, object, name, fallback, out));
    parity_keep(p, *out);
    return STATUS_OK;
}

/* The levels at which a step of the solver ends, counted from the first: all, or with singlestep those of whole groups. */
static void find_ends(ParityDpm *dpm, bool singlestep)
{
    int order = dpm->order, steps = dpm->steps, left = steps;
    for (dpm->ends_count = 0; left > 0; dpm->ends_count++) {
        int group = !singlestep ? 1 : left > order || (left == order && order < 3) ? order : left == 3 ? 2 : left;
        left -= group;
        dpm->ends[dpm->ends_count] = steps - left;
    }
}

/* Log SNR is shared out evenly over groups, then within each; times in one go. */
static void find_times(const ParityDpm *dpm, const Diffusion *whole, int kept, LevelSpacing spacing, double *times)
{
    const double *abar = whole->alphas_cumprod;
    if (spacing != LEVELS_LOGSNR || dpm->ends_count == dpm->steps) {
        noise_levels_times(abar, kept, spacing, 1, 1.0 / kept, dpm->steps, times);
        return;
    }
    double *outer = calloc((size_t)dpm->ends_count + 1, sizeof *outer);
    if (!outer) abort();
    noise_levels_times(abar, kept, spacing, 1, 1.0 / kept, dpm->ends_count, outer);
    for (int i = 0; i < dpm->ends_count; i++) {
        int first = i ? dpm->ends[i - 1] : 0;
        noise_levels_times(abar, kept, spacing, outer[i], outer[i + 1], dpm->ends[i] - first, times + first);
    }
    free(outer);
}

static Status place(ParityDpm *dpm, Parity *p, const Diffusion *whole, LevelSpacing spacing)
{
    const double *abar = whole->alphas_cumprod;
    int n = dpm->steps, kept = noise_levels_kept(abar, whole->num_timesteps);
    double *timesteps = parity_alloc(p, n, sizeof *timesteps), *level_abar = parity_alloc(p, n, sizeof *level_abar);
    dpm->times = parity_alloc(p, n + 1, sizeof *dpm->times);
    find_times(dpm, whole, kept, spacing, dpm->times);
    for (int i = 0; i < n; i++) {
        double time = dpm->times[n - 1 - i];
        timesteps[i] = (time - 1.0 / kept) * whole->num_timesteps;
        level_abar[i] = noise_levels_abar_at(abar, kept, time);
    }
    return diffusion_init_levels(&dpm->d, whole, timesteps, level_abar, n, noise_levels_abar_at(abar, kept, dpm->times[n]));
}

Status parity_dpm_load(Parity *p, const H5File *file, const char *run, const Diffusion *whole, ParityDpm *dpm, bool *known)
{
    static const char *const spacings[] = {"time_uniform", "time_quadratic", "logSNR"};
    static const char *const kinds[2][3] = {{"ddim", "dpmpp_2m", "dpmpp_3m"}, {"ddim", "dpmpp_2s", "dpmpp_3s"}};
    char *algorithm, *method, *skip;
    int64_t order, steps;
    *dpm = (ParityDpm){.kind = NULL};
    TRY(text_or(p, file, run, "algorithm", "dpmsolver++", &algorithm));
    TRY(text_or(p, file, run, "method", "multistep", &method));
    TRY(text_or(p, file, run, "skip_type", "time_uniform", &skip));
    TRY(h5file_attr_i64(file, run, "order", &order));
    TRY(h5file_attr_i64(file, run, "steps", &steps));
    if (steps < 2 || steps > 10000) return parity_wrong(file, "expected 2 to 10000 steps", run);
    int spacing = 0;
    bool singlestep = !strcmp(method, "singlestep");
    while (spacing < 3 && strcmp(skip, spacings[spacing])) spacing++;
    *known = !strcmp(algorithm, "dpmsolver++") && (singlestep || !strcmp(method, "multistep")) && spacing < 3 && order >= 1 &&
             order <= 3;
    if (!*known) return STATUS_OK;
    dpm->kind = sampler_find(kinds[singlestep][order - 1]);
    dpm->order = (int)order;
    dpm->steps = (int)steps;
    dpm->ends = parity_alloc(p, steps, sizeof *dpm->ends);
    find_ends(dpm, singlestep);
    return place(dpm, p, whole, (LevelSpacing)spacing);
}

/* --- the mixture --- */

typedef struct Mixed {
    Parity *p;
    const H5File *file;
    const char *file_name;
    int64_t N, D, W, K; /* rows, their values, pixels that hold them; components */
    float *means, *stds, *weights, *x_T; /* (K,D), (K), (K), (N,D) */
    const Diffusion *whole;
} Mixed;

/* eps at a time that may lie between timesteps, where log alpha is interpolated. */
static void mixture_eps(const Mixed *m, const double *x, double t, double *eps)
{
    const double *abar = m->whole->alphas_cumprod;
    int last = m->whole->num_timesteps - 2, low = t < 0 ? 0 : t > last ? last : (int)t;
    double log_alpha = 0.5 * ((1 - (t - low)) * log(abar[low]) + (t - low) * log(abar[low + 1]));
    double alpha = exp(log_alpha), sigma2 = -expm1(2 * log_alpha), top = -INFINITY, sum = 0;
    double *log_p = calloc((size_t)m->K, sizeof *log_p);
    if (!log_p) abort();
    for (int64_t k = 0; k < m->K; k++) {
        double var = alpha * alpha * m->stds[k] * m->stds[k] + sigma2, distance = 0;
        for (int64_t i = 0; i < m->D; i++) distance += pow(x[i] - alpha * m->means[k * m->D + i], 2);
        log_p[k] = log(m->weights[k]) - 0.5 * (double)m->D * log(var) - 0.5 * distance / var;
        top = fmax(top, log_p[k]);
    }
    for (int64_t k = 0; k < m->K; k++) sum += exp(log_p[k] - top);
    for (int64_t i = 0; i < m->D; i++) eps[i] = 0;
    for (int64_t k = 0; k < m->K; k++) {
        double share = exp(log_p[k] - top) / sum, var = alpha * alpha * m->stds[k] * m->stds[k] + sigma2;
        for (int64_t i = 0; i < m->D; i++) eps[i] += sqrt(sigma2) * share * (x[i] - alpha * m->means[k * m->D + i]) / var;
    }
    free(log_p);
}

/* Value i of a row: pixel i / 3, channel i % 3, also in what a model says, which has more channels. */
static int64_t place_of(const Mixed *m, int64_t row, int64_t i, int channels)
{
    return (row * m->W + i / IMAGE_CHANNELS) * channels + i % IMAGE_CHANNELS;
}

/* --- a run --- */

typedef struct Run {
    const Mixed *m;
    double *t_input;  /* (calls) */
    float *seen;      /* (calls,N,D): x / alpha at each call */
    int *step_of;     /* (calls) of the process */
    int calls, most;
    const float *noise; /* (steps,N,D); entries from `drawn` on are poison */
    int64_t noise_steps, drawn;
    int steps;
    double ratio, max_val; /* dynamic thresholding */
} Run;

static Status predict(void *ctx, const float *x_t, const NoiseLevel *level, float *out)
{
    Run *r = ctx;
    const Mixed *m = r->m;
    if (r->calls >= r->most) return status_fail(STATUS_BAD_INPUT, "more than %d calls of the model", r->most);
    double *x = calloc(2 * (size_t)m->D, sizeof *x);
    if (!x) abort();
    memset(out, 0, (size_t)(m->N * m->W * MODEL_CHANNELS) * sizeof *out);
    r->t_input[r->calls] = level->timestep;
    r->step_of[r->calls] = level->step;
    for (int64_t row = 0; row < m->N; row++) {
        for (int64_t i = 0; i < m->D; i++) {
            x[i] = x_t[place_of(m, row, i, IMAGE_CHANNELS)];
            r->seen[(r->calls * m->N + row) * m->D + i] = (float)(x[i] / level->alpha);
        }
        mixture_eps(m, x, level->timestep, x + m->D);
        for (int64_t i = 0; i < m->D; i++) out[place_of(m, row, i, MODEL_CHANNELS)] = (float)x[m->D + i];
    }
    free(x);
    r->calls++;
    return STATUS_OK;
}

static void draw(void *ctx, const NoiseLevel *level, float *noise)
{
    const Run *r = ctx;
    const Mixed *m = r->m;
    int64_t entry = r->steps - 1 - level->step;
    memset(noise, 0, (size_t)(m->N * m->W * IMAGE_CHANNELS) * sizeof *noise);
    for (int64_t row = 0; row < m->N; row++)
        for (int64_t i = 0; i < m->D; i++)
            noise[place_of(m, row, i, IMAGE_CHANNELS)] =
                entry < r->drawn && entry < r->noise_steps ? r->noise[(entry * m->N + row) * m->D + i] : NAN;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Each row within its own quantile, if that is above max_val, and divided by it (Imagen, arXiv 2205.11487, section 2.3). */
static Status threshold(void *ctx, const NoiseLevel *level, float *x_0)
{
    const Run *r = ctx;
    const Mixed *m = r->m;
    double *sizes = calloc((size_t)m->D, sizeof *sizes);
    (void)level;
    if (!sizes) abort();
    for (int64_t row = 0; row < m->N; row++) {
        for (int64_t i = 0; i < m->D; i++) sizes[i] = fabs(x_0[place_of(m, row, i, IMAGE_CHANNELS)]);
        qsort(sizes, (size_t)m->D, sizeof *sizes, ascending);
        double at = r->ratio * (double)(m->D - 1);
        int64_t low = at >= (double)(m->D - 1) ? m->D - 1 : (int64_t)at, high = low + 1 < m->D ? low + 1 : low;
        double limit = fmax(sizes[low] + (at - (double)low) * (sizes[high] - sizes[low]), r->max_val);
        for (int64_t i = 0; i < m->D; i++) {
            float *x = &x_0[place_of(m, row, i, IMAGE_CHANNELS)];
            *x = (float)(fmin(fmax(*x, -limit), limit) / limit);
        }
    }
    free(sizes);
    return STATUS_OK;
}

static void run_start(Run *r, const Mixed *m, const Diffusion *d, const SamplerKind *kind)
{
    r->m = m;
    r->steps = d->num_timesteps;
    r->most = sampler_evaluations(kind, r->steps);
    r->t_input = parity_alloc(m->p, r->most, sizeof *r->t_input);
    r->step_of = parity_alloc(m->p, r->most, sizeof *r->step_of);
    r->seen = parity_alloc(m->p, r->most * m->N * m->D, sizeof *r->seen);
}

/* x_T * scale -> results (steps,N,D), x after each step. */
static Status take_steps(Run *r, const SamplerOptions *o, const Diffusion *d, bool dynamic, double scale, float *results)
{
    const Mixed *m = r->m;
    Denoiser denoiser = {.predict = predict, .predict_ctx = r};
    if (dynamic) denoiser.denoised = threshold, denoiser.denoised_ctx = r;
    float *x = parity_alloc(m->p, m->N * m->W * IMAGE_CHANNELS, sizeof *x);
    for (int64_t row = 0; row < m->N; row++)
        for (int64_t i = 0; i < m->D; i++)
            x[place_of(m, row, i, IMAGE_CHANNELS)] = (float)(m->x_T[row * m->D + i] * scale);
    Sampler s;
    TRY(sampler_init(&s, o, d, &denoiser, m->N, 1, m->W));
    Status status = STATUS_OK;
    for (int taken = 0; taken < r->steps && status == STATUS_OK; taken++) {
        status = sampler_step(&s, x, r->steps - 1 - taken);
        for (int64_t i = 0; i < m->N * m->D; i++)
            results[taken * m->N * m->D + i] = x[place_of(m, i / m->D, i % m->D, IMAGE_CHANNELS)];
    }
    sampler_release(&s);
    return status;
}

/* A vector that the file stores in single precision. */
static Status compare_vector(const Mixed *m, const char *name, const double *found, int64_t n, Tolerance t)
{
    float *stored;
    TRY(parity_f32(m->p, m->file, name, 1, &n, &stored));
    double *expected = parity_alloc(m->p, n, sizeof *expected);
    for (int64_t i = 0; i < n; i++) expected[i] = stored[i];
    parity_compare_f64(m->p, parity_text(m->p, "%s %s", m->file_name, name), found, expected, n, t);
    return STATUS_OK;
}

static Status compare_x(const Mixed *m, const char *name, const float *found, int64_t entries, Tolerance t)
{
    float *expected;
    TRY(parity_f32(m->p, m->file, name, 3, (const int64_t[]){entries, m->N, m->D}, &expected));
    parity_compare(m->p, parity_text(m->p, "%s %s", m->file_name, name), found, expected, entries * m->N * m->D, t);
    return STATUS_OK;
}

/* The result against the same solver's in double precision. */
static Status compare_last(const Mixed *m, const char *name, const float *found, Tolerance t)
{
    double *expected = parity_alloc(m->p, m->N * m->D, sizeof *expected), *wide = parity_alloc(m->p, m->N * m->D, sizeof *wide);
    TRY(h5file_read(m->file, name, H5KIND_F64, 2, (const int64_t[]){m->N, m->D}, expected));
    for (int64_t i = 0; i < m->N * m->D; i++) wide[i] = found[i];
    parity_compare_f64(m->p, parity_text(m->p, "%s %s", m->file_name, name), wide, expected, m->N * m->D, t);
    return STATUS_OK;
}

/* --- DPM-Solver++ --- */

static const Tolerance dpm_tolerance = {.absolute = 1e-3};

static Status check_dpm(const Mixed *m, const ParityDpm *dpm, const char *run)
{
    char *correct;
    Run r = {0};
    SamplerOptions o;
    Parity *p = m->p;
    int64_t d[3], size = m->N * m->D;
    TRY(text_or(p, m->file, run, "correct_x0", "none", &correct));
    TRY(h5file_attr_f64_or(m->file, run, "ratio", 0.995, &r.ratio));
    TRY(h5file_attr_f64_or(m->file, run, "max_val", 1, &r.max_val));
    bool dynamic = !strcmp(correct, "dynamic_thresholding");
    sampler_options_defaults(&o);
    o.kind = dpm->kind;
    o.clip_denoised = !strcmp(correct, "clamp");
    if (!dynamic && !o.clip_denoised && strcmp(correct, "none")) {
        parity_skip(p, parity_text(p, "%s %s", m->file_name, run), "unknown correct_x0");
        return STATUS_OK;
    }
    run_start(&r, m, &dpm->d, dpm->kind);
    float *results = parity_alloc(p, dpm->steps * size, sizeof *results);
    if (take_steps(&r, &o, &dpm->d, dynamic, 1, results) != STATUS_OK) {
        parity_broken(p, parity_text(p, "%s %s", m->file_name, run));
        return STATUS_OK;
    }
    const char *x_name = parity_text(p, "%s/x", run), *times = parity_text(p, "%s/times", run);
    TRY(parity_shape(m->file, x_name, 3, d));
    float *found = parity_alloc(p, (dpm->ends_count + 1) * size, sizeof *found);
    memcpy(found, m->x_T, (size_t)size * sizeof *found);
    for (int i = 0; i < dpm->ends_count; i++)
        memcpy(found + (i + 1) * size, results + (dpm->ends[i] - 1) * size, (size_t)size * sizeof *found);
    bool from_start = d[0] == dpm->ends_count + 1; /* singlestep runs store x behind each group alone */
    TRY(compare_x(m, x_name, from_start ? found : found + size, dpm->ends_count + from_start, dpm_tolerance));
    TRY(compare_last(m, parity_text(p, "%s/x_f64", run), results + (dpm->steps - 1) * size, dpm_tolerance));
    if (h5file_has_dataset(m->file, times)) TRY(compare_vector(m, times, dpm->times, dpm->steps + 1, dpm_tolerance));
    /* time is in units of the whole process there, and the file's own single precision is off by 0.04 */
    Tolerance of_t = {.absolute = dpm_tolerance.absolute * m->whole->num_timesteps / 10};
    return compare_vector(m, parity_text(p, "%s/t_input", run), r.t_input, r.calls, of_t);
}

static Status check_dpm_runs(const Mixed *m, const char *group)
{
    char **names;
    int count;
    int32_t *total;
    Parity *p = m->p;
    const char *total_name = parity_text(p, "%s/total_N", group);
    int kept = noise_levels_kept(m->whole->alphas_cumprod, m->whole->num_timesteps);
    TRY(parity_i32(p, m->file, total_name, 1, (const int64_t[]){1}, &total));
    parity_exact(p, parity_text(p, "%s %s", m->file_name, total_name), kept != total[0], 1,
                 parity_text(p, "found %d, expected %d", kept, total[0]));
    TRY(parity_list(p, m->file, group, H5LIST_GROUPS, &names, &count));
    for (int i = 0; i < count; i++) {
        ParityDpm dpm;
        bool known;
        const char *run = parity_text(p, "%s/%s", group, names[i]);
        TRY(parity_dpm_load(p, m->file, run, m->whole, &dpm, &known));
        Status s = STATUS_OK;
        if (known) s = check_dpm(m, &dpm, run);
        else parity_skip(p, parity_text(p, "%s %s", m->file_name, run), "unknown method");
        diffusion_release(&dpm.d);
        TRY(s);
    }
    return STATUS_OK;
}

/* --- k-diffusion --- */

static Status load_sigmas(const Mixed *m, const char *name, Diffusion *d, double *first)
{
    float *sigmas;
    int64_t n;
    TRY(parity_vector(m->p, m->file, name, &sigmas, &n));
    if (n < 3) return parity_wrong(m->file, "expected at least 3 noise levels", name);
    n--;
    double *timesteps = parity_alloc(m->p, n, sizeof *timesteps), *abar = parity_alloc(m->p, n, sizeof *abar);
    for (int64_t i = 0; i < n; i++) {
        double sigma = sigmas[n - 1 - i];
        timesteps[i] = noise_levels_timestep(m->whole->alphas_cumprod, m->whole->num_timesteps, sigma);
        abar[i] = noise_levels_abar_of(sigma);
    }
    *first = sigmas[0];
    return diffusion_init_levels(d, m->whole, timesteps, abar, (int)n, noise_levels_abar_of(sigmas[n]));
}

static Status load_options(const Mixed *m, const char *run, SamplerOptions *o)
{
    sampler_options_defaults(o);
    o->clip_denoised = false;
    TRY(h5file_attr_f64_or(m->file, run, "eta", NAN, &o->eta));
    TRY(h5file_attr_f64_or(m->file, run, "s_churn", 0, &o->s_churn));
    TRY(h5file_attr_f64_or(m->file, run, "s_tmin", 0, &o->s_tmin));
    TRY(h5file_attr_f64_or(m->file, run, "s_tmax", INFINITY, &o->s_tmax));
    return h5file_attr_f64_or(m->file, run, "s_noise", 1, &o->s_noise);
}

/* x as the model sees it first in each step, after churn, then the result. */
static Status compare_k(const Mixed *m, const Run *r, const char *run, double first_sigma, const float *results)
{
    Parity *p = m->p;
    int64_t size = m->N * m->D;
    float *found = parity_alloc(p, (r->steps + 1) * size, sizeof *found);
    for (int call = r->calls - 1; call >= 0; call--) /* Heun's second call is at the next step's level, before its first */
        if (call == 0 || r->step_of[call] == r->step_of[call - 1] || r->calls == r->steps)
            memcpy(found + (r->steps - 1 - r->step_of[call]) * size, r->seen + call * size, (size_t)size * sizeof *found);
    memcpy(found + r->steps * size, results + (r->steps - 1) * size, (size_t)size * sizeof *found);
    Tolerance t = {.absolute = 1e-4 * first_sigma};
    TRY(compare_x(m, parity_text(p, "%s/x", run), found, r->steps + 1, t));
    TRY(compare_last(m, parity_text(p, "%s/x_f64", run), found + r->steps * size, (Tolerance){.absolute = 1e-3}));
    return compare_vector(m, parity_text(p, "%s/t_input", run), r->t_input, r->calls, (Tolerance){.absolute = 1e-3});
}

static Status check_k(const Mixed *m, const char *group, const char *run)
{
    char *sampler, *sigmas;
    int32_t *drawn;
    Parity *p = m->p;
    Diffusion d;
    SamplerOptions o;
    double first = 0;
    Run r = {0};
    const char *item = parity_text(p, "%s %s", m->file_name, run), *noise = parity_text(p, "%s/noise", group);
    TRY(text_or(p, m->file, run, "sampler", "", &sampler));
    TRY(text_or(p, m->file, run, "sigmas", "", &sigmas));
    TRY(parity_i32(p, m->file, parity_text(p, "%s/noise_used", run), 1, (const int64_t[]){1}, &drawn));
    TRY(load_options(m, run, &o));
    o.kind = sampler_find(sampler);
    o.noise = (SamplerNoise){draw, &r};
    if (!o.kind) {
        parity_skip(p, item, parity_text(p, "sampler %s is not built yet", sampler));
        return STATUS_OK;
    }
    TRY(load_sigmas(m, parity_text(p, "%s/%s", group, sigmas), &d, &first));
    int64_t dims[3];
    float *stored;
    Status s = parity_shape(m->file, noise, 3, dims);
    if (s == STATUS_OK) s = parity_f32(p, m->file, noise, 3, (const int64_t[]){dims[0], m->N, m->D}, &stored);
    if (s == STATUS_OK) {
        run_start(&r, m, &d, o.kind);
        r.noise = stored;
        r.noise_steps = dims[0];
        r.drawn = drawn[0];
        float *results = parity_alloc(p, r.steps * m->N * m->D, sizeof *results);
        double scale = first * d.sqrt_alphas_cumprod[r.steps - 1];
        if (take_steps(&r, &o, &d, false, scale, results) == STATUS_OK) s = compare_k(m, &r, run, first, results);
        else parity_broken(p, item);
    }
    diffusion_release(&d);
    return s;
}

/* The levels themselves. */
static Status check_sigmas(const Mixed *m, const char *group)
{
    double least, most, rho;
    int64_t n;
    Parity *p = m->p;
    const double *abar = m->whole->alphas_cumprod;
    int steps = m->whole->num_timesteps;
    const Tolerance close = {.absolute = 1e-5, .relative = 1e-5};
    TRY(h5file_attr_i64(m->file, group, "n", &n));
    TRY(h5file_attr_f64(m->file, group, "sigma_min", &least));
    TRY(h5file_attr_f64(m->file, group, "sigma_max", &most));
    TRY(h5file_attr_f64(m->file, group, "rho", &rho));
    if (n < 2 || n > 10000) return parity_wrong(m->file, "n: expected 2 to 10000", group);
    double *sigmas = parity_alloc(p, n + 1, sizeof *sigmas);
    noise_levels_even(abar, steps, (int)n, sigmas);
    TRY(compare_vector(m, parity_text(p, "%s/sigmas_discrete", group), sigmas, n + 1, close));
    noise_levels_karras(least, most, rho, (int)n, sigmas);
    TRY(compare_vector(m, parity_text(p, "%s/sigmas_karras", group), sigmas, n + 1, close));
    for (int64_t i = 0; i < n; i++) sigmas[i] = noise_levels_timestep(abar, steps, sigmas[i]);
    return compare_vector(m, parity_text(p, "%s/sigma_to_t", group), sigmas, n, (Tolerance){.absolute = 1e-3});
}

static Status check_k_runs(const Mixed *m, const char *group)
{
    char **names;
    int count;
    TRY(check_sigmas(m, group));
    TRY(parity_list(m->p, m->file, group, H5LIST_GROUPS, &names, &count));
    for (int i = 0; i < count; i++) TRY(check_k(m, group, parity_text(m->p, "%s/%s", group, names[i])));
    return STATUS_OK;
}

/* --- the file --- */

static Status check_probe(const Mixed *m, const char *group)
{
    Parity *p = m->p;
    float *t, *x, *eps;
    int64_t n;
    TRY(parity_vector(p, m->file, parity_text(p, "%s/t", group), &t, &n));
    const int64_t dims[2] = {n, m->D};
    TRY(parity_f32(p, m->file, parity_text(p, "%s/x", group), 2, dims, &x));
    TRY(parity_f32(p, m->file, parity_text(p, "%s/eps", group), 2, dims, &eps));
    float *found = parity_alloc(p, n * m->D, sizeof *found);
    double *at = parity_alloc(p, 2 * m->D, sizeof *at);
    for (int64_t row = 0; row < n; row++) {
        for (int64_t i = 0; i < m->D; i++) at[i] = x[row * m->D + i];
        mixture_eps(m, at, t[row], at + m->D);
        for (int64_t i = 0; i < m->D; i++) found[row * m->D + i] = (float)at[m->D + i];
    }
    parity_compare(p, parity_text(p, "%s %s/eps", m->file_name, group), found, eps, n * m->D, (Tolerance){.absolute = 1e-5});
    return STATUS_OK;
}

static Status check_schedule(Mixed *m, const char *schedule)
{
    Parity *p = m->p;
    double *abar;
    H5Info info;
    Diffusion whole;
    const char *name = parity_text(p, "%s/alphas_cumprod", schedule);
    TRY(h5file_load_f64(m->file, name, &abar, &info));
    parity_keep(p, abar);
    if (info.size < 2 || info.size > DIFFUSION_MAX_TIMESTEPS) return parity_wrong(m->file, "expected a schedule", name);
    double *betas = parity_alloc(p, info.size, sizeof *betas);
    for (int64_t i = 0; i < info.size; i++) betas[i] = 1 - abar[i] / (i ? abar[i - 1] : 1);
    TRY(diffusion_init_betas(&whole, betas, (int)info.size));
    m->whole = &whole;
    const char *probe = parity_text(p, "%s/probe", schedule), *dpm = parity_text(p, "%s/dpmsolver++", schedule),
               *k = parity_text(p, "%s/k_diffusion", schedule);
    Status s = STATUS_OK;
    if (h5file_has_group(m->file, probe)) s = check_probe(m, probe);
    if (s == STATUS_OK && h5file_has_group(m->file, dpm)) s = check_dpm_runs(m, dpm);
    if (s == STATUS_OK && h5file_has_group(m->file, k)) s = check_k_runs(m, k);
    diffusion_release(&whole);
    return s;
}

static Status load_mixture(Mixed *m)
{
    int64_t d[2], rows[2];
    TRY(parity_shape(m->file, "mixture/means", 2, d));
    TRY(parity_shape(m->file, "x_T", 2, rows));
    m->K = d[0];
    m->D = d[1];
    m->N = rows[0];
    m->W = (m->D + IMAGE_CHANNELS - 1) / IMAGE_CHANNELS;
    TRY(parity_f32(m->p, m->file, "mixture/means", 2, d, &m->means));
    TRY(parity_f32(m->p, m->file, "mixture/stds", 1, d, &m->stds));
    TRY(parity_f32(m->p, m->file, "mixture/weights", 1, d, &m->weights));
    return parity_f32(m->p, m->file, "x_T", 2, (const int64_t[]){m->N, m->D}, &m->x_T);
}

Status parity_solvers(Parity *p, const char *name)
{
    Mixed m = {.p = p, .file_name = name};
    H5File *file;
    char **groups;
    int count;
    TRY(parity_open(p, name, &file));
    m.file = file;
    Status s = load_mixture(&m);
    if (s == STATUS_OK) s = parity_list(p, file, "/", H5LIST_GROUPS, &groups, &count);
    for (int i = 0; s == STATUS_OK && i < count; i++)
        if (h5file_has_dataset(file, parity_text(p, "%s/alphas_cumprod", groups[i]))) s = check_schedule(&m, groups[i]);
    h5file_close(file);
    return s;
}
