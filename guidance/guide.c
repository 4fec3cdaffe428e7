#include "guidance/guide.h"

#include "common/diffusion.h"

#include <stdlib.h>
#include <string.h>

static Status guide_init(Guide *g, Kernels *kernels, DType dtype, int64_t n)
{
    *g = (Guide){.n = n, .batch = GUIDE_BATCH};
    if (n < 1) return status_fail(STATUS_BAD_INPUT, "guidance: no pictures");
    TRY(tape_new(kernels, &g->tape));
    tape_set_dtype(g->tape, dtype);
    return STATUS_OK;
}

void guide_release(Guide *g)
{
    tape_free(g->tape);
    free(g->labels);
    free(g->text);
    memset(g, 0, sizeof *g);
}

static Status copy_labels(Guide *g, const int32_t *labels)
{
    g->labels = malloc((size_t)g->n * sizeof *labels);
    if (!g->labels) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld labels", (long long)g->n);
    for (int64_t i = 0; i < g->n; i++) {
        if (labels[i] < 0 || labels[i] >= g->classifier->config.unet.out_channels)
            return status_fail(STATUS_BAD_INPUT, "class %d: this classifier knows the classes 0 to %d", labels[i],
                               g->classifier->config.unet.out_channels - 1);
        g->labels[i] = labels[i];
    }
    return STATUS_OK;
}

Status guide_classifier(Guide *g, Kernels *kernels, DType dtype, const Classifier *m, const int32_t *labels, int64_t n)
{
    Status s = guide_init(g, kernels, dtype, n);
    g->classifier = m;
    if (s == STATUS_OK) s = copy_labels(g, labels);
    if (s != STATUS_OK) guide_release(g);
    return s;
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
    Status s = guide_init(g, kernels, dtype, n);
    g->clip = m;
    if (s == STATUS_OK) s = encode_texts(g, tokens, lengths);
    if (s != STATUS_OK) guide_release(g);
    return s;
}

/* --- gradients --- */

/* Rows first...: log-probabilities into score (may be NULL), gradients onto the tape. */
static Status pull_classifier(Guide *g, Tensor *x, int64_t first, const float *timesteps, float *score)
{
    Tape *t = g->tape;
    const int64_t rows = x->dims[0];
    float minus_one[GUIDE_BATCH_MAX];
    Tensor *loss = op_cross_entropy(t, classifier_forward(t, g->classifier, x, timesteps + first, NULL), g->labels + first);
    TRY(tape_status(t));
    for (int64_t i = 0; i < rows; i++) {
        minus_one[i] = -1; /* the loss is -log p */
        if (score) score[first + i] = -((const float *)loss->data)[i];
    }
    return tape_backward(t, loss, minus_one);
}

/* The similarity's gradient with respect to the image embedding is the text embedding times logit_scale. */
static Status pull_clip(Guide *g, Tensor *x, int64_t first, const float *timesteps, float *score)
{
    Tape *t = g->tape;
    const int64_t rows = x->dims[0], width = g->clip->config.n_embd;
    const float scale = (float)g->clip->config.logit_scale, *text = g->text + first * width;
    Tensor *z = op_unit_length(t, clip_image_encode(t, g->clip, x, timesteps + first, NULL));
    Tensor *pull = tape_tensor(t, DTYPE_F32, 2, (int64_t[]){rows, width});
    TRY(tape_status(t));
    for (int64_t i = 0; i < rows; i++) {
        double sum = 0;
        for (int64_t j = 0; j < width; j++) {
            sum += (double)text[i * width + j] * ((const float *)z->data)[i * width + j];
            ((float *)pull->data)[i * width + j] = scale * text[i * width + j];
        }
        if (score) score[first + i] = (float)(scale * sum);
    }
    return tape_backward(t, z, pull->data);
}

static Status pull_rows(Guide *g, const float *x_t, const int64_t dims[4], int64_t first, const float *timesteps,
                        float *gradient, float *score)
{
    const int64_t row = dims[1] * dims[2] * dims[3];
    tape_record(g->tape, true);
    Tensor *x = tape_input(g->tape, DTYPE_F32, 4, dims, x_t + first * row);
    TRY(tape_status(g->tape));
    x->needs_grad = true;
    if (g->classifier) TRY(pull_classifier(g, x, first, timesteps, score));
    else TRY(pull_clip(g, x, first, timesteps, score));
    if (!x->grad) return status_fail(STATUS_INTERNAL, "guidance: no gradient reached the picture");
    memcpy(gradient + first * row, x->grad->data, tensor_bytes(x));
    return STATUS_OK;
}

Status guide_gradient(Guide *g, const float *x_t, int64_t H, int64_t W, const float *timesteps, float *gradient, float *score)
{
    int64_t batch = g->batch < 1 ? 1 : g->batch > GUIDE_BATCH_MAX ? GUIDE_BATCH_MAX : g->batch;
    Status s = STATUS_OK;
    for (int64_t first = 0; first < g->n && s == STATUS_OK; first += batch) {
        int64_t rows = g->n - first < batch ? g->n - first : batch;
        s = pull_rows(g, x_t, (int64_t[]){rows, H, W, IMAGE_CHANNELS}, first, timesteps, gradient, score);
        tape_record(g->tape, false);
        tape_reset(g->tape);
    }
    return s;
}
