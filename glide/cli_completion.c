#include "glide/cli_completion.h"

#include <string.h>

const char *const cli_shells[] = {"bash", "zsh", "fish", NULL};

static bool takes_command(const CliCommand *c)
{
    return c->passes_on || !strcmp(c->name, "help");
}

static void print_names(FILE *out, const CliCommand *const *commands, int count)
{
    for (int i = 0; i < count; i++) fprintf(out, "%s%s", i ? " " : "", commands[i]->name);
}

static void print_choices(FILE *out, const CliOption *o)
{
    for (int i = 0; o->choices[i]; i++) fprintf(out, "%s%s", i ? " " : "", o->choices[i]);
}

/* --- bash ----------------------------------------------------------------------------------------------- */

/* "sample --sampler"|"sample -x": after the option, words of its own; texts and numbers have none. */
static void print_bash_values(FILE *out, const CliCommand *c)
{
    for (int i = 0; i < c->option_count; i++) {
        const CliOption *o = &c->options[i];
        if (o->kind == CLI_KIND_FLAG || o->bare) continue;
        fprintf(out, "    \"%s --%s\"", c->name, o->name);
        if (o->letter) fprintf(out, "|\"%s -%c\"", c->name, o->letter);
        if (o->kind == CLI_KIND_CHOICE) {
            fputs(") COMPREPLY=($(compgen -W \"", out);
            print_choices(out, o);
            fputs("\" -- \"$cur\")); return ;;\n", out);
        } else {
            fprintf(out, ") %s; return ;;\n", o->kind == CLI_KIND_FILE ? "COMPREPLY=($(compgen -f -- \"$cur\"))" : "COMPREPLY=()");
        }
    }
}

static void print_bash_options(FILE *out, const CliCommand *c)
{
    fprintf(out, "    %s) words=\"", c->name);
    for (int i = 0; i < c->option_count; i++) fprintf(out, "--%s ", c->options[i].name);
    fputs("--help\" ;;\n", out);
}

static void print_bash(FILE *out, const CliCommand *const *commands, int count)
{
    fputs("# bash completion of glide\n_glide() {\n"
          "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= words= i commands=\"", out);
    print_names(out, commands, count);
    fputs("\"\n"
          "  if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
          "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "    case ${COMP_WORDS[i]} in -*) ;; plan|help) command=${COMP_WORDS[i]} ;; *) command=${COMP_WORDS[i]}; break ;; esac\n"
          "  done\n"
          "  case \"$command $prev\" in\n", out);
    for (int i = 0; i < count; i++) print_bash_values(out, commands[i]);
    fputs("  esac\n  case $command in\n    '') words=\"$commands --help --version\" ;;\n", out);
    for (int i = 0; i < count; i++)
        if (takes_command(commands[i])) fprintf(out, "    %s) words=\"$commands --help\" ;;\n", commands[i]->name);
        else print_bash_options(out, commands[i]);
    fputs("  esac\n"
          "  if [[ $cur == -* || -z $command || $command == plan || $command == help ]]; then\n"
          "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
          "  else\n"
          "    COMPREPLY=($(compgen -f -- \"$cur\"))\n"
          "  fi\n"
          "}\n"
          "complete -o filenames -F _glide glide\n", out);
}

/* --- zsh ------------------------------------------------------------------------------------------------ */

/* In single quotes; brackets and colons mean something to _arguments. */
static void print_quoted(FILE *out, const char *text, bool specification)
{
    for (; *text; text++) {
        if (*text == '\'') fputs("'\\'", out);
        else if (specification && strchr("[]:\\", *text)) putc('\\', out);
        putc(*text == '\n' ? ' ' : *text, out);
    }
}

static void print_zsh_option(FILE *out, const CliOption *o)
{
    bool value = o->kind != CLI_KIND_FLAG;
    if (o->letter) fprintf(out, "        '(-%c --%s)'{-%c%s,--%s%s}'", o->letter, o->name, o->letter, value ? "+" : "", o->name,
                           value ? "=" : "");
    else fprintf(out, "        '--%s%s", o->name, !value ? "" : o->bare ? "=-" : "=");
    putc('[', out);
    print_quoted(out, o->help, true);
    putc(']', out);
    if (value) {
        fprintf(out, "%s%s:", o->bare ? "::" : ":", o->value);
        if (o->kind == CLI_KIND_CHOICE) putc('(', out), print_choices(out, o), putc(')', out);
        if (o->kind == CLI_KIND_FILE) fputs("_files", out);
    }
    fputs("' \\\n", out);
}

static void print_zsh(FILE *out, const CliCommand *const *commands, int count)
{
    fputs("#compdef glide\n_glide() {\n  local -a commands\n  commands=(\n", out);
    for (int i = 0; i < count; i++) {
        fprintf(out, "    '%s:", commands[i]->name);
        print_quoted(out, commands[i]->summary, false);
        fputs("'\n", out);
    }
    fputs("  )\n"
          "  if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
          "  shift words; (( CURRENT-- ))\n"
          "  if [[ $words[1] == (plan|help) ]]; then\n"
          "    if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
          "    shift words; (( CURRENT-- ))\n"
          "  fi\n"
          "  case $words[1] in\n", out);
    for (int i = 0; i < count; i++) {
        if (takes_command(commands[i])) continue;
        fprintf(out, "    %s)\n      _arguments -s -S \\\n", commands[i]->name);
        for (int k = 0; k < commands[i]->option_count; k++) print_zsh_option(out, &commands[i]->options[k]);
        fputs("        '(-h --help)'{-h,--help}'[show this help]' \\\n        '*:file:_files' ;;\n", out);
    }
    fputs("  esac\n}\n_glide \"$@\"\n", out);
}

/* --- fish ----------------------------------------------------------------------------------------------- */

static void print_fish_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\') putc('\\', out);
        putc(*text, out);
    }
}

static void print_fish_option(FILE *out, const CliCommand *c, const CliOption *o)
{
    fprintf(out, "complete -c glide -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
    if (o->letter) fprintf(out, " -s %c", o->letter);
    if (o->kind == CLI_KIND_CHOICE) fputs(o->bare ? " -f -a '" : " -x -a '", out), print_choices(out, o), putc('\'', out);
    else if (o->kind == CLI_KIND_FILE) fputs(" -r -F", out);
    else if (o->kind != CLI_KIND_FLAG) fputs(" -x", out);
    fputs(" -d '", out);
    print_fish_text(out, o->help);
    fputs("'\n", out);
}

static void print_fish(FILE *out, const CliCommand *const *commands, int count)
{
    for (int i = 0; i < count; i++) {
        fprintf(out, "complete -c glide -n __fish_use_subcommand -f -a %s -d '", commands[i]->name);
        print_fish_text(out, commands[i]->summary);
        fputs("'\n", out);
        for (int k = 0; k < commands[i]->option_count; k++) print_fish_option(out, commands[i], &commands[i]->options[k]);
        if (!takes_command(commands[i])) continue;
        fprintf(out, "complete -c glide -n '__fish_seen_subcommand_from %s' -f -a '", commands[i]->name);
        print_names(out, commands, count);
        fputs("'\n", out);
    }
}

void cli_print_completion(FILE *out, int shell, const CliCommand *const *commands, int count)
{
    static void (*const printers[])(FILE *, const CliCommand *const *, int) = {print_bash, print_zsh, print_fish};
    printers[shell](out, commands, count);
}
