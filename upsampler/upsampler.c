#include "upsampler/upsampler.h"

#include <math.h>
#include <string.h>

const TextUNetPreset upsampler_presets[] = {
    {"small", "default weights: 64 channels, 7 M parameters",
     64, 4, {1, 1, 2, 2}, 1, 1, {8}, 32, 48, 128, 2, 4},
    {"tiny", "for trying the trainer out: under 1 M parameters",
     32, 3, {1, 1, 2}, 1, 0, {0}, 32, 32, 64, 1, 2},
    {"glide", "OpenAI's upsampler, 398 M parameters",
     192, 6, {1, 1, 2, 2, 4, 4}, 2, 3, {8, 16, 32}, 64, 128, 512, 16, 8},
    {0}};

Status upsampler_config(const char *name, TextUNetConfig *c)
{
    TRY(text_unet_preset(upsampler_presets, name, c));
    strcpy(c->noise_schedule, "linear");
    c->unet.image_size = UPSAMPLER_SIDE;
    c->low_res = true;
    text_unet_config_complete(c);
    return STATUS_OK;
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

void upsampler_round_low_res(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] = rintf((x[i] + 1) * 127.5f) / 127.5f - 1;
}
