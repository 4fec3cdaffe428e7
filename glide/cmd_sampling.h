/* What glide sample and glide upsample have in common on the command line. */
#ifndef GLIDE_GLIDE_CMD_SAMPLING_H
#define GLIDE_GLIDE_CMD_SAMPLING_H

#include "common/jpeg_write.h"
#include "common/progress.h"
#include "glide/cmd_output.h"
#include "glide/cmd_show.h"
#include "glide/glide.h"

/* Choices of --precision; a value that was not given is GLIDE_PRECISION_AUTO. */
extern const char *const cli_precisions[]; /* "f32", "bf16", "int8" */
GlidePrecision cli_precision(const CliArgs *args, int choice);

/* Choices of --sampler: all that run towards the picture, by the names of common/sampler.c. */
extern const char *const cli_samplers[];

/* --steps and --upsampler-steps: a number or a respacing, checked against a process of 1000 steps. */
Status cli_check_steps(CliArgs *args, const char *option, const char *steps);

/* The seed that was given, else one drawn from the system, which is announced on stderr unless quiet. */
Status cli_choose_seed(const CliArgs *args, int64_t given, bool quiet, uint64_t *seed);

/* "photos/cat.jpg", "256", ".png" -> "cat-256.png": what a picture made of another is called in a folder. Returns `name`. */
const char *cli_picture_name(const char *in, const char *what, const char *ending, char *name, size_t size);

/* --quality of JPEG files, for an option struct with `int64_t quality`. */
#define CLI_QUALITY_OPTION(type)                                                                                    \
    CLI_INT(type, quality, 0, "quality", "Q", 1, 100, CASCADE_TEXT(JPEG_PICTURE_QUALITY), "of JPEG files, which are written where " \
            "--output ends in .jpg")
/* It is of no use for other files: a usage error. */
Status cli_check_quality(CliArgs *args, const char *output);

/* A run of the cascade: the progress bar, Ctrl-C, and each picture into its file as soon as it is finished. */
typedef struct CliRun {
    const CliOutput *output;
    Progress bar;
    bool quiet, bar_shown;
    int calls, call; /* calls of the library in all; of the one under way, from 0 */
    int written;     /* files */
    int quality;     /* of JPEGs */
    CliShow show;    /* all 0: nothing */
    const char *init_image, *input, *mask; /* files that the pictures are made of, for their recipes; NULL: none */
    bool invert_mask;
    Status status;   /* of writing them, and its message */
    char failure[512];
} CliRun;

/* Catches Ctrl-C. */
void cli_run_start(CliRun *r, const CliOutput *output, bool quiet, int calls);
GlideCallbacks cli_run_callbacks(CliRun *r);
/* Into the next file. */
Status cli_run_write(CliRun *r, const GlidePicture *picture);
/* Ends the bar. */
void cli_run_end(CliRun *r, bool finished);
/* After the last call, or the one that failed: `status` is its result. Ends the bar, prints the names of the files that were
 * written (unless quiet), and puts a message in place for a run that was stopped. */
Status cli_run_finish(CliRun *r, GlideStatus status);

#endif
