#include "base_model/base_model.h"

const TextUNetPreset base_model_presets[] = {
    {"small", "default weights: 64 channels, attention at 16 and 8, 16 M parameters",
     64, 4, {1, 1, 2, 4}, 1, 2, {4, 8}, 32, 48, 192, 4, 6},
    {"tiny", "for trying the trainer out: under 1 M parameters",
     32, 3, {1, 1, 2}, 1, 1, {4}, 32, 32, 64, 1, 2},
    {"medium", "GLIDE's shape at 64 channels: 1,2,3,4, 2 blocks, about 30 M parameters",
     64, 4, {1, 2, 3, 4}, 2, 2, {4, 8}, 32, 32, 256, 4, 4},
    {"glide", "OpenAI's base model, 385 M parameters",
     192, 4, {1, 2, 3, 4}, 3, 3, {2, 4, 8}, 64, 128, 512, 16, 8},
    {0}};

Status base_model_config(const char *name, TextUNetConfig *c)
{
    TRY(text_unet_preset(base_model_presets, name, c));
    c->unet.image_size = BASE_SIDE;
    return STATUS_OK;
}
