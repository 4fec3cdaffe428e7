/* What the faces share: queueing, waiting, recipes. */
#include "common/base64.h"
#include "common/image_read.h"
#include "glide/json_text.h"
#include "glide/recipe.h"
#include "glide/serve/serve_faces.h"
#include "glide/serve/serve_json.h"
#include "glide/serve/serve_preview.h"
#include "glide/serve/serve_server.h"

#include <stdlib.h>
#include <string.h>

json_t *face_object(Request *r, Reply *out)
{
    json_t *json;
    if (json_parse(r->body, r->size, &json) == STATUS_OK && json_is_object(json)) return json;
    reply_fail(out, 422, "%s", json ? "body: expected a JSON object" : status_message());
    json_decref(json);
    return NULL;
}

Job *face_add(Request *r, JobRequest *request, Reply *out)
{
    Job *job;
    JobsAdd added = jobs_add(&r->server->jobs, request, &job);
    if (added == JOBS_ADDED) return job;
    request_release(request);
    reply_fail(out, 503, added == JOBS_FULL ? "the queue is full, try again later" : "the server stops");
    return NULL;
}

bool face_wait(Request *r, JobRequest *request, Job **job, Reply *out)
{
    Jobs *q = &r->server->jobs;
    *job = face_add(r, request, out);
    if (!*job) return false;
    while (!jobs_wait(q, *job, 0.25))
        if (request_gone(r)) jobs_cancel(q, *job);
    return true;
}

void face_failed(Request *r, Job *job, Reply *out)
{
    reply_fail(out, job->status == STATUS_BAD_INPUT ? 400 : job->status == STATUS_INTERRUPTED ? 503 : 500, "%s", job->error);
    job_put(&r->server->jobs, job);
}

bool face_run(Request *r, JobRequest *request, Job **job, Reply *out)
{
    if (!face_wait(r, request, job, out)) return false;
    if ((*job)->status == STATUS_OK) return true;
    face_failed(r, *job, out);
    *job = NULL;
    return false;
}

unsigned char *face_picture(Jobs *q, const Job *job, int index, size_t *size)
{
    unsigned char *copy = NULL;
    *size = 0;
    pthread_mutex_lock(&q->lock);
    if (index >= 0 && index < job->request.n && job->pictures[index].png) {
        *size = job->pictures[index].size;
        copy = malloc(*size);
        if (copy) memcpy(copy, job->pictures[index].png, *size);
    }
    pthread_mutex_unlock(&q->lock);
    return copy;
}

Image face_frame(const Job *job)
{
    for (int i = job->event_count - 1; i >= 0; i--) {
        const JobFrame *f = job->events[i].frame;
        if (!f) continue;
        unsigned char *rgb = malloc(frame_size(f));
        if (rgb) memcpy(rgb, f->rgb, frame_size(f));
        return (Image){f->width, f->height, rgb};
    }
    return (Image){0};
}

json_t *face_encode(Image *image)
{
    unsigned char *png = NULL;
    size_t size = 0;
    char *text = image->pixels && preview_encode(image, &png, &size) == STATUS_OK ? base64_encode(png, size) : NULL;
    json_t *json = text ? json_string(text) : json_null();
    free(text);
    free(png);
    image_release(image);
    return json;
}

json_t *face_recipe(const unsigned char *png, size_t size, Reply *out)
{
    PngTexts texts;
    GlideRecipe *recipe = NULL;
    json_t *lines = json_object(), *json = json_object();
    Status s = png_decode_text("the picture", png, size, &texts);
    if (s != STATUS_OK) {
        reply_status(out, s);
        json_decref(lines);
        json_decref(json);
        return NULL;
    }
    const char *parameters = png_texts_find(&texts, "parameters");
    if (recipe_from_png("the picture", &texts, &recipe) != STATUS_OK) recipe = NULL;
    for (int i = 0; recipe && i < recipe->count; i++)
        json_object_set_new(lines, recipe->lines[i].key, json_text(recipe->lines[i].value));
    for (int i = 0; !recipe && i < texts.count; i++) json_object_set_new(lines, texts.keys[i], json_text(texts.values[i]));
    json_object_set_new(json, "ours", json_boolean(recipe != NULL));
    json_object_set_new(json, "lines", lines);
    json_object_set_new(json, "parameters", json_text(parameters ? parameters : ""));
    json_object_set_new(json, "request", recipe ? request_from_recipe(recipe) : json_null());
    recipe_free(recipe);
    png_texts_release(&texts);
    return json;
}
