/* glide serve and those who mean no good, or too much: limits, other sites, keys, malformed requests, ends. */
#include "tests/support_folder.h"
#include "tests/support_models.h"
#include "tests/support_serve.h"
#include "tests/support_status.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static Server *server;
static int port;

static int start(const ServeOptions *o)
{
    server = test_serve_start(o);
    port = serve_port(server);
    return 0;
}

static int setup(void **state)
{
    ServeOptions o = test_serve_options();
    (void)state;
    o.queue = 2;
    o.most_body = 100000;
    o.most_side = 64;
    o.patience = 1;
    return start(&o);
}

static int setup_key(void **state)
{
    ServeOptions o = test_serve_options();
    (void)state;
    o.api_key = "open sesame";
    return start(&o);
}

static int teardown(void **state)
{
    (void)state;
    serve_stop(server);
    return 0;
}

static int status_of(const char *method, const char *path, const char *headers, const char *body, size_t size)
{
    HttpAnswer a;
    http_ask(port, method, path, headers, body, size, &a);
    int status = a.status;
    http_release(&a);
    return status;
}

/* Waits until nothing waits and nothing is in work. */
static void drain(void)
{
    const struct timespec pause = {0, 5000000};
    for (bool busy = true; busy; nanosleep(&pause, NULL)) {
        json_t *jobs = http_json(port, "GET", "/api/jobs", NULL, 200), *job;
        size_t i;
        busy = false;
        json_array_foreach(jobs, i, job) busy =
            busy || !strcmp(text_of(job, "state"), "queued") || !strcmp(text_of(job, "state"), "running");
        json_decref(jobs);
    }
}

static bool running(const json_t *job)
{
    return !strcmp(text_of(job, "state"), "running");
}

/* --- other sites, keys --- */
static void test_other_sites(void **state)
{
    (void)state;
    const char *job = "{\"steps\":3,\"upsample\":false}";
    size_t n = strlen(job);
    assert_int_equal(status_of("GET", "/api/jobs", "Host: evil.example\r\n", NULL, 0), 403);
    assert_int_equal(status_of("GET", "/api/jobs", "Host: 127.0.0.1.evil.example:7860\r\n", NULL, 0), 403);
    assert_int_equal(status_of("GET", "/api/jobs", "Host: localhost:7860\r\n", NULL, 0), 200);
    assert_int_equal(status_of("GET", "/api/jobs", "Host: 127.0.0.1\r\n", NULL, 0), 200);
    assert_int_equal(status_of("GET", "/api/jobs", "Host: [::1]:7860\r\n", NULL, 0), 200);
    assert_int_equal(status_of("POST", "/api/jobs", "Host: localhost\r\nOrigin: http://evil.example\r\n", job, n), 403);
    assert_int_equal(status_of("POST", "/api/jobs", "Host: localhost\r\nOrigin: null\r\n", job, n), 403);
    assert_int_equal(status_of("POST", "/api/jobs", "Host: localhost:1\r\nOrigin: http://localhost:2\r\n", job, n), 403);
    assert_int_equal(status_of("POST", "/v1/images/generations", "Host: localhost\r\nOrigin: https://evil.example\r\n", job, n),
                     403);
    assert_int_equal(status_of("POST", "/api/jobs", "Host: localhost:1\r\nOrigin: http://localhost:1\r\n", job, n), 201);
}

static void test_key(void **state)
{
    (void)state;
    assert_int_equal(status_of("GET", "/", NULL, NULL, 0), 401);
    assert_int_equal(status_of("GET", "/api/jobs", NULL, NULL, 0), 401);
    assert_int_equal(status_of("GET", "/api/jobs", "Authorization: Bearer wrong\r\n", NULL, 0), 401);
    assert_int_equal(status_of("GET", "/api/jobs", "Authorization: Bearer open sesam\r\n", NULL, 0), 401);
    assert_int_equal(status_of("GET", "/api/jobs", "Authorization: Basic ????\r\n", NULL, 0), 401);
    assert_int_equal(status_of("GET", "/api/jobs", "Authorization: Bearer open sesame\r\n", NULL, 0), 200);
    assert_int_equal(status_of("GET", "/v1/models", "X-API-Key: open sesame\r\n", NULL, 0), 200);
    assert_int_equal(status_of("GET", "/", "Authorization: Basic bWU6b3BlbiBzZXNhbWU=\r\n", NULL, 0), 200); /* me:open sesame */
}

/* --- limits --- */
static void test_bodies(void **state)
{
    (void)state;
    char *large = calloc(1, 200001);
    memset(large, ' ', 200000);
    assert_int_equal(status_of("POST", "/api/jobs", NULL, large, 200000), 413);
    assert_int_equal(status_of("POST", "/api/comparisons", NULL, large, 70000), 413);
    /* in pieces of unknown sum: the connection is closed */
    int fd = http_connect(port);
    const char *head = "POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    HttpAnswer a;
    http_send(fd, head, strlen(head));
    for (int i = 0; i < 20; i++) {
        http_send(fd, "2710\r\n", 6);
        http_send(fd, large, 10000);
        http_send(fd, "\r\n", 2);
    }
    http_read(fd, &a);
    assert_true(a.status == 0 || a.status == 413);
    http_release(&a);
    memset(large, '[', 200);
    large[200] = 0;
    json_decref(http_json(port, "POST", "/api/jobs", large, 400));
    free(large);
    assert_int_equal(status_of("GET", "/api/jobs", NULL, NULL, 0), 200);
}

static void test_large_picture(void **state)
{
    (void)state;
    GlidePicture p = {.width = 65, .height = 4, .rgb = calloc(65 * 4, 3)};
    size_t size;
    OK((Status)glide_picture_write(&p, in_test_folder("wide.png")));
    glide_picture_release(&p);
    unsigned char *png = read_bytes(in_test_folder("wide.png"), &size);
    HttpAnswer a;
    char body[4096] = "--b\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n";
    size_t n = strlen(body);
    memcpy(body + n, png, size);
    n += size;
    n += (size_t)sprintf(body + n, "\r\n--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nx\r\n--b--\r\n");
    http_ask(port, "POST", "/v1/images/edits", "Content-Type: multipart/form-data; boundary=b\r\n", body, n, &a);
    assert_int_equal(a.status, 400);
    assert_non_null(strstr(a.body, "64 x 64"));
    http_release(&a);
    free(png);
}

static void test_full_queue(void **state)
{
    (void)state;
    int64_t ids[3];
    char path[64];
    drain();
    ids[0] = job_create(port, "{" SLOW_FIELDS "}");
    json_decref(job_until(port, ids[0], running));
    for (int i = 1; i < 3; i++) ids[i] = job_create(port, "{" SLOW_FIELDS "}");
    json_decref(http_json(port, "POST", "/api/jobs", "{" SLOW_FIELDS "}", 503));
    json_t *json = http_json(port, "POST", "/v1/images/generations", "{\"prompt\":\"x\"}", 503);
    assert_string_equal(text_of(json_object_get(json, "error"), "type"), "rate_limit_error");
    json_decref(json);
    json_decref(http_json(port, "POST", "/sdapi/v1/txt2img", "{\"prompt\":\"x\"}", 503));
    for (int i = 2; i >= 0; i--) {
        snprintf(path, sizeof path, "/api/jobs/%lld", (long long)ids[i]);
        json_decref(http_json(port, "DELETE", path, NULL, 200));
        json_decref(job_wait(port, ids[i]));
    }
}

/* A client of a waiting interface that goes away takes its job along. */
static void test_client_gone(void **state)
{
    (void)state;
    const char *body = "{\"prompt\":\"x\",\"size\":\"16x16\",\"sampler\":\"ddpm\",\"steps\":900}";
    const struct timespec pause = {0, 20000000};
    drain();
    int fd = http_begin(port, "POST", "/v1/images/generations", NULL, body, strlen(body));
    bool seen = false, cancelled = false;
    for (int i = 0; i < 500 && !cancelled; i++) {
        nanosleep(&pause, NULL);
        json_t *jobs = http_json(port, "GET", "/api/jobs", NULL, 200);
        const char *state_of = text_of(json_array_get(jobs, 0), "state");
        if (!seen && !strcmp(state_of, "running")) {
            seen = true;
            close(fd);
        }
        cancelled = seen && !strcmp(state_of, "cancelled");
        json_decref(jobs);
    }
    assert_true(cancelled);
}

static void test_slow_sender(void **state)
{
    (void)state;
    HttpAnswer a;
    int fd = http_connect(port);
    http_send(fd, "POST /api/jobs HTTP/1.1\r\nHost: local", 37);
    http_read(fd, &a); /* comes to an end by itself */
    assert_int_not_equal(a.status, 200);
    http_release(&a);
}

static void *ask_often(void *arg)
{
    int *bad = arg;
    for (int i = 0; i < 20; i++) {
        HttpAnswer a;
        const char *body = i % 3 ? "{\"steps\":2,\"upsample\":false}" : "{\"steps\":-2}";
        http_ask(port, "POST", "/api/jobs", NULL, body, strlen(body), &a);
        *bad += i % 3 ? a.status != 201 && a.status != 503 : a.status != 400;
        http_release(&a);
        http_ask(port, "GET", "/api/jobs", NULL, NULL, 0, &a);
        *bad += a.status != 200;
        http_release(&a);
    }
    return NULL;
}

static void test_many_clients(void **state)
{
    (void)state;
    pthread_t threads[8];
    int bad[8] = {0};
    for (int i = 0; i < 8; i++) assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &bad[i]), 0);
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(bad[i], 0);
    }
}

/* --- nonsense --- */

/* Requests that are damaged at random, by a fixed seed: the server lives on. $GLIDE_TEST_MALFORMED: so many. */
static void test_malformed(void **state)
{
    (void)state;
    static const char *const good[] = {
        "POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 66\r\n\r\n"
        "{\"prompt\":\"x\",\"steps\":2,\"upsample\":false,\"guidance\":{\"cfg\":{\"scale\":2}}}",
        "POST /v1/images/edits HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: "
        "140\r\n\r\n"
        "--b\r\nContent-Disposition: form-data; name=\"image\"; "
        "filename=\"a.png\"\r\n\r\n\x89PNG\r\n\x1a\n\r\n--b\r\nContent-Disposition: form-data; "
        "name=\"prompt\"\r\n\r\nx\r\n--b--\r\n",
        "POST /sdapi/v1/png-info HTTP/1.1\r\nHost: localhost\r\nContent-Length: 29\r\n\r\n{\"image\":\"iVBORw0KGgoAAAANSUh\"}",
        "GET /api/jobs/1/events?after=3&previews=0 HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 7\r\n\r\n",
        "GET /api/timesteps?steps=10,10,3&sampler=ddim HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"};
    uint32_t random = 12345;
    const char *wanted = getenv("GLIDE_TEST_MALFORMED");
    int count = wanted ? atoi(wanted) : 400;
    for (int i = 0; i < count; i++) {
        char text[1024];
        const char *from = good[i % 5];
        size_t n = strlen(from);
        memcpy(text, from, n);
        for (int k = 0; k < 1 + i % 6; k++) {
            random = random * 1664525 + 1013904223;
            size_t at = (random >> 8) % n;
            if (random >> 30 == 0)
                n = at + 1; /* cut off */
            else
                text[at] = (char)(random >> 16);
        }
        int fd = http_connect(port);
        http_send(fd, text, n);
        shutdown(fd, SHUT_WR);
        if (i % 4 == 0) {
            HttpAnswer a;
            http_read(fd, &a);
            http_release(&a);
        } else {
            close(fd);
        }
    }
    assert_int_equal(status_of("GET", "/api/jobs", NULL, NULL, 0), 200);
}

/* Refusals that quote bytes which are not UTF-8, or that end within a character, say what is wrong all the same. */
static void test_quoted_bytes(void **state)
{
    static const char *const paths[] = {"/%FF", "/v1/models%FF", "/sdapi/v1/%C3", "/api/timesteps?steps=%FF"};
    static const int expected[] = {404, 404, 404, 400};
    static const char *const said[] = {"no such thing", "no such thing", "no such thing", "respacing"};
    (void)state;
    for (int i = 0; i < 4; i++) {
        HttpAnswer a;
        http_ask(port, "GET", paths[i], NULL, NULL, 0, &a);
        assert_int_equal(a.status, expected[i]);
        assert_non_null(strstr(a.body, said[i]));
        http_release(&a);
    }
    json_t *json = http_json(port, "POST", "/api/jobs",
                             "{\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\xc3\xa9\": 1}", 400);
    assert_non_null(strstr(text_of(json, "error"), "no such field"));
    json_decref(json);
}

/* --- beginnings and ends --- */
static void test_port_in_use(void **state)
{
    (void)state;
    ServeOptions o = test_serve_options();
    Server *second;
    o.port = port;
    FAILS(serve_start(&o, &second), STATUS_IO, "in use");
    assert_null(second);
    o.port = 0;
    o.host = "0.0.0.0";
    FAILS(serve_start(&o, &second), STATUS_BAD_INPUT, "--api-key");
    o.host = "127.0.0.1";
    o.glide.weights = "/nowhere/base.h5";
    FAILS(serve_start(&o, &second), STATUS_BAD_INPUT, "/nowhere/base.h5");
}

/* With a job in work, others waiting, and a client that listens. */
static void test_stop(void **state)
{
    (void)state;
    HttpAnswer a;
    drain();
    int64_t id = job_create(port, "{" SLOW_FIELDS "}");
    char path[64];
    job_create(port, "{" SLOW_FIELDS "}");
    snprintf(path, sizeof path, "/api/jobs/%lld/events?previews=0", (long long)id);
    int fd = http_begin(port, "GET", path, NULL, NULL, 0);
    const struct timespec pause = {0, 100000000};
    nanosleep(&pause, NULL);
    serve_stop(server);
    http_read(fd, &a);
    assert_int_equal(a.status, 200);
    http_release(&a);
    setup(state); /* for those that come after */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_sites),  cmocka_unit_test(test_bodies),      cmocka_unit_test(test_large_picture),
        cmocka_unit_test(test_full_queue),   cmocka_unit_test(test_client_gone), cmocka_unit_test(test_slow_sender),
        cmocka_unit_test(test_many_clients), cmocka_unit_test(test_malformed),   cmocka_unit_test(test_quoted_bytes),
        cmocka_unit_test(test_port_in_use),  cmocka_unit_test(test_stop),
    };
    const struct CMUnitTest with_key[] = {cmocka_unit_test(test_key)};
    if (tiny_weights_setup(NULL) != 0) return 1;
    int failed = cmocka_run_group_tests(tests, setup, teardown) + cmocka_run_group_tests(with_key, setup_key, teardown);
    tiny_weights_teardown(NULL);
    return failed;
}
