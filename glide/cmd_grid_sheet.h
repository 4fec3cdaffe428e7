/* The sheet of glide sample --grid: cells row by row, the first axis from left to right, the second one from top to bottom, each
 * with its label. */
#ifndef GLIDE_CMD_GRID_SHEET_H
#define GLIDE_CMD_GRID_SHEET_H

#include "common/image.h"
#include "glide/cmd_grid_axis.h"

/* `axes` (1 or 2), `cells` (rows of the second axis, columns of the first); `title` is UTF-8. */
Status grid_sheet_make(const GridAxis *axes, int axis_count, const Image *cells, const char *title, Image *out);

#endif
