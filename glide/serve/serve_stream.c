#include "glide/serve/serve_stream.h"

#include "common/base64.h"
#include "glide/serve/serve_preview.h"
#include "glide/serve/serve_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEEP_ALIVE_SECONDS = 5, QUEUE_PAUSE_MS = 150, BLOCK = 32768 };

typedef struct Stream {
    Server *server;
    Job *job; /* NULL: of the queue */
    int next; /* event of the job */
    bool previews;
    uint64_t version; /* of the queue, told last */
    char *text;       /* being sent */
    size_t size, at;
} Stream;

/* Waits for news a while. With the lock held. */
static void wait_for_news(Jobs *q)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += KEEP_ALIVE_SECONDS;
    pthread_cond_timedwait(&q->changed, &q->lock, &until);
}

static void set_text(Stream *st, char *text)
{
    free(st->text);
    st->text = text;
    st->size = text ? strlen(text) : 0;
    st->at = 0;
}

/* --- a job ------------------------------------------------------------------------------------------ */

/* An event as it was when the lock was let go. */
typedef struct Snapshot {
    int id;
    const char *type;
    char *json;
    JobFrame frame; /* .rgb a copy, or NULL */
} Snapshot;

static void copy_event(const JobEvent *e, int id, bool previews, Snapshot *out)
{
    *out = (Snapshot){.id = id, .type = e->type, .json = strdup(e->json)};
    if (!e->frame || !previews) return;
    size_t bytes = (size_t)e->frame->count * frame_size(e->frame);
    out->frame = *e->frame;
    out->frame.rgb = malloc(bytes);
    if (out->frame.rgb) memcpy(out->frame.rgb, e->frame->rgb, bytes);
}

/* The frame's pictures as a JSON array of base64. */
static json_t *encode_frame(const JobFrame *f)
{
    json_t *list = json_array();
    size_t bytes = frame_size(f);
    for (int i = 0; i < f->count; i++) {
        unsigned char *png = NULL;
        size_t size = 0;
        const Image image = {f->width, f->height, f->rgb + (size_t)i * bytes};
        char *text = preview_encode(&image, &png, &size) == STATUS_OK ? base64_encode(png, size) : NULL;
        json_array_append_new(list, text ? json_string(text) : json_null());
        free(text);
        free(png);
    }
    return list;
}

static char *event_text(Snapshot *e)
{
    char *previews = NULL, *text = NULL;
    size_t n = e->json ? strlen(e->json) : 0;
    if (e->frame.rgb) {
        json_t *list = encode_frame(&e->frame);
        previews = json_dumps(list, JSON_COMPACT);
        json_decref(list);
    }
    if (n > 2 && previews) n--; /* the brace comes after the previews */
    int length =
        asprintf(&text, "id: %d\nevent: %s\ndata: %.*s%s%s%s\n\n", e->id, e->type, (int)n, e->json ? e->json : "{}",
                 previews && n > 2 ? ",\"previews\":" : "", previews && n > 2 ? previews : "", previews && n > 2 ? "}" : "");
    free(previews);
    free(e->json);
    free(e->frame.rgb);
    return length < 0 ? NULL : text;
}

/* False: the stream ends. */
static bool next_of_job(Stream *st)
{
    Jobs *q = &st->server->jobs;
    Snapshot event = {0};
    pthread_mutex_lock(&q->lock);
    if (st->next >= st->job->event_count && !job_over(st->job) && !q->stopping) wait_for_news(q);
    bool some = st->next < st->job->event_count, over = !some && (job_over(st->job) || q->stopping);
    if (some) copy_event(&st->job->events[st->next], st->next, st->previews, &event);
    pthread_mutex_unlock(&q->lock);
    if (over) return false;
    set_text(st, some ? event_text(&event) : strdup(": still here\n\n"));
    st->next += some;
    return true;
}

/* --- the queue -------------------------------------------------------------------------------------- */

static bool next_of_queue(Stream *st)
{
    Jobs *q = &st->server->jobs;
    char *text = NULL;
    struct timespec pause = {0, QUEUE_PAUSE_MS * 1000000L};
    if (st->version) nanosleep(&pause, NULL); /* many changes at once are one piece of news */
    pthread_mutex_lock(&q->lock);
    if (q->version == st->version && !q->stopping) wait_for_news(q);
    bool over = q->stopping, news = q->version != st->version;
    json_t *list = news ? json_array() : NULL;
    for (int i = q->count - 1; news && i >= 0; i--) json_array_append_new(list, jobs_show(q, q->list[i]));
    st->version = q->version;
    pthread_mutex_unlock(&q->lock);
    if (over) {
        json_decref(list);
        return false;
    }
    char *json = list ? json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(13)) : NULL;
    json_decref(list);
    if (!json || asprintf(&text, "event: queue\ndata: %s\n\n", json) < 0) text = strdup(": still here\n\n");
    free(json);
    set_text(st, text);
    return true;
}

/* --- for libmicrohttpd ------------------------------------------------------------------------------ */

static ssize_t read_stream(void *cls, uint64_t position, char *out, size_t most)
{
    Stream *st = cls;
    (void)position;
    while (st->at == st->size) {
        if (!(st->job ? next_of_job(st) : next_of_queue(st))) return MHD_CONTENT_READER_END_OF_STREAM;
        if (!st->text) return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    size_t n = st->size - st->at < most ? st->size - st->at : most;
    memcpy(out, st->text + st->at, n);
    st->at += n;
    return (ssize_t)n;
}

static void end_stream(void *cls)
{
    Stream *st = cls;
    job_put(&st->server->jobs, st->job);
    free(st->text);
    free(st);
}

static void start(Request *r, const Stream *with, Reply *out)
{
    Stream *st = malloc(sizeof *st);
    if (st) *st = *with;
    out->stream = st ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_stream, st, end_stream) : NULL;
    if (!out->stream) {
        free(st);
        job_put(&r->server->jobs, with->job);
        reply_fail(out, 503, "out of memory");
        return;
    }
    out->status = 200;
    out->type = "text/event-stream";
}

void stream_job(Request *r, Job *job, int after, bool previews, Reply *out)
{
    start(r, &(Stream){.server = r->server, .job = job, .next = after + 1, .previews = previews}, out);
}

void stream_queue(Request *r, Reply *out)
{
    start(r, &(Stream){.server = r->server}, out);
}
