#include "glide/bench.h"

#include "common/ops.h"

#include <stdlib.h>
#include <time.h>

enum { MIN_REPEATS = 3 };
static const double MIN_SECONDS = 0.4;

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, int count)
{
    if (count < 1) return 0;
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
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
    return k->conv2d_backward_weights(k, s, b->x, b->y, b->d_weight, NULL, b->d_bias);
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

static Status time_shape(Kernels *k, bool only_forward, BenchConv *c)
{
    ConvBuffers b;
    Status s = buffers_init(&b, k, &c->shape);
    if (s == STATUS_OK) s = time_conv(k, &c->shape, &b, forward, &c->forward);
    if (s == STATUS_OK && !only_forward) s = time_conv(k, &c->shape, &b, backward_weights, &c->backward_weights);
    if (s == STATUS_OK && !only_forward) s = time_conv(k, &c->shape, &b, backward_data, &c->backward_data);
    buffers_release(&b);
    return s;
}

static Status time_shapes(Kernels *k, DType type, bool only_forward, BenchConvs *out)
{
    static const int64_t sizes[BENCH_CONV_SHAPES][3] = {{4, 64, 192}, {4, 32, 384}, {8, 64, 64}}; /* N, side, channels */
    *out = (BenchConvs){0};
    for (int i = 0; i < BENCH_CONV_SHAPES; i++) {
        const int64_t *z = sizes[i];
        BenchConv *c = &out->items[i];
        c->shape = (ConvShape){.N = z[0], .H = z[1], .W = z[1], .Cin = z[2], .Cout = z[2], .kernel = 3, .stride = 1,
                               .dtype = type, .out_dtype = type};
        TRY(time_shape(k, only_forward, c));
        if (c->forward > out->rate) out->rate = c->forward;
    }
    return STATUS_OK;
}

Status bench_convs(Kernels *k, DType type, BenchConvs *out)
{
    return time_shapes(k, type, false, out);
}

Status bench_conv_rate(Kernels *k, DType type, double *rate)
{
    BenchConvs all;
    TRY(time_shapes(k, type, true, &all));
    *rate = all.rate;
    return STATUS_OK;
}

/* --- models ----------------------------------------------------------------------------------------- */

Status bench_give_tokenizer(TextUNet *m)
{
    BpeMerges none;
    bpe_merges_init(&none);
    return m->text && !m->bpe ? bpe_new(&none, &m->bpe) : STATUS_OK;
}

Status bench_random_model(const TextUNetConfig *config, TextUNet **out)
{
    TRY(text_unet_new(config, out));
    Status s = bench_give_tokenizer(*out);
    if (s == STATUS_OK) {
        params_randomize(&(*out)->params, 1);
        return STATUS_OK;
    }
    text_unet_free(*out);
    *out = NULL;
    return s;
}
