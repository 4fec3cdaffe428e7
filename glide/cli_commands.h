/* The program's commands. To add one: write glide/cmd_NAME.c, which defines `const CliCommand cli_command_NAME`, and add
 * its line here; the order is that of `glide help`. */
#ifndef GLIDE_GLIDE_CLI_COMMANDS_H
#define GLIDE_GLIDE_CLI_COMMANDS_H

#include "glide/cli_options.h"

#define CLI_COMMANDS(X) \
    X(sample)         \
    X(upsample)       \
    X(inpaint)        \
    X(serve)          \
    X(ablate)         \
    X(train)          \
    X(evaluate)       \
    X(dataset)        \
    X(info)           \
    X(plan)           \
    X(recipe)         \
    X(verify)         \
    X(init)           \
    X(import)         \
    X(export)         \
    X(average)        \
    X(bench)          \
    X(help)

#define CLI_DECLARE_COMMAND(name) extern const CliCommand cli_command_##name;
CLI_COMMANDS(CLI_DECLARE_COMMAND)
#undef CLI_DECLARE_COMMAND

/* All of them, in that order. */
const CliCommand *const *cli_commands(int *count);

/* By name; NULL and a message that suggests the nearest when there is none. */
const CliCommand *cli_find_command(const char *name);

#endif
