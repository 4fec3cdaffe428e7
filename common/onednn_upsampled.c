/* A 3x3 convolution of a picture that was doubled in size, in bf16: 4 multiplications of 9, and the doubled picture is never made.
 *
 * Every pixel of the doubled picture (2i + p, 2j + q), p and q 0 or 1, sees the same 2x2 pixels of the small one as its neighbours
 * of the same p and q do: of rows, i - 1 and i for p = 0, i and i + 1 for p = 1. So each of these four phases is a 2x2 convolution
 * of the small picture by weights that are sums of the 3x3 ones: taps 0 | 1 + 2 for p = 0, 0 + 1 | 2 for p = 1, and so the columns.
 * The sums are made in f32 and rounded once. */
#include "common/onednn.h"

#include <string.h>

enum {
    PHASES = 4,
    SUM = 4,            /* weights of a 2x2 kernel */
    LEAST_CHANNELS = 96 /* of x: with fewer, bringing the phases to their places takes what they save */
};

void onednn_phase_weights(const float *w, int64_t count, int phase, float *out)
{
    int down = phase / 2, right = phase % 2;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++) {
        float sum[SUM] = {0};
        for (int row = 0; row < 3; row++)
            for (int column = 0; column < 3; column++) sum[(row > down) * 2 + (column > right)] += w[i * 9 + row * 3 + column];
        memcpy(out + i * SUM, sum, sizeof sum);
    }
}

static Status phase_primitive(Onednn *o, const ConvShape *doubled, int phase, bool bias, Prim **out)
{
    ConvShape s = *doubled;
    s.H /= 2;
    s.W /= 2;
    s.kernel = 2;
    Key key = onednn_key(&s, OP_FORWARD, bias, RESIDUAL_NONE);
    key.phase = phase;
    return onednn_primitive(o, &key, out);
}

/* A phase's pixels to their places in y. */
static void spread(const ConvShape *s, int phase, const char *from, char *y)
{
    int64_t rows = s->N * s->H / 2, columns = s->W / 2, pixel = s->Cout * (int64_t)dtype_size(s->out_dtype);
    y += (phase / 2 * s->W + phase % 2) * pixel;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < columns; j++)
            memcpy(y + (2 * r * s->W + 2 * j) * pixel, from + (r * columns + j) * pixel, (size_t)pixel);
}

Status onednn_conv2d_upsampled(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias, void *y, bool *done)
{
    Prim *prims[PHASES];
    const Packed *packed;
    size_t scratchpad_bytes = 0, phase_bytes = ALIGN64((size_t)(s->N * s->H / 2 * s->W / 2 * s->Cout) * dtype_size(s->out_dtype));
    *done = false;
    if (s->dtype != DTYPE_BF16 || s->kernel != 3 || s->stride != 1 || s->Cin < LEAST_CHANNELS)
        return STATUS_OK;
    for (int i = 0; i < PHASES; i++) {
        TRY(phase_primitive(k->onednn, s, i, bias != NULL, &prims[i]));
        if (prims[i]->refused || prims[i]->layout != prims[0]->layout) return STATUS_OK;
        if (prims[i]->scratchpad_bytes > scratchpad_bytes) scratchpad_bytes = prims[i]->scratchpad_bytes;
    }
    TRY(onednn_packed(k, prims[0], weight, &packed));
    char *scratch = kernels_scratch(k, phase_bytes + scratchpad_bytes + 64);
    if (!scratch) return STATUS_NO_MEMORY;
    for (int i = 0; i < PHASES; i++) {
        const char *block = (const char *)packed->block + (size_t)i * packed->bytes;
        TRY(onednn_forward_packed(k, prims[i], block, x, bias, NULL, scratch, scratch + phase_bytes));
        spread(s, i, scratch, y);
    }
    *done = true;
    return STATUS_OK;
}
