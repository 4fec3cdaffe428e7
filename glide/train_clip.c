/* GLIDE's noise-aware CLIP in training, small: noised pictures and their captions (arXiv 2112.10741, section 2.4). */
#include "glide/guide_noise.h"
#include "glide/train_contrast.h"
#include "guidance/clip_file.h"
#include "text_transformer/clip_bpe_train.h"
#include "text_transformer/tokenizer_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ClipTraining {
    ClipBpe *bpe;
    Diffusion noise;
} ClipTraining;

static void defaults(TrainerOptions *o)
{
    o->batch = 128;
    o->n_vocab = 1536;
    o->optimizer.lr = 1e-3;
    o->optimizer.warmup_steps = 200;
    o->optimizer.weight_decay = 0.05;
    o->optimizer.total_steps = 1500;
    o->optimizer.ema_decay = 0.995;
    o->samples = false;
}

/* --- the model ------------------------------------------------------------------------------------ */

static Status make_config(const char *name, ClipConfig *c)
{
    clip_config_defaults(c);
    c->patch_size = 8;
    c->n_embd = 128;
    c->image = (ClipStack){192, 6, 5};
    c->text = (ClipStack){128, 4, 3};
    c->max_text_len = 40;
    c->logit_scale = 20;
    if (!strcmp(name, "small")) return STATUS_OK;
    c->n_embd = 32;
    c->image = (ClipStack){32, 2, 2};
    c->text = (ClipStack){32, 2, 1};
    if (!strcmp(name, "tiny")) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "--config: expected small or tiny for a CLIP, found %s", name);
}

static Status new_model(Trainer *tr, ClipTraining *own, Clip **out)
{
    enum { WITHOUT_MERGES = 2 * 256 + 2 };
    ClipConfig config;
    const char **texts;
    size_t count;
    const int merges = tr->options->n_vocab - WITHOUT_MERGES;
    TRY(make_config(tr->options->config, &config));
    if (merges < 1)
        return status_fail(STATUS_BAD_INPUT, "--vocab: expected at least %d for a CLIP, found %d", WITHOUT_MERGES + 1,
                           tr->options->n_vocab);
    TRY(contrast_captions(tr, HALF_GUIDES, &texts, &count));
    Status s = clip_bpe_train(texts, count, merges, &own->bpe);
    free(texts);
    TRY(s);
    config.n_vocab = clip_bpe_vocab_size(own->bpe);
    TRY(clip_new(&config, out));
    params_randomize(&(*out)->params, tr->options->seed);
    return STATUS_OK;
}

static Status read_model(const H5File *file, ClipTraining *own, Clip **out)
{
    TRY(tokenizer_read_clip(file, &own->bpe));
    TRY(clip_read_header(file, out));
    if ((*out)->config.image_size == CONTRAST_SIDE && clip_bpe_vocab_size(own->bpe) <= (*out)->config.n_vocab) return STATUS_OK;
    clip_free(*out);
    *out = NULL;
    return status_fail(STATUS_BAD_INPUT, "%s: expected a CLIP for pictures of %d pixels with a token for each of its tokenizer's",
                       h5file_path(file), CONTRAST_SIDE);
}

static Status share(const void *model, void **copy, ParamSet **params)
{
    const Clip *m = model;
    Clip *shared;
    TRY(clip_new_shapes(&m->config, &shared));
    params_share(&shared->params, &m->params);
    *copy = shared;
    *params = &shared->params;
    return STATUS_OK;
}

static void release(void *model)
{
    clip_free(model);
}

/* --- rows ----------------------------------------------------------------------------------------- */

static Tensor *see(TrainWorker *w, const void *model, float *x)
{
    const ContrastTraining *c = w->trainer->state;
    const ClipTraining *own = c->own;
    const TrainerOptions *o = w->trainer->options;
    float *timesteps = malloc((size_t)w->rows * sizeof *timesteps);
    if (!timesteps) {
        tape_fail(w->tape, STATUS_NO_MEMORY, "out of memory for timesteps");
        return NULL;
    }
    guide_noise_draw(&own->noise, o->seed, w->step, (uint32_t)w->first, w->rows, o->batch, CONTRAST_SIZE, x, timesteps);
    Tensor *in = tape_input(w->tape, DTYPE_F32, 4, (int64_t[]){w->rows, CONTRAST_SIDE, CONTRAST_SIDE, 3}, x);
    Tensor *z = op_unit_length(w->tape, clip_image_encode(w->tape, model, in, timesteps, NULL));
    free(timesteps);
    return z;
}

static Tensor *read(TrainWorker *w, const void *model, const char *const *texts)
{
    const ContrastTraining *c = w->trainer->state;
    const ClipTraining *own = c->own;
    const int T = ((const Clip *)model)->config.max_text_len;
    int32_t *tokens = malloc((size_t)w->rows * (size_t)(T + 1) * sizeof *tokens), *lengths = tokens + w->rows * T;
    Status s = tokens ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for captions");
    for (int i = 0; i < w->rows && s == STATUS_OK; i++)
        s = clip_bpe_encode_padded(own->bpe, texts[i], strlen(texts[i]), T, tokens + i * T, &lengths[i]);
    Tensor *z = NULL;
    if (s == STATUS_OK) z = op_unit_length(w->tape, clip_text_encode(w->tape, model, tokens, lengths, w->rows, NULL));
    else tape_fail(w->tape, s, "%s", status_message());
    free(tokens);
    return z;
}

/* --- measures ------------------------------------------------------------------------------------- */

/* Text for picture, at t 0 and in the middle. */
static Status measure(Trainer *tr, const int *pictures, int n, double measured[TRAIN_MEASURES], char *text, size_t size)
{
    const ContrastTraining *c = tr->state;
    const ClipTraining *own = c->own;
    const size_t all = (size_t)n * (size_t)c->net.width;
    const int middle = own->noise.num_timesteps / 2, group = n < MEASURE_GROUP ? n : MEASURE_GROUP;
    RetrievalScore clean, noisy;
    float *seen = malloc(2 * all * sizeof *seen);
    if (!seen) return status_fail(STATUS_NO_MEMORY, "out of memory for measuring");
    Status s = embed_with_clip(tr->kernels, c->net.model, own->bpe, tr->dataset, pictures, n, 0, seen, seen + all);
    if (s == STATUS_OK) {
        measure_retrieval(seen, seen + all, n, c->net.width, group, &clean);
        s = embed_with_clip(tr->kernels, c->net.model, own->bpe, tr->dataset, pictures, n, middle, seen, seen + all);
    }
    if (s == STATUS_OK) measure_retrieval(seen, seen + all, n, c->net.width, group, &noisy);
    free(seen);
    TRY(s);
    measured[0] = clean.text_top1;
    measured[1] = clean.text_top5;
    measured[2] = noisy.text_top5;
    snprintf(text, size, "among %d, text for picture %.3f first, %.3f in first 5; at t %d %.3f, %.3f; picture for text %.3f, %.3f",
             group, clean.text_top1, clean.text_top5, middle, noisy.text_top1, noisy.text_top5, clean.picture_top1,
             clean.picture_top5);
    return STATUS_OK;
}

/* --- opening and saving ----------------------------------------------------------------------------- */

static void free_own(ClipTraining *own)
{
    if (!own) return;
    clip_bpe_free(own->bpe);
    if (own->noise.tables) diffusion_release(&own->noise);
    free(own);
}

static Status open_training(Trainer *tr, const H5File *file)
{
    Clip *m = NULL;
    ClipTraining *own = calloc(1, sizeof *own);
    if (!own) return status_fail(STATUS_NO_MEMORY, "out of memory for training");
    Status s = file ? read_model(file, own, &m) : new_model(tr, own, &m);
    if (s == STATUS_OK) s = diffusion_init(&own->noise, m->config.beta_schedule, m->config.n_timesteps, "");
    if (s != STATUS_OK) {
        clip_free(m);
        free_own(own);
        return s;
    }
    tr->params = &m->params;
    const ContrastNet net = {m, m->config.n_embd, m->config.logit_scale, HALF_GUIDES, share, release, see, read, measure};
    s = contrast_open(tr, &net, own);
    if (!tr->state) free_own(own);
    return s;
}

static void close_training(Trainer *tr)
{
    ContrastTraining *c = tr->state;
    if (c) free_own(c->own);
    contrast_close(tr);
}

static Status write_header(const Trainer *tr, H5File *file)
{
    const ContrastTraining *c = tr->state;
    const ClipTraining *own = c->own;
    TRY(clip_write_header(file, c->net.model));
    return tokenizer_write_clip(file, own->bpe);
}

const TrainKind train_kind_clip = {
    .name = CLIP_KIND,
    .title = "CLIP",
    .measure_names = {"held_out_text_top1", "held_out_text_top5", "held_out_text_top5_noisy"},
    .defaults = defaults,
    .open = open_training,
    .close = close_training,
    .write_header = write_header,
    CONTRAST_KIND,
};
