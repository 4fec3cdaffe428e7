/* Parity of the guides: classifier_*.h5 and clip.h5. */
#include "common/diffusion.h"
#include "guidance/classifier_import.h"
#include "guidance/clip_import.h"
#include "guidance/guide.h"
#include "tests/support_parity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- what both have --- */

typedef struct Inputs {
    Parity *p;
    const H5File *file;
    const char *file_name;
    int64_t N, H, W;
    float *x, *timesteps;
} Inputs;

static const char *item_of(const Inputs *in, const char *what)
{
    return parity_text(in->p, "%s %s", in->file_name, what);
}

/* Timesteps are stored as floats or as whole numbers. */
static Status load_timesteps(Inputs *in)
{
    H5Info info;
    int32_t *steps;
    TRY(h5file_stat(in->file, "timesteps", &info));
    if (info.kind != H5KIND_I32) return parity_f32(in->p, in->file, "timesteps", 1, &in->N, &in->timesteps);
    TRY(parity_i32(in->p, in->file, "timesteps", 1, &in->N, &steps));
    in->timesteps = parity_alloc(in->p, in->N, sizeof *in->timesteps);
    for (int64_t i = 0; i < in->N; i++) in->timesteps[i] = (float)steps[i];
    return STATUS_OK;
}

static Status load_inputs(Inputs *in)
{
    int64_t d[4];
    TRY(parity_shape(in->file, "x", 4, d));
    if (d[1] != 3) return parity_wrong(in->file, "expected 3 channels", "x");
    in->N = d[0];
    in->H = d[2];
    in->W = d[3];
    TRY(parity_channels_last(in->p, in->file, "x", 4, d, &in->x));
    return load_timesteps(in);
}

static Tensor *picture(const Inputs *in, Tape *t, int64_t N)
{
    return tape_input(t, DTYPE_F32, 4, (int64_t[]){N, in->H, in->W, 3}, in->x);
}

/* Rows of y, any error before it included, against the dataset of that name. */
static Status compare_rows(const Inputs *in, Tape *t, const char *name, const Tensor *y, int64_t width, double tolerance)
{
    float *expected;
    TRY(parity_f32(in->p, in->file, name, 2, (int64_t[]){in->N, width}, &expected));
    if (tape_status(t) != STATUS_OK || tensor_size(y) != in->N * width) parity_broken(in->p, item_of(in, name));
    else parity_compare(in->p, item_of(in, name), y->data, expected, in->N * width, (Tolerance){.absolute = tolerance});
    return STATUS_OK;
}

/* The score per row, the gradient where it is stored, and the gradient times the scale of that name. */
static Status compare_guide(const Inputs *in, Guide *g, const char *score_name, double tolerance, const char *scale_name)
{
    Parity *p = in->p;
    const int64_t dims[4] = {in->N, 3, in->H, in->W}, size = in->N * in->H * in->W * 3;
    float *gradient = parity_alloc(p, size, sizeof *gradient), *score = parity_alloc(p, in->N, sizeof *score), *expected;
    double scale;
    TRY(h5file_attr_f64(in->file, "/", scale_name, &scale));
    if (guide_gradient(g, in->x, in->H, in->W, in->timesteps, gradient, score) != STATUS_OK) {
        parity_broken(p, item_of(in, "gradient"));
        return STATUS_OK;
    }
    TRY(parity_f32(p, in->file, score_name, 1, &in->N, &expected));
    parity_compare(p, item_of(in, score_name), score, expected, in->N, (Tolerance){.absolute = tolerance});
    if (h5file_has_dataset(in->file, "grad")) {
        TRY(parity_channels_last(p, in->file, "grad", 4, dims, &expected));
        parity_compare(p, item_of(in, "grad"), gradient, expected, size, (Tolerance){.of_rms = 1e-3});
    }
    TRY(parity_channels_last(p, in->file, "cond", 4, dims, &expected));
    for (int64_t i = 0; i < size; i++) gradient[i] *= (float)scale;
    parity_compare(p, item_of(in, "cond"), gradient, expected, size, (Tolerance){.of_rms = 1e-3});
    return STATUS_OK;
}

static Status count_group(Parity *p, const H5File *file, const char *group, int *count)
{
    char **names;
    *count = 0;
    return h5file_has_group(file, group) ? parity_list(p, file, group, H5LIST_DATASETS, &names, count) : STATUS_OK;
}

/* --- classifiers --- */

static Status classifier_config(Parity *p, const H5File *file, ClassifierConfig *c)
{
    TextUNetConfig as_unet;
    char *pool;
    int64_t width;
    classifier_config_defaults(c);
    TRY(parity_config(p, file, &as_unet));
    c->unet = as_unet.unet;
    TRY(h5file_attr_text(file, "/", "pool", &pool));
    snprintf(c->pool, sizeof c->pool, "%s", pool);
    free(pool);
    TRY(h5file_attr_i64_or(file, "/", "pool_width", c->pool_width, &width));
    c->pool_width = width > 0 && width < INT32_MAX ? (int)width : 0;
    return STATUS_OK;
}

/* What import would guess from names and shapes must be what the file says. */
static void check_classifier_inference(Parity *p, const char *name, const StateDict *dict, const ClassifierConfig *c)
{
    ClassifierConfig found;
    const UNetConfig *a = &c->unet, *b = &found.unet;
    const char *item = parity_text(p, "%s configuration from names and shapes", name);
    if (classifier_infer(dict, name, a->res_blocks, &found) != STATUS_OK) {
        parity_broken(p, item);
        return;
    }
    const bool same[] = {
        !strcmp(c->pool, found.pool) && (strncmp(c->pool, "spatial", 7) || c->pool_width == found.pool_width),
        a->out_channels == b->out_channels && a->in_channels == b->in_channels,
        a->channels == b->channels && a->levels == b->levels && !memcmp(a->mult, b->mult, (size_t)a->levels * sizeof *a->mult),
        strcmp(c->pool, "attention") || a->image_size == b->image_size,
        a->scale_shift_norm == b->scale_shift_norm && (a->levels == 1 || a->resblock_updown == b->resblock_updown)};
    static const char *const what[] = {"pool", "channels in and out", "channel_mult", "image_size", "norm and resampling"};
    const char *first = NULL;
    int wrong = 0;
    for (int i = 0; i < 5; i++)
        if (!same[i] && !wrong++) first = what[i];
    for (int level = 0; level < a->levels; level++) /* a factor beyond the last level means nothing */
        if (unet_has_attention(a, 1 << level) != unet_has_attention(b, 1 << level) && !wrong++) first = "attention levels";
    parity_exact(p, item, wrong, 5 + a->levels, first);
}

static Status open_dict(Parity *p, const H5File *file, const char *attribute, StateDict **out)
{
    char *name;
    *out = NULL;
    TRY(h5file_attr_text(file, "/", attribute, &name));
    parity_keep(p, name);
    return state_dict_open(parity_path(p, name), NULL, out);
}

/* `file`: the one about the classifier. */
static Status load_classifier(Parity *p, const H5File *file, const char *name, Classifier **out)
{
    ClassifierConfig c;
    StateDict *dict;
    *out = NULL;
    TRY(classifier_config(p, file, &c));
    TRY(open_dict(p, file, "checkpoint", &dict));
    check_classifier_inference(p, name, dict, &c);
    if (classifier_import(dict, &c, out) != STATUS_OK) parity_broken(p, name);
    state_dict_close(dict);
    return STATUS_OK;
}

/* trace/...: row 0, alone; the blocks are those of guided-diffusion's U-Nets, and so is the tolerance. */
static Status trace_classifier(const Inputs *in, const Classifier *m, Tape *t)
{
    ParityTrace trace = {.p = in->p, .file = in->file, .item = in->file_name, .group = "trace", .tolerance = {.absolute = 5e-4}};
    int count;
    TRY(count_group(in->p, in->file, "trace", &count));
    classifier_forward(t, m, picture(in, t, 1), in->timesteps, &(UNetTrace){parity_trace_block, &trace});
    if (tape_status(t) != STATUS_OK) parity_broken(in->p, item_of(in, "trace"));
    tape_reset(t);
    parity_trace_count(&trace, count);
    return trace.status;
}

static Status check_classifier(const Inputs *in, const Classifier *m, Tape *t)
{
    const int64_t classes = m->config.unet.out_channels;
    int32_t *labels;
    Guide g;
    Tensor *logits = classifier_forward(t, m, picture(in, t, in->N), in->timesteps, NULL);
    TRY(compare_rows(in, t, "logits", logits, classes, 1e-4));
    tape_reset(t);
    TRY(trace_classifier(in, m, t));
    TRY(parity_i32(in->p, in->file, "y", 1, &in->N, &labels));
    TRY(guide_classifier(&g, in->p->kernels, DTYPE_F32, m, labels, in->N));
    Status s = compare_guide(in, &g, "log_prob", 1e-4, "classifier_scale");
    guide_release(&g);
    return s;
}

Status parity_classifier(Parity *p, const char *name)
{
    Inputs in = {.p = p, .file_name = name};
    H5File *file;
    Classifier *m = NULL;
    Tape *t = NULL;
    TRY(parity_open(p, name, &file));
    in.file = file;
    Status s = load_classifier(p, file, name, &m);
    if (s == STATUS_OK) s = load_inputs(&in);
    if (s == STATUS_OK) s = tape_new(p->kernels, &t);
    if (s == STATUS_OK && m) s = check_classifier(&in, m, t);
    tape_free(t);
    classifier_free(m);
    h5file_close(file);
    return s;
}

/* --- a classifier's training --- */

typedef struct TrainingInputs {
    int64_t dims[4]; /* (N,3,H,W) */
    float *x_t;      /* (N,H,W,3) as stored */
    float *timesteps;
    int32_t *labels;
} TrainingInputs;

/* x_t is also made of x_start and noise, by the linear schedule. */
static Status load_training(Parity *p, const H5File *file, const char *file_name, TrainingInputs *in)
{
    float *x_start, *noise;
    int32_t *t;
    Diffusion d;
    TRY(parity_shape(file, "classifier/x_start", 4, in->dims));
    TRY(parity_channels_last(p, file, "classifier/x_start", 4, in->dims, &x_start));
    TRY(parity_channels_last(p, file, "classifier/noise", 4, in->dims, &noise));
    TRY(parity_channels_last(p, file, "classifier/x_t", 4, in->dims, &in->x_t));
    TRY(parity_i32(p, file, "classifier/t", 1, in->dims, &t));
    TRY(parity_i32(p, file, "classifier/y", 1, in->dims, &in->labels));
    in->timesteps = parity_alloc(p, in->dims[0], sizeof *in->timesteps);
    const int64_t N = in->dims[0], row = in->dims[1] * in->dims[2] * in->dims[3];
    for (int64_t i = 0; i < N; i++) {
        if (t[i] < 0 || t[i] >= 1000) return parity_wrong(file, "a step outside the process", "classifier/t");
        in->timesteps[i] = (float)t[i];
    }
    TRY(diffusion_init(&d, "linear", 1000, ""));
    diffusion_q_sample(&d, x_start, noise, t, N, row, x_start);
    diffusion_release(&d);
    parity_compare(p, parity_text(p, "%s classifier/x_t", file_name), x_start, in->x_t, N * row, (Tolerance){.absolute = 1e-5});
    return STATUS_OK;
}

/* Mean cross entropy, forward and backward into the parameters. */
static Status check_training(Parity *p, const H5File *file, const char *file_name, Classifier *m, Tape *t)
{
    TrainingInputs in;
    float *expected;
    const char *item = parity_text(p, "%s classifier/loss", file_name);
    TRY(load_training(p, file, file_name, &in));
    const int64_t N = in.dims[0];
    TRY(parity_f32(p, file, "classifier/loss", 1, &N, &expected));
    TRY(params_alloc_grads(&m->params));
    tape_record(t, true);
    Tensor *x = tape_input(t, DTYPE_F32, 4, (int64_t[]){N, in.dims[2], in.dims[3], in.dims[1]}, in.x_t);
    Tensor *loss = op_cross_entropy(t, classifier_forward(t, m, x, in.timesteps, NULL), in.labels);
    float *share = parity_alloc(p, N, sizeof *share);
    for (int64_t i = 0; i < N; i++) share[i] = 1 / (float)N;
    if (tape_status(t) != STATUS_OK || tape_backward(t, loss, share) != STATUS_OK) {
        parity_broken(p, item);
        return STATUS_OK;
    }
    parity_compare(p, item, loss->data, expected, N, (Tolerance){.relative = 1e-4});
    TRY(parity_grad_norms(p, file, file_name, "classifier", &m->params));
    return parity_grads(p, file, file_name, "classifier/grads", &m->params);
}

Status parity_classifier_training(Parity *p, const H5File *file, const char *file_name)
{
    H5File *about;
    Classifier *m = NULL;
    Tape *t = NULL;
    TRY(parity_open(p, "classifier_attention.h5", &about)); /* the README's word, no attribute says it */
    Status s = load_classifier(p, about, parity_text(p, "%s classifier", file_name), &m);
    h5file_close(about);
    if (s == STATUS_OK && m) s = tape_new(p->kernels, &t);
    if (s == STATUS_OK && m) s = check_training(p, file, file_name, m, t);
    tape_free(t);
    classifier_free(m);
    return s;
}

/* --- CLIP --- */

static Status get(const H5File *file, const char *name, int *value)
{
    int64_t found;
    TRY(h5file_attr_i64(file, "/", name, &found));
    if (found < 0 || found > INT32_MAX / 1024) return parity_wrong(file, "out of range", name);
    *value = (int)found;
    return STATUS_OK;
}

static Status get_stack(Parity *p, const H5File *file, const char *which, ClipStack *s)
{
    int state = 0;
    TRY(get(file, parity_text(p, "n_head_%s", which), &s->heads));
    TRY(get(file, parity_text(p, "n_head_state_%s", which), &state));
    TRY(get(file, parity_text(p, "n_xf_blocks_%s", which), &s->layers));
    s->width = s->heads < 1024 && state < 1024 ? s->heads * state : 0;
    return STATUS_OK;
}

static Status clip_config(Parity *p, const H5File *file, ClipConfig *c)
{
    char *schedule;
    *c = (ClipConfig){0};
    TRY(get(file, "n_embd", &c->n_embd));
    TRY(get(file, "image_size", &c->image_size));
    TRY(get(file, "patch_size", &c->patch_size));
    TRY(get(file, "n_vocab", &c->n_vocab));
    TRY(get(file, "max_text_len", &c->max_text_len));
    TRY(get(file, "n_timesteps", &c->n_timesteps));
    TRY(get_stack(p, file, "image", &c->image));
    TRY(get_stack(p, file, "text", &c->text));
    TRY(h5file_attr_f64(file, "/", "logit_scale", &c->logit_scale));
    TRY(h5file_attr_text(file, "/", "beta_schedule", &schedule));
    snprintf(c->beta_schedule, sizeof c->beta_schedule, "%s", schedule);
    free(schedule);
    return STATUS_OK;
}

/* How many fields differ. */
static int differences(const ClipConfig *a, const ClipConfig *b, bool heads)
{
    const int pairs[][2] = {{a->n_embd, b->n_embd},
                            {a->image_size, b->image_size},
                            {a->patch_size, b->patch_size},
                            {a->n_vocab, b->n_vocab},
                            {a->max_text_len, b->max_text_len},
                            {a->n_timesteps, b->n_timesteps},
                            {a->image.width, b->image.width},
                            {a->image.layers, b->image.layers},
                            {a->text.width, b->text.width},
                            {a->text.layers, b->text.layers},
                            {heads ? a->image.heads : 0, heads ? b->image.heads : 0},
                            {heads ? a->text.heads : 0, heads ? b->text.heads : 0}};
    int wrong = heads && (a->logit_scale != b->logit_scale || strcmp(a->beta_schedule, b->beta_schedule) != 0);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) wrong += pairs[i][0] != pairs[i][1];
    return wrong;
}

/* From names and shapes, and from the configuration file, if the folder has one. */
static Status check_clip_configs(Parity *p, const H5File *file, const char *name, StateDict *image, StateDict *text,
                                 const ClipConfig *c)
{
    ClipConfig found;
    char *yaml;
    const char *item = parity_text(p, "%s configuration from names and shapes", name);
    if (clip_infer(image, name, text, name, &found) != STATUS_OK) parity_broken(p, item);
    else parity_exact(p, item, differences(c, &found, false), 12, NULL);
    TRY(h5file_attr_text_or(file, "/", "config", "", &yaml));
    parity_keep(p, yaml);
    if (!*yaml || !parity_has(p, yaml)) return STATUS_OK;
    clip_config_defaults(&found);
    item = parity_text(p, "%s configuration from %s", name, yaml);
    if (clip_config_from_yaml(parity_path(p, yaml), &found) != STATUS_OK) parity_broken(p, item);
    else parity_exact(p, item, differences(c, &found, true), 14, NULL);
    return STATUS_OK;
}

/* `file`: clip.h5. */
static Status load_clip(Parity *p, const H5File *file, const char *name, Clip **out)
{
    ClipConfig c;
    StateDict *image = NULL, *text = NULL;
    *out = NULL;
    TRY(clip_config(p, file, &c));
    Status s = open_dict(p, file, "image_checkpoint", &image);
    if (s == STATUS_OK) s = open_dict(p, file, "text_checkpoint", &text);
    if (s == STATUS_OK) s = check_clip_configs(p, file, name, image, text, &c);
    if (s == STATUS_OK && clip_import(image, text, &c, out) != STATUS_OK) parity_broken(p, name);
    state_dict_close(image);
    state_dict_close(text);
    return s;
}

/* One encoder's blocks, raw output and embedding; `raw` has all rows. */
static Status check_encoder(const Inputs *in, Tape *t, const char *which, Tensor *raw, ParityTrace *trace, int n_embd)
{
    Parity *p = in->p;
    int count;
    TRY(trace->status);
    TRY(count_group(p, in->file, trace->group, &count));
    parity_trace_count(trace, count);
    TRY(compare_rows(in, t, parity_text(p, "%s_raw", which), raw, n_embd, 3e-5));
    TRY(compare_rows(in, t, parity_text(p, "%s_embedding", which), op_unit_length(t, raw), n_embd, 1e-5));
    tape_reset(t);
    return STATUS_OK;
}

static Status check_clip(const Inputs *in, const Clip *m, Tape *t)
{
    Parity *p = in->p;
    ParityTrace trace = {.p = p, .file = in->file, .item = in->file_name, .group = "trace_image"};
    ClipTrace calls = {parity_trace_tokens, &trace};
    trace.tolerance.absolute = 3e-5;
    int32_t *tokens, *lengths;
    Guide g;
    TRY(parity_i32(p, in->file, "tokens", 2, (int64_t[]){in->N, m->config.max_text_len}, &tokens));
    TRY(parity_i32(p, in->file, "text_len", 1, &in->N, &lengths));
    Tensor *raw = clip_image_encode(t, m, picture(in, t, in->N), in->timesteps, &calls);
    TRY(check_encoder(in, t, "image", raw, &trace, m->config.n_embd));
    trace.found = 0;
    trace.group = "trace_text";
    raw = clip_text_encode(t, m, tokens, lengths, in->N, &calls);
    TRY(check_encoder(in, t, "text", raw, &trace, m->config.n_embd));
    if (guide_clip(&g, p->kernels, DTYPE_F32, m, tokens, lengths, in->N) != STATUS_OK) {
        parity_broken(p, item_of(in, "guide"));
        return STATUS_OK;
    }
    Status s = compare_guide(in, &g, "similarity", 3e-4, "grad_scale");
    guide_release(&g);
    return s;
}

Status parity_clip(Parity *p, const char *name)
{
    Inputs in = {.p = p, .file_name = name};
    H5File *file;
    Clip *m = NULL;
    Tape *t = NULL;
    TRY(parity_open(p, name, &file));
    in.file = file;
    Status s = load_clip(p, file, name, &m);
    if (s == STATUS_OK) s = load_inputs(&in);
    if (s == STATUS_OK) s = tape_new(p->kernels, &t);
    if (s == STATUS_OK && m) s = check_clip(&in, m, t);
    tape_free(t);
    clip_free(m);
    h5file_close(file);
    return s;
}

/* --- guided sampling --- */

/* "classifier_attention.pt" -> "classifier_attention.h5" */
static const char *config_of(Parity *p, const char *checkpoint)
{
    size_t n = strlen(checkpoint);
    if (n > 3 && !strcmp(checkpoint + n - 3, ".pt")) n -= 3;
    return parity_text(p, "%.*s.h5", (int)n, checkpoint);
}

static Status classifier_of_run(Parity *p, const H5File *file, const char *group, const char *run, int64_t N, ParityGuide *out)
{
    char *checkpoint;
    int32_t *labels;
    H5File *about;
    TRY(h5file_attr_text(file, "/", "classifier", &checkpoint));
    parity_keep(p, checkpoint);
    TRY(h5file_attr_f64(file, run, "classifier_scale", &out->scale));
    TRY(parity_i32(p, file, parity_text(p, "%s/y", group), 1, &N, &labels));
    TRY(parity_open(p, config_of(p, checkpoint), &about));
    Status s = load_classifier(p, about, run, &out->classifier);
    h5file_close(about);
    TRY(s);
    if (out->classifier) TRY(guide_classifier(&out->guide, p->kernels, DTYPE_F32, out->classifier, labels, N));
    return STATUS_OK;
}

static Status clip_of_run(Parity *p, const H5File *file, const char *group, const char *run, int64_t N, ParityGuide *out)
{
    int32_t *tokens, *lengths;
    H5File *about;
    TRY(h5file_attr_f64(file, run, "grad_scale", &out->scale));
    TRY(parity_i32(p, file, parity_text(p, "%s/clip_len", group), 1, &N, &lengths));
    TRY(parity_open(p, "clip.h5", &about));
    Status s = load_clip(p, about, run, &out->clip);
    h5file_close(about);
    TRY(s);
    if (!out->clip) return STATUS_OK;
    const int64_t dims[2] = {N, out->clip->config.max_text_len};
    TRY(parity_i32(p, file, parity_text(p, "%s/clip_tokens", group), 2, dims, &tokens));
    return guide_clip(&out->guide, p->kernels, DTYPE_F32, out->clip, tokens, lengths, N);
}

Status parity_guide_load(Parity *p, const H5File *file, const char *group, const char *run, const char *guidance, int64_t N,
                         ParityGuide *out, bool *made)
{
    bool clip = !strcmp(guidance, "clip");
    *out = (ParityGuide){.mode = clip ? GUIDANCE_CLIP : GUIDANCE_CLASSIFIER};
    Status s = clip ? clip_of_run(p, file, group, run, N, out) : classifier_of_run(p, file, group, run, N, out);
    *made = s == STATUS_OK && (out->clip || out->classifier);
    if (!*made) parity_guide_release(out);
    return s;
}

void parity_guide_release(ParityGuide *g)
{
    guide_release(&g->guide);
    classifier_free(g->classifier);
    clip_free(g->clip);
    *g = (ParityGuide){.scale = 0};
}
