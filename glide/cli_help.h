/* Help texts from the tables of options. */
#ifndef GLIDE_GLIDE_CLI_HELP_H
#define GLIDE_GLIDE_CLI_HELP_H

#include "glide/cli_options.h"

#include <stdio.h>

/* The screen of `glide help COMMAND`: usage, description, options with ranges and defaults, examples; 80 columns. */
void cli_print_help(FILE *out, const CliCommand *command);

/* The screen of `glide help`: what the program is and its commands. */
void cli_print_overview(FILE *out, const CliCommand *const *commands, int count);

/* "(1 to 1000; default 27)" as in the help of an option, "" when there is nothing to say. Returns `text`. */
const char *cli_describe_limits(const CliOption *option, char *text, size_t size);

#endif
