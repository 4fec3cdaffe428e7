/* Which files glide upsample reads and writes: one into a file, or many, and whole folders, into a folder. */
#ifndef GLIDE_GLIDE_CMD_UPSAMPLE_FILES_H
#define GLIDE_GLIDE_CMD_UPSAMPLE_FILES_H

#include "glide/cmd_output.h"

typedef struct UpsampleFiles {
    char **inputs;      /* (count) names */
    CliOutput *outputs; /* (count), each of one picture */
    int count, capacity;
} UpsampleFiles;

/* The operands of `args`; a folder stands for its PNG, JPEG and WebP files, in the order of their names. With one operand that is a
 * file, `output` is as elsewhere; else it is a folder, made if it is not there. Names in it are made of `what` and `ending`
 * ("photo-x4.png"). Two files that would get the same name, one that would take an input's, and a folder without pictures are usage
 * errors. */
Status upsample_files_init(UpsampleFiles *f, CliArgs *args, const char *output, const char *what, const char *ending);
/* Whether that is so, and the program chooses the names. */
bool upsample_files_in_folder(const CliArgs *args, const char *output);
/* The inputs alone: nothing is made. Needs upsample_files_release() even after a failure. */
Status upsample_files_inputs(UpsampleFiles *f, CliArgs *args);
void upsample_files_release(UpsampleFiles *f);

#endif
