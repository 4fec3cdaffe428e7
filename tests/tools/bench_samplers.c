/* How near samplers come to the picture that the noise stands for, by evaluations of the model:
 *
 *     bench_samplers BASE.h5 [UPSAMPLER.h5 | -] [f32|bf16] [PICTURES] [TEXT] [SAMPLER STEPS]
 *
 * Prints tables in Markdown: how near, in dB of peak signal to noise ratio over PICTURES prompts (default 8), with guidance, to the
 * pictures of a reference on the same noise, which is DDIM in all 1000 steps or what SAMPLER STEPS say; only samplers whose name
 * contains TEXT, or one of several that commas separate. Stochastic samplers have no limit to come near to and are left out. The
 * upsampler's table, of up to 2 pictures, starts from the base model's reference. Takes minutes. */
#include "glide/cascade.h"
#include "text_transformer/text_unet_file.h"
#include "upsampler/upsampler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 16 };

static const char *const prompts[MOST] = {
    "red apple, fluent 3d emoji", "a cat, noto emoji", "house with a garden, twemoji emoji", "yellow flower, fluent 3d emoji",
    "blue car, noto emoji", "smiling face with sunglasses, fluent 3d emoji", "green tree, twemoji emoji", "pizza, noto emoji",
    "a dog, fluent 3d emoji", "rainbow, twemoji emoji", "purple heart, noto emoji", "rocket, fluent 3d emoji",
    "fish, twemoji emoji", "guitar, noto emoji", "clock, fluent 3d emoji", "umbrella, twemoji emoji",
};

static const struct {
    const char *sampler, *spacing; /* spacing: before the number of steps */
    bool both;                     /* for the upsampler too, whose steps cost more */
} entries[] = {
    {"ddim", "", true},           {"ddim", "logsnr", true},      {"euler", "logsnr", false},    {"heun", "", false},
    {"heun", "logsnr", true},     {"heun", "karras", false},     {"dpmpp_2m", "", true},        {"dpmpp_2m", "karras", false},
    {"dpmpp_2m", "logsnr", true}, {"dpmpp_3m", "logsnr", true},  {"dpmpp_3s", "logsnr", false}, {"plms", "", false},
    {"plms", "logsnr", true},
};

typedef struct Bench {
    Kernels *kernels;
    TextUNet *net;
    StageOptions options;
    StageInput in;
    bool upsampler;
    int columns;
    const int *evaluations;
    float *reference, *x; /* (n,side,side,3) */
    const char *only, *reference_sampler, *reference_steps;
} Bench;

static void must(Status s)
{
    if (s == STATUS_OK) return;
    fprintf(stderr, "bench_samplers: %s\n", status_message());
    exit(1);
}

static int64_t size_of(const Bench *b)
{
    return b->in.n * b->in.side * b->in.side * IMAGE_CHANNELS;
}

static void sample(Bench *b, const char *sampler, const char *steps, float *x)
{
    b->options.sampler = sampler;
    b->options.steps = steps;
    must(stage_sample(b->kernels, b->net, &b->options, &b->in, x));
}

/* To the reference, in dB. */
static double nearness(const Bench *b)
{
    double sum = 0;
    for (int64_t i = 0; i < size_of(b); i++) {
        double a = fmax(-1, fmin(1, b->x[i])), c = fmax(-1, fmin(1, b->reference[i]));
        sum += (a - c) * (a - c);
    }
    return 10 * log10(4 / (sum / (double)size_of(b) + 1e-12));
}

/* Does the name contain one of the words of `only`, which commas separate? */
static bool wanted(const char *name, const char *only)
{
    char words[256], *rest = words;
    snprintf(words, sizeof words, "%s", only);
    for (const char *word; (word = strsep(&rest, ","));)
        if (strstr(name, word)) return true;
    return false;
}

/* The most steps that take no more evaluations than these. */
static int steps_within(const SamplerKind *kind, int evaluations)
{
    int steps = evaluations;
    while (sampler_evaluations(kind, steps) > evaluations) steps--;
    return steps;
}

static void table(Bench *b, const char *name)
{
    b->x = malloc((size_t)size_of(b) * sizeof *b->x);
    b->reference = malloc((size_t)size_of(b) * sizeof *b->reference);
    if (!b->x || !b->reference) exit(1);
    sample(b, b->reference_sampler, b->reference_steps, b->reference);
    printf("\n%s, %lld pictures, dB; reference: %s, steps %s\n\n| sampler | steps |", name, (long long)b->in.n,
           b->reference_sampler, b->reference_steps);
    for (int i = 0; i < b->columns; i++) printf(" %d |", b->evaluations[i]);
    printf("\n| --- | --- |");
    for (int i = 0; i < b->columns; i++) printf(" --- |");
    for (size_t e = 0; e < sizeof entries / sizeof *entries; e++) {
        if (!wanted(entries[e].sampler, b->only) || (b->upsampler && !entries[e].both)) continue;
        printf("\n| %s | %sN |", entries[e].sampler, entries[e].spacing);
        for (int i = 0; i < b->columns; i++) {
            char steps[32];
            snprintf(steps, sizeof steps, "%s%d", entries[e].spacing,
                     steps_within(sampler_find(entries[e].sampler), b->evaluations[i]));
            sample(b, entries[e].sampler, steps, b->x);
            printf(" %.1f |", nearness(b));
            fflush(stdout);
        }
    }
    printf("\n");
    free(b->x);
}

int main(int argc, char **argv)
{
    static const int base_columns[] = {5, 8, 10, 15, 20, 27, 50}, upsampler_columns[] = {5, 8, 10, 15, 20, 27};
    SamplerRow rows[MOST];
    Bench base = {.columns = 7, .evaluations = base_columns, .only = argc > 5 ? argv[5] : "",
                  .reference_sampler = argc > 7 ? argv[6] : "ddim", .reference_steps = argc > 7 ? argv[7] : "1000"};
    int n = argc > 4 ? atoi(argv[4]) : 8;
    if (argc < 2 || n < 1 || n > MOST) {
        fprintf(stderr, "usage: bench_samplers BASE.h5 [UPSAMPLER.h5 | -] [f32|bf16] [PICTURES up to %d] [TEXT] [SAMPLER STEPS]\n",
                MOST);
        return 2;
    }
    for (int i = 0; i < n; i++) rows[i] = (SamplerRow){.seed = 100 + (uint64_t)i};
    CascadeOptions o;
    cascade_options_defaults(&o);
    o.base.precision = o.upsampler.precision = argc > 3 && !strcmp(argv[3], "bf16") ? DTYPE_BF16 : DTYPE_F32;
    must(kernels_new(KERNELS_BEST, &base.kernels));
    must(text_unet_load(argv[1], "base", &base.net, NULL));
    base.options = o.base;
    base.in = (StageInput){.n = n, .side = base.net->config.unet.image_size, .prompts = prompts, .rows = rows};
    table(&base, "base model");
    if (argc > 2 && strcmp(argv[2], "-")) {
        Bench up = base;
        up.upsampler = true;
        up.columns = 6;
        up.evaluations = upsampler_columns;
        must(text_unet_load(argv[2], "upsampler", &up.net, NULL));
        for (int64_t i = 0; i < size_of(&base); i++) base.reference[i] = (float)fmax(-1, fmin(1, base.reference[i]));
        upsampler_round_low_res(base.reference, size_of(&base));
        up.options = o.upsampler;
        up.options.stage = CASCADE_STAGE_UPSAMPLER;
        up.options.max_rows = 1;
        up.in = (StageInput){.n = n < 2 ? n : 2, .side = up.net->config.unet.image_size, .prompts = prompts, .rows = rows,
                             .low_res = base.reference, .low_side = base.in.side};
        table(&up, "upsampler");
        text_unet_free(up.net);
        free(up.reference);
    }
    free(base.reference);
    text_unet_free(base.net);
    kernels_free(base.kernels);
    return 0;
}
