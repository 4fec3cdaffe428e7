#include "guidance/clip.h"

#include "common/diffusion.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void clip_config_defaults(ClipConfig *c)
{
    *c = (ClipConfig){.n_embd = 512, .image_size = 64, .patch_size = 4, .image = {768, 12, 12}, .text = {512, 8, 12},
                      .n_vocab = 65536, .max_text_len = 77, .n_timesteps = 1000, .beta_schedule = "squaredcos_cap_v2",
                      .logit_scale = 100};
}

/* --- construction ------------------------------------------------------------------------------- */

static Status check_range(const char *field, int value, int low, int high)
{
    if (value >= low && value <= high) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: expected %d to %d, found %d", field, low, high, value);
}

static Status check_stack(const ClipStack *s, const char *width, const char *heads, const char *layers)
{
    TRY(check_range(width, s->width, 1, 1 << 16));
    TRY(check_range(layers, s->layers, 1, 1024));
    if (s->heads >= 1 && s->width % s->heads == 0) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: %d does not divide the width of %d", heads, s->heads, s->width);
}

static Status check_config(const ClipConfig *c)
{
    TRY(check_range("n_embd", c->n_embd, 1, 1 << 16));
    TRY(check_range("image_size", c->image_size, 1, 4096));
    TRY(check_range("patch_size", c->patch_size, 1, c->image_size));
    TRY(check_range("n_vocab", c->n_vocab, 1, 1 << 24));
    TRY(check_range("max_text_len", c->max_text_len, 2, 1 << 16)); /* a start and an end */
    TRY(check_range("n_timesteps", c->n_timesteps, 2, DIFFUSION_MAX_TIMESTEPS));
    TRY(diffusion_check(c->beta_schedule, c->n_timesteps));
    TRY(check_stack(&c->image, "n_state_image", "n_head_image", "n_xf_blocks_image"));
    TRY(check_stack(&c->text, "n_state_text", "n_head_text", "n_xf_blocks_text"));
    if (c->image_size % c->patch_size || c->image_size / c->patch_size > 256)
        return status_fail(STATUS_BAD_INPUT, "patch_size: %d does not cut %d pixels into up to 256 parts", c->patch_size,
                           c->image_size);
    if (!(c->logit_scale > 0 && c->logit_scale <= 1e6))
        return status_fail(STATUS_BAD_INPUT, "logit_scale: expected a number above 0, found %g", c->logit_scale);
    return STATUS_OK;
}

/* (x + 1) * 127.5 in the units of CLIP's own training data: minus their mean, by their deviation. */
static void make_units(Clip *m)
{
    static const double mean[3] = {122.77093945, 116.74601272, 104.09373519}, std[3] = {68.50053285, 66.63215831, 70.32316309};
    for (int c = 0; c < IMAGE_CHANNELS; c++) {
        m->pixel_scale[c] = (float)(127.5 / std[c]);
        m->pixel_shift[c] = (float)((127.5 - mean[c]) / std[c]);
    }
}

static Status make_image(Clip *m)
{
    const ClipConfig *c = &m->config;
    const int64_t W = c->image.width, side = c->image_size / c->patch_size, p = c->patch_size;
    float std = 1 / sqrtf((float)W);
    make_units(m);
    m->time_embedding = params_add(&m->params, INIT_NORMAL, std, 2, (int64_t[]){c->n_timesteps, W},
                                   CLIP_IMAGE_PREFIX "blocks.input.w_t");
    m->patches.weight = params_add(&m->params, INIT_NORMAL, sqrtf(2) * std / (float)p, 4, (int64_t[]){W, IMAGE_CHANNELS, p, p},
                            CLIP_IMAGE_PREFIX "blocks.input.patch_proj");
    m->image_positions = params_add(&m->params, INIT_NORMAL, std, 2, (int64_t[]){1 + side * side, W},
                                    CLIP_IMAGE_PREFIX "blocks.input.w_pos");
    m->image_norm = clip_norm_make(&m->params, W, CLIP_IMAGE_PREFIX, "input");
    return clip_layers_make(&m->params, &c->image, c->n_embd, CLIP_IMAGE_PREFIX, &m->image);
}

static Status make_text(Clip *m)
{
    const ClipConfig *c = &m->config;
    const int64_t W = c->text.width;
    m->tokens = params_add(&m->params, INIT_NORMAL, 0.02f, 2, (int64_t[]){c->n_vocab, W}, CLIP_TEXT_PREFIX "blocks.input.w_voc");
    m->text_positions = params_add(&m->params, INIT_NORMAL, 0.01f, 2, (int64_t[]){c->max_text_len, W},
                                   CLIP_TEXT_PREFIX "blocks.input.w_pos");
    return clip_layers_make(&m->params, &c->text, c->n_embd, CLIP_TEXT_PREFIX, &m->text);
}

static Status new_model(const ClipConfig *config, bool shapes_only, Clip **out)
{
    *out = NULL;
    TRY(check_config(config));
    Clip *m = calloc(1, sizeof *m);
    if (!m) return status_fail(STATUS_NO_MEMORY, "out of memory for CLIP");
    m->config = *config;
    params_init(&m->params);
    m->params.shapes_only = shapes_only;
    Status s = make_image(m);
    if (s == STATUS_OK) s = make_text(m);
    if (s != STATUS_OK) {
        clip_free(m);
        return s;
    }
    *out = m;
    return STATUS_OK;
}

Status clip_new(const ClipConfig *config, Clip **out)
{
    return new_model(config, false, out);
}

Status clip_new_shapes(const ClipConfig *config, Clip **out)
{
    return new_model(config, true, out);
}

void clip_free(Clip *m)
{
    if (!m) return;
    clip_layers_release(&m->image);
    clip_layers_release(&m->text);
    params_release(&m->params);
    free(m);
}

/* --- forward ------------------------------------------------------------------------------------- */

static void trace_block(const ClipTrace *trace, const char *name, int i, const Tensor *x)
{
    char text[32];
    if (!trace || !x) return;
    if (i < 0) snprintf(text, sizeof text, "%s", name);
    else snprintf(text, sizeof text, "%s_%d", name, i);
    trace->block(trace->ctx, text, x);
}

/* The blocks one after the other; x is let go of. */
static Tensor *run_blocks(Tape *t, const ClipLayers *l, Tensor *x, bool causal, const ClipTrace *trace)
{
    trace_block(trace, "input", -1, x);
    for (int i = 0; i < l->stack.layers; i++) {
        Tensor *below = x;
        x = clip_block_forward(t, l, i, x, causal);
        tape_release(t, below);
        trace_block(trace, "block", i, x);
    }
    return x;
}

/* (N,width): the embedding of each row's timestep. */
static Tensor *embed_time(Tape *t, const Clip *m, const float *timesteps, int64_t N)
{
    Tensor *rows = NULL;
    int32_t *steps = malloc((size_t)N * sizeof *steps);
    if (!steps) tape_fail(t, STATUS_NO_MEMORY, "out of memory for %lld timesteps", (long long)N);
    for (int64_t i = 0; steps && i < N; i++) {
        float step = rintf(timesteps[i]);
        if (!(step >= 0 && step < (float)m->config.n_timesteps))
            tape_fail(t, STATUS_BAD_INPUT, "CLIP knows the timesteps 0 to %d, asked for %g", m->config.n_timesteps - 1,
                      (double)timesteps[i]);
        steps[i] = tape_failed(t) ? 0 : (int32_t)step;
    }
    if (steps) rows = op_embedding(t, steps, N, m->time_embedding);
    free(steps);
    return rows;
}

/* x (N,H,W,3) -> (N,T,3*patch*patch) */
static Tensor *cut_patches(Tape *t, const Clip *m, Tensor *x)
{
    Tensor *units = op_affine_channels(t, x, m->pixel_scale, m->pixel_shift);
    return op_cast(t, op_patches(t, units, m->config.patch_size), tape_dtype(t));
}

Tensor *clip_image_encode(Tape *t, const Clip *m, Tensor *x, const float *timesteps, const ClipTrace *trace)
{
    if (tape_failed(t)) return NULL;
    const int64_t N = x->dims[0], W = m->config.image.width, side = m->config.image_size;
    if (x->ndim != 4 || x->dims[1] != side || x->dims[2] != side || x->dims[3] != IMAGE_CHANNELS) {
        char found[96];
        tape_fail(t, STATUS_BAD_INPUT, "this CLIP reads pictures of %lld x %lld pixels, found %s", (long long)side,
                  (long long)side, tensor_describe(x, found, sizeof found));
        return NULL;
    }
    int scope = tape_scope_begin(t);
    Tensor *h = op_linear(t, cut_patches(t, m, x), &m->patches, NULL);
    Tensor *time = op_reshape(t, embed_time(t, m, timesteps, N), 3, (int64_t[]){N, 1, W});
    h = op_add_positions(t, op_join_positions(t, time, h), m->image_positions, false);
    h = run_blocks(t, &m->image, op_layer_norm(t, h, &m->image_norm), false, trace);
    return tape_scope_end(t, scope, clip_output_forward(t, &m->image, op_take_position(t, h, 0)));
}

/* Answers (N): the last position that counts. */
static bool last_positions(Tape *t, const Clip *m, const int32_t *lengths, int64_t N, int32_t *last)
{
    for (int64_t i = 0; i < N; i++) {
        if (lengths[i] < 1 || lengths[i] > m->config.max_text_len) {
            tape_fail(t, STATUS_BAD_INPUT, "CLIP reads texts of 1 to %d tokens, found %d", m->config.max_text_len, lengths[i]);
            return false;
        }
        last[i] = lengths[i] - 1;
    }
    return true;
}

Tensor *clip_text_encode(Tape *t, const Clip *m, const int32_t *tokens, const int32_t *lengths, int64_t N,
                         const ClipTrace *trace)
{
    if (tape_failed(t)) return NULL;
    int32_t *last = malloc((size_t)N * sizeof *last);
    if (!last) tape_fail(t, STATUS_NO_MEMORY, "out of memory for %lld texts", (long long)N);
    if (!last || !last_positions(t, m, lengths, N, last)) {
        free(last);
        return NULL;
    }
    int scope = tape_scope_begin(t);
    Tensor *h = op_text_embedding(t, tokens, NULL, N, m->config.max_text_len, m->tokens, m->text_positions, NULL);
    h = op_take_positions(t, run_blocks(t, &m->text, h, true, trace), last);
    free(last);
    return tape_scope_end(t, scope, clip_output_forward(t, &m->text, h));
}
