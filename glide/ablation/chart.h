/* Charts of a report, as SVG that stands in an HTML page: lines with bands, points with labels, heat maps. Axes are those of
 * common/plot_axis.h; colours are classes that chart_css() defines for light and dark pages, each with a mark of its own shape.
 *
 * A chart has a title and a description for screen readers, and points tell their numbers when one rests on them (<title>). */
#ifndef GLIDE_ABLATION_CHART_H
#define GLIDE_ABLATION_CHART_H

#include "common/text_buffer.h"

#include <stdbool.h>

enum { CHART_COLOURS = 8, CHART_DASHES = 4 };

typedef struct ChartPoint {
    double x, y;
    double low, high;  /* interval of y; NaN: none */
    char label[32];    /* beside the point where there is room, or "" */
    char tip[128];     /* shown on it, or "" */
} ChartPoint;

typedef struct ChartSeries {
    char name[96];     /* in the legend */
    int colour, dash;  /* which of the colours (and marks) and dashes; dash 0 is a full line */
    bool line;         /* points are joined, their intervals a band; else each has its bar */
    bool marks;        /* points are drawn */
    bool hollow;       /* as outlines */
    double dodge;      /* pixels by which it is drawn to the right, so that series with the same x stand apart */
    const ChartPoint *points;
    int count;
} ChartSeries;

typedef struct ChartOptions {
    const char *id;    /* unique in the page, letters and digits */
    const char *title, *description, *x_label, *y_label;
    bool log_x, log_y; /* on a logarithmic x-axis 0 has a place of its own, left of a break */
    bool reverse_x;    /* falls from left to right */
    bool large;        /* higher, for many labels */
    double level;      /* a dashed line across at this y, with level_label; NaN: none */
    const char *level_label;
} ChartOptions;

/* Points that are not finite break lines. Without a single point it says so. */
void chart_lines(TextBuffer *out, const ChartOptions *o, const ChartSeries *series, int count);

/* A matrix: column i of `columns` names, row j of `rows`; value (rows,columns), NaN where nothing is. Darker is more. */
typedef struct ChartMatrix {
    const char *id, *title, *description, *x_label, *y_label;
    int columns, rows;
    const char *const *column_names, *const *row_names;
    const double *value;
    const char *const *tips; /* (rows,columns) or NULL */
} ChartMatrix;

void chart_matrix(TextBuffer *out, const ChartMatrix *m);

/* A logarithmic axis is asked for: all values (NaN aside) above 0 and more than `ratio` apart. */
bool chart_wants_log(const double *values, int count, double ratio);

const char *chart_css(void);

#endif
