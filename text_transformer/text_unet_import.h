/* Text-conditional U-Nets from PyTorch state dicts: GLIDE's released checkpoints, those of guided-diffusion's trainer, and
 * those of this project's PyTorch mirror (tests/reference/).
 *
 *     StateDict *dict;
 *     TRY(state_dict_open("base.pt", NULL, &dict));
 *     TextUNetConfig c;
 *     TRY(text_unet_infer(dict, "base.pt", &c));
 *     c.unet.head_channels = 64, c.text.heads = 8;      what no shape tells
 *     Status status = text_unet_import(dict, &c, &model);
 *     state_dict_close(dict);
 *
 * A state dict holds names and arrays only. Nearly the whole configuration follows from them; counts of attention heads
 * do not, nor does the order of q, k and v, the size of the pictures, the noise schedule or the dropout. */
#ifndef GLIDE_TEXT_UNET_IMPORT_H
#define GLIDE_TEXT_UNET_IMPORT_H

#include "common/pt_reader.h"
#include "text_transformer/text_unet.h"

/* Fill `c` with what names and shapes tell. The rest gets the published models' values where it is one of them: GLIDE's
 * (192 channels, text 512 wide: head_channels 64, text.heads 8), guided-diffusion's 64x64, 128x128, 256x256, 512x512 and its
 * upsamplers (heads, split_first, image_size, noise_schedule). Otherwise heads are 0, which the caller must replace;
 * image_size 64 and squaredcos_cap_v2, or for an upsampler 256 and linear. `path` is for messages.
 * STATUS_BAD_INPUT: not such a model; the message names the parameter that is missing or has an odd shape. */
Status text_unet_infer(const StateDict *dict, const char *path, TextUNetConfig *c);

/* A new model of that configuration with the dict's parameters, matched by name and shape: missing, unexpected and wrongly
 * shaped ones are one error that lists them. *out is the caller's. */
Status text_unet_import(StateDict *dict, const TextUNetConfig *config, TextUNet **out);

/* The configuration that tests/reference/train_torch.py writes beside its state dict (JSON: image_size, in_channels,
 * channels, mult, blocks, attention (sizes), head_channels, n_vocab, text_ctx, text_width, text_layers, text_heads, dropout,
 * schedule); *steps and *batch (may be NULL) are its training steps and batch size, 0 when not stated.
 * STATUS_BAD_INPUT: the line, or the field and what it should be. */
Status text_unet_config_from_json(const char *path, TextUNetConfig *c, int64_t *steps, int64_t *batch);

#endif
