/* glide bench all, table: several parts, each measured by a process of its own, so that its peak memory is its own. */
#include "glide/cmd_bench.h"

#include "common/file_write.h"
#include "common/progress.h"
#include "common/text_buffer.h"
#include "glide/weights_path.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_WORDS = 32, NUMBER = 24 };

/* A command line under way. */
typedef struct Words {
    const char *items[MOST_WORDS];
    char numbers[4][NUMBER];
    int count, number_count;
} Words;

static void add(Words *w, const char *option, const char *value)
{
    if (!value || w->count + 3 > MOST_WORDS) return;
    if (option) w->items[w->count++] = option;
    w->items[w->count++] = value;
    w->items[w->count] = NULL;
}

/* 0: not given */
static void add_number(Words *w, const char *option, int64_t value)
{
    if (value <= 0) return;
    char *text = w->numbers[w->number_count++];
    snprintf(text, NUMBER, "%lld", (long long)value);
    add(w, option, text);
}

/* --- all ---------------------------------------------------------------------------------------------- */

typedef struct All {
    const BenchCommand *command;
    const char *precision;
    json_t *results; /* NULL: each part prints its own text */
} All;

static Status part(const All *all, const char *name, const char *part_name, const char *weights, const char *config)
{
    const BenchCommand *c = all->command;
    Words w = {0};
    if (!all->results) add(&w, "glide", "bench");
    add(&w, NULL, part_name);
    add(&w, "--precision", all->precision);
    add(&w, "--weights", weights);
    add(&w, "--config", config);
    add_number(&w, "--threads", c->threads);
    add_number(&w, "--runs", c->runs);
    if (!strcmp(part_name, "sample")) add(&w, "--upsampler-weights", c->upsampler_weights), add(&w, "--steps", c->steps);
    if (!strcmp(part_name, "train")) {
        add_number(&w, "--batch", c->batch);
        add_number(&w, "--side", c->side);
        add(&w, NULL, "--brief");
    }
    if (!all->results) {
        BenchChild child;
        puts("");
        return bench_child(w.items, BENCH_CHILD_SHOW, &child);
    }
    json_t *result;
    TRY(bench_child_json(w.items, &result));
    json_object_set_new(all->results, name, result);
    return STATUS_OK;
}

Status bench_all(const BenchCommand *c, const char *precision)
{
    char base[PATH_MAX], upsampler[PATH_MAX];
    All all = {c, precision, c->json ? json_object() : NULL};
    bool has_base = bench_has_weights(c->weights, "base.h5", base, sizeof base);
    bool has_upsampler = bench_has_weights(c->upsampler_weights, "upsampler.h5", upsampler, sizeof upsampler);
    Status s = STATUS_OK;
    if (has_base) s = part(&all, "load", "load", base, NULL);
    if (s == STATUS_OK && has_base && has_upsampler) s = part(&all, "sample", "sample", base, NULL);
    if (s == STATUS_OK) s = part(&all, "conv", "conv", NULL, NULL);
    if (s == STATUS_OK) s = part(&all, "step_base", "step", has_base ? base : NULL, has_base ? NULL : "small-base");
    if (s == STATUS_OK)
        s = part(&all, "step_upsampler", "step", has_upsampler ? upsampler : NULL, has_upsampler ? NULL : "small-upsampler");
    if (s == STATUS_OK) s = part(&all, "train", "train", NULL, c->config);
    if (s == STATUS_OK && c->json) return bench_print_json(all.results);
    json_decref(all.results);
    return s;
}

/* --- table -------------------------------------------------------------------------------------------- */

/* model: "base", "upsampler": the default weights, or those of the configuration that the table is about; a name of glide init's:
 * random weights in a file; NULL: what the part says. */
typedef struct Row {
    const char *title, *part, *model, *precision;
    const char *more[4]; /* words */
} Row;

static const Row rows[] = {
    {"default base model, pair of a guided step", "step", "base", "bf16", {0}},
    {"the same", "step", "base", "int8", {0}},
    {"the same", "step", "base", "f32", {0}},
    {"default upsampler, step of a 256x256 picture", "step", "upsampler", "bf16", {0}},
    {"the same", "step", "upsampler", "int8", {0}},
    {"the same", "step", "upsampler", "f32", {0}},
    {"prompt to 256x256 PNG, default weights, start included", "sample", "base", "bf16", {0}},
    {"opening the default base model", "load", "base", NULL, {0}},
    {"training step, small, 32 pictures of 64x64", "train", NULL, "bf16", {"--brief"}},
    {"training step, medium, 16 pictures of 64x64", "train", NULL, "bf16", {"--brief", "--config", "medium", "--batch=16"}},
    {"GLIDE's full-size base model, pair of a guided step", "step", "glide-base", "bf16", {0}},
    {"the same", "step", "glide-base", "int8", {0}},
    {"the same", "step", "glide-base", "f32", {0}},
    {"opening it", "load", "glide-base", NULL, {0}},
    {"GLIDE's full-size upsampler, step of a 256x256 picture", "step", "glide-upsampler", "bf16", {0}},
    {"the same", "step", "glide-upsampler", "int8", {0}},
    {"the same", "step", "glide-upsampler", "f32", {0}},
};

/* With --config. */
static const Row config_rows[] = {
    {"base model, pair of a guided step", "step", "base", "bf16", {0}},
    {"the same", "step", "base", "int8", {0}},
    {"the same", "step", "base", "f32", {0}},
    {"opening it", "load", "base", NULL, {0}},
    {"upsampler, step", "step", "upsampler", "bf16", {0}},
    {"the same", "step", "upsampler", "int8", {0}},
    {"the same", "step", "upsampler", "f32", {0}},
    {"training step", "train", NULL, "bf16", {"--brief"}},
};

typedef struct Table {
    const BenchCommand *command;
    TextBuffer head, rows;
    Progress bar; /* a row is measured in seconds or a minute, by its model's size */
    char folder[PATH_MAX]; /* for files of random weights */
    char model[64];        /* that the last row was about, */
    char file[PATH_MAX];   /* and its file there; "": none */
} Table;

static void forget_model(Table *t)
{
    if (t->file[0]) unlink(t->file);
    t->file[0] = t->model[0] = 0;
}

/* A file of random weights, made when the row before was not about the same model. */
static Status random_weights(Table *t, const char *model, char *found, size_t size)
{
    if (strcmp(t->model, model)) {
        forget_model(t);
        progress_log(&t->bar, "making %s of random weights", model);
        TRY(bench_random_weights(t->folder, model, t->file, sizeof t->file));
        snprintf(t->model, sizeof t->model, "%s", model);
    }
    snprintf(found, size, "%s", t->file);
    return STATUS_OK;
}

/* found: the weights' path; "" when the row needs none. */
static Status find_weights(Table *t, const Row *r, char *found, size_t size)
{
    const BenchCommand *c = t->command;
    char named[64];
    *found = 0;
    if (!r->model) return STATUS_OK;
    if (c->config) {
        snprintf(named, sizeof named, "%.40s-%s", c->config, r->model);
        return random_weights(t, named, found, size);
    }
    const char *path = !strcmp(r->model, "base") ? c->weights : c->upsampler_weights;
    if (strcmp(r->model, "base") && strcmp(r->model, "upsampler")) return random_weights(t, r->model, found, size);
    if (path) return snprintf(found, size, "%s", path), STATUS_OK;
    return weights_path_default(!strcmp(r->model, "base") ? "base.h5" : "upsampler.h5", found, size);
}

static void write_head(Table *t, const json_t *result)
{
    char date[32];
    time_t now = time(NULL);
    struct tm day;
    if (t->head.size) return;
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &day));
    text_buffer_add(&t->head, "`glide bench table%s%s`, kernels %s, %lld threads, %s\n\n",
                    t->command->config ? " --config " : "", t->command->config ? t->command->config : "",
                    json_string_value(json_object_get(result, "kernels")),
                    (long long)json_integer_value(json_object_get(result, "threads")), date);
    text_buffer_add(&t->head, "| | precision | seconds | GMAC | GFLOP/s | share of the convolution rate | peak memory |\n"
                              "|---|---|---|---|---|---|---|\n");
}

static double number(const json_t *result, const char *key)
{
    return json_number_value(json_object_get(result, key));
}

static void write_row(Table *t, const Row *r, const json_t *result)
{
    char seconds[32], rest[128] = "| | |";
    double s = number(result, "seconds");
    snprintf(seconds, sizeof seconds, s < 0.1 ? "%.4f" : s < 10 ? "%.3f" : "%.1f", s);
    if (number(result, "gmac") > 0)
        snprintf(rest, sizeof rest, "%.1f | %.0f | %.1f %% of %.0f |", number(result, "gmac"), number(result, "gflops"),
                 100 * number(result, "share"), number(result, "peak_gflops"));
    text_buffer_add(&t->rows, "| %s | %s | %s | %s %.0f MB |\n", r->title, r->precision ? r->precision : "", seconds, rest,
                    number(result, "peak_rss_mb"));
}

static Status run_row(Table *t, const Row *r, json_t **result)
{
    const BenchCommand *c = t->command;
    char weights[PATH_MAX];
    Words w = {0};
    TRY(find_weights(t, r, weights, sizeof weights));
    add(&w, NULL, r->part);
    if (*weights) add(&w, "--weights", weights);
    add(&w, "--precision", r->precision);
    for (int i = 0; i < 4 && r->more[i]; i++) add(&w, NULL, r->more[i]);
    if (!strcmp(r->part, "sample")) add(&w, "--upsampler-weights", c->upsampler_weights);
    if (!strcmp(r->part, "train")) add(&w, "--config", c->config);
    add_number(&w, "--threads", c->threads);
    add_number(&w, "--runs", c->runs);
    return bench_child_json(w.items, result);
}

/* A row that fails says so and does not keep the others from being measured. `name`: of the row, for who waits. */
static Status measure_row(Table *t, const Row *r, const char *name)
{
    json_t *result = NULL;
    Status s = run_row(t, r, &result);
    if (s == STATUS_INTERRUPTED) return s;
    if (s != STATUS_OK) {
        text_buffer_add(&t->rows, "| %s | %s | not measured: %s | | | | |\n", r->title, r->precision ? r->precision : "",
                        status_message());
        progress_log(&t->bar, "%s: not measured: %s", name, status_message());
        return STATUS_OK;
    }
    write_head(t, result);
    write_row(t, r, result);
    progress_log(&t->bar, "%s: %.4g s", name, number(result, "seconds"));
    json_decref(result);
    return STATUS_OK;
}

/* "the same" says little while the table is not there: the title it stands for. */
static const char *full_title(const Row *all, int i)
{
    while (i > 0 && !strcmp(all[i].title, "the same")) i--;
    return all[i].title;
}

static Status measure_rows(Table *t)
{
    const Row *all = t->command->config ? config_rows : rows;
    int count = t->command->config ? CLI_COUNT(config_rows) : CLI_COUNT(rows);
    ProgressOptions o = progress_defaults(stderr);
    Status s = STATUS_OK;
    o.label = "bench";
    o.unit = "rows";
    o.total = count;
    progress_start(&t->bar, &o);
    for (int i = 0; i < count && s == STATUS_OK; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s%s", full_title(all, i), all[i].precision ? ", " : "", all[i].precision ? all[i].precision : "");
        progress_update(&t->bar, i, name);
        s = measure_row(t, &all[i], name);
    }
    if (s == STATUS_OK) progress_update(&t->bar, count, "");
    if (s == STATUS_OK) progress_finish(&t->bar);
    else progress_abort(&t->bar);
    return s;
}

Status bench_table(const BenchCommand *c)
{
    Table t = {.command = c};
    if (c->output) TRY(file_check_writable(c->output));
    TRY(bench_folder_new(t.folder, sizeof t.folder));
    Status s = measure_rows(&t);
    bench_folder_remove(t.folder);
    text_buffer_add(&t.head, "%s", t.rows.data ? t.rows.data : "");
    if (s == STATUS_OK && (t.head.failed || t.rows.failed)) s = status_fail(STATUS_NO_MEMORY, "out of memory for a table");
    if (s == STATUS_OK && c->output) s = file_write(c->output, t.head.data, t.head.size);
    else if (s == STATUS_OK) fputs(t.head.data, stdout);
    text_buffer_release(&t.head);
    text_buffer_release(&t.rows);
    return s;
}
