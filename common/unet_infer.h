/* What a state dict tells about the encoder of a U-Net (unet_encoder.h). */
#ifndef GLIDE_COMMON_UNET_INFER_H
#define GLIDE_COMMON_UNET_INFER_H

#include "common/state_names.h"
#include "common/unet_encoder.h"

/* u->levels and u->res_blocks are known: fills channels, in_channels, num_classes, mult, attention, scale_shift_norm and
 * resblock_updown (true with one level, where it means nothing). Heads stand in no shape: heads 1, heads_upsample -1,
 * head_channels untouched. STATUS_BAD_INPUT names the parameter that is missing or has an odd shape. */
Status unet_infer_encoder(const StateNames *n, UNetConfig *u);

/* Fill levels and res_blocks from the input blocks alone. Without a decoder a residual block and a downsampling one have the
 * same names; the channels and the places of the attention nearly always tell them apart. res_blocks: 0, or what the caller
 * knows. STATUS_BAD_INPUT: nothing fits, or several numbers fit, which the message lists. */
Status unet_infer_levels(const StateNames *n, int res_blocks, UNetConfig *u);

#endif
