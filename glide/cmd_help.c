/* glide help [COMMAND] */
#include "glide/cli_commands.h"
#include "glide/cli_completion.h"
#include "glide/cli_help.h"
#include "glide/cli_man.h"

typedef struct HelpCommand {
    int completion;
    bool man;
} HelpCommand;

static const CliOption options[] = {
    CLI_FLAG(HelpCommand, man, 0, "man", "as a manual page: glide help --man sample | man -l -"),
    CLI_CHOICE(HelpCommand, completion, 0, "completion", cli_shells, NULL, "the script that teaches a shell to complete commands "
            "and "
               "options: source <(glide help --completion bash)"),
};

static Status run(CliArgs *args)
{
    int count;
    const HelpCommand *c = args->options;
    const CliCommand *const *commands = cli_commands(&count);
    if (cli_given(args, "completion")) {
        if (c->man || args->operand_count) return cli_usage_fail(args, "--completion: expected nothing beside it");
        cli_print_completion(stdout, c->completion, commands, count);
        return STATUS_OK;
    }
    if (args->operand_count == 0) {
        (c->man ? cli_print_man_overview : cli_print_overview)(stdout, commands, count);
        return STATUS_OK;
    }
    const CliCommand *command = cli_find_command(args->operands[0]);
    args->usage_error = !command;
    if (!command) return STATUS_BAD_INPUT;
    (c->man ? cli_print_man : cli_print_help)(stdout, command);
    return STATUS_OK;
}

const CliCommand cli_command_help = {
    .name = "help",
    .summary = "explain the program or one of its commands",
    .operands = "[COMMAND]",
    .max_operands = 1,
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(HelpCommand),
    .run = run,
};
