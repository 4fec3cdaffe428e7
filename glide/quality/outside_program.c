#include "glide/quality/outside_program.h"

#include "common/image_read.h"
#include "common/png_write.h"
#include "common/text_buffer.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATH_ROOM = 96, LAST_LINE = 200, PATIENCE_SECONDS = 2 /* with a program that was asked to end */ };
static const char *const files[] = {"in.png", "out.png", "printed.txt"};

/* --- the command line ------------------------------------------------------------------------------------ */

static Status add_word(OutsideProgram *p, const TextBuffer *word)
{
    char **grown = realloc(p->words, ((size_t)p->count + 2) * sizeof *grown);
    if (!grown || word->failed) {
        p->words = grown ? grown : p->words;
        return status_fail(STATUS_NO_MEMORY, "out of memory for a command");
    }
    p->words = grown;
    p->words[p->count] = strdup(word->data ? word->data : "");
    if (!p->words[p->count]) return status_fail(STATUS_NO_MEMORY, "out of memory for a command");
    p->words[++p->count] = NULL;
    return STATUS_OK;
}

/* The word at *at, which ends behind it. */
static Status read_word(const char **at, TextBuffer *word)
{
    char quote = 0;
    const char *s = *at;
    for (; *s && (quote || !isspace((unsigned char)*s)); s++) {
        if (*s == quote) quote = 0;
        else if (!quote && (*s == '"' || *s == '\'')) quote = *s;
        else text_buffer_add_bytes(word, *s == '\\' && quote != '\'' && s[1] ? ++s : s, 1);
    }
    *at = s;
    return quote ? status_fail(STATUS_BAD_INPUT, "a quotation mark (%c) is not closed", quote) : STATUS_OK;
}

static Status split(OutsideProgram *p, const char *command)
{
    for (const char *at = command;;) {
        TextBuffer word = {0};
        while (isspace((unsigned char)*at)) at++;
        if (!*at) return STATUS_OK;
        Status s = read_word(&at, &word);
        if (s == STATUS_OK) s = add_word(p, &word);
        text_buffer_release(&word);
        TRY(s);
    }
}

static bool has(const OutsideProgram *p, const char *what)
{
    for (int i = 0; i < p->count; i++)
        if (strstr(p->words[i], what)) return true;
    return false;
}

static Status check(const OutsideProgram *p)
{
    if (p->count == 0) return status_fail(STATUS_BAD_INPUT, "expected a command, found nothing");
    if (!has(p, "{in}")) return status_fail(STATUS_BAD_INPUT, "expected {in} in the command, where the picture's file goes");
    if (!has(p, "{out}")) return status_fail(STATUS_BAD_INPUT, "expected {out} in the command, where the result's file goes");
    return STATUS_OK;
}

static Status make_folder(OutsideProgram *p)
{
    const char *tmp = getenv("TMPDIR");
    int n = snprintf(p->folder, sizeof p->folder, "%s/glide-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (n >= (int)sizeof p->folder) snprintf(p->folder, sizeof p->folder, "/tmp/glide-XXXXXX");
    if (mkdtemp(p->folder)) return STATUS_OK;
    Status s = status_fail(STATUS_IO, "%s: no folder for the outside program's files: %s", p->folder, strerror(errno));
    *p->folder = 0;
    return s;
}

Status outside_program_init(OutsideProgram *p, const char *command)
{
    *p = (OutsideProgram){0};
    Status s = split(p, command);
    if (s == STATUS_OK) s = check(p);
    if (s == STATUS_OK) s = make_folder(p);
    if (s != STATUS_OK) outside_program_release(p);
    return s;
}

static const char *file_path(const OutsideProgram *p, int file, char path[PATH_ROOM])
{
    snprintf(path, PATH_ROOM, "%s/%s", p->folder, files[file]);
    return path;
}

void outside_program_release(OutsideProgram *p)
{
    char path[PATH_ROOM];
    for (int i = 0; i < 3 && *p->folder; i++) unlink(file_path(p, i, path));
    if (*p->folder) rmdir(p->folder);
    for (int i = 0; i < p->count; i++) free(p->words[i]);
    free(p->words);
    *p = (OutsideProgram){0};
}

/* --- a run ----------------------------------------------------------------------------------------------- */

/* `word` with files and scale put in. */
static void fill_in(const OutsideProgram *p, const char *word, int scale, TextBuffer *out)
{
    static const char *const names[] = {"{in}", "{out}"};
    char path[PATH_ROOM];
    while (*word) {
        int file = !strncmp(word, names[0], strlen(names[0])) ? 0 : !strncmp(word, names[1], strlen(names[1])) ? 1 : -1;
        if (file >= 0) text_buffer_add(out, "%s", file_path(p, file, path));
        else if (!strncmp(word, "{scale}", 7)) text_buffer_add(out, "%d", scale);
        else text_buffer_add_bytes(out, word, 1);
        word += file >= 0 ? strlen(names[file]) : !strncmp(word, "{scale}", 7) ? 7 : 1;
    }
}

static void free_words(char **words)
{
    for (int i = 0; words && words[i]; i++) free(words[i]);
    free(words);
}

static char **fill_words(const OutsideProgram *p, int scale)
{
    char **words = calloc((size_t)p->count + 1, sizeof *words);
    for (int i = 0; words && i < p->count; i++) {
        TextBuffer word = {0};
        fill_in(p, p->words[i], scale, &word);
        words[i] = word.failed ? NULL : word.data ? word.data : strdup("");
        if (words[i]) continue;
        text_buffer_release(&word);
        free_words(words);
        return NULL;
    }
    return words;
}

static int spawn(const OutsideProgram *p, char **words, pid_t *child)
{
    char path[PATH_ROOM];
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (!error) error = posix_spawn_file_actions_addopen(&actions, 1, file_path(p, 2, path), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (!error) error = posix_spawn_file_actions_adddup2(&actions, 1, 2);
    if (!error) error = posix_spawnp(child, words[0], &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Its exit status as wait() tells it; asks stop() every two milliseconds. A program that does not end when asked to is made to. */
static Status wait_for(pid_t child, bool (*stop)(void *), void *ctx, int *how)
{
    double patience = 0; /* until when, once stopped */
    bool stopped = false;
    for (;;) {
        pid_t ended = waitpid(child, how, WNOHANG);
        if (ended == child && stopped) return status_fail(STATUS_INTERRUPTED, "stopped");
        if (ended == child) return STATUS_OK;
        if (ended < 0 && errno != EINTR) return status_fail(STATUS_INTERNAL, "the outside program got lost: %s", strerror(errno));
        if (!stopped && stop && stop(ctx)) {
            stopped = true;
            patience = now() + PATIENCE_SECONDS;
            kill(child, SIGTERM);
        }
        if (stopped && now() > patience) kill(child, SIGKILL);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

/* The last line it printed that says anything, without control characters: ": LINE", or "". */
static void last_line(const OutsideProgram *p, char text[LAST_LINE])
{
    char path[PATH_ROOM], line[LAST_LINE - 2];
    FILE *f = fopen(file_path(p, 2, path), "r");
    *text = 0;
    while (f && fgets(line, sizeof line, f)) {
        int n = 0, ink = 0;
        for (; line[n] && line[n] != '\n'; n++) {
            ink += (unsigned char)line[n] > ' ';
            if ((unsigned char)line[n] < ' ') line[n] = ' ';
        }
        line[n] = 0;
        if (ink) snprintf(text, LAST_LINE, ": %s", line);
    }
    if (f) fclose(f);
}

static Status check_exit(const OutsideProgram *p, int how)
{
    char text[LAST_LINE];
    last_line(p, text);
    if (WIFSIGNALED(how)) return status_fail(STATUS_BAD_INPUT, "%s: ended by signal %d%s", p->words[0], WTERMSIG(how), text);
    if (WEXITSTATUS(how) == 0) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: exit status %d%s", p->words[0], WEXITSTATUS(how), text);
}

static Status read_result(const OutsideProgram *p, const Image *in, int scale, Image *out)
{
    char path[PATH_ROOM];
    Status s = image_read(file_path(p, 1, path), out);
    if (s != STATUS_OK) return status_prefix(s, "%s", p->words[0]);
    if (out->w == in->w * scale && out->h == in->h * scale) return STATUS_OK;
    s = status_fail(STATUS_BAD_INPUT, "%s: made %dx%d pixels of %dx%d, expected %dx%d", p->words[0], out->w, out->h, in->w, in->h,
                    in->w * scale, in->h * scale);
    image_release(out);
    return s;
}

Status outside_program_run(const OutsideProgram *p, const Image *in, int scale, bool (*stop)(void *ctx), void *ctx, Image *out,
                           double *seconds)
{
    char path[PATH_ROOM];
    pid_t child;
    int how = 0;
    unlink(file_path(p, 1, path));
    TRY(png_write(file_path(p, 0, path), in, NULL, 0));
    char **words = fill_words(p, scale);
    if (!words) return status_fail(STATUS_NO_MEMORY, "out of memory for a command");
    double start = now();
    int error = spawn(p, words, &child);
    free_words(words);
    if (error) return status_fail(STATUS_BAD_INPUT, "%s: cannot be run: %s", p->words[0], strerror(error));
    TRY(wait_for(child, stop, ctx, &how));
    *seconds = now() - start;
    TRY(check_exit(p, how));
    return read_result(p, in, scale, out);
}
