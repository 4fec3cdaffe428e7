#include "text_transformer/guided_diffusion.h"

#include <string.h>

const GuidedPreset guided_presets[] = {
    {"64x64_diffusion", "296 M parameters",
     192, 4, {1, 2, 3, 4}, 3, 3, {2, 4, 8}, false, 1000, 64, 1, true, 64, "squaredcos_cap_v2"},
    {"128x128_diffusion", "422 M",
     256, 5, {1, 1, 2, 3, 4}, 2, 3, {4, 8, 16}, false, 1000, -1, 4, false, 128, "linear"},
    {"256x256_diffusion", "554 M",
     256, 6, {1, 1, 2, 2, 4, 4}, 2, 3, {8, 16, 32}, false, 1000, 64, 1, false, 256, "linear"},
    {"256x256_diffusion_uncond", "553 M; LSUN's models are the same",
     256, 6, {1, 1, 2, 2, 4, 4}, 2, 3, {8, 16, 32}, false, 0, 64, 1, false, 256, "linear"},
    {"512x512_diffusion", "559 M",
     256, 7, {0.5f, 1, 1, 2, 2, 4, 4}, 2, 3, {16, 32, 64}, false, 1000, 64, 1, false, 512, "linear"},
    {"64_256_upsampler", "312 M",
     192, 6, {1, 1, 2, 2, 4, 4}, 2, 3, {8, 16, 32}, true, 1000, -1, 4, false, 256, "linear"},
    {"128_512_upsampler", "309 M",
     192, 6, {1, 1, 2, 2, 4, 4}, 2, 2, {16, 32}, true, 1000, 64, 1, false, 512, "linear"},
    {0}};

static void fill_untold(const GuidedPreset *p, TextUNetConfig *c)
{
    c->unet.head_channels = p->head_channels;
    c->unet.heads = p->heads;
    c->unet.split_first = p->split_first;
    c->unet.image_size = p->image_size;
    strcpy(c->noise_schedule, p->noise_schedule);
}

bool guided_config(const char *name, TextUNetConfig *c)
{
    const GuidedPreset *p = guided_presets;
    while (p->name && strcmp(name, p->name)) p++;
    if (!p->name) return false;
    text_unet_config_defaults(c);
    c->text = (TextConfig){0};
    c->low_res = p->low_res;
    c->unet.channels = p->channels;
    c->unet.levels = p->levels;
    memcpy(c->unet.mult, p->mult, sizeof p->mult);
    c->unet.res_blocks = p->res_blocks;
    c->unet.attention_count = p->attention_count;
    memcpy(c->unet.attention_ds, p->attention_ds, sizeof p->attention_ds);
    c->unet.num_classes = p->num_classes;
    fill_untold(p, c);
    text_unet_config_complete(c);
    return true;
}

void guided_complete(TextUNetConfig *c)
{
    const UNetConfig *u = &c->unet;
    c->unet.head_channels = 0;
    for (const GuidedPreset *p = guided_presets; p->name; p++)
        if (u->channels == p->channels && u->levels == p->levels && u->res_blocks == p->res_blocks &&
            u->attention_count == p->attention_count && c->low_res == p->low_res)
            fill_untold(p, c);
}
