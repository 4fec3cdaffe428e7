/* Noise-aware CLIPs in weights files (common/weights.h), kind "clip": both encoders in one file, their parameters under
 * params/image_enc.NAME and params/text_enc.NAME. */
#ifndef GLIDE_GUIDANCE_CLIP_FILE_H
#define GLIDE_GUIDANCE_CLIP_FILE_H

#include "common/weights.h"
#include "guidance/clip.h"

#define CLIP_KIND "clip"

/* Hyper-parameters under the names of GLIDE's clip/config.yaml, but n_state_image and n_state_text (heads * n_head_state). */
extern const ConfigField clip_fields[];

/* Read a whole model. *hash (may be NULL) is weights_hash(). Errors name the file and what in it is wrong. */
Status clip_load(const char *path, Clip **out, uint64_t *hash);

/* A model as the file describes it, with values of zero. */
Status clip_read_header(const H5File *file, Clip **out);

/* The configuration alone into an open weights file; parameters are the caller's to write. */
Status clip_write_header(H5File *file, const Clip *m);
/* A whole file. kind: H5KIND_F32 or H5KIND_F16. */
Status clip_save(const char *path, const Clip *m, H5Kind kind);

#endif
