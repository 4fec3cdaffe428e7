/* The operations of a call without computing it: the models run, and count, on kernels that do nothing. */
#include "glide/bench.h"

#include <stdlib.h>
#include <string.h>

/* --- kernels that do nothing; the results of convolutions, and with them the models', are zero --- */

static Status idle_conv2d(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias, const void *residual,
                          void *y)
{
    int64_t rows = (s->H + s->stride - 1) / s->stride, columns = (s->W + s->stride - 1) / s->stride;
    (void)k, (void)x, (void)weight, (void)bias, (void)residual;
    memset(y, 0, (size_t)(s->N * rows * columns * s->Cout) * dtype_size(s->out_dtype));
    return STATUS_OK;
}

static Status idle_conv2d_upsampled(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias, void *y,
                                    bool trained, bool *done)
{
    (void)trained;
    *done = true;
    return idle_conv2d(k, s, x, weight, bias, NULL, y);
}

static Status idle_linear(Kernels *k, const LinearShape *s, const void *x, Param *weight, const Param *bias,
                          const void *residual, void *y)
{
    (void)k, (void)s, (void)x, (void)weight, (void)bias, (void)residual, (void)y;
    return STATUS_OK;
}

static Status idle_attention(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv, void *y, float *lse)
{
    (void)k, (void)s, (void)qkv, (void)encoder_kv, (void)y, (void)lse;
    return STATUS_OK;
}

static Status idle_group_norm(Kernels *k, const GroupNormShape *s, const void *x, const float *gamma, const float *beta,
                              const void *film, void *y, float *stats)
{
    (void)k, (void)s, (void)x, (void)gamma, (void)beta, (void)film, (void)y, (void)stats;
    return STATUS_OK;
}

static Status idle_layer_norm(Kernels *k, DType type, int64_t rows, int64_t C, const void *x, const float *gamma,
                              const float *beta, void *y, float *stats)
{
    (void)k, (void)type, (void)rows, (void)C, (void)x, (void)gamma, (void)beta, (void)y, (void)stats;
    return STATUS_OK;
}

static void idle_activate(DType type, Activation act, int64_t n, const void *x, void *y)
{
    (void)type, (void)act, (void)n, (void)x, (void)y;
}

static void idle_copy_columns(DType type, int64_t rows, int64_t C, const void *x, int64_t x_stride, void *y, int64_t y_stride)
{
    (void)type, (void)rows, (void)C, (void)x, (void)x_stride, (void)y, (void)y_stride;
}

static Status idle_kernels(Kernels **out)
{
    TRY(kernels_new(KERNELS_BEST, out)); /* what is small computes */
    Kernels *k = *out;
    k->conv2d = idle_conv2d;
    if (k->conv2d_upsampled) k->conv2d_upsampled = idle_conv2d_upsampled;
    k->linear = idle_linear;
    k->attention = idle_attention;
    k->group_norm = idle_group_norm;
    k->layer_norm = idle_layer_norm;
    k->activate = idle_activate;
    k->copy_columns = idle_copy_columns;
    return STATUS_OK;
}

/* --- the call ----------------------------------------------------------------------------------------- */

static Status drop_picture(void *ctx, int64_t index, Image *picture)
{
    (void)ctx, (void)index;
    image_release(picture);
    return STATUS_OK;
}

Status bench_count_sample(const TextUNet *base, const TextUNet *upsampler, const CascadeOptions *options, int n, double *gflop)
{
    CascadeOptions o = *options;
    StageStats stats = {0};
    SamplerRow *rows = calloc((size_t)n, sizeof *rows);
    const char **prompts = calloc((size_t)n, sizeof *prompts);
    Kernels *k = NULL;
    Status s = rows && prompts ? idle_kernels(&k) : status_fail(STATUS_NO_MEMORY, "out of memory for a measurement");
    for (int i = 0; s == STATUS_OK && i < n; i++) {
        rows[i] = (SamplerRow){.seed = 1, .image = (uint32_t)i};
        prompts[i] = "red apple, fluent 3d emoji";
    }
    o.base.stats = o.upsampler.stats = &stats;
    if (s == STATUS_OK)
        s = cascade_sample(&(Cascade){k, base, upsampler}, &o, &(CascadeInput){.n = n, .prompts = prompts, .rows = rows},
                           &(CascadeHooks){.finished = drop_picture});
    *gflop = stats.flops * 1e-9;
    free(rows);
    free(prompts);
    kernels_free(k);
    return s;
}
