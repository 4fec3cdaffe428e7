/* glide sample --grid: one picture for each combination of one or two options' values, on the same noise, as a sheet
 * with labels. */
#ifndef GLIDE_CMD_GRID_H
#define GLIDE_CMD_GRID_H

#include "glide/cli_options.h"
#include "glide/glide.h"

/* Runs the whole command. Cells that were finished earlier, in "OUTPUT.grid/", are used when their recipes are those of the
 * cells; the folder goes when the sheet is written. */
Status grid_run(CliArgs *args);
/* The sheet of glide sample's `argv`, in which --from names a sheet, made again with its recipe; nothing is written.
 * glide_picture_release() it. */
Status grid_again(int argc, char **argv, GlidePicture *out);

#endif
