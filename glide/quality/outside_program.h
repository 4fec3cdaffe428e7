/* Another program that makes one picture of another, to compare with: a command line with {in}, {out} and {scale} in it, such as
 *
 *     node enlarge.js {in} {out} {scale}
 *
 * It is split into words at spaces, without a shell; "..." and '...' keep spaces, a backslash the character after it (not in
 * '...'). {in} and {out} are PNG files. What it prints is not shown; when it fails, its last line is part of the message. */
#ifndef GLIDE_QUALITY_OUTSIDE_PROGRAM_H
#define GLIDE_QUALITY_OUTSIDE_PROGRAM_H

#include "common/image.h"

#include <stdbool.h>

typedef struct OutsideProgram {
    char **words; /* (count) without what stands for {..} put in */
    int count;
    char folder[64]; /* of in.png, out.png and what it prints; below $TMPDIR or /tmp */
} OutsideProgram;

/* STATUS_BAD_INPUT: no words, {in} or {out} missing, a quotation mark that is not closed; STATUS_IO: no folder. */
Status outside_program_init(OutsideProgram *p, const char *command);
void outside_program_release(OutsideProgram *p); /* with the folder; zeroed is fine */

/* Runs it once. *out must have scale times the size of `in`, else STATUS_BAD_INPUT, as for a program that fails or writes nothing.
 * seconds: from start to end. stop(ctx) is asked all the time; when it says so, the program is ended, by force
 * if it goes on for two seconds (STATUS_INTERRUPTED). */
Status outside_program_run(const OutsideProgram *p, const Image *in, int scale, bool (*stop)(void *ctx), void *ctx, Image *out,
                           double *seconds);

#endif
