/* Between libmicrohttpd and the faces: a request with its body, a reply, and the table of routes. */
#ifndef GLIDE_SERVE_HTTP_H
#define GLIDE_SERVE_HTTP_H

#include "glide/serve/serve_jobs.h"

#include <microhttpd.h>

typedef struct Server Server;

/* In which form errors are told. */
typedef enum { FACE_OWN, FACE_OPENAI, FACE_A1111 } Face;

enum { REQUEST_PARAMS = 2, REQUEST_PARAM_ROOM = 96, SMALL_BODY = 1 << 16 };

typedef struct Request Request;

typedef struct Reply {
    int status; /* 200 unless set */
    const char *type;
    void *body;   /* freed after sending, if `owned` */
    size_t size;
    bool owned;
    struct MHD_Response *stream; /* instead of body */
    char message[320]; /* of an error */
    char param[48];    /* OpenAI: the field that is wrong; "": none */
} Reply;

/* A path's segments in braces match: {id}, {index}, {step} digits, {name} a file name without folders. Everything that the server
 * answers is in `routes`, and in openapi.json. */
typedef struct Route {
    const char *method, *path;
    Face face;
    bool large; /* the body may hold pictures */
    bool open;  /* needs no key */
    void (*handle)(Request *r, Reply *out);
} Route;

const Route *routes(int *count);
/* params (REQUEST_PARAMS). NULL: none; *known says whether the path has another method. */
const Route *route_find(const char *method, const char *path, char params[REQUEST_PARAMS][REQUEST_PARAM_ROOM], bool *known);

struct Request {
    Server *server;
    struct MHD_Connection *connection;
    const Route *route;
    char params[REQUEST_PARAMS][REQUEST_PARAM_ROOM];
    char *body; /* ends with a zero behind `size` */
    size_t size, room;
    double begun;
};

/* Starts answering on a socket that listens. */
Status http_start(Server *s, int fd, struct MHD_Daemon **out);

/* --- for the faces --- */
const char *request_header(const Request *r, const char *name); /* NULL: none */
const char *request_query(const Request *r, const char *name);
uint64_t request_number(const Request *r, int param);
/* Whether the client has closed its end, asked for when an answer takes long. */
bool request_gone(const Request *r);

void reply_json(Reply *out, int status, json_t *json); /* takes it over; NULL: out of memory */
void reply_bytes(Reply *out, const char *type, void *bytes, size_t size, bool owned);
void reply_fail(Reply *out, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The last failure of this thread as one: 400 for bad input, 503 for memory, 500 for the rest. */
void reply_status(Reply *out, Status s);

#endif
