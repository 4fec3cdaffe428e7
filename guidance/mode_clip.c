/* Guidance by CLIP's gradient: GLIDE (arXiv 2112.10741), section 2.3, equation 3: scale * grad (f(x_t) . g(c)), both of unit
 * length, with the model's logit scale inside the gradient as in OpenAI's notebook. */
#include "guidance/guide.h"

#include <stdlib.h>
#include <string.h>

/* The similarity's gradient with respect to the image embedding is the text embedding times logit_scale. */
static Status pull(Guide *g, Tensor *x, int64_t first, const float *timesteps, float *score)
{
    Tape *t = g->tape;
    const int64_t rows = x->dims[0], width = g->clip->config.n_embd;
    const float scale = (float)g->clip->config.logit_scale, *text = g->text + first * width;
    Tensor *z = op_unit_length(t, clip_image_encode(t, g->clip, x, timesteps + first, NULL));
    Tensor *slope = tape_tensor(t, DTYPE_F32, 2, (int64_t[]){rows, width});
    TRY(tape_status(t));
    for (int64_t i = 0; i < rows; i++) {
        double sum = 0;
        for (int64_t j = 0; j < width; j++) {
            sum += (double)text[i * width + j] * ((const float *)z->data)[i * width + j];
            ((float *)slope->data)[i * width + j] = scale * text[i * width + j];
        }
        if (score) score[first + i] = (float)(scale * sum);
    }
    return tape_backward(t, z, slope->data);
}

/* One text at a time: they are short, and there is one for each picture at most. */
static Status encode_texts(Guide *g, const int32_t *tokens, const int32_t *lengths)
{
    const ClipConfig *c = &g->clip->config;
    g->text = calloc((size_t)g->n * (size_t)c->n_embd, sizeof *g->text);
    if (!g->text) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld texts", (long long)g->n);
    for (int64_t i = 0; i < g->n; i++) {
        Tensor *z = clip_text_encode(g->tape, g->clip, tokens + i * c->max_text_len, lengths + i, 1, NULL);
        z = op_unit_length(g->tape, z);
        TRY(tape_status(g->tape));
        memcpy(g->text + i * c->n_embd, z->data, tensor_bytes(z));
        tape_reset(g->tape);
    }
    return STATUS_OK;
}

Status guide_clip(Guide *g, Kernels *kernels, DType dtype, const Clip *m, const int32_t *tokens, const int32_t *lengths,
                  int64_t n)
{
    Status s = guide_init(g, kernels, dtype, n, m->config.beta_schedule, m->config.n_timesteps);
    g->clip = m;
    g->pull = pull;
    if (s == STATUS_OK) s = encode_texts(g, tokens, lengths);
    if (s != STATUS_OK) guide_release(g);
    return s;
}

static Status gradient(void *guide, const GuidanceStep *s, float *out, float *score)
{
    return guide_at(guide, s, out, score);
}

const GuidanceMode *guidance_mode_clip(void)
{
    static const GuidanceMode mode = {.name = "clip",
                                      .about = "towards what a noise-aware CLIP finds fitting to the prompt",
                                      .neutral = 0,
                                      .gradient = gradient};
    return &mode;
}
