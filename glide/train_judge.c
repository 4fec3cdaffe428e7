/* The judge in training: clean pictures and their captions, from the half of the pictures that no guide is trained on. */
#include "glide/ablation/judge_model.h"
#include "glide/train_contrast.h"
#include "text_transformer/bpe_train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void defaults(TrainerOptions *o)
{
    o->batch = 128;
    o->n_vocab = 1536;
    o->optimizer.lr = 1e-3;
    o->optimizer.warmup_steps = 100;
    o->optimizer.weight_decay = 0.05;
    o->optimizer.total_steps = 1500;
    o->optimizer.ema_decay = 0.995;
    o->samples = false;
    o->seed = 7001; /* nothing random is shared with the guides */
}

/* --- the model ------------------------------------------------------------------------------------ */

static Status make_config(const char *name, JudgeConfig *c)
{
    judge_config_defaults(c);
    if (!strcmp(name, "small")) return STATUS_OK;
    for (int i = 0; i < c->levels; i++) c->channels[i] = 32;
    c->embedding = 32;
    c->text_width = 32;
    c->text_hidden = 64;
    if (!strcmp(name, "tiny")) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "--config: expected small or tiny for a judge, found %s", name);
}

static Status train_tokenizer(Trainer *tr, Bpe **out)
{
    const char **texts;
    size_t count;
    BpeMerges merges;
    *out = NULL;
    if (tr->options->n_vocab < 258)
        return status_fail(STATUS_BAD_INPUT, "--vocab: expected at least 258, found %d", tr->options->n_vocab);
    TRY(contrast_captions(tr, HALF_JUDGE, &texts, &count));
    bpe_merges_init(&merges);
    Status s = bpe_train(texts, NULL, count, tr->options->n_vocab - 257, &merges);
    if (s == STATUS_OK) s = bpe_new(&merges, out);
    bpe_merges_release(&merges);
    free(texts);
    return s;
}

static Status new_model(Trainer *tr, Judge **out)
{
    JudgeConfig config;
    Bpe *bpe;
    TRY(make_config(tr->options->config, &config));
    TRY(train_tokenizer(tr, &bpe));
    config.n_vocab = bpe_vocab_size(bpe);
    Status s = judge_new(&config, false, out);
    if (s != STATUS_OK) {
        bpe_free(bpe);
        return s;
    }
    (*out)->bpe = bpe;
    params_randomize(&(*out)->params, tr->options->seed);
    return STATUS_OK;
}

static Status share(const void *model, void **copy, ParamSet **params)
{
    const Judge *j = model;
    Judge *shared;
    TRY(judge_new(&j->config, true, &shared));
    params_share(&shared->params, &j->params);
    *copy = shared;
    *params = &shared->params;
    return STATUS_OK;
}

static void release(void *model)
{
    judge_free(model);
}

/* --- rows ----------------------------------------------------------------------------------------- */

static Tensor *see(TrainWorker *w, const void *model, float *x)
{
    Tensor *in = tape_input(w->tape, DTYPE_F32, 4, (int64_t[]){w->rows, CONTRAST_SIDE, CONTRAST_SIDE, 3}, x);
    return judge_image_forward(w->tape, model, in, NULL);
}

/* Copies of the model have no tokenizer; the trainer's serves all, it does not change. */
static Tensor *read(TrainWorker *w, const void *model, const char *const *texts)
{
    const ContrastTraining *c = w->trainer->state;
    const Judge *owner = c->net.model;
    const int T = owner->config.text_ctx;
    int32_t *tokens = malloc((size_t)w->rows * (size_t)T * sizeof *tokens);
    uint8_t *mask = malloc((size_t)w->rows * (size_t)T);
    Status s = tokens && mask ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for captions");
    for (int i = 0; i < w->rows && s == STATUS_OK; i++)
        s = bpe_encode_padded(owner->bpe, texts[i], strlen(texts[i]), T, tokens + i * T, mask + i * T);
    Tensor *z = NULL;
    if (s == STATUS_OK) z = judge_text_forward(w->tape, model, tokens, mask, w->rows);
    else tape_fail(w->tape, s, "%s", status_message());
    free(tokens);
    free(mask);
    return z;
}

/* --- measures ------------------------------------------------------------------------------------- */

static Status measure(Trainer *tr, const int *pictures, int n, double measured[TRAIN_MEASURES], char *text, size_t size)
{
    const ContrastTraining *c = tr->state;
    const size_t all = (size_t)n * (size_t)c->net.width;
    float *seen = malloc(2 * all * sizeof *seen);
    RetrievalScore score;
    if (!seen) return status_fail(STATUS_NO_MEMORY, "out of memory for measuring");
    Status s = embed_with_judge(tr->kernels, c->net.model, tr->dataset, pictures, n, seen, seen + all);
    if (s == STATUS_OK)
        measure_retrieval(seen, seen + all, n, c->net.width, n < MEASURE_GROUP ? n : MEASURE_GROUP, &score);
    free(seen);
    TRY(s);
    measured[0] = score.text_top1;
    measured[1] = score.text_top5;
    measured[2] = score.picture_top5;
    snprintf(text, size, "among %d, text for picture %.3f first, %.3f in first 5; picture for text %.3f, %.3f", score.group,
             score.text_top1, score.text_top5, score.picture_top1, score.picture_top5);
    return STATUS_OK;
}

/* --- opening and saving ----------------------------------------------------------------------------- */

static Status open_training(Trainer *tr, const H5File *file)
{
    Judge *j = NULL;
    TRY(file ? judge_read_header(file, &j) : new_model(tr, &j));
    tr->params = &j->params;
    const ContrastNet net = {j, j->config.embedding, j->config.logit_scale, HALF_JUDGE, share, release, see, read, measure};
    return contrast_open(tr, &net, NULL);
}

static Status write_header(const Trainer *tr, H5File *file)
{
    const ContrastTraining *c = tr->state;
    return judge_write_header(file, c->net.model);
}

const TrainKind train_kind_judge = {
    .name = JUDGE_KIND,
    .title = "judge",
    .measure_names = {"held_out_text_top1", "held_out_text_top5", "held_out_picture_top5"},
    .defaults = defaults,
    .open = open_training,
    .close = contrast_close,
    .write_header = write_header,
    CONTRAST_KIND,
};
