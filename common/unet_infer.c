#include "common/unet_infer.h"

#include <stdio.h>
#include <string.h>

/* --- everything but the levels --- */

static Status infer_level(const StateNames *n, UNetConfig *u, int level)
{
    char name[64];
    int d[4], first = 1 + level * (u->res_blocks + 1);
    snprintf(name, sizeof name, "input_blocks.%d.0.in_layers.2.weight", first);
    TRY(names_shape(n, name, 4, d));
    snprintf(name, sizeof name, "input_blocks.%d.0.out_layers.3.weight", first);
    TRY(names_expect(n, name, 4, (int[]){d[0], d[0], 3, 3}));
    u->mult[level] = (float)d[0] / (float)u->channels;
    if (names_find(n, "input_blocks.%d.1.qkv.weight", first)) u->attention_ds[u->attention_count++] = 1 << level;
    return STATUS_OK;
}

Status unet_infer_encoder(const StateNames *n, UNetConfig *u)
{
    int d[4], cout;
    TRY(names_shape(n, "time_embed.0.weight", 2, d));
    u->channels = d[1];
    TRY(names_expect(n, "time_embed.2.weight", 2, (int[]){4 * u->channels, 4 * u->channels}));
    TRY(names_shape(n, "input_blocks.0.0.weight", 4, d));
    u->in_channels = d[1];
    u->num_classes = 0;
    if (names_find(n, "label_emb.weight")) {
        TRY(names_shape(n, "label_emb.weight", 2, d));
        u->num_classes = d[0];
    }
    u->attention_count = 0;
    for (int level = 0; level < u->levels; level++) TRY(infer_level(n, u, level));
    TRY(names_shape(n, "middle_block.0.in_layers.2.weight", 4, d));
    cout = d[0];
    TRY(names_shape(n, "middle_block.0.emb_layers.1.weight", 2, d));
    u->scale_shift_norm = d[0] == 2 * cout;
    u->resblock_updown = !names_find(n, "input_blocks.%d.0.op.weight", u->res_blocks + 1);
    u->heads = 1;
    u->heads_upsample = -1;
    return STATUS_OK;
}

/* --- the levels --- */

typedef struct Blocks {
    int count;                       /* of input blocks */
    int64_t in[UNET_MAX_BLOCKS], out[UNET_MAX_BLOCKS]; /* channels */
    bool attention[UNET_MAX_BLOCKS], strided[UNET_MAX_BLOCKS]; /* strided: a convolution that downsamples */
} Blocks;

static Status list_blocks(const StateNames *n, Blocks *b)
{
    for (int i = 1;; i++) {
        const StateTensor *conv = names_find(n, "input_blocks.%d.0.in_layers.2.weight", i);
        b->strided[i] = !conv && (conv = names_find(n, "input_blocks.%d.0.op.weight", i));
        b->count = i;
        if (!conv) return STATUS_OK;
        if (i == UNET_MAX_BLOCKS - 1) return status_fail(STATUS_BAD_INPUT, "%s: more input blocks than any model has", n->path);
        if (conv->ndim != 4) return status_fail(STATUS_BAD_INPUT, "%s: %s: expected 4 dimensions", n->path, conv->name);
        b->out[i] = conv->dims[0];
        b->in[i] = conv->dims[1];
        b->attention[i] = names_find(n, "input_blocks.%d.1.qkv.weight", i) != NULL;
    }
}

/* Can there be so many residual blocks to a level? Channels change only in a level's first block, all of its blocks have
 * attention or none, and one that downsamples (the last of each level but the innermost) changes nothing else. */
static bool fits(const Blocks *b, int res_blocks)
{
    int each = res_blocks + 1;
    bool strides = false;
    if (b->count % each || b->count / each > UNET_MAX_LEVELS) return false;
    for (int i = 1; i < b->count; i++) strides = strides || b->strided[i];
    for (int i = 1; i < b->count; i++) {
        bool down = i % each == 0, first = i % each == 1;
        if (down ? b->attention[i] || b->strided[i] != strides : b->strided[i]) return false;
        if (!first && b->in[i] != b->out[i]) return false;
        if (!down && !first && b->attention[i] != b->attention[i - 1]) return false;
    }
    return true;
}

Status unet_infer_levels(const StateNames *n, int res_blocks, UNetConfig *u)
{
    Blocks b = {0};
    char list[128] = "";
    int found = 0;
    TRY(list_blocks(n, &b));
    for (int each = 1; each < b.count; each++) {
        if (!fits(&b, each) || (res_blocks > 0 && each != res_blocks)) continue;
        u->res_blocks = each;
        u->levels = b.count / (each + 1);
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%d", found++ ? ", " : "", each);
    }
    if (found == 1) return STATUS_OK;
    if (found)
        return status_fail(STATUS_BAD_INPUT, "%s: residual blocks per level (num_res_blocks) could be %s; say how many", n->path,
                           list);
    if (b.count < 2) return names_shape(n, "input_blocks.1.0.in_layers.2.weight", 4, (int[4]){0});
    if (res_blocks > 0)
        return status_fail(STATUS_BAD_INPUT, "%s: its %d input blocks are not levels of %d residual blocks", n->path, b.count,
                           res_blocks);
    return status_fail(STATUS_BAD_INPUT, "%s: its %d input blocks are not the levels of %s", n->path, b.count, n->model);
}
