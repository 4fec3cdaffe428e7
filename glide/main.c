/* The program: finds the command, lets its table read the command line, runs it, reports what went wrong. */
#include "common/interrupt.h"
#include "glide/cli_commands.h"
#include "glide/cli_help.h"
#include "glide/cli_suggest.h"
#include "glide/version.h"

#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_USAGE = 2 }; /* and wrong input, and files that cannot be read or written */

static const CliCommand *const commands[] = {
#define CLI_LIST_COMMAND(name) &cli_command_##name,
    CLI_COMMANDS(CLI_LIST_COMMAND)
#undef CLI_LIST_COMMAND
};

const CliCommand *const *cli_commands(int *count)
{
    *count = CLI_COUNT(commands);
    return commands;
}

const CliCommand *cli_find_command(const char *name)
{
    const char *names[CLI_COUNT(commands)];
    char quoted[80];
    for (int i = 0; i < CLI_COUNT(commands); i++) {
        if (!strcmp(commands[i]->name, name)) return commands[i];
        names[i] = commands[i]->name;
    }
    const char *near = cli_nearest(name, names, CLI_COUNT(commands));
    cli_quote(name, quoted, sizeof quoted);
    if (near) status_fail(STATUS_BAD_INPUT, "%s: no such command; did you mean \"%s\"?", quoted, near);
    else status_fail(STATUS_BAD_INPUT, "%s: no such command; see \"glide help\"", quoted);
    return NULL;
}

/* Started with a closed descriptor 0, 1 or 2, the first file opened would take its number and receive what is meant for
 * it. Such a descriptor is opened the wrong way round, so that using it is an error. */
static void occupy_standard_descriptors(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd) _exit(1);
}

/* Is there a processor for each of our threads, now? The fourth field of the file is "running/all threads", ours among them. */
static bool machine_is_quiet(void)
{
    int running = 0;
    FILE *file = fopen("/proc/loadavg", "re");
    if (!file) return false;
    bool read = fscanf(file, "%*s %*s %*s %d/", &running) == 1;
    fclose(file);
    return read && running - 1 + omp_get_num_procs() <= sysconf(_SC_NPROCESSORS_ONLN);
}

/* Threads that wait for others spin for milliseconds by default. Where another program wants the processors too, that makes us ten
 * times slower; asleep at once, waking costs a fifth of a sampling run. So they spin for some tens of microseconds on a machine
 * that is quiet when we start, and not at all on a busy one, or in a training, which lasts long enough for that to change. OpenMP
 * reads these settings before main(), so the program starts over, once; settings of the user's stand. */
static void wait_asleep(char **argv)
{
    char path[4096];
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    if (n <= 0 || n >= (ssize_t)sizeof path || setenv("OMP_WAIT_POLICY", "passive", 1) != 0) return;
    path[n] = 0;
    bool training = argv[0] && argv[1] && !strcmp(argv[1], "train");
    if (!training && machine_is_quiet()) setenv("GOMP_SPINCOUNT", "3000", 1);
    execv(path, argv); /* comes back only when it failed: then we go on as we are */
}

/* Output that nobody received is a failure: a full disk, a closed descriptor. */
static int finish_output(int exit_status)
{
    if ((fflush(stdout) == 0 && !ferror(stdout)) || exit_status != EXIT_SUCCESS) return exit_status;
    fprintf(stderr, "glide: standard output cannot be written: %s\n", strerror(errno));
    return EXIT_USAGE;
}

static int exit_status_of(Status status, const CliArgs *args)
{
    if (status == STATUS_OK) return EXIT_SUCCESS;
    if (args->usage_error || status == STATUS_BAD_INPUT || status == STATUS_IO) return EXIT_USAGE;
    if (status == STATUS_INTERRUPTED && interrupt_signal()) return 128 + interrupt_signal();
    return EXIT_FAILURE;
}

static int run_command(const CliCommand *command, int argc, char **argv)
{
    CliArgs args;
    void *options = calloc(1, command->options_size + 1);
    if (!options) {
        fputs("glide: out of memory\n", stderr);
        return EXIT_FAILURE;
    }
    Status status = cli_parse(command, argc, argv, options, &args);
    if (status == STATUS_OK && args.help_wanted) cli_print_help(stdout, command);
    else if (status == STATUS_OK) status = cli_check_overwrites(&args);
    if (status == STATUS_OK && !args.help_wanted) status = command->run(&args);
    if (status != STATUS_OK) {
        fflush(stdout);
        fprintf(stderr, "glide %s: %s\n%s", command->name, status_message(), status_details());
    }
    int exit_status = exit_status_of(status, &args);
    cli_args_release(&args);
    free(options);
    return exit_status;
}

static int run_program(int argc, char **argv)
{
    const char *first = argc > 1 ? argv[1] : NULL;
    if (!first) {
        cli_print_overview(stderr, commands, CLI_COUNT(commands));
        return EXIT_USAGE;
    }
    if (!strcmp(first, "--version") || !strcmp(first, "-V")) {
        puts("glide " GLIDE_VERSION);
        return EXIT_SUCCESS;
    }
    if (!strcmp(first, "--help") || !strcmp(first, "-h")) first = "help";
    if (first[0] == '-') {
        char quoted[80];
        fprintf(stderr, "glide: expected a command first, found %s; see \"glide help\"\n",
                cli_quote(first, quoted, sizeof quoted));
        return EXIT_USAGE;
    }
    const CliCommand *command = cli_find_command(first);
    if (!command) {
        fprintf(stderr, "glide: %s\n", status_message());
        return EXIT_USAGE;
    }
    return run_command(command, argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    wait_asleep(argv);
    occupy_standard_descriptors();
    signal(SIGPIPE, SIG_DFL); /* `glide help | head` ends quietly even if our parent ignores the signal */
    return finish_output(run_program(argc, argv));
}
