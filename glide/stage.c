#include "glide/stage.h"

#include <stdlib.h>
#include <string.h>

void stage_options_defaults(StageOptions *o)
{
    *o = (StageOptions){.sampler = "ddim", .steps = "50", .temperature = 1, .precision = DTYPE_F32};
    guidance_defaults(&o->guidance);
}

/* A batch under way: the model with its prompt's features, as guidance asks for it. */
typedef struct Run {
    Tape *tape;
    const TextUNet *model;
    int64_t n, side;
    const float *low_res;
    int64_t low_side;
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
                                               r->mask ? r->mask + first : NULL, NULL, guidance_rows(asks, r->n), NULL);
        r->ready[asks] = true;
    }
    return &r->conditions[asks];
}

/* (rows,...) with the n rows of `data` repeated. */
static Tensor *repeated_input(Run *r, int64_t rows, int64_t side, const float *data)
{
    Tensor *x = tape_tensor(r->tape, DTYPE_F32, 4, (int64_t[]){rows, side, side, IMAGE_CHANNELS});
    size_t bytes = (size_t)(r->n * side * side * IMAGE_CHANNELS) * sizeof *data;
    for (int64_t i = 0; x && i < rows / r->n; i++) memcpy((char *)x->data + (size_t)i * bytes, data, bytes);
    return x;
}

static Status run_model(void *ctx, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, float *out)
{
    Run *r = ctx;
    int64_t rows = guidance_rows(asks, r->n);
    const UNetCondition *condition = condition_for(r, asks);
    int scope = tape_scope_begin(r->tape);
    for (int64_t i = 0; i < rows; i++) r->timesteps[i] = (float)level->timestep;
    TextUNetInput in = {.x = repeated_input(r, rows, r->side, x_t), .timesteps = r->timesteps};
    if (r->low_res) in.low_res = repeated_input(r, rows, r->low_side, r->low_res);
    Tensor *y = text_unet_forward(r->tape, r->model, &in, condition, NULL);
    TRY(tape_status(r->tape));
    memcpy(out, y->data, tensor_bytes(y));
    tape_scope_end(r->tape, scope, NULL);
    return STATUS_OK;
}

static void run_release(Run *r)
{
    tape_free(r->tape);
    free(r->tokens);
    free(r->mask);
    free(r->timesteps);
}

static Status run_init(Run *r, Kernels *kernels, const TextUNet *m, DType precision, const StageInput *in)
{
    int ctx = m->config.text.ctx;
    *r = (Run){.model = m, .n = in->n, .side = in->side, .low_res = in->low_res, .low_side = in->low_side};
    TRY(tape_new(kernels, &r->tape));
    tape_set_dtype(r->tape, precision);
    r->timesteps = malloc((size_t)(2 * in->n) * sizeof(float));
    if (!r->timesteps) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld pictures", (long long)in->n);
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

static Status sample_batch(Run *r, const StageOptions *o, const Diffusion *d, const SamplerRow *rows, float *x)
{
    GuidedDenoiser guided;
    TRY(guided_denoiser_init(&guided, &o->guidance, run_model, r, r->n, r->side, r->side));
    Denoiser denoiser = guided_denoiser(&guided);
    SamplerOptions options;
    sampler_options_defaults(&options);
    options.kind = sampler_find(o->sampler);
    options.eta = o->eta;
    options.rows = rows;
    options.stage = o->stage;
    options.progress = o->progress;
    options.progress_ctx = o->progress_ctx;
    Sampler s;
    Status status = options.kind ? sampler_init(&s, &options, d, &denoiser, r->n, r->side, r->side)
                                 : status_fail(STATUS_BAD_INPUT, "no sampler is called %s", o->sampler);
    if (status == STATUS_OK) {
        sampler_initial_noise(&s, o->temperature, x);
        status = sampler_run(&s, x);
        sampler_release(&s);
    }
    guided_denoiser_release(&guided);
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
        part.prompts = in->prompts ? in->prompts + first : NULL;
        part.low_res = in->low_res ? in->low_res + first * in->low_side * in->low_side * IMAGE_CHANNELS : NULL;
        Run r;
        status = run_init(&r, kernels, m, o->precision, &part);
        if (status == STATUS_OK)
            status = sample_batch(&r, o, &d, in->rows + first, x + first * in->side * in->side * IMAGE_CHANNELS);
        if (o->stats && r.tape) {
            o->stats->flops += tape_flops(r.tape);
            if (tape_peak_bytes(r.tape) > o->stats->peak_bytes) o->stats->peak_bytes = tape_peak_bytes(r.tape);
        }
        run_release(&r);
    }
    diffusion_release(&d);
    return status;
}
