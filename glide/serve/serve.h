/* glide serve: models behind HTTP. A page for people at /, an API of its own under /api (described by /openapi.json), and two that
 * existing clients speak: OpenAI's images under /v1 and A1111's under /sdapi/v1.
 *
 *     ServeOptions o = serve_defaults();
 *     Server *server;
 *     TRY(serve_start(&o, &server));      from here on it answers
 *     ... serve_port(server) ...
 *     serve_stop(server);                 the picture in work is cancelled
 *
 * Each connection has a thread, which reads, checks and writes; one worker thread owns the models and takes one job of the queue
 * after another. What a request can make the server hold is bounded: body, pictures, steps, queue, finished jobs, connections.
 * No path of a file ever comes from a request. */
#ifndef GLIDE_SERVE_H
#define GLIDE_SERVE_H

#include "glide/glide.h"
#include "common/status.h"

#include <stddef.h>

/* Texts are borrowed as long as the server runs. */
typedef struct ServeOptions {
    const char *host;    /* default "127.0.0.1"; others than loopback ask for a key */
    int port;            /* default 7860; 0: any free one */
    const char *api_key; /* NULL: none */
    const char *gallery; /* folder for finished pictures and comparisons, made when it is missing; NULL: nothing is kept */
    GlideOptions glide;
    const char *guide_weights, *classifier, *clip; /* of guidance modes that requests may turn on; NULL: the default classifier
                                                      and CLIP where there are any, no autoguidance */
    int queue;           /* jobs that wait at most. Default 32 */
    int most_pictures;   /* of a job. Default 16 */
    int most_steps;      /* of a stage. Default 1000 */
    int most_side;       /* of a picture that is sent. Default 4096 */
    size_t most_body;    /* bytes of a request with pictures. Default 32 MiB */
    size_t most_memory;  /* bytes of bodies and waiting jobs together, and of finished jobs. Default 256 MiB */
    int connections;     /* default 160 */
    int patience;        /* seconds for a request to come in. Default 30 */
} ServeOptions;

typedef struct Server Server;

ServeOptions serve_defaults(void);

/* Reads both models first. STATUS_BAD_INPUT: an option or a model is wrong; STATUS_IO: the port is taken. */
Status serve_start(const ServeOptions *o, Server **out);
int serve_port(const Server *s);
void serve_stop(Server *s); /* NULL is fine */

#endif
