#include "text_transformer/text_unet.h"

#include "common/diffusion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_unet_config_defaults(TextUNetConfig *c)
{
    *c = (TextUNetConfig){.diffusion_steps = 1000, .noise_schedule = "squaredcos_cap_v2"};
    unet_config_defaults(&c->unet);
    text_config_defaults(&c->text);
    text_unet_config_complete(c);
}

void text_unet_config_complete(TextUNetConfig *c)
{
    c->unet.in_channels = 3 + (c->inpaint ? 4 : 0) + (c->low_res ? 3 : 0);
    c->unet.encoder_channels = c->text.width;
}

static void fill_from_preset(const TextUNetPreset *p, TextUNetConfig *c)
{
    text_unet_config_defaults(c);
    UNetConfig *u = &c->unet;
    u->channels = p->channels;
    u->levels = p->levels;
    memcpy(u->mult, p->mult, sizeof u->mult);
    u->res_blocks = p->res_blocks;
    u->attention_count = p->attention_count;
    memcpy(u->attention_ds, p->attention_ds, sizeof u->attention_ds);
    u->head_channels = p->head_channels;
    c->text.ctx = p->text_ctx;
    c->text.width = p->text_width;
    c->text.layers = p->text_layers;
    c->text.heads = p->text_heads;
    text_unet_config_complete(c);
}

Status text_unet_preset(const TextUNetPreset *table, const char *name, TextUNetConfig *c)
{
    char names[128] = "";
    for (const TextUNetPreset *p = table; p->name; p++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", p == table ? "" : ", ", p->name);
        if (strcmp(name, p->name) != 0) continue;
        fill_from_preset(p, c);
        return STATUS_OK;
    }
    return status_fail(STATUS_BAD_INPUT, "no configuration is called %s; there are %s", name, names);
}

static Status build(TextUNet *m)
{
    TextUNetConfig *c = &m->config;
    text_unet_config_complete(c);
    TRY(diffusion_check(c->noise_schedule, c->diffusion_steps));
    TRY(unet_new(&c->unet, &m->params, &m->unet));
    if (c->text.width > 0) TRY(text_transformer_new(&c->text, 4 * c->unet.channels, &m->params, &m->text));
    if (!c->low_res_level) return STATUS_OK;
    if (!c->low_res) return status_fail(STATUS_BAD_INPUT, "low_res_level: expected it with super_res only");
    m->level = linear_make(&m->params, c->unet.channels, 4 * c->unet.channels, 0, "low_res_level");
    return m->level.bias ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a model");
}

static Status new_model(const TextUNetConfig *config, bool shapes_only, TextUNet **out)
{
    *out = NULL;
    TextUNet *m = calloc(1, sizeof *m);
    if (!m) return status_fail(STATUS_NO_MEMORY, "out of memory for a model");
    m->config = *config;
    params_init(&m->params);
    m->params.shapes_only = shapes_only;
    Status s = build(m);
    if (s != STATUS_OK) {
        text_unet_free(m);
        return s;
    }
    *out = m;
    return STATUS_OK;
}

Status text_unet_new(const TextUNetConfig *config, TextUNet **out)
{
    return new_model(config, false, out);
}

Status text_unet_new_shapes(const TextUNetConfig *config, TextUNet **out)
{
    return new_model(config, true, out);
}

static bool ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n >= m && !strcmp(name + n - m, ending);
}

/* Of output_blocks.N, the largest N. */
static int last_output_block(const ParamSet *params)
{
    int last = -1, n;
    for (int i = 0; i < params->count; i++)
        if (sscanf(params->items[i]->name, "output_blocks.%d.", &n) == 1 && n > last) last = n;
    return last;
}

void text_unet_set_int8(TextUNet *m)
{
    static const char *const endings[] = {".in_layers.2.weight", ".out_layers.3.weight", ".qkv.weight", ".proj_out.weight",
                                          ".op.weight", ".conv.weight"};
    char last[32];
    snprintf(last, sizeof last, "output_blocks.%d.", last_output_block(&m->params));
    for (int i = 0; i < m->params.count; i++) {
        Param *p = m->params.items[i];
        if (!strncmp(p->name, "transformer.", strlen("transformer.")) || !strncmp(p->name, last, strlen(last))) continue;
        for (size_t j = 0; j < sizeof endings / sizeof *endings; j++) p->int8 |= ends_with(p->name, endings[j]);
    }
}

void text_unet_free(TextUNet *m)
{
    if (!m) return;
    unet_free(m->unet);
    text_transformer_free(m->text);
    params_release(&m->params);
    bpe_free(m->bpe);
    free(m);
}

/* from (Cout,c,3,3) -> to (Cout,c+4,3,3): channels 3..6 are new. */
static void widen_first_conv(const Param *from, Param *to)
{
    int64_t spatial = from->dims[2] * from->dims[3], old = from->dims[1], new = to->dims[1];
    for (int64_t o = 0; o < from->dims[0]; o++)
        for (int64_t c = 0; c < old; c++)
            memcpy(to->value + (o * new + (c < 3 ? c : c + new - old)) * spatial, from->value + (o * old + c) * spatial,
                   (size_t)spatial * sizeof(float));
}

/* *m becomes a model of that configuration with the values it has; what it had not stays zero. */
static Status rebuild(TextUNet **m, const TextUNetConfig *c)
{
    TextUNet *from = *m, *to;
    TRY(text_unet_new(c, &to));
    for (int i = 0; i < from->params.count; i++) {
        const Param *old = from->params.items[i]; /* registered in the same order, what is new at the end */
        Param *new = to->params.items[i];
        if (new->size == old->size) memcpy(new->value, old->value, old->size * sizeof(float));
        else widen_first_conv(old, new);
    }
    params_touch(&to->params);
    to->bpe = from->bpe;
    from->bpe = NULL;
    text_unet_free(from);
    *m = to;
    return STATUS_OK;
}

Status text_unet_add_inpaint(TextUNet **m)
{
    TextUNetConfig c = (*m)->config;
    c.inpaint = true;
    return rebuild(m, &c);
}

Status text_unet_add_level(TextUNet **m)
{
    TextUNetConfig c = (*m)->config;
    c.low_res_level = true;
    return rebuild(m, &c);
}

UNetCondition text_unet_encode(Tape *t, const TextUNet *m, const int32_t *tokens, const uint8_t *mask, const int32_t *labels,
                               int64_t N, const TextTrace *trace)
{
    TextFeatures f = {0};
    if (m->text && tokens) f = text_transformer_forward(t, m->text, tokens, mask, N, trace);
    return unet_condition(t, m->unet, f.sequence, f.pooled, labels, N);
}

/* A level is told as the timestep 1000 times as large would be: the sinusoids tell steps of that size apart. */
void text_unet_tell_level(Tape *t, const TextUNet *m, const float *levels, int64_t N, UNetCondition *c)
{
    if (!m->config.low_res_level || tape_failed(t)) return;
    int scope = tape_scope_begin(t);
    tape_block(t, "low_res_level", -1);
    Tensor *told = tape_tensor(t, DTYPE_F32, 1, &N);
    for (int64_t i = 0; told && i < N; i++) ((float *)told->data)[i] = levels ? 1000 * levels[i] : 0;
    Tensor *emb = told ? op_linear(t, op_timestep_embedding(t, told->data, N, m->config.unet.channels), &m->level, NULL) : NULL;
    if (emb && c->emb) emb = op_add(t, c->emb, emb);
    c->emb = tape_scope_end(t, scope, emb);
}

/* (N,H,W,4): the known picture times the mask, then the mask; zeros when nothing is known. */
static Tensor *inpaint_channels(Tape *t, const TextUNetInput *in)
{
    const int64_t *d = in->x->dims;
    if (tape_failed(t)) return NULL;
    Tensor *known = tape_tensor(t, DTYPE_F32, 4, (int64_t[]){d[0], d[1], d[2], 4});
    if (!known) return NULL;
    float *out = known->data;
    if (!in->inpaint_image || !in->inpaint_mask) {
        memset(out, 0, tensor_bytes(known));
        return known;
    }
    const float *image = in->inpaint_image->data, *mask = in->inpaint_mask->data;
    for (int64_t i = 0; i < d[0] * d[1] * d[2]; i++) {
        for (int c = 0; c < 3; c++) out[4 * i + c] = image[3 * i + c] * mask[i];
        out[4 * i + 3] = mask[i];
    }
    return known;
}

Tensor *text_unet_forward(Tape *t, const TextUNet *m, const TextUNetInput *in, const UNetCondition *condition,
                          const UNetTrace *trace)
{
    if (tape_failed(t)) return NULL;
    int scope = tape_scope_begin(t);
    Tensor *x = in->x;
    tape_block(t, "inputs", -1);
    if (m->config.inpaint) x = op_concat(t, x, inpaint_channels(t, in));
    if (m->config.low_res) {
        if (!in->low_res) tape_fail(t, STATUS_BAD_INPUT, "an upsampler needs a low-resolution picture");
        x = op_concat(t, x, op_resize_bilinear(t, in->low_res, in->x->dims[1], in->x->dims[2]));
    }
    return tape_scope_end(t, scope, unet_forward(t, m->unet, x, in->timesteps, condition, trace));
}
