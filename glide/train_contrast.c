#include "glide/train_contrast.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_CAPTIONS = 40000, CAPTIONS_PER_PICTURE = 16 };

typedef struct ContrastWorker {
    void *model;
    float *x;
    char (*captions)[CAPTION_SIZE];
    const char **texts;
    Tensor *z; /* (rows,2*width), from step() to finish() */
} ContrastWorker;

/* --- opening -------------------------------------------------------------------------------------- */

Status contrast_captions(const Trainer *tr, DatasetHalf half, const char ***out, size_t *count)
{
    ConceptIndex *index;
    DatasetFilter filter = dataset_filter_defaults();
    const CaptionOptions *captions = &tr->options->batches.captions;
    filter.half = half;
    TRY(concept_index_new(tr->dataset, &filter, &index));
    *count = (size_t)concept_index_pictures(index) * CAPTIONS_PER_PICTURE;
    if (*count > MOST_CAPTIONS) *count = MOST_CAPTIONS;
    *out = malloc(*count * (sizeof **out + CAPTION_SIZE));
    char *text = (char *)(*out + *count);
    for (uint32_t k = 0; *out && k < *count; k++) {
        (*out)[k] = text + (size_t)k * CAPTION_SIZE;
        caption_sample(tr->dataset, index, captions, tr->options->seed, k, text + (size_t)k * CAPTION_SIZE, CAPTION_SIZE);
    }
    concept_index_free(index);
    return *out ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for captions");
}

Status contrast_open(Trainer *tr, const ContrastNet *net, void *own)
{
    const TrainerOptions *o = tr->options;
    const size_t batch = (size_t)o->batch;
    ContrastTraining *c = tr->state = calloc(1, sizeof *c);
    if (!c) {
        net->release(net->model);
        return status_fail(STATUS_NO_MEMORY, "out of memory for training");
    }
    c->net = *net;
    c->own = own;
    c->z = calloc(4 * batch * (size_t)net->width, sizeof *c->z);
    c->pairs = calloc(batch, sizeof *c->pairs);
    if (!c->z || !c->pairs) return status_fail(STATUS_NO_MEMORY, "out of memory for a batch of %d pictures", o->batch);
    c->d_z = c->z + 2 * batch * (size_t)net->width;
    if (o->batch < 2)
        return status_fail(STATUS_BAD_INPUT, "--batch: expected at least 2 pictures to tell apart, found %d", o->batch);
    GuideRowOptions rows = {
        .seed = o->seed, .move = true, .pairs = true, .captions = o->batches.captions, .filter = o->batches.filter};
    rows.filter.half = net->half;
    return guide_rows_new(tr->dataset, &rows, &c->rows);
}

void contrast_close(Trainer *tr)
{
    ContrastTraining *c = tr->state;
    if (!c) return;
    c->net.release(c->net.model);
    guide_rows_free(c->rows);
    free(c->z);
    free(c->pairs);
    free(c);
}

/* --- a worker's step ------------------------------------------------------------------------------- */

Status contrast_worker_open(TrainWorker *w)
{
    const ContrastTraining *c = w->trainer->state;
    ContrastWorker *own = w->state = calloc(1, sizeof *own);
    if (!own) return status_fail(STATUS_NO_MEMORY, "out of memory for training");
    own->x = malloc((size_t)w->rows * CONTRAST_SIZE * sizeof *own->x);
    own->captions = malloc((size_t)w->rows * sizeof *own->captions);
    own->texts = malloc((size_t)w->rows * sizeof *own->texts);
    if (!own->x || !own->captions || !own->texts)
        return status_fail(STATUS_NO_MEMORY, "out of memory for a batch of %d pictures", w->rows);
    for (int i = 0; i < w->rows; i++) own->texts[i] = own->captions[i];
    if (w->first == 0) {
        own->model = c->net.model;
        return STATUS_OK;
    }
    TRY(c->net.share(c->net.model, &own->model, &w->params));
    return params_alloc_grads(w->params);
}

void contrast_worker_close(TrainWorker *w)
{
    const ContrastTraining *c = w->trainer->state;
    ContrastWorker *own = w->state;
    if (!own) return;
    if (w->first > 0) c->net.release(own->model);
    free(own->x);
    free(own->captions);
    free(own->texts);
    free(own);
}

/* A number for a label: FNV-1a. That two share one is as likely as that a coin falls on its edge, and does as much harm. */
static int32_t subject_of(const char *label)
{
    uint32_t h = 2166136261u;
    for (; *label; label++) h = (h ^ (uint8_t)*label) * 16777619u;
    return (int32_t)(h & INT32_MAX);
}

static ContrastivePair pair_of(const DatasetItem *item, const char *caption)
{
    return (ContrastivePair){.subject = subject_of(item->label_en), .style = item->style_id,
                             .any_style = !strstr(caption, item->style) && !strstr(caption, caption_style_korean(item->style))};
}

Status contrast_step(TrainWorker *w)
{
    ContrastTraining *c = w->trainer->state;
    ContrastWorker *own = w->state;
    const int width = c->net.width;
    for (int i = 0; i < w->rows; i++) {
        int row = w->first + i;
        int picture = guide_rows_draw(c->rows, w->step, (uint32_t)row, own->x + (size_t)i * CONTRAST_SIZE, own->captions[i]);
        c->pairs[row] = pair_of(dataset_item(w->trainer->dataset, picture), own->captions[i]);
    }
    tape_reset(w->tape);
    tape_record(w->tape, true);
    Tensor *seen = c->net.see(w, own->model, own->x), *read = c->net.read(w, own->model, own->texts);
    own->z = op_concat(w->tape, seen, read);
    TRY(tape_status(w->tape));
    memcpy(c->z + (size_t)w->first * 2 * (size_t)width, own->z->data, tensor_bytes(own->z));
    return STATUS_OK;
}

Status contrast_meet(Trainer *tr, double loss[TRAIN_LOSSES])
{
    ContrastTraining *c = tr->state;
    return contrastive_loss(c->pairs, c->z, tr->options->batch, c->net.width, c->net.scale, &loss[0], &loss[1], c->d_z);
}

Status contrast_finish(TrainWorker *w)
{
    const ContrastTraining *c = w->trainer->state;
    const ContrastWorker *own = w->state;
    TRY(tape_backward(w->tape, own->z, c->d_z + (size_t)w->first * 2 * (size_t)c->net.width));
    tape_reset(w->tape);
    return STATUS_OK;
}

Status contrast_measure(Trainer *tr, double measured[TRAIN_MEASURES], char *text, size_t size)
{
    const ContrastTraining *c = tr->state;
    int *pictures, count;
    TRY(guide_rows_held_out(tr->dataset, SPLIT_TEST_PAIR, CONTRAST_HELD_OUT, &pictures, &count));
    Status s = count > 1 ? c->net.measure(tr, pictures, count, measured, text, size) : STATUS_OK;
    free(pictures);
    return s;
}
