/* Rates of the kernels on shapes of GLIDE's size, for one set of kernels:
 *
 *     bench_kernels [best|plain|generic] [name]      only kernels whose name contains `name`
 *
 * GB/s counts every array once per pass that the arithmetic needs (group norm reads x once for its statistics and once
 * for its result). GFLOP/s counts a multiplication and an addition as two. The best of several runs, OMP_NUM_THREADS
 * threads. */
#include "common/kernels.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARRAYS = 6, MAX_SIZE = 16 << 20 };

typedef struct Bench {
    Kernels *k;
    const char *filter;
    DType type;
    void *array[ARRAYS]; /* MAX_SIZE elements each, small random values */
    float *parameter[ARRAYS];
    Param weight;
    int64_t N, H, C; /* images of H x H pixels with C channels */
} Bench;

static const char *type_name(DType type)
{
    return type == DTYPE_F32 ? "f32" : "bf16";
}

/* Seconds of the fastest run, over at least half a second. */
static double fastest(const Bench *b, void (*run)(const Bench *))
{
    double best = 1e9, total = 0;
    run(b);
    for (int i = 0; i < 5 || total < 0.5; i++) {
        double start = omp_get_wtime();
        run(b);
        double seconds = omp_get_wtime() - start;
        total += seconds;
        if (seconds < best) best = seconds;
    }
    return best;
}

/* passes: how often an element of (N,H,H,C) is read or written; flops: per element of it. */
static void measure(Bench *b, const char *name, void (*run)(const Bench *), double passes, double flops)
{
    if (!strstr(name, b->filter)) return;
    double seconds = fastest(b, run), elements = (double)(b->N * b->H * b->H * b->C);
    printf("%-22s (%2d,%3d,%3d,%4d) %-4s %8.3f ms", name, (int)b->N, (int)b->H, (int)b->H, (int)b->C,
           type_name(b->type), seconds * 1e3);
    if (passes > 0) printf(" %7.1f GB/s", elements * passes * (double)dtype_size(b->type) / seconds / 1e9);
    if (flops > 0) printf(" %7.1f GFLOP/s", elements * flops / seconds / 1e9);
    printf("\n");
    fflush(stdout);
}

static GroupNormShape norm_shape(const Bench *b)
{
    return (GroupNormShape){
        .N = b->N, .pixels = b->H * b->H, .C = b->C, .groups = 32, .act = ACT_SILU, .dtype = b->type};
}

static void group_norm(const Bench *b)
{
    GroupNormShape s = norm_shape(b);
    b->k->group_norm(b->k, &s, b->array[0], b->parameter[0], b->parameter[1], b->array[5], b->array[1],
                     b->parameter[2]);
}

static void group_norm_backward(const Bench *b)
{
    GroupNormShape s = norm_shape(b);
    b->k->group_norm_backward(b->k, &s, b->array[0], b->parameter[0], b->parameter[1], b->array[5], b->parameter[2],
                              b->array[1], b->array[2], b->parameter[3], b->parameter[4], b->array[3]);
}

static void layer_norm(const Bench *b)
{
    b->k->layer_norm(b->k, b->type, b->N * b->H * b->H, b->C, b->array[0], b->parameter[0], b->parameter[1],
                     b->array[1], b->parameter[2]);
}

static void layer_norm_backward(const Bench *b)
{
    b->k->layer_norm_backward(b->k, b->type, b->N * b->H * b->H, b->C, b->array[0], b->parameter[0], b->parameter[2],
                              b->array[1], b->array[2], b->parameter[3], b->parameter[4]);
}

static int64_t size_of(const Bench *b)
{
    return b->N * b->H * b->H * b->C;
}

static void silu(const Bench *b)
{
    b->k->activate(b->type, ACT_SILU, size_of(b), b->array[0], b->array[1]);
}

static void silu_backward(const Bench *b)
{
    b->k->activate_backward(b->type, ACT_SILU, size_of(b), b->array[0], b->array[1], b->array[2]);
}

static void gelu(const Bench *b)
{
    b->k->activate(b->type, ACT_GELU, size_of(b), b->array[0], b->array[1]);
}

static void add(const Bench *b)
{
    b->k->axpby(b->type, size_of(b), 1, b->array[0], 1, b->array[1], b->array[2]);
}

static void cast(const Bench *b)
{
    b->k->cast(b->type, b->type == DTYPE_F32 ? DTYPE_BF16 : DTYPE_F32, size_of(b), b->array[0], b->array[1]);
}

static void upsample(const Bench *b)
{
    b->k->upsample2x(b->type, b->N, b->H / 2, b->H / 2, b->C, b->array[0], b->array[1]);
}

static void avg_pool(const Bench *b)
{
    b->k->avg_pool2x(b->type, b->N, b->H / 2, b->H / 2, b->C, b->array[0], b->array[1]);
}

static void bilinear(const Bench *b)
{
    b->k->resize_bilinear(b->type, b->N, b->H / 4, b->H / 4, b->C, b->array[0], b->H, b->H, b->array[1]);
}

static void bilinear_backward(const Bench *b)
{
    b->k->resize_bilinear_backward(b->type, b->N, b->H / 4, b->H / 4, b->C, b->array[0], b->H, b->H, b->array[1]);
}

static AttentionShape attention_shape(const Bench *b)
{
    return (AttentionShape){
        .N = b->N, .T = b->H * b->H, .S = 128, .heads = (int)(b->C / 64), .D = 64, .dtype = b->type};
}

static void attention(const Bench *b)
{
    AttentionShape s = attention_shape(b);
    b->k->attention(b->k, &s, b->array[0], b->array[1], b->array[2], b->array[5]);
}

static void attention_backward(const Bench *b)
{
    AttentionShape s = attention_shape(b);
    b->k->attention_backward(b->k, &s, b->array[0], b->array[1], b->array[2], b->array[5], b->array[4], b->array[3],
                             (char *)b->array[3] + ((size_t)MAX_SIZE / 2) * dtype_size(b->type));
}

static ConvShape conv_shape(const Bench *b)
{
    return (ConvShape){.N = b->N, .H = b->H, .W = b->H, .Cin = b->C, .Cout = b->C, .kernel = 3, .stride = 1, .dtype = b->type,
                       .out_dtype = b->type};
}

static void conv2d(const Bench *b)
{
    ConvShape s = conv_shape(b);
    b->k->conv2d(b->k, &s, b->array[0], (Param *)(uintptr_t)&b->weight, NULL, NULL, b->array[1]);
}

static void conv2d_backward_data(const Bench *b)
{
    ConvShape s = conv_shape(b);
    b->k->conv2d_backward_data(b->k, &s, b->array[0], (Param *)(uintptr_t)&b->weight, b->array[1]);
}

static void conv2d_backward_weights(const Bench *b)
{
    ConvShape s = conv_shape(b);
    b->k->conv2d_backward_weights(b->k, &s, b->array[0], b->array[1], b->array[5], NULL, b->parameter[3]);
}

static LinearShape linear_shape(const Bench *b)
{
    return (LinearShape){b->N * b->H * b->H, b->C, 3 * b->C, b->type, b->type, b->N};
}

static void linear(const Bench *b)
{
    LinearShape s = linear_shape(b);
    b->k->linear(b->k, &s, b->array[0], (Param *)(uintptr_t)&b->weight, NULL, NULL, b->array[1]);
}

static void linear_backward_data(const Bench *b)
{
    LinearShape s = linear_shape(b);
    b->k->linear_backward_data(b->k, &s, b->array[0], (Param *)(uintptr_t)&b->weight, b->array[1]);
}

static void linear_backward_weights(const Bench *b)
{
    LinearShape s = linear_shape(b);
    b->k->linear_backward_weights(b->k, &s, b->array[0], b->array[1], b->array[5], NULL, b->parameter[3]);
}

static void adamw(const Bench *b)
{
    AdamWStep step = {1e-4f, 0.9f, 0.999f, 1e-8f, 0, 1, 0.1f, 0.001f};
    b->k->adamw(MAX_SIZE / 4, b->array[0], b->array[1], b->array[2], b->array[3], &step);
}

static void bench_matrix_products(Bench *b, int64_t N, int64_t H, int64_t C)
{
    double attended = (double)(H * H + 128);
    b->N = N, b->H = H, b->C = C;
    b->weight = (Param){.name = "weight", .ndim = 4, .dims = {C, C, 3, 3}, .value = b->parameter[5], .version = 1};
    measure(b, "conv2d", conv2d, 0, 18 * (double)C);
    measure(b, "conv2d_backward_data", conv2d_backward_data, 0, 18 * (double)C);
    measure(b, "conv2d_backward_weights", conv2d_backward_weights, 0, 18 * (double)C);
    b->weight = (Param){.name = "weight", .ndim = 2, .dims = {3 * C, C}, .value = b->parameter[5], .version = 1};
    measure(b, "linear", linear, 0, 6 * (double)C);
    measure(b, "linear_backward_data", linear_backward_data, 0, 6 * (double)C);
    measure(b, "linear_backward_weights", linear_backward_weights, 0, 6 * (double)C);
    if (H > 32) return;
    measure(b, "attention", attention, 0, 4 * attended);
    measure(b, "attention_backward", attention_backward, 0, 10 * attended);
}

static void bench_passes(Bench *b, int64_t N, int64_t H, int64_t C)
{
    b->N = N, b->H = H, b->C = C;
    measure(b, "group_norm", group_norm, 3, 0);
    measure(b, "group_norm_backward", group_norm_backward, 5, 0);
    measure(b, "layer_norm", layer_norm, 2, 0);
    measure(b, "layer_norm_backward", layer_norm_backward, 3, 0);
    measure(b, "silu", silu, 2, 0);
    measure(b, "silu_backward", silu_backward, 3, 0);
    measure(b, "gelu", gelu, 2, 0);
    measure(b, "add", add, 3, 0);
    measure(b, "cast", cast, b->type == DTYPE_F32 ? 1.5 : 3, 0);
    measure(b, "upsample2x", upsample, 1.25, 0);
    measure(b, "avg_pool2x", avg_pool, 1.25, 0);
    measure(b, "bilinear", bilinear, 1.0625, 0);
    measure(b, "bilinear_backward", bilinear_backward, 1.0625, 0);
}

static void bench_all(Bench *b)
{
    bench_passes(b, 16, 64, 64);
    bench_passes(b, 16, 32, 128);
    bench_passes(b, 16, 8, 512);
    bench_passes(b, 1, 64, 192);
    bench_passes(b, 1, 256, 32);
    bench_matrix_products(b, 16, 64, 64);
    bench_matrix_products(b, 16, 32, 128);
    bench_matrix_products(b, 16, 16, 192);
    bench_matrix_products(b, 1, 32, 192);
    bench_matrix_products(b, 1, 256, 32);
}

int main(int argc, char **argv)
{
    const char *which = argc > 1 ? argv[1] : "best";
    KernelsChoice choice = KERNELS_BEST;
    if (!strcmp(which, "plain"))
        choice = KERNELS_NO_ONEDNN;
    else if (!strcmp(which, "generic"))
        choice = KERNELS_GENERIC;
    else if (strcmp(which, "best") != 0) {
        fprintf(stderr, "bench_kernels: %s: expected best, plain or generic\n", which);
        return 2;
    }
    Bench b = {.filter = argc > 2 ? argv[2] : ""};
    if (kernels_new(choice, &b.k) != STATUS_OK) {
        fprintf(stderr, "bench_kernels: %s\n", status_message());
        return 1;
    }
    for (int i = 0; i < ARRAYS; i++) {
        b.array[i] = aligned_alloc(64, (size_t)MAX_SIZE * 4);
        b.parameter[i] = aligned_alloc(64, (size_t)MAX_SIZE);
        if (!b.array[i] || !b.parameter[i]) return 1;
        for (int64_t j = 0; j < MAX_SIZE / 4; j++) b.parameter[i][j] = (float)(j * 7919 % 1001) / 1000 - 0.5f;
    }
    printf("kernels: %s, %d threads\n", b.k->name, omp_get_max_threads());
    for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        b.type = (DType)type;
        for (int i = 0; i < ARRAYS; i++)
            for (int64_t j = 0; j < MAX_SIZE; j++) {
                float value = (float)((j + i) * 7919 % 1001) / 250 - 2;
                if (b.type == DTYPE_F32)
                    ((float *)b.array[i])[j] = value;
                else
                    ((uint16_t *)b.array[i])[j] = f32_to_bf16(value);
            }
        bench_all(&b);
        b.N = 1, b.H = 1024, b.C = 4;
        if (b.type == DTYPE_F32) measure(&b, "adamw", adamw, 7, 0);
    }
    kernels_free(b.k);
    for (int i = 0; i < ARRAYS; i++) free(b.array[i]), free(b.parameter[i]);
    return 0;
}
