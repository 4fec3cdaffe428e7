#include "guidance/clip_blocks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* --- construction: names, order and initial values of GLIDE's encoders ----------------------------- */

Norm clip_norm_make(ParamSet *set, int64_t width, const char *prefix, const char *part)
{
    return (Norm){.gamma = params_add(set, INIT_ONE, 1, 1, &width, "%sblocks.%s.ln.g", prefix, part),
                  .beta = params_add(set, INIT_ZERO, 0, 1, &width, "%sblocks.%s.ln.b", prefix, part)};
}

static Linear affine_make(ParamSet *set, int64_t in, int64_t out, float std, bool bias, const char *prefix, const char *part)
{
    Linear l = {.weight = params_add(set, INIT_NORMAL, std, 2, (int64_t[]){out, in}, "%sblocks.%s.w", prefix, part)};
    if (bias) l.bias = params_add(set, INIT_ZERO, 0, 1, &out, "%sblocks.%s.b", prefix, part);
    return l;
}

static ClipBlock block_make(ParamSet *set, const ClipStack *stack, int i, const char *prefix)
{
    char name[48];
    const int64_t W = stack->width;
    float std = 1 / sqrtf((float)W), out_std = std / (2 * (float)stack->layers);
    ClipBlock b;
#define NAME(part) (snprintf(name, sizeof name, "block_%d.%s", i, part), name)
    b.attn_norm = clip_norm_make(set, W, prefix, NAME("f_attn"));
    b.q = affine_make(set, W, W, std, true, prefix, NAME("f_attn.f_q"));
    b.k = affine_make(set, W, W, std, false, prefix, NAME("f_attn.f_k"));
    b.v = affine_make(set, W, W, std, true, prefix, NAME("f_attn.f_v"));
    b.c = affine_make(set, W, W, out_std, true, prefix, NAME("f_attn.f_c"));
    b.mlp_norm = clip_norm_make(set, W, prefix, NAME("f_mlp"));
    b.f_1 = affine_make(set, W, 4 * W, sqrtf(0.5f) * std, true, prefix, NAME("f_mlp.f_1"));
    b.f_2 = affine_make(set, 4 * W, W, out_std, true, prefix, NAME("f_mlp.f_2"));
#undef NAME
    return b;
}

Status clip_layers_make(ParamSet *set, const ClipStack *stack, int n_embd, const char *prefix, ClipLayers *out)
{
    *out = (ClipLayers){.stack = *stack, .blocks = calloc((size_t)stack->layers + 1, sizeof *out->blocks)};
    if (!out->blocks) return status_fail(STATUS_NO_MEMORY, "out of memory for %d transformer blocks", stack->layers);
    for (int i = 0; i < stack->layers; i++) out->blocks[i] = block_make(set, stack, i, prefix);
    out->out_norm = clip_norm_make(set, stack->width, prefix, "output");
    out->out = affine_make(set, stack->width, n_embd, sqrtf(2 / (float)(stack->width + n_embd)), false, prefix, "output.f");
    return out->out.weight ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for CLIP's parameters");
}

void clip_layers_release(ClipLayers *l)
{
    free(l->blocks);
    l->blocks = NULL;
}

/* --- forward ------------------------------------------------------------------------------------- */

Tensor *clip_block_forward(Tape *t, const ClipLayers *l, int i, Tensor *x, bool causal)
{
    const ClipBlock *b = &l->blocks[i];
    int scope = tape_scope_begin(t), heads = l->stack.heads;
    Tensor *h = op_layer_norm(t, x, &b->attn_norm);
    Tensor *qkv = op_concat(t, op_linear(t, h, &b->q, NULL), op_linear(t, h, &b->k, NULL));
    qkv = op_concat(t, qkv, op_linear(t, h, &b->v, NULL));
    h = causal ? op_causal_attention(t, qkv, heads, true) : op_attention(t, qkv, NULL, heads, true);
    x = op_linear(t, h, &b->c, x);
    h = op_linear(t, op_layer_norm(t, x, &b->mlp_norm), &b->f_1, NULL);
    return tape_scope_end(t, scope, op_linear(t, op_gelu(t, h), &b->f_2, x));
}

Tensor *clip_output_forward(Tape *t, const ClipLayers *l, Tensor *x)
{
    return op_cast(t, op_linear(t, op_layer_norm(t, x, &l->out_norm), &l->out, NULL), DTYPE_F32);
}
