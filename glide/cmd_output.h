/* Names of the pictures that a command writes, made from the one name that -o gives:
 *
 *     one picture      apple.png           as it stands
 *     several          apple-1.png ...     numbers before the ending, all of the same width (apple-01.png ... apple-12.png)
 *     a folder         out/glide.png       DIR/ or an existing folder: the command's usual name inside it
 *     "-"              standard output, for one picture
 *
 * A name that ends in .jpg or .jpeg is a JPEG, everything else a PNG. */
#ifndef GLIDE_GLIDE_CMD_OUTPUT_H
#define GLIDE_GLIDE_CMD_OUTPUT_H

#include "glide/cli_options.h"

typedef struct CliOutput {
    char *path; /* of the whole, folder resolved */
    int count;
} CliOutput;

/* `usual` is the name inside a folder ("glide.png"). Checks, before any work, that each of the `count` names can be written.
 * A wrong use of -o is a usage error of `args`; the rest is STATUS_IO. */
Status cli_output_init(CliOutput *o, CliArgs *args, const char *output, const char *usual, int count);
void cli_output_release(CliOutput *o);

/* Does the name end in '/', or is there a folder of that name? */
bool cli_output_is_folder(const char *path);

/* Name of picture `index` from 0. Returns `path`. */
const char *cli_output_name(const CliOutput *o, int index, char *path, size_t size);

#endif
