#include "glide/bench.h"

#include "common/ops.h"
#include "upsampler/upsampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MIN_REPEATS = 3, SAMPLE_STEPS = 8 };
static const double MIN_SECONDS = 0.4;

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

Status bench_random(size_t n, uint32_t which, float **out)
{
    *out = malloc(n * sizeof **out);
    if (!*out) return status_fail(STATUS_NO_MEMORY, "out of memory for a measurement");
    rng_normal(&(RngKey){.stream = RNG_TEST, .image = which}, *out, (int64_t)n);
    return STATUS_OK;
}

/* --- convolutions ----------------------------------------------------------------------------------- */

typedef struct ConvBuffers {
    void *x, *y;
    float *d_weight, *d_bias;
    Conv2d conv;
    ParamSet params;
} ConvBuffers;

static void buffers_release(ConvBuffers *b)
{
    free(b->x);
    free(b->y);
    free(b->d_weight);
    free(b->d_bias);
    params_release(&b->params);
}

static Status random_activations(Kernels *k, const ConvShape *s, uint32_t which, void **out)
{
    size_t n = (size_t)(s->N * s->H * s->W * s->Cin);
    float *values;
    TRY(bench_random(n, which, &values));
    *out = aligned_alloc(64, (n * dtype_size(s->dtype) + 63) / 64 * 64);
    if (*out) k->cast(DTYPE_F32, s->dtype, (int64_t)n, values, *out);
    free(values);
    return *out ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a measurement");
}

static Status buffers_init(ConvBuffers *b, Kernels *k, const ConvShape *s)
{
    *b = (ConvBuffers){0};
    params_init(&b->params);
    b->conv = conv2d_make(&b->params, s->Cin, s->Cout, s->kernel, s->stride, 1, "conv");
    if (!b->conv.weight || !b->conv.bias) return status_fail(STATUS_NO_MEMORY, "out of memory for a measurement");
    params_randomize(&b->params, 1);
    TRY(random_activations(k, s, 1, &b->x));
    TRY(random_activations(k, s, 2, &b->y));
    TRY(bench_random(b->conv.weight->size, 3, &b->d_weight));
    return bench_random(b->conv.bias->size, 4, &b->d_bias);
}

typedef Status (*ConvFn)(Kernels *k, const ConvShape *s, ConvBuffers *b);

/* The direct one: its multiplications are those that are counted. */
static Status forward(Kernels *k, const ConvShape *s, ConvBuffers *b)
{
    return (k->conv2d_direct ? k->conv2d_direct : k->conv2d)(k, s, b->x, b->conv.weight, b->conv.bias, NULL, b->y);
}

static Status backward_data(Kernels *k, const ConvShape *s, ConvBuffers *b)
{
    return k->conv2d_backward_data(k, s, b->y, b->conv.weight, b->x);
}

static Status backward_weights(Kernels *k, const ConvShape *s, ConvBuffers *b)
{
    return k->conv2d_backward_weights(k, s, b->x, b->y, b->d_weight, b->d_bias);
}

static Status time_conv(Kernels *k, const ConvShape *s, ConvBuffers *b, ConvFn fn, double *rate)
{
    double begin = bench_now(), best = 1e30;
    TRY(fn(k, s, b)); /* makes the primitive */
    for (int i = 0; i < MIN_REPEATS || bench_now() - begin < MIN_SECONDS; i++) {
        double start = bench_now();
        TRY(fn(k, s, b));
        double seconds = bench_now() - start;
        if (seconds < best) best = seconds;
    }
    *rate = 2.0 * (double)(s->N * s->H * s->W * s->Cin * s->Cout * s->kernel * s->kernel) / best * 1e-9;
    return STATUS_OK;
}

static Status time_shape(Kernels *k, BenchConv *c)
{
    ConvBuffers b;
    Status s = buffers_init(&b, k, &c->shape);
    if (s == STATUS_OK) s = time_conv(k, &c->shape, &b, forward, &c->forward);
    if (s == STATUS_OK) s = time_conv(k, &c->shape, &b, backward_weights, &c->backward_weights);
    if (s == STATUS_OK) s = time_conv(k, &c->shape, &b, backward_data, &c->backward_data);
    buffers_release(&b);
    return s;
}

Status bench_convs(Kernels *k, DType type, BenchConvs *out)
{
    static const int64_t sizes[BENCH_CONV_SHAPES][3] = {{4, 64, 192}, {4, 32, 384}, {8, 64, 64}}; /* N, side, channels */
    *out = (BenchConvs){0};
    for (int i = 0; i < BENCH_CONV_SHAPES; i++) {
        const int64_t *z = sizes[i];
        BenchConv *c = &out->items[i];
        c->shape = (ConvShape){.N = z[0], .H = z[1], .W = z[1], .Cin = z[2], .Cout = z[2], .kernel = 3, .stride = 1,
                               .dtype = type, .out_dtype = type};
        TRY(time_shape(k, c));
        if (c->forward > out->rate) out->rate = c->forward;
    }
    return STATUS_OK;
}

/* --- models ----------------------------------------------------------------------------------------- */

Status bench_random_model(const TextUNetConfig *config, TextUNet **out)
{
    TextUNetConfig c = *config;
    BpeMerges none;
    Bpe *bpe;
    bpe_merges_init(&none);
    TRY(bpe_new(&none, &bpe));
    c.text.n_vocab = bpe_vocab_size(bpe);
    Status s = text_unet_new(&c, out);
    if (s != STATUS_OK) {
        bpe_free(bpe);
        return s;
    }
    (*out)->bpe = bpe;
    params_randomize(&(*out)->params, 1);
    return STATUS_OK;
}

/* --- sampling --------------------------------------------------------------------------------------- */

/* A whole run of the stage, text included: what a user waits for. */
static Status time_stage(Kernels *k, const TextUNet *m, StageOptions *o, const StageInput *in, float *x, BenchRun *out)
{
    out->seconds = 1e30;
    for (int i = 0; i < MIN_REPEATS; i++) {
        StageStats stats = {0};
        o->stats = &stats;
        double start = bench_now();
        TRY(stage_sample(k, m, o, in, x));
        double seconds = (bench_now() - start) / SAMPLE_STEPS;
        if (seconds < out->seconds) out->seconds = seconds;
        out->gflop = stats.flops / SAMPLE_STEPS * 1e-9;
        out->peak_bytes = stats.peak_bytes;
    }
    return STATUS_OK;
}

Status bench_sample(Kernels *k, const TextUNet *m, DType type, double guidance_scale, BenchRun *out)
{
    const char *prompt = "red apple, fluent 3d emoji";
    char steps[16];
    int64_t side = m->config.unet.image_size, pixels = side * side * IMAGE_CHANNELS;
    float *x, *low = NULL;
    SamplerRow row = {.seed = 1};
    StageOptions o;
    StageInput in = {.n = 1, .side = side, .prompts = &prompt, .rows = &row, .low_side = side / UPSAMPLER_FACTOR};
    *out = (BenchRun){0};
    stage_options_defaults(&o);
    snprintf(steps, sizeof steps, "%d", SAMPLE_STEPS);
    o.steps = steps;
    o.guidance.terms[GUIDANCE_CFG].scale = guidance_scale;
    o.precision = type;
    TRY(bench_random((size_t)pixels, 7, &x));
    Status s = m->config.low_res ? bench_random((size_t)pixels, 8, &low) : STATUS_OK;
    in.low_res = low;
    if (s == STATUS_OK) s = time_stage(k, m, &o, &in, x, out);
    free(x);
    free(low);
    return s;
}
