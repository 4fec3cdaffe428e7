/* The base model: a caption -> 64x64 pixels. Its named configurations; everything else it shares with the upsampler
 * (text_transformer/text_unet.h). */
#ifndef GLIDE_BASE_MODEL_H
#define GLIDE_BASE_MODEL_H

#include "text_transformer/text_unet.h"

enum { BASE_SIDE = 64 };

extern const TextUNetPreset base_model_presets[]; /* ends with a NULL name */

/* Fill `c` with a named configuration; STATUS_BAD_INPUT lists the names there are. n_vocab is the tokenizer's to say. */
Status base_model_config(const char *name, TextUNetConfig *c);

#endif
