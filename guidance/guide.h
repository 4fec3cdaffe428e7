/* Guides: models whose log-probability has a gradient with respect to the picture, which says how x_t should change so that a
 * classifier (mode_classifier.c) or CLIP (mode_clip.c) likes it better.
 *
 *     Guide g;
 *     TRY(guide_classifier(&g, kernels, DTYPE_F32, classifier, labels, N));    or guide_clip(&g, ..., tokens, lengths, N)
 *     TRY(guide_gradient(&g, x_t, H, W, timesteps, gradient, score));          at every step
 *     guide_release(&g);
 *
 * Rows are independent: a row's numbers have the same bits alone, in any batch and on any number of threads. Models get no
 * gradients of their parameters. */
#ifndef GLIDE_GUIDANCE_GUIDE_H
#define GLIDE_GUIDANCE_GUIDE_H

#include "guidance/classifier.h"
#include "guidance/clip.h"
#include "guidance/guidance_mode.h"

enum { GUIDE_BATCH = 4, GUIDE_BATCH_MAX = 256 };

typedef struct Guide {
    Tape *tape;    /* owned */
    int64_t n;     /* pictures */
    int64_t batch; /* rows run at once, which bounds memory: GUIDE_BATCH unless changed, at most GUIDE_BATCH_MAX */
    Diffusion process; /* the one that the guide's noise is of */
    float *timesteps;  /* (n) for guide_at() */
    /* Scores of the rows first, first+1, ... that x holds, and their gradients onto the tape; score (n), or NULL. */
    Status (*pull)(struct Guide *g, Tensor *x, int64_t first, const float *timesteps, float *score);
    const Classifier *classifier; /* borrowed, NULL when it is the other */
    int32_t *labels;              /* (n) */
    const Clip *clip;
    float *text;                  /* (n,n_embd), unit length */
} Guide;

/* Score log p(y|x_t,t) (arXiv 2105.05233, section 4.1). labels (n). The kernels and the model are borrowed; dtype is what the model
 * computes in. STATUS_BAD_INPUT: a label that is no class; *g needs no release then. */
Status guide_classifier(Guide *g, Kernels *kernels, DType dtype, const Classifier *m, const int32_t *labels, int64_t n);

/* Score logit_scale * image embedding . text embedding (arXiv 2112.10741, section 2.3). tokens (n,max_text_len), lengths (n) as
 * clip_text_encode() wants them; the texts are encoded here, once. */
Status guide_clip(Guide *g, Kernels *kernels, DType dtype, const Clip *m, const int32_t *tokens, const int32_t *lengths,
                  int64_t n);
void guide_release(Guide *g); /* a released or zeroed one is fine */

/* x_t, gradient (n,H,W,3) f32; timesteps (n) in steps of the guide's original process; score (n), or NULL. STATUS_BAD_INPUT:
 * pictures of another size than the model's. */
Status guide_gradient(Guide *g, const float *x_t, int64_t H, int64_t W, const float *timesteps, float *gradient, float *score);

/* The same for a step of sampling. A guide that was trained on another process than the model is told the timestep at which its
 * own has as much noise, between two of them where none has. */
Status guide_at(Guide *g, const GuidanceStep *s, float *gradient, float *score);
double guide_timestep(const Guide *g, const NoiseLevel *level);

/* --- for guides --- */
/* schedule, steps: the process that the guide was trained on. *g needs guide_release() afterwards, failed or not. */
Status guide_init(Guide *g, Kernels *kernels, DType dtype, int64_t n, const char *schedule, int steps);

#endif
