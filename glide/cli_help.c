#include "glide/cli_help.h"

#include <string.h>

enum { WIDTH = 80, INDENT = 30 };

/* Words of `text` from column `column` on, broken before WIDTH; further lines start at `indent`. */
static void print_wrapped(FILE *out, const char *text, int column, int indent)
{
    bool first = true;
    while (*text) {
        int n = (int)strcspn(text, " \n");
        if (!first && column + 1 + n > WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
            first = true;
        }
        fprintf(out, "%s%.*s", first ? "" : " ", n, text);
        column += n + !first;
        first = false;
        text += n;
        if (*text == '\n') {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
            first = true;
        }
        if (*text) text++;
    }
    fputc('\n', out);
}

const char *cli_describe_limits(const CliOption *o, char *text, size_t size)
{
    char value[256] = "";
    if (o->kind == CLI_KIND_INT || o->kind == CLI_KIND_DOUBLE) {
        cli_describe_value(o, value, sizeof value);
        const char *range = strstr(value, "number") + strlen("number");
        if (*range) range += strncmp(range, " of ", 4) ? strlen(" from ") : strlen(" of ");
        memmove(value, range, strlen(range) + 1);
    } else if (o->kind == CLI_KIND_CHOICE) {
        cli_describe_value(o, value, sizeof value);
    }
    if (*value && o->fallback) snprintf(text, size, "(%s; default %s)", value, o->fallback);
    else if (o->fallback) snprintf(text, size, "(default %s)", o->fallback);
    else if (*value) snprintf(text, size, "(%s)", value);
    else *text = 0;
    return text;
}

static void print_option(FILE *out, const CliOption *o)
{
    char limits[320], help[1024];
    int n = o->letter ? fprintf(out, "  -%c, --%s", o->letter, o->name) : fprintf(out, "      --%s", o->name);
    if (o->kind != CLI_KIND_FLAG) n += fprintf(out, o->bare ? "[=%s]" : " %s", o->value);
    if (n > INDENT - 2) {
        fputc('\n', out);
        n = 0;
    }
    fprintf(out, "%*s", INDENT - n, "");
    cli_describe_limits(o, limits, sizeof limits);
    snprintf(help, sizeof help, "%s%s%s", o->help, *limits ? " " : "", limits);
    print_wrapped(out, help, INDENT, INDENT);
}

void cli_print_help(FILE *out, const CliCommand *command)
{
    fprintf(out, "usage: glide %s%s%s%s\n\n", command->name, command->option_count ? " [OPTION...]" : "",
            command->operands ? " " : "", command->operands ? command->operands : "");
    print_wrapped(out, command->description ? command->description : command->summary, 0, 0);
    fputs("\nOptions:\n", out);
    for (int i = 0; i < command->option_count; i++) print_option(out, &command->options[i]);
    print_option(out, &(CliOption){.name = "help", .letter = 'h', .kind = CLI_KIND_FLAG, .help = "show this help"});
    if (!command->examples) return;
    fputs("\nExamples:\n", out);
    for (const char *line = command->examples; *line;) {
        int n = (int)strcspn(line, "\n");
        fprintf(out, "  %.*s\n", n, line);
        line += n + (line[n] == '\n');
    }
}

void cli_print_overview(FILE *out, const CliCommand *const *commands, int count)
{
    fputs("usage: glide COMMAND [OPTION...] [OPERAND...]\n"
          "       glide --version\n\n"
          "Text to image by two diffusion models: a prompt becomes 64x64, then 256x256.\n\n"
          "Commands:\n", out);
    for (int i = 0; i < count; i++) {
        int n = fprintf(out, "  %s", commands[i]->name);
        fprintf(out, "%*s", n < 14 ? 14 - n : 1, "");
        print_wrapped(out, commands[i]->summary, 14, 14);
    }
    fputs("\n\"glide help COMMAND\" explains one. Exit status: 0 done, 1 failed, 2 wrong usage\n"
          "or input, or a file that cannot be read or written, 128 + N stopped by signal N.\n", out);
}
