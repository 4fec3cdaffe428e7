#include "glide/serve/serve_run.h"

#include "glide/call.h"
#include "glide/plan.h"
#include "glide/serve/serve_gallery.h"
#include "guidance/telemetry.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A call of the library under way. */
typedef struct Run {
    Jobs *q;
    Job *job;
    Glide *glide;
    const char *gallery;
    int first, count; /* the job's pictures that the call makes */
    int from;         /* step of the base model that it begins with */
    bool watched;     /* by watch_step(), whose findings these are: */
    int done;         /* steps of the base model, from the process's first */
    double timestep;
    json_t *telemetry; /* of each picture; taken over by the event */
    double last, told; /* when the last step ended, and when the list of jobs was told of one */
    int stride;        /* of the steps whose state is kept */
    Status status;     /* of keeping a picture */
    char failure[256];
} Run;

static double clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- steps ------------------------------------------------------------------------------------------ */

static json_t *show_telemetry(const GuidanceTelemetry *t)
{
    json_t *out = json_object();
    char name[48];
    for (int i = 0; telemetry_name(i, name, sizeof name); i++)
        if (*name && isfinite(telemetry_value(t, i))) json_object_set_new(out, name, json_real(telemetry_value(t, i)));
    return out;
}

static Status watch_step(void *ctx, const GuidedDenoiser *guided, const SamplerProgress *progress, int done)
{
    Run *r = ctx;
    (void)progress;
    r->done = done;
    r->watched = true;
    r->timestep = guided->level.timestep;
    json_decref(r->telemetry);
    r->telemetry = json_array();
    for (int64_t i = 0; i < guided->n; i++) json_array_append_new(r->telemetry, show_telemetry(&guided->telemetry[i]));
    return STATUS_OK;
}

static JobFrame *take_frame(const Run *r, const GlideProgress *p, int done)
{
    JobFrame *frame = p->preview ? malloc(sizeof *frame) : NULL;
    if (!frame) return NULL;
    *frame = (JobFrame){r->first + p->first, p->count, p->preview_width, p->preview_height, done, NULL};
    size_t bytes = (size_t)p->count * frame_size(frame);
    frame->rgb = malloc(bytes);
    if (frame->rgb) {
        memcpy(frame->rgb, p->preview, bytes);
        return frame;
    }
    free(frame);
    return NULL;
}

static json_t *step_json(Run *r, const GlideProgress *p, int step, int steps)
{
    const Job *job = r->job;
    json_t *out = json_pack("{s:s,s:i,s:i,s:i,s:i,s:i,s:f,s:o}", "stage", p->stage == GLIDE_STAGE_UPSAMPLER ? "upsampler" : "base",
                            "step", step, "steps", steps, "first", r->first + p->first, "count", p->count, "side", p->side,
                            "fraction", job->fraction, "seconds_left", json_number_or_null(jobs_seconds_left(r->q, job)));
    if (!out || !r->watched) return out;
    json_object_set_new(out, "timestep", json_real(r->timestep));
    json_object_set_new(out, "telemetry", r->telemetry);
    r->telemetry = NULL;
    return out;
}

/* How long the step took, for an evaluation of a picture. */
static void measure(Run *r, const GlideProgress *p)
{
    double now = clock_now(), weight = r->job->weight[p->stage == GLIDE_STAGE_UPSAMPLER];
    if (weight > 0) jobs_measure(r->q, p->stage == GLIDE_STAGE_UPSAMPLER, (now - r->last) / (p->count * weight));
    r->last = now;
}

static bool on_progress(void *ctx, const GlideProgress *p)
{
    Run *r = ctx;
    Job *job = r->job;
    bool upsampling = p->stage == GLIDE_STAGE_UPSAMPLER;
    int step = r->watched ? r->done : p->step, steps = r->watched ? job->level_count : p->steps;
    measure(r, p);
    if (upsampling) step = p->step, steps = p->steps;
    bool kept = r->watched && !upsampling && (r->done % r->stride == 0 || r->done == job->level_count);
    JobFrame *frame = upsampling || kept || !r->watched ? take_frame(r, p, upsampling || !r->watched ? 0 : r->done) : NULL;
    pthread_mutex_lock(&r->q->lock);
    job->upsampling = upsampling;
    job->step = step;
    job->steps = steps;
    job->first = r->first + p->first;
    job->count = p->count;
    job->fraction = (r->first + p->fraction * r->count) / job->request.n;
    if (kept && job->state_count) {
        job->saved = r->done;
        job->bytes += (size_t)(p->count * p->side * p->side * 3) * sizeof(float);
    }
    if (upsampling) r->watched = false;
    jobs_event(r->q, job, "step", step_json(r, p, step, steps), frame);
    if (r->last - r->told > 1) { /* lists of jobs show how far it is, too */
        r->told = r->last;
        r->q->version++;
    }
    if (job->change && (upsampling || r->done == job->level_count)) job->change = false; /* too late */
    bool stop = job->cancel || (job->change && kept);
    pthread_mutex_unlock(&r->q->lock);
    r->watched = false;
    return !stop;
}

/* --- pictures --------------------------------------------------------------------------------------- */

static Status take_picture(Run *r, int index, const GlidePicture *picture)
{
    Job *job = r->job;
    JobPicture made = {.width = picture->width, .height = picture->height};
    char url[96];
    TRY(picture_encode(picture, &made.png, &made.size));
    Status s = r->gallery && job->request.keep ? gallery_keep(r->gallery, job->id, index, made.png, made.size, made.name) : STATUS_OK;
    if (s != STATUS_OK) {
        free(made.png);
        return s;
    }
    snprintf(url, sizeof url, "/api/jobs/%llu/pictures/%d", (unsigned long long)job->id, index);
    pthread_mutex_lock(&r->q->lock);
    job->pictures[index] = made;
    job->bytes += made.size;
    job->pictures_done++;
    jobs_event(r->q, job, "picture",
               json_pack("{s:i,s:s,s:i,s:i,s:s*}", "index", index, "url", url, "width", made.width, "height", made.height, "name",
                         *made.name ? made.name : NULL),
               NULL);
    r->q->version++;
    pthread_mutex_unlock(&r->q->lock);
    return STATUS_OK;
}

static bool on_picture(void *ctx, int index, GlidePicture *picture)
{
    Run *r = ctx;
    r->status = take_picture(r, r->first + index, picture);
    if (r->status != STATUS_OK) snprintf(r->failure, sizeof r->failure, "%s", status_message());
    glide_picture_release(picture);
    return r->status == STATUS_OK;
}

static GlideCallbacks callbacks(Run *r)
{
    return (GlideCallbacks){.progress = on_progress, .previews = true, .picture = on_picture, .context = r};
}

/* --- the base model's steps, kept ------------------------------------------------------------------- */

/* The process's timesteps, and room for a state at each step, or at every few of many. */
static Status prepare_steps(Run *r)
{
    Job *job = r->job;
    Diffusion d;
    const TextUNetConfig *c = &r->glide->base.net->config;
    const char *steps = *job->request.steps ? job->request.steps : cascade_default_steps(job->request.sampler);
    TRY(diffusion_init(&d, c->noise_schedule, c->diffusion_steps, steps));
    int n = d.num_timesteps;
    double *timesteps = malloc((size_t)n * sizeof *timesteps);
    SamplerState *states = calloc((size_t)n, sizeof *states);
    r->stride = (n + JOB_MOST_STATES - 1) / JOB_MOST_STATES;
    for (int i = 0; timesteps && i < n; i++) timesteps[i] = d.timesteps[n - 1 - i];
    for (int i = 0; states && i < n / r->stride; i++) states[i].done = (i + 1) * r->stride;
    diffusion_release(&d);
    if (!timesteps || !states) {
        free(timesteps);
        free(states);
        return status_fail(STATUS_NO_MEMORY, "out of memory for %d steps", n);
    }
    pthread_mutex_lock(&r->q->lock);
    job->timesteps = timesteps;
    job->level_count = n;
    job->states = states;
    job->state_count = job_fixed(job) ? 0 : n / r->stride;
    if (!job->state_count) {
        job->states = NULL;
        free(states);
    }
    pthread_mutex_unlock(&r->q->lock);
    return STATUS_OK;
}

/* Guidance was changed: states behind the step it stands at are void, and it goes on from there. */
static Status take_change(Run *r, const SamplerState **resume)
{
    Job *job = r->job;
    JobRequest changed;
    *resume = NULL;
    pthread_mutex_lock(&r->q->lock);
    int done = r->done;
    job->change = false;
    pthread_mutex_unlock(&r->q->lock);
    TRY(jobs_branch(r->q, job, done, &job->changed_cfg, &changed));
    pthread_mutex_lock(&r->q->lock);
    job->request.terms[GUIDANCE_CFG] = changed.terms[GUIDANCE_CFG];
    for (int i = 0; i < job->state_count; i++)
        if (job->states[i].done == done) *resume = &job->states[i];
    json_t *term = json_pack("{s:i,s:f,s:s,s:s}", "step", done, "scale", job->changed_cfg.scale, "interval",
                             job->changed_cfg.interval, "schedule", job->changed_cfg.schedule);
    jobs_event(r->q, job, "changed", term, NULL);
    r->q->version++;
    pthread_mutex_unlock(&r->q->lock);
    request_release(&changed);
    return STATUS_OK;
}

/* --- calls ------------------------------------------------------------------------------------------ */

/* Pictures first, first+1, ... of the job; the call begins now. */
static GlideSampleOptions part_options(Run *r)
{
    const JobRequest *request = &r->job->request;
    GlideSampleOptions o = request_sample_options(request, r->q->limits);
    o.n = r->count;
    if (request->seed_each)
        o.seed += (uint64_t)r->first;
    else
        o.image += (uint32_t)r->first;
    o.callbacks = callbacks(r);
    r->last = clock_now();
    return o;
}

/* They are made, on and on while guidance changes. */
static Status sample_some(Run *r, GlidePicture *pictures)
{
    Job *job = r->job;
    const JobRequest *request = &job->request;
    SamplerState *save[JOB_MOST_STATES];
    int save_count = job->state_count < JOB_MOST_STATES ? job->state_count : JOB_MOST_STATES;
    for (int i = 0; i < save_count; i++) save[i] = &job->states[i];
    StageWatch watch = {.step = watch_step, .ctx = r, .save = save, .save_count = save_count};
    watch.resume = request->resume.x ? &request->resume : NULL;
    for (;;) {
        GlideSampleOptions o = part_options(r);
        r->watched = false;
        Status s = call_sample(r->glide, request->prompt, &o, &watch, pictures);
        pthread_mutex_lock(&r->q->lock);
        bool change = s == STATUS_INTERRUPTED && job->change && !job->cancel && r->status == STATUS_OK;
        pthread_mutex_unlock(&r->q->lock);
        if (!change) return s;
        TRY(take_change(r, &watch.resume));
    }
}

static Status run_sample(Run *r)
{
    Job *job = r->job;
    int n = job->request.n, most = job->request.seed_each ? 1 : JOB_BATCH;
    GlidePicture pictures[JOB_BATCH];
    TRY(prepare_steps(r));
    for (r->first = 0; r->first < n; r->first += most) {
        r->count = n - r->first < most ? n - r->first : most;
        TRY(sample_some(r, pictures));
    }
    return STATUS_OK;
}

static Status run_inpaint(Run *r)
{
    const JobRequest *request = &r->job->request;
    int n = request->n, most = request->seed_each ? 1 : JOB_BATCH;
    GlidePicture pictures[JOB_BATCH];
    for (r->first = 0; r->first < n; r->first += most) {
        GlideInpaintOptions o = glide_inpaint_defaults();
        r->count = n - r->first < most ? n - r->first : most;
        o.sample = part_options(r);
        o.jump = request->jump;
        o.repeats = request->repeats;
        TRY((Status)glide_inpaint(r->glide, &request->picture, &request->mask, request->prompt, &o, pictures));
    }
    return STATUS_OK;
}

static Status run_upsample(Run *r)
{
    const JobRequest *request = &r->job->request;
    GlideUpsampleOptions o = request_upsample_options(request);
    GlidePicture picture;
    Plan plan;
    TRY(plan_upsample(r->glide, request->picture.width, request->picture.height, &o, &plan));
    TRY(plan_check_memory(plan.bytes));
    o.callbacks = callbacks(r);
    r->count = 1;
    r->last = clock_now();
    TRY((Status)glide_upsample(r->glide, &request->picture, &o, &picture));
    on_picture(r, 0, &picture);
    return r->status;
}

static bool one_step(void *context, const GlideProgress *p)
{
    (void)context;
    (void)p;
    return false;
}

void run_warm_up(Glide *glide)
{
    GlideSampleOptions o = glide_sample_defaults();
    GlidePicture picture = {0};
    o.sampler = "ddim";
    o.steps = "2";
    o.upsample = false;
    o.callbacks.progress = one_step;
    if (glide_sample(glide, "", &o, &picture) == GLIDE_OK) glide_picture_release(&picture);
}

void run_job(Jobs *q, Job *job, Glide *glide, const char *gallery)
{
    static Status (*const runs[])(Run *) = {[JOB_SAMPLE] = run_sample, [JOB_INPAINT] = run_inpaint, [JOB_UPSAMPLE] = run_upsample};
    Run r = {.q = q, .job = job, .glide = glide, .gallery = gallery, .stride = 1};
    char message[256];
    Status s = runs[job->request.kind](&r);
    snprintf(message, sizeof message, "%s",
             r.status != STATUS_OK     ? r.failure
             : s == STATUS_INTERRUPTED ? "cancelled"
                                       : status_message());
    json_decref(r.telemetry);
    jobs_finish(q, job, r.status != STATUS_OK ? r.status : s, message);
}
