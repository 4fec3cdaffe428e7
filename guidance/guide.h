/* Guidance by gradients: how a picture x_t should change so that a classifier or CLIP likes it better.
 *
 *     Guide g;
 *     TRY(guide_classifier(&g, kernels, DTYPE_F32, classifier, labels, N));    or guide_clip(&g, ..., tokens, lengths, N)
 *     TRY(guide_gradient(&g, x_t, H, W, timesteps, gradient, score));          at every step
 *     guide_release(&g);
 *
 * The score of a row and its gradient with respect to that row's picture:
 *   classifier   log p(y|x_t,t) (arXiv 2105.05233, section 4.1)
 *   CLIP         logit_scale * image embedding . text embedding (arXiv 2112.10741, section 2.4)
 * A sampler multiplies the gradient by its guidance scale. Rows are independent: a row's numbers have the same bits alone, in
 * any batch and on any number of threads. Models get no gradients of their parameters. */
#ifndef GLIDE_GUIDANCE_GUIDE_H
#define GLIDE_GUIDANCE_GUIDE_H

#include "guidance/classifier.h"
#include "guidance/clip.h"

enum { GUIDE_BATCH = 4, GUIDE_BATCH_MAX = 256 };

typedef struct Guide {
    Tape *tape;    /* owned */
    int64_t n;     /* pictures */
    int64_t batch; /* rows run at once, which bounds memory: GUIDE_BATCH unless changed, at most GUIDE_BATCH_MAX */
    const Classifier *classifier; /* borrowed, NULL when it is the other */
    int32_t *labels;              /* (n) */
    const Clip *clip;
    float *text;                  /* (n,n_embd), unit length */
} Guide;

/* labels (n). The kernels and the model are borrowed; dtype is what the model computes in. STATUS_BAD_INPUT: a label that is
 * no class; *g needs no release then. */
Status guide_classifier(Guide *g, Kernels *kernels, DType dtype, const Classifier *m, const int32_t *labels, int64_t n);

/* tokens (n,max_text_len), lengths (n) as clip_text_encode() wants them; the texts are encoded here, once. */
Status guide_clip(Guide *g, Kernels *kernels, DType dtype, const Clip *m, const int32_t *tokens, const int32_t *lengths,
                  int64_t n);
void guide_release(Guide *g); /* a released or zeroed one is fine */

/* x_t, gradient (n,H,W,3) f32; timesteps (n) in steps of the original process; score (n), or NULL. STATUS_BAD_INPUT: pictures of
 * another size than the model's. */
Status guide_gradient(Guide *g, const float *x_t, int64_t H, int64_t W, const float *timesteps, float *gradient, float *score);

#endif
