#include "common/unet_blocks.h"

#include "common/diffusion.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAME_SIZE = 128 };

static const char *join(char *name, const char *prefix, const char *part)
{
    snprintf(name, NAME_SIZE, "%s.%s", prefix, part);
    return name;
}

ResBlock resblock_make(ParamSet *set, int64_t cin, int64_t emb, int64_t cout, bool scale_shift_norm, Resample resample,
                       float dropout, const char *prefix)
{
    char name[NAME_SIZE];
    ResBlock b = {.has_skip = cin != cout, .scale_shift_norm = scale_shift_norm, .resample = resample, .dropout = dropout};
    b.in_norm = norm_make(set, cin, join(name, prefix, "in_layers.0"));
    b.in_conv = conv2d_make(set, cin, cout, 3, 1, 1, join(name, prefix, "in_layers.2"));
    b.emb_proj = linear_make(set, emb, scale_shift_norm ? 2 * cout : cout, 1, join(name, prefix, "emb_layers.1"));
    b.in_conv.wide = b.emb_proj.wide = true; /* only the norm below reads them */
    b.out_norm = norm_make(set, cout, join(name, prefix, "out_layers.0"));
    b.out_conv = conv2d_make(set, cout, cout, 3, 1, 0, join(name, prefix, "out_layers.3"));
    if (b.has_skip) b.skip = conv2d_make(set, cin, cout, 1, 1, 1, join(name, prefix, "skip_connection"));
    b.skip.wide = true; /* only added */
    return b;
}

static Tensor *resample(Tape *t, Tensor *x, Resample how)
{
    return how == RESAMPLE_UP ? op_upsample2x(t, x) : how == RESAMPLE_DOWN ? op_avg_pool2x(t, x) : x;
}

/* y takes x's place: x is let go of before the scope's end, so that large pictures need less memory. Returns y. */
static Tensor *instead(Tape *t, Tensor *x, Tensor *y)
{
    if (y != x) tape_release(t, x);
    return y;
}

Tensor *resblock_forward(Tape *t, const ResBlock *b, Tensor *x, Tensor *emb_act)
{
    int64_t rows = tape_failed(t) ? 0 : emb_act->dims[0];
    int scope = tape_scope_begin(t);
    Tensor *h = op_group_norm(t, x, &b->in_norm, NULL, ACT_SILU);
    if (b->resample == RESAMPLE_UP) {
        h = instead(t, h, op_conv2d_upsampled(t, h, &b->in_conv));
    } else {
        h = instead(t, h, resample(t, h, b->resample));
        h = instead(t, h, op_conv2d(t, h, &b->in_conv, NULL));
    }
    x = resample(t, x, b->resample);
    Tensor *film = op_linear(t, emb_act, &b->emb_proj, NULL);
    h = instead(t, h, op_repeat(t, h, rows));
    if (!b->scale_shift_norm) {
        h = instead(t, h, op_add_channels(t, h, film));
        film = NULL;
    }
    h = instead(t, h, op_group_norm(t, h, &b->out_norm, film, ACT_SILU));
    h = instead(t, h, op_dropout(t, h, b->dropout));
    if (b->has_skip) x = op_conv2d(t, op_cast(t, x, tape_dtype(t)), &b->skip, NULL);
    x = op_repeat(t, x, rows);
    return tape_scope_end(t, scope, op_conv2d(t, h, &b->out_conv, x));
}

AttentionBlock attention_block_make(ParamSet *set, int64_t channels, int heads, int64_t encoder_channels, bool split_first,
                                    const char *prefix)
{
    char name[NAME_SIZE];
    AttentionBlock b = {.heads = heads, .split_first = split_first, .has_encoder = encoder_channels > 0};
    b.norm = norm_make(set, channels, join(name, prefix, "norm"));
    b.qkv = linear1d_make(set, channels, 3 * channels, 1, join(name, prefix, "qkv"));
    if (b.has_encoder) b.encoder_kv = linear1d_make(set, encoder_channels, 2 * channels, 1, join(name, prefix, "encoder_kv"));
    b.proj_out = linear1d_make(set, channels, channels, 0, join(name, prefix, "proj_out"));
    return b;
}

Tensor *attention_block_forward(Tape *t, const AttentionBlock *b, Tensor *x, Tensor *encoder_kv)
{
    if (tape_failed(t)) return NULL;
    int scope = tape_scope_begin(t);
    int64_t N = x->dims[0], H = x->dims[1], W = x->dims[2], C = x->dims[3];
    Tensor *tokens = op_reshape(t, x, 3, (int64_t[]){N, H * W, C});
    Tensor *h = op_group_norm(t, tokens, &b->norm, NULL, ACT_NONE);
    h = op_linear(t, h, &b->qkv, NULL);
    h = op_attention(t, h, encoder_kv, b->heads, b->split_first);
    h = op_linear(t, h, &b->proj_out, tokens);
    return tape_scope_end(t, scope, op_reshape(t, h, 4, (int64_t[]){N, H, W, C}));
}

Tensor *op_timestep_embedding(Tape *t, const float *timesteps, int64_t N, int dim)
{
    if (tape_failed(t)) return NULL;
    tape_op(t, "timestep embedding");
    float *values = malloc((size_t)(N * dim) * sizeof *values);
    if (!values) {
        tape_fail(t, STATUS_NO_MEMORY, "out of memory for a timestep embedding");
        return NULL;
    }
    timestep_embedding(timesteps, (int)N, dim, values);
    Tensor *y = tape_input(t, tape_wide_dtype(t), 2, (int64_t[]){N, dim}, values);
    free(values);
    return y;
}
