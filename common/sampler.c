#include "common/sampler.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const SamplerKind kinds[] = {
    {.name = "ddpm", .about = "ancestral sampling with the learned variance", .noisy = true, .step = sampler_step_ddpm},
    {.name = "ddim", .about = "non-Markovian; eta 0 is deterministic", .noisy = true, .step = sampler_step_ddim},
    {.name = "ddim_reverse",
     .about = "from a picture to the noise that ddim makes it of",
     .ascending = true,
     .step = sampler_step_ddim_reverse},
};

const SamplerKind *sampler_kind(int index)
{
    return index >= 0 && (size_t)index < sizeof kinds / sizeof *kinds ? &kinds[index] : NULL;
}

const SamplerKind *sampler_find(const char *name)
{
    for (int i = 0; sampler_kind(i); i++)
        if (!strcmp(name, kinds[i].name)) return &kinds[i];
    return NULL;
}

void sampler_options_defaults(SamplerOptions *o)
{
    *o = (SamplerOptions){.kind = &kinds[0], .clip_denoised = true};
}

int64_t sampler_size(const Sampler *s)
{
    return s->n * s->height * s->width * IMAGE_CHANNELS;
}

/* --- setting up --- */

static Status check(const SamplerOptions *o, int steps)
{
    assert(o->kind && o->stage < 4096);
    if (!(o->eta >= 0 && o->eta <= 1))
        return status_fail(STATUS_BAD_INPUT, "sampler %s: eta is %g, expected 0 to 1", o->kind->name, o->eta);
    if (o->skip < 0 || o->skip > steps)
        return status_fail(STATUS_BAD_INPUT, "sampler %s: %d steps to skip, expected 0 to %d", o->kind->name, o->skip, steps);
    if (o->eta > 0 && o->kind->ascending)
        return status_fail(STATUS_BAD_INPUT, "sampler %s: eta is %g, expected 0: it is deterministic", o->kind->name,
                           o->eta);
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
    size_t bytes = (size_t)sampler_size(s) * sizeof(float);
    s->prediction = malloc(bytes / IMAGE_CHANNELS * MODEL_CHANNELS);
    s->x_0 = malloc(bytes);
    if (o->kind->noisy) s->noise = malloc(bytes);
    if (denoiser->gradient) s->grad_memory = malloc(bytes);
    s->rows = malloc((size_t)n * sizeof *s->rows);
    if (!s->prediction || !s->x_0 || (o->kind->noisy && !s->noise) || (denoiser->gradient && !s->grad_memory) || !s->rows) {
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

static void draw_step_noise(Sampler *s)
{
    if (!s->noise) return;
    if (s->options.noise.draw)
        s->options.noise.draw(s->options.noise.ctx, &s->level, s->noise);
    else
        sampler_draw(s, RNG_STEP_NOISE, (uint32_t)s->level.timestep, s->noise);
}

/* --- steps --- */

static void predict_x_0(Sampler *s, const float *x)
{
    float from_x = (float)s->diffusion->sqrt_recip_alphas_cumprod[s->level.step];
    float from_eps = (float)s->diffusion->sqrt_recipm1_alphas_cumprod[s->level.step];
    int64_t pixels = s->n * s->height * s->width;
#pragma omp parallel for schedule(static) if (pixels >= SAMPLER_PARALLEL_FROM)
    for (int64_t p = 0; p < pixels; p++)
        for (int c = 0; c < IMAGE_CHANNELS; c++)
            s->x_0[p * IMAGE_CHANNELS + c] =
                from_x * x[p * IMAGE_CHANNELS + c] - from_eps * s->prediction[p * MODEL_CHANNELS + c];
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

Status sampler_predict(Sampler *s, float *x)
{
    const Denoiser *model = &s->denoiser;
    TRY(model->predict(model->predict_ctx, x, &s->level, s->prediction));
    predict_x_0(s, x);
    if (model->denoised) TRY(model->denoised(model->denoised_ctx, &s->level, s->x_0));
    if (s->options.clip_denoised) clamp_x_0(s);
    draw_step_noise(s);
    TRY(predict_gradient(s, x));
    return model->renoise ? model->renoise(model->renoise_ctx, &s->level, x) : STATUS_OK;
}

Status sampler_step(Sampler *s, float *x, int step)
{
    s->level = diffusion_level(s->diffusion, step);
    return s->options.kind->step(s, x);
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
