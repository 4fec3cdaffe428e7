#include "glide/serve/serve_server.h"

#include "glide/call_guidance.h"
#include "glide/context.h"
#include "glide/serve/serve_gallery.h"
#include "glide/serve/serve_run.h"
#include "glide/weights_path.h"
#include "guidance/classifier_file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

ServeOptions serve_defaults(void)
{
    return (ServeOptions){.host = "127.0.0.1",
                          .port = 7860,
                          .glide = glide_defaults(),
                          .queue = 32,
                          .most_pictures = 16,
                          .most_steps = 1000,
                          .most_side = 4096,
                          .most_body = 32 << 20,
                          .most_memory = 256 << 20,
                          .connections = 160,
                          .patience = 30};
}

/* --- the socket ------------------------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr *a)
{
    static const struct in6_addr one = IN6ADDR_LOOPBACK_INIT;
    if (a->sa_family == AF_INET) return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 && !memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &one, sizeof one);
}

static Status bind_to(Server *s, const struct addrinfo *a, int *fd)
{
    const int yes = 1;
    s->loopback = is_loopback(a->ai_addr);
    if (!s->loopback && !s->options.api_key)
        return status_fail(STATUS_BAD_INPUT, "%s is reached from other machines, expected --api-key beside it", s->options.host);
    *fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0) return status_fail(STATUS_IO, "no socket: %s", strerror(errno));
    setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(*fd, a->ai_addr, a->ai_addrlen) == 0 && listen(*fd, 128) == 0) return STATUS_OK;
    int reason = errno;
    close(*fd);
    if (reason == EADDRINUSE)
        return status_fail(STATUS_IO, "port %d of %s is in use already, expected a free one, as --port %d may be", s->options.port,
                           s->options.host, s->options.port % 65535 + 1);
    return status_fail(STATUS_IO, "port %d of %s: %s", s->options.port, s->options.host, strerror(reason));
}

static Status listen_on(Server *s, int *fd)
{
    char port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    struct sockaddr_storage at;
    socklen_t size = sizeof at;
    snprintf(port, sizeof port, "%d", s->options.port);
    int wrong = getaddrinfo(s->options.host, port, &hints, &found);
    if (wrong) return status_fail(STATUS_BAD_INPUT, "host %s: %s", s->options.host, gai_strerror(wrong));
    Status status = bind_to(s, found, fd);
    freeaddrinfo(found);
    if (status != STATUS_OK) return status;
    getsockname(*fd, (struct sockaddr *)&at, &size);
    s->port = ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port : ((struct sockaddr_in *)&at)->sin_port);
    return STATUS_OK;
}

/* --- models ----------------------------------------------------------------------------------------- */

/* "" stands for the guide of the program's own, where it is there. */
static const char *guide(const char *given, const char *file)
{
    char path[PATH_MAX];
    if (given) return given;
    return weights_path_default(file, path, sizeof path) == STATUS_OK ? "" : NULL;
}

/* The classifier's names of classes; a file that is wrong is told now, too. */
static Status load_class_names(Server *s)
{
    char path[PATH_MAX];
    const char *file = s->limits.classifier;
    if (!file) return STATUS_OK;
    if (!*file) {
        TRY(weights_path_default("classifier.h5", path, sizeof path));
        file = path;
    }
    TRY(classifier_load(file, &s->class_names, NULL));
    s->limits.class_names = s->class_names;
    return STATUS_OK;
}

/* Those that were named; the program's own are read when they are first asked for. */
static Status load_guides(Server *s)
{
    StageOptions stage;
    GlideGuidance in = glide_guidance_defaults();
    in.guide_weights = s->options.guide_weights;
    in.classifier_weights = s->options.classifier;
    in.clip_weights = s->options.clip;
    in.autoguidance.scale = in.classifier.scale = in.clip.scale = 1;
    stage_options_defaults(&stage);
    TRY(call_fill_guidance(&in, "", &stage));
    return call_load_guides(s->glide, &in, &s->glide->base, &stage);
}

/* The default model that only paints, read when it is first asked for; none where a base model was named. */
static Status open_painter(Server *s)
{
    char path[PATH_MAX];
    GlideOptions o = s->options.glide;
    if (o.weights || !(o.weights = weights_path_painter(path, sizeof path))) return STATUS_OK;
    return (Status)glide_open(&o, &s->painter);
}

/* They are read now, so that a wrong file is told before anything listens. */
static Status load_models(Server *s)
{
    bool upsampler = true;
    TRY((Status)glide_open(&s->options.glide, &s->glide));
    TRY(context_load_both(s->glide, &upsampler));
    TRY(load_guides(s));
    TRY(open_painter(s));
    const Glide *g = s->glide;
    s->limits = (RequestLimits){.most_pictures = s->options.most_pictures,
                                .most_steps = s->options.most_steps,
                                .most_side = s->options.most_side,
                                .side = context_side(&g->base),
                                .upsampler_side = upsampler ? context_side(&g->upsampler) : 0,
                                .text = g->base.net->text != NULL,
                                .classes = g->base.net->config.unet.num_classes,
                                .noise_schedule = g->base.net->config.noise_schedule,
                                .diffusion_steps = g->base.net->config.diffusion_steps,
                                .guide_weights = s->options.guide_weights,
                                .classifier = guide(s->options.classifier, "classifier.h5"),
                                .clip = guide(s->options.clip, "clip.h5")};
    snprintf(s->weights_hash[0], sizeof s->weights_hash[0], "%016llx", (unsigned long long)g->base.hash);
    if (upsampler) snprintf(s->weights_hash[1], sizeof s->weights_hash[1], "%016llx", (unsigned long long)g->upsampler.hash);
    s->bf16 = g->precision == DTYPE_BF16;
    s->int8 = g->int8;
    return load_class_names(s);
}

static void *work(void *arg)
{
    Server *s = arg;
    run_warm_up(s->glide);
    for (Job *job; (job = jobs_next(&s->jobs));) {
        bool paints = job->request.kind == JOB_INPAINT && s->painter;
        run_job(&s->jobs, job, paints ? s->painter : s->glide, s->options.gallery);
        job_put(&s->jobs, job);
    }
    return NULL;
}

/* --- starting and stopping -------------------------------------------------------------------------- */

static Status start(Server *s)
{
    int fd = -1;
    if (s->options.gallery) TRY(gallery_open(s->options.gallery));
    TRY(compare_open(&s->comparisons, s->options.gallery));
    TRY(listen_on(s, &fd));
    Status status = load_models(s);
    if (status == STATUS_OK) status = jobs_init(&s->jobs, &s->limits, s->options.queue, s->options.most_memory);
    if (status == STATUS_OK && pthread_create(&s->worker, NULL, work, s) != 0)
        status = status_fail(STATUS_NO_MEMORY, "no thread to work");
    else if (status == STATUS_OK)
        s->working = true;
    if (status == STATUS_OK) status = http_start(s, fd, &s->daemon);
    if (status != STATUS_OK) close(fd);
    return status;
}

Status serve_start(const ServeOptions *o, Server **out)
{
    Server *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return status_fail(STATUS_NO_MEMORY, "out of memory for a server");
    s->options = *o;
    s->started = jobs_now();
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->decoding, NULL);
    Status status = start(s);
    if (status == STATUS_OK)
        *out = s;
    else
        serve_stop(s);
    return status;
}

int serve_port(const Server *s)
{
    return s->port;
}

void serve_stop(Server *s)
{
    if (!s) return;
    if (s->working) jobs_stop(&s->jobs);
    if (s->daemon) MHD_stop_daemon(s->daemon); /* waits for the connections' threads, which have been woken */
    if (s->working) {
        pthread_join(s->worker, NULL);
        jobs_release(&s->jobs);
    }
    compare_release(&s->comparisons);
    glide_close(s->glide);
    glide_close(s->painter);
    classifier_free(s->class_names);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->decoding);
    free(s);
}
