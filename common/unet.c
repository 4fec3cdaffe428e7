#include "common/unet.h"

#include <stdio.h>
#include <stdlib.h>

/* One entry of input_blocks or output_blocks: layers in this order, those that are there. */
typedef struct Block {
    bool has_conv, has_res, has_attention;
    Conv2d conv;             /* the first convolution, or a stride-2 one for downsampling */
    ResBlock res;
    AttentionBlock attention;
    Resample resample;       /* after the others */
    bool resample_in_resblock;
    ResBlock resample_res;
    Conv2d resample_conv;
    int kv;                  /* index of its attention in UNetCondition.kv */
} Block;

struct UNet {
    UNetConfig config;
    Linear time_embed[2];
    Param *label_emb; /* (num_classes,4C), or NULL */
    Block input[UNET_MAX_BLOCKS], output[UNET_MAX_BLOCKS];
    int input_count, output_count, attention_count;
    ResBlock middle_in, middle_out;
    AttentionBlock middle_attention;
    int middle_kv;
    Norm out_norm;
    Conv2d out_conv;
    bool checkpoint;
};

void unet_config_defaults(UNetConfig *c)
{
    *c = (UNetConfig){.image_size = 64, .in_channels = 3, .out_channels = 6, .channels = 192, .levels = 4,
                      .mult = {1, 2, 3, 4}, .res_blocks = 3, .attention_count = 3, .attention_ds = {2, 4, 8},
                      .head_channels = 64, .heads = 1, .heads_upsample = -1, .scale_shift_norm = true,
                      .resblock_updown = true, .encoder_channels = 512};
}

/* --- checks ------------------------------------------------------------------------------------- */

static Status check_level(const UNetConfig *c, int level)
{
    int64_t channels = (int64_t)(c->mult[level] * (float)c->channels);
    if (channels < 32 || channels % GROUP_NORM_GROUPS || channels > 65536)
        return status_fail(STATUS_BAD_INPUT, "channel_mult[%d]: %g * %d channels = %lld, expected a multiple of 32", level,
                           c->mult[level], c->channels, (long long)channels);
    if (c->head_channels > 0 && channels % c->head_channels)
        return status_fail(STATUS_BAD_INPUT, "num_head_channels: %d does not divide the %lld channels of level %d",
                           c->head_channels, (long long)channels, level);
    if (c->head_channels <= 0 && (c->heads < 1 || channels % c->heads))
        return status_fail(STATUS_BAD_INPUT, "num_heads: %d does not divide the %lld channels of level %d", c->heads,
                           (long long)channels, level);
    return STATUS_OK;
}

static Status check_range(const char *field, int value, int low, int high)
{
    if (value >= low && value <= high) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: expected %d to %d, found %d", field, low, high, value);
}

static Status check_config(const UNetConfig *c)
{
    TRY(check_range("image_size", c->image_size, 1, 4096));
    TRY(check_range("in_channels", c->in_channels, 1, 1024));
    TRY(check_range("out_channels", c->out_channels, 1, 1024));
    TRY(check_range("num_channels", c->channels, 1, 16384));
    TRY(check_range("levels of channel_mult", c->levels, 1, UNET_MAX_LEVELS));
    TRY(check_range("num_res_blocks", c->res_blocks, 1, 16));
    TRY(check_range("blocks (levels * (num_res_blocks + 1))", c->levels * (c->res_blocks + 1), 1, UNET_MAX_BLOCKS / 2));
    TRY(check_range("attention levels", c->attention_count, 0, UNET_MAX_LEVELS));
    TRY(check_range("num_classes", c->num_classes, 0, 1 << 20));
    TRY(check_range("text width", c->encoder_channels, 0, 1 << 16));
    for (int level = 0; level < c->levels; level++) TRY(check_level(c, level));
    return STATUS_OK;
}

/* --- construction: follows the order of guided-diffusion's constructor, since names count blocks ---------------- */

static int64_t level_channels(const UNetConfig *c, int level)
{
    return (int64_t)(c->mult[level] * (float)c->channels);
}

static bool has_attention(const UNetConfig *c, int ds)
{
    for (int i = 0; i < c->attention_count; i++)
        if (c->attention_ds[i] == ds) return true;
    return false;
}

static int head_count(const UNetConfig *c, int64_t channels, bool up)
{
    if (c->head_channels > 0) return (int)(channels / c->head_channels);
    return up && c->heads_upsample > 0 ? c->heads_upsample : c->heads;
}

static ResBlock make_res(const UNet *u, ParamSet *set, int64_t cin, int64_t cout, Resample resample, const char *group,
                         int block, int layer)
{
    char prefix[64];
    const UNetConfig *c = &u->config;
    if (block < 0) snprintf(prefix, sizeof prefix, "%s.%d", group, layer);
    else snprintf(prefix, sizeof prefix, "%s.%d.%d", group, block, layer);
    return resblock_make(set, cin, 4 * c->channels, cout, c->scale_shift_norm, resample, c->dropout, prefix);
}

static AttentionBlock make_attention(UNet *u, ParamSet *set, int64_t channels, bool up, const char *group, int block, int layer,
                                     int *kv)
{
    char prefix[64];
    const UNetConfig *c = &u->config;
    if (block < 0) snprintf(prefix, sizeof prefix, "%s.%d", group, layer);
    else snprintf(prefix, sizeof prefix, "%s.%d.%d", group, block, layer);
    *kv = u->attention_count++;
    return attention_block_make(set, channels, head_count(c, channels, up), c->encoder_channels, c->split_first, prefix);
}

static void make_resample(UNet *u, ParamSet *set, Block *b, int64_t channels, Resample how, const char *group, int block,
                          int layer)
{
    char name[64];
    b->resample = how;
    b->resample_in_resblock = u->config.resblock_updown;
    if (b->resample_in_resblock) {
        b->resample_res = make_res(u, set, channels, channels, how, group, block, layer);
        return;
    }
    snprintf(name, sizeof name, "%s.%d.%d.%s", group, block, layer, how == RESAMPLE_DOWN ? "op" : "conv");
    b->resample_conv = conv2d_make(set, channels, channels, 3, how == RESAMPLE_DOWN ? 2 : 1, 1, name);
}

/* Returns the channels of the innermost level; skips[] collects the channels of every input block. */
static int64_t make_input_blocks(UNet *u, ParamSet *set, int64_t *skips)
{
    const UNetConfig *c = &u->config;
    int64_t ch = level_channels(c, 0);
    Block *first = &u->input[0];
    first->has_conv = true;
    first->conv = conv2d_make(set, c->in_channels, ch, 3, 1, 1, "input_blocks.0.0");
    skips[0] = ch;
    int n = 1, ds = 1;
    for (int level = 0; level < c->levels; level++) {
        for (int i = 0; i < c->res_blocks; i++, n++) {
            Block *b = &u->input[n];
            int64_t out = level_channels(c, level);
            b->has_res = true;
            b->res = make_res(u, set, ch, out, RESAMPLE_NONE, "input_blocks", n, 0);
            skips[n] = ch = out;
            b->has_attention = has_attention(c, ds);
            if (b->has_attention) b->attention = make_attention(u, set, ch, false, "input_blocks", n, 1, &b->kv);
        }
        if (level == c->levels - 1) break;
        make_resample(u, set, &u->input[n], ch, RESAMPLE_DOWN, "input_blocks", n, 0);
        skips[n++] = ch;
        ds *= 2;
    }
    u->input_count = n;
    return ch;
}

static int64_t make_output_blocks(UNet *u, ParamSet *set, int64_t ch, const int64_t *skips)
{
    const UNetConfig *c = &u->config;
    int n = 0, skip = u->input_count, ds = 1 << (c->levels - 1);
    for (int level = c->levels - 1; level >= 0; level--) {
        for (int i = 0; i <= c->res_blocks; i++, n++) {
            Block *b = &u->output[n];
            int64_t out = level_channels(c, level);
            int layer = 1;
            b->has_res = true;
            b->res = make_res(u, set, ch + skips[--skip], out, RESAMPLE_NONE, "output_blocks", n, 0);
            ch = out;
            b->has_attention = has_attention(c, ds);
            if (b->has_attention) b->attention = make_attention(u, set, ch, true, "output_blocks", n, layer++, &b->kv);
            if (level && i == c->res_blocks) {
                make_resample(u, set, b, ch, RESAMPLE_UP, "output_blocks", n, layer);
                ds /= 2;
            }
        }
    }
    u->output_count = n;
    return ch;
}

Status unet_new(const UNetConfig *config, ParamSet *params, UNet **out)
{
    TRY(check_config(config));
    UNet *u = calloc(1, sizeof *u);
    if (!u) return status_fail(STATUS_NO_MEMORY, "out of memory for a U-Net");
    u->config = *config;
    const UNetConfig *c = &u->config;
    int64_t skips[UNET_MAX_BLOCKS], emb = 4 * c->channels;
    u->time_embed[0] = linear_make(params, c->channels, emb, 1, "time_embed.0");
    u->time_embed[1] = linear_make(params, emb, emb, 1, "time_embed.2");
    if (c->num_classes > 0)
        u->label_emb = params_add(params, INIT_NORMAL, 1, 2, (int64_t[]){c->num_classes, emb}, "label_emb.weight");
    int64_t ch = make_input_blocks(u, params, skips);
    u->middle_in = make_res(u, params, ch, ch, RESAMPLE_NONE, "middle_block", -1, 0);
    u->middle_attention = make_attention(u, params, ch, false, "middle_block", -1, 1, &u->middle_kv);
    u->middle_out = make_res(u, params, ch, ch, RESAMPLE_NONE, "middle_block", -1, 2);
    ch = make_output_blocks(u, params, ch, skips);
    u->out_norm = norm_make(params, ch, "out.0");
    u->out_conv = conv2d_make(params, ch, c->out_channels, 3, 1, 0, "out.2");
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
    u->checkpoint = on;
}

/* --- forward ------------------------------------------------------------------------------------- */

UNetCondition unet_condition(Tape *t, const UNet *u, Tensor *text, Tensor *pooled, const int32_t *labels, int64_t N)
{
    UNetCondition c = {.emb = pooled};
    if (u->label_emb && labels) {
        Tensor *rows = op_embedding(t, labels, N, u->label_emb);
        c.emb = pooled ? op_add(t, pooled, rows) : rows;
    }
    if (!text) return c;
    for (int i = 0; i < u->input_count; i++)
        if (u->input[i].has_attention)
            c.kv[u->input[i].kv] = op_linear(t, text, &u->input[i].attention.encoder_kv, NULL);
    c.kv[u->middle_kv] = op_linear(t, text, &u->middle_attention.encoder_kv, NULL);
    for (int i = 0; i < u->output_count; i++)
        if (u->output[i].has_attention)
            c.kv[u->output[i].kv] = op_linear(t, text, &u->output[i].attention.encoder_kv, NULL);
    return c;
}

/* in: x, emb_act, text keys and values (or NULL) */
static Tensor *block_run(Tape *t, const void *ctx, Tensor **in)
{
    const Block *b = ctx;
    int scope = tape_scope_begin(t);
    Tensor *x = in[0];
    if (b->has_conv) x = op_conv2d(t, x, &b->conv, NULL);
    if (b->has_res) x = resblock_forward(t, &b->res, x, in[1]);
    if (b->has_attention) x = attention_block_forward(t, &b->attention, x, in[2]);
    if (b->resample != RESAMPLE_NONE) {
        if (b->resample_in_resblock) {
            x = resblock_forward(t, &b->resample_res, x, in[1]);
        } else {
            if (b->resample == RESAMPLE_UP) x = op_upsample2x(t, x);
            x = op_conv2d(t, x, &b->resample_conv, NULL);
        }
    }
    return tape_scope_end(t, scope, x);
}

static Tensor *middle_run(Tape *t, const void *ctx, Tensor **in)
{
    const UNet *u = ctx;
    int scope = tape_scope_begin(t);
    Tensor *x = resblock_forward(t, &u->middle_in, in[0], in[1]);
    x = attention_block_forward(t, &u->middle_attention, x, in[2]);
    return tape_scope_end(t, scope, resblock_forward(t, &u->middle_out, x, in[1]));
}

static Tensor *run(Tape *t, const UNet *u, TapeFn fn, const void *ctx, Tensor *x, Tensor *emb_act, Tensor *kv)
{
    Tensor *in[3] = {x, emb_act, kv};
    if (u->checkpoint && tape_recording(t)) return tape_checkpoint(t, fn, ctx, in, 3);
    return fn(t, ctx, in);
}

static void trace_block(const UNetTrace *trace, const char *group, int i, const Tensor *x)
{
    char name[48];
    if (!trace || !x) return;
    if (i < 0) snprintf(name, sizeof name, "%s", group);
    else snprintf(name, sizeof name, "%s.%d", group, i);
    trace->block(trace->ctx, name, x);
}

/* (N,4C): MLP of the timestep's embedding, plus what the condition adds; with SiLU applied, as every block wants it. */
static Tensor *embed_time(Tape *t, const UNet *u, const float *timesteps, int64_t N, const UNetCondition *condition,
                          const UNetTrace *trace)
{
    int scope = tape_scope_begin(t);
    Tensor *emb = op_timestep_embedding(t, timesteps, N, u->config.channels);
    emb = op_linear(t, emb, &u->time_embed[0], NULL);
    emb = op_linear(t, op_silu(t, emb), &u->time_embed[1], NULL);
    trace_block(trace, "time_embed", -1, emb);
    if (condition->emb) emb = op_add(t, emb, condition->emb);
    return tape_scope_end(t, scope, op_silu(t, emb));
}

Tensor *unet_forward(Tape *t, const UNet *u, Tensor *x, const float *timesteps, const UNetCondition *condition,
                     const UNetTrace *trace)
{
    if (tape_failed(t)) return NULL;
    int scope = tape_scope_begin(t);
    Tensor *skips[UNET_MAX_BLOCKS], *const *kv = condition->kv;
    Tensor *emb_act = embed_time(t, u, timesteps, x->dims[0], condition, trace);
    Tensor *h = op_cast(t, x, tape_dtype(t));
    for (int i = 0; i < u->input_count; i++) {
        const Block *b = &u->input[i];
        skips[i] = h = run(t, u, block_run, b, h, emb_act, b->has_attention ? kv[b->kv] : NULL);
        trace_block(trace, "input_blocks", i, h);
    }
    h = run(t, u, middle_run, u, h, emb_act, kv[u->middle_kv]);
    trace_block(trace, "middle_block", -1, h);
    for (int i = 0; i < u->output_count; i++) {
        const Block *b = &u->output[i];
        Tensor *skip = skips[u->input_count - 1 - i], *below = h;
        Tensor *both = op_concat(t, h, skip);
        tape_release(t, below);
        tape_release(t, skip);
        h = run(t, u, block_run, b, both, emb_act, b->has_attention ? kv[b->kv] : NULL);
        tape_release(t, both);
        trace_block(trace, "output_blocks", i, h);
    }
    h = op_group_norm(t, h, &u->out_norm, NULL, ACT_SILU);
    h = op_conv2d(t, h, &u->out_conv, NULL);
    trace_block(trace, "out", -1, h);
    return tape_scope_end(t, scope, h);
}
