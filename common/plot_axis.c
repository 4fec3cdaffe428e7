#include "common/plot_axis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

PlotAxis plot_axis(double from, double to, bool log)
{
    return (PlotAxis){.low = INFINITY, .high = -INFINITY, .from = from, .to = to, .log = log};
}

bool plot_axis_drawable(const PlotAxis *axis, double value)
{
    return fabs(value) <= 1e300 && !(axis->log && value <= 0);
}

bool plot_axis_place(const PlotAxis *axis, double value, double *pixel)
{
    if (!plot_axis_drawable(axis, value)) return false;
    double v = axis->log ? log10(value) : value;
    *pixel = axis->from + (v - axis->low) / (axis->high - axis->low) * (axis->to - axis->from);
    return isfinite(*pixel);
}

void plot_axis_include(PlotAxis *axis, double value)
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

static void ticks_linear(PlotAxis *axis, int count)
{
    double step = nice_step(axis->high - axis->low, count);
    double first = ceil(axis->low / step - 1e-9), last = floor(axis->high / step + 1e-9);
    for (double k = first; k <= last && axis->tick_count < PLOT_AXIS_TICKS; k++)
        axis->ticks[axis->tick_count++] = k * step;
}

static void ticks_log(PlotAxis *axis, int count)
{
    int first = (int)floor(axis->low), last = (int)ceil(axis->high), every = (last - first) / count + 1;
    bool between = axis->high - axis->low <= 2.5; /* few decades: 2 and 5 as well */
    for (int decade = first; decade <= last; decade += every)
        for (int i = 0; i < (between ? 3 : 1) && axis->tick_count < PLOT_AXIS_TICKS; i++) {
            double value = pow(10, decade) * (double[]){1, 2, 5}[i], v = log10(value);
            if (v >= axis->low - 1e-9 && v <= axis->high + 1e-9) axis->ticks[axis->tick_count++] = value;
        }
}

void plot_axis_finish(PlotAxis *axis, int count, double margin)
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
        PlotAxis plain = {.low = pow(10, axis->low), .high = pow(10, axis->high)};
        ticks_linear(&plain, count);
        memcpy(axis->ticks, plain.ticks, sizeof plain.ticks);
        axis->tick_count = plain.tick_count;
    } else if (!axis->log) {
        ticks_linear(axis, count);
    }
}

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

static double tick_step(const PlotAxis *axis, int i) /* distance to the nearest other tick: how many digits are needed */
{
    if (axis->log) return fmin(axis->ticks[i], axis->tick_count > 1 && axis->ticks[1] < 2 * axis->ticks[0]
                                                   ? axis->ticks[1] - axis->ticks[0] : INFINITY);
    return axis->tick_count > 1 ? axis->ticks[1] - axis->ticks[0] : fabs(axis->ticks[i]) + 1e-300;
}

void plot_axis_label(const PlotAxis *axis, int tick, char *text, size_t size)
{
    double largest = 0;
    for (int i = 0; i < axis->tick_count; i++) largest = fmax(largest, fabs(axis->ticks[i]));
    tick_label(axis->ticks[tick], tick_step(axis, tick), largest, text, size);
}
