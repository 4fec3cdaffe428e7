/* glide bench curves: how the cost of a step grows with size, batch and channels, and that of a picture with steps. */
#include "glide/cmd_bench.h"

#include "common/file_write.h"
#include "common/plot.h"
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

static Status measure_curve(const BenchCommand *c, const Curve *curve, const char *precision, Points *p, TextBuffer *csv)
{
    p->count = 0;
    for (int i = 0; i < MOST_POINTS && curve->values[i]; i++) {
        json_t *result;
        TRY(measure_point(c, curve, precision, curve->values[i], &result));
        size_t at = p->count++;
        p->x[at] = curve->values[i];
        for (int q = 0; q < QUANTITIES; q++) p->y[q][at] = json_number_value(json_object_get(result, quantities[q].key));
        text_buffer_add(csv, "%s,%s,%d", curve->name, precision, curve->values[i]);
        static const char *const columns[] = {"seconds", "gmac", "gflops", "peak_gflops", "peak_rss_mb", "activation_mb"};
        for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
            text_buffer_add(csv, ",%.6g", json_number_value(json_object_get(result, columns[k])));
        text_buffer_add(csv, "\n");
        json_decref(result);
    }
    return STATUS_OK;
}

static Status plot_curve(const char *folder, const Curve *curve, const char *const *precisions, int count, const Points *points)
{
    for (int q = 0; q < QUANTITIES; q++) {
        char path[PATH_MAX], title[96];
        PlotSeries series[SERIES];
        PlotOptions o = plot_defaults();
        for (int i = 0; i < count; i++)
            series[i] = (PlotSeries){precisions[i], points[i].x, points[i].y[q], points[i].count};
        snprintf(title, sizeof title, "%s of a %s", quantities[q].label, !strcmp(curve->part, "step") ? "sampling step" : "picture");
        o.title = title;
        o.x_label = curve->x_label;
        o.y_label = quantities[q].label;
        snprintf(path, sizeof path, "%s/%s-%s.svg", folder, curve->name, quantities[q].file);
        TRY(plot_write(path, &o, series, count));
    }
    return STATUS_OK;
}

/* Without precision: f32, and bf16 where the processor has it. */
static Status choose_precisions(const char *precision, const char *out[SERIES], int *count)
{
    Kernels *k;
    *count = 1;
    out[0] = precision ? precision : "f32";
    if (precision) return STATUS_OK;
    TRY(kernels_new(KERNELS_BEST, &k));
    if (k->native_bf16) out[(*count)++] = "bf16";
    kernels_free(k);
    return STATUS_OK;
}

static Status measure_all(const BenchCommand *c, const char *const *precisions, int count, TextBuffer *csv)
{
    char found[PATH_MAX];
    bool samples = bench_has_weights(c->weights, "base.h5", found, sizeof found) &&
                   bench_has_weights(c->upsampler_weights, "upsampler.h5", found, sizeof found);
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
        Points points[SERIES];
        if (!strcmp(curves[i].part, "sample") && !samples) continue;
        for (int k = 0; k < count; k++) TRY(measure_curve(c, &curves[i], precisions[k], &points[k], csv));
        TRY(plot_curve(c->output, &curves[i], precisions, count, points));
    }
    return STATUS_OK;
}

Status bench_curves(const BenchCommand *c, const char *precision)
{
    char path[PATH_MAX];
    const char *precisions[SERIES];
    int count;
    TextBuffer csv = {0};
    TRY(choose_precisions(precision, precisions, &count));
    if (mkdir(c->output, 0777) != 0 && errno != EEXIST) return status_fail(STATUS_IO, "%s: %s", c->output, strerror(errno));
    snprintf(path, sizeof path, "%s/curves.csv", c->output);
    TRY(file_check_writable(path));
    text_buffer_add(&csv, "curve,precision,value,seconds,gmac,gflops,peak_gflops,peak_rss_mb,activation_mb\n");
    Status s = measure_all(c, precisions, count, &csv);
    if (s == STATUS_OK && csv.failed) s = status_fail(STATUS_NO_MEMORY, "out of memory for curves");
    if (s == STATUS_OK) s = file_write(path, csv.data, csv.size);
    text_buffer_release(&csv);
    return s;
}
