#include "glide/trainer_state.h"

#include "base_model/base_model.h"
#include "data/masks.h"
#include "text_transformer/text_unet_file.h"
#include "upsampler/upsampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 1024 };

const char *trainer_path(const Trainer *tr, const char *ending, char *path, size_t size)
{
    const char *out = tr->options->out;
    int stem = (int)strlen(out) - (int)strlen(".h5");
    snprintf(path, size, "%.*s%s", stem, out, ending);
    return path;
}

/* --- the model ------------------------------------------------------------------------------------ */

static Status new_model(Trainer *tr)
{
    const TrainerOptions *o = tr->options;
    TextUNetConfig c;
    Bpe *bpe;
    TRY(o->upsampler ? upsampler_config(o->config, &c) : base_model_config(o->config, &c));
    c.inpaint = o->inpaint;
    TRY(batches_train_bpe(tr->dataset, o->n_vocab, &bpe));
    c.text.n_vocab = bpe_vocab_size(bpe);
    Status s = text_unet_new(&c, &tr->model);
    if (s != STATUS_OK) {
        bpe_free(bpe);
        return s;
    }
    tr->model->bpe = bpe;
    params_randomize(&tr->model->params, o->seed);
    return STATUS_OK;
}

static Status read_counters(Trainer *tr, const H5File *file)
{
    int64_t seed;
    TRY(h5file_attr_i64(file, "checkpoint", "step", &tr->optimizer.step));
    TRY(h5file_attr_f64(file, "checkpoint", "seconds", &tr->seconds));
    TRY(h5file_attr_i64(file, "checkpoint", "seed", &seed));
    if ((uint64_t)seed != tr->options->seed)
        return status_fail(STATUS_BAD_INPUT, "%s: was trained with seed %lld, resumed with %lld", h5file_path(file),
                           (long long)seed, (long long)tr->options->seed);
    if (tr->optimizer.step <= tr->options->optimizer.total_steps) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: %lld steps are done, expected more than that as the number to reach, found %lld",
                       h5file_path(file), (long long)tr->optimizer.step, (long long)tr->options->optimizer.total_steps);
}

/* params/ of a checkpoint are the averaged weights, like any weights file's; the raw ones are in checkpoint/raw. */
static Status resume_model(Trainer *tr, const H5File *file)
{
    TRY(text_unet_read_header(file, &tr->model));
    ParamSet *params = &tr->model->params;
    TRY(weights_bind(file, params));
    TRY(params_alloc_grads(params));
    TRY(optimizer_init(&tr->optimizer, params, &tr->options->optimizer));
    TRY(weights_read_array(file, "checkpoint/raw", params, tr->optimizer.ema));
    optimizer_swap_ema(&tr->optimizer);
    TRY(weights_read_array(file, "checkpoint/adam_m", params, tr->optimizer.m));
    TRY(weights_read_array(file, "checkpoint/adam_v", params, tr->optimizer.v));
    return read_counters(tr, file);
}

static Status open_model(Trainer *tr)
{
    const TrainerOptions *o = tr->options;
    const char *kind = o->upsampler ? "upsampler" : "base";
    if (o->resume) {
        char path[PATH_SIZE];
        H5File *file;
        TRY(weights_open(trainer_path(tr, ".resume.h5", path, sizeof path), kind, &file));
        Status s = resume_model(tr, file);
        if (s == STATUS_OK && o->inpaint && !tr->model->config.inpaint)
            s = status_fail(STATUS_BAD_INPUT, "%s: is no inpainting model; expected --init instead of --resume to make it one", path);
        h5file_close(file);
        return s;
    }
    TRY(o->init ? text_unet_load(o->init, kind, &tr->model, NULL) : new_model(tr));
    if (o->inpaint && !tr->model->config.inpaint) TRY(text_unet_add_inpaint(&tr->model));
    TRY(params_alloc_grads(&tr->model->params));
    return optimizer_init(&tr->optimizer, &tr->model->params, &o->optimizer);
}

/* --- rows ----------------------------------------------------------------------------------------- */

void train_rows_release(TrainRows *r)
{
    free(r->x);
    free(r->low);
    free(r->scratch);
    free(r->known);
    free(r->tokens);
    free(r->mask);
    *r = (TrainRows){0};
}

Status train_rows_init(TrainRows *r, int64_t n, int64_t side, int ctx)
{
    size_t size = (size_t)(side * side) * 3 * sizeof(float), count = (size_t)n;
    *r = (TrainRows){.x = malloc(count * size), .low = malloc(count * size / 16 + 64), .scratch = malloc(size),
                     .known = malloc(count * size / 3),
                     .tokens = malloc(count * (size_t)ctx * sizeof(int32_t)), .mask = malloc(count * (size_t)ctx)};
    if (r->x && r->low && r->scratch && r->known && r->tokens && r->mask) return STATUS_OK;
    train_rows_release(r);
    return status_fail(STATUS_NO_MEMORY, "out of memory for a batch of %lld pictures", (long long)n);
}

Status train_rows_load(Trainer *tr, Batches *source, TrainRows *r, uint32_t step, uint32_t first, int64_t n, int64_t total,
                       TrainBatch *b)
{
    const TrainerOptions *o = tr->options;
    *b = (TrainBatch){.N = n, .side = o->side, .x_start = r->x, .tokens = r->tokens, .mask = r->mask, .seed = o->seed,
                      .step = step, .first_row = first, .total = total};
    if (tr->model->config.inpaint) {
        masks_draw(o->seed, step, first, n, o->side, r->known);
        b->known = r->known;
    }
    if (!o->upsampler) return batches_base(source, step, first, n, o->side, r->x, r->tokens, r->mask);
    TRY(batches_upsampler(source, step, first, n, o->side, r->x, r->low, r->tokens, r->mask));
    b->low_res = r->low;
    b->low_side = o->side / UPSAMPLER_FACTOR;
    upsampler_degrade(r->low, n, b->low_side, o->seed, step, first, r->scratch);
    return STATUS_OK;
}

/* --- history -------------------------------------------------------------------------------------- */

static Status add_record(TrainRecords *r, const TrainRecord *record)
{
    if (r->count == r->capacity) {
        int64_t capacity = r->capacity ? 2 * r->capacity : 4096;
        TrainRecord *grown = realloc(r->items, (size_t)capacity * sizeof *grown);
        if (!grown) return status_fail(STATUS_NO_MEMORY, "out of memory for the loss curve");
        r->items = grown;
        r->capacity = capacity;
    }
    r->items[r->count++] = *record;
    return STATUS_OK;
}

Status train_record(Trainer *tr, const TrainLoss *loss, double grad_norm)
{
    int64_t step = tr->optimizer.step;
    TrainRecord r = {.step = (double)step, .mse = loss->mean_mse, .vb = loss->mean_vb, .grad_norm = grad_norm,
                     .lr = optimizer_lr(&tr->options->optimizer, step - 1), .seconds = tr->seconds};
    return add_record(&tr->records, &r);
}

/* The lines of OUT.loss.csv up to the checkpoint's step; later ones were lost with the run that wrote them. */
static Status read_records(Trainer *tr)
{
    char path[PATH_SIZE], line[256];
    FILE *f = fopen(trainer_path(tr, ".loss.csv", path, sizeof path), "r");
    if (!f) return STATUS_OK; /* a curve is not worth refusing to go on */
    Status s = STATUS_OK;
    while (s == STATUS_OK && fgets(line, sizeof line, f)) {
        TrainRecord r = {0};
        if (sscanf(line, "%lf,%lf,%lf,%lf,%lf,%lf,%lf,%lf,%lf", &r.step, &r.mse, &r.vb, &r.lr, &r.grad_norm, &r.seconds,
                   &r.held_out, &r.held_out_x_0, &r.held_out_silent) < 6)
            continue;
        if (r.step <= (double)tr->optimizer.step) s = add_record(&tr->records, &r);
    }
    fclose(f);
    return s;
}

/* --- opening and closing --------------------------------------------------------------------------- */

/* Held-out rows are the same whatever the training's options, so that runs can be compared. */
static Status open_batches(Trainer *tr)
{
    BatchOptions b = tr->options->batches, plain = batch_options_defaults();
    b.seed = tr->options->seed;
    b.text_ctx = plain.text_ctx = tr->model->config.text.ctx;
    TRY(batches_new(tr->dataset, tr->model->bpe, &b, &tr->batches));
    if (dataset_split_count(tr->dataset, SPLIT_TEST_PAIR) == 0) return STATUS_OK;
    plain.filter.split = SPLIT_TEST_PAIR;
    plain.caption_drop = 0;
    TRY(batches_new(tr->dataset, tr->model->bpe, &plain, &tr->held_out));
    plain.caption_drop = 1;
    return batches_new(tr->dataset, tr->model->bpe, &plain, &tr->held_out_silent);
}

static Status open_rest(Trainer *tr)
{
    const TrainerOptions *o = tr->options;
    const TextUNetConfig *c = &tr->model->config;
    if (!tr->model->bpe) return status_fail(STATUS_BAD_INPUT, "%s: holds no tokenizer to train with", o->init);
    TRY(open_batches(tr));
    TRY(diffusion_init(&tr->diffusion, c->noise_schedule, c->diffusion_steps, ""));
    TRY(kernels_new(KERNELS_BEST, &tr->kernels));
    TRY(tape_new(tr->kernels, &tr->tape));
    tape_set_dtype(tr->tape, o->bf16 ? DTYPE_BF16 : DTYPE_F32);
    tr->workspace = train_workspace_new();
    return tr->workspace ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for training");
}

Status trainer_open(Trainer *tr, const TrainerOptions *options)
{
    *tr = (Trainer){.options = options};
    size_t n = strlen(options->out);
    if (n < 4 || n > PATH_SIZE - 32 || strcmp(options->out + n - 3, ".h5") != 0)
        return status_fail(STATUS_BAD_INPUT, "--out: expected a name that ends in .h5, found %s", options->out);
    TRY(dataset_open(options->data, &tr->dataset));
    TRY(open_model(tr));
    for (int i = 0; i < tr->model->params.count; i++) {
        Param *p = tr->model->params.items[i];
        if (!strncmp(p->name, "transformer.", strlen("transformer."))) p->lr_scale = (float)options->text_lr;
    }
    unet_set_checkpoint(tr->model->unet, options->checkpoint_blocks);
    tr->optimizer.options = options->optimizer;
    if (options->resume) TRY(read_records(tr));
    return open_rest(tr);
}

void trainer_close(Trainer *tr)
{
    train_workspace_free(tr->workspace);
    optimizer_release(&tr->optimizer);
    batches_free(tr->batches);
    batches_free(tr->held_out);
    batches_free(tr->held_out_silent);
    dataset_free(tr->dataset);
    text_unet_free(tr->model); /* its packed parameters before the kernels that packed them */
    tape_free(tr->tape);
    kernels_free(tr->kernels);
    if (tr->diffusion.tables) diffusion_release(&tr->diffusion);
    free(tr->records.items);
}

/* --- saving ---------------------------------------------------------------------------------------- */

static Status write_provenance(const Trainer *tr, H5File *file)
{
    TRY(h5file_set_text(file, "provenance", "trained_with", "glide train"));
    TRY(h5file_set_i64(file, "provenance", "steps", tr->optimizer.step));
    TRY(h5file_set_i64(file, "provenance", "batch", tr->options->batch));
    TRY(h5file_set_i64(file, "provenance", "seed", (int64_t)tr->options->seed));
    TRY(h5file_set_f64(file, "provenance", "minutes", tr->seconds / 60));
    return h5file_set_text(file, "provenance", "attribution", dataset_attribution(tr->dataset));
}

static Status write_checkpoint(const Trainer *tr, H5File *file)
{
    const ParamSet *params = &tr->model->params;
    TRY(weights_write_array(file, "checkpoint/raw", params, tr->optimizer.ema, H5KIND_F32)); /* exchanged, see save_as */
    TRY(weights_write_array(file, "checkpoint/adam_m", params, tr->optimizer.m, H5KIND_F32));
    TRY(weights_write_array(file, "checkpoint/adam_v", params, tr->optimizer.v, H5KIND_F32));
    TRY(h5file_set_i64(file, "checkpoint", "step", tr->optimizer.step));
    TRY(h5file_set_f64(file, "checkpoint", "seconds", tr->seconds));
    return h5file_set_i64(file, "checkpoint", "seed", (int64_t)tr->options->seed);
}

static Status write_file(const Trainer *tr, H5File *file, bool resumable)
{
    TRY(text_unet_write_header(file, tr->model));
    TRY(h5file_make_group(file, "provenance"));
    TRY(write_provenance(tr, file));
    TRY(weights_write_params(file, &tr->model->params, resumable ? H5KIND_F32 : H5KIND_F16));
    return resumable ? write_checkpoint(tr, file) : STATUS_OK;
}

static Status save_as(const Trainer *tr, const char *path, bool resumable)
{
    H5File *file;
    TRY(weights_create(path, text_unet_kind(&tr->model->config), &file));
    Status s = write_file(tr, file, resumable);
    if (s == STATUS_OK) return h5file_commit(file);
    h5file_close(file);
    return s;
}

Status trainer_save(Trainer *tr)
{
    char path[PATH_SIZE];
    optimizer_swap_ema(&tr->optimizer); /* parameters hold the average now, `ema` the raw weights */
    Status s = save_as(tr, trainer_path(tr, ".resume.h5", path, sizeof path), true);
    if (s == STATUS_OK) s = save_as(tr, tr->options->out, false);
    optimizer_swap_ema(&tr->optimizer);
    return s;
}
