/* Classifiers from PyTorch state dicts: guided-diffusion's 64x64_classifier.pt, 128x128_, 256x256_ and 512x512_classifier.pt,
 * and those of its trainer.
 *
 *     StateDict *dict;
 *     TRY(state_dict_open("64x64_classifier.pt", NULL, &dict));
 *     ClassifierConfig c;
 *     TRY(classifier_infer(dict, "64x64_classifier.pt", 0, &c));
 *     if (c.unet.head_channels == 0) ...                           what no shape tells
 *     Status status = classifier_import(dict, &c, &model);
 *     state_dict_close(dict); */
#ifndef GLIDE_GUIDANCE_CLASSIFIER_IMPORT_H
#define GLIDE_GUIDANCE_CLASSIFIER_IMPORT_H

#include "common/pt_reader.h"
#include "guidance/classifier.h"

/* Fill `c` with what names and shapes tell; res_blocks: 0, or the number of residual blocks per level when the caller knows
 * it. The rest gets defaults: head_channels 64 when the width is the published models' (128 channels), else 0, which the
 * caller must replace (by -1 and `heads`, where heads were given by number); split_first false; image_size as pooling
 * attention's positions tell, else 64 (no other head depends on it); noise "linear", 1000 steps. `path` is for messages.
 * STATUS_BAD_INPUT: not a classifier (the message names the parameter), or several numbers of residual blocks fit. */
Status classifier_infer(const StateDict *dict, const char *path, int res_blocks, ClassifierConfig *c);

/* A new model of that configuration with the dict's parameters, matched by name and shape. *out is the caller's. */
Status classifier_import(StateDict *dict, const ClassifierConfig *config, Classifier **out);

#endif
