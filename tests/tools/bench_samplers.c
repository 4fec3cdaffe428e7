/* How near samplers come to the picture that the noise stands for, by evaluations of the model:
 *
 *     bench_samplers BASE.h5 [UPSAMPLER.h5 | -] [f32|bf16] [PICTURES] [TEXT]     only samplers whose name contains TEXT
 *
 * Prints tables in Markdown: root mean square distance, in [-1,1] scale, to what the probability flow gives from the same
 * noise, as a solver of order 2 finds it in many steps, over PICTURES prompts (default 8), with guidance. The upsampler's
 * table starts from the base model's pictures. Takes minutes. */
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
    {"ddim", "", true},         {"ddim", "logsnr", true},     {"euler_ancestral", "", false}, {"heun", "", true},
    {"heun", "karras", false},  {"dpmpp_2m", "", true},       {"dpmpp_2m", "karras", false},  {"dpmpp_2m", "logsnr", true},
    {"dpmpp_3m", "", true},     {"dpmpp_3m", "logsnr", true}, {"dpmpp_3m_full", "", false},   {"dpmpp_3s", "logsnr", false},
    {"plms", "", true},         {"plms", "logsnr", true},
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
    const char *only;
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

static void sample(Bench *b, const char *sampler, const char *spacing, int steps, float *x)
{
    char text[32];
    snprintf(text, sizeof text, "%s%d", spacing, steps);
    b->options.sampler = sampler;
    b->options.steps = text;
    must(stage_sample(b->kernels, b->net, &b->options, &b->in, x));
}

static double distance(const Bench *b)
{
    double sum = 0;
    for (int64_t i = 0; i < size_of(b); i++) {
        double a = fmax(-1, fmin(1, b->x[i])), c = fmax(-1, fmin(1, b->reference[i]));
        sum += (a - c) * (a - c);
    }
    return sqrt(sum / (double)size_of(b));
}

/* The most steps that take no more evaluations than these. */
static int steps_within(const SamplerKind *kind, int evaluations)
{
    int steps = evaluations;
    while (sampler_evaluations(kind, steps) > evaluations) steps--;
    return steps;
}

static void table(Bench *b, const char *name, int reference_steps)
{
    b->x = malloc((size_t)size_of(b) * sizeof *b->x);
    b->reference = malloc((size_t)size_of(b) * sizeof *b->reference);
    if (!b->x || !b->reference) exit(1);
    sample(b, "dpmpp_2m", "", reference_steps, b->reference);
    printf("\n%s, %lld pictures; reference: dpmpp_2m with %d steps\n\n| sampler | steps |", name, (long long)b->in.n,
           reference_steps);
    for (int i = 0; i < b->columns; i++) printf(" %d |", b->evaluations[i]);
    printf("\n| --- | --- |");
    for (int i = 0; i < b->columns; i++) printf(" --- |");
    for (size_t e = 0; e < sizeof entries / sizeof *entries; e++) {
        if (!strstr(entries[e].sampler, b->only) || (b->upsampler && !entries[e].both)) continue;
        printf("\n| %s | %sN |", entries[e].sampler, entries[e].spacing);
        for (int i = 0; i < b->columns; i++) {
            int steps = steps_within(sampler_find(entries[e].sampler), b->evaluations[i]);
            sample(b, entries[e].sampler, entries[e].spacing, steps, b->x);
            printf(" %.4f |", distance(b));
            fflush(stdout);
        }
    }
    printf("\n");
    free(b->x);
}

int main(int argc, char **argv)
{
    static const int base_columns[] = {10, 15, 20, 27, 50}, upsampler_columns[] = {5, 8, 10, 15, 20, 27};
    SamplerRow rows[MOST];
    Bench base = {.columns = 5, .evaluations = base_columns, .only = argc > 5 ? argv[5] : ""};
    int n = argc > 4 ? atoi(argv[4]) : 8;
    if (argc < 2 || n < 1 || n > MOST) {
        fprintf(stderr, "usage: bench_samplers BASE.h5 [UPSAMPLER.h5 | -] [f32|bf16] [PICTURES up to %d] [TEXT]\n", MOST);
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
    table(&base, "base model", 250);
    if (argc > 2 && strcmp(argv[2], "-")) {
        Bench up = {.kernels = base.kernels, .upsampler = true, .columns = 6, .evaluations = upsampler_columns, .only = base.only};
        must(text_unet_load(argv[2], "upsampler", &up.net, NULL));
        for (int64_t i = 0; i < size_of(&base); i++) base.reference[i] = (float)fmax(-1, fmin(1, base.reference[i]));
        upsampler_round_low_res(base.reference, size_of(&base));
        up.options = o.upsampler;
        up.options.stage = CASCADE_STAGE_UPSAMPLER;
        up.options.max_rows = 1;
        up.in = (StageInput){.n = n < 2 ? n : 2, .side = up.net->config.unet.image_size, .prompts = prompts, .rows = rows,
                             .low_res = base.reference, .low_side = base.in.side};
        table(&up, "upsampler", 100);
        text_unet_free(up.net);
        free(up.reference);
    }
    free(base.reference);
    text_unet_free(base.net);
    kernels_free(base.kernels);
    return 0;
}
