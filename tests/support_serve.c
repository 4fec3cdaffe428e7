#include "tests/support_serve.h"

#include "common/base64.h"
#include "common/image_read.h"
#include "tests/support_folder.h"
#include "tests/support_models.h"
#include "tests/support_status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

ServeOptions test_serve_options(void)
{
    static char gallery[128];
    ServeOptions o = serve_defaults();
    o.port = 0;
    snprintf(gallery, sizeof gallery, "%s/gallery", test_folder);
    o.gallery = gallery;
    o.glide.threads = 1;
    o.patience = 5;
    return o;
}

Server *test_serve_start(const ServeOptions *o)
{
    Server *s;
    if (serve_start(o, &s) != STATUS_OK) fail_msg("%s", status_message());
    return s;
}

Server *test_serve_setup(void **state, int *port)
{
    if (tiny_weights_setup(state) != 0) return NULL;
    ServeOptions o = test_serve_options();
    Server *s = test_serve_start(&o);
    *port = serve_port(s);
    return s;
}

int64_t job_create(int port, const char *json)
{
    json_t *job = http_json(port, "POST", "/api/jobs", json, 201);
    int64_t id = int_of(job, "id");
    json_decref(job);
    return id;
}

static bool over(const json_t *job)
{
    const char *state = text_of(job, "state");
    return strcmp(state, "queued") != 0 && strcmp(state, "running") != 0;
}

json_t *job_until(int port, int64_t id, bool (*until)(const json_t *job))
{
    const struct timespec pause = {0, 5000000};
    char path[64];
    snprintf(path, sizeof path, "/api/jobs/%lld", (long long)id);
    for (int i = 0; i < 4000; i++) {
        json_t *job = http_json(port, "GET", path, NULL, 200);
        if (until(job)) return job;
        if (over(job)) fail_msg("job %lld is over: %s, %s", (long long)id, text_of(job, "state"), text_of(job, "error"));
        json_decref(job);
        nanosleep(&pause, NULL);
    }
    fail_msg("job %lld takes too long", (long long)id);
    return NULL;
}

json_t *job_wait(int port, int64_t id)
{
    return job_until(port, id, over);
}

const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

int64_t int_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

void check_base64_picture(const char *text, int w, int h)
{
    unsigned char *bytes;
    size_t size;
    Image image = {0};
    assert_non_null(text);
    OK(base64_decode(text, &bytes, &size));
    OK(image_decode("answer", bytes, size, &image));
    assert_int_equal(image.w, w);
    assert_int_equal(image.h, h);
    image_release(&image);
    free(bytes);
}
