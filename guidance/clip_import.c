#include "guidance/clip_import.h"

#include "common/state_names.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- configuration from names and shapes --- */

static Status infer_stack(const StateNames *n, int width, int published, ClipStack *s)
{
    *s = (ClipStack){.width = width, .heads = width == published ? width / 64 : 0};
    while (s->layers < 1024 && names_find(n, "blocks.block_%d.f_attn.f_q.w", s->layers)) s->layers++;
    TRY(names_expect(n, "blocks.block_0.f_attn.f_q.w", 2, (int[]){width, width}));
    return names_expect(n, "blocks.block_0.f_mlp.f_1.w", 2, (int[]){4 * width, width});
}

static Status infer_image(const StateNames *n, ClipConfig *c)
{
    int d[4];
    TRY(names_shape(n, "blocks.input.w_t", 2, d));
    c->n_timesteps = d[0];
    TRY(infer_stack(n, d[1], 768, &c->image));
    TRY(names_shape(n, "blocks.input.patch_proj", 4, d));
    c->patch_size = d[2];
    TRY(names_expect(n, "blocks.input.patch_proj", 4, (int[]){c->image.width, 3, c->patch_size, c->patch_size}));
    TRY(names_shape(n, "blocks.input.w_pos", 2, d));
    int side = (int)lrint(sqrt(d[0] - 1));
    if (side < 1 || side > 256 || side * side != d[0] - 1 || c->patch_size > 4096 / side)
        return status_fail(STATUS_BAD_INPUT, "%s: blocks.input.w_pos has %d positions, expected a square and one", n->path, d[0]);
    c->image_size = side * c->patch_size;
    TRY(names_shape(n, "blocks.output.f.w", 2, d));
    c->n_embd = d[0];
    return STATUS_OK;
}

static Status infer_text(const StateNames *n, ClipConfig *c)
{
    int d[2];
    TRY(names_shape(n, "blocks.input.w_voc", 2, d));
    c->n_vocab = d[0];
    TRY(infer_stack(n, d[1], 512, &c->text));
    TRY(names_shape(n, "blocks.input.w_pos", 2, d));
    c->max_text_len = d[0];
    return names_expect(n, "blocks.output.f.w", 2, (int[]){c->n_embd, c->text.width});
}

Status clip_infer(const StateDict *image, const char *image_path, const StateDict *text, const char *text_path, ClipConfig *c)
{
    clip_config_defaults(c);
    TRY(infer_image(&(StateNames){image, image_path, "the image encoder of a noise-aware CLIP"}, c));
    return infer_text(&(StateNames){text, text_path, "the text encoder of a noise-aware CLIP"}, c);
}

/* --- a configuration file --- */

static const struct YamlField {
    const char *name;
    size_t offset;
} yaml_fields[] = {
    {"image_size", offsetof(ClipConfig, image_size)},
    {"patch_size", offsetof(ClipConfig, patch_size)},
    {"n_embd", offsetof(ClipConfig, n_embd)},
    {"n_head_image", offsetof(ClipConfig, image.heads)},
    {"n_xf_blocks_image", offsetof(ClipConfig, image.layers)},
    {"n_head_text", offsetof(ClipConfig, text.heads)},
    {"n_xf_blocks_text", offsetof(ClipConfig, text.layers)},
    {"n_vocab", offsetof(ClipConfig, n_vocab)},
    {"max_text_len", offsetof(ClipConfig, max_text_len)},
    {"n_timesteps", offsetof(ClipConfig, n_timesteps)},
};

/* What follows NAME and a colon on a line; head_state: widths of a head, which are no fields of their own. */
static bool set_field(ClipConfig *c, const char *name, const char *value, int head_state[2])
{
    char *end;
    if (!strcmp(name, "beta_schedule")) {
        size_t n = strcspn(value, "\"' ");
        if (n == 0 || n >= sizeof c->beta_schedule) return false;
        snprintf(c->beta_schedule, sizeof c->beta_schedule, "%.*s", (int)n, value);
        return true;
    }
    double number = strtod(value, &end);
    if (end == value || *end) return false;
    if (!strcmp(name, "logit_scale")) {
        c->logit_scale = number;
        return true;
    }
    if (!(number >= 1 && number <= 1 << 24) || number != rint(number)) return false;
    if (!strcmp(name, "n_head_state_image")) head_state[0] = (int)number;
    else if (!strcmp(name, "n_head_state_text")) head_state[1] = (int)number;
    for (size_t i = 0; i < sizeof yaml_fields / sizeof *yaml_fields; i++)
        if (!strcmp(name, yaml_fields[i].name)) *(int *)((char *)c + yaml_fields[i].offset) = (int)number;
    return true; /* others concern nobody here */
}

static Status read_line(const char *path, int number, char *line, ClipConfig *c, int head_state[2])
{
    line[strcspn(line, "#\r\n")] = 0;
    char *name = line + strspn(line, " \t"), *colon = strchr(name, ':');
    if (!*name) return STATUS_OK;
    if (colon) {
        char *value = colon + 1 + strspn(colon + 1, " \t\"'"), *end = value + strlen(value);
        *colon = 0;
        while (end > value && strchr(" \t\"'", end[-1])) *--end = 0;
        if (set_field(c, name, value, head_state)) return STATUS_OK;
    }
    return status_fail(STATUS_BAD_INPUT, "%s: line %d: expected \"name: value\" as in CLIP's config.yaml, found \"%.40s\"", path,
                       number, name);
}

Status clip_config_from_yaml(const char *path, ClipConfig *c)
{
    char *line = NULL;
    size_t room = 0;
    int head_state[2] = {0}, number = 0;
    FILE *file = fopen(path, "r");
    if (!file) return status_fail(STATUS_IO, "%s: %m", path);
    Status s = STATUS_OK;
    while (s == STATUS_OK && getline(&line, &room, file) >= 0) s = read_line(path, ++number, line, c, head_state);
    if (s == STATUS_OK && ferror(file)) s = status_fail(STATUS_IO, "%s: %m", path); /* a folder, say */
    free(line);
    fclose(file);
    TRY(s);
    if (head_state[0] > 0 && c->image.heads <= 65536 / head_state[0]) c->image.width = c->image.heads * head_state[0];
    if (head_state[1] > 0 && c->text.heads <= 65536 / head_state[1]) c->text.width = c->text.heads * head_state[1];
    return STATUS_OK;
}

/* --- the parameters --- */

const char *clip_param_name(const Param *param, bool *text)
{
    *text = !strncmp(param->name, CLIP_TEXT_PREFIX, strlen(CLIP_TEXT_PREFIX));
    return param->name + strlen(*text ? CLIP_TEXT_PREFIX : CLIP_IMAGE_PREFIX);
}

/* Bind one encoder: its parameters under the names they have in the dict. The copies share their values with the model. */
static Status bind_encoder(StateDict *dict, const ParamSet *params, bool text)
{
    bool is_text;
    ParamSet part = {0};
    Param *copies = calloc((size_t)params->count, sizeof *copies);
    part.items = calloc((size_t)params->count, sizeof *part.items);
    Status s = copies && part.items ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for CLIP's parameters");
    for (int i = 0; i < params->count && s == STATUS_OK; i++) {
        const Param *param = params->items[i];
        const char *name = clip_param_name(param, &is_text);
        if (is_text != text) continue;
        Param *copy = part.items[part.count] = &copies[part.count];
        part.count++;
        *copy = *param;
        copy->name += name - param->name;
    }
    if (s == STATUS_OK) s = state_dict_bind(dict, &part);
    free(copies);
    free(part.items);
    return s;
}

Status clip_import(StateDict *image, StateDict *text, const ClipConfig *config, Clip **out)
{
    TRY(clip_new(config, out));
    Status s = bind_encoder(image, &(*out)->params, false);
    if (s == STATUS_OK) s = bind_encoder(text, &(*out)->params, true);
    params_touch(&(*out)->params);
    if (s == STATUS_OK) return STATUS_OK;
    clip_free(*out);
    *out = NULL;
    return s;
}
