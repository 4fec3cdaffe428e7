#include "glide/stage_model.h"

#include <stdlib.h>
#include <string.h>

/* --- what it is told ---------------------------------------------------------------------------------- */

static Status fill_labels(StageModel *m, const StageInput *in)
{
    int classes = m->model->config.unet.num_classes;
    if (classes == 0) return STATUS_OK;
    m->labels = malloc((size_t)(2 * in->n) * sizeof *m->labels);
    if (!m->labels) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld labels", (long long)in->n);
    for (int64_t i = 0; i < 2 * in->n; i++) {
        int label = in->labels ? in->labels[i % in->n] : -1;
        if (label < 0 || label >= classes)
            return status_fail(STATUS_BAD_INPUT, "class: the model was trained with %d, expected 0 to %d, found %d", classes,
                               classes - 1, label);
        m->labels[i] = label;
    }
    return STATUS_OK;
}

static Status fill_tokens(StageModel *m, const StageInput *in, const char *negative_prompt)
{
    const TextUNet *model = m->model;
    int ctx = model->config.text.ctx;
    if (!model->text) return STATUS_OK;
    if (!model->bpe) return status_fail(STATUS_BAD_INPUT, "the model takes text, but its file holds no tokenizer");
    m->tokens = malloc((size_t)(2 * in->n * ctx) * sizeof *m->tokens);
    m->mask = malloc((size_t)(2 * in->n * ctx));
    if (!m->tokens || !m->mask) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld captions", (long long)in->n);
    for (int64_t i = 0; i < 2 * in->n; i++) {
        const char *prompt = i >= in->n ? negative_prompt : in->prompts ? in->prompts[i] : NULL;
        if (!prompt) prompt = "";
        TRY(bpe_encode_padded(model->bpe, prompt, strlen(prompt), ctx, m->tokens + i * ctx, m->mask + i * ctx));
    }
    return STATUS_OK;
}

Status stage_model_init(StageModel *m, Kernels *kernels, const TextUNet *model, DType precision, const StageInput *in,
                        const char *negative_prompt)
{
    *m = (StageModel){.model = model, .in = in, .n = in->n};
    TRY(tape_new(kernels, &m->tape));
    tape_set_dtype(m->tape, precision);
    m->timesteps = malloc((size_t)(2 * in->n) * sizeof(float));
    if (!m->timesteps) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld pictures", (long long)in->n);
    TRY(fill_labels(m, in));
    return fill_tokens(m, in, negative_prompt);
}

void stage_model_release(StageModel *m)
{
    tape_free(m->tape);
    free(m->labels);
    free(m->tokens);
    free(m->mask);
    free(m->timesteps);
    *m = (StageModel){0};
}

/* --- answers ------------------------------------------------------------------------------------------ */

/* Text features of the rows that `asks` wants; made once, used at every step. */
static const UNetCondition *condition_for(StageModel *m, GuidanceAsks asks)
{
    if (!m->ready[asks]) {
        int64_t first = asks == GUIDANCE_UNCONDITIONAL ? m->n * m->model->config.text.ctx : 0;
        m->conditions[asks] = text_unet_encode(m->tape, m->model, m->tokens ? m->tokens + first : NULL,
                                               m->mask ? m->mask + first : NULL, m->labels, guidance_rows(asks, m->n), NULL);
        text_unet_tell_level(m->tape, m->model, NULL, guidance_rows(asks, m->n), &m->conditions[asks]);
        m->ready[asks] = true;
    }
    return &m->conditions[asks];
}

/* (rows,side,side,channels) with the `n` pictures of `data` over and over. */
static Tensor *repeated_input(StageModel *m, int64_t rows, int64_t side, int64_t channels, const float *data, int64_t n)
{
    Tensor *x = tape_tensor(m->tape, DTYPE_F32, 4, (int64_t[]){rows, side, side, channels});
    size_t bytes = (size_t)(n * side * side * channels) * sizeof *data;
    for (int64_t i = 0; x && i < rows / n; i++) memcpy((char *)x->data + (size_t)i * bytes, data, bytes);
    return x;
}

Status stage_model_run(StageModel *m, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, float *out)
{
    const StageInput *given = m->in;
    int64_t rows = guidance_rows(asks, m->n);
    const UNetCondition *condition = condition_for(m, asks);
    int scope = tape_scope_begin(m->tape);
    for (int64_t i = 0; i < rows; i++) m->timesteps[i] = (float)level->timestep;
    TextUNetInput in = {.x = repeated_input(m, rows, given->side, IMAGE_CHANNELS, x_t, m->n), .timesteps = m->timesteps};
    if (given->low_res) in.low_res = repeated_input(m, rows, given->low_side, IMAGE_CHANNELS, given->low_res, m->n);
    if (given->known && m->model->config.inpaint) {
        in.inpaint_image = repeated_input(m, rows, given->side, IMAGE_CHANNELS, given->known, 1);
        in.inpaint_mask = repeated_input(m, rows, given->side, 1, given->mask, 1);
    }
    Tensor *y = text_unet_forward(m->tape, m->model, &in, condition, NULL);
    TRY(tape_status(m->tape));
    memcpy(out, y->data, tensor_bytes(y));
    tape_scope_end(m->tape, scope, NULL);
    return STATUS_OK;
}
