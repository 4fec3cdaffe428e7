#include "common/plot.h"

#include "common/file_write.h"
#include "common/plot_axis.h"
#include "common/text_buffer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Okabe and Ito's colours, which colour-blind readers can tell apart, darkened a little for a white ground. */
static const char *const colours[PLOT_MAX_SERIES] = {"#0072b2", "#d55e00", "#009e73", "#cc3f8f",
                                                     "#b58900", "#3a9bd9", "#555555", "#7a4fb5"};

enum { LEFT = 84, RIGHT = 20, TOP = 42, BOTTOM = 56 };

static void find_ranges(const PlotSeries *series, int series_count, PlotAxis *x, PlotAxis *y)
{
    for (int s = 0; s < series_count; s++)
        for (size_t i = 0; i < series[s].count; i++) {
            if (!plot_axis_drawable(x, series[s].x[i]) || !plot_axis_drawable(y, series[s].y[i])) continue;
            plot_axis_include(x, series[s].x[i]);
            plot_axis_include(y, series[s].y[i]);
        }
}

/* --- drawing --- */
static void draw_ticks(TextBuffer *out, const PlotAxis *x, const PlotAxis *y)
{
    char label[64];
    double at;
    for (int i = 0; i < y->tick_count; i++) {
        if (!plot_axis_place(y, y->ticks[i], &at)) continue;
        plot_axis_label(y, i, label, sizeof label);
        text_buffer_add(out, "<path d=\"M%.0f %.1fH%.0f\" stroke=\"#e4e4e4\"/>\n", x->from, at, x->to);
        text_buffer_add(out, "<text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", x->from - 8, at + 4, label);
    }
    for (int i = 0; i < x->tick_count; i++) {
        if (!plot_axis_place(x, x->ticks[i], &at)) continue;
        plot_axis_label(x, i, label, sizeof label);
        text_buffer_add(out, "<path d=\"M%.1f %.0fv6\" stroke=\"#888\"/>\n", at, y->from);
        text_buffer_add(out, "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%s</text>\n", at, y->from + 20, label);
    }
    text_buffer_add(out, "<path d=\"M%.0f %.0fV%.0fH%.0f\" fill=\"none\" stroke=\"#888\"/>\n", x->from, y->to, y->from, x->to);
}

/* A column of pixels keeps its first, lowest, highest and last point, which draws the same picture as all of them. */
typedef struct Column {
    double first, low, high, last;
    double x; /* pixels */
    size_t count;
} Column;

static void draw_column(TextBuffer *out, const Column *c, bool *pen_down)
{
    if (c->count == 0) return;
    double ys[4] = {c->first, c->low, c->high, c->last};
    int n = c->count == 1 ? 1 : 4;
    for (int i = 0; i < n; i++) {
        if (i > 0 && ys[i] == ys[i - 1]) continue;
        text_buffer_add(out, "%c%.1f %.1f", *pen_down ? 'L' : 'M', c->x, ys[i]);
        *pen_down = true;
    }
}

static void draw_line(TextBuffer *out, const PlotSeries *s, const PlotAxis *x, const PlotAxis *y, const char *colour)
{
    Column column = {0};
    bool pen_down = false;
    text_buffer_add(out, "<path d=\"");
    for (size_t i = 0; i < s->count; i++) {
        double px, py;
        bool drawn = plot_axis_place(x, s->x[i], &px) && plot_axis_place(y, s->y[i], &py);
        if (!drawn || column.count == 0 || fabs(px - column.x) >= 0.5) {
            draw_column(out, &column, &pen_down);
            column.count = 0;
        }
        if (!drawn) {
            pen_down = false;
        } else if (column.count++ == 0) {
            column = (Column){py, py, py, py, px, 1};
        } else {
            column.low = fmin(column.low, py);
            column.high = fmax(column.high, py);
            column.last = py;
        }
    }
    draw_column(out, &column, &pen_down);
    /* round caps make a lone point visible */
    text_buffer_add(out, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" stroke-linejoin=\"round\" "
                  "stroke-linecap=\"round\"/>\n", colour);
}

static void draw_text(TextBuffer *out, const char *position, const char *s)
{
    if (!s || !*s) return;
    text_buffer_add(out, "<text %s>", position);
    text_buffer_add_escaped(out, s);
    text_buffer_add(out, "</text>\n");
}

static void draw_legend(TextBuffer *out, const PlotSeries *series, int series_count, const PlotAxis *x)
{
    double width = 0; /* of the longest name; letters are taken to be 7 pixels wide */
    int rows = 0;
    for (int s = 0; s < series_count; s++)
        if (series[s].name && *series[s].name) width = fmax(width, 7.0 * (double)strlen(series[s].name)), rows++;
    if (rows == 0) return;
    double left = fmax(x->from + 8, x->to - width - 44);
    text_buffer_add(out, "<rect x=\"%.0f\" y=\"%d\" width=\"%.0f\" height=\"%d\" rx=\"4\" fill=\"#fff\" fill-opacity=\"0.85\" "
                  "stroke=\"#ddd\"/>\n", left, TOP + 4, x->to - left - 4, rows * 18 + 8);
    double y = TOP + 21;
    for (int s = 0; s < series_count; s++) {
        if (!series[s].name || !*series[s].name) continue;
        char position[96];
        snprintf(position, sizeof position, "x=\"%.0f\" y=\"%.0f\"", left + 32, y);
        text_buffer_add(out, "<path d=\"M%.0f %.0fh18\" stroke=\"%s\" stroke-width=\"3\"/>\n", left + 8, y - 4, colours[s]);
        draw_text(out, position, series[s].name);
        y += 18;
    }
}

PlotOptions plot_defaults(void)
{
    return (PlotOptions){.width = 800, .height = 480};
}

Status plot_svg(const PlotOptions *o, const PlotSeries *series, int series_count, char **svg)
{
    *svg = NULL;
    if (o->width < 200 || o->height < 200 || o->width > 4000 || o->height > 4000)
        return status_fail(STATUS_BAD_INPUT, "plot of %dx%d: expected sides from 200 to 4000", o->width, o->height);
    if (series_count < 0 || series_count > PLOT_MAX_SERIES)
        return status_fail(STATUS_BAD_INPUT, "plot of %d series: expected at most %d", series_count, PLOT_MAX_SERIES);
    PlotAxis x = plot_axis(LEFT, o->width - RIGHT, false), y = plot_axis(o->height - BOTTOM, TOP, o->log_y);
    find_ranges(series, series_count, &x, &y);
    bool no_data = x.low > x.high;
    plot_axis_finish(&x, (o->width - LEFT - RIGHT) / 90, 0);
    plot_axis_finish(&y, (o->height - TOP - BOTTOM) / 45, 0.04);

    TextBuffer out = {0};
    char position[160];
    text_buffer_add(&out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                   "font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n", o->width, o->height, o->width, o->height);
    text_buffer_add(&out, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n");
    draw_ticks(&out, &x, &y);
    for (int s = 0; s < series_count; s++) draw_line(&out, &series[s], &x, &y, colours[s]);
    draw_legend(&out, series, series_count, &x);
    if (no_data) {
        snprintf(position, sizeof position, "x=\"%d\" y=\"%d\" font-size=\"16\" text-anchor=\"middle\"",
                 (LEFT + o->width - RIGHT) / 2, o->height / 2);
        draw_text(&out, position, "no data");
    }
    snprintf(position, sizeof position, "x=\"%d\" y=\"26\" font-size=\"16\" text-anchor=\"middle\"",
             (LEFT + o->width - RIGHT) / 2);
    draw_text(&out, position, o->title);
    snprintf(position, sizeof position, "x=\"%d\" y=\"%d\" text-anchor=\"middle\"", (LEFT + o->width - RIGHT) / 2,
             o->height - 14);
    draw_text(&out, position, o->x_label);
    snprintf(position, sizeof position, "transform=\"translate(18 %d) rotate(-90)\" text-anchor=\"middle\"",
             (TOP + o->height - BOTTOM) / 2);
    draw_text(&out, position, o->y_label);
    text_buffer_add(&out, "</svg>\n");
    if (out.failed) {
        text_buffer_release(&out);
        return status_fail(STATUS_NO_MEMORY, "plot: out of memory");
    }
    *svg = out.data;
    return STATUS_OK;
}

Status plot_write(const char *path, const PlotOptions *options, const PlotSeries *series, int series_count)
{
    char *svg;
    TRY(plot_svg(options, series, series_count, &svg));
    Status status = file_write(path, svg, strlen(svg));
    free(svg);
    return status;
}
