/* The noise-aware classifier in training: which of Unicode's subgroups is on a noised picture, and in which style. */
#include "data/guide_rows.h"
#include "glide/guide_measures.h"
#include "glide/guide_noise.h"
#include "glide/trainer_state.h"
#include "glide/weights_path.h"
#include "guidance/classifier_file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = DATASET_SMALL_SIDE, SIZE = SIDE * SIDE * 3, HELD_OUT = 256, LEVELS = 4 };

typedef struct ClassifierTraining {
    Classifier *model;
    Subgroups *subgroups;
    GuideRows *rows;
    Diffusion noise;
    int *labels; /* of each picture; -1: a class that the model does not know */
} ClassifierTraining;

typedef struct ClassifierWorker {
    Classifier *model;
    float *x, *timesteps, *d_loss;
    int32_t *labels;
} ClassifierWorker;

static void defaults(TrainerOptions *o)
{
    o->batch = 64;
    o->optimizer.lr = 1e-3;
    o->optimizer.warmup_steps = 100;
    o->optimizer.weight_decay = 0.05;
    o->optimizer.total_steps = 2000;
    o->optimizer.ema_decay = 0.995;
    o->samples = false;
}

/* --- the model ------------------------------------------------------------------------------------ */

static Status make_config(const char *name, int subjects, int styles, ClassifierConfig *c)
{
    classifier_config_defaults(c);
    c->unet.channels = 32;
    c->unet.res_blocks = 1;
    c->unet.attention_count = 1;
    c->unet.attention_ds[0] = 8;
    c->unet.head_channels = 32;
    c->unet.dropout = 0.1f;
    c->unet.out_channels = subjects + styles;
    c->styles = styles;
    strcpy(c->noise_schedule, "squaredcos_cap_v2");
    if (!strcmp(name, "small")) return STATUS_OK;
    c->unet.attention_count = 0;
    c->unet.dropout = 0;
    for (int i = 0; i < c->unet.levels; i++) c->unet.mult[i] = 1;
    if (!strcmp(name, "tiny")) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "--config: expected small or tiny for a classifier, found %s", name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int make_unique(const char **names, int count)
{
    int kept = 0;
    qsort(names, (size_t)count, sizeof *names, compare_names);
    for (int i = 0; i < count; i++)
        if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0) names[kept++] = names[i];
    return kept;
}

static bool trained_on(const DatasetItem *item)
{
    return item->split == SPLIT_TRAIN && !item->photo && dataset_half(item) == HALF_GUIDES;
}

/* Classes are what the training pictures show. subjects, styles: room for a name of each picture. */
static Status new_model(Trainer *tr, const char **subjects, const char **styles)
{
    ClassifierTraining *c = tr->state;
    ClassifierConfig config;
    int count = 0;
    for (int i = 0; i < dataset_count(tr->dataset); i++) {
        const DatasetItem *item = dataset_item(tr->dataset, i);
        if (!trained_on(item)) continue;
        subjects[count] = subgroups_of(c->subgroups, item);
        styles[count++] = item->style;
    }
    int subject_count = make_unique(subjects, count), style_count = make_unique(styles, count);
    TRY(make_config(tr->options->config, subject_count, style_count, &config));
    TRY(classifier_new(&config, &c->model));
    TRY(classifier_set_names(c->model, subjects, styles));
    params_randomize(&c->model->params, tr->options->seed);
    return STATUS_OK;
}

static Status open_model(Trainer *tr, const H5File *file)
{
    ClassifierTraining *c = tr->state;
    if (file) {
        TRY(classifier_read_header(file, &c->model));
        if (c->model->subject_names) return STATUS_OK;
        return status_fail(STATUS_BAD_INPUT, "%s: names no classes, so there is nothing to train it on", h5file_path(file));
    }
    const char **names = calloc(2 * (size_t)dataset_count(tr->dataset), sizeof *names);
    Status s =
        names ? new_model(tr, names, names + dataset_count(tr->dataset)) : status_fail(STATUS_NO_MEMORY, "out of memory for names");
    free(names);
    return s;
}

static Status open_subgroups(const char *chosen, Subgroups **out)
{
    char path[PATH_MAX];
    if (chosen) return subgroups_load(chosen, out);
    TRY(data_path_default("subgroups.tsv", path, sizeof path));
    return subgroups_load(path, out);
}

static Status open_training(Trainer *tr, const H5File *file)
{
    const TrainerOptions *o = tr->options;
    ClassifierTraining *c = tr->state = calloc(1, sizeof *c);
    if (c) c->labels = calloc((size_t)dataset_count(tr->dataset), sizeof *c->labels);
    if (!c || !c->labels) return status_fail(STATUS_NO_MEMORY, "out of memory for training");
    TRY(open_subgroups(o->subgroups, &c->subgroups));
    TRY(open_model(tr, file));
    tr->params = &c->model->params;
    for (int i = 0; i < dataset_count(tr->dataset); i++) {
        const DatasetItem *item = dataset_item(tr->dataset, i);
        c->labels[i] = classifier_label(c->model, subgroups_of(c->subgroups, item), item->style);
        if (c->labels[i] < 0 && trained_on(item))
            return status_fail(STATUS_BAD_INPUT, "%s: shows \"%s, %s\", which the classifier in training does not know", o->data,
                               subgroups_of(c->subgroups, item), item->style);
    }
    GuideRowOptions rows = {.seed = o->seed, .flip = true, .move = true, .filter = o->batches.filter};
    rows.filter.half = HALF_GUIDES;
    TRY(guide_rows_new(tr->dataset, &rows, &c->rows));
    return diffusion_init(&c->noise, c->model->config.noise_schedule, c->model->config.diffusion_steps, "");
}

static void close_training(Trainer *tr)
{
    ClassifierTraining *c = tr->state;
    if (!c) return;
    classifier_free(c->model);
    subgroups_free(c->subgroups);
    guide_rows_free(c->rows);
    if (c->noise.tables) diffusion_release(&c->noise);
    free(c->labels);
    free(c);
}

static Status write_header(const Trainer *tr, H5File *file)
{
    const ClassifierTraining *c = tr->state;
    return classifier_write_header(file, c->model);
}

/* --- a worker's step ------------------------------------------------------------------------------- */

static Status worker_open(TrainWorker *w)
{
    const ClassifierTraining *c = w->trainer->state;
    ClassifierWorker *own = w->state = calloc(1, sizeof *own);
    if (!own) return status_fail(STATUS_NO_MEMORY, "out of memory for training");
    const size_t rows = (size_t)w->rows;
    own->x = malloc(rows * SIZE * sizeof *own->x);
    own->timesteps = malloc(rows * sizeof *own->timesteps);
    own->d_loss = malloc(rows * sizeof *own->d_loss);
    own->labels = malloc(rows * sizeof *own->labels);
    if (!own->x || !own->timesteps || !own->d_loss || !own->labels)
        return status_fail(STATUS_NO_MEMORY, "out of memory for a batch of %d pictures", w->rows);
    if (w->first == 0) {
        own->model = c->model;
        return STATUS_OK;
    }
    TRY(classifier_new_shapes(&c->model->config, &own->model));
    params_share(&own->model->params, &c->model->params);
    w->params = &own->model->params;
    return params_alloc_grads(w->params);
}

static void worker_close(TrainWorker *w)
{
    ClassifierWorker *own = w->state;
    if (!own) return;
    if (w->first > 0) classifier_free(own->model);
    free(own->x);
    free(own->timesteps);
    free(own->d_loss);
    free(own->labels);
    free(own);
}

/* Share of rows whose subject is right. */
static double right_share(const Classifier *m, const Tensor *logits, const int32_t *labels, int batch)
{
    const int64_t classes = logits->dims[1], styles = m->config.styles;
    double right = 0;
    for (int64_t i = 0; i < logits->dims[0]; i++) {
        const float *row = (const float *)logits->data + i * classes;
        int64_t best = 0;
        for (int64_t k = 1; k < classes; k++)
            if (row[k] > row[best]) best = k;
        right += (best / styles == labels[i] / styles) / (double)batch;
    }
    return right;
}

static Status step(TrainWorker *w)
{
    const TrainerOptions *o = w->trainer->options;
    const ClassifierTraining *c = w->trainer->state;
    ClassifierWorker *own = w->state;
    Tape *t = w->tape;
    for (int i = 0; i < w->rows; i++) {
        own->labels[i] = c->labels[guide_rows_draw(c->rows, w->step, (uint32_t)(w->first + i), own->x + (size_t)i * SIZE, NULL)];
        own->d_loss[i] = 1 / (float)o->batch;
    }
    guide_noise_draw(&c->noise, o->seed, w->step, (uint32_t)w->first, w->rows, o->batch, SIZE, own->x, own->timesteps);
    tape_reset(t);
    tape_record(t, true);
    tape_set_dropout(t, (RngKey){.seed = o->seed, .step = w->step * 4096 + (uint32_t)w->first});
    Tensor *x = tape_input(t, DTYPE_F32, 4, (int64_t[]){w->rows, SIDE, SIDE, 3}, own->x);
    Tensor *logits = classifier_forward(t, own->model, x, own->timesteps, NULL);
    Tensor *loss = op_cross_entropy(t, logits, own->labels);
    TRY(tape_status(t));
    for (int i = 0; i < w->rows; i++) w->loss[0] += (double)((const float *)loss->data)[i] / o->batch;
    w->loss[1] = right_share(own->model, logits, own->labels, o->batch);
    TRY(tape_backward(t, loss, own->d_loss));
    tape_reset(t);
    return STATUS_OK;
}

/* --- measures ------------------------------------------------------------------------------------- */

/* Means over four noise levels of HELD_OUT held-out pairs. */
static Status measure_pictures(Trainer *tr, const int *pictures, int n, double measured[TRAIN_MEASURES], char *text, size_t size)
{
    const ClassifierTraining *c = tr->state;
    size_t used = 0;
    const int steps = c->model->config.diffusion_steps;
    for (int i = 0; i < LEVELS && used < size; i++) {
        ClassifierScore score;
        TRY(measure_classifier(tr->kernels, c->model, tr->dataset, c->subgroups, pictures, n, i * steps / LEVELS, &score));
        measured[0] += score.top1 / LEVELS;
        measured[1] += score.top5 / LEVELS;
        measured[2] += score.style / LEVELS;
        used += (size_t)snprintf(text + used, size - used, "%st %d: %.3f/%.3f/%.3f", i ? ", " : "subject top 1/top 5/style ",
                                 score.timestep, score.top1, score.top5, score.style);
    }
    return STATUS_OK;
}

static Status measure(Trainer *tr, double measured[TRAIN_MEASURES], char *text, size_t size)
{
    int *pictures, count;
    TRY(guide_rows_held_out(tr->dataset, SPLIT_TEST_PAIR, HELD_OUT, &pictures, &count));
    Status s = count > 0 ? measure_pictures(tr, pictures, count, measured, text, size) : STATUS_OK;
    free(pictures);
    return s;
}

const TrainKind train_kind_classifier = {
    .name = CLASSIFIER_KIND,
    .title = "classifier",
    .loss_names = {"loss", "accuracy"},
    .measure_names = {"held_out_top1", "held_out_top5", "held_out_style"},
    .curve_names = {"cross-entropy", "accuracy (subject)", "accuracy, held out"},
    .defaults = defaults,
    .open = open_training,
    .close = close_training,
    .write_header = write_header,
    .worker_open = worker_open,
    .worker_close = worker_close,
    .step = step,
    .measure = measure,
};
