/* Convolutions over many input channels as a sum of convolutions over parts of them.
 *
 * oneDNN's direct kernel goes through all weights of a block of outputs, 64 x Cin x 9, for every row of the picture. From some
 * 640 channels of bf16 on these and the rows of x no longer fit into a core's L2 cache (1 MiB) and come from the third level each
 * time. Parts of 384 channels and less fit. The sum is kept in f32 and rounded once, as in one pass; its order depends on the
 * channels alone. Each part of x is copied out first, since the kernel takes only whole rows of channels: cheap against 9 Cout
 * multiplications for each of them. */
#include "common/onednn.h"

enum { WIDE = 640, PART = 384, LANES = 16, FEWEST_OUTPUTS = 256, MOST_PARTS = 8 };

/* 1: not in parts. Neither images nor pixels may be looked at: a picture is the same alone and in a batch. */
static int parts_wanted(const ConvShape *s)
{
    if (s->dtype != DTYPE_BF16 || s->kernel != 3 || s->stride != 1 || s->Cin <= WIDE || s->Cout < FEWEST_OUTPUTS) return 1;
    for (int parts = 2; parts <= MOST_PARTS; parts++)
        if (s->Cin % (parts * LANES) == 0 && s->Cin / parts <= PART) return parts;
    return 1;
}

/* Part i: the first one adds bias and residual, the others what has been summed up so far. */
static Status part_primitive(Onednn *o, const ConvShape *whole, int i, int parts, bool bias, bool residual, Prim **out)
{
    bool last = i == parts - 1;
    ConvShape s = *whole;
    s.Cin /= parts;
    if (!last) s.out_dtype = DTYPE_F32;
    Residual kind = i == 0 && !residual ? RESIDUAL_NONE : i == 0 || last ? RESIDUAL_SEPARATE : RESIDUAL_IN_PLACE;
    Key key = onednn_key(&s, OP_FORWARD, bias && i == 0, kind);
    if (kind == RESIDUAL_SEPARATE) key.residual_dtype = i == 0 && !whole->residual_f32 ? whole->out_dtype : DTYPE_F32;
    return onednn_primitive(o, &key, out);
}

Status onednn_forward_in_parts(Kernels *k, const ConvShape *s, const void *x, Param *weight, const Param *bias,
                               const void *residual, void *y, bool *done)
{
    Prim *prims[MOST_PARTS];
    const Packed *packed[MOST_PARTS];
    int parts = parts_wanted(s);
    size_t scratchpad_bytes = 0;
    *done = false;
    if (parts == 1) return STATUS_OK;
    for (int i = 0; i < parts; i++) {
        TRY(part_primitive(k->onednn, s, i, parts, bias != NULL, residual != NULL, &prims[i]));
        if (prims[i]->refused) return STATUS_OK;
        TRY(onednn_packed(k, prims[i], weight, &packed[i]));
        if (prims[i]->scratchpad_bytes > scratchpad_bytes) scratchpad_bytes = prims[i]->scratchpad_bytes;
    }
    int64_t rows = s->N * s->H * s->W, channels = s->Cin / parts;
    size_t x_at = ALIGN64((size_t)(rows * s->Cout) * sizeof(float));
    size_t scratchpad_at = x_at + ALIGN64((size_t)(rows * channels) * sizeof(uint16_t));
    char *scratch = kernels_scratch(k, scratchpad_at + scratchpad_bytes + 64), *sum = scratch;
    if (!scratch) return STATUS_NO_MEMORY;
    for (int i = 0; i < parts; i++) {
        k->copy_columns(s->dtype, rows, channels, (const uint16_t *)x + i * channels, s->Cin, scratch + x_at, channels);
        const char *block = (const char *)packed[i]->block + (size_t)i * packed[i]->bytes;
        TRY(onednn_forward_packed(k, prims[i], block, scratch + x_at, i == 0 ? bias : NULL, i == 0 ? residual : sum,
                                  i == parts - 1 ? y : sum, scratch + scratchpad_at));
    }
    *done = true;
    return STATUS_OK;
}
