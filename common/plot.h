/* Line charts as SVG: loss curves, ablations. Pure text, no library.
 *
 *     PlotSeries series[] = {{"train", steps, loss, n}, {"held out", steps_held, loss_held, m}};
 *     PlotOptions options = plot_defaults();
 *     options.title = "base model", options.x_label = "step", options.y_label = "loss", options.log_y = true;
 *     TRY(plot_write("loss.svg", &options, series, 2));
 *
 * Points that are not finite, or beyond 1e300, break the line (with log_y also those <= 0). Long series are thinned to what the width can
 * show, keeping the extremes. The same input gives the same bytes. */
#ifndef GLIDE_COMMON_PLOT_H
#define GLIDE_COMMON_PLOT_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>

#define PLOT_MAX_SERIES 8 /* as many as there are colours to tell apart */

typedef struct PlotSeries {
    const char *name;   /* UTF-8, for the legend */
    const double *x, *y; /* (count) each, borrowed; x should grow */
    size_t count;
} PlotSeries;

typedef struct PlotOptions {
    const char *title, *x_label, *y_label; /* UTF-8; "" or NULL: none */
    bool log_y;
    int width, height; /* pixels, 200 to 4000 */
} PlotOptions;

PlotOptions plot_defaults(void); /* 800x480, no texts, linear */

/* *svg is a string, the caller's to free(). Fails on sizes or numbers of series outside the limits. */
Status plot_svg(const PlotOptions *options, const PlotSeries *series, int series_count, char **svg);

/* To a file, all or nothing: see file_write.h. */
Status plot_write(const char *path, const PlotOptions *options, const PlotSeries *series, int series_count);

#endif
