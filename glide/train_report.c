#include "glide/train_report.h"

#include "common/file_write.h"
#include "common/plot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 160, SMOOTH = 100 };

Status train_report_held_out(Trainer *tr, char *text, size_t size)
{
    *text = 0;
    if (tr->records.count == 0) return STATUS_OK;
    optimizer_swap_ema(&tr->optimizer);
    Status s = tr->kind->measure(tr, tr->records.items[tr->records.count - 1].held_out, text, size);
    optimizer_swap_ema(&tr->optimizer);
    tape_reset(tr->tape);
    return s;
}

Status train_report_samples(Trainer *tr)
{
    if (!tr->kind->samples) return STATUS_OK;
    optimizer_swap_ema(&tr->optimizer);
    Status s = tr->kind->samples(tr);
    optimizer_swap_ema(&tr->optimizer);
    return s;
}

/* --- curve ---------------------------------------------------------------------------------------- */

static Status write_csv(Trainer *tr)
{
    const TrainRecords *r = &tr->records;
    char path[TRAIN_PATH], *text = malloc((size_t)(r->count + 1) * LINE_BYTES);
    if (!text) return status_fail(STATUS_NO_MEMORY, "out of memory for the loss curve");
    const char *const *losses = tr->kind->loss_names, *const *measures = tr->kind->measure_names;
    size_t used = (size_t)snprintf(text, LINE_BYTES, "step,%s,%s,lr,grad_norm,seconds,%s,%s,%s\n", losses[0], losses[1],
                                   measures[0], measures[1], measures[2]);
    for (int64_t i = 0; i < r->count; i++) {
        const TrainRecord *x = &r->items[i];
        used += (size_t)snprintf(text + used, LINE_BYTES, "%.0f,%.6g,%.6g,%.4g,%.4g,%.3f,%.6g,%.6g,%.6g\n", x->step, x->loss[0],
                                 x->loss[1], x->lr, x->grad_norm, x->seconds, x->held_out[0], x->held_out[1], x->held_out[2]);
    }
    Status s = file_write(trainer_path(tr, ".loss.csv", path, sizeof path), text, used);
    free(text);
    return s;
}

/* Running means over SMOOTH steps, and the held-out loss where it was measured. */
static Status write_svg(Trainer *tr)
{
    const TrainRecords *r = &tr->records;
    size_t n = (size_t)r->count, points = 0, measured = 0;
    char path[TRAIN_PATH];
    double *x = malloc(5 * n * sizeof *x), *first = x + n, *second = x + 2 * n, *held_x = x + 3 * n, *held = x + 4 * n;
    if (!x) return status_fail(STATUS_NO_MEMORY, "out of memory for the loss curve");
    double sum[TRAIN_LOSSES] = {0};
    for (size_t i = 0; i < n; i++) {
        const TrainRecord *record = &r->items[i];
        for (int k = 0; k < TRAIN_LOSSES; k++) sum[k] += record->loss[k];
        if (record->held_out[0] > 0) {
            held_x[measured] = record->step;
            held[measured++] = record->held_out[0];
        }
        if ((i + 1) % SMOOTH && i + 1 < n) continue;
        double count = (double)(i % SMOOTH + 1);
        x[points] = record->step;
        first[points] = sum[0] / count;
        second[points++] = sum[1] / count;
        sum[0] = sum[1] = 0;
    }
    const char *const *names = tr->kind->curve_names;
    PlotSeries series[] = {{names[0], x, first, points}, {names[1], x, second, points}, {names[2], held_x, held, measured}};
    PlotOptions o = plot_defaults();
    o.title = tr->kind->title;
    o.x_label = "step";
    o.y_label = "loss";
    o.log_y = true;
    Status s = plot_write(trainer_path(tr, ".loss.svg", path, sizeof path), &o, series, measured ? 3 : 2);
    free(x);
    return s;
}

Status train_report_curve(Trainer *tr)
{
    TRY(write_csv(tr));
    return write_svg(tr);
}

