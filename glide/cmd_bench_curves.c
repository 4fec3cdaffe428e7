/* glide bench curves: how the cost of a step grows with size, batch and channels, and that of a picture with steps. */
#include "glide/cmd_bench.h"

#include "common/file_write.h"
#include "common/plot.h"
#include "common/progress.h"
#include "common/text_buffer.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_POINTS = 8, SERIES = 2 };

/* One option of a part takes these values, all else stays. */
typedef struct Curve {
    const char *name, *part, *option, *x_label;
    int values[MOST_POINTS]; /* 0 at the end */
} Curve;

static const Curve curves[] = {
    {"side", "step", "--side", "pixels a side", {16, 32, 48, 64, 96, 128, 192}},
    {"batch", "step", "--batch", "pictures at once", {1, 2, 4, 8, 16}},
    {"channels", "step", "--channels", "channels of the first level", {32, 64, 96, 128, 192}},
    {"steps", "sample", "--steps", "steps of the base model", {5, 10, 20, 40, 80}},
};

static const struct Quantity {
    const char *key, *file, *label;
} quantities[] = {
    {"seconds", "seconds", "seconds"},
    {"gflops", "gflops", "GFLOP/s"},
    {"peak_rss_mb", "memory", "peak memory, MB"},
};

enum { QUANTITIES = sizeof quantities / sizeof *quantities };

typedef struct Points {
    double x[MOST_POINTS], y[QUANTITIES][MOST_POINTS];
    size_t count;
} Points;

typedef struct Curves {
    const BenchCommand *command;
    const char *precisions[SERIES];
    int precision_count;
    bool samples; /* the default weights are there */
    TextBuffer csv;
    Progress bar;
} Curves;

static Status measure_point(const BenchCommand *c, const Curve *curve, const char *precision, int value, json_t **out)
{
    char text[16], threads[24], runs[24];
    const char *argv[16] = {curve->part, curve->option, text, "--precision", precision};
    int n = 5;
    bool step = !strcmp(curve->part, "step");
    snprintf(text, sizeof text, "%d", value);
    if (step) argv[n++] = "--config", argv[n++] = c->config ? c->config : "small-base";
    if (!step && c->weights) argv[n++] = "--weights", argv[n++] = c->weights;
    if (!step && c->upsampler_weights) argv[n++] = "--upsampler-weights", argv[n++] = c->upsampler_weights;
    snprintf(threads, sizeof threads, "%lld", (long long)c->threads);
    argv[n++] = "--threads", argv[n++] = threads;
    snprintf(runs, sizeof runs, "%lld", (long long)c->runs);
    if (c->runs > 0) argv[n++] = "--runs", argv[n++] = runs;
    return bench_child_json(argv, out);
}

static Status measure_curve(Curves *all, const Curve *curve, const char *precision, Points *p)
{
    p->count = 0;
    for (int i = 0; i < MOST_POINTS && curve->values[i]; i++) {
        json_t *result;
        char note[96];
        snprintf(note, sizeof note, "%s, %d %s", precision, curve->values[i], curve->x_label);
        progress_update(&all->bar, all->bar.done, note);
        TRY(measure_point(all->command, curve, precision, curve->values[i], &result));
        size_t at = p->count++;
        p->x[at] = curve->values[i];
        for (int q = 0; q < QUANTITIES; q++) p->y[q][at] = json_number_value(json_object_get(result, quantities[q].key));
        text_buffer_add(&all->csv, "%s,%s,%d", curve->name, precision, curve->values[i]);
        static const char *const columns[] = {"seconds", "gmac", "gflops", "peak_gflops", "peak_rss_mb", "activation_mb"};
        for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
            text_buffer_add(&all->csv, ",%.6g", json_number_value(json_object_get(result, columns[k])));
        text_buffer_add(&all->csv, "\n");
        json_decref(result);
        progress_update(&all->bar, all->bar.done + 1, NULL);
    }
    return STATUS_OK;
}

static Status plot_curve(const Curves *all, const Curve *curve, const Points *points)
{
    for (int q = 0; q < QUANTITIES; q++) {
        char path[PATH_MAX], title[96];
        PlotSeries series[SERIES];
        PlotOptions o = plot_defaults();
        for (int i = 0; i < all->precision_count; i++)
            series[i] = (PlotSeries){all->precisions[i], points[i].x, points[i].y[q], points[i].count};
        snprintf(title, sizeof title, "%s of a %s", quantities[q].label, !strcmp(curve->part, "step") ? "sampling step" : "picture");
        o.title = title;
        o.x_label = curve->x_label;
        o.y_label = quantities[q].label;
        snprintf(path, sizeof path, "%s/%s-%s.svg", all->command->output, curve->name, quantities[q].file);
        TRY(plot_write(path, &o, series, all->precision_count));
    }
    return STATUS_OK;
}

/* Without precision: f32, and bf16 where the processor has it. */
static Status choose_precisions(const char *precision, Curves *all)
{
    Kernels *k;
    all->precision_count = 1;
    all->precisions[0] = precision ? precision : "f32";
    if (precision) return STATUS_OK;
    TRY(kernels_new(KERNELS_BEST, &k));
    if (k->native_bf16) all->precisions[all->precision_count++] = "bf16";
    kernels_free(k);
    return STATUS_OK;
}

static bool is_measured(const Curves *all, const Curve *curve)
{
    return strcmp(curve->part, "sample") || all->samples;
}

static int64_t point_count(const Curves *all)
{
    int64_t points = 0;
    for (int i = 0; i < CLI_COUNT(curves); i++)
        for (int k = 0; is_measured(all, &curves[i]) && k < MOST_POINTS && curves[i].values[k]; k++) points += all->precision_count;
    return points;
}

static Status measure_all(Curves *all)
{
    for (int i = 0; i < CLI_COUNT(curves); i++) {
        Points points[SERIES];
        if (!is_measured(all, &curves[i])) continue;
        for (int k = 0; k < all->precision_count; k++) TRY(measure_curve(all, &curves[i], all->precisions[k], &points[k]));
        TRY(plot_curve(all, &curves[i], points));
    }
    return STATUS_OK;
}

static Status measure_with_bar(Curves *all)
{
    ProgressOptions o = progress_defaults(stderr);
    o.label = "bench";
    o.unit = "points";
    o.total = point_count(all);
    progress_start(&all->bar, &o);
    Status s = measure_all(all);
    if (s == STATUS_OK) progress_finish(&all->bar);
    else progress_abort(&all->bar);
    return s;
}

Status bench_curves(const BenchCommand *c, const char *precision)
{
    char path[PATH_MAX], found[PATH_MAX];
    Curves all = {.command = c};
    all.samples = bench_has_weights(c->weights, "base.h5", found, sizeof found) &&
                  bench_has_weights(c->upsampler_weights, "upsampler.h5", found, sizeof found);
    TRY(choose_precisions(precision, &all));
    if (mkdir(c->output, 0777) != 0 && errno != EEXIST) return status_fail(STATUS_IO, "%s: %s", c->output, strerror(errno));
    snprintf(path, sizeof path, "%s/curves.csv", c->output);
    TRY(file_check_writable(path));
    text_buffer_add(&all.csv, "curve,precision,value,seconds,gmac,gflops,peak_gflops,peak_rss_mb,activation_mb\n");
    Status s = measure_with_bar(&all);
    if (s == STATUS_OK && all.csv.failed) s = status_fail(STATUS_NO_MEMORY, "out of memory for curves");
    if (s == STATUS_OK) s = file_write(path, all.csv.data, all.csv.size);
    text_buffer_release(&all.csv);
    return s;
}
