/* Telemetry over the steps: a line for one condition of each mode. */
#include "glide/ablation/chart.h"
#include "glide/ablation/report_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_MOST = 8, LINES_MOST = 2 * SHOWN_MOST };

/* None and, of each mode's plain series, the scale in the middle. */
static int find_shown(const Report *r, const ReportSeries *shown[SHOWN_MOST], int condition[SHOWN_MOST])
{
    int count = 0;
    for (int k = 0; k < r->series_count && count < SHOWN_MOST; k++) {
        const ReportSeries *s = &r->series[k];
        if (s->narrow || *r->results->condition[s->conditions[0]].variant) continue;
        shown[count] = s;
        condition[count++] = s->conditions[s->count / 2];
    }
    return count;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Median and quartiles over the condition's cells at a step; false where nothing was measured. */
static bool quartiles(const Report *r, int c, int step, int telemetry, float *room, ChartPoint *point)
{
    const AblationResults *a = r->results;
    int64_t cells = (int64_t)a->prompts * a->seeds;
    size_t n = 0;
    for (int64_t i = 0; i < cells; i++) {
        float v = a->telemetry[((c * cells + i) * a->steps + step) * a->telemetry_count + telemetry];
        if (isfinite(v)) room[n++] = v;
    }
    if (n == 0) return false;
    qsort(room, n, sizeof *room, compare_floats);
    *point = (ChartPoint){
        .x = (double)a->timestep[step], .y = (double)room[n / 2], .low = (double)room[n / 4], .high = (double)room[(3 * n) / 4]};
    return true;
}

/* A chart of one telemetry, or of all whose name ends in `name` (the modes' gradient norms). */
typedef struct StepsPlot {
    const char *name, *title, *unit, *what;
} StepsPlot;

static const StepsPlot plots[] = {
    {"guided_norm", "Guided prediction over the steps", "rms of eps", "Root mean square of the guided eps."},
    {"difference_norm", "Conditional less unconditional", "rms of eps",
     "Root mean square of the difference of the model's two answers."},
    {"cosine", "Cosine of conditional and unconditional", "cosine", "How much the model's two answers agree in direction."},
    {"parallel_norm", "Guidance along the picture", "rms of x_0",
     "The part of guidance's change of x_0 that lies along x_0: it saturates."},
    {"orthogonal_norm", "Guidance across the picture", "rms of x_0", "The part of guidance's change of x_0 that lies across x_0."},
    {"gradient_norm", "Gradients of guides", "rms, before the scale",
     "Root mean square of a guide's gradient of its log-probability."},
    {"clipped", "Clipped share over the steps", "share of values",
     "Values of the expected picture outside of [-1,1] before the clamp."}};

static bool matches(const char *telemetry, const char *name)
{
    size_t a = strlen(telemetry), b = strlen(name);
    return strcmp(telemetry, name) == 0 || (strcmp(name, "gradient_norm") == 0 && a > b && strcmp(telemetry + a - b, name) == 0);
}

typedef struct StepsRoom {
    ChartSeries series[LINES_MOST];
    int count;
    ChartPoint *points; /* (LINES_MOST,steps) */
    double *values;     /* (LINES_MOST,steps) */
    float *cells;       /* (cells of a condition) */
} StepsRoom;

static int collect(const Report *r, const StepsPlot *plot, StepsRoom *room)
{
    const ReportSeries *shown[SHOWN_MOST];
    int condition[SHOWN_MOST], count = find_shown(r, shown, condition), values = 0;
    room->count = 0;
    for (int k = 0; k < count; k++)
        for (int t = 0; t < r->results->telemetry_count && room->count < LINES_MOST; t++) {
            if (!matches(r->results->telemetry_name[t], plot->name)) continue;
            ChartSeries *s = &room->series[room->count];
            ChartPoint *points = room->points + (size_t)room->count * (size_t)r->results->steps;
            *s = (ChartSeries){.colour = shown[k]->colour, .line = true, .points = points};
            snprintf(s->name, sizeof s->name, "%.95s", r->results->condition[condition[k]].label);
            for (int step = 0; step < r->results->steps; step++)
                if (quartiles(r, condition[k], step, t, room->cells, &points[s->count]))
                    room->values[values++] = points[s->count++].low;
            room->count += s->count > 0;
        }
    return values;
}

static void draw(Report *r, const StepsPlot *plot, StepsRoom *room)
{
    char id[24], text[320];
    int values = collect(r, plot, room);
    if (values == 0) return;
    r->chart_count++;
    snprintf(id, sizeof id, "chart%d", r->chart_count);
    snprintf(
        text, sizeof text,
        "%s Median over pictures, the band holds the middle half; of each mode the scale in the middle. Sampling goes from left "
        "to right.",
        plot->what);
    ChartOptions o = {.id = id,
                      .title = plot->title,
                      .description = text,
                      .x_label = "timestep",
                      .y_label = plot->unit,
                      .reverse_x = true,
                      .log_y = chart_wants_log(room->values, values, 30),
                      .level = NAN};
    text_buffer_add(&r->out, "<figure>");
    chart_lines(&r->out, &o, room->series, room->count);
    text_buffer_add(&r->out, "</figure>\n");
}

void report_steps(Report *r)
{
    const AblationResults *a = r->results;
    if (!a->telemetry || !a->telemetry_name || !a->timestep || a->steps < 2) return;
    size_t lines = LINES_MOST * (size_t)a->steps;
    StepsRoom room = {.points = malloc(lines * sizeof *room.points), .values = malloc(lines * sizeof *room.values),
                      .cells = malloc((size_t)a->prompts * (size_t)a->seeds * sizeof *room.cells)};
    if (room.points && room.values && room.cells) {
        text_buffer_add(&r->out,
                        "<h3>Over the steps</h3>\n<p>What guidance did at each step, in the middle scale of each mode.</p>\n"
                        "<div class=\"charts\">\n");
        for (size_t i = 0; i < sizeof plots / sizeof *plots; i++) draw(r, &plots[i], &room);
        text_buffer_add(&r->out, "</div>\n");
    } else {
        r->out.failed = true;
    }
    free(room.points);
    free(room.values);
    free(room.cells);
}
