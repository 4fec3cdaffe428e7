#include "common/unet.h"

#include <stdlib.h>

struct UNet {
    UNetEncoder encoder;
    UNetBlock output[UNET_MAX_BLOCKS];
    int output_count;
    Norm out_norm;
    Conv2d out_conv;
};

/* In the order of guided-diffusion's constructor, since names count blocks. Returns the last block's channels. */
static int64_t make_output_blocks(UNet *u, ParamSet *set)
{
    UNetEncoder *e = &u->encoder;
    const UNetConfig *c = &e->config;
    int n = 0, skip = e->input_count, ds = 1 << (c->levels - 1);
    int64_t ch = e->channels[skip - 1];
    for (int level = c->levels - 1; level >= 0; level--) {
        for (int i = 0; i <= c->res_blocks; i++, n++) {
            UNetBlock *b = &u->output[n];
            int64_t out = unet_level_channels(c, level);
            int layer = 1;
            b->has_res = true;
            b->res = unet_res_make(c, set, ch + e->channels[--skip], out, RESAMPLE_NONE, "output_blocks", n, 0);
            ch = out;
            b->has_attention = unet_has_attention(c, ds);
            if (b->has_attention) {
                b->attention = unet_attention_make(c, set, ch, true, "output_blocks", n, layer++);
                b->kv = e->attention_count++;
            }
            if (level && i == c->res_blocks) {
                unet_resample_make(c, set, b, ch, RESAMPLE_UP, "output_blocks", n, layer);
                ds /= 2;
            }
        }
    }
    UNetBlock *last = &u->output[n - 1];
    last->res.out_conv.wide = !last->has_attention; /* only out_norm reads it */
    u->output_count = n;
    return ch;
}

Status unet_new(const UNetConfig *config, ParamSet *params, UNet **out)
{
    TRY(unet_config_check(config));
    UNet *u = calloc(1, sizeof *u);
    if (!u) return status_fail(STATUS_NO_MEMORY, "out of memory for a U-Net");
    unet_encoder_make(config, params, &u->encoder);
    int64_t ch = make_output_blocks(u, params);
    u->out_norm = norm_make(params, ch, "out.0");
    u->out_conv = conv2d_make(params, ch, config->out_channels, 3, 1, 0, "out.2");
    u->out_norm.wide = true; /* the last convolution has few outputs, so multiplies in f32 */
    u->out_conv.out_f32 = true;
    if (!u->out_conv.bias) { /* the last parameter could not be registered */
        unet_free(u);
        return status_fail(STATUS_NO_MEMORY, "out of memory for the U-Net's parameters");
    }
    *out = u;
    return STATUS_OK;
}

void unet_free(UNet *u)
{
    free(u);
}

void unet_set_checkpoint(UNet *u, bool on)
{
    u->encoder.checkpoint = on;
}

/* --- forward ------------------------------------------------------------------------------------- */

static void project_text(Tape *t, const UNetBlock *blocks, int count, Tensor *text, UNetCondition *c)
{
    for (int i = 0; i < count; i++)
        if (blocks[i].has_attention) c->kv[blocks[i].kv] = op_linear(t, text, &blocks[i].attention.encoder_kv, NULL);
}

UNetCondition unet_condition(Tape *t, const UNet *u, Tensor *text, Tensor *pooled, const int32_t *labels, int64_t N)
{
    const UNetEncoder *e = &u->encoder;
    UNetCondition c = {.N = N, .emb = pooled};
    tape_block(t, "encoder_kv", -1);
    if (e->label_emb && labels) {
        Tensor *rows = op_embedding(t, labels, N, e->label_emb);
        rows = op_cast(t, rows, tape_wide_dtype(t));
        c.emb = pooled ? op_add(t, pooled, rows) : rows;
    }
    if (!text) return c;
    project_text(t, e->input, e->input_count, text, &c);
    c.kv[e->middle_kv] = op_linear(t, text, &e->middle_attention.encoder_kv, NULL);
    project_text(t, u->output, u->output_count, text, &c);
    return c;
}

Tensor *unet_forward(Tape *t, const UNet *u, Tensor *x, const float *timesteps, const UNetCondition *condition,
                     const UNetTrace *trace)
{
    if (tape_failed(t)) return NULL;
    int scope = tape_scope_begin(t);
    const UNetEncoder *e = &u->encoder;
    UNetEncoding code = unet_encoder_forward(t, e, x, timesteps, condition, trace);
    Tensor *h = code.middle;
    int64_t rows = code.emb_act ? code.emb_act->dims[0] : 0;
    for (int i = 0; i < u->output_count; i++) {
        Tensor *skip = code.blocks[e->input_count - 1 - i], *below = h;
        tape_block(t, "output_blocks", i);
        Tensor *narrow = op_cast(t, skip, tape_dtype(t)), *all = op_repeat(t, narrow, rows), *both = op_concat(t, h, all);
        tape_release(t, below);
        tape_release(t, skip);
        tape_release(t, narrow);
        tape_release(t, all);
        h = unet_block_forward(t, e, &u->output[i], both, code.emb_act, condition);
        tape_release(t, both);
        unet_trace_block(trace, "output_blocks", i, h);
    }
    tape_block(t, "out", -1);
    h = op_group_norm(t, h, &u->out_norm, NULL, ACT_SILU);
    h = op_conv2d(t, h, &u->out_conv, NULL);
    unet_trace_block(trace, "out", -1, h);
    return tape_scope_end(t, scope, h);
}
