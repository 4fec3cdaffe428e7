/* Pictures on the terminal while a command runs: --show and --show-steps.
 *
 * They are drawn on standard error, beside the progress bar, or on standard output where only that is a terminal; never
 * elsewhere. An area above the bar is drawn over at each step; a finished picture stays, and the next one gets an area
 * of its own. */
#ifndef GLIDE_CMD_SHOW_H
#define GLIDE_CMD_SHOW_H

#include "common/progress.h"
#include "common/terminal_picture.h"
#include "glide/cli_options.h"
#include "glide/glide.h"

typedef struct CliShowOptions {
    int kind; /* of cli_show_kinds */
    bool steps;
} CliShowOptions;

extern const char *const cli_show_kinds[]; /* "auto", "kitty", "iterm2", "sixel", "blocks" */

#define CLI_SHOW_OPTIONS(S, f)                                                                                                   \
    CLI_CHOICE_OR_BARE(S, f.kind, 0, "show", cli_show_kinds, "auto", "draw finished pictures on the terminal: as pictures where " \
                       "it can, else as coloured blocks"),                                                                       \
    CLI_FLAG(S, f.steps, 0, "show-steps", "and what the model expects at each step, in place")

typedef struct CliShow {
    bool on, steps;
    FILE *out;
    TerminalGraphics kind;
    TerminalPlace place;       /* colours and the size of a cell */
    int columns, rows;         /* of the terminal */
    int area;                  /* rows of the area above the bar; 0: there is none */
    int drawn_columns, drawn_rows;
    double drawn;              /* when, in seconds */
} CliShow;

/* Finds out what the terminal can do. Without one it warns, once, unless `quiet`. */
void cli_show_start(CliShow *show, const CliArgs *args, const CliShowOptions *options, bool quiet);
/* At most ten times a second, and the last step of a stage always. `bar` may be NULL: there is none yet. */
void cli_show_step(CliShow *show, Progress *bar, const GlideProgress *p);
void cli_show_picture(CliShow *show, Progress *bar, const GlidePicture *picture);

#endif
