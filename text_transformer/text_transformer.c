#include "text_transformer/text_transformer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct TextBlock {
    Norm ln_1, ln_2;
    Linear c_qkv, c_proj, mlp_fc, mlp_proj;
} TextBlock;

struct TextTransformer {
    TextConfig config;
    Param *token_embedding, *positional_embedding, *padding_embedding;
    TextBlock *blocks;
    Norm final_ln;
    Linear proj;
};

void text_config_defaults(TextConfig *c)
{
    *c = (TextConfig){.n_vocab = 50257, .ctx = 128, .width = 512, .layers = 16, .heads = 8, .final_ln = true, .padding = true};
}

static Status check_config(const TextConfig *c)
{
    if (c->width < 1 || c->width > 65536 || c->heads < 1 || c->width % c->heads)
        return status_fail(STATUS_BAD_INPUT, "xf_heads: %d does not divide xf_width %d", c->heads, c->width);
    if (c->n_vocab < 1 || c->n_vocab > 1 << 24)
        return status_fail(STATUS_BAD_INPUT, "n_vocab: expected 1 to 16777216, found %d", c->n_vocab);
    if (c->ctx < 1 || c->ctx > 65536) return status_fail(STATUS_BAD_INPUT, "text_ctx: expected 1 to 65536, found %d", c->ctx);
    if (c->layers < 0 || c->layers > 1024)
        return status_fail(STATUS_BAD_INPUT, "xf_layers: expected 0 to 1024, found %d", c->layers);
    return STATUS_OK;
}

/* Initial values, for training from scratch at rates an optimiser of small models wants. Tokens are large against an optimiser's
 * step and against what blocks add, so that they are not drowned by what all captions have in common; padding is small, so
 * that the last position, which is the pooled vector, starts as a mean of the tokens that attention brings there. With
 * embeddings of 0.02, or padding as large as tokens, captions had little say (data/TRAINING.md). */
#define EMBEDDING_STD 1.0f
#define POSITION_STD  0.2f
#define PADDING_STD   0.02f
#define MLP_SCALE     0.3f

static TextBlock block_make(ParamSet *set, int64_t W, int i, float mlp_scale)
{
    char name[64];
#define NAME(part) (snprintf(name, sizeof name, "transformer.resblocks.%d.%s", i, part), name)
    TextBlock b;
    b.c_qkv = linear_make(set, W, 3 * W, 1, NAME("attn.c_qkv"));
    b.c_proj = linear_make(set, W, W, 1, NAME("attn.c_proj"));
    b.ln_1 = norm_make(set, W, NAME("ln_1"));
    b.mlp_fc = linear_make(set, W, 4 * W, 1, NAME("mlp.c_fc"));
    b.mlp_proj = linear_make(set, 4 * W, W, mlp_scale, NAME("mlp.c_proj"));
    b.ln_2 = norm_make(set, W, NAME("ln_2"));
#undef NAME
    return b;
}

Status text_transformer_new(const TextConfig *config, int64_t pooled_width, ParamSet *params, TextTransformer **out)
{
    TRY(check_config(config));
    TextTransformer *x = calloc(1, sizeof *x);
    if (x) x->blocks = calloc((size_t)config->layers + 1, sizeof *x->blocks);
    if (!x || !x->blocks) {
        text_transformer_free(x);
        return status_fail(STATUS_NO_MEMORY, "out of memory for a text transformer");
    }
    x->config = *config;
    int64_t W = config->width;
    float mlp_scale = config->layers ? MLP_SCALE / sqrtf(2 * (float)config->layers) : 1;
    for (int i = 0; i < config->layers; i++) x->blocks[i] = block_make(params, W, i, mlp_scale);
    if (config->final_ln) x->final_ln = norm_make(params, W, "final_ln");
    x->token_embedding = params_add(params, INIT_NORMAL, EMBEDDING_STD, 2, (int64_t[]){config->n_vocab, W}, "token_embedding.weight");
    x->positional_embedding = params_add(params, INIT_NORMAL, POSITION_STD, 2, (int64_t[]){config->ctx, W}, "positional_embedding");
    if (config->padding)
        x->padding_embedding = params_add(params, INIT_NORMAL, PADDING_STD, 2, (int64_t[]){config->ctx, W}, "padding_embedding");
    x->proj = linear_make(params, W, pooled_width, 1, "transformer_proj");
    x->proj.wide = true; /* only added to the time embedding */
    if (!x->proj.bias) {
        text_transformer_free(x);
        return status_fail(STATUS_NO_MEMORY, "out of memory for the text transformer's parameters");
    }
    *out = x;
    return STATUS_OK;
}

void text_transformer_free(TextTransformer *x)
{
    if (!x) return;
    free(x->blocks);
    free(x);
}

/* x (N,T,W) -> (N,T,W). Not causal: every position sees every other, padding too. */
static Tensor *block_forward(Tape *t, const TextBlock *b, Tensor *x, int heads)
{
    int scope = tape_scope_begin(t);
    Tensor *h = op_linear(t, op_layer_norm(t, x, &b->ln_1), &b->c_qkv, NULL);
    x = op_linear(t, op_attention(t, h, NULL, heads, false), &b->c_proj, x);
    h = op_linear(t, op_layer_norm(t, x, &b->ln_2), &b->mlp_fc, NULL);
    return tape_scope_end(t, scope, op_linear(t, op_gelu(t, h), &b->mlp_proj, x));
}

static void trace_block(const TextTrace *trace, const char *name, int i, const Tensor *x)
{
    char text[32];
    if (!trace || !x) return;
    if (i < 0) snprintf(text, sizeof text, "%s", name);
    else snprintf(text, sizeof text, "%s.%d", name, i);
    trace->block(trace->ctx, text, x);
}

TextFeatures text_transformer_forward(Tape *t, const TextTransformer *x, const int32_t *tokens, const uint8_t *mask, int64_t N,
                                      const TextTrace *trace)
{
    const TextConfig *c = &x->config;
    tape_block(t, "transformer", -1);
    Tensor *h = op_text_embedding(t, tokens, mask, N, c->ctx, x->token_embedding, x->positional_embedding,
                                  x->padding_embedding);
    trace_block(trace, "xf_in", -1, h);
    for (int i = 0; i < c->layers; i++) {
        Tensor *below = h;
        h = block_forward(t, &x->blocks[i], h, c->heads);
        tape_release(t, below);
        trace_block(trace, "resblock", i, h);
    }
    if (c->final_ln) h = op_layer_norm(t, h, &x->final_ln);
    return (TextFeatures){.sequence = h, .pooled = op_linear(t, op_take_position(t, h, -1), &x->proj, NULL)};
}
