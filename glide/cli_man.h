/* Manual pages in man(7)'s language, from the tables of options. */
#ifndef GLIDE_GLIDE_CLI_MAN_H
#define GLIDE_GLIDE_CLI_MAN_H

#include "glide/cli_options.h"

#include <stdio.h>

/* glide-NAME(1): what `glide help NAME` says. */
void cli_print_man(FILE *out, const CliCommand *command);
/* glide(1): the commands. */
void cli_print_man_overview(FILE *out, const CliCommand *const *commands, int count);

#endif
