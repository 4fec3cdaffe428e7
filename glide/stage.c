#include "glide/stage.h"

#include "glide/stage_hooks.h"
#include "glide/stage_model.h"
#include "guidance/guide.h"
#include "guidance/guided_denoiser.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void stage_options_defaults(StageOptions *o)
{
    *o = (StageOptions){.sampler = "ddim", .steps = "50", .eta = NAN, .temperature = 1, .strength = 1, .jump = 10, .repeats = 1,
                        .precision = DTYPE_F32};
    guidance_defaults(&o->guidance);
}

int stage_steps_from(const StageOptions *o, const Diffusion *d)
{
    int steps = 0;
    while (steps < d->num_timesteps && (o->strength >= 1 || d->timesteps[steps] < o->strength * d->original_timesteps)) steps++;
    return steps;
}

/* A batch under way. */
typedef struct Run {
    const StageOptions *options;
    const StageInput *in;
    int64_t first; /* of the call's pictures */
    StageModel model, weaker;
    Guide classifier, clip;
    GuidedDenoiser guided;
    StageHooks hooks;
    Sampler *sampler; /* while it runs */
    Status recorded;  /* how writing the trace, or watching, went, and its message */
    char failure[512];
} Run;

static Status run_models(void *ctx, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, float *out)
{
    Run *r = ctx;
    GuidanceAsks own = asks & GUIDANCE_BOTH, same = asks & GUIDANCE_CONDITIONAL ? GUIDANCE_CONDITIONAL : GUIDANCE_UNCONDITIONAL;
    TRY(stage_model_run(&r->model, x_t, level, own, MODEL_CHANNELS, out));
    if (!(asks & GUIDANCE_WEAKER)) return STATUS_OK;
    return stage_model_run(&r->weaker, x_t, level, same, MODEL_CHANNELS,
                           out + guidance_rows(own, r->in->n) * r->in->side * stage_width(r->in) * MODEL_CHANNELS);
}

static Status run_eps(void *ctx, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, float *eps)
{
    Run *r = ctx;
    return stage_model_run(&r->model, x_t, level, asks, IMAGE_CHANNELS, eps);
}

/* --- setting up --------------------------------------------------------------------------------------- */

static void run_release(Run *r)
{
    stage_model_release(&r->model);
    stage_model_release(&r->weaker);
    guide_release(&r->classifier);
    guide_release(&r->clip);
    guided_denoiser_release(&r->guided);
    stage_hooks_release(&r->hooks);
}

static Status make_clip_guide(Run *r, Kernels *kernels)
{
    const StageGuides *guides = &r->options->guides;
    const StageInput *in = r->in;
    int length = guides->clip->config.max_text_len;
    int32_t *tokens = malloc((size_t)(in->n * (length + 1)) * sizeof *tokens), *lengths = tokens + in->n * length;
    Status s = tokens ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for %lld captions", (long long)in->n);
    for (int64_t i = 0; s == STATUS_OK && i < in->n; i++) {
        const char *prompt = in->prompts && in->prompts[i] ? in->prompts[i] : "";
        s = clip_bpe_encode_padded(guides->clip_bpe, prompt, strlen(prompt), length, tokens + i * length, &lengths[i]);
    }
    if (s == STATUS_OK) s = guide_clip(&r->clip, kernels, r->options->precision, guides->clip, tokens, lengths, in->n);
    free(tokens);
    return s;
}

static Status missing(const char *what, const char *mode)
{
    return status_fail(STATUS_BAD_INPUT, "guidance by %s: expected %s", mode, what);
}

/* What the modes that act need. */
static Status make_guides(Run *r, Kernels *kernels, const Guidance *g)
{
    const StageOptions *o = r->options;
    bool whole = stage_width(r->in) == r->in->side && r->in->side == r->model.model->config.unet.image_size;
    if (!whole && (guidance_acts(g, GUIDANCE_CLASSIFIER) || guidance_acts(g, GUIDANCE_CLIP)))
        return status_fail(STATUS_BAD_INPUT, "guidance by a classifier or CLIP: expected a picture of %dx%d, found %lldx%lld",
                           r->model.model->config.unet.image_size, r->model.model->config.unet.image_size,
                           (long long)stage_width(r->in), (long long)r->in->side);
    if (guidance_acts(g, GUIDANCE_AUTOGUIDANCE)) {
        if (!o->guides.weaker) return missing("a weaker model", "autoguidance");
        TRY(stage_model_init(&r->weaker, kernels, o->guides.weaker, o, r->in));
    }
    if (guidance_acts(g, GUIDANCE_CLASSIFIER)) {
        if (!o->guides.classifier || !r->in->labels) return missing("a classifier and a class", "classifier");
        TRY(guide_classifier(&r->classifier, kernels, o->precision, o->guides.classifier, r->in->labels, r->in->n));
        guided_denoiser_guide(&r->guided, GUIDANCE_CLASSIFIER, &r->classifier);
    }
    if (guidance_acts(g, GUIDANCE_CLIP)) {
        if (!o->guides.clip || !o->guides.clip_bpe) return missing("a CLIP with its tokenizer", "CLIP");
        TRY(make_clip_guide(r, kernels));
        guided_denoiser_guide(&r->guided, GUIDANCE_CLIP, &r->clip);
    }
    return STATUS_OK;
}

static Status run_init(Run *r, Kernels *kernels, const TextUNet *m, const StageOptions *o, const StageInput *in, int64_t first)
{
    Guidance g = o->guidance;
    g.last_timestep = m->config.diffusion_steps - 1;
    *r = (Run){.options = o, .in = in, .first = first};
    TRY(stage_model_init(&r->model, kernels, m, o, in));
    TRY(guided_denoiser_init(&r->guided, &g, run_models, r, in->n, in->side, stage_width(in)));
    guided_denoiser_eps(&r->guided, run_eps);
    TRY(make_guides(r, kernels, &g));
    if (o->trace || o->watch) TRY(guided_denoiser_record(&r->guided));
    return stage_hooks_init(&r->hooks, o, in);
}

/* --- running ------------------------------------------------------------------------------------------ */

static Status tell_watch(Run *r, const StageWatch *w, const SamplerProgress *progress)
{
    int done = progress->done + r->sampler->options.skip;
    if (w->step) TRY(w->step(w->ctx, &r->guided, progress, done));
    for (int i = 0; i < w->save_count; i++)
        if (w->save[i]->done == done) TRY(sampler_save(r->sampler, progress->x, done, w->save[i]));
    return STATUS_OK;
}

/* A failure to write stops the run, as far as the sampler knows. */
static int record_step(void *ctx, const SamplerProgress *progress)
{
    Run *r = ctx;
    const StageOptions *o = r->options;
    TraceRows rows = o->trace_rows;
    rows.first += r->first;
    if (o->trace) r->recorded = trace_step(o->trace, &rows, &r->guided, progress);
    if (o->watch && r->recorded == STATUS_OK) r->recorded = tell_watch(r, o->watch, progress);
    if (r->recorded != STATUS_OK) snprintf(r->failure, sizeof r->failure, "%s", status_message());
    guided_denoiser_next(&r->guided);
    return r->recorded != STATUS_OK || (o->progress && o->progress(o->progress_ctx, progress));
}

static SamplerOptions sampler_options(Run *r, const StageOptions *o, const StageInput *in, const Diffusion *d)
{
    SamplerOptions options;
    sampler_options_defaults(&options);
    options.kind = sampler_find(o->sampler);
    options.eta = o->eta;
    options.rows = in->rows;
    options.stage = o->stage;
    options.skip = in->start ? d->num_timesteps - stage_steps_from(o, d) : 0;
    options.clip_denoised = o->guidance.threshold != GUIDANCE_THRESHOLD_NONE;
    if (o->watch && o->watch->resume) options.skip = o->watch->resume->done;
    bool records = o->trace || o->watch;
    options.progress = records ? record_step : o->progress;
    options.progress_ctx = records ? r : o->progress_ctx;
    return options;
}

/* A model that was trained for masks is told what is known; another one is led to it (RePaint). */
static Status run_sampler(const Run *r, Sampler *s, float *x)
{
    const StageInput *in = r->in;
    const StageWatch *watch = r->options->watch;
    if (watch && watch->resume) sampler_restore(s, watch->resume, x);
    else if (in->start) sampler_start_from(s, in->start, x);
    else sampler_initial_noise(s, r->options->temperature, x);
    if (!in->known || r->model.model->config.inpaint) return sampler_run(s, x);
    return sampler_run_known(s, &(SamplerKnown){in->known, in->mask, r->options->jump, r->options->repeats}, x);
}

static Status sample_batch(Run *r, const Diffusion *d, float *x)
{
    const StageInput *in = r->in;
    SamplerOptions options = sampler_options(r, r->options, in, d);
    Denoiser denoiser = guided_denoiser(&r->guided);
    Sampler s;
    if (!options.kind) return status_fail(STATUS_BAD_INPUT, "no sampler is called %s", r->options->sampler);
    stage_hooks_install(&r->hooks, &denoiser);
    TRY(sampler_init(&s, &options, d, &denoiser, in->n, in->side, stage_width(in)));
    r->sampler = &s;
    Status status = run_sampler(r, &s, x);
    sampler_release(&s);
    return status;
}

static void count_stats(const Run *r, StageStats *stats)
{
    const Tape *tapes[] = {r->model.tape, r->weaker.tape, r->classifier.tape, r->clip.tape};
    for (int i = 0; stats && i < 4; i++) {
        if (!tapes[i]) continue;
        stats->flops += tape_flops(tapes[i]);
        if (tape_peak_bytes(tapes[i]) > stats->peak_bytes) stats->peak_bytes = tape_peak_bytes(tapes[i]);
    }
}

Status stage_sample(Kernels *kernels, const TextUNet *m, const StageOptions *o, const StageInput *in, float *x)
{
    Diffusion d;
    TRY(diffusion_init(&d, m->config.noise_schedule, m->config.diffusion_steps, o->steps));
    Status status = STATUS_OK;
    int64_t most = o->max_rows > 0 ? o->max_rows : in->n;
    for (int64_t first = 0; first < in->n && status == STATUS_OK; first += most) {
        StageInput part = *in;
        part.n = in->n - first < most ? in->n - first : most;
        part.rows = in->rows + first;
        part.prompts = in->prompts ? in->prompts + first : NULL;
        part.labels = in->labels ? in->labels + first : NULL;
        part.low_res = in->low_res ? in->low_res + first * in->low_side * stage_low_width(in) * IMAGE_CHANNELS : NULL;
        Run r;
        status = run_init(&r, kernels, m, o, &part, first);
        if (status == STATUS_OK) status = sample_batch(&r, &d, x + first * in->side * stage_width(in) * IMAGE_CHANNELS);
        if (r.recorded != STATUS_OK) status = status_fail(r.recorded, "%s", r.failure);
        count_stats(&r, o->stats);
        run_release(&r);
    }
    diffusion_release(&d);
    return status;
}
