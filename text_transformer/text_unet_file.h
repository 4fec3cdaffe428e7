/* Text-conditional U-Nets in weights files (common/weights.h): configuration, tokenizer and parameters. */
#ifndef GLIDE_TEXT_UNET_FILE_H
#define GLIDE_TEXT_UNET_FILE_H

#include "common/weights.h"
#include "text_transformer/text_unet.h"

/* Every hyper-parameter under the name GLIDE's create_model or guided-diffusion's constructors give it. */
extern const ConfigField text_unet_fields[];

/* Read a whole model. kind NULL: "base" or "upsampler", whatever it is (tell by config.low_res). *hash (may be NULL) is
 * weights_hash(). Errors name the file and what in it is wrong. */
Status text_unet_load(const char *path, const char *kind, TextUNet **out, uint64_t *hash);
/* The same for a model that will only be read, not trained or written: its large parameters stay in the file, which costs no memory
 * and, where the file is in the system's cache, little time (weights_map()). */
Status text_unet_map(const char *path, const char *kind, TextUNet **out, uint64_t *hash);

/* Configuration and tokenizer alone into an open weights file; parameters are the caller's to write. */
Status text_unet_write_header(H5File *file, const TextUNet *m);
Status text_unet_read_header(const H5File *file, TextUNet **out);

const char *text_unet_kind(const TextUNetConfig *c); /* "base" or "upsampler" */

#endif
