#include "guidance/classifier_import.h"

#include "common/unet_infer.h"

#include <math.h>
#include <string.h>

/* Which head: by the names it has, and the dimensions where two have the same. */
static Status infer_pool(const StateNames *n, ClassifierConfig *c)
{
    const StateTensor *last = names_find(n, "out.3.weight");
    if (names_find(n, "out.2.positional_embedding")) strcpy(c->pool, "attention");
    else if (last && last->ndim == 4) strcpy(c->pool, "adaptive");
    else if (last) strcpy(c->pool, "spatial_v2");
    else strcpy(c->pool, "spatial");
    if (!names_find(n, "output_blocks.0.0.in_layers.0.weight")) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: it has output blocks: a U-Net, not %s", n->path, n->model);
}

/* Positions are the mean's and those of the pixels in the middle. */
static Status infer_image_size(const StateNames *n, UNetConfig *u)
{
    int d[2];
    TRY(names_shape(n, "out.2.positional_embedding", 2, d));
    int side = (int)lrint(sqrt(d[1] - 1));
    if (side < 1 || side * side != d[1] - 1 || side > 4096 >> (u->levels - 1))
        return status_fail(STATUS_BAD_INPUT, "%s: out.2.positional_embedding has %d positions, expected a square and one",
                           n->path, d[1]);
    u->image_size = side << (u->levels - 1);
    return STATUS_OK;
}

static Status infer_head(const StateNames *n, ClassifierConfig *c)
{
    int d[4];
    UNetConfig *u = &c->unet;
    if (!strcmp(c->pool, "attention")) {
        TRY(names_shape(n, "out.2.c_proj.weight", 3, d));
        TRY(infer_image_size(n, u));
    } else if (!strcmp(c->pool, "adaptive")) {
        TRY(names_shape(n, "out.3.weight", 4, d));
    } else {
        int hidden[2];
        TRY(names_shape(n, "out.0.weight", 2, hidden));
        c->pool_width = hidden[0];
        TRY(names_shape(n, !strcmp(c->pool, "spatial") ? "out.2.weight" : "out.3.weight", 2, d));
    }
    u->out_channels = d[0];
    return STATUS_OK;
}

Status classifier_infer(const StateDict *dict, const char *path, int res_blocks, ClassifierConfig *c)
{
    StateNames n = {dict, path, "a guided-diffusion classifier"};
    int d[2];
    classifier_config_defaults(c);
    TRY(names_shape(&n, "time_embed.0.weight", 2, d));
    TRY(infer_pool(&n, c));
    TRY(unet_infer_levels(&n, res_blocks, &c->unet));
    TRY(unet_infer_encoder(&n, &c->unet));
    c->unet.head_channels = c->unet.channels == 128 ? 64 : 0;
    return infer_head(&n, c);
}

Status classifier_import(StateDict *dict, const ClassifierConfig *config, Classifier **out)
{
    TRY(classifier_new(config, out));
    Status s = state_dict_bind(dict, &(*out)->params);
    if (s == STATUS_OK) return STATUS_OK;
    classifier_free(*out);
    *out = NULL;
    return s;
}
