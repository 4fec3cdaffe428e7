#include "glide/ablation/judge_model.h"

#include "common/diffusion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void judge_config_defaults(JudgeConfig *c)
{
    *c = (JudgeConfig){.image_size = 64, .channels = {64, 128, 192, 256}, .levels = 4, .blocks = 1, .embedding = 96,
                       .n_vocab = 1536, .text_ctx = 40, .text_width = 96, .text_hidden = 256, .logit_scale = 20};
}

/* --- construction ------------------------------------------------------------------------------- */

static Status check_range(const char *field, int value, int low, int high)
{
    if (value >= low && value <= high) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: expected %d to %d, found %d", field, low, high, value);
}

static Status check_config(const JudgeConfig *c)
{
    TRY(check_range("image_size", c->image_size, 2, 4096));
    TRY(check_range("channels", c->levels, 1, JUDGE_MOST_LEVELS));
    TRY(check_range("blocks", c->blocks, 0, JUDGE_MOST_BLOCKS));
    TRY(check_range("embedding", c->embedding, 1, 1 << 16));
    TRY(check_range("n_vocab", c->n_vocab, 1, 1 << 24));
    TRY(check_range("text_ctx", c->text_ctx, 1, 1 << 16));
    TRY(check_range("text_width", c->text_width, 1, 1 << 16));
    TRY(check_range("text_hidden", c->text_hidden, 1, 1 << 16));
    for (int i = 0; i < c->levels; i++)
        if (c->channels[i] < GROUP_NORM_GROUPS || c->channels[i] > 1 << 16 || c->channels[i] % GROUP_NORM_GROUPS)
            return status_fail(STATUS_BAD_INPUT, "channels: expected multiples of %d, found %d", GROUP_NORM_GROUPS, c->channels[i]);
    if (c->image_size % (1 << c->levels))
        return status_fail(STATUS_BAD_INPUT, "image_size: %d pixels cannot be halved %d times", c->image_size, c->levels);
    return STATUS_OK;
}

static void make_level(Judge *j, int l)
{
    char name[64];
    const JudgeConfig *c = &j->config;
    JudgeLevel *level = &j->levels[l];
    const int64_t C = c->channels[l];
    snprintf(name, sizeof name, "image.levels.%d.down", l);
    level->down = conv2d_make(&j->params, l ? c->channels[l - 1] : IMAGE_CHANNELS, C, 3, 2, 1, name);
    for (int b = 0; b < c->blocks; b++)
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "image.levels.%d.blocks.%d.norm%d", l, b, i);
            level->blocks[b].norm[i] = norm_make(&j->params, C, name);
            snprintf(name, sizeof name, "image.levels.%d.blocks.%d.conv%d", l, b, i);
            level->blocks[b].conv[i] = conv2d_make(&j->params, C, C, 3, 1, i ? 0.5f : 1, name);
        }
}

static void make_params(Judge *j)
{
    const JudgeConfig *c = &j->config;
    const int64_t features = c->channels[c->levels - 1];
    for (int l = 0; l < c->levels; l++) make_level(j, l);
    j->out_norm = norm_make(&j->params, features, "image.out_norm");
    j->out = linear_make(&j->params, features, c->embedding, 1, "image.out");
    j->tokens = params_add(&j->params, INIT_NORMAL, 1, 2, (int64_t[]){c->n_vocab, c->text_width}, "text.tokens");
    j->text_layers[0] = linear_make(&j->params, 3 * (int64_t)c->text_width, c->text_hidden, 1.7f, "text.layers.0");
    j->text_layers[1] = linear_make(&j->params, c->text_hidden, c->text_hidden, 1.7f, "text.layers.1");
    j->text_out = linear_make(&j->params, c->text_hidden, c->embedding, 1, "text.out");
}

Status judge_new(const JudgeConfig *config, bool shapes_only, Judge **out)
{
    *out = NULL;
    TRY(check_config(config));
    Judge *j = calloc(1, sizeof *j);
    if (!j) return status_fail(STATUS_NO_MEMORY, "out of memory for a judge");
    j->config = *config;
    params_init(&j->params);
    j->params.shapes_only = shapes_only;
    make_params(j);
    if (!j->text_out.bias) { /* the last parameter could not be registered */
        judge_free(j);
        return status_fail(STATUS_NO_MEMORY, "out of memory for the judge's parameters");
    }
    *out = j;
    return STATUS_OK;
}

/* --- pictures ------------------------------------------------------------------------------------ */

static Tensor *block_forward(Tape *t, const JudgeBlock *b, Tensor *x)
{
    int scope = tape_scope_begin(t);
    Tensor *h = op_conv2d(t, op_group_norm(t, x, &b->norm[0], NULL, ACT_SILU), &b->conv[0], NULL);
    return tape_scope_end(t, scope, op_conv2d(t, op_group_norm(t, h, &b->norm[1], NULL, ACT_SILU), &b->conv[1], x));
}

static bool takes_picture(Tape *t, const Judge *j, const Tensor *x)
{
    const int side = j->config.image_size;
    char found[96];
    if (x->ndim == 4 && x->dims[1] == side && x->dims[2] == side && x->dims[3] == IMAGE_CHANNELS) return true;
    tape_fail(t, STATUS_BAD_INPUT, "the judge sees pictures of %d x %d pixels, found %s", side, side,
              tensor_describe(x, found, sizeof found));
    return false;
}

void judge_image_maps(Tape *t, const Judge *j, Tensor *x, Tensor *maps[JUDGE_MOST_LEVELS])
{
    memset(maps, 0, JUDGE_MOST_LEVELS * sizeof *maps);
    if (tape_failed(t) || !takes_picture(t, j, x)) return;
    Tensor *h = op_cast(t, x, tape_dtype(t));
    for (int l = 0; l < j->config.levels; l++) {
        h = op_conv2d(t, h, &j->levels[l].down, NULL);
        for (int b = 0; b < j->config.blocks; b++) h = block_forward(t, &j->levels[l].blocks[b], h);
        maps[l] = h;
    }
}

Tensor *judge_image_forward(Tape *t, const Judge *j, Tensor *x, Tensor **features)
{
    Tensor *maps[JUDGE_MOST_LEVELS];
    if (tape_failed(t)) return NULL;
    const JudgeConfig *c = &j->config;
    const int64_t N = x->dims[0], side = c->image_size >> c->levels, F = c->channels[c->levels - 1];
    judge_image_maps(t, j, x, maps);
    Tensor *h = op_group_norm(t, maps[c->levels - 1], &j->out_norm, NULL, ACT_SILU);
    Tensor *pooled = op_mean_positions(t, op_reshape(t, h, 3, (int64_t[]){N, side * side, F}));
    if (features) *features = pooled;
    return op_unit_length(t, op_linear(t, pooled, &j->out, NULL));
}

/* --- texts --------------------------------------------------------------------------------------- */

/* ids (3,N,T): the token before each one, each one, the one after; where there is none, the end token. */
static void fill_neighbours(const Judge *j, const int32_t *tokens, int64_t N, int32_t *ids)
{
    const int64_t T = j->config.text_ctx;
    const int32_t none = j->config.n_vocab - 1;
    for (int64_t i = 0; i < N * T; i++) {
        ids[i] = i % T > 0 ? tokens[i - 1] : none;
        ids[N * T + i] = tokens[i];
        ids[2 * N * T + i] = i % T < T - 1 ? tokens[i + 1] : none;
    }
}

static Tensor *embed_with_neighbours(Tape *t, const Judge *j, const int32_t *tokens, int64_t N)
{
    const int64_t count = N * j->config.text_ctx;
    int32_t *ids = malloc(3 * (size_t)count * sizeof *ids);
    if (!ids) {
        tape_fail(t, STATUS_NO_MEMORY, "out of memory for %lld texts", (long long)N);
        return NULL;
    }
    fill_neighbours(j, tokens, N, ids);
    Tensor *h = op_embedding(t, ids, count, j->tokens);
    h = op_concat(t, h, op_embedding(t, ids + count, count, j->tokens));
    h = op_concat(t, h, op_embedding(t, ids + 2 * count, count, j->tokens));
    free(ids);
    return h;
}

static bool text_lengths(Tape *t, const Judge *j, const uint8_t *mask, int64_t N, int32_t **out)
{
    const int64_t T = j->config.text_ctx;
    *out = malloc((size_t)N * sizeof **out);
    if (!*out) {
        tape_fail(t, STATUS_NO_MEMORY, "out of memory for %lld texts", (long long)N);
        return false;
    }
    for (int64_t n = 0; n < N; n++) {
        int32_t length = 0;
        while (length < T && mask[n * T + length]) length++;
        (*out)[n] = length > 0 ? length : 1; /* an empty text is its end token */
    }
    return true;
}

Tensor *judge_text_forward(Tape *t, const Judge *j, const int32_t *tokens, const uint8_t *mask, int64_t N)
{
    int32_t *lengths;
    if (tape_failed(t) || !text_lengths(t, j, mask, N, &lengths)) return NULL;
    Tensor *h = embed_with_neighbours(t, j, tokens, N);
    for (int i = 0; i < 2; i++) h = op_silu(t, op_linear(t, h, &j->text_layers[i], NULL));
    h = op_reshape(t, h, 3, (int64_t[]){N, j->config.text_ctx, j->config.text_hidden});
    h = op_mean_first_positions(t, h, lengths);
    free(lengths);
    return op_unit_length(t, op_linear(t, h, &j->text_out, NULL));
}
