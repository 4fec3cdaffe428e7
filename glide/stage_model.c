#include "glide/stage_model.h"

#include "upsampler/degrade.h"

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

/* The picture to enlarge with noise, which the model is told of; the rows' noise is their own. */
static Status fill_low_res(StageModel *m, const StageInput *in, double level)
{
    if (level == 0 || !in->low_res) return STATUS_OK;
    if (!m->model->config.low_res_level)
        return status_fail(STATUS_BAD_INPUT, "noise level: the upsampler is not told how noisy its input is, expected 0, found %g",
                           level);
    int64_t size = in->low_side * stage_low_width(in) * IMAGE_CHANNELS;
    m->low_res = malloc((size_t)(in->n * size) * sizeof(float));
    if (!m->low_res) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld pictures", (long long)in->n);
    memcpy(m->low_res, in->low_res, (size_t)(in->n * size) * sizeof(float));
    for (int64_t i = 0; i < 2 * in->n; i++) m->levels[i] = (float)level;
    for (int64_t i = 0; i < in->n; i++) {
        RngKey key = {.seed = in->rows[i].seed, .stream = RNG_LOW_RES_NOISE, .image = in->rows[i].image};
        TRY(degrade_add_noise(m->low_res + i * size, size, (float)level, &key));
    }
    return STATUS_OK;
}

static Status make_tiles(StageModel *m, const StageOptions *o, const StageInput *in)
{
    int64_t width = stage_width(in);
    if (o->tile == 0 || (in->side <= o->tile && width <= o->tile)) return STATUS_OK;
    m->tiled = true;
    return tiles_init(&m->tiles, in->side, width, o->tile, o->overlap);
}

Status stage_model_init(StageModel *m, Kernels *kernels, const TextUNet *model, const StageOptions *o, const StageInput *in)
{
    *m = (StageModel){.model = model, .in = in, .n = in->n};
    TRY(tape_new(kernels, &m->tape));
    tape_set_dtype(m->tape, o->precision);
    /* The upsampler's rounding is not seen in its pictures, and its largest layers would take a twentieth longer: see SPEED.md. */
    tape_set_wide(m->tape, !model->config.low_res);
    tape_set_profile(m->tape, o->profile);
    m->timesteps = malloc((size_t)(2 * in->n) * sizeof(float));
    m->levels = calloc((size_t)(2 * in->n), sizeof(float));
    if (!m->timesteps || !m->levels) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld pictures", (long long)in->n);
    TRY(fill_labels(m, in));
    TRY(fill_low_res(m, in, o->noise_level));
    TRY(make_tiles(m, o, in));
    return fill_tokens(m, in, o->negative_prompt);
}

void stage_model_release(StageModel *m)
{
    tape_free(m->tape);
    free(m->labels);
    free(m->tokens);
    free(m->mask);
    free(m->timesteps);
    free(m->levels);
    free(m->low_res);
    tiles_release(&m->tiles);
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
        text_unet_tell_level(m->tape, m->model, m->levels, guidance_rows(asks, m->n), &m->conditions[asks]);
        m->ready[asks] = true;
    }
    return &m->conditions[asks];
}

/* What the model is shown at once. */
typedef struct Part {
    const Tiles *tiles; /* NULL: all of the pictures, else window k */
    int64_t k, height, width, low_height, low_width;
} Part;

/* (m->n,height,width,channels): the part of the `n` pictures of `data`, over and over; `small`: of the pictures to enlarge. */
static Tensor *part_of(StageModel *m, const Part *part, bool small, int channels, const float *data, int64_t n)
{
    int64_t h = small ? part->low_height : part->height, w = small ? part->low_width : part->width;
    Tensor *x = tape_tensor(m->tape, DTYPE_F32, 4, (int64_t[]){m->n, h, w, channels});
    int64_t size = n * h * w * channels;
    for (int64_t i = 0; x && i < m->n / n; i++) {
        float *to = (float *)x->data + i * size;
        if (part->tiles) tiles_cut(part->tiles, part->k, small ? part->height / part->low_height : 1, data, n, channels, to);
        else memcpy(to, data, (size_t)size * sizeof *data);
    }
    return x;
}

/* What the model says of a part, (condition->N,height,width,6), of the current scope: a pair is of the same picture twice. */
static Tensor *answer(StageModel *m, const Part *part, const float *x_t, const UNetCondition *condition)
{
    const StageInput *given = m->in;
    TextUNetInput in = {.x = part_of(m, part, false, IMAGE_CHANNELS, x_t, m->n), .timesteps = m->timesteps};
    if (given->low_res)
        in.low_res = part_of(m, part, true, IMAGE_CHANNELS, m->low_res ? m->low_res : given->low_res, m->n);
    if (given->known && m->model->config.inpaint) {
        in.inpaint_image = part_of(m, part, false, IMAGE_CHANNELS, given->known, 1);
        in.inpaint_mask = part_of(m, part, false, 1, given->mask, 1);
    }
    return text_unet_forward(m->tape, m->model, &in, condition, NULL);
}

/* out (rows,height,width,channels): the first channels of a whole picture's answer y. */
static void take_channels(const Tensor *y, int channels, float *out)
{
    for (int64_t p = 0; p < tensor_rows(y); p++)
        memcpy(out + p * channels, (const float *)y->data + p * MODEL_CHANNELS, (size_t)channels * sizeof *out);
}

Status stage_model_run(StageModel *m, const float *x_t, const NoiseLevel *level, GuidanceAsks asks, int channels, float *out)
{
    int64_t rows = guidance_rows(asks, m->n), height = m->in->side, width = stage_width(m->in);
    const UNetCondition *condition = condition_for(m, asks);
    Part part = {NULL, 0, height, width, m->in->low_side, stage_low_width(m->in)};
    for (int64_t i = 0; i < rows; i++) m->timesteps[i] = (float)level->timestep;
    if (m->tiled) {
        int64_t shrink = m->in->low_side ? height / m->in->low_side : 1;
        part = (Part){&m->tiles, 0, m->tiles.y.tile, m->tiles.x.tile, m->tiles.y.tile / shrink, m->tiles.x.tile / shrink};
        memset(out, 0, (size_t)(rows * height * width * channels) * sizeof *out);
    }
    for (; part.k < (m->tiled ? tiles_count(&m->tiles) : 1); part.k++) {
        int scope = tape_scope_begin(m->tape);
        tape_block(m->tape, "inputs", -1);
        tape_op(m->tape, "copies");
        Tensor *y = answer(m, &part, x_t, condition);
        TRY(tape_status(m->tape));
        if (m->tiled) tiles_blend(&m->tiles, part.k, y->data, rows, MODEL_CHANNELS, channels, out);
        else take_channels(y, channels, out);
        tape_scope_end(m->tape, scope, NULL);
    }
    tape_block(m->tape, "sampler", -1);
    tape_op(m->tape, "guidance and sampler");
    return STATUS_OK;
}
