/* What glide bench measures on whole processes: prompt to picture, opening a file; and itself as a child. */
#include "glide/cmd_bench.h"
#include "glide/weights_path.h"
#include "text_transformer/text_unet_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RUNS = 3, MOST_RUNS = 100, MOST_ARGUMENTS = 48 };

double bench_own_peak(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (double)usage.ru_maxrss * 1024 : 0;
}

/* --- a child ------------------------------------------------------------------------------------------ */

static Status read_all(int fd, char **text)
{
    size_t used = 0, room = 4096;
    ssize_t n;
    *text = malloc(room);
    while (*text) {
        if (room - used < 2) {
            char *grown = realloc(*text, room *= 2);
            if (!grown) break;
            *text = grown;
        }
        n = read(fd, *text + used, room - used - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            (*text)[used] = 0;
            return n < 0 ? status_fail(STATUS_IO, "glide: cannot be listened to: %s", strerror(errno)) : STATUS_OK;
        }
        used += (size_t)n;
    }
    return status_fail(STATUS_NO_MEMORY, "out of memory for what a measurement says");
}

static Status wait_for(pid_t child, const char *name, double *peak_rss)
{
    int how;
    struct rusage usage;
    while (wait4(child, &how, 0, &usage) < 0)
        if (errno != EINTR) return status_fail(STATUS_INTERNAL, "glide %s: cannot be waited for: %s", name, strerror(errno));
    *peak_rss = (double)usage.ru_maxrss * 1024;
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0) return STATUS_OK;
    return status_fail(STATUS_INTERNAL, "glide %s failed; its message is above", name);
}

/* to: the file that takes standard output's place; -1: none does */
static Status start(const char *const *argv, int to, pid_t *child)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (to >= 0) posix_spawn_file_actions_adddup2(&actions, to, STDOUT_FILENO);
    int error = posix_spawn(child, "/proc/self/exe", &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error ? status_fail(STATUS_IO, "glide %s: cannot be started: %s", argv[1], strerror(error)) : STATUS_OK;
}

Status bench_child(const char *const *argv, BenchChildOutput output, BenchChild *out)
{
    int ends[2] = {-1, -1};
    pid_t child;
    *out = (BenchChild){0};
    fflush(stdout);
    if (output == BENCH_CHILD_DROP) ends[1] = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (output == BENCH_CHILD_KEEP && pipe2(ends, O_CLOEXEC) != 0)
        return status_fail(STATUS_IO, "glide %s: no pipe: %s", argv[1], strerror(errno));
    double begin = bench_now();
    Status s = start(argv, ends[1], &child), heard = STATUS_OK;
    if (ends[1] >= 0) close(ends[1]);
    if (s == STATUS_OK && ends[0] >= 0) heard = read_all(ends[0], &out->text);
    if (s == STATUS_OK) s = wait_for(child, argv[1], &out->peak_rss);
    out->seconds = bench_now() - begin;
    if (ends[0] >= 0) close(ends[0]);
    return s == STATUS_OK ? heard : s;
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

/* --- medians of several ------------------------------------------------------------------------------- */

/* The first one warms the file cache and does not count. */
static Status time_children(const char *const *argv, int runs, BenchReport *r)
{
    double seconds[MOST_RUNS];
    r->run.runs = runs > 0 && runs <= MOST_RUNS ? runs : RUNS;
    for (int i = -1; i < r->run.runs; i++) {
        BenchChild child;
        TRY(bench_child(argv, BENCH_CHILD_DROP, &child));
        if (i >= 0) seconds[i] = child.seconds;
        if (child.peak_rss > r->peak_rss) r->peak_rss = child.peak_rss;
    }
    r->run.seconds = bench_median(seconds, r->run.runs);
    return STATUS_OK;
}

bool bench_has_weights(const char *path, const char *usual, char *found, size_t size)
{
    if (!path) return weights_path_default(usual, found, size) == STATUS_OK;
    snprintf(found, size, "%s", path);
    return true;
}

/* A new file, or a folder. */
static Status temporary(bool folder, char *path, size_t size)
{
    const char *place = getenv("TMPDIR");
    snprintf(path, size, "%s/glide-bench-XXXXXX", place && *place ? place : "/tmp");
    int fd = folder ? (mkdtemp(path) ? 0 : -1) : mkstemp(path);
    if (fd < 0) return status_fail(STATUS_IO, "%s: cannot be made: %s", path, strerror(errno));
    if (!folder) close(fd);
    return STATUS_OK;
}

static void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *file; folder && (file = readdir(folder));)
        if (file->d_name[0] != '.') unlinkat(dirfd(folder), file->d_name, 0);
    if (folder) closedir(folder);
    rmdir(path);
}

Status bench_temporary_model(const char *config, char *path, size_t size)
{
    BenchChild child;
    TRY(temporary(false, path, size));
    Status s = bench_child((const char *const[]){"glide", "init", "--config", config, "-o", path, "--quiet", NULL},
                           BENCH_CHILD_DROP, &child);
    if (s != STATUS_OK) unlink(path);
    return s;
}

/* --- load --------------------------------------------------------------------------------------------- */

static Status time_load(const char *path, const BenchCommand *c, BenchReport *r)
{
    struct stat file;
    if (stat(path, &file) != 0) return status_fail(STATUS_IO, "%s: %s", path, strerror(errno));
    r->file_bytes = (double)file.st_size;
    return time_children((const char *const[]){"glide", "info", path, NULL}, (int)c->runs, r);
}

Status bench_measure_load(const BenchCommand *c, BenchReport *r)
{
    char path[PATH_MAX];
    if (c->config) {
        TRY(bench_temporary_model(c->config, path, sizeof path));
        Status s = time_load(path, c, r);
        unlink(path);
        snprintf(r->config, sizeof r->config, "%s", c->config);
        return s;
    }
    if (!bench_has_weights(c->weights, "base.h5", path, sizeof path)) return weights_path_default("base.h5", path, sizeof path);
    snprintf(r->config, sizeof r->config, "%s", path);
    return time_load(path, c, r);
}

/* --- sample ------------------------------------------------------------------------------------------- */

static Status count_operations(const BenchCommand *c, const char *base, const char *upsampler, BenchReport *r)
{
    TextUNet *small = NULL, *large = NULL;
    CascadeOptions o;
    cascade_options_defaults(&o);
    if (c->steps) o.base.steps = c->steps;
    Status s = text_unet_map(base, "base", &small, NULL);
    if (s == STATUS_OK) s = text_unet_map(upsampler, "upsampler", &large, NULL);
    if (s == STATUS_OK) s = bench_count_sample(small, large, &o, (int)r->batch, &r->run.gflop);
    text_unet_free(small);
    text_unet_free(large);
    return s;
}

static Status time_program(const BenchCommand *c, const char *base, const char *upsampler, BenchReport *r)
{
    char folder[PATH_MAX], output[PATH_MAX + 16], threads[24], n[24];
    const char *argv[MOST_ARGUMENTS];
    int used = 0;
    TRY(temporary(true, folder, sizeof folder));
    snprintf(output, sizeof output, "%s/picture.png", folder);
    snprintf(threads, sizeof threads, "%d", r->threads);
    snprintf(n, sizeof n, "%d", (int)r->batch);
    const char *fixed[] = {"glide", "sample", "red apple, fluent 3d emoji", "--seed", "1", "--quiet", "-o", output, "-n", n,
                           "--threads", threads, "--precision", bench_precision(r), "--weights", base, "--upsampler-weights",
                           upsampler};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) argv[used++] = fixed[i];
    if (c->steps) argv[used++] = "--steps", argv[used++] = c->steps;
    argv[used] = NULL;
    Status s = time_children(argv, (int)c->runs, r);
    remove_folder(folder);
    return s;
}

Status bench_measure_program(const BenchCommand *c, BenchReport *r)
{
    char base[PATH_MAX], upsampler[PATH_MAX];
    if (c->config) return status_fail(STATUS_BAD_INPUT, "bench sample: takes --weights and --upsampler-weights, not --config");
    if (!bench_has_weights(c->weights, "base.h5", base, sizeof base)) return weights_path_default("base.h5", base, sizeof base);
    if (!bench_has_weights(c->upsampler_weights, "upsampler.h5", upsampler, sizeof upsampler))
        return weights_path_default("upsampler.h5", upsampler, sizeof upsampler);
    snprintf(r->config, sizeof r->config, "%s", base);
    TRY(time_program(c, base, upsampler, r));
    return count_operations(c, base, upsampler, r);
}
