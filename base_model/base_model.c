#include "base_model/base_model.h"

#include <stdio.h>
#include <string.h>

typedef struct Entry {
    BaseModelConfig shown;
    int channels, levels;
    float mult[4];
    int res_blocks, attention_count, attention_ds[4], head_channels;
    TextConfig text;
} Entry;

static const Entry entries[] = {
    {{"small", "default weights: 64 channels, attention at 16 and 8, about 13 M parameters"},
     64, 4, {1, 1, 2, 4}, 1, 2, {4, 8}, 32, {.ctx = 48, .width = 192, .layers = 4, .heads = 6}},
    {{"tiny", "for trying the trainer out: under 1 M parameters"},
     32, 3, {1, 1, 2}, 1, 1, {4}, 32, {.ctx = 32, .width = 64, .layers = 1, .heads = 2}},
    {{"medium", "GLIDE's shape at 64 channels: 1,2,3,4, 2 blocks, about 30 M parameters"},
     64, 4, {1, 2, 3, 4}, 2, 2, {4, 8}, 32, {.ctx = 48, .width = 256, .layers = 4, .heads = 4}},
    {{"glide", "OpenAI's base model, 385 M parameters"},
     192, 4, {1, 2, 3, 4}, 3, 3, {2, 4, 8}, 64, {.ctx = 128, .width = 512, .layers = 16, .heads = 8}},
};

enum { COUNT = sizeof entries / sizeof *entries };

const BaseModelConfig *base_model_config_at(int index)
{
    return index >= 0 && index < COUNT ? &entries[index].shown : NULL;
}

Status base_model_config(const char *name, TextUNetConfig *c)
{
    char names[128] = "";
    for (int i = 0; i < COUNT; i++) {
        const Entry *e = &entries[i];
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", e->shown.name);
        if (strcmp(name, e->shown.name) != 0) continue;
        text_unet_config_defaults(c);
        c->unet.image_size = BASE_SIDE;
        c->unet.channels = e->channels;
        c->unet.levels = e->levels;
        memcpy(c->unet.mult, e->mult, sizeof e->mult);
        c->unet.res_blocks = e->res_blocks;
        c->unet.attention_count = e->attention_count;
        memcpy(c->unet.attention_ds, e->attention_ds, sizeof e->attention_ds);
        c->unet.head_channels = e->head_channels;
        c->text = e->text;
        c->text.final_ln = c->text.padding = true;
        c->text.n_vocab = 50257;
        text_unet_config_complete(c);
        return STATUS_OK;
    }
    return status_fail(STATUS_BAD_INPUT, "no base model configuration is called %s; there are %s", name, names);
}
