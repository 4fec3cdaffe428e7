#include "glide/serve/serve_jobs.h"

#include "glide/json_text.h"
#include "glide/serve/serve_term.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double jobs_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

Status jobs_init(Jobs *q, const RequestLimits *limits, int most_queued, size_t most_memory)
{
    *q = (Jobs){.limits = limits, .most_queued = most_queued, .most_memory = most_memory, .next_id = 1, .version = 1};
    if (pthread_mutex_init(&q->lock, NULL) || pthread_cond_init(&q->changed, NULL))
        return status_fail(STATUS_NO_MEMORY, "out of memory for a queue");
    return STATUS_OK;
}

/* --- one job ---------------------------------------------------------------------------------------- */

static void frame_free(JobFrame *frame)
{
    if (frame) free(frame->rgb);
    free(frame);
}

size_t frame_size(const JobFrame *f)
{
    return (size_t)f->width * (size_t)f->height * 3;
}

static size_t frame_bytes(const JobFrame *f)
{
    return f ? sizeof *f + (size_t)f->count * frame_size(f) : 0;
}

static void drop_states(Job *job)
{
    for (int i = 0; i < job->state_count; i++) {
        if (job->states[i].x) job->bytes -= (size_t)job->states[i].size * sizeof(float);
        sampler_state_release(&job->states[i]);
    }
    free(job->states);
    job->states = NULL;
    job->state_count = job->saved = 0;
}

static void job_free(Job *job)
{
    if (!job) return;
    drop_states(job);
    for (int i = 0; i < job->event_count; i++) {
        free(job->events[i].json);
        frame_free(job->events[i].frame);
    }
    for (int i = 0; job->pictures && i < job->request.n; i++) free(job->pictures[i].png);
    free(job->events);
    free(job->pictures);
    free(job->timesteps);
    request_release(&job->request);
    free(job);
}

bool job_over(const Job *job)
{
    return job->state != JOB_QUEUED && job->state != JOB_RUNNING;
}

const char *job_state_name(JobState state)
{
    static const char *const names[] = {"queued", "running", "done", "failed", "cancelled"};
    return names[state];
}

void job_put(Jobs *q, Job *job)
{
    if (!job) return;
    pthread_mutex_lock(&q->lock);
    bool last = --job->refs == 0;
    pthread_mutex_unlock(&q->lock);
    if (last) job_free(job);
}

/* --- the list: with the lock held ------------------------------------------------------------------- */

static void notify(Jobs *q)
{
    q->version++;
    pthread_cond_broadcast(&q->changed);
}

static int count_state(const Jobs *q, JobState state)
{
    int n = 0;
    for (int i = 0; i < q->count; i++) n += q->list[i]->state == state;
    return n;
}

static void drop_oldest(Jobs *q, int index)
{
    Job *job = q->list[index];
    memmove(q->list + index, q->list + index + 1, (size_t)(--q->count - index) * sizeof *q->list);
    if (--job->refs == 0) job_free(job);
}

/* Finished jobs are forgotten, oldest first, when there are many or they hold much; the states to go on from earlier. */
static void forget(Jobs *q)
{
    size_t bytes = 0;
    int over = 0;
    for (int i = q->count - 1; i >= 0; i--) {
        Job *job = q->list[i];
        bool finished = job_over(job);
        if (finished && ++over > JOBS_WITH_STATES) drop_states(job);
        bytes += job->bytes;
        if (finished && over > 1 && (over > JOBS_FINISHED || bytes > q->most_memory)) drop_oldest(q, i);
    }
}

static size_t waiting_bytes(const Jobs *q)
{
    size_t bytes = 0;
    for (int i = 0; i < q->count; i++)
        if (!job_over(q->list[i])) bytes += request_bytes(&q->list[i]->request);
    return bytes;
}

static json_t *position_json(const Jobs *q, const Job *job)
{
    return json_pack("{s:i,s:o}", "position", jobs_position(q, job), "seconds_left",
                     json_number_or_null(jobs_seconds_left(q, job)));
}

/* Every job that waits is told where it stands. */
static void tell_positions(Jobs *q)
{
    for (int i = 0; i < q->count; i++)
        if (q->list[i]->state == JOB_QUEUED) jobs_event(q, q->list[i], "queued", position_json(q, q->list[i]), NULL);
}

JobsAdd jobs_add(Jobs *q, JobRequest *request, Job **out)
{
    Job *job = calloc(1, sizeof *job);
    JobPicture *pictures = calloc((size_t)request->n, sizeof *pictures);
    JobsAdd result = JOBS_FULL;
    *out = NULL;
    pthread_mutex_lock(&q->lock);
    if (q->stopping)
        result = JOBS_STOPPED;
    else if (job && pictures && q->count < JOBS_ROOM && count_state(q, JOB_QUEUED) < q->most_queued &&
             waiting_bytes(q) + request_bytes(request) <= q->most_memory)
        result = JOBS_ADDED;
    if (result == JOBS_ADDED) {
        *job = (Job){.id = q->next_id++, .refs = 2, .request = *request, .created = jobs_now(), .pictures = pictures};
        *request = (JobRequest){0};
        request_steps(&job->request, q->limits, job->stage_steps, job->weight);
        q->list[q->count++] = job;
        jobs_event(q, job, "queued", position_json(q, job), NULL);
        notify(q);
        *out = job;
    }
    pthread_mutex_unlock(&q->lock);
    if (result == JOBS_ADDED) return result;
    free(job);
    free(pictures);
    return result;
}

Job *jobs_find(Jobs *q, uint64_t id)
{
    Job *found = NULL;
    pthread_mutex_lock(&q->lock);
    for (int i = 0; i < q->count && !found; i++)
        if (q->list[i]->id == id) found = q->list[i];
    if (found) found->refs++;
    pthread_mutex_unlock(&q->lock);
    return found;
}

static void end_job(Jobs *q, Job *job, Status status, const char *message)
{
    JobState state = status == STATUS_OK ? JOB_DONE : status == STATUS_INTERRUPTED ? JOB_CANCELLED : JOB_FAILED;
    static const char *const types[] = {[JOB_DONE] = "done", [JOB_FAILED] = "failed", [JOB_CANCELLED] = "cancelled"};
    snprintf(job->error, sizeof job->error, "%s", status == STATUS_OK ? "" : message);
    job->status = status;
    job->finished = jobs_now();
    job->state = state;
    if (status == STATUS_OK) job->fraction = 1;
    jobs_event(q, job, types[state],
               json_pack("{s:o,s:i,s:f}", "message", json_text(job->error), "pictures", job->pictures_done, "seconds",
                         job->started > 0 ? job->finished - job->started : 0.0),
               NULL);
    tell_positions(q);
    forget(q);
    notify(q);
}

void jobs_finish(Jobs *q, Job *job, Status status, const char *message)
{
    pthread_mutex_lock(&q->lock);
    end_job(q, job, status, message);
    pthread_mutex_unlock(&q->lock);
}

void jobs_cancel(Jobs *q, Job *job)
{
    pthread_mutex_lock(&q->lock);
    job->cancel = true;
    if (job->state == JOB_QUEUED) end_job(q, job, STATUS_INTERRUPTED, "cancelled before it began");
    pthread_mutex_unlock(&q->lock);
}

void jobs_stop(Jobs *q)
{
    pthread_mutex_lock(&q->lock);
    q->stopping = true;
    for (int i = 0; i < q->count; i++) q->list[i]->cancel = true;
    for (int i = q->count - 1; i >= 0; i--)
        if (q->list[i]->state == JOB_QUEUED) {
            end_job(q, q->list[i], STATUS_INTERRUPTED, "the server stops");
            i = q->count; /* end_job() may have shortened the list */
        }
    notify(q);
    pthread_mutex_unlock(&q->lock);
}

void jobs_release(Jobs *q)
{
    for (int i = 0; i < q->count; i++) job_free(q->list[i]);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
}

bool jobs_wait(Jobs *q, Job *job, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    double at = (double)until.tv_nsec * 1e-9 + seconds;
    until.tv_sec += (time_t)at;
    until.tv_nsec = (long)((at - floor(at)) * 1e9);
    pthread_mutex_lock(&q->lock);
    while (!job_over(job) && pthread_cond_timedwait(&q->changed, &q->lock, &until) == 0) {
    }
    bool over = job_over(job);
    pthread_mutex_unlock(&q->lock);
    return over;
}

/* --- for the worker --------------------------------------------------------------------------------- */

Job *jobs_next(Jobs *q)
{
    Job *job = NULL;
    pthread_mutex_lock(&q->lock);
    while (!q->stopping) {
        for (int i = 0; i < q->count && !job; i++)
            if (q->list[i]->state == JOB_QUEUED) job = q->list[i];
        if (job) break;
        pthread_cond_wait(&q->changed, &q->lock);
    }
    if (job) {
        job->refs++;
        job->state = JOB_RUNNING;
        job->started = jobs_now();
        jobs_event(q, job, "started", json_object(), NULL);
        tell_positions(q);
        notify(q);
    }
    pthread_mutex_unlock(&q->lock);
    return job;
}

/* Of the upsampler only the latest frame of a picture is kept: they are large, and nothing goes on from them. */
static void drop_older_frame(Job *job, const JobFrame *frame)
{
    if (frame->done) return;
    for (int i = job->event_count - 1; i >= 0; i--) {
        JobFrame *old = job->events[i].frame;
        if (!old || old->done) continue;
        if (old->first != frame->first) return;
        job->bytes -= frame_bytes(old);
        frame_free(old);
        job->events[i].frame = NULL;
        return;
    }
}

void jobs_event(Jobs *q, Job *job, const char *type, json_t *json, JobFrame *frame)
{
    if (job->event_count == job->event_room) {
        int room = job->event_room ? 2 * job->event_room : 32;
        JobEvent *events = realloc(job->events, (size_t)room * sizeof *events);
        if (events) {
            job->events = events;
            job->event_room = room;
        }
    }
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(7)) : NULL;
    json_decref(json);
    if (job->event_count < job->event_room && text) {
        if (frame) drop_older_frame(job, frame);
        job->bytes += strlen(text) + frame_bytes(frame);
        job->events[job->event_count++] = (JobEvent){type, text, frame};
    } else {
        free(text);
        frame_free(frame);
    }
    pthread_cond_broadcast(&q->changed);
}

void jobs_measure(Jobs *q, bool upsampling, double seconds)
{
    pthread_mutex_lock(&q->lock);
    double *mean = &q->seconds[upsampling];
    *mean = *mean > 0 ? 0.8 * *mean + 0.2 * seconds : seconds;
    pthread_mutex_unlock(&q->lock);
}

/* --- where a job stands ----------------------------------------------------------------------------- */

int jobs_position(const Jobs *q, const Job *job)
{
    int position = 1;
    if (job->state != JOB_QUEUED) return 0;
    for (int i = 0; i < q->count && q->list[i] != job; i++) position += q->list[i]->state == JOB_QUEUED;
    return position;
}

/* Of this job alone. */
static double own_seconds(const Jobs *q, const Job *job)
{
    double left[2] = {(double)job->request.n * job->stage_steps[0], (double)job->request.n * job->stage_steps[1]};
    if (job_over(job)) return 0;
    if (job->state == JOB_RUNNING) {
        int before = job->upsampling ? job->first - job->first % JOB_BATCH : job->first;
        int through = before + JOB_BATCH < job->request.n ? before + JOB_BATCH : job->request.n;
        left[0] = (double)(job->request.n - (job->upsampling ? through : before)) * job->stage_steps[0];
        if (!job->upsampling) left[0] -= (double)job->count * job->step;
        left[1] = (double)(job->request.n - job->pictures_done) * job->stage_steps[1] - (job->upsampling ? job->step : 0);
    }
    double sum = 0;
    for (int i = 0; i < 2; i++) {
        if (left[i] <= 0) continue;
        if (q->seconds[i] <= 0) return NAN;
        sum += left[i] * job->weight[i] * q->seconds[i];
    }
    return sum;
}

double jobs_seconds_left(const Jobs *q, const Job *job)
{
    double sum = own_seconds(q, job);
    if (job->state != JOB_QUEUED) return sum;
    for (int i = 0; i < q->count && q->list[i] != job; i++) sum += own_seconds(q, q->list[i]);
    return sum;
}

static json_t *show_pictures(const Job *job)
{
    json_t *list = json_array();
    char url[96];
    for (int i = 0; i < job->request.n; i++) {
        const JobPicture *p = &job->pictures[i];
        if (!p->png) continue;
        snprintf(url, sizeof url, "/api/jobs/%llu/pictures/%d", (unsigned long long)job->id, i);
        json_array_append_new(list, json_pack("{s:i,s:s,s:i,s:i,s:s*}", "index", i, "url", url, "width", p->width, "height",
                                              p->height, "name", *p->name ? p->name : NULL));
    }
    return list;
}

static json_t *show_timesteps(const Job *job)
{
    json_t *list = json_array();
    for (int i = 0; i < job->level_count; i++) json_array_append_new(list, json_real(job->timesteps[i]));
    return list;
}

json_t *jobs_show(const Jobs *q, const Job *job)
{
    const char *fixed = job_fixed(job);
    json_t *out = json_pack(
        "{s:I,s:s,s:i,s:f,s:o,s:s,s:i,s:i,s:f,s:o,s:o,s:o,s:i,s:s*,s:o,s:o*}", "id", (json_int_t)job->id, "state",
        job_state_name(job->state), "position", jobs_position(q, job), "fraction", job->fraction, "seconds_left",
        json_number_or_null(jobs_seconds_left(q, job)), "stage", job->upsampling ? "upsampler" : "base", "step", job->step, "steps",
        job->steps, "created", job->created, "started", job->started > 0 ? json_real(job->started) : json_null(), "finished",
        job->finished > 0 ? json_real(job->finished) : json_null(), "pictures", show_pictures(job), "saved_step", job->saved,
        "fixed", fixed, "timesteps", show_timesteps(job), "error", *job->error ? json_text(job->error) : NULL);
    if (out && job->request.parent) {
        json_object_set_new(out, "parent", json_integer((json_int_t)job->request.parent));
        json_object_set_new(out, "from_step", json_integer(job->request.resume.done));
    }
    if (out) json_object_set_new(out, "request", request_to_json(&job->request));
    return out;
}
