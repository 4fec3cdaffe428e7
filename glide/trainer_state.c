#include "glide/trainer_state.h"

#include "common/file_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *trainer_path(const Trainer *tr, const char *ending, char *path, size_t size)
{
    const char *out = tr->options->out;
    int stem = (int)strlen(out) - (int)strlen(".h5");
    snprintf(path, size, "%.*s%s", stem, out, ending);
    return path;
}

/* --- the model and its optimiser ------------------------------------------------------------------ */

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
static Status resume_optimizer(Trainer *tr, const H5File *file)
{
    ParamSet *params = tr->params;
    TRY(weights_read_array(file, "checkpoint/raw", params, tr->optimizer.ema));
    optimizer_swap_ema(&tr->optimizer);
    TRY(weights_read_array(file, "checkpoint/adam_m", params, tr->optimizer.m));
    TRY(weights_read_array(file, "checkpoint/adam_v", params, tr->optimizer.v));
    return read_counters(tr, file);
}

static Status open_values(Trainer *tr, const H5File *file)
{
    const TrainerOptions *o = tr->options;
    TRY(tr->kind->open(tr, file));
    if (file) TRY(weights_bind(file, tr->params));
    if (file && !o->resume && tr->kind->extend) TRY(tr->kind->extend(tr));
    TRY(params_alloc_grads(tr->params));
    TRY(optimizer_init(&tr->optimizer, tr->params, &o->optimizer));
    return o->resume ? resume_optimizer(tr, file) : STATUS_OK;
}

static Status open_model(Trainer *tr)
{
    const TrainerOptions *o = tr->options;
    char path[TRAIN_PATH];
    const char *from = o->resume ? trainer_path(tr, ".resume.h5", path, sizeof path) : o->init;
    H5File *file = NULL;
    if (from) TRY(weights_open(from, tr->kind->name, &file));
    Status s = open_values(tr, file);
    h5file_close(file);
    return s;
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

Status train_record(Trainer *tr, const double loss[TRAIN_LOSSES], double grad_norm)
{
    int64_t step = tr->optimizer.step;
    TrainRecord r = {.step = (double)step, .loss = {loss[0], loss[1]}, .grad_norm = grad_norm,
                     .lr = optimizer_lr(&tr->options->optimizer, step - 1), .seconds = tr->seconds};
    return add_record(&tr->records, &r);
}

/* The lines of OUT.loss.csv up to the checkpoint's step; later ones were lost with the run that wrote them. */
static Status read_records(Trainer *tr)
{
    char path[TRAIN_PATH], line[256];
    FILE *f = fopen(trainer_path(tr, ".loss.csv", path, sizeof path), "r");
    if (!f) return STATUS_OK; /* a curve is not worth refusing to go on */
    Status s = STATUS_OK;
    while (s == STATUS_OK && fgets(line, sizeof line, f)) {
        TrainRecord r = {0};
        if (sscanf(line, "%lf,%lf,%lf,%lf,%lf,%lf,%lf,%lf,%lf", &r.step, &r.loss[0], &r.loss[1], &r.lr, &r.grad_norm,
                   &r.seconds, &r.held_out[0], &r.held_out[1], &r.held_out[2]) < 6)
            continue;
        if (r.step <= (double)tr->optimizer.step) s = add_record(&tr->records, &r);
    }
    fclose(f);
    return s;
}

/* --- opening and closing --------------------------------------------------------------------------- */

Status trainer_open(Trainer *tr, const TrainerOptions *options)
{
    *tr = (Trainer){.options = options, .kind = train_kind(options->target)};
    size_t n = strlen(options->out);
    if (n < 4 || n > TRAIN_PATH - 32 || strcmp(options->out + n - 3, ".h5") != 0)
        return status_fail(STATUS_BAD_INPUT, "--out: expected a name that ends in .h5, found %s", options->out);
    char path[TRAIN_PATH];
    TRY(file_check_writable(options->out));
    TRY(file_check_writable(trainer_path(tr, ".resume.h5", path, sizeof path)));
    TRY(dataset_open(options->data, &tr->dataset));
    TRY(open_model(tr));
    tr->optimizer.options = options->optimizer;
    if (options->resume) TRY(read_records(tr));
    TRY(kernels_new(KERNELS_BEST, &tr->kernels));
    TRY(tape_new(tr->kernels, &tr->tape));
    tape_set_dtype(tr->tape, options->bf16 ? DTYPE_BF16 : DTYPE_F32);
    return STATUS_OK;
}

void trainer_close(Trainer *tr)
{
    optimizer_release(&tr->optimizer);
    if (tr->kind) tr->kind->close(tr); /* a model's packed parameters before the kernels that packed them */
    dataset_free(tr->dataset);
    tape_free(tr->tape);
    kernels_free(tr->kernels);
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
    const ParamSet *params = tr->params;
    TRY(weights_write_array(file, "checkpoint/raw", params, tr->optimizer.ema, H5KIND_F32)); /* exchanged, see save_as */
    TRY(weights_write_array(file, "checkpoint/adam_m", params, tr->optimizer.m, H5KIND_F32));
    TRY(weights_write_array(file, "checkpoint/adam_v", params, tr->optimizer.v, H5KIND_F32));
    TRY(h5file_set_i64(file, "checkpoint", "step", tr->optimizer.step));
    TRY(h5file_set_f64(file, "checkpoint", "seconds", tr->seconds));
    return h5file_set_i64(file, "checkpoint", "seed", (int64_t)tr->options->seed);
}

static Status write_file(const Trainer *tr, H5File *file, bool resumable)
{
    TRY(tr->kind->write_header(tr, file));
    TRY(h5file_make_group(file, "provenance"));
    TRY(write_provenance(tr, file));
    TRY(weights_write_params(file, tr->params, resumable ? H5KIND_F32 : H5KIND_F16));
    return resumable ? write_checkpoint(tr, file) : STATUS_OK;
}

static Status save_as(const Trainer *tr, const char *path, bool resumable)
{
    H5File *file;
    TRY(weights_create(path, tr->kind->name, &file));
    Status s = write_file(tr, file, resumable);
    if (s == STATUS_OK) return h5file_commit(file);
    h5file_close(file);
    return s;
}

Status trainer_save(Trainer *tr)
{
    char path[TRAIN_PATH];
    optimizer_swap_ema(&tr->optimizer); /* parameters hold the average now, `ema` the raw weights */
    Status s = save_as(tr, trainer_path(tr, ".resume.h5", path, sizeof path), true);
    if (s == STATUS_OK) s = save_as(tr, tr->options->out, false);
    optimizer_swap_ema(&tr->optimizer);
    return s;
}
