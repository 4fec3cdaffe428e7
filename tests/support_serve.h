/* A server with tiny models in the test's own process. */
#ifndef GLIDE_TESTS_SUPPORT_SERVE_H
#define GLIDE_TESTS_SUPPORT_SERVE_H

#include "glide/serve/serve.h"
#include "tests/support_http.h"

#include <stdbool.h>

/* Few steps, so that a job takes milliseconds; and one that takes as long as it is let. */
#define QUICK_FIELDS "\"steps\":4,\"upsampler_steps\":2"
#define SLOW_FIELDS  "\"steps\":900,\"sampler\":\"ddpm\",\"upsample\":false"

/* On any free port, its gallery in the test's folder; limits as tests want them. */
ServeOptions test_serve_options(void);
Server *test_serve_start(const ServeOptions *o);
/* The folder with tiny weights and the server, for a group's setup; NULL: failed. tiny_weights_teardown() ends it. */
Server *test_serve_setup(void **state, int *port);

int64_t job_create(int port, const char *json); /* its number */
/* Waits until it is over; the job, to be released. */
json_t *job_wait(int port, int64_t id);
json_t *job_until(int port, int64_t id, bool (*until)(const json_t *job));
const char *text_of(const json_t *object, const char *key);
int64_t int_of(const json_t *object, const char *key);
/* Base64 text (NULL fails) that is a picture of w x h. */
void check_base64_picture(const char *text, int w, int h);

#endif
