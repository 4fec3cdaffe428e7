#include "common/sampler.h"

#include "common/noise_levels.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const SamplerKind kinds[] = {
    {.name = "ddpm", .about = "ancestral sampling with the learned variance", .noisy = true, .variance = true, .evaluations = 1,
     .step = sampler_step_ddpm},
    {.name = "ddim", .about = "non-Markovian; eta 0 is deterministic", .noisy = true, .evaluations = 1,
     .step = sampler_step_ddim},
    {.name = "ddim_reverse", .about = "from a picture to the noise that ddim makes it of", .ascending = true, .evaluations = 1,
     .step = sampler_step_ddim_reverse},
    {.name = "euler", .about = "order 1; as ddim without noise", .noisy = true, .evaluations = 1, .step = sampler_step_euler},
    {.name = "euler_ancestral", .alias = "euler_a", .about = "a step of euler, then fresh noise", .noisy = true,
     .evaluations = 1, .eta = 1, .step = sampler_step_euler_ancestral},
    {.name = "heun", .about = "order 2, two evaluations a step", .noisy = true, .evaluations = 2, .extra = -1, .memory = 2,
     .step = sampler_step_heun},
    {.name = "dpmpp_2m", .about = "DPM-Solver++, multistep of order 2", .evaluations = 1, .memory = 1,
     .step = sampler_step_dpmpp_2m},
    {.name = "dpmpp_3m", .about = "DPM-Solver++, multistep from 3 levels as published", .evaluations = 1, .memory = 2,
     .step = sampler_step_dpmpp_3m},
    {.name = "dpmpp_3m_full", .about = "DPM-Solver++, multistep of order 3", .evaluations = 1, .memory = 2,
     .step = sampler_step_dpmpp_3m_full},
    {.name = "dpmpp_2s", .about = "DPM-Solver++, singlestep of order 2 over two levels", .evaluations = 1, .memory = 2,
     .step = sampler_step_dpmpp_2s},
    {.name = "dpmpp_3s", .about = "DPM-Solver++, singlestep of order 3 over three levels", .evaluations = 1, .memory = 2,
     .step = sampler_step_dpmpp_3s},
    {.name = "plms", .about = "pseudo linear multistep, order 2", .evaluations = 1, .extra = 1, .memory = 4,
     .step = sampler_step_plms},
};

const SamplerKind *sampler_kind(int index)
{
    return index >= 0 && (size_t)index < sizeof kinds / sizeof *kinds ? &kinds[index] : NULL;
}

const SamplerKind *sampler_find(const char *name)
{
    for (int i = 0; sampler_kind(i); i++)
        if (!strcmp(name, kinds[i].name) || (kinds[i].alias && !strcmp(name, kinds[i].alias))) return &kinds[i];
    return NULL;
}

bool sampler_adds_noise(const SamplerKind *kind, double eta)
{
    return kind->noisy && (kind->variance || (isnan(eta) ? kind->eta : eta) > 0);
}

int sampler_evaluations(const SamplerKind *kind, int steps)
{
    return steps < 2 ? steps : steps * kind->evaluations + kind->extra;
}

void sampler_options_defaults(SamplerOptions *o)
{
    *o = (SamplerOptions){.kind = &kinds[0], .eta = NAN, .clip_denoised = true, .s_tmax = INFINITY, .s_noise = 1};
}

int64_t sampler_size(const Sampler *s)
{
    return s->n * s->height * s->width * IMAGE_CHANNELS;
}

/* --- setting up --- */

static Status check(const SamplerOptions *o, int steps)
{
    assert(o->kind && o->stage < 4096);
    if (!isnan(o->eta) && !(o->eta >= 0 && o->eta <= 1))
        return status_fail(STATUS_BAD_INPUT, "sampler %s: eta is %g, expected 0 to 1", o->kind->name, o->eta);
    if (o->skip < 0 || o->skip > steps)
        return status_fail(STATUS_BAD_INPUT, "sampler %s: %d steps to skip, expected 0 to %d", o->kind->name, o->skip, steps);
    if (o->eta > 0 && o->kind->ascending)
        return status_fail(STATUS_BAD_INPUT, "sampler %s: eta is %g, expected 0: it is deterministic", o->kind->name,
                           o->eta);
    if (!(o->s_churn >= 0 && isfinite(o->s_churn)) || isnan(o->s_tmin) || isnan(o->s_tmax) || !isfinite(o->s_noise))
        return status_fail(STATUS_BAD_INPUT, "sampler %s: churn %g from %g to %g times %g, expected finite numbers from 0 on",
                           o->kind->name, o->s_churn, o->s_tmin, o->s_tmax, o->s_noise);
    return STATUS_OK;
}

static bool fits(int64_t n, int64_t height, int64_t width)
{
    const int64_t most = INT64_MAX / (MODEL_CHANNELS * (int64_t)sizeof(float));
    return n > 0 && height > 0 && width > 0 && height <= most / width && n <= most / (height * width);
}

Status sampler_init(Sampler *s, const SamplerOptions *o, const Diffusion *d, const Denoiser *denoiser, int64_t n,
                    int64_t height, int64_t width)
{
    memset(s, 0, sizeof *s);
    TRY(check(o, d->num_timesteps));
    if (!fits(n, height, width))
        return status_fail(STATUS_BAD_INPUT, "sampler %s: no %lld pictures of %lld x %lld pixels", o->kind->name,
                           (long long)n, (long long)height, (long long)width);
    *s = (Sampler){.options = *o, .diffusion = d, .denoiser = *denoiser, .n = n, .height = height, .width = width};
    s->options.rows = NULL; /* copied below; the caller's may go */
    if (isnan(o->eta)) s->options.eta = o->kind->eta;
    s->expected = -1;
    size_t bytes = (size_t)sampler_size(s) * sizeof(float);
    bool eps_alone = denoiser->predict_eps && !o->kind->variance;
    if (!eps_alone) s->prediction = malloc(bytes / IMAGE_CHANNELS * MODEL_CHANNELS);
    s->x_0 = malloc(bytes);
    s->draws = o->kind->noisy && (sampler_adds_noise(o->kind, o->eta) || o->s_churn > 0 || o->noise.draw);
    if (s->draws) s->noise = malloc(bytes);
    if (denoiser->gradient) s->grad_memory = malloc(bytes);
    bool remembers = true;
    for (int i = 0; i < o->kind->memory; i++) remembers = (s->memory[i] = malloc(bytes)) != NULL && remembers;
    s->rows = malloc((size_t)n * sizeof *s->rows);
    if (!remembers || (!eps_alone && !s->prediction) || !s->x_0 || (s->draws && !s->noise) ||
        (denoiser->gradient && !s->grad_memory) || !s->rows) {
        sampler_release(s);
        return status_fail(STATUS_NO_MEMORY, "out of memory for sampling %lld pictures of %lld x %lld pixels",
                           (long long)n, (long long)height, (long long)width);
    }
    for (int64_t i = 0; i < n; i++) s->rows[i] = o->rows ? o->rows[i] : (SamplerRow){.seed = 0, .image = (uint32_t)i};
    return STATUS_OK;
}

void sampler_release(Sampler *s)
{
    free(s->prediction);
    free(s->x_0);
    free(s->noise);
    free(s->grad_memory);
    free(s->rows);
    for (int i = 0; i < SAMPLER_MEMORY; i++) free(s->memory[i]);
    memset(s, 0, sizeof *s);
}

/* --- noise --- */

/* Timesteps are below 2^16 and visits below 2^4, so the rest of the key's word tells stages apart. */
void sampler_draw(const Sampler *s, RngStream stream, uint32_t timestep, float *out)
{
    int64_t row_size = sampler_size(s) / s->n;
    for (int64_t row = 0; row < s->n; row++) {
        RngKey key = {.seed = s->rows[row].seed,
                      .stream = stream,
                      .image = s->rows[row].image,
                      .step = s->options.stage << 20 | (uint32_t)s->visit << 16 | timestep};
        rng_normal(&key, out + row * row_size, row_size);
    }
}

uint32_t sampler_noise_key(const Sampler *s)
{
    return (uint32_t)s->diffusion->timestep_map[s->level.step];
}

void sampler_initial_noise(const Sampler *s, float temperature, float *x)
{
    sampler_draw(s, RNG_INIT_NOISE, 0, x);
    if (temperature == 1) return;
    for (int64_t i = 0; i < sampler_size(s); i++) x[i] *= temperature;
}

void sampler_start_from(const Sampler *s, const float *x_start, float *x)
{
    int64_t size = s->height * s->width * IMAGE_CHANNELS;
    int step = s->diffusion->num_timesteps - 1 - s->options.skip;
    NoiseLevel level = step < 0 ? (NoiseLevel){.alpha = 1} : diffusion_level(s->diffusion, step);
    sampler_draw(s, RNG_INIT_NOISE, 0, x);
    for (int64_t i = 0; i < s->n * size; i++) x[i] = (float)(level.alpha * x_start[i % size] + level.sigma * x[i]);
}

void sampler_draw_step(Sampler *s)
{
    if (s->options.noise.draw)
        s->options.noise.draw(s->options.noise.ctx, &s->level, s->noise);
    else
        sampler_draw(s, RNG_STEP_NOISE, sampler_noise_key(s), s->noise);
}

/* --- for solvers --- */

NoiseLevel sampler_next(const Sampler *s)
{
    const Diffusion *d = s->diffusion;
    if (s->level.step > 0) return diffusion_level(d, s->level.step - 1);
    double abar = d->alphas_cumprod_prev[0];
    return (NoiseLevel){.step = -1, .alpha = sqrt(abar), .sigma = sqrt(1 - abar)};
}

void sampler_move(const Sampler *s, const NoiseLevel *to, float *x)
{
    double of_x = to->sigma / s->level.sigma, of_x_0 = to->alpha - s->level.alpha * of_x;
    sampler_mix(s, x, of_x, 1, (const float *const[]){s->x_0}, &of_x_0);
}

void sampler_eps(const Sampler *s, const float *x, float *eps)
{
    sampler_mix(s, eps, 0, 2, (const float *const[]){x, s->x_0},
                (const double[]){1 / s->level.sigma, -s->level.alpha / s->level.sigma});
}

double sampler_lambda(const NoiseLevel *level)
{
    return log(level->alpha / level->sigma);
}

bool sampler_mostly_noise(const Sampler *s)
{
    return sampler_lambda(&s->level) < NOISE_LEVELS_LEAST;
}

float *sampler_remember(Sampler *s)
{
    int last = s->options.kind->memory - 1;
    float *room = s->memory[last];
    for (int i = last; i > 0; i--) {
        s->memory[i] = s->memory[i - 1];
        s->remembered[i] = s->remembered[i - 1];
    }
    s->memory[0] = room;
    s->kept += s->kept <= last;
    s->remembered[0] = sampler_lambda(&s->level);
    return room;
}

void sampler_mix(const Sampler *s, float *x, double of_x, int count, const float *const *pictures, const double *factors)
{
    enum { MOST = SAMPLER_MEMORY };
    assert(count <= MOST);
    int64_t size = sampler_size(s);
    float by[MOST], keep = (float)of_x;
    for (int k = 0; k < count; k++) by[k] = (float)factors[k];
#pragma omp parallel for schedule(static) if (size >= SAMPLER_PARALLEL_FROM)
    for (int64_t i = 0; i < size; i++) {
        float sum = keep == 0 ? 0 : keep * x[i]; /* x may be fresh memory then */
        for (int k = 0; k < count; k++) sum += by[k] * pictures[k][i];
        x[i] = sum;
    }
}

/* --- steps --- */

static void predict_x_0(Sampler *s, const float *x)
{
    const Diffusion *d = s->diffusion;
    int step = s->level.step;
    bool between = s->level.alpha != d->sqrt_alphas_cumprod[step]; /* churned */
    float from_x = (float)(between ? 1 / s->level.alpha : d->sqrt_recip_alphas_cumprod[step]);
    float from_eps = (float)(between ? s->level.sigma / s->level.alpha : d->sqrt_recipm1_alphas_cumprod[step]);
    int64_t pixels = s->n * s->height * s->width, channels = s->prediction ? MODEL_CHANNELS : IMAGE_CHANNELS;
    const float *eps = s->prediction ? s->prediction : s->x_0;
#pragma omp parallel for schedule(static) if (pixels >= SAMPLER_PARALLEL_FROM)
    for (int64_t p = 0; p < pixels; p++)
        for (int c = 0; c < IMAGE_CHANNELS; c++)
            s->x_0[p * IMAGE_CHANNELS + c] = from_x * x[p * IMAGE_CHANNELS + c] - from_eps * eps[p * channels + c];
}

/* NaN stays NaN: a broken model must not look like a black picture. */
static void clamp_x_0(Sampler *s)
{
    int64_t size = sampler_size(s);
#pragma omp parallel for schedule(static) if (size >= SAMPLER_PARALLEL_FROM)
    for (int64_t i = 0; i < size; i++) {
        float x_0 = s->x_0[i];
        s->x_0[i] = x_0 > 1 ? 1 : x_0 < -1 ? -1 : x_0;
    }
}

/* The hook's gradient, or none at this level. */
static Status predict_gradient(Sampler *s, const float *x)
{
    const Denoiser *model = &s->denoiser;
    bool some = model->gradient && (!model->has_gradient || model->has_gradient(model->gradient_ctx, &s->level));
    s->grad = some ? s->grad_memory : NULL;
    return some ? model->gradient(model->gradient_ctx, x, &s->level, s->grad) : STATUS_OK;
}

/* Noise is drawn before the gradient is asked for. */
static Status predict(Sampler *s, float *x, bool noise)
{
    const Denoiser *model = &s->denoiser;
    if (s->prediction) TRY(model->predict(model->predict_ctx, x, &s->level, s->prediction));
    else TRY(model->predict_eps(model->predict_ctx, x, &s->level, s->x_0));
    predict_x_0(s, x);
    if (model->denoised) TRY(model->denoised(model->denoised_ctx, &s->level, s->x_0));
    if (s->options.clip_denoised) clamp_x_0(s);
    if (noise) sampler_draw_step(s);
    TRY(predict_gradient(s, x));
    return model->renoise ? model->renoise(model->renoise_ctx, &s->level, x) : STATUS_OK;
}

Status sampler_predict(Sampler *s, float *x)
{
    return predict(s, x, s->draws);
}

Status sampler_denoise(Sampler *s, float *x)
{
    TRY(predict(s, x, false));
    if (!s->grad) return STATUS_OK;
    double to_grad = s->level.sigma * s->level.sigma / s->level.alpha; /* x_0 = (x - sigma (eps - sigma grad)) / alpha */
    sampler_mix(s, s->x_0, 1, 1, (const float *const[]){s->grad}, &to_grad);
    return STATUS_OK;
}

Status sampler_step(Sampler *s, float *x, int step)
{
    s->level = diffusion_level(s->diffusion, step);
    if (step != s->expected) s->taken = 0;
    Status status = s->options.kind->step(s, x);
    s->level = diffusion_level(s->diffusion, step); /* some look at two levels */
    s->taken = status == STATUS_OK ? s->taken + 1 : 0;
    s->expected = s->options.kind->ascending ? step + 1 : step - 1;
    return status;
}

Status sampler_report(const Sampler *s, int done, int total, const float *x)
{
    SamplerProgress progress = {.done = done,
                                .total = total,
                                .level = s->level,
                                .x = x,
                                .x_0 = s->x_0,
                                .n = s->n,
                                .height = s->height,
                                .width = s->width};
    if (s->options.progress && s->options.progress(s->options.progress_ctx, &progress))
        return status_fail(STATUS_INTERRUPTED, "sampling was stopped after step %d of %d", done, total);
    return STATUS_OK;
}

Status sampler_run(Sampler *s, float *x)
{
    int steps = s->diffusion->num_timesteps, skip = s->options.skip;
    for (int i = skip; i < steps; i++) {
        TRY(sampler_step(s, x, s->options.kind->ascending ? i : steps - 1 - i));
        TRY(sampler_report(s, i + 1 - skip, steps - skip, x));
    }
    return STATUS_OK;
}
