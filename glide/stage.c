#include "glide/stage.h"

#include "glide/stage_hooks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void stage_options_defaults(StageOptions *o)
{
    *o = (StageOptions){.sampler = "ddim", .steps = "50", .eta = NAN, .temperature = 1, .strength = 1, .jump = 10, .repeats = 1,
                        .precision = DTYPE_F32};
    guidance_defaults(&o->guidance);
}

int stage_steps_from(const StageOptions *o, int steps)
{
    return (int)ceil(o->strength * steps);
}

/* A batch under way: the model with its prompt's features, as guidance asks for it. */
typedef struct Run {
    Tape *tape;
    const TextUNet *model;
    const StageInput *in;
    int64_t n;
    int32_t *labels; /* (2n) of class-conditional models; the same in both halves, as they know no other way */
    int32_t *tokens; /* (2n,ctx): the prompts, then empty captions */
    uint8_t *mask;
    float *timesteps; /* (2n) */
    UNetCondition conditions[3];
    bool ready[3]; /* by GuidanceAsks */
} Run;

/* Text features of the rows that `asks` wants; made once, used at every step. */
static const UNetCondition *condition_for(Run *r, GuidanceAsks asks)
{
    if (!r->ready[asks]) {
        int64_t first = asks == GUIDANCE_UNCONDITIONAL ? r->n * r->model->config.text.ctx : 0;
        r->conditions[asks] = text_unet_encode(r->tape, r->model, r->tokens ? r->tokens + first : NULL,
                                               r->mask ? r->mask + first : NULL, r->labels, guidance_rows(asks, r->n), NULL);
        r->ready[asks] = true;
    }
    return &r->conditions[asks];
}

/* (rows,side,side,channels) with the `n` pictures of `data` over and over. */
static Tensor *repeated_input(Run *r, int64_t rows, int64_t side, int64_t channels, const float *data, int64_t n)
{
    Tensor *x = tape_tensor(r->tape, DTYPE_F32, 4, (int64_t[]){rows, side, side, channels});
    size_t bytes = (size_t)(n * side * side * channels) * sizeof *data;
    for (int64_t i = 0; x && i < rows / n; i++) memcpy((char *)x->data + (size_t)i * bytes, data, bytes);
    return x;
}

static Status run_model(void *ctx, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, float *out)
{
    Run *r = ctx;
    const StageInput *given = r->in;
    int64_t rows = guidance_rows(asks, r->n);
    const UNetCondition *condition = condition_for(r, asks);
    int scope = tape_scope_begin(r->tape);
    for (int64_t i = 0; i < rows; i++) r->timesteps[i] = (float)level->timestep;
    TextUNetInput in = {.x = repeated_input(r, rows, given->side, IMAGE_CHANNELS, x_t, r->n), .timesteps = r->timesteps};
    if (given->low_res) in.low_res = repeated_input(r, rows, given->low_side, IMAGE_CHANNELS, given->low_res, r->n);
    if (given->known && r->model->config.inpaint) {
        in.inpaint_image = repeated_input(r, rows, given->side, IMAGE_CHANNELS, given->known, 1);
        in.inpaint_mask = repeated_input(r, rows, given->side, 1, given->mask, 1);
    }
    Tensor *y = text_unet_forward(r->tape, r->model, &in, condition, NULL);
    TRY(tape_status(r->tape));
    memcpy(out, y->data, tensor_bytes(y));
    tape_scope_end(r->tape, scope, NULL);
    return STATUS_OK;
}

static void run_release(Run *r)
{
    tape_free(r->tape);
    free(r->labels);
    free(r->tokens);
    free(r->mask);
    free(r->timesteps);
}

static Status fill_labels(Run *r, const StageInput *in)
{
    int classes = r->model->config.unet.num_classes;
    if (classes == 0) return STATUS_OK;
    r->labels = malloc((size_t)(2 * in->n) * sizeof *r->labels);
    if (!r->labels) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld labels", (long long)in->n);
    for (int64_t i = 0; i < 2 * in->n; i++) {
        int label = in->labels ? in->labels[i % in->n] : -1;
        if (label < 0 || label >= classes)
            return status_fail(STATUS_BAD_INPUT, "class: the model was trained with %d, expected 0 to %d, found %d", classes,
                               classes - 1, label);
        r->labels[i] = label;
    }
    return STATUS_OK;
}

static Status fill_tokens(Run *r, const StageInput *in)
{
    const TextUNet *m = r->model;
    int ctx = m->config.text.ctx;
    if (!m->text) return STATUS_OK;
    if (!m->bpe) return status_fail(STATUS_BAD_INPUT, "the model takes text, but its file holds no tokenizer");
    r->tokens = malloc((size_t)(2 * in->n * ctx) * sizeof *r->tokens);
    r->mask = malloc((size_t)(2 * in->n * ctx));
    if (!r->tokens || !r->mask) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld captions", (long long)in->n);
    for (int64_t i = 0; i < 2 * in->n; i++) {
        const char *prompt = i < in->n && in->prompts && in->prompts[i] ? in->prompts[i] : "";
        TRY(bpe_encode_padded(m->bpe, prompt, strlen(prompt), ctx, r->tokens + i * ctx, r->mask + i * ctx));
    }
    return STATUS_OK;
}

static Status run_init(Run *r, Kernels *kernels, const TextUNet *m, DType precision, const StageInput *in)
{
    *r = (Run){.model = m, .in = in, .n = in->n};
    TRY(tape_new(kernels, &r->tape));
    tape_set_dtype(r->tape, precision);
    r->timesteps = malloc((size_t)(2 * in->n) * sizeof(float));
    if (!r->timesteps) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld pictures", (long long)in->n);
    TRY(fill_labels(r, in));
    return fill_tokens(r, in);
}

static SamplerOptions sampler_options(const StageOptions *o, const StageInput *in, int steps)
{
    SamplerOptions options;
    sampler_options_defaults(&options);
    options.kind = sampler_find(o->sampler);
    options.eta = o->eta;
    options.rows = in->rows;
    options.stage = o->stage;
    options.skip = in->start ? steps - stage_steps_from(o, steps) : 0;
    options.progress = o->progress;
    options.progress_ctx = o->progress_ctx;
    return options;
}

/* A model that was trained for masks is told what is known; another one is led to it (RePaint). */
static Status run_sampler(const Run *r, const StageOptions *o, Sampler *s, float *x)
{
    const StageInput *in = r->in;
    if (in->start) sampler_start_from(s, in->start, x);
    else sampler_initial_noise(s, o->temperature, x);
    if (!in->known || r->model->config.inpaint) return sampler_run(s, x);
    return sampler_run_known(s, &(SamplerKnown){in->known, in->mask, o->jump, o->repeats}, x);
}

static Status sample_guided(Run *r, const StageOptions *o, const Diffusion *d, const Denoiser *denoiser, float *x)
{
    int64_t side = r->in->side;
    SamplerOptions options = sampler_options(o, r->in, d->num_timesteps);
    Sampler s;
    if (!options.kind) return status_fail(STATUS_BAD_INPUT, "no sampler is called %s", o->sampler);
    TRY(sampler_init(&s, &options, d, denoiser, r->n, side, side));
    Status status = run_sampler(r, o, &s, x);
    sampler_release(&s);
    return status;
}

static Status sample_batch(Run *r, const StageOptions *o, const Diffusion *d, float *x)
{
    GuidedDenoiser guided;
    StageHooks hooks;
    TRY(stage_hooks_init(&hooks, o, r->in));
    Status status = guided_denoiser_init(&guided, &o->guidance, run_model, r, r->n, r->in->side, r->in->side);
    if (status == STATUS_OK) {
        Denoiser denoiser = guided_denoiser(&guided);
        stage_hooks_install(&hooks, &denoiser);
        status = sample_guided(r, o, d, &denoiser, x);
        guided_denoiser_release(&guided);
    }
    stage_hooks_release(&hooks);
    return status;
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
        part.low_res = in->low_res ? in->low_res + first * in->low_side * in->low_side * IMAGE_CHANNELS : NULL;
        Run r;
        status = run_init(&r, kernels, m, o->precision, &part);
        if (status == STATUS_OK)
            status = sample_batch(&r, o, &d, x + first * in->side * in->side * IMAGE_CHANNELS);
        if (o->stats && r.tape) {
            o->stats->flops += tape_flops(r.tape);
            if (tape_peak_bytes(r.tape) > o->stats->peak_bytes) o->stats->peak_bytes = tape_peak_bytes(r.tape);
        }
        run_release(&r);
    }
    diffusion_release(&d);
    return status;
}
