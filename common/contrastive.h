/* The contrastive loss of CLIP (arXiv 2103.00020, figure 3): among the n texts of a batch each picture is to find its own, and each
 * text its own among the pictures: the mean of the two cross-entropies over similarities times `scale`. A batch may hold several
 * pictures that a text describes as well as its own; those are neither right nor wrong and are left out. */
#ifndef GLIDE_COMMON_CONTRASTIVE_H
#define GLIDE_COMMON_CONTRASTIVE_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct ContrastivePair {
    int32_t subject, style; /* of picture and text */
    bool any_style;         /* the text names no style, so it describes every picture of the subject */
} ContrastivePair;

/* pairs (n); z (n,2,width): embeddings of picture and text, of unit length. *loss: the mean over pairs; *hits: share of pictures to
 * which no text that does not describe them is as similar as their own. d_z (n,2,width): derivatives. STATUS_NO_MEMORY. */
Status contrastive_loss(const ContrastivePair *pairs, const float *z, int64_t n, int64_t width, double scale, double *loss,
                        double *hits, float *d_z);

#endif
