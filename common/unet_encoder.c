#include "common/unet_encoder.h"

#include <stdio.h>

void unet_config_defaults(UNetConfig *c)
{
    *c = (UNetConfig){.image_size = 64, .in_channels = 3, .out_channels = 6, .channels = 192, .levels = 4,
                      .mult = {1, 2, 3, 4}, .res_blocks = 3, .attention_count = 3, .attention_ds = {2, 4, 8},
                      .head_channels = 64, .heads = 1, .heads_upsample = -1, .scale_shift_norm = true,
                      .resblock_updown = true, .encoder_channels = 512};
}

/* --- checks ------------------------------------------------------------------------------------- */

/* The sum: a factor such as 2/3 came from dividing channels, and its rounding must not cost one. */
int64_t unet_level_channels(const UNetConfig *c, int level)
{
    return (int64_t)(c->mult[level] * (double)c->channels + 0.01);
}

static Status check_level(const UNetConfig *c, int level)
{
    if (!(c->mult[level] > 0 && c->mult[level] <= 65536))
        return status_fail(STATUS_BAD_INPUT, "channel_mult[%d]: expected a factor above 0, found %g", level, c->mult[level]);
    int64_t channels = unet_level_channels(c, level);
    if (channels < 32 || channels % GROUP_NORM_GROUPS || channels > 65536)
        return status_fail(STATUS_BAD_INPUT, "channel_mult[%d]: %g * %d channels = %lld, expected a multiple of 32", level,
                           c->mult[level], c->channels, (long long)channels);
    if (c->head_channels > 0 && channels % c->head_channels)
        return status_fail(STATUS_BAD_INPUT, "num_head_channels: %d does not divide the %lld channels of level %d",
                           c->head_channels, (long long)channels, level);
    if (c->head_channels <= 0 && (c->heads < 1 || channels % c->heads))
        return status_fail(STATUS_BAD_INPUT, "num_heads: %d does not divide the %lld channels of level %d", c->heads,
                           (long long)channels, level);
    bool own_heads = c->head_channels <= 0 && c->heads_upsample > 0 && unet_has_attention(c, 1 << level);
    if (own_heads && channels % c->heads_upsample)
        return status_fail(STATUS_BAD_INPUT, "num_heads_upsample: %d does not divide the %lld channels of level %d",
                           c->heads_upsample, (long long)channels, level);
    return STATUS_OK;
}

static Status check_range(const char *field, int value, int low, int high)
{
    if (value >= low && value <= high) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: expected %d to %d, found %d", field, low, high, value);
}

Status unet_config_check(const UNetConfig *c)
{
    TRY(check_range("image_size", c->image_size, 1, 4096));
    TRY(check_range("in_channels", c->in_channels, 1, 1024));
    TRY(check_range("out_channels", c->out_channels, 1, 1 << 20));
    TRY(check_range("num_channels", c->channels, 2, 16384)); /* a timestep's sine and cosine */
    TRY(check_range("levels of channel_mult", c->levels, 1, UNET_MAX_LEVELS));
    TRY(check_range("num_res_blocks", c->res_blocks, 1, 16));
    TRY(check_range("blocks (levels * (num_res_blocks + 1))", c->levels * (c->res_blocks + 1), 1, UNET_MAX_BLOCKS / 2));
    TRY(check_range("attention levels", c->attention_count, 0, UNET_MAX_LEVELS));
    TRY(check_range("num_classes", c->num_classes, 0, 1 << 20));
    TRY(check_range("text width", c->encoder_channels, 0, 1 << 16));
    for (int level = 0; level < c->levels; level++) TRY(check_level(c, level));
    if (!(c->dropout >= 0 && c->dropout < 1))
        return status_fail(STATUS_BAD_INPUT, "dropout: expected 0 to less than 1, found %g", c->dropout);
    return STATUS_OK;
}

bool unet_has_attention(const UNetConfig *c, int ds)
{
    for (int i = 0; i < c->attention_count; i++)
        if (c->attention_ds[i] == ds) return true;
    return false;
}

/* --- construction: follows the order of guided-diffusion's constructor, since names count blocks ---------------- */

static int head_count(const UNetConfig *c, int64_t channels, bool up)
{
    if (c->head_channels > 0) return (int)(channels / c->head_channels);
    return up && c->heads_upsample > 0 ? c->heads_upsample : c->heads;
}

enum { PREFIX_SIZE = 64 };

static const char *layer_name(char *prefix, const char *group, int i, int layer)
{
    if (i < 0) snprintf(prefix, PREFIX_SIZE, "%s.%d", group, layer);
    else snprintf(prefix, PREFIX_SIZE, "%s.%d.%d", group, i, layer);
    return prefix;
}

ResBlock unet_res_make(const UNetConfig *c, ParamSet *set, int64_t cin, int64_t cout, Resample resample, const char *group,
                       int i, int layer)
{
    char prefix[PREFIX_SIZE];
    return resblock_make(set, cin, 4 * c->channels, cout, c->scale_shift_norm, resample, c->dropout,
                         layer_name(prefix, group, i, layer));
}

AttentionBlock unet_attention_make(const UNetConfig *c, ParamSet *set, int64_t channels, bool up, const char *group, int i,
                                   int layer)
{
    char prefix[PREFIX_SIZE];
    return attention_block_make(set, channels, head_count(c, channels, up), c->encoder_channels, c->split_first,
                                layer_name(prefix, group, i, layer));
}

void unet_resample_make(const UNetConfig *c, ParamSet *set, UNetBlock *b, int64_t channels, Resample how, const char *group,
                        int i, int layer)
{
    char name[PREFIX_SIZE];
    b->resample = how;
    b->resample_in_resblock = c->resblock_updown;
    if (b->resample_in_resblock) {
        b->resample_res = unet_res_make(c, set, channels, channels, how, group, i, layer);
        return;
    }
    snprintf(name, sizeof name, "%s.%d.%d.%s", group, i, layer, how == RESAMPLE_DOWN ? "op" : "conv");
    b->resample_conv = conv2d_make(set, channels, channels, 3, how == RESAMPLE_DOWN ? 2 : 1, 1, name);
}

/* Returns the channels of the innermost level. */
static int64_t make_input_blocks(UNetEncoder *e, ParamSet *set)
{
    const UNetConfig *c = &e->config;
    int64_t ch = unet_level_channels(c, 0);
    UNetBlock *first = &e->input[0];
    first->has_conv = true;
    first->conv = conv2d_make(set, c->in_channels, ch, 3, 1, 1, "input_blocks.0.0");
    e->channels[0] = ch;
    int n = 1, ds = 1;
    for (int level = 0; level < c->levels; level++) {
        for (int i = 0; i < c->res_blocks; i++, n++) {
            UNetBlock *b = &e->input[n];
            int64_t out = unet_level_channels(c, level);
            b->has_res = true;
            b->res = unet_res_make(c, set, ch, out, RESAMPLE_NONE, "input_blocks", n, 0);
            e->channels[n] = ch = out;
            b->has_attention = unet_has_attention(c, ds);
            if (!b->has_attention) continue;
            b->attention = unet_attention_make(c, set, ch, false, "input_blocks", n, 1);
            b->kv = e->attention_count++;
        }
        if (level == c->levels - 1) break;
        unet_resample_make(c, set, &e->input[n], ch, RESAMPLE_DOWN, "input_blocks", n, 0);
        e->channels[n++] = ch;
        ds *= 2;
    }
    e->input_count = n;
    return ch;
}

void unet_encoder_make(const UNetConfig *config, ParamSet *params, UNetEncoder *e)
{
    *e = (UNetEncoder){.config = *config};
    const UNetConfig *c = &e->config;
    int64_t emb = 4 * c->channels;
    e->time_embed[0] = linear_make(params, c->channels, emb, 1, "time_embed.0");
    e->time_embed[1] = linear_make(params, emb, emb, 1, "time_embed.2");
    if (c->num_classes > 0)
        e->label_emb = params_add(params, INIT_NORMAL, 1, 2, (int64_t[]){c->num_classes, emb}, "label_emb.weight");
    int64_t ch = make_input_blocks(e, params);
    e->middle_in = unet_res_make(c, params, ch, ch, RESAMPLE_NONE, "middle_block", -1, 0);
    e->middle_attention = unet_attention_make(c, params, ch, false, "middle_block", -1, 1);
    e->middle_kv = e->attention_count++;
    e->middle_out = unet_res_make(c, params, ch, ch, RESAMPLE_NONE, "middle_block", -1, 2);
}

/* --- forward ------------------------------------------------------------------------------------- */

/* in: x, emb_act, text keys and values (or NULL) */
static Tensor *block_run(Tape *t, const void *ctx, Tensor **in)
{
    const UNetBlock *b = ctx;
    int scope = tape_scope_begin(t);
    Tensor *x = in[0];
    if (b->has_conv) x = op_conv2d(t, x, &b->conv, NULL);
    if (b->has_res) x = resblock_forward(t, &b->res, x, in[1]);
    if (b->has_attention) x = attention_block_forward(t, &b->attention, x, in[2]);
    if (b->resample != RESAMPLE_NONE) {
        if (b->resample_in_resblock) {
            x = resblock_forward(t, &b->resample_res, x, in[1]);
        } else {
            x = b->resample == RESAMPLE_UP ? op_conv2d_upsampled(t, x, &b->resample_conv) : op_conv2d(t, x, &b->resample_conv, NULL);
        }
    }
    return tape_scope_end(t, scope, x);
}

static Tensor *middle_run(Tape *t, const void *ctx, Tensor **in)
{
    const UNetEncoder *e = ctx;
    int scope = tape_scope_begin(t);
    Tensor *x = resblock_forward(t, &e->middle_in, in[0], in[1]);
    x = attention_block_forward(t, &e->middle_attention, x, in[2]);
    return tape_scope_end(t, scope, resblock_forward(t, &e->middle_out, x, in[1]));
}

static Tensor *run(Tape *t, const UNetEncoder *e, TapeFn fn, const void *ctx, Tensor *x, Tensor *emb_act, Tensor *kv)
{
    Tensor *in[3] = {x, emb_act, kv};
    if (e->checkpoint && tape_recording(t)) return tape_checkpoint(t, fn, ctx, in, 3);
    return fn(t, ctx, in);
}

Tensor *unet_block_forward(Tape *t, const UNetEncoder *e, const UNetBlock *b, Tensor *x, Tensor *emb_act,
                           const UNetCondition *c)
{
    return run(t, e, block_run, b, x, emb_act, b->has_attention ? c->kv[b->kv] : NULL);
}

void unet_trace_block(const UNetTrace *trace, const char *group, int i, const Tensor *x)
{
    char name[48];
    if (!trace || !x) return;
    if (i < 0) snprintf(name, sizeof name, "%s", group);
    else snprintf(name, sizeof name, "%s.%d", group, i);
    trace->block(trace->ctx, name, x);
}

/* (N,4C): MLP of the timestep's embedding, plus what the condition adds; with SiLU applied. */
static Tensor *embed_time(Tape *t, const UNetEncoder *e, const float *timesteps, int64_t N, const UNetCondition *condition,
                          const UNetTrace *trace)
{
    int scope = tape_scope_begin(t);
    Tensor *emb = op_timestep_embedding(t, timesteps, N, e->config.channels);
    emb = op_linear(t, emb, &e->time_embed[0], NULL);
    emb = op_linear(t, op_silu(t, emb), &e->time_embed[1], NULL);
    unet_trace_block(trace, "time_embed", -1, emb);
    if (condition->emb) emb = op_add(t, emb, condition->emb);
    return tape_scope_end(t, scope, op_cast(t, op_silu(t, emb), tape_dtype(t)));
}

UNetEncoding unet_encoder_forward(Tape *t, const UNetEncoder *e, Tensor *x, const float *timesteps,
                                  const UNetCondition *condition, const UNetTrace *trace)
{
    UNetEncoding code = {0};
    if (tape_failed(t)) return code;
    tape_block(t, "time_embed", -1);
    code.emb_act = embed_time(t, e, timesteps, condition->N ? condition->N : x->dims[0], condition, trace);
    /* The first convolution has few inputs, so multiplies in f32 where that is wide: eps is a small difference of what x holds. */
    Tensor *h = op_cast(t, x, tape_wide_dtype(t));
    for (int i = 0; i < e->input_count; i++) {
        tape_block(t, "input_blocks", i);
        code.blocks[i] = h = unet_block_forward(t, e, &e->input[i], h, code.emb_act, condition);
        unet_trace_block(trace, "input_blocks", i, h);
    }
    tape_block(t, "middle_block", -1);
    code.middle = run(t, e, middle_run, e, h, code.emb_act, condition->kv[e->middle_kv]);
    unet_trace_block(trace, "middle_block", -1, code.middle);
    return code;
}
