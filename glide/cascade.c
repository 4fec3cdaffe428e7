#include "glide/cascade.h"

#include "common/respace.h"
#include "upsampler/upsampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void cascade_options_defaults(CascadeOptions *o)
{
    stage_options_defaults(&o->base);
    stage_options_defaults(&o->upsampler);
    o->base.sampler = CASCADE_SAMPLER;
    o->base.steps = CASCADE_STEPS;
    o->base.guidance.terms[GUIDANCE_CFG].scale = CASCADE_GUIDANCE;
    o->upsampler.sampler = CASCADE_UPSAMPLER;
    o->upsampler.steps = CASCADE_UPSAMPLER_STEPS;
    o->upsampler.temperature = (float)CASCADE_UPSAMPLE_TEMP;
    o->upsampler.colour_cells = CASCADE_COLOUR_CELLS;
}

const char *cascade_default_steps(const char *sampler)
{
    const SamplerKind *kind = sampler_find(sampler);
    return kind && !strcmp(kind->name, "ddpm") ? CASCADE_DDPM_STEPS : CASCADE_STEPS;
}

Status cascade_check_model(const TextUNet *m, const char *path)
{
    const TextUNetConfig *c = &m->config;
    int side = c->unet.image_size;
    if (m->text && c->unet.num_classes > 0)
        return status_fail(STATUS_BAD_INPUT, "%s: takes text and classes, expected one of them", path);
    if (m->text && !m->bpe) return status_fail(STATUS_BAD_INPUT, "%s: holds no tokenizer, so it cannot read prompts", path);
    if (c->unet.out_channels != MODEL_CHANNELS)
        return status_fail(STATUS_BAD_INPUT, "%s: a model with %d outputs, expected %d (learned variance)", path,
                           c->unet.out_channels, MODEL_CHANNELS);
    if (side % (1 << (c->unet.levels - 1)) || side > 1024)
        return status_fail(STATUS_BAD_INPUT, "%s: image_size is %d, expected a multiple of %d up to 1024", path, side,
                           1 << (c->unet.levels - 1));
    return STATUS_OK;
}

/* --- a call under way ------------------------------------------------------------------------------- */

typedef struct Run {
    const Cascade *cascade;
    const CascadeOptions *options;
    const CascadeHooks *hooks;
    const CascadeGiven *given;
    const int32_t *labels;
    int64_t n;
    CascadeProgress progress;
    double base_cost, upsampler_cost; /* of a step of one picture, in units of no meaning */
    double done, total;               /* in those units; done: up to the stage in work */
    float *base;  /* (CASCADE_BATCH,side,side,3) */
    float *low;   /* (low_side,low_side,3) */
    float *large; /* (large_side,large_side,3) */
} Run;

static void run_release(Run *r)
{
    free(r->base);
    free(r->low);
    free(r->large);
}

static int64_t low_side(const Cascade *c)
{
    return c->base ? c->base->config.unet.image_size : c->upsampler->config.unet.image_size / UPSAMPLER_FACTOR;
}

static Status alloc_pictures(int64_t n, int64_t side, float **out)
{
    *out = malloc((size_t)(n * side * side * IMAGE_CHANNELS) * sizeof **out);
    return *out ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for pictures of %d pixels a side", (int)side);
}

Status cascade_check_steps(const TextUNet *m, const StageOptions *o, const char *stage, int *steps)
{
    Status s = respacing_count(m->config.diffusion_steps, o->steps, NULL, steps);
    if (s == STATUS_OK && *steps < 2)
        s = status_fail(STATUS_BAD_INPUT, "\"%s\" gives %d steps, expected at least 2", o->steps, *steps);
    if (s == STATUS_OK && !sampler_find(o->sampler)) s = status_fail(STATUS_BAD_INPUT, "no sampler is called %s", o->sampler);
    return s == STATUS_OK ? s : status_prefix(s, "%s", stage);
}

/* How many of them a picture takes, with what is given of it. */
static Status steps_taken(const TextUNet *m, const StageOptions *o, const char *stage, const CascadeGiven *given, int *steps)
{
    TRY(cascade_check_steps(m, o, stage, steps));
    if (!given) return STATUS_OK;
    if (!given->small_mask || o->strength < 1) {
        Diffusion d;
        TRY(diffusion_init(&d, m->config.noise_schedule, m->config.diffusion_steps, o->steps));
        *steps = stage_steps_from(o, &d);
        diffusion_release(&d);
    }
    if (given->small_mask && !m->config.inpaint) *steps *= o->repeats;
    return STATUS_OK;
}

/* Proportional to the multiplications of a step's large convolutions: for progress, so that time left can be told. */
static double step_cost(const TextUNet *m, const StageOptions *o)
{
    const UNetConfig *c = &m->config.unet;
    double cost = 0, side = c->image_size;
    for (int level = 0; level < c->levels; level++, side /= 2) cost += side * side * pow(c->channels * c->mult[level], 2);
    return cost * c->res_blocks * sampler_find(o->sampler)->evaluations * guidance_mean_answers(&o->guidance);
}

static Status run_init(Run *r, const Cascade *c, const CascadeOptions *o, const CascadeHooks *hooks, const CascadeInput *in)
{
    int base_steps = 0, upsampler_steps = 0;
    int64_t n = in->n;
    const CascadeGiven *given = in->given;
    *r = (Run){.cascade = c, .options = o, .hooks = hooks, .given = given, .labels = in->labels, .n = n};
    if (c->base) {
        TRY(steps_taken(c->base, &o->base, "base model", given, &base_steps));
        TRY(alloc_pictures(n < CASCADE_BATCH ? n : CASCADE_BATCH, low_side(c), &r->base));
        r->base_cost = step_cost(c->base, &o->base);
    }
    if (c->upsampler) {
        TRY(steps_taken(c->upsampler, &o->upsampler, "upsampler", given, &upsampler_steps));
        TRY(alloc_pictures(1, low_side(c), &r->low));
        TRY(alloc_pictures(1, c->upsampler->config.unet.image_size, &r->large));
        r->upsampler_cost = step_cost(c->upsampler, &o->upsampler);
    }
    r->total = (double)n * (base_steps * r->base_cost + upsampler_steps * r->upsampler_cost);
    return STATUS_OK;
}

static int show_progress(void *ctx, const SamplerProgress *s)
{
    Run *r = ctx;
    CascadeProgress p = r->progress;
    p.step = s->done;
    p.steps = s->total;
    p.count = s->n;
    p.fraction = (r->done + (double)(s->done * s->n) * (p.upsampling ? r->upsampler_cost : r->base_cost)) / r->total;
    p.side = s->width;
    p.height = s->height;
    p.x_0 = s->x_0;
    return r->hooks->progress(r->hooks->ctx, &p);
}

static void give(const CascadeGiven *given, bool upsampling, double strength, StageInput *in)
{
    if (!given) return;
    const float *picture = upsampling ? given->large : given->small, *mask = upsampling ? given->large_mask : given->small_mask;
    in->start = mask && strength >= 1 ? NULL : picture;
    in->known = mask ? picture : NULL;
    in->mask = mask;
}

static Status run_stage(Run *r, const TextUNet *m, const StageOptions *options, bool upsampling, StageInput *in, float *x)
{
    StageOptions o = *options;
    o.stage = upsampling ? CASCADE_STAGE_UPSAMPLER : CASCADE_STAGE_BASE;
    o.max_rows = 0;
    o.progress = r->hooks->progress ? show_progress : NULL;
    o.progress_ctx = r;
    o.trace_rows = (TraceRows){upsampling ? "upsampler" : "base", r->n, r->progress.first};
    in->side = m->config.unet.image_size;
    give(r->given, upsampling, o.strength, in);
    r->progress.upsampling = upsampling;
    int steps;
    TRY(steps_taken(m, &o, "stage", r->given, &steps));
    TRY(stage_sample(r->cascade->kernels, m, &o, in, x));
    r->done += (double)(steps * in->n) * (upsampling ? r->upsampler_cost : r->base_cost);
    return STATUS_OK;
}

/* *picture becomes its enlargement. */
static Status enlarge(Run *r, const char *prompt, const SamplerRow *row, int64_t index, Image *picture)
{
    const TextUNet *m = r->cascade->upsampler;
    int side = m->config.unet.image_size;
    StageInput in = {.n = 1, .prompts = &prompt, .rows = row, .low_res = r->low, .low_side = low_side(r->cascade)};
    if (r->labels) in.labels = r->labels + index;
    image_to_f32(picture, r->low);
    r->progress.first = index;
    StageOptions o = r->options->upsampler;
    if (m->config.low_res_level && o.noise_level == 0) o.noise_level = CASCADE_NOISE_LEVEL;
    TRY(run_stage(r, m, &o, true, &in, r->large));
    image_release(picture);
    return image_from_f32(r->large, side, side, picture);
}

static Status finish_picture(Run *r, const CascadeInput *in, int64_t index, const float *x)
{
    int side = (int)low_side(r->cascade);
    Image picture = {0};
    Status s = image_from_f32(x, side, side, &picture);
    if (s == STATUS_OK && r->cascade->upsampler) s = enlarge(r, in->prompts[index], &in->rows[index], index, &picture);
    if (s == STATUS_OK) s = r->hooks->finished(r->hooks->ctx, index, &picture);
    image_release(&picture);
    return s;
}

static Status sample_some(Run *r, const CascadeInput *in, int64_t first, int64_t n)
{
    const TextUNet *m = r->cascade->base;
    int64_t size = (int64_t)m->config.unet.image_size * m->config.unet.image_size * IMAGE_CHANNELS;
    StageInput part = {.n = n, .prompts = in->prompts + first, .rows = in->rows + first};
    if (in->labels) part.labels = in->labels + first;
    r->progress.first = first;
    TRY(run_stage(r, m, &r->options->base, false, &part, r->base));
    for (int64_t i = 0; i < n; i++) TRY(finish_picture(r, in, first + i, r->base + i * size));
    return STATUS_OK;
}

Status cascade_sample(const Cascade *c, const CascadeOptions *o, const CascadeInput *in, const CascadeHooks *hooks)
{
    Run r;
    Status s = run_init(&r, c, o, hooks, in);
    for (int64_t first = 0; first < in->n && s == STATUS_OK; first += CASCADE_BATCH)
        s = sample_some(&r, in, first, in->n - first < CASCADE_BATCH ? in->n - first : CASCADE_BATCH);
    run_release(&r);
    return s;
}

Status cascade_upsample(const Cascade *c, const CascadeOptions *o, const Image *small, const char *prompt,
                        const int32_t *label, const SamplerRow *row, const CascadeHooks *hooks)
{
    Run r;
    Image picture = {0};
    const Cascade alone = {c->kernels, NULL, c->upsampler};
    int side = (int)low_side(&alone);
    Status s = run_init(&r, &alone, o, hooks, &(CascadeInput){.n = 1, .labels = label});
    if (s == STATUS_OK) s = image_resize(small, side, side, &picture);
    if (s == STATUS_OK) s = enlarge(&r, prompt, row, 0, &picture);
    if (s == STATUS_OK) s = hooks->finished(hooks->ctx, 0, &picture);
    image_release(&picture);
    run_release(&r);
    return s;
}
