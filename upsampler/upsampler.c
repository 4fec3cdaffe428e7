#include "upsampler/upsampler.h"

#include <stdio.h>
#include <string.h>

typedef struct Entry {
    UpsamplerConfig shown;
    int channels, levels;
    float mult[5];
    int res_blocks, attention_count, attention_ds[4], head_channels;
    TextConfig text;
} Entry;

static const Entry entries[] = {
    {{"small", "default weights: 64 channels, about 5 M parameters"},
     64, 4, {1, 1, 2, 2}, 1, 1, {8}, 32, {.ctx = 48, .width = 128, .layers = 2, .heads = 4}},
    {{"tiny", "for trying the trainer out: under 1 M parameters"},
     32, 3, {1, 1, 2}, 1, 0, {0}, 32, {.ctx = 32, .width = 64, .layers = 1, .heads = 2}},
    {{"glide", "OpenAI's upsampler, 398 M parameters"},
     192, 5, {1, 1, 2, 3, 4}, 2, 3, {8, 16, 32}, 64, {.ctx = 128, .width = 512, .layers = 16, .heads = 8}},
};

enum { COUNT = sizeof entries / sizeof *entries };

const UpsamplerConfig *upsampler_config_at(int index)
{
    return index >= 0 && index < COUNT ? &entries[index].shown : NULL;
}

Status upsampler_config(const char *name, TextUNetConfig *c)
{
    char names[128] = "";
    for (int i = 0; i < COUNT; i++) {
        const Entry *e = &entries[i];
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", e->shown.name);
        if (strcmp(name, e->shown.name) != 0) continue;
        text_unet_config_defaults(c);
        strcpy(c->noise_schedule, "linear");
        c->low_res = true;
        c->unet.image_size = UPSAMPLER_SIDE;
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
    return status_fail(STATUS_BAD_INPUT, "no upsampler configuration is called %s; there are %s", name, names);
}

static int64_t clamp_index(int64_t i, int64_t n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* x += share * (3x3 box mean of x - x), edges repeated. */
static void blur(float *x, int64_t side, float share, float *copy)
{
    memcpy(copy, x, (size_t)(side * side * 3) * sizeof *x);
    for (int64_t i = 0; i < side * side * 3; i++) {
        int64_t row = i / (side * 3), column = i / 3 % side, channel = i % 3;
        float sum = 0;
        for (int64_t dy = -1; dy <= 1; dy++)
            for (int64_t dx = -1; dx <= 1; dx++)
                sum += copy[(clamp_index(row + dy, side) * side + clamp_index(column + dx, side)) * 3 + channel];
        x[i] += share * (sum / 9 - copy[i]);
    }
}

void upsampler_degrade(float *low, int64_t N, int64_t side, uint64_t seed, uint32_t step, uint32_t first_row, float *scratch)
{
    int64_t size = side * side * 3;
    for (int64_t n = 0; n < N; n++) {
        RngKey key = {seed, RNG_AUGMENT, 2 * (first_row + (uint32_t)n), step}, noise = key;
        float *x = low + n * size;
        if (rng_uniform(&key, 0) < 0.5f) blur(x, side, rng_uniform(&key, 1), scratch);
        if (rng_uniform(&key, 2) >= 0.5f) continue;
        float level = 0.12f * rng_uniform(&key, 3);
        noise.image++;
        rng_normal(&noise, scratch, size);
        for (int64_t i = 0; i < size; i++) {
            float value = x[i] + level * scratch[i];
            x[i] = value < -1 ? -1 : value > 1 ? 1 : value;
        }
    }
}
