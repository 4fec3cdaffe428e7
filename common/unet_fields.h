/* The fields of a UNetConfig that is member `unet` of a struct S, for a table of config_fields.h, under the names that
 * guided-diffusion's and GLIDE's constructors give them. */
#ifndef GLIDE_COMMON_UNET_FIELDS_H
#define GLIDE_COMMON_UNET_FIELDS_H

#include "common/config_fields.h"
#include "common/unet_encoder.h"

/* What every user of the encoder has; the decoder's num_heads_upsample and num_classes are not among them. */
#define UNET_CONFIG_FIELDS(S, unet)                                                                  \
    CONFIG_FIELD(S, CONFIG_INT, "image_size", unet.image_size),                                      \
    CONFIG_FIELD(S, CONFIG_INT, "in_channels", unet.in_channels),                                    \
    CONFIG_FIELD(S, CONFIG_INT, "out_channels", unet.out_channels),                                  \
    CONFIG_FIELD(S, CONFIG_INT, "num_channels", unet.channels),                                      \
    CONFIG_ARRAY(S, CONFIG_FLOATS, "channel_mult", unet.mult, unet.levels),                          \
    CONFIG_FIELD(S, CONFIG_INT, "num_res_blocks", unet.res_blocks),                                  \
    CONFIG_ARRAY(S, CONFIG_INTS, "attention_ds", unet.attention_ds, unet.attention_count),           \
    CONFIG_FIELD(S, CONFIG_INT, "num_head_channels", unet.head_channels),                            \
    CONFIG_FIELD(S, CONFIG_INT, "num_heads", unet.heads),                                            \
    CONFIG_FIELD(S, CONFIG_BOOL, "use_scale_shift_norm", unet.scale_shift_norm),                     \
    CONFIG_FIELD(S, CONFIG_BOOL, "resblock_updown", unet.resblock_updown),                           \
    CONFIG_FIELD(S, CONFIG_BOOL, "use_new_attention_order", unet.split_first),                       \
    CONFIG_FIELD(S, CONFIG_FLOAT, "dropout", unet.dropout)

#endif
