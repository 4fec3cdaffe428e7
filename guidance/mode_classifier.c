/* Guidance by a classifier's gradient: arXiv 2105.05233, section 4: scale * grad log p(y|x_t,t). */
#include "guidance/guide.h"

#include <stdlib.h>

/* Rows first...: log-probabilities into score (may be NULL), gradients onto the tape. */
static Status pull(Guide *g, Tensor *x, int64_t first, const float *timesteps, float *score)
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

static Status copy_labels(Guide *g, const int32_t *labels)
{
    g->labels = malloc((size_t)g->n * sizeof *labels);
    if (!g->labels) return status_fail(STATUS_NO_MEMORY, "out of memory for %lld labels", (long long)g->n);
    for (int64_t i = 0; i < g->n; i++) {
        if (labels[i] < 0 || labels[i] >= classifier_classes(&g->classifier->config))
            return status_fail(STATUS_BAD_INPUT, "class %d: this classifier knows the classes 0 to %d", labels[i],
                               classifier_classes(&g->classifier->config) - 1);
        g->labels[i] = labels[i];
    }
    return STATUS_OK;
}

Status guide_classifier(Guide *g, Kernels *kernels, DType dtype, const Classifier *m, const int32_t *labels, int64_t n)
{
    Status s = guide_init(g, kernels, dtype, n, m->config.noise_schedule, m->config.diffusion_steps);
    g->classifier = m;
    g->pull = pull;
    if (s == STATUS_OK) s = copy_labels(g, labels);
    if (s != STATUS_OK) guide_release(g);
    return s;
}

static Status gradient(void *guide, const GuidanceStep *s, float *out, float *score)
{
    return guide_at(guide, s, out, score);
}

const GuidanceMode *guidance_mode_classifier(void)
{
    static const GuidanceMode mode = {.name = "classifier",
                                      .about = "towards what a noise-aware classifier takes for its class",
                                      .neutral = 0,
                                      .gradient = gradient};
    return &mode;
}
