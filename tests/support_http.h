/* A small HTTP client on plain sockets, for tests of the server. Any failure of the connection itself fails the test. */
#ifndef GLIDE_TESTS_SUPPORT_HTTP_H
#define GLIDE_TESTS_SUPPORT_HTTP_H

#include <jansson.h>
#include <stddef.h>

typedef struct HttpAnswer {
    int status;     /* 0: the server closed the connection without an answer */
    char *headers;  /* with a zero at the end */
    char *body;     /* (size), with a zero behind it */
    size_t size;
} HttpAnswer;

int http_connect(int port); /* a socket to 127.0.0.1, which gives up after 20 seconds without a byte */
void http_send(int fd, const void *bytes, size_t size); /* as far as the other side takes it */
void http_read(int fd, HttpAnswer *out); /* up to the end, and closes */
void http_release(HttpAnswer *a);

/* A request in HTTP/1.0, whose answers end with the connection. headers: lines that each end in "\r\n"; NULL: none. Host is
 * localhost unless they name one. */
void http_ask(int port, const char *method, const char *path, const char *headers, const void *body, size_t size, HttpAnswer *out);
/* The same, sent and not waited for: the socket. */
int http_begin(int port, const char *method, const char *path, const char *headers, const void *body, size_t size);

/* JSON both ways; body NULL: none. Fails the test on another status, naming the answer. Free with json_decref(). */
json_t *http_json(int port, const char *method, const char *path, const char *body, int status);

#endif
