/* Configurations of diffusion models by name: "glide-base", "small-upsampler", "medium-base-inpaint", guided-diffusion's. */
#ifndef GLIDE_MODEL_NAMES_H
#define GLIDE_MODEL_NAMES_H

#include "text_transformer/text_unet.h"

#include <stddef.h>

/* "PRESET-base", "PRESET-upsampler", with "-inpaint" at the end one that also sees the known part of a picture, or a name of
 * guided-diffusion's table. false: no such name. */
bool model_named(const char *name, TextUNetConfig *c);

/* All of them, for messages: "small-base, tiny-base, ..." Returns `text`. */
const char *model_names(char *text, size_t size);

#endif
