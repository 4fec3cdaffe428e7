/* Axes of a sheet over options: "NAME=V,V,...", or "prompt:WORD=V,V,..." for a word of the prompt. Values are divided by commas,
 * or by semicolons where there is one ("steps=10,10,3;27"). */
#ifndef GLIDE_CMD_GRID_AXIS_H
#define GLIDE_CMD_GRID_AXIS_H

#include "glide/cli_options.h"

enum { GRID_MOST_VALUES = 64 };

typedef struct GridAxis {
    char *text;                           /* owned; the others point into it */
    const char *name;                     /* of an option, or "prompt" */
    const char *word;                     /* of the prompt; NULL: the values are whole prompts */
    const char *values[GRID_MOST_VALUES]; /* (count) */
    int count;
} GridAxis;

/* A usage error names the axis that cannot be. */
Status grid_axis_parse(CliArgs *args, const char *text, GridAxis *out);
void grid_axis_release(GridAxis *axis);

/* `prompt` with every WORD, where it stands alone, as value `index` has it; the value itself on an axis of whole prompts. free().
 * A usage error: there is no such word. */
Status grid_axis_prompt(CliArgs *args, const GridAxis *axis, int index, const char *prompt, char **out);

#endif
