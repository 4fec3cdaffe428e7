/* The server's own API: recipes, the gallery, comparisons. */
#include "glide/serve/serve_faces.h"
#include "glide/serve/serve_gallery.h"
#include "glide/serve/serve_server.h"

#include <stdlib.h>

/* The body is a PNG. */
void own_recipe(Request *r, Reply *out)
{
    pthread_mutex_lock(&r->server->decoding);
    json_t *json = face_recipe((const unsigned char *)(r->body ? r->body : ""), r->size, out);
    pthread_mutex_unlock(&r->server->decoding);
    if (json) reply_json(out, 200, json);
}

static const char *folder(Request *r, Reply *out)
{
    if (!r->server->options.gallery) reply_fail(out, 404, "gallery: the server keeps none");
    return r->server->options.gallery;
}

void own_gallery(Request *r, Reply *out)
{
    json_t *list;
    const char *in = folder(r, out), *limit = request_query(r, "limit");
    long most = limit ? strtol(limit, NULL, 10) : 60;
    if (!in) return;
    Status s = gallery_list(in, request_query(r, "before"), most < 1 || most > 500 ? 60 : (int)most, &list);
    if (s == STATUS_OK)
        reply_json(out, 200, list);
    else
        reply_status(out, s);
}

static unsigned char *read_picture(Request *r, size_t *size, Reply *out)
{
    unsigned char *bytes;
    const char *in = folder(r, out);
    if (!in) return NULL;
    Status s = gallery_read(in, r->params[0], &bytes, size);
    if (s == STATUS_OK) return bytes;
    reply_fail(out, s == STATUS_BAD_INPUT ? 404 : 503, "%s", status_message());
    return NULL;
}

void own_gallery_picture(Request *r, Reply *out)
{
    size_t size;
    unsigned char *bytes = read_picture(r, &size, out);
    if (bytes) reply_bytes(out, "image/png", bytes, size, true);
}

void own_gallery_recipe(Request *r, Reply *out)
{
    size_t size;
    unsigned char *bytes = read_picture(r, &size, out);
    json_t *json = bytes ? face_recipe(bytes, size, out) : NULL;
    free(bytes);
    if (json) reply_json(out, 200, json);
}

void own_gallery_remove(Request *r, Reply *out)
{
    const char *in = folder(r, out);
    if (!in) return;
    Status s = gallery_remove(in, r->params[0]);
    if (s == STATUS_OK)
        reply_json(out, 200, json_pack("{s:s}", "removed", r->params[0]));
    else
        reply_fail(out, s == STATUS_BAD_INPUT ? 404 : 500, "%s", status_message());
}

void own_comparisons(Request *r, Reply *out)
{
    reply_json(out, 200, compare_show(&r->server->comparisons));
}

void own_compare(Request *r, Reply *out)
{
    json_t *json;
    Status s = json_parse(r->body, r->size, &json);
    if (s == STATUS_OK) {
        s = compare_add(&r->server->comparisons, json);
        json_decref(json);
    }
    if (s == STATUS_OK)
        reply_json(out, 201, compare_show(&r->server->comparisons));
    else
        reply_status(out, s);
}
