/* Progress of long work: a bar that redraws itself on a terminal, plain lines now and then elsewhere, nothing when quiet.
 *
 *     ProgressOptions options = progress_defaults(stderr);
 *     options.label = "base", options.unit = "steps", options.total = 27;
 *     Progress bar;
 *     progress_start(&bar, &options);
 *     for (...) progress_update(&bar, i + 1, "loss 0.123");
 *     progress_finish(&bar);
 *
 * terminal:  base  [#########-----------] 12/27 steps  3.2 steps/s  0:05 left  loss 0.123
 * elsewhere: base: 12/27 steps (44%), 3.2 steps/s, 0:05 left, loss 0.123
 *
 * The rate is that of the last half minute or so. One thread at a time. */
#ifndef GLIDE_COMMON_PROGRESS_H
#define GLIDE_COMMON_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum {
    PROGRESS_AUTO,  /* a bar when `out` is a terminal that can do it, else lines */
    PROGRESS_BAR,
    PROGRESS_LINES,
    PROGRESS_QUIET  /* progress_log() is silent too */
} ProgressStyle;

typedef struct ProgressOptions {
    FILE *out; /* borrowed; errors of writing to it are ignored */
    ProgressStyle style;
    const char *label, *unit; /* ASCII, borrowed; unit is a plural: "steps"; NULL: shown is the percentage alone, for work
                                 whose units would tell nobody anything */
    int64_t total;            /* 0: unknown */
    int64_t done;             /* where a resumed run starts */
    double line_seconds;      /* PROGRESS_LINES: at least one line in that time; and one at each tenth of the total */
    int width;                /* columns; 0: the terminal's, else 80 */
    double (*clock)(void *context); /* seconds that only grow; NULL: the system's (tests bring their own) */
    void *clock_context;
} ProgressOptions;

ProgressOptions progress_defaults(FILE *out); /* PROGRESS_AUTO, "steps", a line every 10 s */

typedef struct Progress {
    ProgressOptions options;
    int64_t done;
    double start, last, last_shown; /* seconds by the clock */
    double units, seconds;          /* recent work and its time, fading: their ratio is the rate */
    int tenth_shown;
    bool bar_on_screen, nothing_shown;
    char note[128]; /* the last one, for redrawing */
} Progress;

void progress_start(Progress *p, const ProgressOptions *options);
/* `done` of the total are done; `note` (one line of ASCII; NULL: the last one stays) is shown at the end. Cheap: draws at
 * most ten times a second. */
void progress_update(Progress *p, int64_t done, const char *note);
/* A line of its own, such as "saved out.h5", above the bar. */
void progress_log(Progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Takes the bar off the screen, for what is drawn in its place; the next update brings it back. */
void progress_clear(Progress *p);
/* Show the end, with the mean rate over the whole run and the time it took. */
void progress_finish(Progress *p);
/* The work failed: leave what is shown and end its line, so that an error message starts on its own. */
void progress_abort(Progress *p);

double progress_rate(const Progress *p); /* units per second of late; 0: not known yet */
/* "0:05", "12:34", "1:02:03", "2 d 03:04". Returns `text`. */
const char *progress_format_time(double seconds, char *text, size_t size);

#endif
