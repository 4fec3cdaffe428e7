/* glide evaluate guide: how good a classifier, a CLIP or a judge is on held-out pictures. */
#include "data/guide_rows.h"
#include "glide/ablation/judge_model.h"
#include "glide/cmd_evaluate.h"
#include "glide/guide_measures.h"
#include "glide/guides.h"
#include "glide/weights_path.h"
#include "guidance/classifier_file.h"
#include "guidance/clip_file.h"

#include <jansson.h>
#include <limits.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS = 10, CLIP_LEVELS = 5, MOST_PICTURES = 1000000 };

/* What all measures need, and the JSON they fill. */
typedef struct Evaluation {
    const EvaluateCommand *command;
    const char *path;
    Kernels *kernels;
    Dataset *dataset;
    int *pictures, count;
    json_t *root;
} Evaluation;

/* --- classifiers ---------------------------------------------------------------------------------- */

static void show_classifier_score(Evaluation *e, const Classifier *m, const ClassifierScore *s)
{
    const int styles = m->config.styles, count = classifier_classes(&m->config) / styles;
    json_t *levels = json_object_get(e->root, "levels");
    if (json_array_size(levels) == 0) {
        json_object_set_new(e->root, "pictures", json_integer(s->n));
        json_object_set_new(e->root, "subjects", json_integer(count));
        json_object_set_new(e->root, "styles", json_integer(styles));
        if (!e->command->json)
            printf("classifier of %d subjects and %d styles on %d pictures of %s (chance: %.3f, %.3f and %.3f)\n"
                   "timestep  subject  in first 5  style\n",
                   count, styles, s->n, evaluate_splits[e->command->split], 1.0 / count, count < 5 ? 1.0 : 5.0 / count,
                   1.0 / styles);
    }
    json_array_append_new(
        levels, json_pack("{s:i, s:f, s:f, s:f}", "timestep", s->timestep, "top1", s->top1, "top5", s->top5, "style", s->style));
    if (!e->command->json) printf("%8d  %7.3f  %10.3f  %5.3f\n", s->timestep, s->top1, s->top5, s->style);
    fflush(stdout);
}

static Status classifier_levels(Evaluation *e, const Classifier *m, const Subgroups *s)
{
    const int steps = m->config.diffusion_steps;
    json_object_set_new(e->root, "levels", json_array());
    for (int i = 0; i < LEVELS; i++) {
        ClassifierScore score;
        TRY(measure_classifier(e->kernels, m, e->dataset, s, e->pictures, e->count, i * steps / LEVELS, &score));
        show_classifier_score(e, m, &score);
    }
    return STATUS_OK;
}

static Status evaluate_classifier(Evaluation *e)
{
    Classifier *m;
    Subgroups *s = NULL;
    char path[PATH_MAX];
    const char *chosen = e->command->subgroups;
    if (!chosen) {
        TRY(data_path_default("subgroups.tsv", path, sizeof path));
        chosen = path;
    }
    TRY(classifier_load(e->path, &m, NULL));
    Status status = subgroups_load(chosen, &s);
    if (status == STATUS_OK) status = classifier_levels(e, m, s);
    if (status != STATUS_OK && !m->subject_names) status = status_prefix(status, "%s", e->path);
    subgroups_free(s);
    classifier_free(m);
    return status;
}

/* --- retrieval ------------------------------------------------------------------------------------ */

static void show_retrieval(Evaluation *e, json_t *to, int timestep, const RetrievalScore *s)
{
    json_array_append_new(to, json_pack("{s:i, s:i, s:i, s:f, s:f, s:f, s:f}", "timestep", timestep, "pairs", s->n, "group",
                                        s->group, "text_top1", s->text_top1, "text_top5", s->text_top5, "picture_top1",
                                        s->picture_top1, "picture_top5", s->picture_top5));
    if (!e->command->json)
        printf("%8d  %5d  %5d  %5.3f  %10.3f  %7.3f  %10.3f  %6.3f  %10.3f\n", timestep, s->n, s->group, s->text_top1, s->text_top5,
               s->picture_top1, s->picture_top5, 1.0 / s->group, s->group < 5 ? 1.0 : 5.0 / s->group);
    fflush(stdout);
}

static void show_both_groups(Evaluation *e, json_t *to, int timestep, const float *seen, const float *read, int width)
{
    RetrievalScore score;
    const int small = e->count < MEASURE_GROUP ? e->count : MEASURE_GROUP;
    measure_retrieval(seen, read, e->count, width, small, &score);
    show_retrieval(e, to, timestep, &score);
    if (small == e->count) return;
    measure_retrieval(seen, read, e->count, width, e->count, &score);
    show_retrieval(e, to, timestep, &score);
}

static float *begin_retrieval(Evaluation *e, const char *what, int width, json_t **rows)
{
    json_object_set_new(e->root, "rows", *rows = json_array());
    if (!e->command->json)
        printf("%s: texts for pictures and pictures for texts, %d pairs of %s; chance\n"
               "timestep  pairs  among   text  in first 5  picture  in first 5  chance  in first 5\n",
               what, e->count, evaluate_splits[e->command->split]);
    return malloc(2 * (size_t)e->count * (size_t)width * sizeof(float));
}

static Status evaluate_clip(Evaluation *e)
{
    Glide none = {0};
    const GuideFile *f;
    json_t *rows;
    TRY(guides_load(&none, GUIDES_CLIP, e->path, &f));
    const int width = f->clip->config.n_embd;
    float *seen = begin_retrieval(e, "CLIP", width, &rows), *read = seen + (size_t)e->count * (size_t)width;
    Status s = seen ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for measuring");
    for (int i = 0; i < CLIP_LEVELS && s == STATUS_OK; i++) {
        int timestep = i * f->clip->config.n_timesteps / CLIP_LEVELS;
        s = embed_with_clip(e->kernels, f->clip, f->clip_bpe, e->dataset, e->pictures, e->count, timestep, seen, read);
        if (s == STATUS_OK) show_both_groups(e, rows, timestep, seen, read, width);
    }
    free(seen);
    guides_free(none.guides);
    return s;
}

static Status evaluate_judge(Evaluation *e)
{
    Judge *j;
    json_t *rows;
    TRY(judge_load(e->path, &j));
    const int width = judge_embedding(j);
    float *seen = begin_retrieval(e, "judge", width, &rows), *read = seen + (size_t)e->count * (size_t)width;
    Status s = seen ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for measuring");
    if (s == STATUS_OK) s = embed_with_judge(e->kernels, j, e->dataset, e->pictures, e->count, seen, read);
    if (s == STATUS_OK) show_both_groups(e, rows, 0, seen, read, width);
    free(seen);
    judge_free(j);
    return s;
}

/* --- the command ---------------------------------------------------------------------------------- */

static Status evaluate(Evaluation *e, const char *kind)
{
    TRY(dataset_open(e->command->data, &e->dataset));
    const int most = e->command->limit > 0 ? (int)e->command->limit : MOST_PICTURES;
    TRY(guide_rows_held_out(e->dataset, (Split)e->command->split, most, &e->pictures, &e->count));
    if (e->count < 2)
        return status_fail(STATUS_BAD_INPUT, "%s: expected at least 2 pictures of %s, found %d", e->command->data,
                           evaluate_splits[e->command->split], e->count);
    TRY(kernels_new(KERNELS_BEST, &e->kernels));
    e->root = json_pack("{s:s, s:s, s:s}", "weights", e->path, "kind", kind, "split", evaluate_splits[e->command->split]);
    if (!strcmp(kind, CLASSIFIER_KIND)) TRY(evaluate_classifier(e));
    else if (!strcmp(kind, CLIP_KIND)) TRY(evaluate_clip(e));
    else TRY(evaluate_judge(e));
    if (!e->command->json) return STATUS_OK;
    int failed = json_dumpf(e->root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    return failed ? status_fail(STATUS_IO, "standard output: cannot be written") : STATUS_OK;
}

static Status read_kind(const char *path, char kind[WEIGHTS_KIND_MAX])
{
    H5File *file;
    TRY(weights_open(path, NULL, &file));
    Status s = weights_kind(file, kind);
    h5file_close(file);
    TRY(s);
    if (!strcmp(kind, CLASSIFIER_KIND) || !strcmp(kind, CLIP_KIND) || !strcmp(kind, JUDGE_KIND)) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: expected a classifier, a CLIP or a judge, found weights of kind %s", path, kind);
}

Status evaluate_guide(CliArgs *args)
{
    const EvaluateCommand *c = args->options;
    char kind[WEIGHTS_KIND_MAX];
    if (args->operand_count < 2) return cli_usage_fail(args, "expected the file of a guide or judge after \"guide\"");
    if (!c->data) return cli_usage_fail(args, "--data: expected a data set (glide dataset -o FILE makes one)");
    if (c->threads > 0) omp_set_num_threads((int)c->threads);
    TRY(read_kind(args->operands[1], kind));
    Evaluation e = {.command = c, .path = args->operands[1]};
    Status s = evaluate(&e, kind);
    json_decref(e.root);
    free(e.pictures);
    dataset_free(e.dataset);
    kernels_free(e.kernels);
    return s;
}
