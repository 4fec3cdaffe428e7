/* What shells are told of the command line: scripts from the tables of options. */
#ifndef GLIDE_GLIDE_CLI_COMPLETION_H
#define GLIDE_GLIDE_CLI_COMPLETION_H

#include "glide/cli_options.h"

#include <stdio.h>

extern const char *const cli_shells[]; /* "bash", "zsh", "fish", NULL */

/* `shell` is an index of cli_shells. */
void cli_print_completion(FILE *out, int shell, const CliCommand *const *commands, int count);

#endif
