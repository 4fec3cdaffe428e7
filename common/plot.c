#include "common/plot.h"

#include "common/file_write.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Okabe and Ito's colours, which colour-blind readers can tell apart, darkened a little for a white ground. */
static const char *const colours[PLOT_MAX_SERIES] = {"#0072b2", "#d55e00", "#009e73", "#cc3f8f",
                                                     "#b58900", "#3a9bd9", "#555555", "#7a4fb5"};

enum { LEFT = 84, RIGHT = 20, TOP = 42, BOTTOM = 56, MAX_TICKS = 24 };

typedef struct Text { /* grows; after running out of memory it stays as it is and `failed` says so */
    char *data;
    size_t size, room;
    bool failed;
} Text;

static void text_add(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void text_add(Text *text, const char *format, ...)
{
    char piece[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    if (text->failed || n < 0) return;
    size_t length = (size_t)n < sizeof piece ? (size_t)n : sizeof piece - 1;
    if (text->size + length + 1 > text->room) {
        size_t room = (text->room + length) * 2 + 4096;
        char *larger = realloc(text->data, room);
        text->failed = !larger;
        if (!larger) return;
        text->data = larger;
        text->room = room;
    }
    memcpy(text->data + text->size, piece, length + 1);
    text->size += length;
}

static void text_add_escaped(Text *text, const char *s)
{
    for (; *s; s++) {
        if (*s == '<') text_add(text, "&lt;");
        else if (*s == '>') text_add(text, "&gt;");
        else if (*s == '&') text_add(text, "&amp;");
        else if (*s == '"') text_add(text, "&quot;");
        else text_add(text, "%c", (unsigned char)*s < 32 ? ' ' : *s); /* XML has no other control characters */
    }
}

/* --- axes: values to pixels, and where the ticks are --- */
typedef struct Axis {
    double low, high;  /* of the data, in log10 when log */
    double from, to;   /* pixels of low and high */
    bool log;
    double ticks[MAX_TICKS]; /* values */
    int tick_count;
} Axis;

static bool is_drawable(const Axis *axis, double value) /* differences of such values are finite too */
{
    return fabs(value) <= 1e300 && !(axis->log && value <= 0);
}

static bool axis_place(const Axis *axis, double value, double *pixel)
{
    if (!is_drawable(axis, value)) return false;
    double v = axis->log ? log10(value) : value;
    *pixel = axis->from + (v - axis->low) / (axis->high - axis->low) * (axis->to - axis->from);
    return isfinite(*pixel);
}

static void axis_include(Axis *axis, double value)
{
    double v = axis->log ? log10(value) : value;
    axis->low = fmin(axis->low, v);
    axis->high = fmax(axis->high, v);
}

/* 1, 2 or 5 times a power of ten, so that `count` steps or fewer cover the range */
static double nice_step(double range, int count)
{
    double power = pow(10, floor(log10(range / count)));
    for (int i = 0; i < 3; i++) {
        double step = power * (double[]){1, 2, 5}[i];
        if (range / step <= count) return step;
    }
    return power * 10;
}

static void ticks_linear(Axis *axis, int count)
{
    double step = nice_step(axis->high - axis->low, count);
    double first = ceil(axis->low / step - 1e-9), last = floor(axis->high / step + 1e-9);
    for (double k = first; k <= last && axis->tick_count < MAX_TICKS; k++)
        axis->ticks[axis->tick_count++] = k * step;
}

static void ticks_log(Axis *axis, int count)
{
    int first = (int)floor(axis->low), last = (int)ceil(axis->high), every = (last - first) / count + 1;
    bool between = axis->high - axis->low <= 2.5; /* few decades: 2 and 5 as well */
    for (int decade = first; decade <= last; decade += every)
        for (int i = 0; i < (between ? 3 : 1) && axis->tick_count < MAX_TICKS; i++) {
            double value = pow(10, decade) * (double[]){1, 2, 5}[i], v = log10(value);
            if (v >= axis->low - 1e-9 && v <= axis->high + 1e-9) axis->ticks[axis->tick_count++] = value;
        }
}

static void axis_finish(Axis *axis, int count, double margin)
{
    if (!(axis->low <= axis->high)) axis->low = 0, axis->high = 1; /* no data */
    double range = axis->high - axis->low;
    if (!(range > 1e-12 * fmax(fabs(axis->low), fabs(axis->high))) || range < 1e-290) {
        double spread = fabs(axis->low) < 1e-280 ? 1 : fabs(axis->low) * 0.1; /* all the same value */
        axis->low -= spread;
        axis->high += spread;
    } else {
        axis->low -= range * margin;
        axis->high += range * margin;
    }
    if (axis->log) ticks_log(axis, count);
    if (axis->log && axis->tick_count < 2) { /* less than a factor of two: steps of the values themselves */
        Axis plain = {.low = pow(10, axis->low), .high = pow(10, axis->high)};
        ticks_linear(&plain, count);
        memcpy(axis->ticks, plain.ticks, sizeof plain.ticks);
        axis->tick_count = plain.tick_count;
    } else if (!axis->log) {
        ticks_linear(axis, count);
    }
}

static void find_ranges(const PlotSeries *series, int series_count, Axis *x, Axis *y)
{
    x->low = y->low = INFINITY;
    x->high = y->high = -INFINITY;
    for (int s = 0; s < series_count; s++)
        for (size_t i = 0; i < series[s].count; i++) {
            if (!is_drawable(x, series[s].x[i]) || !is_drawable(y, series[s].y[i])) continue;
            axis_include(x, series[s].x[i]);
            axis_include(y, series[s].y[i]);
        }
}

/* --- drawing --- */
/* `step` is the distance to the next tick, `largest` the axis's largest one: they choose digits and unit. */
static void tick_label(double value, double step, double largest, char *text, size_t size)
{
    int digits = step >= 1 ? 0 : (int)ceil(-log10(step) - 1e-9);
    if (fabs(value) < step * 1e-6) snprintf(text, size, "0");
    else if (largest >= 1e7 && fmod(step, 1e6) == 0 && largest < 1e12) snprintf(text, size, "%.0fM", value / 1e6);
    else if (largest >= 1e4 && fmod(step, 1e3) == 0 && largest < 1e7) snprintf(text, size, "%.0fk", value / 1e3);
    else if (largest >= 1e7 || digits > 6) snprintf(text, size, "%.4g", value);
    else snprintf(text, size, "%.*f", digits, value);
}

static double tick_step(const Axis *axis, int i) /* distance to the nearest other tick: how many digits are needed */
{
    if (axis->log) return fmin(axis->ticks[i], axis->tick_count > 1 && axis->ticks[1] < 2 * axis->ticks[0]
                                                   ? axis->ticks[1] - axis->ticks[0] : INFINITY);
    return axis->tick_count > 1 ? axis->ticks[1] - axis->ticks[0] : fabs(axis->ticks[i]) + 1e-300;
}

static void draw_ticks(Text *out, const Axis *x, const Axis *y)
{
    char label[64];
    double at, largest[2] = {0, 0};
    for (int i = 0; i < y->tick_count; i++) largest[0] = fmax(largest[0], fabs(y->ticks[i]));
    for (int i = 0; i < x->tick_count; i++) largest[1] = fmax(largest[1], fabs(x->ticks[i]));
    for (int i = 0; i < y->tick_count; i++) {
        if (!axis_place(y, y->ticks[i], &at)) continue;
        tick_label(y->ticks[i], tick_step(y, i), largest[0], label, sizeof label);
        text_add(out, "<path d=\"M%.0f %.1fH%.0f\" stroke=\"#e4e4e4\"/>\n", x->from, at, x->to);
        text_add(out, "<text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", x->from - 8, at + 4, label);
    }
    for (int i = 0; i < x->tick_count; i++) {
        if (!axis_place(x, x->ticks[i], &at)) continue;
        tick_label(x->ticks[i], tick_step(x, i), largest[1], label, sizeof label);
        text_add(out, "<path d=\"M%.1f %.0fv6\" stroke=\"#888\"/>\n", at, y->from);
        text_add(out, "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%s</text>\n", at, y->from + 20, label);
    }
    text_add(out, "<path d=\"M%.0f %.0fV%.0fH%.0f\" fill=\"none\" stroke=\"#888\"/>\n", x->from, y->to, y->from, x->to);
}

/* A column of pixels keeps its first, lowest, highest and last point, which draws the same picture as all of them. */
typedef struct Column {
    double first, low, high, last;
    double x; /* pixels */
    size_t count;
} Column;

static void draw_column(Text *out, const Column *c, bool *pen_down)
{
    if (c->count == 0) return;
    double ys[4] = {c->first, c->low, c->high, c->last};
    int n = c->count == 1 ? 1 : 4;
    for (int i = 0; i < n; i++) {
        if (i > 0 && ys[i] == ys[i - 1]) continue;
        text_add(out, "%c%.1f %.1f", *pen_down ? 'L' : 'M', c->x, ys[i]);
        *pen_down = true;
    }
}

static void draw_line(Text *out, const PlotSeries *s, const Axis *x, const Axis *y, const char *colour)
{
    Column column = {0};
    bool pen_down = false;
    text_add(out, "<path d=\"");
    for (size_t i = 0; i < s->count; i++) {
        double px, py;
        bool drawn = axis_place(x, s->x[i], &px) && axis_place(y, s->y[i], &py);
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
    text_add(out, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" stroke-linejoin=\"round\" "
                  "stroke-linecap=\"round\"/>\n", colour);
}

static void draw_text(Text *out, const char *position, const char *s)
{
    if (!s || !*s) return;
    text_add(out, "<text %s>", position);
    text_add_escaped(out, s);
    text_add(out, "</text>\n");
}

static void draw_legend(Text *out, const PlotSeries *series, int series_count, const Axis *x)
{
    double width = 0; /* of the longest name; letters are taken to be 7 pixels wide */
    int rows = 0;
    for (int s = 0; s < series_count; s++)
        if (series[s].name && *series[s].name) width = fmax(width, 7.0 * (double)strlen(series[s].name)), rows++;
    if (rows == 0) return;
    double left = fmax(x->from + 8, x->to - width - 44);
    text_add(out, "<rect x=\"%.0f\" y=\"%d\" width=\"%.0f\" height=\"%d\" rx=\"4\" fill=\"#fff\" fill-opacity=\"0.85\" "
                  "stroke=\"#ddd\"/>\n", left, TOP + 4, x->to - left - 4, rows * 18 + 8);
    double y = TOP + 21;
    for (int s = 0; s < series_count; s++) {
        if (!series[s].name || !*series[s].name) continue;
        char position[96];
        snprintf(position, sizeof position, "x=\"%.0f\" y=\"%.0f\"", left + 32, y);
        text_add(out, "<path d=\"M%.0f %.0fh18\" stroke=\"%s\" stroke-width=\"3\"/>\n", left + 8, y - 4, colours[s]);
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
    Axis x = {.from = LEFT, .to = o->width - RIGHT}, y = {.from = o->height - BOTTOM, .to = TOP, .log = o->log_y};
    find_ranges(series, series_count, &x, &y);
    bool no_data = x.low > x.high;
    axis_finish(&x, (o->width - LEFT - RIGHT) / 90, 0);
    axis_finish(&y, (o->height - TOP - BOTTOM) / 45, 0.04);

    Text out = {0};
    char position[160];
    text_add(&out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                   "font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n", o->width, o->height, o->width, o->height);
    text_add(&out, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n");
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
    text_add(&out, "</svg>\n");
    if (out.failed) {
        free(out.data);
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
