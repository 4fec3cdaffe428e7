/* GLIDE's noise-aware CLIP from its two PyTorch state dicts, clip_image_enc.pt and clip_text_enc.pt.
 *
 *     StateDict *image, *text;                      state_dict_open() both
 *     ClipConfig c;
 *     TRY(clip_infer(image, "clip_image_enc.pt", text, "clip_text_enc.pt", &c));
 *     if (c.image.heads == 0) ...                   what no shape tells
 *     Status status = clip_import(image, text, &c, &model); */
#ifndef GLIDE_GUIDANCE_CLIP_IMPORT_H
#define GLIDE_GUIDANCE_CLIP_IMPORT_H

#include "common/pt_reader.h"
#include "guidance/clip.h"

/* Fill `c` with what names and shapes tell. The rest gets the published model's values: beta_schedule, logit_scale; heads are
 * 64 wide when the widths are the published ones (768 and 512), else 0, which the caller must replace. Paths are for messages.
 * STATUS_BAD_INPUT: not such encoders, or two that do not belong together; the message names the parameter. */
Status clip_infer(const StateDict *image, const char *image_path, const StateDict *text, const char *text_path, ClipConfig *c);

/* The name that a parameter of a Clip has in the state dict it comes from; *text: which of the two. */
const char *clip_param_name(const Param *param, bool *text);

/* A new model of that configuration with the dicts' parameters, matched by name and shape; an error is about one file and
 * lists what does not fit. *out is the caller's. */
Status clip_import(StateDict *image, StateDict *text, const ClipConfig *config, Clip **out);

/* Fill in what a file in the manner of GLIDE's clip/config.yaml says ("n_head_image: 12", one a line; comments with #).
 * Fields that it does not name keep their values. STATUS_BAD_INPUT: the line, and what is wrong with it. */
Status clip_config_from_yaml(const char *path, ClipConfig *c);

#endif
