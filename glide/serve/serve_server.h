/* What the server's threads share. */
#ifndef GLIDE_SERVE_SERVER_H
#define GLIDE_SERVE_SERVER_H

#include "glide/serve/serve.h"
#include "glide/serve/serve_compare.h"
#include "glide/serve/serve_http.h"

struct Server {
    ServeOptions options; /* texts are borrowed */
    RequestLimits limits;
    Jobs jobs;
    Comparisons comparisons;
    Glide *glide;   /* the worker's */
    Glide *painter; /* likewise, for painting on pictures; NULL: glide does */
    Classifier *class_names; /* NULL: no classifier */
    char weights_hash[2][24]; /* of base model and upsampler; "": none */
    bool bf16, int8;
    bool loopback; /* listens there alone */
    int port;
    double started;
    struct MHD_Daemon *daemon;
    pthread_t worker;
    bool working; /* the worker was started */
    pthread_mutex_t lock;
    size_t body_bytes; /* of requests that are coming in, under `lock` */
    pthread_mutex_t decoding; /* one large picture at a time is unpacked */
};

#endif
