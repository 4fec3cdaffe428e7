#include "guidance/classifier.h"

#include "common/diffusion.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const pool_names[] = {"attention", "adaptive", "spatial", "spatial_v2"};

void classifier_config_defaults(ClassifierConfig *c)
{
    *c = (ClassifierConfig){.pool = "attention", .pool_width = 2048, .noise_schedule = "linear", .diffusion_steps = 1000};
    c->unet = (UNetConfig){.image_size = 64, .in_channels = IMAGE_CHANNELS, .out_channels = 1000, .channels = 128, .levels = 4,
                           .mult = {1, 2, 3, 4}, .res_blocks = 4, .attention_count = 3, .attention_ds = {2, 4, 8},
                           .head_channels = 64, .heads = 1, .heads_upsample = -1, .scale_shift_norm = true,
                           .resblock_updown = true};
}

/* --- construction ------------------------------------------------------------------------------- */

static Status find_pool(const char *name, ClassifierPool *out)
{
    for (int i = 0; i <= POOL_SPATIAL_V2; i++)
        if (!strcmp(name, pool_names[i])) {
            *out = (ClassifierPool)i;
            return STATUS_OK;
        }
    return status_fail(STATUS_BAD_INPUT, "pool: expected attention, adaptive, spatial or spatial_v2, found %.15s", name);
}

static Status check_config(const ClassifierConfig *c, ClassifierPool *pool)
{
    const UNetConfig *u = &c->unet;
    TRY(find_pool(c->pool, pool));
    TRY(unet_config_check(u));
    TRY(diffusion_check(c->noise_schedule, c->diffusion_steps));
    if (u->num_classes || u->encoder_channels)
        return status_fail(STATUS_BAD_INPUT, "a classifier takes neither labels nor text");
    if (u->in_channels != IMAGE_CHANNELS)
        return status_fail(STATUS_BAD_INPUT, "in_channels: a classifier takes %d, found %d", IMAGE_CHANNELS, u->in_channels);
    if (u->image_size % (1 << (u->levels - 1)))
        return status_fail(STATUS_BAD_INPUT, "image_size: %d pixels cannot be halved %d times", u->image_size, u->levels - 1);
    if (*pool == POOL_ATTENTION && u->head_channels <= 0)
        return status_fail(STATUS_BAD_INPUT, "num_head_channels: a classifier with pool attention needs it");
    if (c->styles < 0 || (c->styles > 0 && (c->styles >= u->out_channels || u->out_channels > 1 << 14)))
        return status_fail(STATUS_BAD_INPUT, "styles: expected fewer than out_channels, %d, found %d", u->out_channels, c->styles);
    if (c->pool_width < 1 || c->pool_width > 65536 || (*pool == POOL_SPATIAL_V2 && c->pool_width % GROUP_NORM_GROUPS))
        return status_fail(STATUS_BAD_INPUT, "pool_width: expected 1 to 65536 (a multiple of 32 with spatial_v2), found %d",
                           c->pool_width);
    return STATUS_OK;
}

/* Pixels per side in the middle. */
static int64_t middle_side(const UNetConfig *u)
{
    return u->image_size >> (u->levels - 1);
}

static void make_head(Classifier *m)
{
    const UNetEncoder *e = &m->encoder;
    ParamSet *set = &m->params;
    int64_t C = e->channels[e->input_count - 1], classes = e->config.out_channels, features = C, side = middle_side(&e->config);
    int64_t width = m->config.pool_width;
    for (int i = 0; i < e->input_count; i++) features += e->channels[i];
    switch (m->pool) {
    case POOL_ATTENTION:
        m->norm = norm_make(set, C, "out.0");
        m->positions = params_add(set, INIT_NORMAL, 1 / sqrtf((float)C), 2, (int64_t[]){C, 1 + side * side},
                                  "out.2.positional_embedding");
        m->qkv = linear1d_make(set, C, 3 * C, 1, "out.2.qkv_proj");
        m->out = linear1d_make(set, C, classes, 1, "out.2.c_proj");
        return;
    case POOL_ADAPTIVE:
        m->norm = norm_make(set, C, "out.0");
        m->out_conv = conv2d_make(set, C, classes, 1, 1, 0, "out.3");
        return;
    case POOL_SPATIAL:
        m->hidden = linear_make(set, features, width, 1, "out.0");
        m->out = linear_make(set, width, classes, 1, "out.2");
        return;
    case POOL_SPATIAL_V2:
        m->hidden = linear_make(set, features, width, 1, "out.0");
        m->norm = norm_make(set, width, "out.1");
        m->out = linear_make(set, width, classes, 1, "out.3");
    }
}

static Status new_model(const ClassifierConfig *config, bool shapes_only, Classifier **out)
{
    ClassifierPool pool = POOL_ATTENTION;
    *out = NULL;
    TRY(check_config(config, &pool));
    Classifier *m = calloc(1, sizeof *m);
    if (!m) return status_fail(STATUS_NO_MEMORY, "out of memory for a classifier");
    m->config = *config;
    m->pool = pool;
    params_init(&m->params);
    m->params.shapes_only = shapes_only;
    unet_encoder_make(&config->unet, &m->params, &m->encoder);
    make_head(m);
    if (!(m->pool == POOL_ADAPTIVE ? m->out_conv.bias : m->out.bias)) { /* the last parameter could not be registered */
        classifier_free(m);
        return status_fail(STATUS_NO_MEMORY, "out of memory for the classifier's parameters");
    }
    *out = m;
    return STATUS_OK;
}

Status classifier_new(const ClassifierConfig *config, Classifier **out)
{
    return new_model(config, false, out);
}

Status classifier_new_shapes(const ClassifierConfig *config, Classifier **out)
{
    return new_model(config, true, out);
}

void classifier_free(Classifier *m)
{
    if (!m) return;
    params_release(&m->params);
    free(m->subject_names);
    free(m->style_names);
    free(m);
}

/* --- classes ------------------------------------------------------------------------------------- */

int classifier_classes(const ClassifierConfig *c)
{
    return c->styles > 0 ? (c->unet.out_channels - c->styles) * c->styles : c->unet.out_channels;
}

/* As h5file_load_texts() gives them: pointers and what they point to in one block. */
static char **copy_names(const char *const *names, int count)
{
    size_t size = (size_t)count * sizeof(char *);
    for (int i = 0; i < count; i++) size += strlen(names[i]) + 1;
    char **copy = malloc(size + 1), *at = (char *)(copy + count);
    for (int i = 0; copy && i < count; i++) {
        copy[i] = at;
        at = stpcpy(at, names[i]) + 1;
    }
    return copy;
}

Status classifier_set_names(Classifier *m, const char *const *subjects, const char *const *styles)
{
    free(m->subject_names);
    free(m->style_names);
    m->subject_names = copy_names(subjects, m->config.unet.out_channels - m->config.styles);
    m->style_names = copy_names(styles, m->config.styles);
    if (m->subject_names && m->style_names) return STATUS_OK;
    return status_fail(STATUS_NO_MEMORY, "out of memory for the names of classes");
}

static int find_name(char **names, int count, const char *name, size_t length)
{
    for (int i = 0; names && i < count; i++)
        if (strlen(names[i]) == length && !memcmp(names[i], name, length)) return i;
    return -1;
}

static int label_of(const Classifier *m, const char *subject, size_t length, const char *style)
{
    int i = find_name(m->subject_names, m->config.unet.out_channels - m->config.styles, subject, length);
    int j = find_name(m->style_names, m->config.styles, style, strlen(style));
    return i < 0 || j < 0 ? -1 : i * m->config.styles + j;
}

int classifier_label(const Classifier *m, const char *subject, const char *style)
{
    return label_of(m, subject, strlen(subject), style);
}

Status classifier_parse_label(const Classifier *m, const char *text, int *label)
{
    char *end;
    const char *comma = strchr(text, ',');
    int classes = classifier_classes(&m->config);
    long number = strtol(text, &end, 10);
    *label = -1;
    if (*text && !*end && number >= 0 && number < classes) *label = (int)number;
    else if (comma) *label = label_of(m, text, (size_t)(comma - text), comma + 1 + strspn(comma + 1, " "));
    if (*label >= 0) return STATUS_OK;
    if (!m->subject_names)
        return status_fail(STATUS_BAD_INPUT, "class: expected a number from 0 to %d, found \"%.60s\"", classes - 1, text);
    return status_fail(STATUS_BAD_INPUT, "class: expected a number from 0 to %d, or two names such as \"%s, %s\", found \"%.60s\"",
                       classes - 1, m->subject_names[0], m->style_names[0], text);
}

/* --- forward ------------------------------------------------------------------------------------- */

static Tensor *as_tokens(Tape *t, Tensor *x)
{
    if (tape_failed(t)) return NULL;
    return op_reshape(t, x, 3, (int64_t[]){x->dims[0], x->dims[1] * x->dims[2], x->dims[3]});
}

/* x (N,h,w,C) -> (N,classes) */
static Tensor *pool_attention(Tape *t, const Classifier *m, Tensor *x)
{
    const UNetConfig *u = &m->config.unet;
    int64_t N = x->dims[0], C = x->dims[3], side = middle_side(u);
    if (x->dims[1] * x->dims[2] != side * side) {
        tape_fail(t, STATUS_BAD_INPUT, "this classifier is for pictures of %d x %d pixels", u->image_size, u->image_size);
        return NULL;
    }
    Tensor *h = as_tokens(t, op_group_norm(t, x, &m->norm, NULL, ACT_SILU));
    h = op_join_positions(t, op_reshape(t, op_mean_positions(t, h), 3, (int64_t[]){N, 1, C}), h);
    h = op_add_positions(t, h, m->positions, true);
    h = op_attention(t, op_linear(t, h, &m->qkv, NULL), NULL, (int)(C / u->head_channels), true);
    return op_linear(t, op_take_position(t, h, 0), &m->out, NULL);
}

static Tensor *pool_adaptive(Tape *t, const Classifier *m, Tensor *x)
{
    int64_t N = x->dims[0], C = x->dims[3];
    Tensor *mean = op_mean_positions(t, as_tokens(t, op_group_norm(t, x, &m->norm, NULL, ACT_SILU)));
    Tensor *y = op_conv2d(t, op_reshape(t, mean, 4, (int64_t[]){N, 1, 1, C}), &m->out_conv, NULL);
    return op_reshape(t, y, 2, (int64_t[]){N, m->config.unet.out_channels});
}

static Tensor *pool_spatial(Tape *t, const Classifier *m, const UNetEncoding *code)
{
    Tensor *means = op_mean_positions(t, as_tokens(t, code->blocks[0]));
    for (int i = 1; i < m->encoder.input_count; i++)
        means = op_concat(t, means, op_mean_positions(t, as_tokens(t, code->blocks[i])));
    means = op_concat(t, means, op_mean_positions(t, as_tokens(t, code->middle)));
    Tensor *h = op_linear(t, means, &m->hidden, NULL);
    if (m->pool == POOL_SPATIAL) return op_linear(t, op_relu(t, h), &m->out, NULL);
    if (tape_failed(t)) return NULL;
    const int64_t N = h->dims[0], width = h->dims[1];
    h = op_group_norm(t, op_reshape(t, h, 3, (int64_t[]){N, 1, width}), &m->norm, NULL, ACT_SILU);
    return op_linear(t, op_reshape(t, h, 2, (int64_t[]){N, width}), &m->out, NULL);
}

Tensor *classifier_forward(Tape *t, const Classifier *m, Tensor *x, const float *timesteps, const UNetTrace *trace)
{
    if (tape_failed(t)) return NULL;
    int scope = tape_scope_begin(t);
    UNetEncoding code = unet_encoder_forward(t, &m->encoder, x, timesteps, &(UNetCondition){0}, trace);
    Tensor *logits, *middle = op_cast(t, code.middle, DTYPE_F32);
    if (tape_failed(t)) return NULL;
    if (m->pool == POOL_ATTENTION) logits = pool_attention(t, m, middle);
    else if (m->pool == POOL_ADAPTIVE) logits = pool_adaptive(t, m, middle);
    else logits = pool_spatial(t, m, &code);
    if (m->config.styles > 0) logits = op_outer_sum(t, logits, m->config.unet.out_channels - m->config.styles);
    unet_trace_block(trace, "out", -1, logits);
    return tape_scope_end(t, scope, logits);
}
