/* The base model and the upsampler in training. */
#include "glide/train_unet.h"

#include "base_model/base_model.h"
#include "data/masks.h"
#include "text_transformer/text_unet_file.h"
#include "upsampler/degrade.h"
#include "upsampler/upsampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELD_OUT = 64 };

static bool is_upsampler(const Trainer *tr)
{
    return tr->options->target == TRAIN_UPSAMPLER;
}

static void base_defaults(TrainerOptions *o)
{
    o->loss.min_snr_gamma = 5;
    o->loss.snr_floor = 0.1;
    o->loss.vb_weight = 0.1;
}

static void upsampler_defaults(TrainerOptions *o)
{
    base_defaults(o);
    o->batches.caption_drop = 0.5f;
}

/* --- the model ------------------------------------------------------------------------------------ */

static Status new_model(Trainer *tr)
{
    const TrainerOptions *o = tr->options;
    UNetTraining *u = tr->state;
    const bool upsampler = is_upsampler(tr);
    TextUNetConfig c;
    Bpe *bpe;
    TRY(upsampler ? upsampler_config(o->config, &c) : base_model_config(o->config, &c));
    c.inpaint = o->inpaint;
    c.low_res_level = upsampler && o->noise_conditioning;
    TRY(batches_train_bpe(tr->dataset, o->n_vocab, &bpe));
    c.text.n_vocab = bpe_vocab_size(bpe);
    Status s = text_unet_new(&c, &u->model);
    if (s != STATUS_OK) {
        bpe_free(bpe);
        return s;
    }
    u->model->bpe = bpe;
    params_randomize(&u->model->params, o->seed);
    return STATUS_OK;
}

/* It has what the options ask for; a checkpoint's optimiser would not know what the model does not have yet. */
static Status check_checkpoint(const Trainer *tr, const H5File *file)
{
    const TextUNetConfig *c = &((UNetTraining *)tr->state)->model->config;
    if (tr->options->inpaint && !c->inpaint)
        return status_fail(STATUS_BAD_INPUT, "%s: is no inpainting model; expected --init instead of --resume to make it one",
                           h5file_path(file));
    if (tr->options->noise_conditioning && !c->low_res_level)
        return status_fail(STATUS_BAD_INPUT, "%s: is not told noise levels; expected --init instead of --resume to make it so",
                           h5file_path(file));
    return STATUS_OK;
}

static Status open_model(Trainer *tr, const H5File *file)
{
    UNetTraining *u = tr->state;
    if (!file) return new_model(tr);
    TRY(text_unet_read_header(file, &u->model));
    if (!u->model->bpe) return status_fail(STATUS_BAD_INPUT, "%s: holds no tokenizer to train with", h5file_path(file));
    if (u->model->config.unet.out_channels != MODEL_CHANNELS)
        return status_fail(STATUS_BAD_INPUT, "%s: a model with %d outputs, expected %d (learned variance)", h5file_path(file),
                           u->model->config.unet.out_channels, MODEL_CHANNELS);
    return tr->options->resume ? check_checkpoint(tr, file) : STATUS_OK;
}

static void use_model(Trainer *tr)
{
    UNetTraining *u = tr->state;
    tr->params = &u->model->params;
    for (int i = 0; i < tr->params->count; i++) {
        Param *p = tr->params->items[i];
        if (!strncmp(p->name, "transformer.", strlen("transformer."))) p->lr_scale = (float)tr->options->text_lr;
    }
    unet_set_checkpoint(u->model->unet, tr->options->checkpoint_blocks);
}

static Status extend(Trainer *tr)
{
    const TrainerOptions *o = tr->options;
    UNetTraining *u = tr->state;
    if (o->inpaint && !u->model->config.inpaint) TRY(text_unet_add_inpaint(&u->model));
    if (o->noise_conditioning && is_upsampler(tr) && !u->model->config.low_res_level) TRY(text_unet_add_level(&u->model));
    use_model(tr);
    return STATUS_OK;
}

/* Held-out rows are the same whatever the training's options, so that runs can be compared. */
static Status open_batches(Trainer *tr)
{
    UNetTraining *u = tr->state;
    BatchOptions b = tr->options->batches, plain = batch_options_defaults();
    b.seed = tr->options->seed;
    b.text_ctx = plain.text_ctx = u->model->config.text.ctx;
    TRY(batches_new(tr->dataset, u->model->bpe, &b, &u->batches));
    if (dataset_split_count(tr->dataset, SPLIT_TEST_PAIR) == 0) return STATUS_OK;
    plain.filter.split = SPLIT_TEST_PAIR;
    plain.caption_drop = 0;
    TRY(batches_new(tr->dataset, u->model->bpe, &plain, &u->held_out));
    plain.caption_drop = 1;
    return batches_new(tr->dataset, u->model->bpe, &plain, &u->held_out_silent);
}

static Status open_training(Trainer *tr, const H5File *file)
{
    UNetTraining *u = tr->state = calloc(1, sizeof *u);
    if (u) u->workspace = train_workspace_new();
    if (!u || !u->workspace) return status_fail(STATUS_NO_MEMORY, "out of memory for training");
    TRY(open_model(tr, file));
    use_model(tr);
    TRY(open_batches(tr));
    return diffusion_init(&u->diffusion, u->model->config.noise_schedule, u->model->config.diffusion_steps, "");
}

static void close_training(Trainer *tr)
{
    UNetTraining *u = tr->state;
    if (!u) return;
    train_workspace_free(u->workspace);
    batches_free(u->batches);
    batches_free(u->held_out);
    batches_free(u->held_out_silent);
    text_unet_free(u->model);
    if (u->diffusion.tables) diffusion_release(&u->diffusion);
    free(u);
}

static Status write_header(const Trainer *tr, H5File *file)
{
    const UNetTraining *u = tr->state;
    return text_unet_write_header(file, u->model);
}

/* --- rows ----------------------------------------------------------------------------------------- */

typedef struct Rows {
    float *x, *low, *scratch, *known, *levels;
    int32_t *tokens;
    uint8_t *mask;
} Rows;

static void rows_release(Rows *r)
{
    free(r->x);
    free(r->low);
    free(r->scratch);
    free(r->known);
    free(r->levels);
    free(r->tokens);
    free(r->mask);
    *r = (Rows){0};
}

static Status rows_init(Rows *r, int64_t n, int64_t side, int ctx)
{
    size_t size = (size_t)(side * side) * 3 * sizeof(float), count = (size_t)n;
    *r = (Rows){.x = malloc(count * size), .low = malloc(count * size / 16 + 64), .scratch = malloc(size),
                     .known = malloc(count * size / 3), .levels = calloc(count, sizeof(float)),
                     .tokens = malloc(count * (size_t)ctx * sizeof(int32_t)), .mask = malloc(count * (size_t)ctx)};
    if (r->x && r->low && r->scratch && r->known && r->levels && r->tokens && r->mask) return STATUS_OK;
    rows_release(r);
    return status_fail(STATUS_NO_MEMORY, "out of memory for a batch of %lld pictures", (long long)n);
}

/* The low-resolution side of the rows from their crops, and noise whose level the model is told. */
static Status degrade_rows(const Trainer *tr, Rows *r, uint32_t step, uint32_t first, int64_t n)
{
    const TrainerOptions *o = tr->options;
    const UNetTraining *u = tr->state;
    DegradeOptions d = degrade_defaults();
    int64_t side = o->side, small = side / UPSAMPLER_FACTOR, size = small * small * 3;
    if (o->degrade == DEGRADE_PLAIN) upsampler_degrade(r->low, n, small, o->seed, step, first, r->scratch);
    for (int64_t i = 0; i < n; i++) {
        RngKey row = {.seed = o->seed, .image = first + (uint32_t)i, .step = step}, noise = degrade_level_key(&row);
        float *low = r->low + i * size;
        if (o->degrade == DEGRADE_REAL) TRY(degrade_row(&d, r->x + i * side * side * 3, (int)side, &row, low));
        r->levels[i] = u->model->config.low_res_level ? degrade_draw_level(&d, &row) : 0;
        TRY(degrade_add_noise(low, size, r->levels[i], &noise));
    }
    return STATUS_OK;
}

static Status rows_load(Trainer *tr, Batches *source, Rows *r, uint32_t step, uint32_t first, int64_t n, int64_t total,
                        TrainBatch *b)
{
    const TrainerOptions *o = tr->options;
    const UNetTraining *u = tr->state;
    *b = (TrainBatch){.N = n, .side = o->side, .x_start = r->x, .tokens = r->tokens, .mask = r->mask, .seed = o->seed,
                      .step = step, .first_row = first, .total = total};
    if (u->model->config.inpaint) {
        masks_draw(o->seed, step, first, source == u->batches ? o->unseen : 1, n, o->side, r->known);
        b->known = r->known;
    }
    if (!is_upsampler(tr)) return batches_base(source, step, first, n, o->side, r->x, r->tokens, r->mask);
    TRY(batches_upsampler(source, step, first, n, o->side, r->x, r->low, r->tokens, r->mask));
    b->low_res = r->low;
    b->low_side = o->side / UPSAMPLER_FACTOR;
    if (source == u->batches) {
        b->levels = r->levels;
        return degrade_rows(tr, r, step, first, n);
    }
    upsampler_degrade(r->low, n, b->low_side, o->seed, step, first, r->scratch);
    return STATUS_OK;
}

/* --- a worker's step ------------------------------------------------------------------------------- */

typedef struct UNetWorker {
    TextUNet *model;
    TrainWorkspace *workspace;
    Rows rows;
} UNetWorker;

static int micro_batch(const TrainerOptions *o, int rows)
{
    return o->micro_batch > 0 && o->micro_batch < rows ? o->micro_batch : rows;
}

static Status worker_open(TrainWorker *w)
{
    const TrainerOptions *o = w->trainer->options;
    const UNetTraining *u = w->trainer->state;
    UNetWorker *own = w->state = calloc(1, sizeof *own);
    if (!own) return status_fail(STATUS_NO_MEMORY, "out of memory for training");
    TRY(rows_init(&own->rows, micro_batch(o, w->rows), o->side, u->model->config.text.ctx));
    if (w->first == 0) {
        own->model = u->model;
        own->workspace = u->workspace;
        return STATUS_OK;
    }
    TRY(text_unet_new_shapes(&u->model->config, &own->model));
    params_share(&own->model->params, &u->model->params);
    TRY(params_alloc_grads(&own->model->params));
    unet_set_checkpoint(own->model->unet, o->checkpoint_blocks);
    w->params = &own->model->params;
    own->workspace = train_workspace_new();
    return own->workspace ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for training");
}

static void worker_close(TrainWorker *w)
{
    UNetWorker *own = w->state;
    if (!own) return;
    rows_release(&own->rows);
    if (w->first > 0) {
        train_workspace_free(own->workspace);
        text_unet_free(own->model);
    }
    free(own);
}

static Status step(TrainWorker *w)
{
    Trainer *tr = w->trainer;
    const TrainerOptions *o = tr->options;
    const UNetTraining *u = tr->state;
    UNetWorker *own = w->state;
    int micro = micro_batch(o, w->rows);
    for (int done = 0; done < w->rows; done += micro) {
        int first = w->first + done, n = w->rows - done < micro ? w->rows - done : micro;
        TrainBatch b;
        TrainLoss part = {0};
        TRY(rows_load(tr, u->batches, &own->rows, w->step, (uint32_t)first, n, o->batch, &b));
        b.noisy_steps = o->noisy_steps;
        tape_set_dropout(w->tape, (RngKey){.seed = o->seed, .step = w->step * 4096 + (uint32_t)first});
        TRY(text_unet_train_step(w->tape, own->model, &u->diffusion, &o->loss, &b, own->workspace, &part));
        w->loss[0] += part.mean_mse * n / o->batch;
        w->loss[1] += part.mean_vb * n / o->batch;
    }
    tape_reset(w->tape);
    return STATUS_OK;
}

/* --- held-out loss ------------------------------------------------------------------------------- */

/* The mean over the first HELD_OUT pictures of `source`, weighted as `loss` says; noise and steps are always the same. */
static Status held_out_mean(Trainer *tr, Batches *source, Rows *rows, const DiffusionLoss *loss, double *out)
{
    UNetTraining *u = tr->state;
    int part = is_upsampler(tr) ? 4 : 16;
    *out = 0;
    for (int first = 0; first < HELD_OUT; first += part) {
        TrainBatch b;
        TrainLoss mean = {0};
        TRY(rows_load(tr, source, rows, 0, (uint32_t)first, part, HELD_OUT, &b));
        TRY(text_unet_loss(tr->tape, u->model, &u->diffusion, loss, &b, u->workspace, &mean));
        *out += mean.mean_mse * part / HELD_OUT;
    }
    tape_reset(tr->tape);
    return STATUS_OK;
}

static Status held_out_losses(Trainer *tr, Rows *rows, double measured[TRAIN_MEASURES])
{
    const UNetTraining *u = tr->state;
    DiffusionLoss of_eps = {.vb_weight = 0}, of_x_0 = {.min_snr_gamma = 1, .snr_floor = 1}; /* 1/SNR, between 0 and 20 */
    TRY(held_out_mean(tr, u->held_out, rows, &of_eps, &measured[0]));
    TRY(held_out_mean(tr, u->held_out, rows, &of_x_0, &measured[1]));
    return held_out_mean(tr, u->held_out_silent, rows, &of_x_0, &measured[2]);
}

/* Errors on 64 held-out pictures, noise and steps fixed: of eps, of x_0 with captions, and of x_0 with empty ones; the difference
 * of the last two is what the text tells. */
static Status measure(Trainer *tr, double measured[TRAIN_MEASURES], char *text, size_t size)
{
    const UNetTraining *u = tr->state;
    Rows rows;
    if (!u->held_out) return STATUS_OK;
    TRY(rows_init(&rows, 16, tr->options->side, u->model->config.text.ctx));
    Status s = held_out_losses(tr, &rows, measured);
    rows_release(&rows);
    if (s == STATUS_OK)
        snprintf(text, size, "eps %.4f, x_0 %.4f with captions, %.4f without", measured[0], measured[1], measured[2]);
    return s;
}

#define UNET_KIND                                                                                                                 \
    .loss_names = {"mse", "vb"}, .measure_names = {"held_out", "held_out_x_0", "held_out_silent"},                                 \
    .curve_names = {"mse, weighted", "vb (bits)", "mse, held out"}, .open = open_training, .extend = extend, .close = close_training, \
    .write_header = write_header, .worker_open = worker_open, .worker_close = worker_close, .step = step, .measure = measure,      \
    .samples = train_unet_samples

const TrainKind train_kind_base = {.name = "base", .title = "base model", .defaults = base_defaults, UNET_KIND};
const TrainKind train_kind_upsampler = {.name = "upsampler", .title = "upsampler", .defaults = upsampler_defaults, UNET_KIND};
