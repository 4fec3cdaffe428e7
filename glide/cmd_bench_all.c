/* glide bench all, table: several parts, each measured by a process of its own, so that its peak memory is its own. */
#include "glide/cmd_bench.h"

#include "common/file_write.h"
#include "common/text_buffer.h"

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

/* model: "base", "upsampler": the default weights; a name of glide init's: random weights in a file; NULL: what the part says. */
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

typedef struct Table {
    const BenchCommand *command;
    TextBuffer text;
    char file[PATH_MAX]; /* of random weights that the last row was about */
    const char *model;
    bool headed;
} Table;

static void forget_model(Table *t)
{
    if (t->file[0]) unlink(t->file);
    t->file[0] = 0;
    t->model = NULL;
}

/* found: the weights' path; "" when the row needs none. false: there are none. */
static bool find_weights(Table *t, const Row *r, char *found, size_t size)
{
    *found = 0;
    if (!r->model) return true;
    if (!strcmp(r->model, "base")) return bench_has_weights(t->command->weights, "base.h5", found, size);
    if (!strcmp(r->model, "upsampler")) return bench_has_weights(t->command->upsampler_weights, "upsampler.h5", found, size);
    if (!t->model || strcmp(t->model, r->model)) {
        forget_model(t);
        if (bench_temporary_model(r->model, t->file, sizeof t->file) != STATUS_OK) {
            t->file[0] = 0;
            return false;
        }
        t->model = r->model;
    }
    snprintf(found, size, "%s", t->file);
    return true;
}

static void write_head(Table *t, const json_t *result)
{
    char date[32];
    time_t now = time(NULL);
    struct tm day;
    if (t->headed) return;
    t->headed = true;
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &day));
    text_buffer_add(&t->text, "`glide bench table`, kernels %s, %lld threads, %s\n\n",
                    json_string_value(json_object_get(result, "kernels")),
                    (long long)json_integer_value(json_object_get(result, "threads")), date);
    text_buffer_add(&t->text, "| | precision | seconds | GMAC | GFLOP/s | share of the convolution rate | peak memory |\n"
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
    text_buffer_add(&t->text, "| %s | %s | %s | %s %.0f MB |\n", r->title, r->precision ? r->precision : "", seconds, rest,
                    number(result, "peak_rss_mb"));
}

/* A row that fails says so and does not keep the others from being measured. */
static void measure_row(Table *t, const Row *r)
{
    char weights[PATH_MAX];
    json_t *result = NULL;
    Words w = {0};
    bool there = find_weights(t, r, weights, sizeof weights);
    add(&w, NULL, r->part);
    if (*weights) add(&w, "--weights", weights);
    add(&w, "--precision", r->precision);
    for (int i = 0; i < 4 && r->more[i]; i++) add(&w, NULL, r->more[i]);
    if (!strcmp(r->part, "sample")) add(&w, "--upsampler-weights", t->command->upsampler_weights);
    add_number(&w, "--threads", t->command->threads);
    add_number(&w, "--runs", t->command->runs);
    if (!there || bench_child_json(w.items, &result) != STATUS_OK) {
        text_buffer_add(&t->text, "| %s | %s | not measured: %s | | | | |\n", r->title, r->precision ? r->precision : "",
                        status_message());
        return;
    }
    write_head(t, result);
    write_row(t, r, result);
    json_decref(result);
}

Status bench_table(const BenchCommand *c)
{
    Table t = {.command = c};
    Status s = c->output ? file_check_writable(c->output) : STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < sizeof rows / sizeof *rows; i++) measure_row(&t, &rows[i]);
    forget_model(&t);
    if (s == STATUS_OK && t.text.failed) s = status_fail(STATUS_NO_MEMORY, "out of memory for a table");
    if (s == STATUS_OK && c->output) s = file_write(c->output, t.text.data, t.text.size);
    else if (s == STATUS_OK) fputs(t.text.data ? t.text.data : "", stdout);
    text_buffer_release(&t.text);
    return s;
}
