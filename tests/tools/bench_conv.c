/* Rates of convolutions and linear layers through the kernel table, on shapes like GLIDE's and the default models':
 *
 *     bench_conv [best|plain|generic] [f32|bf16|all] [TEXT]     only lines that contain TEXT
 *
 * GFLOP/s of the fastest of several runs: forward with bias; with a residual in place and in memory of its own; with
 * weights that changed before the call and are packed again; backward to the input; backward to the weights and bias.
 * A multiplication and an addition count as two. OMP_NUM_THREADS threads; with one, processor time is counted, so that
 * a busy machine can be measured too. */
#include "common/kernels.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct Case {
    int N, H, Cin, Cout, kernel, stride; /* images of H x H; kernel 0: a linear layer of N*H rows */
    bool f32_out;
} Case;

static const Case cases[] = {
    /* default models */
    {16, 64, 3, 64, 3, 1, false},
    {16, 64, 64, 64, 3, 1, false},
    {16, 32, 128, 128, 3, 1, false},
    {16, 16, 256, 256, 3, 1, false},
    {16, 8, 256, 256, 3, 1, false},
    {16, 16, 512, 256, 3, 1, false},
    {16, 64, 64, 6, 3, 1, true},
    {16, 32, 64, 128, 1, 1, false},
    {16, 64, 64, 64, 3, 2, false},
    {2, 64, 64, 64, 3, 1, false},
    {2, 32, 128, 128, 3, 1, false},
    {2, 16, 256, 256, 3, 1, false},
    /* upsampler */
    {4, 256, 6, 32, 3, 1, false},
    {1, 256, 32, 32, 3, 1, false},
    {8, 256, 32, 32, 3, 1, false},
    {1, 256, 64, 64, 3, 1, false},
    {8, 256, 64, 64, 3, 1, false},
    {4, 128, 64, 64, 3, 1, false},
    {4, 256, 64, 32, 1, 1, false},
    {4, 256, 32, 6, 3, 1, true},
    /* GLIDE's own sizes */
    {2, 64, 192, 192, 3, 1, false},
    {2, 64, 384, 192, 3, 1, false},
    {2, 32, 384, 384, 3, 1, false},
    {2, 32, 768, 384, 3, 1, false},
    {2, 32, 960, 384, 3, 1, false},
    {2, 16, 576, 576, 3, 1, false},
    {2, 16, 1344, 576, 3, 1, false},
    {2, 8, 768, 768, 3, 1, false},
    {2, 8, 1536, 768, 3, 1, false},
    {2, 64, 384, 192, 1, 1, false},
    {1, 256, 192, 192, 3, 1, false},
    /* linear */
    {16, 1, 256, 512, 0, 1, false},
    {2, 1, 768, 768, 0, 1, false},
    {16, 64, 256, 1024, 0, 1, false},
    {16, 64, 1024, 256, 0, 1, false},
    {16, 1024, 128, 384, 0, 1, false},
    {2, 256, 576, 1728, 0, 1, false},
    {1, 128, 512, 2048, 0, 1, false},
};

typedef struct Bench {
    Kernels *k;
    ConvShape s;
    LinearShape linear;
    bool is_linear;
    void *x, *y, *residual, *d_x;
    ParamSet params;
    Param *weight, *bias;
} Bench;

static void check(Status status)
{
    if (status == STATUS_OK) return;
    fprintf(stderr, "bench_conv: %s\n", status_message());
    exit(1);
}

static void *array_new(DType type, int64_t n, bool random)
{
    void *p = aligned_alloc(64, (size_t)(n * 4 + 63) / 64 * 64);
    uint32_t state = 1;
    if (!p) check(status_fail(STATUS_NO_MEMORY, "out of memory for %lld values", (long long)n));
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        float value = random ? (float)(state >> 8) / 8388608.0f - 1 : 0;
        if (type == DTYPE_F32)
            ((float *)p)[i] = value;
        else
            ((uint16_t *)p)[i] = f32_to_bf16(value);
    }
    return p;
}

static void bench_init(Bench *b, Kernels *k, const Case *c, DType type)
{
    DType out = c->f32_out ? DTYPE_F32 : type;
    int64_t H2 = (c->H + c->stride - 1) / c->stride, side = c->kernel ? c->kernel : 1;
    memset(b, 0, sizeof *b);
    b->k = k;
    b->is_linear = c->kernel == 0;
    b->s = (ConvShape){.N = c->N, .H = c->H, .W = c->H, .Cin = c->Cin, .Cout = c->Cout, .kernel = c->kernel, .stride = c->stride,
                       .dtype = type, .out_dtype = out};
    b->linear = (LinearShape){c->N * c->H, c->Cin, c->Cout, type, out, 0};
    int64_t inputs = b->is_linear ? c->N * c->H : c->N * c->H * c->H, outputs = b->is_linear ? inputs : c->N * H2 * H2;
    b->x = array_new(type, inputs * c->Cin, true);
    b->d_x = array_new(type, inputs * c->Cin, false);
    b->y = array_new(out, outputs * c->Cout, true);
    b->residual = array_new(out, outputs * c->Cout, true);
    params_init(&b->params);
    b->weight = params_add(&b->params, INIT_FAN_IN, 1, 4, (int64_t[]){c->Cout, c->Cin, side, side}, "weight");
    b->bias = params_add(&b->params, INIT_NORMAL, 1, 1, (int64_t[]){c->Cout}, "bias");
    if (!b->weight || !b->bias) check(status_fail(STATUS_NO_MEMORY, "out of memory for weights"));
    params_randomize(&b->params, 1);
    check(params_alloc_grads(&b->params));
}

static void bench_release(Bench *b)
{
    params_release(&b->params);
    free(b->x);
    free(b->y);
    free(b->d_x);
    free(b->residual);
}

static void forward_with(Bench *b, const void *residual)
{
    if (b->is_linear)
        check(b->k->linear(b->k, &b->linear, b->x, b->weight, b->bias, residual, b->y));
    else
        check(b->k->conv2d(b->k, &b->s, b->x, b->weight, b->bias, residual, b->y));
}

static void forward(Bench *b)
{
    forward_with(b, NULL);
}

static void forward_in_place(Bench *b)
{
    forward_with(b, b->y);
}

static void forward_residual(Bench *b)
{
    forward_with(b, b->residual);
}

static void forward_repacked(Bench *b)
{
    params_touch(&b->params);
    forward_with(b, NULL);
}

static void backward_data(Bench *b)
{
    if (b->is_linear)
        check(b->k->linear_backward_data(b->k, &b->linear, b->residual, b->weight, b->d_x));
    else
        check(b->k->conv2d_backward_data(b->k, &b->s, b->residual, b->weight, b->d_x));
}

static void backward_weights(Bench *b)
{
    float *dw = b->weight->grad, *db = b->bias->grad;
    if (b->is_linear)
        check(b->k->linear_backward_weights(b->k, &b->linear, b->x, b->residual, dw, NULL, db));
    else
        check(b->k->conv2d_backward_weights(b->k, &b->s, b->x, b->residual, dw, NULL, db));
}

static double now(void)
{
    struct timespec t;
    if (omp_get_max_threads() > 1) return omp_get_wtime();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double fastest(Bench *b, void (*run)(Bench *))
{
    double best = 1e9, total = 0;
    run(b); /* creates the primitive, packs the weights */
    for (int i = 0; i < 3 || (total < 0.15 && i < 200); i++) {
        double start = now();
        run(b);
        double seconds = now() - start;
        total += seconds;
        if (seconds < best) best = seconds;
    }
    return best;
}

static void measure(Kernels *k, const Case *c, DType type, const char *filter)
{
    static void (*const runs[])(Bench *) = {forward,          forward_in_place, forward_residual,
                                            forward_repacked, backward_data,    backward_weights};
    Bench b;
    char label[80];
    double rows = (double)c->N * c->H, H2 = (c->H + c->stride - 1) / c->stride;
    double flops =
        c->kernel ? 2.0 * c->N * H2 * H2 * c->Cin * c->Cout * c->kernel * c->kernel : 2 * rows * c->Cin * c->Cout;
    if (c->kernel)
        snprintf(label, sizeof label, "conv %dx%d s%d (%2d,%3d,%3d,%4d)->%4d", c->kernel, c->kernel, c->stride, c->N,
                 c->H, c->H, c->Cin, c->Cout);
    else
        snprintf(label, sizeof label, "linear      (%5.0f,%4d)->%4d", rows, c->Cin, c->Cout);
    if (!strstr(label, filter)) return;
    printf("%-34s %-4s", label, type == DTYPE_F32 ? "f32" : "bf16");
    bench_init(&b, k, c, type);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) printf(" %9.1f", flops / fastest(&b, runs[i]) / 1e9);
    printf("\n");
    fflush(stdout);
    bench_release(&b);
}

int main(int argc, char **argv)
{
    const char *set = argc > 1 ? argv[1] : "best", *type = argc > 2 ? argv[2] : "all",
               *filter = argc > 3 ? argv[3] : "";
    KernelsChoice choice = strcmp(set, "generic") == 0 ? KERNELS_GENERIC
                           : strcmp(set, "plain") == 0 ? KERNELS_NO_ONEDNN
                                                       : KERNELS_BEST;
    Kernels *k;
    check(kernels_new(choice, &k));
    printf("%s, %d threads, GFLOP/s\n%-39s %9s %9s %9s %9s %9s %9s\n", k->name, omp_get_max_threads(), "", "forward",
           "+in place", "+residual", "+packing", "to x", "to weight");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(type, "bf16") != 0) measure(k, &cases[i], DTYPE_F32, filter);
        if (strcmp(type, "f32") != 0) measure(k, &cases[i], DTYPE_BF16, filter);
    }
    kernels_free(k);
    return 0;
}
