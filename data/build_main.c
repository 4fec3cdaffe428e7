/* glide-dataset: fetch the pinned packages, render them, write the training data set. A program of its own so that
 * glide itself needs no librsvg. */
#include "common/file_write.h"
#include "common/status.h"
#include "data/build_dataset.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_USAGE 2 /* wrong usage or input, or a file that cannot be read or written, as of glide */

static const char usage[] =
    "usage: glide-dataset -o FILE [options]\n"
    "Fetch the pinned packages of pictures and photos, render and cut them and write the training data set (HDF5).\n"
    "  -o, --output FILE   the data set to write\n"
    "      --cache DIR     keep the packages here (default: $XDG_CACHE_HOME/glide or ~/.cache/glide)\n"
    "      --lists DIR     folder of sources.tsv, the lists and fetch.sh (default: the project's data/)\n"
    "      --no-fetch      use what the cache holds, fetch nothing\n"
    "      --no-photos     drawn pictures only\n"
    "      --threads N     default: all\n"
    "      --quiet         no progress\n"
    "      --help\n";

typedef struct Progress {
    sigset_t signals; /* blocked, and polled here: no handler, no global */
    int signal;       /* that asked to stop; 0: none */
    struct timespec start, shown;
    bool terminal, quiet;
} Progress;

typedef struct Options {
    BuildOptions build;
    bool fetch, quiet, help;
} Options;

static double seconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + 1e-9 * (double)(now.tv_nsec - start->tv_nsec);
}

static bool stop_asked(void *context)
{
    Progress *p = context;
    struct timespec no_wait = {0};
    int signal = sigtimedwait(&p->signals, NULL, &no_wait);
    if (signal > 0) p->signal = signal;
    return signal > 0;
}

static void show_progress(void *context, const char *style, int done, int total)
{
    Progress *p = context;
    if (p->quiet || (done < total && seconds_since(&p->shown) < (p->terminal ? 0.2 : 10))) return;
    clock_gettime(CLOCK_MONOTONIC, &p->shown);
    double elapsed = seconds_since(&p->start), left = elapsed / done * (total - done);
    fprintf(stderr, "%s%d of %d pictures (%s), %.0f/s, %d:%02d left%s", p->terminal ? "\r" : "", done, total, style,
            done / elapsed, (int)left / 60, (int)left % 60, p->terminal ? "\033[K" : "\n");
    if (p->terminal && done == total) fputc('\n', stderr);
    fflush(stderr);
}

/* Make a folder and those above it. */
static Status make_folders(const char *path)
{
    char *copy = strdup(path);
    if (!copy) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    Status status = STATUS_OK;
    for (char *slash = copy; slash && status == STATUS_OK;) {
        slash = strchr(slash + 1, '/');
        if (slash) *slash = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) status = status_fail(STATUS_IO, "%s: %s", copy, strerror(errno));
        if (slash) *slash = '/';
    }
    free(copy);
    return status;
}

/* Run fetch.sh, which explains its own failures. */
static Status run_fetch(const BuildOptions *o, Progress *p)
{
    char script[4096], sources[4096];
    snprintf(script, sizeof script, "%s/fetch.sh", o->lists);
    snprintf(sources, sizeof sources, "%s/sources.tsv", o->lists);
    if (access(script, R_OK) != 0)
        return status_fail(STATUS_IO, "%s: %s; give the project's data folder with --lists", script, strerror(errno));
    TRY(make_folders(o->cache));
    pid_t child = fork();
    if (child < 0) return status_fail(STATUS_IO, "%s: %s", script, strerror(errno));
    if (child == 0) {
        sigprocmask(SIG_UNBLOCK, &p->signals, NULL);
        execlp("sh", "sh", script, o->cache, sources, o->no_photos ? "--no-photos" : (char *)NULL, (char *)NULL);
        _exit(127);
    }
    int result;
    while (waitpid(child, &result, 0) < 0) {
        if (errno != EINTR) return status_fail(STATUS_IO, "%s: %s", script, strerror(errno));
    }
    if (stop_asked(p)) return status_fail(STATUS_INTERRUPTED, "%s: interrupted", script);
    if (WIFEXITED(result) && WEXITSTATUS(result) == 0) return STATUS_OK;
    return status_fail(STATUS_IO, "%s: the packages could not be fetched", script);
}

/* The project's data/: below the current folder, else beside the folder of the program. */
static const char *default_lists(char *text, size_t size)
{
    if (access("data/sources.tsv", R_OK) == 0) return "data";
    char self[2048];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n < 0 ? 0 : n] = 0;
    char *slash = strrchr(self, '/');
    if (slash) *slash = 0;
    snprintf(text, size, "%s/../data", self);
    return text;
}

static const char *default_cache(char *text, size_t size)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (base && *base)
        snprintf(text, size, "%s/glide", base);
    else
        snprintf(text, size, "%s/.cache/glide", home && *home ? home : ".");
    return text;
}

static Status parse_options(int argc, char **argv, Options *o)
{
    enum { CACHE = 256, LISTS, NO_FETCH, NO_PHOTOS, THREADS, QUIET, HELP };
    static const struct option longs[] = {{"output", required_argument, NULL, 'o'},
                                          {"cache", required_argument, NULL, CACHE},
                                          {"lists", required_argument, NULL, LISTS},
                                          {"no-fetch", no_argument, NULL, NO_FETCH},
                                          {"no-photos", no_argument, NULL, NO_PHOTOS},
                                          {"threads", required_argument, NULL, THREADS},
                                          {"quiet", no_argument, NULL, QUIET},
                                          {"help", no_argument, NULL, HELP},
                                          {0}};
    opterr = 0; /* its messages come here instead */
    for (int c; (c = getopt_long(argc, argv, ":o:", longs, NULL)) != -1;) {
        char *end;
        switch (c) {
        case 'o':
            o->build.out = optarg;
            break;
        case CACHE:
            o->build.cache = optarg;
            break;
        case LISTS:
            o->build.lists = optarg;
            break;
        case NO_FETCH:
            o->fetch = false;
            break;
        case NO_PHOTOS:
            o->build.no_photos = true;
            break;
        case QUIET:
            o->quiet = true;
            break;
        case HELP:
            o->help = true;
            break;
        case THREADS:
            o->build.threads = (int)strtol(optarg, &end, 10);
            if (*end || o->build.threads < 1 || o->build.threads > 1024)
                return status_fail(STATUS_BAD_INPUT, "--threads %s: expected a number from 1 to 1024", optarg);
            break;
        case ':':
            return status_fail(STATUS_BAD_INPUT, "%s: expected a value after it; see --help", argv[optind - 1]);
        default:
            return status_fail(STATUS_BAD_INPUT, "unknown option '%s'; see --help", argv[optind - 1]);
        }
    }
    if (optind < argc) return status_fail(STATUS_BAD_INPUT, "'%s': expected only options; see --help", argv[optind]);
    if (!o->build.out && !o->help) return status_fail(STATUS_BAD_INPUT, "no output file; give one with -o FILE");
    return STATUS_OK;
}

/* `signal` is the one that interrupted it. */
static Status run(Options *o, int *signal)
{
    TRY(file_check_writable(o->build.out)); /* before packages are fetched */
    Progress p = {.terminal = isatty(STDERR_FILENO), .quiet = o->quiet};
    sigemptyset(&p.signals);
    sigaddset(&p.signals, SIGINT);
    sigaddset(&p.signals, SIGTERM);
    sigaddset(&p.signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &p.signals, NULL); /* before any thread starts: all inherit it */
    Status status = o->fetch ? run_fetch(&o->build, &p) : STATUS_OK;
    *signal = p.signal;
    if (status != STATUS_OK) return status;
    clock_gettime(CLOCK_MONOTONIC, &p.start);
    p.shown = p.start;
    o->build.stop = stop_asked;
    o->build.progress = show_progress;
    o->build.context = &p;
    status = build_dataset(&o->build);
    *signal = p.signal;
    if (status != STATUS_OK && p.terminal && !p.quiet) fputc('\n', stderr);
    return status;
}

int main(int argc, char **argv)
{
    Options o = {.fetch = true};
    Status status = parse_options(argc, argv, &o);
    if (status != STATUS_OK) {
        fprintf(stderr, "glide-dataset: %s\n", status_message());
        return EXIT_USAGE;
    }
    if (o.help) {
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    char lists[4096], cache[4096];
    if (!o.build.lists) o.build.lists = default_lists(lists, sizeof lists);
    if (!o.build.cache) o.build.cache = default_cache(cache, sizeof cache);
    int signal = 0;
    status = run(&o, &signal);
    if (status == STATUS_OK) return EXIT_SUCCESS;
    fprintf(stderr, "glide-dataset: %s\n", status_message());
    if (status == STATUS_INTERRUPTED) return 128 + signal;
    return status == STATUS_BAD_INPUT || status == STATUS_IO ? EXIT_USAGE : EXIT_FAILURE;
}
