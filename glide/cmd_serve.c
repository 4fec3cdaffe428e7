/* glide serve */
#include "common/interrupt.h"
#include "glide/cli_commands.h"
#include "glide/cmd_sampling.h"
#include "glide/serve/serve.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct ServeCommand {
    const char *host, *api_key, *gallery, *weights, *upsampler_weights, *guide_weights, *classifier, *clip;
    int64_t port, threads, queue, most_pictures, most_steps;
    int precision;
    bool no_gallery, quiet;
} ServeCommand;

static const CliOption options[] = {
    CLI_TEXT(ServeCommand, host, 0, "host", "NAME", "127.0.0.1", "address to listen on; one that other machines reach asks for "
             "--api-key"),
    CLI_INT(ServeCommand, port, 'p', "port", "N", 0, 65535, "7860", "port to listen on; 0 takes any free one"),
    CLI_TEXT(ServeCommand, api_key, 0, "api-key", "KEY", NULL, "what clients have to send (Authorization: Bearer KEY, or as a "
             "password); $GLIDE_API_KEY likewise, which process lists do not show"),
    CLI_FILE(ServeCommand, gallery, 0, "gallery", "FOLDER", NULL, "where finished pictures and comparisons are kept (default "
             "$XDG_DATA_HOME/glide, else ~/.local/share/glide)"),
    CLI_FLAG(ServeCommand, no_gallery, 0, "no-gallery", "keep nothing"),
    CLI_FILE(ServeCommand, weights, 'w', "weights", "FILE", NULL, "of the base model (default base.h5, as \"glide help sample\" "
             "says)"),
    CLI_FILE(ServeCommand, upsampler_weights, 0, "upsampler-weights", "FILE", NULL, "of the upsampler (default upsampler.h5)"),
    CLI_FILE(ServeCommand, guide_weights, 0, "guide-weights", "FILE", NULL, "a weaker base model, for autoguidance"),
    CLI_FILE(ServeCommand, classifier, 0, "classifier", "FILE", NULL, "a noise-aware classifier, for guidance by its gradient "
             "(default data/weights/classifier.h5 if it is there)"),
    CLI_FILE(ServeCommand, clip, 0, "clip", "FILE", NULL, "a noise-aware CLIP, likewise (default data/weights/clip.h5)"),
    CLI_INT(ServeCommand, queue, 0, "queue", "N", 1, 256, "32", "jobs that may wait; more are refused"),
    CLI_INT(ServeCommand, most_pictures, 0, "max-number", "N", 1, 256, "16", "pictures of a job at most"),
    CLI_INT(ServeCommand, most_steps, 0, "max-steps", "N", 2, 1000, "1000", "steps of a model at most"),
    CLI_CHOICE(ServeCommand, precision, 0, "precision", cli_precisions, NULL, "of the computation; bf16 is the default where "
               "the processor has it; int8 is faster and coarser"),
    CLI_INT(ServeCommand, threads, 't', "threads", "N", 0, 1024, "0", "threads to compute with, 0 for all cores"),
    CLI_FLAG(ServeCommand, quiet, 'q', "quiet", "print nothing but errors"),
};

static const char *gallery_folder(const ServeCommand *c, char *path, size_t size)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (c->no_gallery) return NULL;
    if (c->gallery) return c->gallery;
    if (data && *data == '/') snprintf(path, size, "%s/glide", data);
    else if (home && *home) snprintf(path, size, "%s/.local/share/glide", home);
    else return NULL;
    return path;
}

static void wait_for_signal(void)
{
    const struct timespec while_ = {0, 50 * 1000 * 1000};
    while (!interrupt_requested()) nanosleep(&while_, NULL);
}

static Status run(CliArgs *args)
{
    const ServeCommand *c = args->options;
    char path[PATH_MAX];
    Server *server;
    ServeOptions o = serve_defaults();
    if (c->no_gallery && c->gallery) return cli_usage_fail(args, "--no-gallery: expected no --gallery beside it");
    o.host = c->host;
    o.port = (int)c->port;
    o.api_key = c->api_key ? c->api_key : getenv("GLIDE_API_KEY");
    if (o.api_key && !*o.api_key) o.api_key = NULL;
    o.gallery = gallery_folder(c, path, sizeof path);
    o.glide.weights = c->weights;
    o.glide.upsampler_weights = c->upsampler_weights;
    o.glide.precision = cli_precision(args, c->precision);
    o.glide.threads = (int)c->threads;
    o.guide_weights = c->guide_weights;
    o.classifier = c->classifier;
    o.clip = c->clip;
    o.queue = (int)c->queue;
    o.most_pictures = (int)c->most_pictures;
    o.most_steps = (int)c->most_steps;
    interrupt_install(c->quiet ? NULL : "\nstopping; Ctrl-C again stops at once\n");
    TRY(serve_start(&o, &server));
    if (!c->quiet) {
        bool six = strchr(o.host, ':');
        printf("http://%s%s%s:%d/\n", six ? "[" : "", o.host, six ? "]" : "", serve_port(server));
        if (o.gallery) printf("pictures are kept in %s\n", o.gallery);
        fflush(stdout);
    }
    wait_for_signal();
    serve_stop(server);
    return STATUS_OK;
}

const CliCommand cli_command_serve = {
    .name = "serve",
    .summary = "a web page to draw with, and an HTTP server for other programs",
    .description =
        "Answers on http://127.0.0.1:7860/ until it is stopped by Ctrl-C: a page for browsers, an interface of its own under /api "
        "(described by /openapi.json), one that OpenAI's image clients speak under /v1/images, and one for A1111's clients under "
        "/sdapi/v1. One picture is made at a time; other requests wait in a queue.\n"
        "\n"
        "The page shows each picture while it forms. Guidance can be changed on the way, and any step can be gone on from with "
        "another scale. Finished pictures are kept in a folder with their recipes.\n"
        "\n"
        "Other machines can reach it only with --host and --api-key. The connection is not encrypted; put it behind a server that "
        "does that.",
    .examples = "glide serve\n"
                "glide serve --port 8080 --gallery pictures/\n"
                "GLIDE_API_KEY=secret glide serve --host 0.0.0.0\n"
                "curl -s localhost:7860/v1/images/generations -d '{\"prompt\": \"red apple, noto emoji\"}'",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(ServeCommand),
    .run = run,
};
