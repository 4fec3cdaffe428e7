/* OpenAI's images API: /v1/models, /v1/images/generations, /v1/images/edits. Errors are {"error": {"message", "type", "param",
 * "code"}}. Fields that mean nothing here (quality, style, user, ...) are ignored; "seed", "steps", "sampler", "negative_prompt"
 * and "guidance_scale" are understood besides. */
#include "common/base64.h"
#include "common/image_read.h"
#include "glide/inpaint.h"
#include "glide/serve/serve_faces.h"
#include "glide/serve/serve_multipart.h"
#include "glide/serve/serve_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static json_t *model_json(const Server *s)
{
    return json_pack("{s:s,s:s,s:I,s:s}", "id", "glide", "object", "model", "created", (json_int_t)s->started, "owned_by",
                     "glide.c");
}

void openai_models(Request *r, Reply *out)
{
    reply_json(out, 200, json_pack("{s:s,s:[o]}", "object", "list", "data", model_json(r->server)));
}

void openai_model(Request *r, Reply *out)
{
    if (!strcmp(r->params[0], "glide"))
        reply_json(out, 200, model_json(r->server));
    else
        reply_fail(out, 404, "The model '%s' does not exist", r->params[0]);
}

static bool wrong(Reply *out, const char *param, const char *message)
{
    snprintf(out->param, sizeof out->param, "%s", param);
    reply_fail(out, 400, "%s", message);
    return false;
}

/* The last failure; its message begins with the field's name. */
static bool wrong_field(Reply *out, Status s)
{
    size_t n = strcspn(status_message(), ":");
    reply_status(out, s);
    if (s == STATUS_BAD_INPUT && n < sizeof out->param && !memchr(status_message(), ' ', n))
        snprintf(out->param, sizeof out->param, "%.*s", (int)n, status_message());
    return false;
}

/* --- what both ask ---------------------------------------------------------------------------------- */

typedef struct Asked {
    int width, height; /* 0: auto */
    bool url;
} Asked;

/* "256x256", "auto" or nothing. */
static bool read_size(const char *text, Asked *a, Reply *out)
{
    char rest;
    a->width = a->height = 0;
    if (!text || !*text || !strcmp(text, "auto")) return true;
    if (sscanf(text, "%5dx%5d%c", &a->width, &a->height, &rest) == 2 && a->width > 0 && a->height > 0) return true;
    return wrong(out, "size", "size: expected WIDTHxHEIGHT, such as 256x256");
}

static bool read_common(Fields *f, JobRequest *request, Asked *a, Reply *out)
{
    const char *size = fields_text(f, "size", 20, NULL), *format = fields_text(f, "response_format", 20, "b64_json");
    const char *output = fields_text(f, "output_format", 20, "png"), *prompt = fields_text(f, "prompt", JOB_MOST_PROMPT, "");
    const char *negative = fields_text(f, "negative_prompt", JOB_MOST_PROMPT, "");
    const char *sampler = fields_text(f, "sampler", 30, NULL);
    request_read_steps(f, "steps", request->steps, sizeof request->steps);
    request->n = (int)fields_int(f, "n", 1, 256, 1);
    request->seed = (uint64_t)fields_int(f, "seed", 0, INT64_MAX, (int64_t)request->seed);
    request->terms[GUIDANCE_CFG].scale = fields_number(f, "guidance_scale", -100, 100, request->terms[GUIDANCE_CFG].scale);
    bool stream = fields_bool(f, "stream", false);
    if (sampler) snprintf(request->sampler, sizeof request->sampler, "%s", sampler);
    Status s = request_set_text(&request->prompt, prompt);
    if (s == STATUS_OK) s = request_set_text(&request->negative_prompt, negative);
    a->url = !strcmp(format, "url");
    bool known = a->url || !strcmp(format, "b64_json"), png = !strcmp(output, "png"), sized = read_size(size, a, out);
    bool said = *prompt;
    Status ended = fields_end(f, false);
    if (ended != STATUS_OK) return wrong_field(out, ended);
    if (s != STATUS_OK) return wrong_field(out, s);
    if (!sized) return false;
    if (!said) return wrong(out, "prompt", "prompt: expected a description of the picture");
    if (!known) return wrong(out, "response_format", "response_format: expected b64_json or url");
    if (!png) return wrong(out, "output_format", "output_format: expected png, which is all there is");
    return !stream || wrong(out, "stream", "stream: expected false; /api/jobs/{id}/events streams");
}

/* A size that models make: with the upsampler, or without. */
static bool choose_stage(const Request *r, const Asked *a, JobRequest *request, Reply *out)
{
    const RequestLimits *l = &r->server->limits;
    char message[128];
    request->upsample = l->upsampler_side > 0;
    if (!a->width) return true;
    if (a->width == a->height && l->upsampler_side && a->width == l->upsampler_side) return true;
    request->upsample = false;
    if (a->width == a->height && a->width == l->side) return true;
    if (l->upsampler_side)
        snprintf(message, sizeof message, "size: expected %dx%d, %dx%d or auto, found %dx%d", l->upsampler_side, l->upsampler_side,
                 l->side, l->side, a->width, a->height);
    else
        snprintf(message, sizeof message, "size: expected %dx%d or auto, found %dx%d", l->side, l->side, a->width, a->height);
    return wrong(out, "size", message);
}

static json_t *picture_json(const Request *r, const Job *job, int index, bool url)
{
    size_t size;
    char link[256];
    const char *host = request_header(r, "Host");
    unsigned char *png = url ? NULL : face_picture(&r->server->jobs, job, index, &size);
    char *text = png ? base64_encode(png, size) : NULL;
    snprintf(link, sizeof link, "http://%.100s/api/jobs/%llu/pictures/%d", host ? host : "localhost", (unsigned long long)job->id,
             index);
    json_t *json = url ? json_pack("{s:s}", "url", link) : text ? json_pack("{s:s}", "b64_json", text) : NULL;
    free(text);
    free(png);
    return json;
}

/* Takes the request over. */
static void run(Request *r, JobRequest *request, const Asked *a, Reply *out)
{
    Job *job;
    Status s = request_check(request, &r->server->limits);
    if (s != STATUS_OK) {
        wrong_field(out, s);
        request_release(request);
        return;
    }
    if (!face_run(r, request, &job, out)) return;
    json_t *data = json_array();
    for (int i = 0; i < job->request.n; i++) json_array_append_new(data, picture_json(r, job, i, a->url));
    char size[32];
    snprintf(size, sizeof size, "%dx%d", job->pictures[0].width, job->pictures[0].height);
    job_put(&r->server->jobs, job);
    reply_json(out, 200,
               json_pack("{s:I,s:o,s:s,s:s,s:s}", "created", (json_int_t)time(NULL), "data", data, "output_format", "png", "size",
                         size, "background", "opaque"));
}

void openai_generate(Request *r, Reply *out)
{
    JobRequest request;
    json_t *json;
    Fields f;
    Asked a;
    Status s = json_parse(r->body, r->size, &json);
    if (s != STATUS_OK) {
        reply_status(out, s);
        return;
    }
    request_defaults(&request, JOB_SAMPLE);
    fields_init(&f, json, "");
    bool good = read_common(&f, &request, &a, out) && choose_stage(r, &a, &request, out);
    json_decref(json);
    if (good)
        run(r, &request, &a, out);
    else
        request_release(&request);
}

/* --- edits ------------------------------------------------------------------------------------------ */

/* The texts of a form as a JSON object, numbers as numbers; false, which no field takes, for what is neither. */
static json_t *form_json(const Multipart *m)
{
    static const char *const numbers[] = {"n", "seed", "guidance_scale"};
    json_t *json = json_object();
    for (int i = 0; i < m->count; i++) {
        const MultipartPart *p = &m->parts[i];
        bool number = false;
        if (!strncmp(p->name, "image", 5) || !strcmp(p->name, "mask")) continue;
        for (int k = 0; k < 3; k++) number = number || !strcmp(p->name, numbers[k]);
        json_t *value = !number       ? json_stringn(p->bytes, p->size)
                        : p->size > 40 ? NULL
                                       : json_loadb(p->bytes, p->size, JSON_DECODE_ANY, NULL);
        if (!strcmp(p->name, "stream")) json_decref(value), value = json_boolean(p->size == 4 && !memcmp(p->bytes, "true", 4));
        json_object_set_new(json, p->name, value ? value : json_false());
    }
    return json;
}

static bool read_files(Request *r, const Multipart *m, JobRequest *request, Reply *out)
{
    const MultipartPart *image = multipart_find(m, "image"), *mask = multipart_find(m, "mask");
    if (!image) return wrong(out, "image", "image: expected a picture");
    pthread_mutex_lock(&r->server->decoding);
    Status s = request_decode_picture(&r->server->limits, (const unsigned char *)image->bytes, image->size, &request->picture);
    if (s != STATUS_OK) s = status_prefix(s, "image");
    if (s == STATUS_OK) {
        const MultipartPart *marks = mask ? mask : image; /* the picture's own holes, as OpenAI's images have them */
        s = request_decode_mask(&r->server->limits, (const unsigned char *)marks->bytes, marks->size, false, true, request);
        if (s != STATUS_OK) s = status_prefix(s, "mask");
    }
    pthread_mutex_unlock(&r->server->decoding);
    if (s != STATUS_OK) return wrong_field(out, s);
    return !mask || request->mask.paint ||
           wrong(out, "mask", "mask: expected transparent pixels where the picture is to be painted");
}

/* With a mask that part is painted, and the picture keeps its size; without one a new picture starts from it. */
static bool settle_edit(const Request *r, const Asked *a, JobRequest *request, Reply *out)
{
    if (!request->mask.paint) {
        request->kind = JOB_SAMPLE;
        return choose_stage(r, a, request, out);
    }
    request->upsample = r->server->limits.upsampler_side > 0;
    if (!a->width || (a->width == request->picture.width && a->height == request->picture.height)) return true;
    return wrong(out, "size", "size: expected auto or that of the picture, which a painted one keeps");
}

void openai_edit(Request *r, Reply *out)
{
    Multipart *m = malloc(sizeof *m);
    JobRequest request;
    Fields f;
    Asked a;
    Status s = m ? multipart_parse(request_header(r, "Content-Type"), r->body, r->size, m)
                 : status_fail(STATUS_NO_MEMORY, "out of memory");
    if (s != STATUS_OK) {
        reply_status(out, s);
        free(m);
        return;
    }
    json_t *json = form_json(m);
    request_defaults(&request, multipart_find(m, "mask") ? JOB_INPAINT : JOB_SAMPLE);
    fields_init(&f, json, "");
    bool good = read_common(&f, &request, &a, out) && read_files(r, m, &request, out);
    if (good && request.mask.paint && request.kind == JOB_SAMPLE) { /* holes in the picture itself: as with a mask */
        JobRequest with;
        request_defaults(&with, JOB_INPAINT);
        if (!json_object_get(json, "sampler")) memcpy(request.sampler, with.sampler, sizeof with.sampler);
        memcpy(request.upsampler_sampler, with.upsampler_sampler, sizeof with.upsampler_sampler);
        memcpy(request.upsampler_steps, with.upsampler_steps, sizeof with.upsampler_steps);
        request.kind = JOB_INPAINT;
        request_release(&with);
    }
    good = good && settle_edit(r, &a, &request, out);
    json_decref(json);
    free(m);
    if (good)
        run(r, &request, &a, out);
    else
        request_release(&request);
}
