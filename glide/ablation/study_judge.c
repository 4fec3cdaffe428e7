#include "glide/ablation/study_judge.h"

#include "common/image.h"
#include "data/dataset.h"
#include "glide/ablation/judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 32 };

typedef struct Looking {
    Judge *judge;
    Kernels *kernels;
    int side, features, embedding; /* the judge's */
    float *x;                      /* (BATCH,side,side,3) */
    int64_t done, all;             /* pictures */
    int (*progress)(void *ctx, double share);
    void *ctx;
} Looking;

/* --- pictures ---------------------------------------------------------------------------------------------------- */

static Status to_side(const Looking *l, const uint8_t *rgb, int side, float *x)
{
    Image in = {side, side, (uint8_t *)rgb}, out = {0}; /* only read */
    if (side == l->side) {
        image_to_f32(&in, x);
        return STATUS_OK;
    }
    TRY(image_resize(&in, l->side, l->side, &out));
    image_to_f32(&out, x);
    image_release(&out);
    return STATUS_OK;
}

/* n pictures of `rgb_of`; embeddings may be NULL. */
static Status see(Looking *l, int64_t n, int side, const uint8_t *(*rgb_of)(const void *of, int64_t i), const void *of,
                  float *features,
                  float *embeddings)
{
    size_t size = (size_t)l->side * (size_t)l->side * 3;
    for (int64_t first = 0; first < n; first += BATCH) {
        int64_t count = n - first < BATCH ? n - first : BATCH;
        for (int64_t i = 0; i < count; i++) TRY(to_side(l, rgb_of(of, first + i), side, l->x + (size_t)i * size));
        TRY(judge_see(l->judge, l->kernels, l->x, count, features + first * l->features,
                      embeddings ? embeddings + first * l->embedding : NULL));
        l->done += count;
        if (l->progress && l->progress(l->ctx, (double)l->done / (double)l->all))
            return status_fail(STATUS_INTERRUPTED, "stopped while judging; nothing is lost");
    }
    return STATUS_OK;
}

typedef struct Cells {
    const AblationResults *results;
    int64_t first;
} Cells;

static const uint8_t *cell_rgb(const void *of, int64_t i)
{
    const Cells *c = of;
    return c->results->pictures + (size_t)(c->first + i) * (size_t)c->results->side * (size_t)c->results->side * 3;
}

/* Conditions that are equal by definition look alike. */
static Status see_cells(Looking *l, const AblationResults *r, float *features, float *embeddings)
{
    int64_t n = (int64_t)r->prompts * r->seeds;
    for (int c = 0; c < r->conditions; c++) {
        int equals = r->condition[c].equals;
        int64_t first = c * n;
        float *to = features + first * l->features, *to_embedding = embeddings + first * l->embedding;
        if (equals < 0) TRY(see(l, n, r->side, cell_rgb, &(Cells){r, first}, to, to_embedding));
        if (equals < 0) continue;
        memcpy(to, features + equals * n * l->features, (size_t)(n * l->features) * sizeof *to);
        memcpy(to_embedding, embeddings + equals * n * l->embedding, (size_t)(n * l->embedding) * sizeof *to);
    }
    return STATUS_OK;
}

/* --- held-out pictures ------------------------------------------------------------------------------------------- */

typedef struct Held {
    Dataset *dataset;
    int pictures[STUDY_REAL_MOST];
    int count;
} Held;

static const uint8_t *held_rgb(const void *of, int64_t i)
{
    const Held *h = of;
    return dataset_small(h->dataset, h->pictures[i]);
}

static Status open_held(const char *path, Held *h)
{
    if (!path) return STATUS_OK;
    TRY(dataset_open(path, &h->dataset));
    TRY(dataset_load_small(h->dataset));
    for (int i = 0; i < dataset_count(h->dataset) && h->count < STUDY_REAL_MOST; i++)
        if (dataset_item(h->dataset, i)->split == SPLIT_TEST_PAIR) h->pictures[h->count++] = i;
    return STATUS_OK;
}

/* --- all --------------------------------------------------------------------------------------------------------- */

static Status alloc_sight(StudySight *s, const AblationResults *r, const Looking *l, int real)
{
    const int64_t cells = ablation_cells(r);
    const int64_t sizes[] = {cells * l->features, cells * l->embedding, (int64_t)r->prompts * l->embedding,
                             (int64_t)real * l->features};
    for (int i = 0; i < 4; i++) {
        s->memory[i] = calloc((size_t)sizes[i] + 1, sizeof(float));
        if (!s->memory[i]) return status_fail(STATUS_NO_MEMORY, "out of memory for what the judge sees");
    }
    s->sight = (AblationSight){.features = l->features, .embedding = l->embedding, .picture = s->memory[0],
                               .picture_embedding = s->memory[1], .prompt_embedding = s->memory[2], .real = s->memory[3],
                               .real_count = real};
    return STATUS_OK;
}

/* Independence cannot be proved; what is known against it is said. */
static const char *relation(const StudyData *d, uint64_t hash)
{
    char text[24];
    const StudyFacts *f = &study_data_spec(d)->settings;
    const char *clip = study_facts_find(f, "clip"), *classifier = study_facts_find(f, "classifier");
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    if (clip && !strcmp(clip, text)) return "the judge is the CLIP that guided";
    return classifier && !strcmp(classifier, text) ? "the judge is the classifier that guided" : NULL;
}

static Status look(Looking *l, const StudyData *d, Held *h, StudySight *out)
{
    const AblationResults *r = study_results(d);
    int64_t computed = 0;
    for (int c = 0; c < r->conditions; c++) computed += r->condition[c].equals < 0;
    l->all = computed * r->prompts * r->seeds + h->count;
    l->x = calloc(BATCH * (size_t)l->side * (size_t)l->side * 3, sizeof *l->x);
    if (!l->x) return status_fail(STATUS_NO_MEMORY, "out of memory for the judge's pictures");
    TRY(alloc_sight(out, r, l, h->count));
    TRY(see_cells(l, r, out->memory[0], out->memory[1]));
    TRY(see(l, h->count, DATASET_SMALL_SIDE, held_rgb, h, out->memory[3], NULL));
    out->judge_hash = judge_hash(l->judge);
    out->sight.related = relation(d, out->judge_hash);
    return judge_read(l->judge, l->kernels, r->prompt, r->prompts, out->memory[2]);
}

Status study_judge(const StudyData *d, const char *judge, const char *dataset, Kernels *kernels,
                   int (*progress)(void *ctx, double share), void *ctx, StudySight *out)
{
    Looking l = {.kernels = kernels, .progress = progress, .ctx = ctx};
    *out = (StudySight){0};
    TRY(judge_load(judge, &l.judge));
    l.side = judge_side(l.judge);
    l.features = judge_features(l.judge);
    l.embedding = judge_embedding(l.judge);
    Held *held = calloc(1, sizeof *held);
    Status s = held ? open_held(dataset, held) : status_fail(STATUS_NO_MEMORY, "out of memory for held-out pictures");
    if (s == STATUS_OK) s = look(&l, d, held, out);
    if (held) dataset_free(held->dataset);
    free(held);
    free(l.x);
    judge_free(l.judge);
    if (s != STATUS_OK) study_sight_release(out);
    return s;
}

void study_sight_release(StudySight *s)
{
    for (int i = 0; i < 4; i++) free(s->memory[i]);
    *s = (StudySight){0};
}
