/* glide plan COMMAND OPTIONS... */
#include "glide/cli_commands.h"

#include <stdlib.h>
#include <string.h>

static Status plan_command(const CliCommand *command, CliArgs *args)
{
    CliArgs inner;
    void *options = calloc(1, command->options_size + 1);
    if (!options) return status_fail(STATUS_NO_MEMORY, "out of memory");
    Status s = cli_parse(command, args->operand_count, (char **)args->operands, options, &inner);
    args->usage_error = inner.usage_error;
    args->help_wanted = inner.help_wanted;
    if (s == STATUS_OK && !inner.help_wanted) {
        s = command->plan(&inner);
        args->usage_error = inner.usage_error;
    }
    cli_args_release(&inner);
    free(options);
    return s;
}

static Status run(CliArgs *args)
{
    int count;
    const CliCommand *const *all = cli_commands(&count);
    for (int i = 0; i < count; i++)
        if (all[i]->plan && !strcmp(all[i]->name, args->operands[0])) return plan_command(all[i], args);
    return cli_usage_fail(args, "expected a command whose cost can be told (sample, upsample, inpaint, ablate), and its options, "
            "found "
                          "\"%.40s\"", args->operands[0]);
}

const CliCommand cli_command_plan = {
    .name = "plan",
    .summary = "tell what a command would cost: evaluations, memory, time",
    .operands = "sample|upsample|inpaint|ablate [OPTION...] [OPERAND...]",
    .min_operands = 1,
    .max_operands = CLI_ANY,
    .passes_on = true,
    .description =
        "Counts how often the models will be evaluated, estimates the memory and measures some steps on this machine to tell the time. "
        "Nothing is written, and --output is not needed. What cannot fit in memory is refused, with exit status 2, as the commands "
        "themselves do before they start.",
    .examples = "glide plan sample -n 100 --steps 50 \"red apple, noto emoji\"\n"
                "glide plan sample \"red apple\" --grid guidance-scale=1,2,4,8 --grid seed=1,2,3\n"
                "glide plan upsample photos/ --scale 8\n"
                "glide plan inpaint photo.jpg --mask mask.png -p \"a hat\" -n 4\n"
                "glide plan ablate --modes none,cfg,clip --scales \"1,2,4;clip=50,100\" --prompts 32 -d build/emoji.h5",
    .run = run,
};
