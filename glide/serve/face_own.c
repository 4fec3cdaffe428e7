/* The server's own API: jobs and what belongs to them. openapi.json describes it. */
#include "common/respace.h"
#include "glide/cascade.h"
#include "glide/serve/serve_faces.h"
#include "glide/serve/serve_preview.h"
#include "glide/serve/serve_server.h"
#include "glide/serve/serve_stream.h"
#include "glide/serve/serve_texts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void own_page(Request *r, Reply *out)
{
    (void)r;
    reply_bytes(out, "text/html; charset=utf-8", (void *)page_html, page_html_size, false);
}

void own_openapi(Request *r, Reply *out)
{
    (void)r;
    reply_bytes(out, "application/json", (void *)openapi_json, openapi_json_size, false);
}

/* --- what there is ---------------------------------------------------------------------------------- */

void own_server(Request *r, Reply *out)
{
    const Server *s = r->server;
    Jobs *q = &r->server->jobs;
    pthread_mutex_lock(&q->lock);
    double seconds[2] = {q->seconds[0], q->seconds[1]};
    pthread_mutex_unlock(&q->lock);
    reply_json(out, 200,
               json_pack("{s:s,s:f,s:b,s:{s:i,s:i,s:i,s:i,s:I},s:[o,o]}", "version", glide_version(), "started", s->started,
                         "gallery", s->options.gallery != NULL, "limits", "pictures", s->limits.most_pictures, "steps",
                         s->limits.most_steps, "side", s->limits.most_side, "queue", s->options.queue, "body",
                         (json_int_t)s->options.most_body, "seconds_per_evaluation",
                         seconds[0] > 0 ? json_real(seconds[0]) : json_null(),
                         seconds[1] > 0 ? json_real(seconds[1]) : json_null()));
}

static json_t *defaults_of(JobKind kind)
{
    JobRequest request;
    request_defaults(&request, kind);
    json_t *json = request_to_json(&request);
    json_object_del(json, "seed");
    if (json_is_null(json_object_get(json, "steps")))
        json_object_set_new(json, "steps", json_string(cascade_default_steps(request.sampler)));
    request_release(&request);
    return json;
}

void own_models(Request *r, Reply *out)
{
    const Server *s = r->server;
    const RequestLimits *l = &s->limits;
    json_t *upsampler =
        l->upsampler_side ? json_pack("{s:i,s:s}", "side", l->upsampler_side, "weights", s->weights_hash[1]) : json_null();
    reply_json(out, 200,
               json_pack("{s:{s:i,s:s,s:b,s:i,s:i},s:o,s:s,s:{s:o,s:o,s:o}}", "base", "side", l->side, "weights",
                         s->weights_hash[0], "text", l->text, "classes", l->classes, "timesteps", l->diffusion_steps, "upsampler",
                         upsampler, "precision",
                         s->int8   ? "int8"
                         : s->bf16 ? "bf16"
                                   : "f32",
                         "defaults", "sample", defaults_of(JOB_SAMPLE), "inpaint", defaults_of(JOB_INPAINT), "upsample",
                         defaults_of(JOB_UPSAMPLE)));
}

void own_samplers(Request *r, Reply *out)
{
    json_t *list = json_array();
    const SamplerKind *kind;
    (void)r;
    for (int i = 0; (kind = sampler_kind(i)); i++) {
        if (kind->ascending) continue;
        json_array_append_new(list,
                              json_pack("{s:s,s:s?,s:s,s:b,s:i,s:b,s:s}", "name", kind->name, "alias", kind->alias, "about",
                                        kind->about, "noisy", kind->noisy, "evaluations", kind->evaluations, "live",
                                        kind->evaluations == 1 && kind->extra == 0, "steps", cascade_default_steps(kind->name)));
    }
    reply_json(out, 200, list);
}

void own_guidance(Request *r, Reply *out)
{
    const RequestLimits *l = &r->server->limits;
    const char *const files[GUIDANCE_MODES] = {l->text ? "" : NULL, l->guide_weights, l->classifier, l->clip};
    json_t *list = json_array();
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        const GuidanceMode *mode = guidance_mode((GuidanceModeId)i);
        json_array_append_new(list, json_pack("{s:s,s:s,s:f,s:b}", "name", mode->name, "about", mode->about, "neutral",
                                              mode->neutral, "available", files[i] != NULL));
    }
    reply_json(out, 200,
               json_pack("{s:o,s:[s,s,s,s],s:i}", "modes", list, "modifiers", "rescale", "threshold", "apg", "cfgpp", "most_points",
                         GUIDANCE_MOST_POINTS));
}

void own_timesteps(Request *r, Reply *out)
{
    const RequestLimits *l = &r->server->limits;
    const char *steps = request_query(r, "steps"), *sampler = request_query(r, "sampler");
    Diffusion d;
    int count;
    if (!steps || !*steps) steps = cascade_default_steps(sampler && sampler_find(sampler) ? sampler : CASCADE_SAMPLER);
    Status s = respacing_count(l->diffusion_steps, steps, NULL, &count);
    if (s == STATUS_OK && (count < 2 || count > l->most_steps))
        s = status_fail(STATUS_BAD_INPUT, "steps: expected 2 to %d, found %d", l->most_steps, count);
    if (s == STATUS_OK) s = diffusion_init(&d, l->noise_schedule, l->diffusion_steps, steps);
    if (s != STATUS_OK) {
        reply_status(out, s);
        return;
    }
    json_t *list = json_array();
    for (int i = d.num_timesteps - 1; i >= 0; i--) json_array_append_new(list, json_real(d.timesteps[i]));
    diffusion_release(&d);
    reply_json(out, 200, json_pack("{s:s,s:i,s:o}", "steps", steps, "last", l->diffusion_steps - 1, "timesteps", list));
}

/* --- jobs ------------------------------------------------------------------------------------------- */

static Job *find_job(Request *r, Reply *out)
{
    Job *job = jobs_find(&r->server->jobs, request_number(r, 0));
    if (!job) reply_fail(out, 404, "job %s: there is no such job (any more)", r->params[0]);
    return job;
}

static void show_job(Request *r, Job *job, int status, Reply *out)
{
    Jobs *q = &r->server->jobs;
    pthread_mutex_lock(&q->lock);
    json_t *json = jobs_show(q, job);
    pthread_mutex_unlock(&q->lock);
    job_put(q, job);
    reply_json(out, status, json);
}

void own_list(Request *r, Reply *out)
{
    Jobs *q = &r->server->jobs;
    json_t *list = json_array();
    pthread_mutex_lock(&q->lock);
    for (int i = q->count - 1; i >= 0; i--) json_array_append_new(list, jobs_show(q, q->list[i]));
    pthread_mutex_unlock(&q->lock);
    reply_json(out, 200, list);
}

/* A JSON body and what a function makes of it; large ones, which hold pictures, one at a time. */
static json_t *read_body(Request *r, Reply *out)
{
    json_t *json;
    Status s = json_parse(r->body, r->size, &json);
    if (s != STATUS_OK) reply_status(out, s);
    return json;
}

void own_create(Request *r, Reply *out)
{
    JobRequest request;
    json_t *json = read_body(r, out);
    if (!json) return;
    if (r->size > SMALL_BODY) pthread_mutex_lock(&r->server->decoding);
    Status s = request_from_json(json, &r->server->limits, &request);
    if (r->size > SMALL_BODY) pthread_mutex_unlock(&r->server->decoding);
    json_decref(json);
    if (s != STATUS_OK) {
        reply_status(out, s);
        return;
    }
    Job *job = face_add(r, &request, out);
    if (job) show_job(r, job, 201, out);
}

void own_job(Request *r, Reply *out)
{
    Job *job = find_job(r, out);
    if (job) show_job(r, job, 200, out);
}

void own_cancel(Request *r, Reply *out)
{
    Job *job = find_job(r, out);
    if (!job) return;
    jobs_cancel(&r->server->jobs, job);
    show_job(r, job, 200, out);
}

/* Where the client left off: Last-Event-ID, or ?after=. */
static int left_off(const Request *r)
{
    const char *text = request_header(r, "Last-Event-ID");
    if (!text) text = request_query(r, "after");
    long after = text ? strtol(text, NULL, 10) : -1;
    return after < -1 || after > 1000000 ? -1 : (int)after;
}

void own_job_events(Request *r, Reply *out)
{
    const char *previews = request_query(r, "previews");
    Job *job = find_job(r, out);
    if (job) stream_job(r, job, left_off(r), !previews || strcmp(previews, "0") != 0, out);
}

void own_events(Request *r, Reply *out)
{
    stream_queue(r, out);
}

/* {"cfg": {"scale", "interval", "schedule"}}, and "step" for branches. What is not said of cfg is the default, not the job's. */
static Status read_change(Request *r, bool branch, int64_t *step, JobTerm *cfg)
{
    json_t *json;
    Fields f;
    TRY(json_parse(r->body, r->size, &json));
    *cfg = (JobTerm){.scale = CASCADE_GUIDANCE};
    fields_init(&f, json, "");
    if (branch) *step = fields_int(&f, "step", 0, 65536, 0);
    const json_t *term = fields_any(&f, "cfg");
    if (!term) fields_fail(&f, "cfg", "expected guidance to go on with");
    Status s = fields_end(&f, true);
    if (s == STATUS_OK) s = request_read_term(term, "cfg", cfg);
    json_decref(json);
    return s;
}

void own_change(Request *r, Reply *out)
{
    JobTerm cfg;
    Job *job = find_job(r, out);
    if (!job) return;
    Status s = read_change(r, false, NULL, &cfg);
    if (s == STATUS_OK) {
        s = jobs_change(&r->server->jobs, job, &cfg);
        if (s == STATUS_OK) {
            show_job(r, job, 200, out);
            return;
        }
        reply_fail(out, 409, "%s", status_message());
    } else {
        reply_status(out, s);
    }
    job_put(&r->server->jobs, job);
}

void own_branch(Request *r, Reply *out)
{
    JobTerm cfg;
    JobRequest request;
    int64_t step = 0;
    Job *job = find_job(r, out);
    if (!job) return;
    Status s = read_change(r, true, &step, &cfg);
    if (s != STATUS_OK) {
        reply_status(out, s);
    } else if (jobs_branch(&r->server->jobs, job, (int)step, &cfg, &request) != STATUS_OK) {
        reply_fail(out, 409, "%s", status_message());
    } else {
        Job *next = face_add(r, &request, out);
        if (next) show_job(r, next, 201, out);
    }
    job_put(&r->server->jobs, job);
}

void own_picture(Request *r, Reply *out)
{
    size_t size;
    Job *job = find_job(r, out);
    if (!job) return;
    unsigned char *png = face_picture(&r->server->jobs, job, (int)request_number(r, 1), &size);
    job_put(&r->server->jobs, job);
    if (png)
        reply_bytes(out, "image/png", png, size, true);
    else
        reply_fail(out, 404, "picture %s: there is none (yet)", r->params[1]);
}

/* What the base model expected at a step, the pictures of the job beside one another. */
static unsigned char *copy_frame(Jobs *q, const Job *job, int step, JobFrame *frame)
{
    unsigned char *rgb = NULL;
    pthread_mutex_lock(&q->lock);
    for (int i = job->event_count - 1; i >= 0 && !rgb; i--) {
        const JobFrame *f = job->events[i].frame;
        if (!f || f->done != step) continue;
        size_t bytes = (size_t)f->count * frame_size(f);
        *frame = *f;
        rgb = malloc(bytes);
        if (rgb) memcpy(rgb, f->rgb, bytes);
    }
    pthread_mutex_unlock(&q->lock);
    return rgb;
}

void own_step(Request *r, Reply *out)
{
    JobFrame frame;
    unsigned char *png = NULL;
    size_t size = 0;
    const char *index = request_query(r, "picture");
    int step = (int)request_number(r, 1), picture = index ? atoi(index) : 0;
    Job *job = find_job(r, out);
    if (!job) return;
    unsigned char *rgb = step > 0 ? copy_frame(&r->server->jobs, job, step, &frame) : NULL;
    job_put(&r->server->jobs, job);
    bool there = rgb && picture >= frame.first && picture < frame.first + frame.count;
    if (there) {
        Image image = {frame.width, frame.height, rgb + (size_t)(picture - frame.first) * frame_size(&frame)};
        there = preview_encode(&image, &png, &size) == STATUS_OK;
    }
    free(rgb);
    if (there)
        reply_bytes(out, "image/png", png, size, true);
    else
        reply_fail(out, 404, "step %s: nothing is kept of it", r->params[1]);
}
