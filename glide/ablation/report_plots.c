/* The plots of what the scores say: against the scale, against one another, against the cost, over intervals. */
#include "glide/ablation/chart.h"
#include "glide/ablation/report_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS_MOST = 512 };

/* A chart in the making. */
typedef struct Plot {
    ChartSeries series[REPORT_SERIES_MOST];
    ChartPoint points[POINTS_MOST];
    int series_count, point_count;
    double xs[POINTS_MOST], ys[POINTS_MOST];
} Plot;

static void begin_figure(Report *r)
{
    text_buffer_add(&r->out, "<figure>");
    r->chart_count++;
}

static void end_figure(Report *r)
{
    text_buffer_add(&r->out, "</figure>\n");
}

static ChartSeries *begin_series(Plot *p, const char *name, int colour, int dash)
{
    if (p->series_count == REPORT_SERIES_MOST) return NULL;
    ChartSeries *s = &p->series[p->series_count++];
    *s = (ChartSeries){.colour = colour, .dash = dash, .line = true, .marks = true, .points = p->points + p->point_count};
    snprintf(s->name, sizeof s->name, "%s", name);
    return s;
}

static ChartPoint *add_point(Plot *p, ChartSeries *s, double x, double y)
{
    if (!s || p->point_count == POINTS_MOST) return NULL;
    ChartPoint *point = &p->points[p->point_count];
    *point = (ChartPoint){.x = x, .y = y, .low = NAN, .high = NAN};
    p->xs[p->point_count] = x;
    p->ys[p->point_count++] = y;
    s->count++;
    return point;
}

static void tell(const Report *r, int c, ScoreMetricId metric, ChartPoint *point)
{
    const ScoreValue *v = score_value(r->table, c, metric);
    char value[32], low[32], high[32];
    point->low = v->low;
    point->high = v->high;
    snprintf(point->tip, sizeof point->tip, "%.64s: %s [%s, %s]", r->results->condition[c].label,
             report_number(v->value, value, sizeof value), report_number(v->low, low, sizeof low),
             report_number(v->high, high, sizeof high));
}

static void unit_label(ScoreMetricId metric, char *text, size_t size)
{
    const ScoreMetric *m = score_metric(metric);
    snprintf(text, size, "%s%s%s%s", m->title, *m->unit ? " (" : "", m->unit, *m->unit ? ")" : "");
}

static void capitalise(char *text)
{
    if (*text >= 'a' && *text <= 'z') *text = (char)(*text - 32);
}

static bool is_known(const Report *r, ScoreMetricId metric)
{
    for (int c = 0; c < r->results->conditions; c++)
        if (isfinite(score_value(r->table, c, metric)->value)) return true;
    return false;
}

/* --- against the scale -------------------------------------------------------------------------------- */

static void collect_scales(const Report *r, Plot *p, ScoreMetricId metric)
{
    for (int k = 0; k < r->series_count; k++) {
        const ReportSeries *from = &r->series[k];
        if (from->narrow || report_is_none(r, from->conditions[0])) continue;
        ChartSeries *s = begin_series(p, from->name, from->colour, from->dash);
        for (int i = 0; i < from->count; i++) {
            int c = from->conditions[i];
            ChartPoint *point = add_point(p, s, r->results->condition[c].scale, score_value(r->table, c, metric)->value);
            if (point) tell(r, c, metric, point);
        }
        if (s) s->line = s->count > 1, s->hollow = s->dash > 0;
    }
}

/* Scales without 0, which has a place of its own. */
static bool log_scales(const Plot *p)
{
    double positive[POINTS_MOST];
    int count = 0;
    for (int i = 0; i < p->point_count; i++)
        if (p->xs[i] > 0) positive[count++] = p->xs[i];
    return chart_wants_log(positive, count, 8);
}

static void plot_scales(Report *r, Plot *p, ScoreMetricId metric)
{
    char title[96], y_label[96], id[24], text[400], level[64], number[32];
    int none = report_none(r);
    if (!is_known(r, metric)) return;
    *p = (Plot){0};
    collect_scales(r, p, metric);
    if (p->point_count == 0) return;
    begin_figure(r);
    snprintf(id, sizeof id, "chart%d", r->chart_count);
    unit_label(metric, y_label, sizeof y_label);
    snprintf(title, sizeof title, "%s by scale", score_metric(metric)->title);
    capitalise(title);
    double reference = none >= 0 ? score_value(r->table, none, metric)->value : NAN;
    snprintf(level, sizeof level, "none: %s", report_number(reference, number, sizeof number));
    snprintf(text, sizeof text,
             "%s A line for each mode and variant over the guidance scale, the band is the 95 %% interval; dashed across: without "
             "guidance. The numbers are in the table of values.",
             score_metric(metric)->what);
    ChartOptions o = {.id = id,
                      .title = title,
                      .description = text,
                      .x_label = "guidance scale",
                      .y_label = y_label,
                      .log_x = log_scales(p),
                      .log_y = chart_wants_log(p->ys, p->point_count, 30),
                      .level = reference,
                      .level_label = level};
    chart_lines(&r->out, &o, p->series, p->series_count);
    end_figure(r);
}

/* --- one measure against another ---------------------------------------------------------------------- */

/* Points of full-width series; those with narrow intervals of a mode become one series, labelled by interval. */
static void collect_pairs(const Report *r, Plot *p, ScoreMetricId x, ScoreMetricId y, bool lines)
{
    for (int narrow = 0; narrow < 2; narrow++)
        for (int k = 0; k < r->series_count; k++) {
            const ReportSeries *from = &r->series[k];
            if (from->narrow != narrow) continue;
            ChartSeries *s = p->series_count && narrow ? &p->series[p->series_count - 1] : NULL;
            char name[96];
            snprintf(name, sizeof name, "%.70s, intervals", r->results->condition[from->conditions[0]].mode);
            if (!narrow || !s || strcmp(s->name, name) != 0)
                s = begin_series(p, narrow ? name : from->name, from->colour, from->dash);
            if (!s) return;
            s->line = lines && !narrow && from->count > 1;
            s->hollow = narrow || from->dash > 0;
            s->dodge = lines || narrow ? 0 : 7 * ((double)from->colour - 2) + (from->dash ? 3.0 : 0);
            for (int i = 0; i < from->count; i++) {
                int c = from->conditions[i];
                const AblationCondition *a = &r->results->condition[c];
                ChartPoint *point = add_point(p, s, score_value(r->table, c, x)->value, score_value(r->table, c, y)->value);
                if (!point) return;
                tell(r, c, y, point);
                if (lines) point->low = point->high = NAN;
                if (narrow) snprintf(point->label, sizeof point->label, "%g:%g", a->low, a->high);
                else if (report_is_none(r, c)) snprintf(point->label, sizeof point->label, "none");
                else if (lines || !from->dash) snprintf(point->label, sizeof point->label, "%g", a->scale);
            }
        }
}

static void plot_pair(Report *r, Plot *p, ScoreMetricId x, ScoreMetricId y, const char *title, const char *text, bool lines)
{
    char x_label[96], y_label[96], id[24];
    if (!is_known(r, x) || !is_known(r, y)) return;
    *p = (Plot){0};
    collect_pairs(r, p, x, y, lines);
    begin_figure(r);
    snprintf(id, sizeof id, "chart%d", r->chart_count);
    unit_label(x, x_label, sizeof x_label);
    unit_label(y, y_label, sizeof y_label);
    ChartOptions o = {.id = id,
                      .title = title,
                      .description = text,
                      .x_label = x_label,
                      .y_label = y_label,
                      .level = NAN,
                      .large = true,
                      .log_x = chart_wants_log(p->xs, p->point_count, 12),
                      .log_y = chart_wants_log(p->ys, p->point_count, 30)};
    chart_lines(&r->out, &o, p->series, p->series_count);
    end_figure(r);
}

/* --- intervals ---------------------------------------------------------------------------------------- */

enum { LIMITS_MOST = 24, TIP = 96 };

/* A variant without what it says of the interval: "rescale 0.7, interval 200:800" -> "rescale 0.7". */
static void strip_interval(const char *variant, char *out, size_t size)
{
    const char *at = strstr(variant, "interval ");
    if (!at) {
        snprintf(out, size, "%s", variant);
        return;
    }
    const char *rest = strstr(at, ", ");
    int before = (int)(at - variant);
    if (!rest && before >= 2) before -= 2;
    snprintf(out, size, "%.*s%s", before, variant, rest ? rest + 2 : "");
}

/* Whether both differ in nothing but the interval. */
static bool same_but_interval(const AblationCondition *a, const AblationCondition *b)
{
    char x[64], y[64];
    strip_interval(a->variant, x, sizeof x);
    strip_interval(b->variant, y, sizeof y);
    return strcmp(a->mode, b->mode) == 0 && strcmp(x, y) == 0 && a->scale == b->scale && a->control == b->control;
}

/* Adds a value to an ascending list; its place or -1 when the list is full. */
static void add_limit(double *list, int *count, double value)
{
    int at = 0;
    while (at < *count && list[at] < value) at++;
    if ((at < *count && list[at] == value) || *count == LIMITS_MOST) return;
    memmove(list + at + 1, list + at, (size_t)(*count - at) * sizeof *list);
    list[at] = value;
    ++*count;
}

static int limit_index(const double *list, int count, double value)
{
    for (int i = 0; i < count; i++)
        if (list[i] == value) return i;
    return -1;
}

typedef struct Intervals {
    double low[LIMITS_MOST], high[LIMITS_MOST];
    int lows, highs, conditions;
    double value[LIMITS_MOST * LIMITS_MOST];
    char tips[LIMITS_MOST * LIMITS_MOST][TIP], names[2 * LIMITS_MOST][16];
    const char *tip[LIMITS_MOST * LIMITS_MOST], *low_name[LIMITS_MOST], *high_name[LIMITS_MOST];
} Intervals;

static void fill_intervals(const Report *r, int first, ScoreMetricId metric, Intervals *v)
{
    const AblationCondition *a = &r->results->condition[first];
    for (int i = 0; i < LIMITS_MOST * LIMITS_MOST; i++) v->value[i] = NAN, v->tips[i][0] = 0, v->tip[i] = v->tips[i];
    for (int c = 0; c < r->results->conditions; c++) {
        const AblationCondition *b = &r->results->condition[c];
        int row = limit_index(v->low, v->lows, b->low), column = limit_index(v->high, v->highs, b->high);
        if (!same_but_interval(a, b) || row < 0 || column < 0) continue;
        ChartPoint point;
        tell(r, c, metric, &point);
        v->value[row * v->highs + column] = score_value(r->table, c, metric)->value;
        snprintf(v->tips[row * v->highs + column], TIP, "%.95s", point.tip);
    }
    for (int i = 0; i < v->lows; i++) snprintf(v->names[i], sizeof v->names[i], "%g", v->low[i]), v->low_name[i] = v->names[i];
    for (int i = 0; i < v->highs; i++)
        snprintf(v->names[LIMITS_MOST + i], sizeof v->names[0], "%g", v->high[i]), v->high_name[i] = v->names[LIMITS_MOST + i];
}

static void plot_intervals(Report *r, int first, ScoreMetricId metric, Intervals *v)
{
    const AblationCondition *a = &r->results->condition[first];
    char title[160], text[320], id[24], base[64];
    if (!is_known(r, metric)) return;
    fill_intervals(r, first, metric, v);
    begin_figure(r);
    strip_interval(a->variant, base, sizeof base);
    snprintf(id, sizeof id, "chart%d", r->chart_count);
    snprintf(title, sizeof title, "%s by interval: %s %g%s%s", score_metric(metric)->title, a->mode, a->scale, *base ? ", " : "",
             base);
    capitalise(title);
    snprintf(
        text, sizeof text,
        "%s A cell for each interval of timesteps in which the mode acts: sampling comes from many timesteps to 0, so guidance "
        "begins at the column's and ends at the row's.",
        score_metric(metric)->what);
    ChartMatrix m = {.id = id,
                     .title = title,
                     .description = text,
                     .x_label = "guidance begins at timestep",
                     .y_label = "ends at",
                     .columns = v->highs,
                     .rows = v->lows,
                     .column_names = v->high_name,
                     .row_names = v->low_name,
                     .value = v->value,
                     .tips = v->tip};
    chart_matrix(&r->out, &m);
    end_figure(r);
}

/* A heading and maps for every mode, scale and variant of which three intervals or more were tried. */
static void plot_all_intervals(Report *r)
{
    static const ScoreMetricId judged[] = {SCORE_TOP1, SCORE_KID, SCORE_DIVERSITY},
                               plain[] = {SCORE_SATURATION, SCORE_CLIPPED, SCORE_EVALUATIONS};
    Intervals *v = malloc(sizeof *v);
    bool begun = false;
    for (int c = 0; c < r->results->conditions && v; c++) {
        bool seen = !report_is_plain(r, c) || report_is_none(r, c);
        *v = (Intervals){0};
        for (int o = 0; o < r->results->conditions; o++) {
            if (!same_but_interval(&r->results->condition[c], &r->results->condition[o])) continue;
            seen |= o < c;
            v->conditions++;
            add_limit(v->low, &v->lows, r->results->condition[o].low);
            add_limit(v->high, &v->highs, r->results->condition[o].high);
        }
        if (seen || v->conditions < 3) continue;
        if (!begun) text_buffer_add(&r->out, "<h3>Intervals</h3>\n<div class=\"charts\">\n");
        begun = true;
        for (int i = 0; i < 3; i++) plot_intervals(r, c, r->table->judged ? judged[i] : plain[i], v);
    }
    if (begun) text_buffer_add(&r->out, "</div>\n");
    if (!v) r->out.failed = true;
    free(v);
}

/* --- all ---------------------------------------------------------------------------------------------- */

static void plot_costs(Report *r, Plot *p)
{
    ScoreMetricId main = r->table->judged ? report_agreement(r) : SCORE_SATURATION;
    const char *text = "A point for each condition with its 95 % interval; the guidance scale, or the interval of timesteps, is "
                       "written beside it. "
                       "Modes are drawn a little beside one another where their cost is the same.";
    static const struct {
        ScoreMetricId cost;
        const char *name;
    } costs[] = {{SCORE_EVALUATIONS, "function evaluations"}, {SCORE_SECONDS, "time"}};
    for (int i = 0; i < 2; i++) {
        char title[96];
        snprintf(title, sizeof title, "%s against %s", r->table->judged ? "Agreement" : "Saturation", costs[i].name);
        plot_pair(r, p, costs[i].cost, main, title, text, false);
        snprintf(title, sizeof title, "Judge KID against %s", costs[i].name);
        plot_pair(r, p, costs[i].cost, SCORE_KID, title, text, false);
    }
}

void report_plots(Report *r)
{
    static const ScoreMetricId quality[] = {SCORE_TOP1,    SCORE_TOP5,      SCORE_SIMILARITY, SCORE_KID,
                                            SCORE_FRECHET, SCORE_PRECISION, SCORE_RECALL,     SCORE_DIVERSITY};
    static const ScoreMetricId looks[] = {SCORE_SATURATION, SCORE_CLIPPED, SCORE_CONTRAST, SCORE_PIXEL_DIVERSITY};
    Plot *p = malloc(sizeof *p);
    if (!p) {
        r->out.failed = true;
        return;
    }
    text_buffer_add(
        &r->out,
        "<h2 id=\"plots\">Plots</h2>\n<p>Colours are modes, dashes and hollow marks variants. Rest on a mark to read its numbers. "
        "Bands and bars are 95 %% intervals over prompts.</p>\n");
    if (r->table->judged) {
        text_buffer_add(&r->out, "<h3>Trade-offs</h3>\n<div class=\"charts large\">\n");
        plot_pair(r, p, SCORE_KID, report_agreement(r), "Agreement against judge KID",
                  "A point for each condition, its guidance scale beside it, joined along the scale. Up and to the left is better.",
                  true);
        plot_pair(
            r, p, SCORE_RECALL, SCORE_PRECISION, "Precision against recall",
            "A point for each condition, its guidance scale beside it, joined along the scale. Up and to the right is better.",
            true);
        plot_pair(
            r, p, SCORE_DIVERSITY, report_agreement(r), "Agreement against diversity",
            "A point for each condition, its guidance scale beside it, joined along the scale. Up and to the right is better.",
            true);
        text_buffer_add(&r->out, "</div>\n<h3>Quality by scale</h3>\n<div class=\"charts\">\n");
        for (size_t i = 0; i < sizeof quality / sizeof *quality; i++) plot_scales(r, p, quality[i]);
        text_buffer_add(&r->out, "</div>\n");
    }
    text_buffer_add(&r->out, "<h3>Looks by scale</h3>\n<div class=\"charts\">\n");
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) plot_scales(r, p, looks[i]);
    text_buffer_add(&r->out, "</div>\n<h3>Cost</h3>\n<div class=\"charts large\">\n");
    plot_costs(r, p);
    text_buffer_add(&r->out, "</div>\n");
    plot_all_intervals(r);
    free(p);
}
