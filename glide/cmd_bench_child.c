/* glide bench: this program as a child, and a folder for what a measurement needs for a while.
 *
 * A child is in a process group of its own, so that a terminal's Ctrl-C reaches this process alone, which hands it on once and waits
 * for the child's end; its own children, if it has any, learn of it the same way. Then the folder goes, with what it left there. */
#include "glide/cmd_bench.h"

#include "common/interrupt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_ARGUMENTS = 48, LOOK_AROUND = 200 /* milliseconds */ };

/* --- a child ------------------------------------------------------------------------------------------ */

/* What comes from the child, in a string that grows. */
typedef struct Heard {
    char *text;
    size_t used, room;
} Heard;

/* Reads what is there. *end: nothing more will come. */
static Status hear(int fd, Heard *h, bool *end)
{
    if (h->room - h->used < 2) {
        char *grown = realloc(h->text, h->room = 2 * h->room + 4096);
        if (!grown) return status_fail(STATUS_NO_MEMORY, "out of memory for what a measurement says");
        h->text = grown;
    }
    ssize_t n = read(fd, h->text + h->used, h->room - h->used - 1);
    if (n < 0 && errno != EINTR) return status_fail(STATUS_IO, "glide: cannot be listened to: %s", strerror(errno));
    *end = n == 0;
    if (n > 0) h->used += (size_t)n;
    h->text[h->used] = 0;
    return STATUS_OK;
}

/* Until the child has closed the pipe, which it does when it ends. A signal interrupts poll(); one that came just before is seen
 * when it looks around. */
static Status follow(int fd, pid_t child, Heard *h)
{
    bool told = false, end = false;
    while (!end) {
        struct pollfd pipe_end = {.fd = fd, .events = POLLIN};
        int ready = poll(&pipe_end, 1, LOOK_AROUND);
        if (interrupt_requested() && !told) told = kill(child, interrupt_signal()) == 0;
        if (ready > 0) TRY(hear(fd, h, &end));
    }
    return STATUS_OK;
}

static Status wait_for(pid_t child, const char *name, double *peak_rss)
{
    int how;
    struct rusage usage;
    while (wait4(child, &how, 0, &usage) < 0)
        if (errno != EINTR) return status_fail(STATUS_INTERNAL, "glide %s: cannot be waited for: %s", name, strerror(errno));
    *peak_rss = (double)usage.ru_maxrss * 1024;
    if (interrupt_requested()) return status_fail(STATUS_INTERRUPTED, "stopped");
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0) return STATUS_OK;
    bool bad_input = WIFEXITED(how) && WEXITSTATUS(how) == 2;
    return status_fail(bad_input ? STATUS_BAD_INPUT : STATUS_INTERNAL, "glide %s failed; its message is above", name);
}

/* to: the pipe's end that stays open in the child, as its standard output when that is kept */
static Status start(const char *const *argv, BenchChildOutput output, int to, pid_t *child)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t group;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&group);
    posix_spawnattr_setflags(&group, POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_adddup2(&actions, to, output == BENCH_CHILD_KEEP ? STDOUT_FILENO : to);
    if (output == BENCH_CHILD_DROP) posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int error = posix_spawn(child, "/proc/self/exe", &actions, &group, (char *const *)argv, environ);
    posix_spawnattr_destroy(&group);
    posix_spawn_file_actions_destroy(&actions);
    return error ? status_fail(STATUS_IO, "glide %s: cannot be started: %s", argv[1], strerror(error)) : STATUS_OK;
}

Status bench_child(const char *const *argv, BenchChildOutput output, BenchChild *out)
{
    int ends[2];
    pid_t child;
    Heard heard = {0};
    *out = (BenchChild){0};
    fflush(stdout);
    if (interrupt_requested()) return status_fail(STATUS_INTERRUPTED, "stopped");
    if (pipe2(ends, O_CLOEXEC) != 0) return status_fail(STATUS_IO, "glide %s: no pipe: %s", argv[1], strerror(errno));
    double begin = bench_now();
    Status s = start(argv, output, ends[1], &child);
    close(ends[1]);
    if (s == STATUS_OK) {
        Status followed = follow(ends[0], child, &heard);
        s = wait_for(child, argv[1], &out->peak_rss);
        if (s == STATUS_OK) s = followed;
    }
    out->seconds = bench_now() - begin;
    close(ends[0]);
    if (output == BENCH_CHILD_KEEP && s == STATUS_OK) out->text = heard.text;
    else free(heard.text);
    return s;
}

Status bench_child_json(const char *const *argv, json_t **out)
{
    const char *all[MOST_ARGUMENTS] = {"glide", "bench"};
    BenchChild child;
    json_error_t error;
    int n = 2;
    for (; *argv && n < MOST_ARGUMENTS - 2; argv++) all[n++] = *argv;
    all[n] = "--json";
    *out = NULL;
    Status s = bench_child(all, BENCH_CHILD_KEEP, &child);
    if (s == STATUS_OK) *out = json_loads(child.text, 0, &error);
    free(child.text);
    if (s == STATUS_OK && !*out) s = status_fail(STATUS_INTERNAL, "glide bench %s: not JSON: %s", all[2], error.text);
    return s;
}

/* --- a folder ----------------------------------------------------------------------------------------- */

Status bench_folder_new(char *path, size_t size)
{
    const char *place = getenv("TMPDIR");
    snprintf(path, size, "%s/glide-bench-XXXXXX", place && *place ? place : "/tmp");
    return mkdtemp(path) ? STATUS_OK : status_fail(STATUS_IO, "%s: cannot be made: %s", path, strerror(errno));
}

void bench_folder_remove(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *file; folder && (file = readdir(folder));)
        if (strcmp(file->d_name, ".") && strcmp(file->d_name, "..")) unlinkat(dirfd(folder), file->d_name, 0);
    if (folder) closedir(folder);
    rmdir(path);
}

Status bench_random_weights(const char *folder, const char *config, char *path, size_t size)
{
    BenchChild child;
    if (snprintf(path, size, "%s/%s.h5", folder, config) >= (int)size)
        return status_fail(STATUS_BAD_INPUT, "%s: this folder's name is too long", folder);
    return bench_child((const char *const[]){"glide", "init", "--config", config, "-o", path, "--quiet", NULL}, BENCH_CHILD_DROP,
                       &child);
}
