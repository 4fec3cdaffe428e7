#include "glide/cmd_grid_axis.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Status take_name(CliArgs *args, GridAxis *a)
{
    static const char *const others[] = {"output", "number", "grid", "from", "trace", "show", "show-steps", "quiet", "threads"};
    char quoted[80];
    if (!strcmp(a->name, "prompt")) return STATUS_OK;
    if (a->word) return cli_usage_fail(args, "--grid: expected NAME=VALUES or prompt:WORD=VALUES, found %s:%s", a->name, a->word);
    if (!cli_option(args->command, a->name))
        return cli_usage_fail(args, "--grid: expected an option of glide %s or \"prompt\" before the equals sign, found %s",
                              args->command->name, cli_quote(a->name, quoted, sizeof quoted));
    for (int i = 0; i < CLI_COUNT(others); i++)
        if (!strcmp(a->name, others[i])) return cli_usage_fail(args, "--grid: --%s does not change a picture", a->name);
    return STATUS_OK;
}

static Status take_values(CliArgs *args, GridAxis *a, char *text)
{
    char divider[2] = {strchr(text, ';') ? ';' : ',', 0};
    for (char *at = text; at; ) {
        char *end = strpbrk(at, divider);
        if (end) *end++ = 0;
        if (a->count == GRID_MOST_VALUES)
            return cli_usage_fail(args, "--grid: %s: expected at most %d values", a->name, GRID_MOST_VALUES);
        if (!*at) return cli_usage_fail(args, "--grid: %s: a value is empty", a->name);
        for (int i = 0; i < a->count; i++)
            if (!strcmp(a->values[i], at)) return cli_usage_fail(args, "--grid: %s: %.40s is there twice", a->name, at);
        a->values[a->count++] = at;
        at = end;
    }
    return STATUS_OK;
}

Status grid_axis_parse(CliArgs *args, const char *text, GridAxis *out)
{
    char quoted[80];
    *out = (GridAxis){.text = strdup(text)};
    if (!out->text) return status_fail(STATUS_NO_MEMORY, "out of memory");
    char *equals = strchr(out->text, '=');
    if (!equals || equals == out->text || !equals[1])
        return cli_usage_fail(args, "--grid: expected NAME=VALUE,VALUE,..., found %s", cli_quote(text, quoted, sizeof quoted));
    *equals = 0;
    char *colon = strchr(out->text, ':');
    if (colon) *colon = 0;
    out->name = out->text;
    out->word = colon ? colon + 1 : NULL;
    if (out->word && !*out->word) return cli_usage_fail(args, "--grid: expected a word of the prompt after %s:", out->name);
    TRY(take_name(args, out));
    return take_values(args, out, equals + 1);
}

void grid_axis_release(GridAxis *axis)
{
    free(axis->text);
    *axis = (GridAxis){0};
}

/* --- prompts ------------------------------------------------------------------------------------------ */

static bool inside_word(char c)
{
    return isascii((unsigned char)c) && (isalnum((unsigned char)c) || c == '_'); /* Korean particles follow without a space */
}

/* Where `word` next stands alone. */
static const char *find_word(const char *start, const char *from, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = from; (at = strstr(at, word)) != NULL; at++)
        if ((at == start || !inside_word(at[-1]) || !inside_word(*at)) &&
            (!inside_word(at[n]) || !inside_word(at[n - 1])))
            return at;
    return NULL;
}

Status grid_axis_prompt(CliArgs *args, const GridAxis *axis, int index, const char *prompt, char **out)
{
    size_t size;
    const char *at, *from = prompt;
    *out = NULL;
    if (axis->word && !find_word(prompt, prompt, axis->word))
        return cli_usage_fail(args, "--grid: prompt:%s: there is no such word in the prompt", axis->word);
    FILE *text = open_memstream(out, &size);
    if (!text) return status_fail(STATUS_NO_MEMORY, "out of memory for a prompt");
    while (axis->word && (at = find_word(prompt, from, axis->word)) != NULL) {
        fprintf(text, "%.*s%s", (int)(at - from), from, axis->values[index]);
        from = at + strlen(axis->word);
    }
    fputs(axis->word ? from : axis->values[index], text);
    return fclose(text) == 0 ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a prompt");
}
