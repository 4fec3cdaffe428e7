#include "glide/ablation/chart.h"

#include "common/plot_axis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Pixels of the view box; LINE of a row of text, LETTER a letter's width on average. */
enum {
    LEFT = 70,
    RIGHT = 18,
    TOP = 40,
    WIDTH = 480,
    HEIGHT = 250,
    LARGE_WIDTH = 680,
    LARGE_HEIGHT = 420,
    AXIS = 52,
    LINE = 20,
    CELL_HEIGHT = 44,
    MOST_BOXES = 600
};
static const double LETTER = 6.6;

typedef struct Box {
    double x0, y0, x1, y1;
} Box;

typedef struct Chart {
    TextBuffer *out;
    const ChartOptions *o;
    PlotAxis x, y;
    int width;        /* of all */
    int height;       /* of the plot */
    double zero;      /* pixels where x = 0 stands on a logarithmic axis; NaN: nowhere */
    Box boxes[MOST_BOXES]; /* taken: marks and labels */
    int box_count;
} Chart;

/* Okabe and Ito's colours, darker on a light ground and lighter on a dark one. */
const char *chart_css(void)
{
    return ":root{--ink:#1d1d1f;--soft:#5c5f66;--grid:#e3e4e8;--ground:#fff;--panel:#f6f7f9;--on:#fff;--heat:#0b5fa5;"
           "--c0:#44474d;--c1:#0072b2;--c2:#c75000;--c3:#00845f;--c4:#b93482;--c5:#8a6a00;--c6:#2b86c5;--c7:#7045b0}\n"
           "@media(prefers-color-scheme:dark){:root{--ink:#e8e8ea;--soft:#a6a9b0;--grid:#34363c;--ground:#17181b;--panel:#202226;"
           "--on:#101114;--heat:#6db7f2;--c0:#c3c5ca;--c1:#56b4e9;--c2:#ff9a5c;--c3:#35d0a0;--c4:#f08fc4;--c5:#e2c14d;--c6:#9bd0f7;"
           "--c7:#b99cf2}}\n"
           ".c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}.c5{color:var(--c5)"
           "}"
           ".c6{color:var(--c6)}.c7{color:var(--c7)}.heat{color:var(--heat)}\n"
           "svg.chart{display:block;width:100%;min-width:320px;height:auto;font:13px "
           "system-ui,sans-serif}svg.chart.large{min-width:460px}\n"
           "svg.chart text{fill:var(--ink)}svg.chart .soft{fill:var(--soft)}svg.chart .own{fill:currentColor}svg.chart "
           ".on{fill:var(--on)}\n"
           "svg.chart .grid{stroke:var(--grid);fill:none}svg.chart .axis{stroke:var(--soft);fill:none}\n"
           "svg.chart .line{stroke:currentColor;fill:none;stroke-width:2;stroke-linejoin:round}\n"
           "svg.chart .band{fill:currentColor;fill-opacity:.14;stroke:none}svg.chart "
           ".bar{stroke:currentColor;stroke-width:1.2;fill:none}\n"
           "svg.chart .mark{fill:currentColor;stroke:var(--ground);stroke-width:1}"
           "svg.chart .own,svg.chart .halo{paint-order:stroke;stroke:var(--ground);stroke-width:3px}"
           "svg.chart .hollow{fill:var(--ground);stroke:currentColor;stroke-width:1.6}\n";
}

bool chart_wants_log(const double *values, int count, double ratio)
{
    double low = INFINITY, high = 0;
    for (int i = 0; i < count; i++) {
        if (isnan(values[i])) continue;
        if (values[i] <= 0) return false;
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    return high > low * ratio;
}

/* --- frame -------------------------------------------------------------------------------------------- */

static void add_text(TextBuffer *out, double x, double y, const char *attributes, const char *text)
{
    text_buffer_add(out, "<text x=\"%.1f\" y=\"%.1f\"%s%s>", x, y, *attributes ? " " : "", attributes);
    text_buffer_add_escaped(out, text);
    text_buffer_add(out, "</text>\n");
}

static void begin_svg(TextBuffer *out, const char *id, const char *title, const char *description, int width, int height)
{
    text_buffer_add(out,
                    "<svg class=\"chart%s\" viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"%s-t %s-d\">\n<title id=\"%s-t\">",
                    width == LARGE_WIDTH ? " large" : "", width, height, id, id, id);
    text_buffer_add_escaped(out, title);
    text_buffer_add(out, "</title>\n<desc id=\"%s-d\">", id);
    text_buffer_add_escaped(out, description);
    text_buffer_add(out, "</desc>\n");
    add_text(out, LEFT, 22, "font-size=\"15\" font-weight=\"600\"", title);
}

static bool place(const Chart *c, double x, double y, double *px, double *py)
{
    bool at_zero = x == 0 && c->x.log && !isnan(c->zero);
    *px = c->zero;
    return plot_axis_place(&c->y, y, py) && (at_zero || plot_axis_place(&c->x, x, px));
}

static void find_range(Chart *c, const ChartSeries *series, int count)
{
    bool zero = false, dodge = false;
    for (int s = 0; s < count; s++) dodge |= series[s].dodge != 0;
    for (int s = 0; s < count; s++)
        for (int i = 0; i < series[s].count; i++) {
            const ChartPoint *p = &series[s].points[i];
            bool at_zero = c->x.log && p->x == 0;
            if (!plot_axis_drawable(&c->y, p->y) || !(at_zero || plot_axis_drawable(&c->x, p->x))) continue;
            zero |= at_zero;
            if (!at_zero) plot_axis_include(&c->x, p->x);
            plot_axis_include(&c->y, p->y);
            if (plot_axis_drawable(&c->y, p->low)) plot_axis_include(&c->y, p->low);
            if (plot_axis_drawable(&c->y, p->high)) plot_axis_include(&c->y, p->high);
        }
    if (plot_axis_drawable(&c->y, c->o->level)) plot_axis_include(&c->y, c->o->level);
    c->zero = zero ? LEFT + 14 : NAN;
    if (zero) c->x.from = LEFT + 52;
    plot_axis_finish(&c->x, 7, dodge ? 0.09 : 0.03);
    plot_axis_finish(&c->y, 6, 0.05);
}

/* Small ticks at 2 to 9 times powers of ten, for axes whose numbers stand at powers. */
static void draw_small_ticks(Chart *c)
{
    double at, bottom = TOP + c->height;
    for (int power = (int)floor(c->x.low); c->x.log && power <= c->x.high; power++)
        for (int i = 2; i < 10; i++) {
            double value = i * pow(10, power), v = log10(value);
            if (v < c->x.low || v > c->x.high || !plot_axis_place(&c->x, value, &at)) continue;
            text_buffer_add(c->out, "<path class=\"axis\" d=\"M%.1f %.0fv3\"/>", at, bottom);
        }
}

static void draw_axes(Chart *c)
{
    char label[64];
    double at;
    TextBuffer *out = c->out;
    double bottom = TOP + c->height, right = c->width - RIGHT;
    for (int i = 0; i < c->y.tick_count; i++) {
        if (!plot_axis_place(&c->y, c->y.ticks[i], &at)) continue;
        plot_axis_label(&c->y, i, label, sizeof label);
        text_buffer_add(out, "<path class=\"grid\" d=\"M%d %.1fH%.0f\"/>", LEFT, at, right);
        add_text(out, LEFT - 8, at + 4.5, "text-anchor=\"end\" class=\"soft\"", label);
    }
    for (int i = 0; i < c->x.tick_count; i++) {
        if (!plot_axis_place(&c->x, c->x.ticks[i], &at)) continue;
        plot_axis_label(&c->x, i, label, sizeof label);
        text_buffer_add(out, "<path class=\"axis\" d=\"M%.1f %.0fv5\"/>", at, bottom);
        add_text(out, at, bottom + 19, "text-anchor=\"middle\" class=\"soft\"", label);
    }
    draw_small_ticks(c);
    text_buffer_add(out, "<path class=\"axis\" d=\"M%d %d V%.0f H%.0f\"/>\n", LEFT, TOP, bottom, right);
    if (!isnan(c->zero)) {
        add_text(out, c->zero, bottom + 19, "text-anchor=\"middle\" class=\"soft\"", "0");
        text_buffer_add(out, "<path class=\"axis\" d=\"M%.1f %.0fv5M%d %.0fl6 -12M%d %.0fl6 -12\"/>\n", c->zero, bottom, LEFT + 28,
                        bottom + 6, LEFT + 33, bottom + 6);
    }
    add_text(out, (LEFT + right) / 2, bottom + 41, "text-anchor=\"middle\"", c->o->x_label);
    text_buffer_add(out, "<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\">", TOP + c->height / 2);
    text_buffer_add_escaped(out, c->o->y_label);
    text_buffer_add(out, "</text>\n");
}

/* --- marks -------------------------------------------------------------------------------------------- */

static const char *const dashes[CHART_DASHES] = {"none", "7 4", "2 3", "9 3 2 3"};

static void draw_shape(TextBuffer *out, int colour, bool hollow, double x, double y)
{
    static const char *const shapes[CHART_COLOURS] = {
        "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z", "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z", "M-4.2 -4.2h8.4v8.4h-8.4z",
        "M0 -5.6L5.2 4H-5.2z", "M0 -5.8L5.8 0L0 5.8L-5.8 0z", "M0 5.6L5.2 -4H-5.2z", "M-5 -2h3v-3h4v3h3v4h-3v3h-4v-3h-3z",
        "M-5 -3.4L-1.6 0L-5 3.4L-3.4 5L0 1.6L3.4 5L5 3.4L1.6 0L5 -3.4L3.4 -5L0 -1.6L-3.4 -5z"};
    text_buffer_add(out, "<path class=\"%s\" transform=\"translate(%.1f %.1f)\" d=\"%s\"", hollow ? "hollow" : "mark", x, y,
                    shapes[colour % CHART_COLOURS]);
}

static void draw_mark(Chart *c, const ChartSeries *s, const ChartPoint *p, double x, double y)
{
    draw_shape(c->out, s->colour, s->hollow, x, y);
    text_buffer_add(c->out, *p->tip ? "><title>" : "/>\n");
    if (!*p->tip) return;
    text_buffer_add_escaped(c->out, p->tip);
    text_buffer_add(c->out, "</title></path>\n");
}

/* The limits of an interval that lie beyond the axis (0 on a logarithmic one) stop at its end. */
static void place_limits(const Chart *c, const ChartPoint *p, double *low, double *high)
{
    if (!plot_axis_place(&c->y, p->low, low)) *low = c->y.from;
    if (!plot_axis_place(&c->y, p->high, high)) *high = c->y.to;
}

static bool has_interval(const ChartPoint *p)
{
    return !isnan(p->low) && !isnan(p->high);
}

static void draw_band(Chart *c, const ChartSeries *s)
{
    for (int i = 0; i < s->count;) {
        double x, y, low, high;
        int end = i;
        while (end < s->count && has_interval(&s->points[end]) && place(c, s->points[end].x, s->points[end].y, &x, &y)) end++;
        if (end - i > 1) {
            text_buffer_add(c->out, "<path class=\"band\" d=\"");
            for (int k = i; k < end; k++) {
                place(c, s->points[k].x, s->points[k].y, &x, &y);
                place_limits(c, &s->points[k], &low, &high);
                text_buffer_add(c->out, "%c%.1f %.1f", k == i ? 'M' : 'L', x, high);
            }
            for (int k = end - 1; k >= i; k--) {
                place(c, s->points[k].x, s->points[k].y, &x, &y);
                place_limits(c, &s->points[k], &low, &high);
                text_buffer_add(c->out, "L%.1f %.1f", x, low);
            }
            text_buffer_add(c->out, "z\"/>\n");
        }
        i = end > i ? end : i + 1;
    }
}

static void draw_line(Chart *c, const ChartSeries *s)
{
    bool pen_down = false;
    text_buffer_add(c->out, "<path class=\"line\" stroke-dasharray=\"%s\" d=\"", dashes[s->dash % CHART_DASHES]);
    for (int i = 0; i < s->count; i++) {
        double x, y;
        bool drawn = place(c, s->points[i].x, s->points[i].y, &x, &y);
        if (drawn) text_buffer_add(c->out, "%c%.1f %.1f", pen_down ? 'L' : 'M', x, y);
        pen_down = drawn;
    }
    text_buffer_add(c->out, "\"/>\n");
}

static void take_box(Chart *c, Box box)
{
    if (c->box_count < MOST_BOXES) c->boxes[c->box_count++] = box;
}

static void draw_series(Chart *c, const ChartSeries *s)
{
    text_buffer_add(c->out, "<g class=\"c%d\">", s->colour % CHART_COLOURS);
    if (s->line) draw_line(c, s);
    for (int i = 0; i < s->count; i++) {
        double x, y, low, high;
        const ChartPoint *p = &s->points[i];
        if (!place(c, p->x, p->y, &x, &y)) continue;
        x += s->dodge;
        place_limits(c, p, &low, &high);
        if (!s->line && has_interval(p)) text_buffer_add(c->out, "<path class=\"bar\" d=\"M%.1f %.1fV%.1f\"/>", x, low, high);
        if (s->marks) draw_mark(c, s, p, x, y);
        if (s->marks) take_box(c, (Box){x - 5, y - 5, x + 5, y + 5});
    }
    text_buffer_add(c->out, "</g>\n");
}

/* --- labels ------------------------------------------------------------------------------------------- */

static bool is_free(const Chart *c, const Box *box)
{
    if (box->x0 < LEFT + 2 || box->x1 > c->width - 2 || box->y0 < TOP || box->y1 > TOP + c->height - 2) return false;
    for (int i = 0; i < c->box_count; i++) {
        const Box *b = &c->boxes[i];
        if (box->x0 < b->x1 && b->x0 < box->x1 && box->y0 < b->y1 && b->y0 < box->y1) return false;
    }
    return true;
}

/* Beside its point, in the first of eight places that is free; nowhere if none is. */
static void draw_label(Chart *c, const ChartPoint *p, double x, double y)
{
    static const double around[8][2] = {{1, 0}, {-1, 0}, {0, -1}, {0, 1}, {1, -1}, {-1, -1}, {1, 1}, {-1, 1}};
    double width = LETTER * (double)strlen(p->label);
    for (int i = 0; i < 8; i++) {
        double middle = x + around[i][0] * (width / 2 + 8), base = y + around[i][1] * 12;
        Box box = {middle - width / 2 - 1, base - 6, middle + width / 2 + 1, base + 6};
        if (!is_free(c, &box)) continue;
        add_text(c->out, middle, base + 4, "text-anchor=\"middle\" class=\"own\" font-size=\"11.5\"", p->label);
        take_box(c, box);
        return;
    }
}

static void draw_labels(Chart *c, const ChartSeries *s)
{
    text_buffer_add(c->out, "<g class=\"c%d\">", s->colour % CHART_COLOURS);
    for (int i = 0; i < s->count; i++) {
        double x, y;
        if (*s->points[i].label && place(c, s->points[i].x, s->points[i].y, &x, &y)) draw_label(c, &s->points[i], x + s->dodge, y);
    }
    text_buffer_add(c->out, "</g>\n");
}

static void draw_level(Chart *c)
{
    double y, right = c->width - RIGHT;
    if (!plot_axis_place(&c->y, c->o->level, &y)) return;
    text_buffer_add(c->out, "<path class=\"axis\" stroke-dasharray=\"4 4\" d=\"M%d %.1fH%.0f\"/>\n", LEFT, y, right);
}

/* A level's label, after everything else: at the end of the line where nothing is drawn. */
static void draw_level_label(Chart *c)
{
    double y, width = LETTER * (double)strlen(c->o->level_label ? c->o->level_label : "");
    if (width == 0 || !plot_axis_place(&c->y, c->o->level, &y)) return;
    for (int i = 0; i < 24; i++) {
        double right = c->width - RIGHT - 4 - i / 2 * 20, base = y + (i % 2 ? 11 : -9);
        Box box = {right - width, base - 7, right, base + 5};
        if (!is_free(c, &box)) continue;
        add_text(c->out, right, base + 3, "text-anchor=\"end\" class=\"soft halo\" font-size=\"11.5\"", c->o->level_label);
        take_box(c, box);
        return;
    }
}

/* --- legend ------------------------------------------------------------------------------------------- */

static double entry_width(const ChartSeries *s)
{
    return 44 + LETTER * (double)strlen(s->name);
}

/* Rows of the legend; drawn from `top` on when out is not NULL. */
static int legend(TextBuffer *out, const ChartSeries *series, int count, int width, double top)
{
    double x = LEFT;
    int rows = 0;
    for (int s = 0; s < count; s++) {
        if (!*series[s].name) continue;
        if (rows == 0 || x + entry_width(&series[s]) > width - 4) rows++, x = LEFT;
        double y = top + (rows - 1) * LINE + 10;
        if (out) {
            text_buffer_add(out, "<g class=\"c%d\">", series[s].colour % CHART_COLOURS);
            if (series[s].line)
                text_buffer_add(out, "<path class=\"line\" stroke-dasharray=\"%s\" d=\"M%.1f %.1fh26\"/>",
                                dashes[series[s].dash % CHART_DASHES], x, y);
            if (series[s].marks) {
                draw_shape(out, series[s].colour, series[s].hollow, x + 13, y);
                text_buffer_add(out, "/>");
            }
            text_buffer_add(out, "</g>");
            add_text(out, x + 31, y + 4.5, "", series[s].name);
        }
        x += entry_width(&series[s]);
    }
    return rows;
}

void chart_lines(TextBuffer *out, const ChartOptions *o, const ChartSeries *series, int count)
{
    Chart c = {.out = out, .o = o, .width = o->large ? LARGE_WIDTH : WIDTH, .height = o->large ? LARGE_HEIGHT : HEIGHT,
               .zero = NAN};
    c.x = plot_axis(LEFT, c.width - RIGHT, o->log_x);
    c.y = plot_axis(TOP + c.height, TOP, o->log_y);
    int legend_top = TOP + c.height + AXIS, height = legend_top + legend(NULL, series, count, c.width, 0) * LINE + 8;
    if (o->reverse_x) c.x.from = c.width - RIGHT, c.x.to = LEFT;
    find_range(&c, series, count);
    begin_svg(out, o->id, o->title, o->description, c.width, height);
    draw_axes(&c);
    draw_level(&c);
    for (int s = 0; s < count; s++) {
        if (!series[s].line) continue;
        text_buffer_add(out, "<g class=\"c%d\">", series[s].colour % CHART_COLOURS);
        draw_band(&c, &series[s]);
        text_buffer_add(out, "</g>\n");
    }
    for (int s = 0; s < count; s++) draw_series(&c, &series[s]);
    for (int s = 0; s < count; s++) draw_labels(&c, &series[s]);
    draw_level_label(&c);
    if (c.box_count == 0 && count == 0) add_text(out, c.width / 2, TOP + c.height / 2, "text-anchor=\"middle\"", "no data");
    legend(out, series, count, c.width, legend_top);
    text_buffer_add(out, "</svg>\n");
}

/* --- matrix ------------------------------------------------------------------------------------------- */

static void draw_cell(TextBuffer *out, const ChartMatrix *m, int at, double x, double y, double width, double share)
{
    char label[32];
    text_buffer_add(out,
                    "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"3\" fill=\"currentColor\" fill-opacity=\"%.2f\"",
                    x + 1, y + 1, width - 2, CELL_HEIGHT - 2, 0.06 + 0.9 * share);
    text_buffer_add(out, m->tips ? "><title>" : "/>");
    if (m->tips) {
        text_buffer_add_escaped(out, m->tips[at]);
        text_buffer_add(out, "</title></rect>");
    }
    snprintf(label, sizeof label, "%.3g", m->value[at]);
    add_text(out, x + width / 2, y + CELL_HEIGHT / 2.0 + 5,
             share > 0.5 ? "text-anchor=\"middle\" class=\"on\"" : "text-anchor=\"middle\"", label);
}

void chart_matrix(TextBuffer *out, const ChartMatrix *m)
{
    int bottom = TOP + m->rows * CELL_HEIGHT;
    double width = (WIDTH - LEFT - RIGHT) / (double)(m->columns > 0 ? m->columns : 1), low = INFINITY, high = -INFINITY;
    for (int i = 0; i < m->rows * m->columns; i++)
        if (isfinite(m->value[i])) low = fmin(low, m->value[i]), high = fmax(high, m->value[i]);
    begin_svg(out, m->id, m->title, m->description, WIDTH, bottom + AXIS);
    text_buffer_add(out, "<g class=\"heat\">\n");
    for (int j = 0; j < m->rows; j++)
        for (int i = 0; i < m->columns; i++) {
            int at = j * m->columns + i;
            double share = high > low ? (m->value[at] - low) / (high - low) : 0.5;
            if (isfinite(m->value[at])) draw_cell(out, m, at, LEFT + i * width, TOP + j * CELL_HEIGHT, width, share);
        }
    text_buffer_add(out, "</g>\n");
    for (int j = 0; j < m->rows; j++)
        add_text(out, LEFT - 8, TOP + (j + 0.5) * CELL_HEIGHT + 4.5, "text-anchor=\"end\" class=\"soft\"", m->row_names[j]);
    for (int i = 0; i < m->columns; i++)
        add_text(out, LEFT + (i + 0.5) * width, bottom + 17, "text-anchor=\"middle\" class=\"soft\"", m->column_names[i]);
    add_text(out, (LEFT + WIDTH - RIGHT) / 2.0, bottom + 40, "text-anchor=\"middle\"", m->x_label);
    text_buffer_add(out, "<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\">", (TOP + bottom) / 2);
    text_buffer_add_escaped(out, m->y_label);
    text_buffer_add(out, "</text>\n</svg>\n");
}
