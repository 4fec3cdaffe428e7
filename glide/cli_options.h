/* The command line as data: one table of options per command drives parsing, checking, help texts, and whatever is
 * generated from it (man pages, completions).
 *
 *     typedef struct SampleOptions { const char *output; int64_t steps; double scale; int sampler; bool quiet; } SampleOptions;
 *     static const char *const samplers[] = {"ddpm", "ddim", NULL};
 *     static const CliOption options[] = {
 *         CLI_FILE(SampleOptions, output, 'o', "output", "FILE", "glide.png", "where the picture goes"),
 *         CLI_INT(SampleOptions, steps, 0, "steps", "N", 1, 1000, "27", "steps of the base model"),
 *         CLI_DOUBLE(SampleOptions, scale, 'g', "guidance-scale", "G", 0, 20, "3", "how closely to follow the prompt"),
 *         CLI_CHOICE(SampleOptions, sampler, 0, "sampler", samplers, "ddim", "how to sample"),
 *         CLI_FLAG(SampleOptions, quiet, 'q', "quiet", "show no progress"),
 *     };
 *     static Status run(CliArgs *args) { const SampleOptions *o = args->options; ... }
 *     const CliCommand cli_command_sample = {.name = "sample", .summary = "make pictures from prompts",
 *         .operands = "PROMPT...", .min_operands = 1, .max_operands = CLI_ANY, .options = options,
 *         .option_count = CLI_COUNT(options), .options_size = sizeof(SampleOptions), .run = run};
 *
 * and one line in cli_commands.h. Every command has --help and -h besides. Conventions are getopt_long's: --name VALUE,
 * --name=VALUE, unambiguous beginnings of names, -x VALUE, -xVALUE, bundled flags; the last of repeated options counts;
 * options and operands mix; after "--" everything is an operand. */
#ifndef GLIDE_GLIDE_CLI_OPTIONS_H
#define GLIDE_GLIDE_CLI_OPTIONS_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLI_ANY         (-1) /* max_operands */
#define CLI_MAX_OPTIONS 63
#define CLI_COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

typedef enum {
    CLI_KIND_FLAG,   /* bool */
    CLI_KIND_INT,    /* int64_t */
    CLI_KIND_DOUBLE, /* double, finite */
    CLI_KIND_CHOICE, /* int: index of the word */
    CLI_KIND_TEXT,   /* const char *: borrowed from argv (or from the table) */
    CLI_KIND_FILE,   /* the same, not empty */
    CLI_KIND_TEXTS   /* CliTexts: each time that it is given, in order */
} CliKind;

enum { CLI_MOST_TEXTS = 4 };
typedef struct CliTexts {
    const char *items[CLI_MOST_TEXTS];
    int count;
} CliTexts;

typedef struct CliOption {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    CliKind kind;
    size_t offset;        /* of the field in the command's struct of options */
    const char *value;    /* the value's name in help texts: "N", "FILE"; flags: NULL */
    const char *fallback; /* default, as one would type it; NULL: the field is zero */
    const char *help;     /* what it is for, without a full stop; range, choices and default are added by themselves */
    int64_t int_min, int_max;
    double double_min, double_max;
    const char *const *choices; /* ends with NULL */
    bool written;     /* a file that the command writes */
    const char *bare; /* what --name alone means, where a value may be left out (--name or --name=VALUE); NULL: it may not */
} CliOption;

/* The field's offset, and a warning from the compiler when its type is not the one that will be stored there. */
#define CLI_FIELD(Struct, field, type) (offsetof(Struct, field) + 0 * sizeof(&((Struct *)0)->field == (type *)0))

#define CLI_FLAG(Struct, field, letter_, name_, help_)                                                       \
    {.name = name_, .letter = letter_, .kind = CLI_KIND_FLAG, .offset = CLI_FIELD(Struct, field, bool), .help = help_}
#define CLI_INT(Struct, field, letter_, name_, value_, min_, max_, fallback_, help_)                         \
    {.name = name_, .letter = letter_, .kind = CLI_KIND_INT, .offset = CLI_FIELD(Struct, field, int64_t),    \
     .value = value_, .fallback = fallback_, .help = help_, .int_min = min_, .int_max = max_}
#define CLI_DOUBLE(Struct, field, letter_, name_, value_, min_, max_, fallback_, help_)                      \
    {.name = name_, .letter = letter_, .kind = CLI_KIND_DOUBLE, .offset = CLI_FIELD(Struct, field, double),  \
     .value = value_, .fallback = fallback_, .help = help_, .double_min = min_, .double_max = max_}
#define CLI_CHOICE(Struct, field, letter_, name_, choices_, fallback_, help_)                                \
    {.name = name_, .letter = letter_, .kind = CLI_KIND_CHOICE, .offset = CLI_FIELD(Struct, field, int),     \
     .value = "WORD", .fallback = fallback_, .help = help_, .choices = choices_}
#define CLI_CHOICE_OR_BARE(Struct, field, letter_, name_, choices_, bare_, help_)                            \
    {.name = name_, .letter = letter_, .kind = CLI_KIND_CHOICE, .offset = CLI_FIELD(Struct, field, int),     \
     .value = "WORD", .help = help_, .choices = choices_, .bare = bare_}
#define CLI_TEXTS(Struct, field, letter_, name_, value_, help_)                                              \
    {.name = name_, .letter = letter_, .kind = CLI_KIND_TEXTS, .offset = CLI_FIELD(Struct, field, CliTexts), \
     .value = value_, .help = help_}
#define CLI_TEXT(Struct, field, letter_, name_, value_, fallback_, help_)                                    \
    {.name = name_, .letter = letter_, .kind = CLI_KIND_TEXT, .offset = CLI_FIELD(Struct, field, const char *), \
     .value = value_, .fallback = fallback_, .help = help_}
#define CLI_FILE(Struct, field, letter_, name_, value_, fallback_, help_)                                    \
    {.name = name_, .letter = letter_, .kind = CLI_KIND_FILE, .offset = CLI_FIELD(Struct, field, const char *), \
     .value = value_, .fallback = fallback_, .help = help_}
#define CLI_OUTPUT(Struct, field, letter_, name_, value_, fallback_, help_)                                  \
    {.name = name_, .letter = letter_, .kind = CLI_KIND_FILE, .offset = CLI_FIELD(Struct, field, const char *), \
     .value = value_, .fallback = fallback_, .help = help_, .written = true}

typedef struct CliCommand CliCommand;

/* What a command is run with. */
typedef struct CliArgs {
    const CliCommand *command;
    void *options; /* the command's struct, filled; belongs to the caller of cli_parse() */
    const char *const *operands; /* (operand_count) in order, borrowed from argv */
    int operand_count;
    bool help_wanted; /* --help: nothing else was checked */
    bool usage_error; /* a failure is the command line's fault: exit status 2 */
    uint64_t given;   /* bit i: options[i] was on the command line */
    uint64_t preset;  /* bit i: cli_preset() set it */
    const char **operand_storage;
} CliArgs;

struct CliCommand {
    const char *name, *summary; /* summary: one line without a full stop, for the list of commands */
    const char *operands;       /* how the usage line shows them: "PROMPT..."; NULL: takes none */
    int min_operands, max_operands;
    const char *description; /* paragraphs, one line each ('\n' between); NULL: the summary says it all */
    const char *examples;    /* command lines, one per line; may be NULL */
    const CliOption *options;
    int option_count;
    size_t options_size;
    Status (*plan)(CliArgs *args); /* for "glide plan NAME": tells what run() would cost; NULL: nobody knows */
    bool takes_texts; /* operands are no files */
    bool passes_on; /* every word is an operand, options too: for a command around another one */
    Status (*run)(CliArgs *args); /* prints results to stdout; a failure's message goes to stderr by main() */
};

/* Fill `options` (options_size bytes) with the defaults, then from argv[1..argc-1]; argv[0] is skipped. On failure the
 * message is one line that names the option, what was expected and what was found, and args->usage_error is set. */
Status cli_parse(const CliCommand *command, int argc, char **argv, void *options, CliArgs *args);
void cli_args_release(CliArgs *args);

/* Whether the option (a name of the table) was on the command line, as against having its default. */
bool cli_given(const CliArgs *args, const char *name);
/* Or cli_preset() has set it. */
bool cli_has(const CliArgs *args, const char *name);
/* The command's option of that name; NULL: none. */
const CliOption *cli_option(const CliCommand *command, const char *name);
/* An option's value as if it had been typed (flags: "yes" or "no"). It does not count as given; one that was given stays.
 * `text` is borrowed. STATUS_BAD_INPUT. */
Status cli_preset(CliArgs *args, const char *name, const char *text);
/* The same, but it counts as given, and takes the place of what was. */
Status cli_set(CliArgs *args, const char *name, const char *text);

/* For what a command finds wrong itself (options that exclude one another, a bad operand): exit status 2. */
Status cli_usage_fail(CliArgs *args, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool cli_same_file(const char *a, const char *b); /* two names, or one twice, of a file that exists */
/* What is read would be lost if it were written to: a usage error where `path`, to be written for the option of that name, is
 * another option's file or an operand. */
Status cli_check_overwrite(CliArgs *args, const char *option, const char *path);
/* The same of all options that name a file to be written. */
Status cli_check_overwrites(CliArgs *args);

/* Index of an operand among words (NULL at the end), or cli_usage_fail() that says which there are. */
Status cli_operand_choice(CliArgs *args, int operand, const char *const *choices, int *index);

/* "a whole number from 1 to 1000", "ddpm or ddim", "a file name": what the option takes. Returns `text`. */
const char *cli_describe_value(const CliOption *option, char *text, size_t size);
/* `found` in quotes on one line, cut when it is long. Returns `text`. */
const char *cli_quote(const char *found, char *text, size_t size);

#endif
