/* What A1111's clients ask for besides pictures: how far it is, what there is to choose from, a picture's texts. */
#include "common/base64.h"
#include "common/system_memory.h"
#include "glide/recipe.h"
#include "glide/serve/serve_faces.h"
#include "glide/serve/serve_server.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* --- what happens ----------------------------------------------------------------------------------- */

void a1111_interrupt(Request *r, Reply *out)
{
    Jobs *q = &r->server->jobs;
    pthread_mutex_lock(&q->lock);
    for (int i = 0; i < q->count; i++)
        if (q->list[i]->state == JOB_RUNNING) q->list[i]->cancel = true;
    pthread_mutex_unlock(&q->lock);
    reply_json(out, 200, json_object());
}

void a1111_progress(Request *r, Reply *out)
{
    Jobs *q = &r->server->jobs;
    const Job *job = NULL;
    Image frame = {0};
    const char *skip = request_query(r, "skip_current_image");
    int waiting = 0, step = 0, steps = 0;
    double fraction = 0, left = 0;
    char name[32] = "";
    bool cancelled = false;
    pthread_mutex_lock(&q->lock);
    for (int i = 0; i < q->count; i++) {
        if (q->list[i]->state == JOB_RUNNING) job = q->list[i];
        waiting += q->list[i]->state == JOB_QUEUED;
    }
    if (job) {
        fraction = job->fraction;
        left = jobs_seconds_left(q, job);
        step = job->step;
        steps = job->steps;
        cancelled = job->cancel;
        snprintf(name, sizeof name, "%llu", (unsigned long long)job->id);
        if (!skip || strcasecmp(skip, "true") != 0) frame = face_frame(job);
    }
    pthread_mutex_unlock(&q->lock);
    json_t *state = json_pack("{s:b,s:b,s:b,s:s,s:i,s:s,s:i,s:i,s:i}", "skipped", 0, "interrupted", cancelled,
                              "stopping_generation", 0, "job", name, "job_count", waiting + (job != NULL), "job_timestamp", "",
                              "job_no", 0, "sampling_step", step, "sampling_steps", steps);
    reply_json(out, 200,
               json_pack("{s:f,s:f,s:o,s:o,s:n}", "progress", fraction, "eta_relative", isfinite(left) ? left : 0.0, "state", state,
                         "current_image", face_encode(&frame), "textinfo"));
}

/* --- what there is ---------------------------------------------------------------------------------- */

void a1111_samplers(Request *r, Reply *out)
{
    json_t *list = json_array();
    (void)r;
    for (int i = 0; sampler_kind(i); i++)
        if (!sampler_kind(i)->ascending)
            json_array_append_new(list, json_pack("{s:s,s:[s],s:{}}", "name", recipe_a1111_sampler(sampler_kind(i)->name),
                                                  "aliases", sampler_kind(i)->name, "options"));
    reply_json(out, 200, list);
}

void a1111_options(Request *r, Reply *out)
{
    reply_json(out, 200,
               json_pack("{s:s,s:s,s:b,s:s}", "sd_model_checkpoint", "glide", "sd_checkpoint_hash", r->server->weights_hash[0],
                         "samples_save", r->server->options.gallery != NULL, "samples_format", "png"));
}

/* There is nothing to set: clients that choose a model first go on. */
void a1111_set_options(Request *r, Reply *out)
{
    json_t *json = face_object(r, out);
    if (json) reply_json(out, 200, json_object());
    json_decref(json);
}

void a1111_models(Request *r, Reply *out)
{
    const char *hash = r->server->weights_hash[0];
    reply_json(out, 200,
               json_pack("[{s:s,s:s,s:s,s:s,s:s,s:s,s:n}]", "title", "glide", "model_name", "glide", "name", "glide", "hash", hash,
                         "sha256", hash, "filename", "base.h5", "config"));
}

/* How levels are spaced: "scheduler" of what makes pictures. */
void a1111_schedulers(Request *r, Reply *out)
{
    (void)r;
    reply_json(out, 200, json_pack("[{s:s,s:s,s:n,s:f,s:b},{s:s,s:s,s:n,s:f,s:b}]", "name", "automatic", "label", "Automatic",
                                   "aliases", "default_rho", -1.0, "need_inner_model", 0, "name", "karras", "label", "Karras",
                                   "aliases", "default_rho", 7.0, "need_inner_model", 0));
}

/* Lists of what this program does not have, which clients ask for when they start: face restorers, LoRAs, styles, ... */
void a1111_nothing(Request *r, Reply *out)
{
    (void)r;
    reply_json(out, 200, json_array());
}

void a1111_embeddings(Request *r, Reply *out)
{
    (void)r;
    reply_json(out, 200, json_pack("{s:{},s:{}}", "loaded", "skipped"));
}

void a1111_scripts(Request *r, Reply *out)
{
    (void)r;
    reply_json(out, 200, json_pack("{s:[],s:[]}", "txt2img", "img2img"));
}

void a1111_flags(Request *r, Reply *out)
{
    const ServeOptions *o = &r->server->options;
    reply_json(out, 200, json_pack("{s:b,s:s*,s:i}", "api", 1, "server_name", o->host, "port", o->port));
}

/* Bytes: of this program, of what it may still take, of the machine. Models never lie on a GPU, which is said as for a machine
 * without one. */
void a1111_memory(Request *r, Reply *out)
{
    (void)r;
    json_t *ram = json_pack("{s:I,s:I,s:I}", "free", (json_int_t)memory_free(), "used", (json_int_t)memory_used(), "total",
                            (json_int_t)memory_total());
    reply_json(out, 200, json_pack("{s:o,s:{s:s}}", "ram", ram, "cuda", "error", "unavailable"));
}

/* The models are those that the server was started with. */
void a1111_refresh(Request *r, Reply *out)
{
    (void)r;
    reply_json(out, 200, json_object());
}

void a1111_upscalers(Request *r, Reply *out)
{
    const RequestLimits *l = &r->server->limits;
    reply_json(out, 200,
               l->upsampler_side ? json_pack("[{s:s,s:s,s:n,s:n,s:i}]", "name", "glide", "model_name", "glide", "model_path",
                                             "model_url", "scale", l->upsampler_side / l->side)
                                 : json_array());
}

void a1111_png_info(Request *r, Reply *out)
{
    unsigned char *bytes = NULL;
    size_t size = 0;
    json_t *json = face_object(r, out), *recipe = NULL;
    const char *image = json_string_value(json_object_get(json, "image"));
    if (json && (!image || base64_decode(image, &bytes, &size) != STATUS_OK))
        reply_fail(out, 422, "image: expected a PNG in base64");
    json_decref(json);
    if (!bytes) return;
    pthread_mutex_lock(&r->server->decoding);
    recipe = face_recipe(bytes, size, out);
    pthread_mutex_unlock(&r->server->decoding);
    free(bytes);
    if (!recipe) return;
    json_t *parameters = json_object_get(recipe, "request");
    if (!json_is_object(parameters)) parameters = json_object_get(recipe, "lines");
    reply_json(out, 200,
               json_pack("{s:O,s:O,s:O}", "info", json_object_get(recipe, "parameters"), "items", json_object_get(recipe, "lines"),
                         "parameters", parameters));
    json_decref(recipe);
}
