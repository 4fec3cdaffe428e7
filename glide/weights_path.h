/* Where the default weights are. */
#ifndef GLIDE_WEIGHTS_PATH_H
#define GLIDE_WEIGHTS_PATH_H

#include "common/status.h"

#include <stddef.h>

/* Path of `name` ("base.h5"): in the folder that $GLIDE_WEIGHTS names; else in ../data/weights, ../../data/weights (a build
 * folder inside build/) or ../share/glide beside the folder of the program, or of the shared library that this code is in.
 * STATUS_BAD_INPUT, with a line that says where it was looked for and which option names another, when it is nowhere. */
Status weights_path_default(const char *name, char *path, size_t size);

/* Path of a default model that only paints (base-inpaint.h5, as of GLIDE's released models), where one lies beside base.h5; returns
 * `path`. NULL: base.h5 paints, too. */
const char *weights_path_painter(char *path, size_t size);

/* Path of a file of the project's data/ ("subgroups.tsv"), likewise. */
Status data_path_default(const char *name, char *path, size_t size);

/* "DIR/name" for the folder of the running program. STATUS_IO when the system does not tell. */
Status program_sibling(const char *name, char *path, size_t size);

#endif
