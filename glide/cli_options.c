#include "glide/cli_options.h"

#include "glide/cli_suggest.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LONG_BASE  256 /* getopt_long's value for options[i]; letters are below */
#define HELP_VALUE 'h'

/* --- words for messages --- */
const char *cli_quote(const char *found, char *text, size_t size)
{
    size_t n = 0, limit = size - 6; /* room for quotes, dots and the end */
    text[n++] = '"';
    const char *p = found;
    for (; *p && n < limit; p++) text[n++] = (unsigned char)*p < 32 || *p == 127 ? '?' : *p;
    if (*p) { /* cut: not in the middle of a UTF-8 character */
        while (n > 1 && ((unsigned char)*p & 0xc0) == 0x80) p--, n--;
        memcpy(text + n, "...", 3);
        n += 3;
    }
    text[n++] = '"';
    text[n] = 0;
    return text;
}

static const char *list_choices(const char *const *choices, char *text, size_t size)
{
    size_t n = 0;
    text[0] = 0;
    for (int i = 0; choices[i] && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%s", i == 0 ? "" : choices[i + 1] ? ", " : " or ", choices[i]);
    return text;
}

static const char *describe_range(const char *what, bool has_min, bool has_max, const char *min, const char *max,
                                  char *text, size_t size)
{
    if (has_min && has_max) snprintf(text, size, "%s from %s to %s", what, min, max);
    else if (has_min) snprintf(text, size, "%s of at least %s", what, min);
    else if (has_max) snprintf(text, size, "%s of at most %s", what, max);
    else snprintf(text, size, "%s", what);
    return text;
}

const char *cli_describe_value(const CliOption *o, char *text, size_t size)
{
    char min[32], max[32];
    switch (o->kind) {
    case CLI_KIND_INT:
        snprintf(min, sizeof min, "%lld", (long long)o->int_min);
        snprintf(max, sizeof max, "%lld", (long long)o->int_max);
        return describe_range("a whole number", o->int_min != INT64_MIN, o->int_max != INT64_MAX, min, max, text, size);
    case CLI_KIND_DOUBLE:
        snprintf(min, sizeof min, "%.15g", o->double_min);
        snprintf(max, sizeof max, "%.15g", o->double_max);
        return describe_range("a number", isfinite(o->double_min), isfinite(o->double_max), min, max, text, size);
    case CLI_KIND_CHOICE: return list_choices(o->choices, text, size);
    case CLI_KIND_FILE: snprintf(text, size, "a file name"); return text;
    case CLI_KIND_TEXTS:
    case CLI_KIND_TEXT: snprintf(text, size, "a text"); return text;
    default: snprintf(text, size, "no value"); return text;
    }
}

static Status value_fail(const CliOption *o, const char *found)
{
    char expected[256], quoted[80];
    const char *near = NULL;
    cli_describe_value(o, expected, sizeof expected);
    if (!found) return status_fail(STATUS_BAD_INPUT, "--%s: expected %s after it, found nothing", o->name, expected);
    if (o->kind == CLI_KIND_CHOICE) {
        int count = 0;
        while (o->choices[count]) count++;
        near = cli_nearest(found, o->choices, count);
    }
    return status_fail(STATUS_BAD_INPUT, "--%s: expected %s, found %s%s%s%s", o->name, expected,
                       cli_quote(found, quoted, sizeof quoted), near ? "; did you mean " : "", near ? near : "",
                       near ? "?" : "");
}

/* --- values --- */
static bool is_number_start(const char *text) /* strtoll and strtod would skip white space */
{
    return *text && strchr("+-.0123456789", *text);
}

static Status store_int(const CliOption *o, const char *text, int64_t *field)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (!is_number_start(text) || *end || errno || value < o->int_min || value > o->int_max) return value_fail(o, text);
    *field = value;
    return STATUS_OK;
}

static Status store_double(const CliOption *o, const char *text, double *field)
{
    char *end;
    double value = strtod(text, &end);
    if (!is_number_start(text) || *end || !isfinite(value) || value < o->double_min || value > o->double_max ||
        strpbrk(text, "xX"))
        return value_fail(o, text);
    *field = value;
    return STATUS_OK;
}

static Status store_choice(const CliOption *o, const char *text, int *field)
{
    for (int i = 0; o->choices[i]; i++)
        if (!strcmp(o->choices[i], text)) {
            *field = i;
            return STATUS_OK;
        }
    return value_fail(o, text);
}

static Status store_next(const CliOption *o, const char *text, CliTexts *field)
{
    if (field->count == CLI_MOST_TEXTS)
        return status_fail(STATUS_BAD_INPUT, "--%s: expected at most %d of them", o->name, CLI_MOST_TEXTS);
    field->items[field->count++] = text;
    return STATUS_OK;
}

static Status store(const CliOption *o, const char *text, void *options)
{
    void *field = (char *)options + o->offset;
    if (!text && o->bare) text = o->bare;
    switch (o->kind) {
    case CLI_KIND_FLAG: *(bool *)field = true; return STATUS_OK;
    case CLI_KIND_INT: return store_int(o, text, field);
    case CLI_KIND_DOUBLE: return store_double(o, text, field);
    case CLI_KIND_CHOICE: return store_choice(o, text, field);
    case CLI_KIND_TEXTS: return store_next(o, text, field);
    case CLI_KIND_FILE:
        if (!*text) return value_fail(o, text);
        break;
    default: break;
    }
    *(const char **)field = text;
    return STATUS_OK;
}

/* --- options --- */
typedef struct Parser {
    const CliCommand *command;
    struct option longs[CLI_MAX_OPTIONS + 2];
    char letters[3 * CLI_MAX_OPTIONS + 8];
} Parser;

static void parser_init(Parser *p, const CliCommand *command)
{
    assert(command->option_count <= CLI_MAX_OPTIONS);
    *p = (Parser){.command = command};
    size_t n = 0;
    p->letters[n++] = '-'; /* operands come in order, whatever POSIXLY_CORRECT says */
    p->letters[n++] = ':'; /* a missing value is told apart from an unknown option */
    for (int i = 0; i < command->option_count; i++) {
        const CliOption *o = &command->options[i];
        p->longs[i] = (struct option){.name = o->name,
                                      .has_arg = o->kind == CLI_KIND_FLAG ? 0
                                                 : o->bare                ? 2
                                                                          : 1,
                                      .val = LONG_BASE + i};
        if (!o->letter) continue;
        assert(o->letter != HELP_VALUE && !strchr(p->letters, o->letter));
        p->letters[n++] = o->letter;
        if (o->kind != CLI_KIND_FLAG) p->letters[n++] = ':';
        if (o->bare) p->letters[n++] = ':';
    }
    p->letters[n] = HELP_VALUE;
    p->longs[command->option_count] = (struct option){.name = "help", .val = HELP_VALUE};
}

static int option_index(const Parser *p, int value) /* -1: none */
{
    if (value >= LONG_BASE) return value - LONG_BASE;
    for (int i = 0; i < p->command->option_count; i++)
        if (value && p->command->options[i].letter == value) return i;
    return -1;
}

/* `word` as typed: "--name" or "--name=value" */
static Status unknown_option(const Parser *p, const char *word)
{
    char name[64], similar[256] = "";
    const char *names[CLI_MAX_OPTIONS + 1];
    int count = 0, begin_with = 0;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    for (; p->longs[count].name; count++) {
        names[count] = p->longs[count].name;
        if (strncmp(names[count], name, strlen(name)) != 0) continue;
        size_t n = strlen(similar);
        snprintf(similar + n, sizeof similar - n, "%s--%s", begin_with++ ? ", " : "", names[count]);
    }
    const char *near = cli_nearest(name, names, count);
    for (char *c = name; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = '?';
    if (begin_with > 1) return status_fail(STATUS_BAD_INPUT, "--%s: can mean %s", name, similar);
    if (near) return status_fail(STATUS_BAD_INPUT, "--%s: no such option; did you mean --%s?", name, near);
    return status_fail(STATUS_BAD_INPUT, "--%s: no such option; see \"glide help %s\"", name, p->command->name);
}

/* getopt_long returned '?'. */
static Status refused_option(const Parser *p, char **argv)
{
    char quoted[80];
    int index = option_index(p, optopt);
    const char *word = argv[optind - 1];
    if (optopt == 0) return unknown_option(p, word);
    if (index >= 0 || optopt == HELP_VALUE)
        return status_fail(STATUS_BAD_INPUT, "--%s: expected no value, found %s",
                           index >= 0 ? p->command->options[index].name : "help",
                           cli_quote(strchr(word, '=') ? strchr(word, '=') + 1 : "", quoted, sizeof quoted));
    if (optopt > 32 && optopt < 127)
        return status_fail(STATUS_BAD_INPUT, "-%c: no such option; see \"glide help %s\"", optopt, p->command->name);
    const char *next = argv[optind]; /* still the same word when more letters follow, as bytes of a UTF-8 character do */
    if (next && next[0] == '-' && strchr(next, (char)optopt)) word = next;
    return status_fail(STATUS_BAD_INPUT, "%s: no such option; see \"glide help %s\"",
                       cli_quote(word, quoted, sizeof quoted), p->command->name);
}

static Status parse_options(Parser *p, int argc, char **argv, CliArgs *args)
{
    optind = 0; /* glibc: start over, with the settings of this call */
    opterr = 0;
    for (int value; (value = getopt_long(argc, argv, p->letters, p->longs, NULL)) != -1;) {
        if (value == HELP_VALUE) {
            args->help_wanted = true;
            return STATUS_OK;
        }
        if (value == 1) { /* an operand */
            args->operand_storage[args->operand_count++] = optarg;
            continue;
        }
        if (value == '?') return refused_option(p, argv);
        int i = option_index(p, value == ':' ? optopt : value);
        assert(i >= 0);
        const CliOption *o = &p->command->options[i];
        if (value == ':') return value_fail(o, NULL);
        TRY(store(o, optarg, args->options));
        args->given |= UINT64_C(1) << i;
    }
    while (optind < argc) args->operand_storage[args->operand_count++] = argv[optind++]; /* after "--" */
    return STATUS_OK;
}

static Status check_operands(const CliArgs *args)
{
    const CliCommand *command = args->command;
    char quoted[80];
    if (args->operand_count < command->min_operands)
        return status_fail(STATUS_BAD_INPUT, "expected %s, found %s; see \"glide help %s\"", command->operands,
                           args->operand_count == 0 ? "nothing" : "too little", command->name);
    if (command->max_operands != CLI_ANY && args->operand_count > command->max_operands)
        return status_fail(STATUS_BAD_INPUT, "expected %s, found also %s",
                           command->operands ? command->operands : "options only",
                           cli_quote(args->operands[command->max_operands], quoted, sizeof quoted));
    return STATUS_OK;
}

Status cli_parse(const CliCommand *command, int argc, char **argv, void *options, CliArgs *args)
{
    *args = (CliArgs){.command = command, .options = options};
    memset(options, 0, command->options_size);
    args->operand_storage = calloc((size_t)argc + 1, sizeof *args->operand_storage);
    args->operands = args->operand_storage;
    if (!args->operand_storage) return status_fail(STATUS_NO_MEMORY, "out of memory");
    for (int i = 0; i < command->option_count; i++)
        if (command->options[i].fallback) TRY(store(&command->options[i], command->options[i].fallback, options));
    Parser parser;
    parser_init(&parser, command);
    bool all = command->passes_on && argc > 1 && argv[1][0] != '-';
    for (int i = 1; i < argc && all; i++) args->operand_storage[args->operand_count++] = argv[i];
    Status status = all ? STATUS_OK : parse_options(&parser, argc, argv, args);
    if (status == STATUS_OK && !args->help_wanted) status = check_operands(args);
    args->usage_error = status != STATUS_OK;
    return status;
}

void cli_args_release(CliArgs *args)
{
    free(args->operand_storage);
    *args = (CliArgs){0};
}

const CliOption *cli_option(const CliCommand *command, const char *name)
{
    for (int i = 0; i < command->option_count; i++)
        if (!strcmp(command->options[i].name, name)) return &command->options[i];
    return NULL;
}

/* The bit of an option that is there. */
static uint64_t bit_of(const CliArgs *args, const char *name)
{
    const CliOption *o = cli_option(args->command, name);
    assert(o && "no such option in the table");
    return UINT64_C(1) << (o - args->command->options);
}

bool cli_given(const CliArgs *args, const char *name)
{
    return args->given & bit_of(args, name);
}

bool cli_has(const CliArgs *args, const char *name)
{
    return (args->given | args->preset) & bit_of(args, name);
}

static Status store_typed(CliArgs *args, const char *name, const char *text)
{
    const CliOption *o = cli_option(args->command, name);
    if (o->kind != CLI_KIND_FLAG) return store(o, text, args->options);
    bool yes = !strcmp(text, "yes");
    if (!yes && strcmp(text, "no")) {
        char quoted[80];
        return status_fail(STATUS_BAD_INPUT, "--%s: expected yes or no, found %s", name, cli_quote(text, quoted, sizeof quoted));
    }
    *(bool *)((char *)args->options + o->offset) = yes;
    return STATUS_OK;
}

Status cli_preset(CliArgs *args, const char *name, const char *text)
{
    if (cli_given(args, name)) return STATUS_OK;
    args->preset |= bit_of(args, name);
    return store_typed(args, name, text);
}

Status cli_set(CliArgs *args, const char *name, const char *text)
{
    args->given |= bit_of(args, name);
    return store_typed(args, name, text);
}

/* --- for commands --- */
Status cli_usage_fail(CliArgs *args, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    args->usage_error = true;
    return status_fail(STATUS_BAD_INPUT, "%s", text);
}

bool cli_same_file(const char *a, const char *b)
{
    struct stat of_a, of_b;
    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && S_ISREG(of_a.st_mode) && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

Status cli_check_overwrite(CliArgs *args, const char *option, const char *path)
{
    const CliCommand *command = args->command;
    for (int i = 0; i < command->option_count; i++) {
        const CliOption *o = &command->options[i];
        if (o->kind != CLI_KIND_FILE || !strcmp(o->name, option)) continue;
        const char *other = *(const char **)((char *)args->options + o->offset);
        if (!other || !strcmp(other, "-") || !(cli_same_file(path, other) || !strcmp(path, other))) continue;
        return cli_usage_fail(args, "--%s: %s is the file of --%s, too; expected another name", option, path, o->name);
    }
    for (int i = 0; !command->takes_texts && i < args->operand_count; i++)
        if (cli_same_file(path, args->operands[i]))
            return cli_usage_fail(args, "--%s: %s is read, too, and would be lost; expected another name", option, path);
    return STATUS_OK;
}

Status cli_check_overwrites(CliArgs *args)
{
    for (int i = 0; i < args->command->option_count; i++) {
        const CliOption *o = &args->command->options[i];
        const char *path = o->written ? *(const char **)((char *)args->options + o->offset) : NULL;
        if (path) TRY(cli_check_overwrite(args, o->name, path));
    }
    return STATUS_OK;
}

Status cli_operand_choice(CliArgs *args, int operand, const char *const *choices, int *index)
{
    char expected[256], quoted[80];
    int count = 0;
    for (; choices[count]; count++) {
        if (operand >= args->operand_count || strcmp(choices[count], args->operands[operand])) continue;
        *index = count;
        return STATUS_OK;
    }
    list_choices(choices, expected, sizeof expected);
    if (operand >= args->operand_count) return cli_usage_fail(args, "expected %s, found nothing", expected);
    const char *found = args->operands[operand], *near = cli_nearest(found, choices, count);
    return cli_usage_fail(args, "expected %s, found %s%s%s%s", expected, cli_quote(found, quoted, sizeof quoted),
                          near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}
