/* What A1111's clients speak, /sdapi/v1, where pictures are made: fields as they send them, those that mean nothing here ignored.
 * Pictures have the models' size whatever "width" and "height" say (of img2img with a mask, the picture's). Picture i of a batch is
 * the first of seed + i, as there. Errors are {"error", "detail", "body", "errors"}. */
#include "common/base64.h"
#include "glide/recipe.h"
#include "glide/serve/serve_faces.h"
#include "glide/serve/serve_server.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* "DPM++ 2M Karras" asks for levels as well. */
static const char *our_sampler(const char *theirs, bool *karras)
{
    char name[64];
    size_t n = strlen(theirs);
    if (n > 7 && !strcasecmp(theirs + n - 7, " karras")) {
        *karras = true;
        n -= 7;
    }
    snprintf(name, sizeof name, "%.*s", (int)n, theirs);
    for (int i = 0; sampler_kind(i); i++)
        if (!sampler_kind(i)->ascending && !strcasecmp(recipe_a1111_sampler(sampler_kind(i)->name), name))
            return sampler_kind(i)->name;
    const char *ours = recipe_sampler_of_a1111(name);
    const SamplerKind *kind = ours ? sampler_find(ours) : sampler_find(name);
    return kind && !kind->ascending ? kind->name : NULL;
}

/* --- making pictures -------------------------------------------------------------------------------- */

typedef struct Asked {
    bool send_images, save_images;
} Asked;

static bool refuse(Reply *out, int status, const char *message)
{
    reply_fail(out, status, "%s", message);
    return false;
}

/* How many levels, where they lie, and the sampler that goes through them. */
static bool read_process(Fields *f, JobRequest *request, Reply *out)
{
    const char *name = fields_text(f, "sampler_name", 60, NULL), *index = fields_text(f, "sampler_index", 60, NULL);
    const char *scheduler = fields_text(f, "scheduler", 60, "");
    bool karras = !strcasecmp(scheduler, "karras");
    int steps = (int)fields_int(f, "steps", 1, 1000, 0);
    if (!name || !*name) name = index;
    const char *ours = name && *name ? our_sampler(name, &karras) : sampler_find(request->sampler)->name;
    if (!ours) return refuse(out, 404, "Sampler not found");
    snprintf(request->sampler, sizeof request->sampler, "%s", ours);
    if (steps == 1) steps = 2;
    bool few = strcmp(ours, "ddpm") != 0 && request->kind == JOB_SAMPLE;
    if (steps) snprintf(request->steps, sizeof request->steps, "%s%d", karras ? "karras" : few ? "logsnr" : "", steps);
    return true;
}

static bool read_common(Fields *f, JobRequest *request, Asked *a, Reply *out)
{
    const char *prompt = fields_text(f, "prompt", JOB_MOST_PROMPT, ""),
               *negative = fields_text(f, "negative_prompt", JOB_MOST_PROMPT, "");
    int64_t seed = fields_int(f, "seed", -1, INT64_MAX, -1);
    int batch = (int)fields_int(f, "batch_size", 1, 256, 1), rounds = (int)fields_int(f, "n_iter", 1, 256, 1);
    request->terms[GUIDANCE_CFG].scale = fields_number(f, "cfg_scale", -100, 100, request->terms[GUIDANCE_CFG].scale);
    a->send_images = fields_bool(f, "send_images", true);
    a->save_images = fields_bool(f, "save_images", false);
    if (!read_process(f, request, out)) return false;
    if (seed >= 0) request->seed = (uint64_t)seed;
    request->n = batch * rounds;
    request->seed_each = request->n > 1;
    request->keep = a->save_images;
    if (f->status != STATUS_OK) return refuse(out, 422, f->message);
    if (request_set_text(&request->prompt, prompt) == STATUS_OK &&
        request_set_text(&request->negative_prompt, negative) == STATUS_OK)
        return true;
    reply_status(out, STATUS_NO_MEMORY);
    return false;
}

static json_t *repeated(const char *text, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, json_string(text));
    return list;
}

/* The text of a picture that these tools show and read. */
static json_t *infotext(const Request *r, const Job *job, int i)
{
    size_t size;
    Reply unused = {0};
    unsigned char *png = face_picture(&r->server->jobs, job, i, &size);
    json_t *recipe = png ? face_recipe(png, size, &unused) : NULL;
    const char *text = json_string_value(json_object_get(recipe, "parameters"));
    json_t *out = json_string(text ? text : "");
    free(png);
    json_decref(recipe);
    return out;
}

/* What "info" holds, as a text. */
static char *info_text(const Request *request, const Job *job)
{
    const JobRequest *r = &job->request;
    json_t *seeds = json_array(), *texts = json_array();
    for (int i = 0; i < r->n; i++) {
        json_array_append_new(seeds, json_integer((json_int_t)(r->seed + (uint64_t)i)));
        json_array_append_new(texts, infotext(request, job, i));
    }
    json_t *info = json_pack("{s:s,s:o,s:s,s:o,s:I,s:O,s:i,s:i,s:s,s:f,s:s,s:i,s:s,s:o}", "prompt", r->prompt, "all_prompts",
                             repeated(r->prompt, r->n), "negative_prompt", r->negative_prompt, "all_negative_prompts",
                             repeated(r->negative_prompt, r->n), "seed", (json_int_t)r->seed, "all_seeds", seeds, "width",
                             job->pictures[0].width, "height", job->pictures[0].height, "sampler_name",
                             recipe_a1111_sampler(r->sampler), "cfg_scale", r->terms[GUIDANCE_CFG].scale, "steps", r->steps,
                             "batch_size", r->n, "sd_model_name", "glide", "infotexts", texts);
    char *text = info ? json_dumps(info, JSON_COMPACT) : NULL;
    json_decref(seeds);
    json_decref(info);
    return text;
}

static json_t *encoded_pictures(const Request *r, const Job *job)
{
    json_t *list = json_array();
    for (int i = 0; i < job->request.n; i++) {
        size_t size;
        unsigned char *png = face_picture(&r->server->jobs, job, i, &size);
        char *text = png ? base64_encode(png, size) : NULL;
        if (text) json_array_append_new(list, json_string(text));
        free(text);
        free(png);
    }
    return list;
}

/* What was interrupted answers, as there, with the pictures that are finished, or with the one that was forming. */
static bool has_something(const Request *r, const Job *job)
{
    Jobs *q = &r->server->jobs;
    pthread_mutex_lock(&q->lock);
    Image frame = face_frame(job);
    bool some = !q->stopping && (job->pictures_done > 0 || frame.pixels);
    pthread_mutex_unlock(&q->lock);
    image_release(&frame);
    return some;
}

static json_t *last_frame(const Request *r, const Job *job)
{
    Jobs *q = &r->server->jobs;
    pthread_mutex_lock(&q->lock);
    Image frame = face_frame(job);
    pthread_mutex_unlock(&q->lock);
    return face_encode(&frame);
}

/* Takes the request over. `asked`, the client's own object, is sent back without its pictures. */
static void run(Request *r, JobRequest *request, const Asked *a, json_t *asked, Reply *out)
{
    Job *job;
    Status s = request_check(request, &r->server->limits);
    if (s != STATUS_OK) {
        reply_fail(out, 422, "%s", status_message());
        request_release(request);
        return;
    }
    if (!face_wait(r, request, &job, out)) return;
    if (job->status != STATUS_OK && !(job->status == STATUS_INTERRUPTED && has_something(r, job))) {
        face_failed(r, job, out);
        return;
    }
    json_t *parameters = json_copy(asked);
    json_object_del(parameters, "init_images");
    json_object_del(parameters, "mask");
    char *info = info_text(r, job);
    json_t *images = a->send_images ? encoded_pictures(r, job) : json_array();
    if (a->send_images && json_array_size(images) == 0) json_array_append_new(images, last_frame(r, job));
    job_put(&r->server->jobs, job);
    reply_json(out, 200, json_pack("{s:o,s:o,s:s}", "images", images, "parameters", parameters, "info", info ? info : "{}"));
    free(info);
}

/* Base64 of a picture into the request. */
static bool take_picture(Request *r, const char *text, bool mask, bool inverted, JobRequest *request, Reply *out)
{
    unsigned char *bytes = NULL;
    size_t size;
    Status s = base64_decode(text, &bytes, &size);
    pthread_mutex_lock(&r->server->decoding);
    if (s == STATUS_OK && mask)
        s = request_decode_mask(&r->server->limits, bytes, size, inverted, false, request);
    else if (s == STATUS_OK)
        s = request_decode_picture(&r->server->limits, bytes, size, &request->picture);
    pthread_mutex_unlock(&r->server->decoding);
    free(bytes);
    if (s == STATUS_OK) return true;
    reply_fail(out, s == STATUS_BAD_INPUT ? 422 : 503, "%s: %s", mask ? "mask" : "picture", status_message());
    return false;
}

static bool read_start(Request *r, Fields *f, const json_t *asked, JobRequest *request, Reply *out)
{
    const json_t *images = fields_any(f, "init_images"), *mask = json_object_get(asked, "mask");
    const char *first = json_string_value(json_array_get(images, 0));
    request->strength = fields_number(f, "denoising_strength", 0, 1, 0.75);
    bool inverted = fields_int(f, "inpainting_mask_invert", 0, 1, 0) != 0;
    if (!first) return refuse(out, 404, "Init image not found");
    if (!take_picture(r, first, false, false, request, out)) return false;
    return !json_is_string(mask) || take_picture(r, json_string_value(mask), true, inverted, request, out);
}

/* start: from a picture of the client's, which may have a mask */
static void make(Request *r, bool start, Reply *out)
{
    JobRequest request;
    Fields f;
    Asked a;
    json_t *json = face_object(r, out);
    if (!json) return;
    request_defaults(&request, start && json_is_string(json_object_get(json, "mask")) ? JOB_INPAINT : JOB_SAMPLE);
    request.upsample = r->server->limits.upsampler_side > 0;
    fields_init(&f, json, "");
    bool good = (!start || read_start(r, &f, json, &request, out)) && read_common(&f, &request, &a, out);
    fields_end(&f, false);
    if (good)
        run(r, &request, &a, json, out);
    else
        request_release(&request);
    json_decref(json);
}

void a1111_txt2img(Request *r, Reply *out)
{
    make(r, false, out);
}

void a1111_img2img(Request *r, Reply *out)
{
    make(r, true, out);
}

/* The part in the middle that has the wanted shape. */
static bool crop(GlidePicture *p, double shape, Reply *out)
{
    int w = (int)fmax(1, fmin(p->width, round(p->height * shape))), h = (int)fmax(1, fmin(p->height, round(p->width / shape)));
    size_t left = (size_t)(p->width - w) / 2, top = (size_t)(p->height - h) / 2;
    if (w == p->width && h == p->height) return true;
    unsigned char *rgb = malloc((size_t)w * (size_t)h * 3);
    if (!rgb) return refuse(out, 503, "out of memory for the picture");
    for (size_t y = 0; y < (size_t)h; y++)
        memcpy(rgb + y * (size_t)w * 3, p->rgb + ((y + top) * (size_t)p->width + left) * 3, (size_t)w * 3);
    glide_picture_release(p); /* what files say besides does not fit the part */
    *p = (GlidePicture){.width = w, .height = h, .rgb = rgb};
    return true;
}

/* resize_mode 0: "upscaling_resize" times as large; 1: to cover "upscaling_resize_w" x "_h", what stands over cut off unless
 * "upscaling_crop" is false. */
static bool read_extra_size(Fields *f, JobRequest *request, Reply *out)
{
    GlidePicture *p = &request->picture;
    bool to_size = fields_int(f, "resize_mode", 0, 1, 0) == 1, cut = fields_bool(f, "upscaling_crop", true);
    double times = fields_number(f, "upscaling_resize", 0.05, 8, 2), w = (double)fields_int(f, "upscaling_resize_w", 1, 65536, 512);
    double h = (double)fields_int(f, "upscaling_resize_h", 1, 65536, 512);
    if (f->status != STATUS_OK) return refuse(out, 422, f->message);
    if (to_size && cut && !crop(p, w / h, out)) return false;
    if (to_size) times = fmax(w / p->width, h / p->height);
    request->scale = 4;
    request->width = (int)fmax(1, to_size && cut ? w : round(p->width * times));
    request->height = (int)fmax(1, to_size && cut ? h : round(p->height * times));
    return true;
}

/* The job's picture as the answers have it; NULL: *out says why not. */
static json_t *enlarge(Request *r, json_t *json, const char *image, Reply *out)
{
    JobRequest request;
    Job *job;
    Fields f;
    request_defaults(&request, JOB_UPSAMPLE);
    request.keep = false;
    request.seed = 0; /* the same picture gives the same answer */
    bool good = image ? take_picture(r, image, false, false, &request, out) : refuse(out, 422, "image: expected a picture");
    fields_init(&f, json, "");
    good = good && read_extra_size(&f, &request, out);
    fields_end(&f, false);
    if (good && request_check(&request, &r->server->limits) != STATUS_OK) good = refuse(out, 422, status_message());
    if (!good) {
        request_release(&request);
        return NULL;
    }
    if (!face_run(r, &request, &job, out)) return NULL;
    json_t *images = encoded_pictures(r, job), *first = json_incref(json_array_get(images, 0));
    job_put(&r->server->jobs, job);
    json_decref(images);
    return first;
}

void a1111_extra(Request *r, Reply *out)
{
    json_t *json = face_object(r, out);
    json_t *made = json ? enlarge(r, json, json_string_value(json_object_get(json, "image")), out) : NULL;
    if (made) reply_json(out, 200, json_pack("{s:s,s:o}", "html_info", "", "image", made));
    json_decref(json);
}

/* "imageList" of {"data", "name"}, as A1111 has it; some clients write "image_list" and "image". One job after the other. */
void a1111_extra_batch(Request *r, Reply *out)
{
    json_t *json = face_object(r, out), *images = json_array();
    const json_t *list = json_object_get(json, "imageList");
    bool good = json != NULL;
    if (!list) list = json_object_get(json, "image_list");
    if (good && (json_array_size(list) < 1 || json_array_size(list) > JOBS_FINISHED))
        good = refuse(out, 422, "imageList: expected 1 to 48 pictures");
    for (size_t i = 0; good && i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i), *data = json_object_get(item, "data");
        json_t *made = enlarge(r, json, json_string_value(data ? data : json_object_get(item, "image")), out);
        good = made != NULL;
        if (made) json_array_append_new(images, made);
    }
    if (good) reply_json(out, 200, json_pack("{s:s,s:O}", "html_info", "", "images", images));
    json_decref(images);
    json_decref(json);
}
