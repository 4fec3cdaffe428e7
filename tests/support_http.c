#include "tests/support_http.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

int http_connect(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 120}; /* sanitizers on a busy machine take their time */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

void http_send(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        if (n <= 0) return;
        at += n;
        size -= (size_t)n;
    }
}

void http_read(int fd, HttpAnswer *out)
{
    size_t room = 1 << 16, used = 0;
    char *text = malloc(room + 1);
    assert_non_null(text);
    for (ssize_t n; (n = recv(fd, text + used, room - used, 0)) > 0;) {
        used += (size_t)n;
        if (used == room) text = realloc(text, (room *= 2) + 1);
        assert_non_null(text);
    }
    close(fd);
    text[used] = 0;
    *out = (HttpAnswer){0};
    char *end = strstr(text, "\r\n\r\n");
    if (!end || sscanf(text, "HTTP/1.%*d %d", &out->status) != 1) {
        free(text);
        return;
    }
    *end = 0;
    out->headers = text;
    out->body = end + 4;
    out->size = (size_t)(text + used - out->body);
}

void http_release(HttpAnswer *a)
{
    free(a->headers);
    *a = (HttpAnswer){0};
}

int http_begin(int port, const char *method, const char *path, const char *headers, const void *body, size_t size)
{
    char head[2048];
    int fd = http_connect(port);
    const char *host = headers && strstr(headers, "Host:") ? "" : "Host: localhost\r\n";
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.0\r\n%s%sContent-Length: %zu\r\n\r\n", method, path, host,
                     headers ? headers : "", size);
    http_send(fd, head, (size_t)n);
    http_send(fd, body, size);
    return fd;
}

void http_ask(int port, const char *method, const char *path, const char *headers, const void *body, size_t size, HttpAnswer *out)
{
    http_read(http_begin(port, method, path, headers, body, size), out);
}

json_t *http_json(int port, const char *method, const char *path, const char *body, int status)
{
    HttpAnswer a;
    http_ask(port, method, path, body ? "Content-Type: application/json\r\n" : NULL, body, body ? strlen(body) : 0, &a);
    if (a.status != status) fail_msg("%s %s: status %d, expected %d: %.300s", method, path, a.status, status, a.body ? a.body : "");
    json_t *json = json_loadb(a.body, a.size, 0, NULL);
    if (!json) fail_msg("%s %s: no JSON: %.300s", method, path, a.body);
    http_release(&a);
    return json;
}
