#include "glide/serve/serve_http.h"

#include "common/base64.h"
#include "glide/json_text.h"
#include "glide/serve/serve_server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- replies ---------------------------------------------------------------------------------------- */

void reply_fail(Reply *out, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(out->message, sizeof out->message, format, args);
    va_end(args);
    out->status = status;
}

void reply_status(Reply *out, Status s)
{
    int status = s == STATUS_BAD_INPUT ? 400 : s == STATUS_NO_MEMORY ? 503 : s == STATUS_INTERRUPTED ? 499 : 500;
    reply_fail(out, status, "%s", status_message());
}

void reply_bytes(Reply *out, const char *type, void *bytes, size_t size, bool owned)
{
    if (!out->status) out->status = 200;
    out->type = type;
    out->body = bytes;
    out->size = size;
    out->owned = owned;
}

void reply_json(Reply *out, int status, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(13)) : NULL;
    json_decref(json);
    if (!text) {
        reply_fail(out, 503, "out of memory");
        return;
    }
    out->status = status;
    reply_bytes(out, "application/json", text, strlen(text), true);
}

static json_t *error_json(Face face, const Reply *reply)
{
    const char *type = reply->status == 401                           ? "authentication_error"
                       : reply->status == 429 || reply->status == 503 ? "rate_limit_error"
                       : reply->status < 500                          ? "invalid_request_error"
                                                                      : "server_error";
    json_t *message = json_text(reply->message); /* may name bytes of the request's, or end within a character */
    if (face == FACE_OPENAI)
        return json_pack("{s:{s:o,s:s,s:o,s:n}}", "error", "message", message, "type", type, "param",
                         *reply->param ? json_text(reply->param) : json_null(), "code");
    if (face == FACE_A1111) {
        const char *name = reply->status == 422 ? "HTTPValidationError" : reply->status < 500 ? "HTTPException" : "Error";
        return json_pack("{s:s,s:O,s:s,s:o}", "error", name, "detail", message, "body", "", "errors", message);
    }
    return json_pack("{s:i,s:o}", "status", reply->status, "error", message);
}

static const char page_policy[] =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static void add_headers(struct MHD_Response *response, const Reply *reply)
{
    MHD_add_response_header(response, "Content-Type", reply->type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    if (!strncmp(reply->type, "text/html", 9)) MHD_add_response_header(response, "Content-Security-Policy", page_policy);
    if (reply->status == 401) MHD_add_response_header(response, "WWW-Authenticate", "Basic realm=\"glide\", charset=\"UTF-8\"");
    if (reply->status == 503 || reply->status == 429) MHD_add_response_header(response, "Retry-After", "5");
}

static enum MHD_Result send_reply(struct MHD_Connection *connection, Face face, Reply *reply)
{
    if (*reply->message) {
        int status = reply->status;
        reply_json(reply, status, error_json(face, reply));
    }
    struct MHD_Response *response = reply->stream;
    if (!response)
        response = MHD_create_response_from_buffer(reply->size, reply->body,
                                                   reply->owned ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (!response) {
        if (reply->owned) free(reply->body);
        return MHD_NO;
    }
    add_headers(response, reply);
    enum MHD_Result result = MHD_queue_response(connection, (unsigned)reply->status, response);
    MHD_destroy_response(response);
    return result;
}

/* --- requests --------------------------------------------------------------------------------------- */

const char *request_header(const Request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

const char *request_query(const Request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
}

uint64_t request_number(const Request *r, int param)
{
    return strtoull(r->params[param], NULL, 10);
}

bool request_gone(const Request *r)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    char byte;
    if (!info) return false;
    ssize_t n = recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/* The name in a Host header, without port and brackets. */
static bool is_loopback_name(const char *host)
{
    char name[64];
    bool bracketed = *host == '[';
    snprintf(name, sizeof name, "%.*s", (int)(bracketed ? strcspn(host + 1, "]") : strcspn(host, ":")), host + bracketed);
    return !strcasecmp(name, "localhost") || !strcmp(name, "::1") ||
           (!strncmp(name, "127.", 4) && strspn(name, "0123456789.") == strlen(name));
}

static bool same_text(const char *a, const char *b) /* in a time that does not tell where they differ */
{
    size_t n = strlen(a), m = strlen(b);
    unsigned char differs = n != m;
    for (size_t i = 0; i < n; i++) differs |= (unsigned char)(a[i] ^ (m ? b[i % m] : 0));
    return !differs;
}

static bool has_key(const Request *r, const char *key)
{
    const char *bearer = request_header(r, "Authorization"), *plain = request_header(r, "X-API-Key");
    unsigned char *bytes;
    size_t size;
    if (plain) return same_text(key, plain);
    if (bearer && !strncasecmp(bearer, "Bearer ", 7)) return same_text(key, bearer + 7);
    if (!bearer || strncasecmp(bearer, "Basic ", 6) != 0 || base64_decode(bearer + 6, &bytes, &size) != STATUS_OK) return false;
    bytes[size] = 0; /* base64_decode() left room */
    const char *colon = strchr((char *)bytes, ':');
    bool good = colon && same_text(key, colon + 1);
    free(bytes);
    return good;
}

/* Pages of other sites must not reach the server through the visitor's browser: neither under another name for this address
 * (Host) nor by sending to it (Origin). */
static bool admitted(const Request *r, Reply *out)
{
    const Server *s = r->server;
    const char *host = request_header(r, "Host"), *origin = request_header(r, "Origin");
    if (s->loopback && host && !is_loopback_name(host)) {
        reply_fail(out, 403, "Host: expected localhost, found \"%.60s\"", host);
        return false;
    }
    if (origin && (!host || strncmp(origin, "http", 4) ||
                   strcasecmp(origin + strcspn(origin, ":") + (strstr(origin, "://") ? 3 : 0), host))) {
        reply_fail(out, 403, "Origin: expected none or this server's own, found \"%.60s\"", origin);
        return false;
    }
    if (s->options.api_key && !(r->route && r->route->open) && !has_key(r, s->options.api_key)) {
        reply_fail(out, 401, "expected the server's key (Authorization: Bearer KEY)");
        return false;
    }
    return true;
}

static size_t most_body(const Request *r)
{
    return r->route && r->route->large ? r->server->options.most_body : SMALL_BODY;
}

/* What can be said before the body is here. */
static bool check_start(Request *r, const char *method, const char *path, Reply *out)
{
    bool known = false;
    const char *length = request_header(r, "Content-Length");
    r->route = route_find(method, path, r->params, &known);
    if (!admitted(r, out)) return false;
    if (!r->route)
        reply_fail(out, known ? 405 : 404, known ? "%s: not for %.100s" : "%s %.100s: there is no such thing", method, path);
    else if (length && strtoull(length, NULL, 10) > most_body(r))
        reply_fail(out, 413, "body: expected at most %zu bytes, found %.24s", most_body(r), length);
    return r->route && !*out->message;
}

static Face face_of(const Request *r, const char *path)
{
    if (r->route) return r->route->face;
    return !strncmp(path, "/v1/", 4) ? FACE_OPENAI : !strncmp(path, "/sdapi/", 7) ? FACE_A1111 : FACE_OWN;
}

/* Room for more of the body; what all bodies hold together is limited, too. */
static bool grow_body(Request *r, size_t more)
{
    Server *s = r->server;
    size_t need = r->size + more + 1, room = r->room ? r->room : 4096;
    if (need > most_body(r) + 1 || jobs_now() - r->begun > 4 * s->options.patience) return false;
    while (room < need) room *= 2;
    if (room == r->room) return true;
    pthread_mutex_lock(&s->lock);
    bool fits = s->body_bytes + room - r->room <= s->options.most_memory;
    if (fits) s->body_bytes += room - r->room;
    pthread_mutex_unlock(&s->lock);
    if (!fits) return false;
    char *body = realloc(r->body, room);
    r->room = room; /* is given back in any case */
    if (!body) return false;
    r->body = body;
    return true;
}

static enum MHD_Result take_body(Request *r, const char *bytes, size_t *size)
{
    if (!grow_body(r, *size)) return MHD_NO; /* nothing can be answered in the middle of a body: the connection is closed */
    memcpy(r->body + r->size, bytes, *size);
    r->size += *size;
    r->body[r->size] = 0;
    *size = 0;
    return MHD_YES;
}

static void request_end(void *cls, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode code)
{
    Request *r = *state;
    (void)connection;
    (void)code;
    (void)cls;
    if (!r) return;
    pthread_mutex_lock(&r->server->lock);
    r->server->body_bytes -= r->room;
    pthread_mutex_unlock(&r->server->lock);
    free(r->body);
    free(r);
    *state = NULL;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **state)
{
    Server *s = cls;
    Request *r = *state;
    Reply reply = {.type = "application/json"};
    const char *as = !strcmp(method, "HEAD") ? "GET" : method;
    (void)version;
    if (!r) {
        r = *state = calloc(1, sizeof *r);
        if (!r) return MHD_NO;
        *r = (Request){.server = s, .connection = connection, .begun = jobs_now()};
        MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)s->options.patience);
        return check_start(r, as, path, &reply) ? MHD_YES : send_reply(connection, face_of(r, path), &reply);
    }
    if (*upload_size) return take_body(r, upload, upload_size);
    if (!r->route) return MHD_NO;
    MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0); /* answers may take as long as pictures do */
    r->route->handle(r, &reply);
    if (!reply.status) reply_fail(&reply, 500, "no answer");
    return send_reply(connection, r->route->face, &reply);
}

static void be_quiet(void *cls, const char *format, va_list args)
{
    (void)cls;
    (void)format;
    (void)args;
}

Status http_start(Server *s, int fd, struct MHD_Daemon **out)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL | MHD_USE_ERROR_LOG;
    *out = MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, be_quiet, NULL,
                            MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, request_end, NULL,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->options.connections, MHD_OPTION_CONNECTION_TIMEOUT,
                            (unsigned)s->options.patience, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)131072,
                            MHD_OPTION_THREAD_STACK_SIZE, (size_t)1 << 20, MHD_OPTION_END);
    return *out ? STATUS_OK : status_fail(STATUS_INTERNAL, "libmicrohttpd could not start");
}
