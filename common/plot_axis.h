/* An axis of a chart: values to pixels, where the ticks are and what they say. For plot.h and other charts.
 *
 *     PlotAxis x = plot_axis(left, right, false);
 *     plot_axis_include(&x, value) ...            for all values that plot_axis_drawable() takes
 *     plot_axis_finish(&x, 8, 0.04);              8 steps at most, a margin of 4 % at both ends
 *     if (plot_axis_place(&x, value, &pixel)) ... */
#ifndef GLIDE_COMMON_PLOT_AXIS_H
#define GLIDE_COMMON_PLOT_AXIS_H

#include <stdbool.h>
#include <stddef.h>

enum { PLOT_AXIS_TICKS = 24 };

typedef struct PlotAxis {
    double low, high;  /* of the data, in log10 when log; low > high: no data yet */
    double from, to;   /* pixels of low and high */
    bool log;
    double ticks[PLOT_AXIS_TICKS]; /* values */
    int tick_count;
} PlotAxis;

PlotAxis plot_axis(double from, double to, bool log); /* without data */
/* Finite and up to 1e300 in size, so that differences are finite too; above 0 when log. */
bool plot_axis_drawable(const PlotAxis *axis, double value);
void plot_axis_include(PlotAxis *axis, double value); /* a drawable one */
/* Ticks at 1, 2, 5 times powers of ten, `count` steps at most; margin: share of the range added at both ends. Without data 0 to 1.
 */
void plot_axis_finish(PlotAxis *axis, int count, double margin);
/* false: not drawable. */
bool plot_axis_place(const PlotAxis *axis, double value, double *pixel);
/* Text of a tick with as many digits as its neighbours ask for. */
void plot_axis_label(const PlotAxis *axis, int tick, char *text, size_t size);

#endif
