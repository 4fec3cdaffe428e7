/* glide dataset: hands over to glide-dataset, the program beside this one, so that glide itself needs neither librsvg nor
 * libwebp. The options are listed here for help, checks and suggestions. */
#include "glide/cli_commands.h"
#include "glide/weights_path.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct DatasetCommand {
    const char *output, *cache, *lists;
    int64_t threads;
    bool no_fetch, quiet;
} DatasetCommand;

static const CliOption options[] = {
    CLI_OUTPUT(DatasetCommand, output, 'o', "output", "FILE", NULL, "the data set to write (needed)"),
    CLI_FILE(DatasetCommand, cache, 0, "cache", "DIR", NULL, "keep the fetched packages here (default $XDG_CACHE_HOME/glide or "
             "~/.cache/glide)"),
    CLI_FILE(DatasetCommand, lists, 0, "lists", "DIR", NULL, "folder of sources.tsv, manifest.tsv.gz and fetch.sh (default: the "
             "project's data/)"),
    CLI_FLAG(DatasetCommand, no_fetch, 0, "no-fetch", "use what the cache holds, fetch nothing"),
    CLI_INT(DatasetCommand, threads, 't', "threads", "N", 0, 1024, "0", "threads to use, 0 for all cores"),
    CLI_FLAG(DatasetCommand, quiet, 'q', "quiet", "show no progress"),
};

static Status run(CliArgs *args)
{
    const DatasetCommand *c = args->options;
    char program[PATH_MAX], threads[24];
    const char *argv[16];
    int n = 0;
    if (!c->output) return cli_usage_fail(args, "--output: expected a file for the data set, such as -o emoji.h5");
    TRY(program_sibling("glide-dataset", program, sizeof program));
    argv[n++] = program;
    argv[n++] = "-o";
    argv[n++] = c->output;
    if (c->cache) argv[n++] = "--cache", argv[n++] = c->cache;
    if (c->lists) argv[n++] = "--lists", argv[n++] = c->lists;
    if (c->no_fetch) argv[n++] = "--no-fetch";
    if (c->quiet) argv[n++] = "--quiet";
    if (c->threads > 0) {
        snprintf(threads, sizeof threads, "%lld", (long long)c->threads);
        argv[n++] = "--threads";
        argv[n++] = threads;
    }
    argv[n] = NULL;
    execv(program, (char *const *)argv);
    return status_fail(STATUS_IO, "%s: cannot be run: %s; \"make\" builds it beside glide", program, strerror(errno));
}

const CliCommand cli_command_dataset = {
    .name = "dataset",
    .summary = "build the training data set from freely licensed emoji",
    .description =
        "Fetches the pinned packages of pictures that data/sources.tsv lists, renders them at 256x256 on white, checks them "
        "against the manifest, and writes one HDF5 file with pictures, labels and keywords in English and Korean, styles and "
        "splits. Packages that are in the cache already are not fetched again. The work is done by glide-dataset, the program "
        "beside this one.",
    .examples = "glide dataset -o emoji.h5\n"
                "glide dataset -o emoji.h5 --cache packages --no-fetch",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(DatasetCommand),
    .run = run,
};
