/* Parity of sampling: samplers.h5. Every run starts from stored noise and takes the stored noise of each step. */
#include "common/sampler.h"
#include "guidance/guided_denoiser.h"
#include "tests/support_parity.h"
#include "tests/support_parity_solvers.h"
#include "upsampler/upsampler.h"

#include <stdlib.h>
#include <string.h>

/* What a group's runs share: the model and its inputs. Pictures are (N,H,W,C). */
typedef struct Inputs {
    Parity *p;
    const H5File *file;
    const char *file_name, *group;
    TextUNet *m;
    Tape *t;
    int64_t N, H, W, low_H, low_W;
    int32_t *tokens; /* (2N,ctx): captions, then empty ones where there are such */
    uint8_t *mask;
    float *x_T, *noise; /* noise (steps,N,H,W,3); NULL: none stored */
    int64_t noise_steps;
    float *timesteps;   /* (2N) for the model */
    bool has_empty;     /* empty captions are there */
    float *low_res, *inpaint_image, *inpaint_mask; /* NULL: the model takes none */
} Inputs;

/* --- loading --- */

static Status load_captions(Inputs *in)
{
    Parity *p = in->p;
    int64_t n = in->N * in->m->config.text.ctx;
    int32_t *tokens, *empty = NULL;
    uint8_t *mask, *empty_mask = NULL;
    if (!in->m->text) return STATUS_OK;
    TRY(parity_captions(p, in->file, in->group, "", in->m, in->N, &tokens, &mask));
    if (h5file_has_dataset(in->file, parity_text(p, "%s/uncond_tokens", in->group)))
        TRY(parity_captions(p, in->file, in->group, "uncond_", in->m, in->N, &empty, &empty_mask));
    in->tokens = parity_alloc(p, 2 * n, sizeof *in->tokens);
    in->mask = parity_alloc(p, 2 * n, 1);
    memcpy(in->tokens, tokens, (size_t)n * sizeof *tokens);
    memcpy(in->mask, mask, (size_t)n);
    in->has_empty = empty != NULL;
    if (!empty) return STATUS_OK;
    memcpy(in->tokens + n, empty, (size_t)n * sizeof *empty);
    memcpy(in->mask + n, empty_mask, (size_t)n);
    return STATUS_OK;
}

/* x_T, or for an upsampler unit noise times its temperature. */
static Status load_start(Inputs *in)
{
    Parity *p = in->p;
    int64_t d[4];
    double temperature = 1;
    const char *name = parity_text(p, "%s/x_T", in->group);
    if (!h5file_has_dataset(in->file, name)) {
        name = parity_text(p, "%s/unit_noise", in->group);
        TRY(h5file_attr_f64(in->file, in->group, "upsample_temp", &temperature));
    }
    TRY(parity_shape(in->file, name, 4, d));
    if (d[1] != IMAGE_CHANNELS) return parity_wrong(in->file, "expected 3 channels", name);
    in->N = d[0];
    in->H = d[2];
    in->W = d[3];
    TRY(parity_channels_last(p, in->file, name, 4, d, &in->x_T));
    for (int64_t i = 0; i < d[0] * d[1] * d[2] * d[3]; i++) in->x_T[i] *= (float)temperature;
    return STATUS_OK;
}

/* (steps,N,3,H,W) -> (steps,N,H,W,3) */
static Status load_steps(const Inputs *in, const char *name, float **out, int64_t *steps)
{
    int64_t d[5];
    float *stored;
    TRY(parity_shape(in->file, name, 5, d));
    const int64_t dims[5] = {d[0], in->N, IMAGE_CHANNELS, in->H, in->W};
    TRY(parity_f32(in->p, in->file, name, 5, dims, &stored));
    *out = parity_transposed(in->p, stored, d[0] * in->N, IMAGE_CHANNELS, in->H * in->W);
    *steps = d[0];
    return STATUS_OK;
}

static Status load_low_res(Inputs *in)
{
    Parity *p = in->p;
    int64_t d[4];
    float *expected;
    const char *name = parity_text(p, "%s/base_samples", in->group), *rounded = parity_text(p, "%s/low_res", in->group);
    TRY(parity_shape(in->file, name, 4, d));
    if (d[0] != in->N || d[1] != IMAGE_CHANNELS) return parity_wrong(in->file, "unexpected rows or channels", name);
    TRY(parity_channels_last(p, in->file, name, 4, d, &in->low_res));
    in->low_H = d[2];
    in->low_W = d[3];
    int64_t n = d[0] * d[1] * d[2] * d[3];
    upsampler_round_low_res(in->low_res, n);
    if (!h5file_has_dataset(in->file, rounded)) return STATUS_OK;
    TRY(parity_channels_last(p, in->file, rounded, 4, d, &expected));
    parity_compare(p, parity_text(p, "%s %s", in->file_name, rounded), in->low_res, expected, n,
                   (Tolerance){.absolute = 1e-5});
    return STATUS_OK;
}

static Status load_inputs(Inputs *in)
{
    Parity *p = in->p;
    const char *noise = parity_text(p, "%s/noise", in->group);
    TRY(load_start(in));
    in->timesteps = parity_alloc(p, 2 * in->N, sizeof *in->timesteps);
    TRY(load_captions(in));
    if (h5file_has_dataset(in->file, noise)) TRY(load_steps(in, noise, &in->noise, &in->noise_steps));
    if (in->m->config.low_res) TRY(load_low_res(in));
    if (!in->m->config.inpaint) return STATUS_OK;
    const int64_t image[4] = {in->N, IMAGE_CHANNELS, in->H, in->W}, mask[4] = {in->N, 1, in->H, in->W};
    TRY(parity_channels_last(p, in->file, parity_text(p, "%s/inpaint_image", in->group), 4, image, &in->inpaint_image));
    return parity_channels_last(p, in->file, parity_text(p, "%s/inpaint_mask", in->group), 4, mask, &in->inpaint_mask);
}

/* --- one run --- */

typedef struct Run {
    const Inputs *in;
    const char *name;         /* of its group */
    int64_t first, n;         /* rows of the inputs that it uses */
    const SamplerKind *kind;
    bool dpm;                 /* DPM-Solver++, with levels of its own and x_T stored before the steps */
    char *guidance, *schedule;
    double scale, eta;
    int64_t clip;
    Diffusion d;
    ParityGuide *guide;       /* NULL: no guidance by gradients */
} Run;

/* (rows,H,W,C): the run's rows of `data`, repeated. */
static Tensor *repeated(const Run *r, int64_t rows, int64_t H, int64_t W, int64_t C, const float *data)
{
    Tensor *x = tape_tensor(r->in->t, DTYPE_F32, 4, (int64_t[]){rows, H, W, C});
    size_t row = (size_t)(H * W * C) * sizeof *data;
    for (int64_t i = 0; x && i < rows; i++)
        memcpy((char *)x->data + (size_t)i * row, (const char *)data + (size_t)(i % r->n) * row, row);
    return x;
}

static Status run_model(void *ctx, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, float *out)
{
    const Run *r = ctx;
    const Inputs *in = r->in;
    int64_t rows = guidance_rows(asks, r->n), text = r->first * in->m->config.text.ctx;
    for (int64_t i = 0; i < rows; i++) in->timesteps[i] = (float)level->timestep;
    tape_reset(in->t);
    TextUNetInput input = {.x = repeated(r, rows, in->H, in->W, IMAGE_CHANNELS, x_t), .timesteps = in->timesteps};
    if (in->low_res) {
        int64_t pixels = in->low_H * in->low_W;
        const float *low_res = in->low_res + r->first * pixels * IMAGE_CHANNELS;
        input.low_res = repeated(r, rows, in->low_H, in->low_W, IMAGE_CHANNELS, low_res);
    }
    if (in->inpaint_image) {
        int64_t pixels = in->H * in->W;
        const float *image = in->inpaint_image + r->first * pixels * IMAGE_CHANNELS;
        input.inpaint_image = repeated(r, rows, in->H, in->W, IMAGE_CHANNELS, image);
        input.inpaint_mask = repeated(r, rows, in->H, in->W, 1, in->inpaint_mask + r->first * pixels);
    }
    UNetCondition condition = text_unet_encode(in->t, in->m, in->tokens ? in->tokens + text : NULL,
                                               in->mask ? in->mask + text : NULL, NULL, rows, NULL);
    Tensor *y = text_unet_forward(in->t, in->m, &input, &condition, NULL);
    TRY(tape_status(in->t));
    memcpy(out, y->data, tensor_bytes(y));
    return STATUS_OK;
}

/* The notebooks' denoised_fn: what is known is put back into the predicted picture. */
static Status restore_known(void *ctx, const NoiseLevel *level, float *x_0)
{
    const Run *r = ctx;
    const Inputs *in = r->in;
    int64_t first = r->first * in->H * in->W;
    (void)level;
    for (int64_t i = 0; i < r->n * in->H * in->W; i++) {
        float known = in->inpaint_mask[first + i];
        for (int c = 0; c < IMAGE_CHANNELS; c++) {
            float *x = &x_0[i * IMAGE_CHANNELS + c];
            *x = *x * (1 - known) + in->inpaint_image[(first + i) * IMAGE_CHANNELS + c] * known;
        }
    }
    return STATUS_OK;
}

/* Stored from the first step taken, which has the highest timestep. */
static void draw_stored(void *ctx, const NoiseLevel *level, float *noise)
{
    const Run *r = ctx;
    size_t size = (size_t)(r->n * r->in->H * r->in->W) * IMAGE_CHANNELS;
    int64_t taken = r->d.num_timesteps - 1 - level->step;
    if (r->in->noise) memcpy(noise, r->in->noise + (size_t)taken * size, size * sizeof *noise);
    else memset(noise, 0, size * sizeof *noise);
}

typedef struct RunSampler {
    GuidedDenoiser guided;
    Sampler sampler;
} RunSampler;

static Status run_sampler_init(Run *r, RunSampler *s)
{
    const Inputs *in = r->in;
    Guidance g;
    SamplerOptions o;
    guidance_defaults(&g);
    g.last_timestep = r->d.original_timesteps - 1;
    g.terms[GUIDANCE_CFG].scale = r->scale;
    if (r->guide) g.terms[r->guide->mode].scale = r->guide->scale;
    sampler_options_defaults(&o);
    o.kind = r->kind;
    o.eta = r->eta;
    o.clip_denoised = r->clip != 0;
    o.noise = (SamplerNoise){draw_stored, r};
    TRY(guided_denoiser_init(&s->guided, &g, run_model, r, r->n, in->H, in->W));
    if (r->guide) guided_denoiser_guide(&s->guided, r->guide->mode, &r->guide->guide);
    Denoiser denoiser = guided_denoiser(&s->guided);
    if (in->inpaint_mask) {
        denoiser.denoised = restore_known;
        denoiser.denoised_ctx = r;
    }
    return sampler_init(&s->sampler, &o, &r->d, &denoiser, r->n, in->H, in->W);
}

/* Takes all steps, each from where the last one ended or, with `alone`, from the stored x. found, x_0 (steps,N,H,W,3). */
static Status take_steps(Run *r, const float *stored, bool alone, float *found, float *x_0)
{
    RunSampler s = {0};
    int64_t size = r->n * r->in->H * r->in->W * IMAGE_CHANNELS;
    Status status = run_sampler_init(r, &s);
    for (int i = 0; status == STATUS_OK && i < r->d.num_timesteps; i++) {
        const float *from = i == 0 ? r->in->x_T : (alone ? stored : found) + (i - 1) * size;
        memcpy(found + i * size, from, (size_t)size * sizeof *found);
        status = sampler_step(&s.sampler, found + i * size, r->d.num_timesteps - 1 - i);
        if (status == STATUS_OK) memcpy(x_0 + i * size, s.sampler.x_0, (size_t)size * sizeof *x_0);
    }
    sampler_release(&s.sampler);
    guided_denoiser_release(&s.guided);
    return status;
}

/* As the fixtures' README suggests: whole guided runs move further, unclamped ones, DPM-Solver's and DDIM with a classifier
 * furthest. NULL: a single step. */
static Tolerance run_tolerance(const Run *r)
{
    bool far = r && (!r->clip || r->dpm || (!strcmp(r->guidance, "classifier") && !strcmp(r->kind->name, "ddim")));
    double of_both = !r || !strcmp(r->guidance, "none") ? 1e-3 : far ? 1e-2 : 5e-3;
    return (Tolerance){.absolute = of_both, .relative = of_both};
}

/* What the model is told at each step, and x_T before them. */
static Status check_dpm(const Run *r, float **x, int64_t *steps)
{
    const Inputs *in = r->in;
    Parity *p = in->p;
    int64_t n = r->d.num_timesteps, size = in->N * in->H * in->W * IMAGE_CHANNELS;
    float *t_input, *found = parity_alloc(p, n, sizeof *found);
    const char *name = parity_text(p, "%s/t_input", r->name);
    TRY(parity_f32(p, in->file, name, 1, &n, &t_input));
    for (int64_t i = 0; i < n; i++) found[i] = (float)r->d.timesteps[n - 1 - i];
    parity_compare(p, parity_text(p, "%s %s", in->file_name, name), found, t_input, n, (Tolerance){.absolute = 0.1});
    if (*steps != n + 1) return parity_wrong(in->file, "steps are not one fewer than what is stored", r->name);
    parity_compare(p, parity_text(p, "%s %s/x_T", in->file_name, r->name), in->x_T, *x, size, (Tolerance){.absolute = 1e-6});
    *x += size;
    *steps = n;
    return STATUS_OK;
}

static Status check_run(Run *r)
{
    const Inputs *in = r->in;
    Parity *p = in->p;
    float *x, *x_0 = NULL;
    int64_t steps, steps_0;
    const char *x_name = parity_text(p, "%s/x", r->name), *x_0_name = parity_text(p, "%s/pred_xstart", r->name);
    TRY(load_steps(in, x_name, &x, &steps));
    if (r->dpm) TRY(check_dpm(r, &x, &steps));
    if (steps != r->d.num_timesteps) return parity_wrong(in->file, "steps are not as many as the process has", x_name);
    if (in->noise && r->kind->noisy && in->noise_steps != steps)
        return parity_wrong(in->file, "noise of another number of steps", x_name);
    if (!in->noise && (r->eta > 0 || !strcmp(r->kind->name, "ddpm"))) return parity_wrong(in->file, "no noise stored", x_name);
    if (h5file_has_dataset(in->file, x_0_name)) TRY(load_steps(in, x_0_name, &x_0, &steps_0));
    if (x_0 && steps_0 != steps) return parity_wrong(in->file, "not as many steps as x", x_0_name);
    int64_t size = steps * in->N * in->H * in->W * IMAGE_CHANNELS;
    float *found = parity_alloc(p, size, sizeof *found), *found_0 = parity_alloc(p, size, sizeof *found_0);
    for (int alone = 0; alone < 2; alone++) {
        const char *how = alone ? "each step alone" : "whole run";
        const char *item = parity_text(p, "%s %s %s", in->file_name, x_name, how);
        if (take_steps(r, x, alone, found, found_0) != STATUS_OK) {
            parity_broken(p, item);
            continue;
        }
        Tolerance tolerance = alone ? run_tolerance(NULL) : run_tolerance(r);
        parity_compare(p, item, found, x, size, tolerance);
        item = parity_text(p, "%s %s %s", in->file_name, x_0_name, how);
        if (x_0) parity_compare(p, item, found_0, x_0, size, tolerance);
    }
    return STATUS_OK;
}

/* One step towards noise; t is per row, so each row goes alone. */
static Status check_reverse(Run *r)
{
    const Inputs *in = r->in;
    Parity *p = in->p;
    const int64_t dims[4] = {in->N, IMAGE_CHANNELS, in->H, in->W}, size = in->H * in->W * IMAGE_CHANNELS;
    float *x, *x_next, *x_0;
    int32_t *t;
    TRY(parity_channels_last(p, in->file, parity_text(p, "%s/x", r->name), 4, dims, &x));
    TRY(parity_channels_last(p, in->file, parity_text(p, "%s/x_next", r->name), 4, dims, &x_next));
    TRY(parity_channels_last(p, in->file, parity_text(p, "%s/pred_xstart", r->name), 4, dims, &x_0));
    TRY(parity_i32(p, in->file, parity_text(p, "%s/t", r->name), 1, &in->N, &t));
    float *found_0 = parity_alloc(p, in->N * size, sizeof *found_0);
    Status s = STATUS_OK;
    r->n = 1;
    for (r->first = 0; r->first < in->N && s == STATUS_OK; r->first++) {
        RunSampler one = {0};
        if (t[r->first] < 0 || t[r->first] >= r->d.num_timesteps) return parity_wrong(in->file, "t out of range", r->name);
        s = run_sampler_init(r, &one);
        if (s == STATUS_OK) s = sampler_step(&one.sampler, x + r->first * size, t[r->first]);
        if (s == STATUS_OK) memcpy(found_0 + r->first * size, one.sampler.x_0, (size_t)size * sizeof *found_0);
        sampler_release(&one.sampler);
        guided_denoiser_release(&one.guided);
    }
    const char *item = parity_text(p, "%s %s", in->file_name, r->name);
    if (s != STATUS_OK) {
        parity_broken(p, item);
        return STATUS_OK;
    }
    parity_compare(p, parity_text(p, "%s/x_next", item), x, x_next, in->N * size, run_tolerance(NULL));
    parity_compare(p, parity_text(p, "%s/pred_xstart", item), found_0, x_0, in->N * size, run_tolerance(NULL));
    return STATUS_OK;
}

/* --- the runs of a group --- */

static Status text_of(const Inputs *in, const char *run, const char *name, const char *fallback, char **out)
{
    const char *object = h5file_has_attr(in->file, run, name) ? run : in->group;
    TRY(h5file_attr_text_or(in->file, object, name, fallback, out));
    parity_keep(in->p, *out);
    return STATUS_OK;
}

static Status describe_run(Run *r, char **sampler)
{
    const Inputs *in = r->in;
    TRY(text_of(in, r->name, "sampler", "", sampler));
    TRY(text_of(in, r->name, "guidance", "none", &r->guidance));
    TRY(text_of(in, r->name, "noise_schedule", in->m->config.noise_schedule, &r->schedule));
    TRY(h5file_attr_f64_or(in->file, r->name, "eta", 0, &r->eta));
    TRY(h5file_attr_i64_or(in->file, r->name, "clip_denoised", 1, &r->clip));
    TRY(h5file_attr_f64_or(in->file, r->name, "guidance_scale", 1, &r->scale));
    r->dpm = !strcmp(*sampler, "dpmsolver++");
    r->kind = sampler_find(*sampler);
    return STATUS_OK;
}

static bool by_gradient(const Run *r)
{
    return !strcmp(r->guidance, "classifier") || !strcmp(r->guidance, "clip");
}

static Status run_dpm(Run *r, const char *item)
{
    const Inputs *in = r->in;
    Diffusion whole;
    ParityDpm dpm;
    bool known;
    TRY(diffusion_init(&whole, r->schedule, in->m->config.diffusion_steps, ""));
    Status s = parity_dpm_load(in->p, in->file, r->name, &whole, &dpm, &known);
    diffusion_release(&whole);
    TRY(s);
    r->kind = dpm.kind;
    r->d = dpm.d;
    if (known && dpm.ends_count == dpm.steps) s = check_run(r);
    else parity_skip(in->p, item, "another method of DPM-Solver");
    diffusion_release(&r->d);
    return s;
}

static Status run_described(Run *r, const char *item, const char *respacing)
{
    const Inputs *in = r->in;
    if (r->dpm) return run_dpm(r, item);
    if (diffusion_init(&r->d, r->schedule, in->m->config.diffusion_steps, respacing) != STATUS_OK) {
        parity_broken(in->p, item);
        return STATUS_OK;
    }
    Status s = r->kind->ascending ? check_reverse(r) : check_run(r);
    diffusion_release(&r->d);
    return s;
}

static Status run_one(const Inputs *in, const char *name, const char *respacing)
{
    Run r = {.in = in, .name = name, .n = in->N};
    char *sampler;
    const char *item = parity_text(in->p, "%s %s", in->file_name, name);
    TRY(describe_run(&r, &sampler));
    bool built = r.kind || r.dpm;
    if (!built || (strcmp(r.guidance, "none") && strcmp(r.guidance, "cfg") && !by_gradient(&r))) {
        const char *what = built ? r.guidance : sampler;
        parity_skip(in->p, item, parity_text(in->p, "%s %s is not built yet", built ? "guidance" : "sampler", what));
        return STATUS_OK;
    }
    if (!strcmp(r.guidance, "cfg") && in->m->text && !in->has_empty)
        return parity_wrong(in->file, "guidance needs uncond_tokens", name);
    if (!by_gradient(&r)) return run_described(&r, item, respacing);
    ParityGuide guide;
    bool made;
    TRY(parity_guide_load(in->p, in->file, in->group, name, r.guidance, in->N, &guide, &made));
    r.guide = &guide;
    Status s = made ? run_described(&r, item, respacing) : STATUS_OK;
    parity_guide_release(&guide);
    return s;
}

static Status run_all(Inputs *in)
{
    char *respacing, **names;
    int count;
    TRY(load_inputs(in));
    TRY(h5file_attr_text_or(in->file, in->group, "timestep_respacing", "", &respacing));
    parity_keep(in->p, respacing);
    if (h5file_has_attr(in->file, in->group, "sampler")) return run_one(in, in->group, respacing);
    TRY(parity_list(in->p, in->file, in->group, H5LIST_GROUPS, &names, &count));
    for (int i = 0; i < count; i++) {
        const char *name = parity_text(in->p, "%s/%s", in->group, names[i]);
        if (h5file_has_attr(in->file, name, "sampler")) TRY(run_one(in, name, respacing));
    }
    return STATUS_OK;
}

static Status check_group(Parity *p, const H5File *file, const char *file_name, const char *group)
{
    Inputs in = {.p = p, .file = file, .file_name = file_name, .group = group};
    char *config, *checkpoint;
    H5File *about;
    TRY(h5file_attr_text(file, group, "config", &config));
    parity_keep(p, config);
    TRY(h5file_attr_text(file, group, "checkpoint", &checkpoint));
    parity_keep(p, checkpoint);
    TRY(parity_open(p, config, &about));
    Status s = parity_model(p, about, checkpoint, parity_text(p, "%s %s", file_name, group), &in.m);
    h5file_close(about);
    if (s == STATUS_OK) s = tape_new(p->kernels, &in.t);
    if (s == STATUS_OK && in.m) s = run_all(&in);
    tape_free(in.t);
    text_unet_free(in.m);
    return s;
}

Status parity_samplers(Parity *p, const char *name)
{
    H5File *file;
    char **groups;
    int count;
    TRY(parity_open(p, name, &file));
    Status s = parity_list(p, file, "/", H5LIST_GROUPS, &groups, &count);
    for (int i = 0; s == STATUS_OK && i < count; i++)
        if (h5file_has_attr(file, groups[i], "config")) s = check_group(p, file, name, groups[i]);
    h5file_close(file);
    return s;
}
