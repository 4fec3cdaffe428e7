#include "text_transformer/text_unet_import.h"

#include "common/unet_infer.h"
#include "text_transformer/guided_diffusion.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* --- the text transformer --- */

static Status infer_text(const StateNames *n, TextConfig *text)
{
    int d[2];
    *text = (TextConfig){0};
    if (!names_find(n, "token_embedding.weight")) return STATUS_OK;
    TRY(names_shape(n, "token_embedding.weight", 2, d));
    text->n_vocab = d[0];
    text->width = d[1];
    TRY(names_shape(n, "positional_embedding", 2, d));
    text->ctx = d[0];
    text->padding = names_find(n, "padding_embedding") != NULL;
    text->final_ln = names_find(n, "final_ln.weight") != NULL;
    while (names_find(n, "transformer.resblocks.%d.ln_1.weight", text->layers)) text->layers++;
    if (text->layers > 0)
        TRY(names_expect(n, "transformer.resblocks.0.attn.c_qkv.weight", 2, (int[]){3 * text->width, text->width}));
    text->heads = text->width == 512 ? 8 : 0;
    return STATUS_OK;
}

/* --- the U-Net --- */

/* Output block i ends with an upsampling layer: the one after the residual block and the attention, if any. */
static bool upsamples(const StateNames *n, int i)
{
    int layer = names_find(n, "output_blocks.%d.1.qkv.weight", i) ? 2 : 1;
    return names_find(n, "output_blocks.%d.%d.in_layers.0.weight", i, layer) ||
           names_find(n, "output_blocks.%d.%d.conv.weight", i, layer);
}

/* There are levels * (res_blocks + 1) output blocks, and all levels but one end with an upsampling. */
static Status infer_levels(const StateNames *n, UNetConfig *u)
{
    int blocks = 0;
    u->levels = 1;
    for (; names_find(n, "output_blocks.%d.0.in_layers.0.weight", blocks); blocks++) u->levels += upsamples(n, blocks);
    if (u->levels > UNET_MAX_LEVELS || blocks % u->levels || blocks / u->levels < 2)
        return status_fail(STATUS_BAD_INPUT, "%s: %d output blocks in %d levels, expected as many in each of up to %d levels",
                           n->path, blocks, u->levels, UNET_MAX_LEVELS);
    u->res_blocks = blocks / u->levels - 1;
    return STATUS_OK;
}

static Status infer_unet(const StateNames *n, UNetConfig *u)
{
    int d[4];
    TRY(names_shape(n, "time_embed.0.weight", 2, d));
    TRY(infer_levels(n, u));
    TRY(unet_infer_encoder(n, u));
    TRY(names_shape(n, "out.2.weight", 4, d));
    u->out_channels = d[0];
    u->head_channels = u->channels == 192 ? 64 : 0;
    return STATUS_OK;
}

Status text_unet_infer(const StateDict *dict, const char *path, TextUNetConfig *c)
{
    StateNames n = {dict, path, "a text-conditional or guided-diffusion U-Net"};
    text_unet_config_defaults(c);
    TRY(infer_text(&n, &c->text));
    TRY(infer_unet(&n, &c->unet));
    int in = c->unet.in_channels;
    c->low_res = in == 6 || in == 10;
    c->inpaint = in == 7 || in == 10;
    c->low_res_level = names_find(&n, "low_res_level.weight") != NULL;
    if (!c->low_res && !c->inpaint && in != 3)
        return status_fail(STATUS_BAD_INPUT, "%s: input_blocks.0.0.weight takes %d channels, expected 3, 6 (a low-resolution "
                           "picture), 7 (inpainting) or 10 (both)", path, in);
    c->unet.image_size = c->low_res ? 256 : 64;
    strcpy(c->noise_schedule, c->low_res ? "linear" : "squaredcos_cap_v2");
    if (c->text.width == 0) guided_complete(c);
    text_unet_config_complete(c);
    return STATUS_OK;
}

/* --- a configuration in JSON --- */

typedef struct Json {
    const char *path;
    const json_t *root;
} Json;

static Status bad_field(const Json *j, const char *name, const char *expected)
{
    return status_fail(STATUS_BAD_INPUT, "%s: %s: expected %s", j->path, name, expected);
}

static Status whole(const Json *j, const char *name, int low, int high, int *out)
{
    char expected[64];
    const json_t *value = json_object_get(j->root, name);
    json_int_t number = json_integer_value(value);
    snprintf(expected, sizeof expected, "a whole number from %d to %d", low, high);
    if (!json_is_integer(value) || number < low || number > high) return bad_field(j, name, expected);
    *out = (int)number;
    return STATUS_OK;
}

static Status levels_from_json(const Json *j, UNetConfig *u)
{
    const json_t *mult = json_object_get(j->root, "mult"), *sizes = json_object_get(j->root, "attention");
    size_t levels = json_array_size(mult), count = json_array_size(sizes);
    if (levels < 1 || levels > UNET_MAX_LEVELS) return bad_field(j, "mult", "a list of up to 8 factors");
    u->levels = (int)levels;
    for (size_t i = 0; i < levels; i++) {
        u->mult[i] = (float)json_number_value(json_array_get(mult, i));
        if (!(u->mult[i] > 0 && u->mult[i] <= 4096)) return bad_field(j, "mult", "factors above 0");
    }
    if (!json_is_array(sizes) || count > UNET_MAX_LEVELS) return bad_field(j, "attention", "a list of up to 8 sizes");
    u->attention_count = (int)count;
    for (size_t i = 0; i < count; i++) {
        json_int_t size = json_integer_value(json_array_get(sizes, i));
        if (size < 1 || size > u->image_size || u->image_size % size)
            return bad_field(j, "attention", "sizes that divide image_size");
        u->attention_ds[i] = u->image_size / (int)size;
    }
    return STATUS_OK;
}

static Status schedule_from_json(const Json *j, TextUNetConfig *c)
{
    const char *schedule = json_string_value(json_object_get(j->root, "schedule"));
    if (!schedule) return bad_field(j, "schedule", "cosine or linear");
    if (!strcmp(schedule, "cosine")) schedule = "squaredcos_cap_v2";
    if (strcmp(schedule, "squaredcos_cap_v2") && strcmp(schedule, "linear"))
        return bad_field(j, "schedule", "cosine or linear");
    strcpy(c->noise_schedule, schedule);
    return STATUS_OK;
}

static Status config_from_json(const Json *j, TextUNetConfig *c)
{
    int in = 0;
    text_unet_config_defaults(c);
    TRY(whole(j, "image_size", 1, 4096, &c->unet.image_size));
    TRY(whole(j, "in_channels", 3, 10, &in));
    TRY(whole(j, "channels", 1, 16384, &c->unet.channels));
    TRY(whole(j, "blocks", 1, 16, &c->unet.res_blocks));
    TRY(whole(j, "head_channels", 1, 16384, &c->unet.head_channels));
    TRY(whole(j, "n_vocab", 1, 1 << 24, &c->text.n_vocab));
    TRY(whole(j, "text_ctx", 1, 65536, &c->text.ctx));
    TRY(whole(j, "text_width", 1, 65536, &c->text.width));
    TRY(whole(j, "text_layers", 0, 1024, &c->text.layers));
    TRY(whole(j, "text_heads", 1, 65536, &c->text.heads));
    TRY(levels_from_json(j, &c->unet));
    TRY(schedule_from_json(j, c));
    c->unet.dropout = (float)json_number_value(json_object_get(j->root, "dropout"));
    c->low_res = in == 6 || in == 10;
    c->inpaint = in == 7 || in == 10;
    text_unet_config_complete(c);
    return c->unet.in_channels == in ? STATUS_OK : bad_field(j, "in_channels", "3, 6, 7 or 10");
}

Status text_unet_config_from_json(const char *path, TextUNetConfig *c, int64_t *steps, int64_t *batch)
{
    json_error_t error;
    FILE *file = fopen(path, "rb");
    if (!file) return status_fail(STATUS_IO, "%s: %m", path);
    json_t *root = json_loadf(file, 0, &error);
    fclose(file);
    if (!root) return status_fail(STATUS_BAD_INPUT, "%s: line %d: %s", path, error.line, error.text);
    Status s = config_from_json(&(Json){path, root}, c);
    if (steps) *steps = json_integer_value(json_object_get(root, "step"));
    if (batch) *batch = json_integer_value(json_object_get(root, "batch"));
    json_decref(root);
    return s;
}

/* --- the parameters --- */

Status text_unet_import(StateDict *dict, const TextUNetConfig *config, TextUNet **out)
{
    TRY(text_unet_new(config, out));
    Status s = state_dict_bind(dict, &(*out)->params);
    if (s == STATUS_OK) return STATUS_OK;
    text_unet_free(*out);
    *out = NULL;
    return s;
}
