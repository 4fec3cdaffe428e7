/* What may be done to guidance besides adding it: four published changes, each a function on arrays and a file of its own.
 * Rows are pictures; each is treated alone and serially, so its bits depend on nothing else.
 *
 * eps is at channels 0 to 2 of a model's output (N,H,W,6), `pixels` is H*W, pictures and directions are (N,H,W,3). */
#ifndef GLIDE_GUIDANCE_MODIFIERS_H
#define GLIDE_GUIDANCE_MODIFIERS_H

#include "common/diffusion.h"

/* --- rescale: modifier_rescale.c ---
 * Guidance makes predictions larger than any the model was trained to make, and pictures too bright. arXiv 2305.08891,
 * equations 15 and 16: guided * (phi * std(plain) / std(guided) + 1 - phi), std over a row's eps.
 * guided, plain (n,H,W,6); guided is changed in place. */
void guidance_rescale(const float *plain, double phi, int64_t n, int64_t pixels, float *guided);

/* --- thresholding: modifier_threshold.c ---
 * Static thresholding is the clamp to [-1,1] that samplers do. Dynamic thresholding (Imagen, arXiv 2205.11487, section 2.3):
 * s = max(1, the percentile of |x_0| in the row); x_0 = clamp(x_0, -s, s) / s. percentile in (0,1], between two values as
 * torch.quantile does. x_0 (n,H,W,3) in place; `scratch` (H*W*3) per row: (n,H,W,3). */
void guidance_threshold(double percentile, int64_t n, int64_t pixels, float *x_0, float *scratch);

/* --- orthogonal projection: modifier_apg.c ---
 * Adaptive projected guidance (arXiv 2410.02416, algorithm 1) for the difference of two predictions, in terms of x_0:
 *     D = difference + momentum * D of the step before                     (momentum is negative in the paper: -0.5, -0.75)
 *     D = D * min(1, norm / |D|)                                          (the 2-norm over the row; norm 0: as it is)
 *     D = D_orthogonal + eta * D_parallel                                  (with respect to the conditional x_0)
 * The difference of x_0 is that of eps times -sigma/alpha, so both go by the same rules; only the norm minds the factor. */
typedef struct GuidanceApg {
    bool on;
    double eta, norm, momentum; /* defaults 0, 0 (off), 0 (off) */
} GuidanceApg;

/* direction (n,H,W,3): difference in eps, in place; answer (n,H,W,6): the conditional prediction at x_t (n,H,W,3);
 * running (n,H,W,3): D of the step before in terms of x_0, in and out, zeros at first; NULL when momentum is 0. */
void guidance_project(const GuidanceApg *apg, const NoiseLevel *level, const float *x_t, const float *answer, int64_t n,
                      int64_t pixels, float *direction, float *running);

/* --- CFG++: modifier_cfgpp.c ---
 * arXiv 2406.08070, algorithm 2: with scale lambda in [0,1], x_0 follows from the guided eps, but the noise that is put back is
 * the unconditional eps. A sampler that goes on from x + sigma (eps_uncond - eps_guided) = alpha x_0 + sigma eps_uncond does
 * just that, whichever it is. shift (n,H,W,3) = sigma (uncond - guided); both (n,H,W,6). */
void guidance_cfgpp_shift(const NoiseLevel *level, const float *uncond, const float *guided, int64_t n, int64_t pixels,
                          float *shift);

#endif
