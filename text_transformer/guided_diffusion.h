/* The U-Nets that guided-diffusion (arXiv 2105.05233) released: noise and maybe a class, or a small picture -> a picture; no text.
 * What a checkpoint's shapes tell and what only the flags in its README do. */
#ifndef GLIDE_TEXT_GUIDED_DIFFUSION_H
#define GLIDE_TEXT_GUIDED_DIFFUSION_H

#include "text_transformer/text_unet.h"

typedef struct GuidedPreset {
    const char *name, *about; /* the file's, without .pt */
    int channels, levels;
    float mult[UNET_MAX_LEVELS];
    int res_blocks, attention_count, attention_ds[UNET_MAX_LEVELS];
    bool low_res;             /* takes a small picture too */
    int num_classes;
    int head_channels, heads; /* head_channels -1: `heads` */
    bool split_first;
    int image_size;
    const char *noise_schedule;
} GuidedPreset;

extern const GuidedPreset guided_presets[]; /* ends with a NULL name */

/* Fill `c` with a released configuration; false: there is none of that name. */
bool guided_config(const char *name, TextUNetConfig *c);

/* `c`, a model without text, has what shapes tell: add heads, split_first, image_size and noise_schedule if it is a released one;
 * else head_channels is 0 and the rest stays as it was. */
void guided_complete(TextUNetConfig *c);

#endif
