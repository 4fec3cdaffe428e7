/* glide help [COMMAND] */
#include "glide/cli_commands.h"
#include "glide/cli_help.h"

static Status run(CliArgs *args)
{
    int count;
    const CliCommand *const *commands = cli_commands(&count);
    if (args->operand_count == 0) {
        cli_print_overview(stdout, commands, count);
        return STATUS_OK;
    }
    const CliCommand *command = cli_find_command(args->operands[0]);
    args->usage_error = !command;
    if (!command) return STATUS_BAD_INPUT;
    cli_print_help(stdout, command);
    return STATUS_OK;
}

const CliCommand cli_command_help = {
    .name = "help",
    .summary = "explain the program or one of its commands",
    .operands = "[COMMAND]",
    .max_operands = 1,
    .run = run,
};
