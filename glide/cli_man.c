#include "glide/cli_man.h"

#include "glide/cli_help.h"
#include "glide/version.h"

#include <ctype.h>
#include <string.h>

/* Backslashes, dashes that stay dashes, and lines that begin like requests. */
static void print_escaped(FILE *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool begins = i == 0 || text[i - 1] == '\n';
        if (begins && (text[i] == '.' || text[i] == '\'')) fputs("\\&", out);
        if (text[i] == '\\') fputs("\\e", out);
        else if (text[i] == '-') fputs("\\-", out);
        else if (text[i] == '\n' && text[i + 1] == '\n') fputs("\n.PP\n", out), i++;
        else putc(text[i], out);
    }
}

static void print_text(FILE *out, const char *text)
{
    print_escaped(out, text, strlen(text));
}

static void print_header(FILE *out, const char *title, const char *summary)
{
    fputs(".TH \"", out);
    for (const char *c = title; *c; c++) putc(toupper((unsigned char)*c), out);
    fprintf(out, "\" 1 \"\" \"glide %s\" \"User Commands\"\n.SH NAME\n", GLIDE_VERSION);
    print_text(out, title);
    fputs(" \\- ", out);
    print_text(out, summary);
    putc('\n', out);
}

static void print_option(FILE *out, const CliOption *o)
{
    char limits[320];
    fputs(".TP\n\\fB", out);
    if (o->letter) fprintf(out, "\\-%c\\fR, \\fB", o->letter);
    fputs("\\-\\-", out);
    print_text(out, o->name);
    fputs("\\fR", out);
    if (o->kind != CLI_KIND_FLAG) {
        fputs(o->bare ? "[=\\fI" : " \\fI", out);
        print_text(out, o->value);
        fputs(o->bare ? "\\fR]" : "\\fR", out);
    }
    putc('\n', out);
    print_text(out, o->help);
    cli_describe_limits(o, limits, sizeof limits);
    if (*limits) putc(' ', out);
    print_text(out, limits);
    putc('\n', out);
}

static void print_examples(FILE *out, const char *examples)
{
    fputs(".SH EXAMPLES\n.nf\n", out);
    print_text(out, examples);
    fputs("\n.fi\n", out);
}

static void print_exit_status(FILE *out)
{
    fputs(".SH \"EXIT STATUS\"\n0 done, 1 failed, 2 wrong usage or input, a file that cannot be read or written, or more memory "
            "needed than "
          "there is, 128 + N stopped by signal N.\n", out);
}

void cli_print_man(FILE *out, const CliCommand *command)
{
    char title[64];
    snprintf(title, sizeof title, "glide-%s", command->name);
    print_header(out, title, command->summary);
    fputs(".SH SYNOPSIS\n\\fBglide ", out);
    print_text(out, command->name);
    fputs("\\fR", out);
    if (command->option_count) fputs(" [\\fIOPTION\\fR...]", out);
    if (command->operands) putc(' ', out), print_text(out, command->operands);
    fputs("\n.SH DESCRIPTION\n", out);
    print_text(out, command->description ? command->description : command->summary);
    if (!command->description) putc('.', out);
    fputs("\n.SH OPTIONS\n", out);
    for (int i = 0; i < command->option_count; i++) print_option(out, &command->options[i]);
    print_option(out, &(CliOption){.name = "help", .letter = 'h', .kind = CLI_KIND_FLAG, .help = "show this help"});
    if (command->examples) print_examples(out, command->examples);
    print_exit_status(out);
    fputs(".SH \"SEE ALSO\"\n.BR glide (1)\n", out);
}

void cli_print_man_overview(FILE *out, const CliCommand *const *commands, int count)
{
    print_header(out, "glide", "text to pictures by two diffusion models");
    fputs(".SH SYNOPSIS\n\\fBglide\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...] [\\fIOPERAND\\fR...]\n.br\n\\fBglide \\-\\-version\\fR\n"
          ".SH DESCRIPTION\nA prompt becomes a picture of 64x64 pixels by one model and of 256x256 by a second one.\n.SH "
          "COMMANDS\n", out);
    for (int i = 0; i < count; i++) {
        fprintf(out, ".TP\n\\fBglide\\-%s\\fR(1)\n", commands[i]->name);
        print_text(out, commands[i]->summary);
        putc('\n', out);
    }
    fputs(".SH ENVIRONMENT\n.TP\n\\fBGLIDE_WEIGHTS\\fR\nfolder of the default weights\n.TP\n\\fBOMP_NUM_THREADS\\fR\nthreads, "
            "where "
          "\\-\\-threads does not say\n.SH FILES\nThe folder ../share/glide beside the program's own holds the default "
          "weights.\n", out);
    print_exit_status(out);
    fputs(".SH \"SEE ALSO\"\n", out);
    for (int i = 0; i < count; i++) fprintf(out, ".BR glide\\-%s (1)%s\n", commands[i]->name, i + 1 < count ? "," : "");
}
