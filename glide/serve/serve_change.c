/* Changing guidance on the way, and going on from a step. */
#include "glide/serve/serve_jobs.h"
#include "glide/serve/serve_term.h"

#include <stdlib.h>
#include <string.h>

const char *job_fixed(const Job *job)
{
    const JobRequest *r = &job->request;
    const SamplerKind *kind = sampler_find(r->sampler);
    if (r->kind == JOB_UPSAMPLE) return "the upsampler alone is at work";
    if (r->kind == JOB_INPAINT) return "a model that is led to known pixels visits its steps more than once";
    if (r->n > JOB_BATCH || r->seed_each) return "more pictures than are made at once";
    if (!kind || kind->evaluations != 1 || kind->extra != 0) return "this sampler looks at levels ahead of its step";
    if (r->apg && r->apg_momentum != 0) return "the momentum of APG is not kept between steps";
    if (r->cfgpp && *r->terms[GUIDANCE_CFG].interval) return "CFG++ in an interval cannot be told as a schedule";
    return NULL;
}

static Status parse_term(const JobTerm *in, GuidanceTerm *out)
{
    *out = guidance_term(in->scale);
    TRY(guidance_parse_interval(in->interval, out));
    return guidance_parse_schedule(in->schedule, out);
}

/* *cfg becomes what says the scales of the first `done` steps as `job` took them, and then its own. */
static Status join(const Jobs *q, const Job *job, int done, JobTerm *cfg)
{
    GuidanceTerm before, after, joined;
    TRY(parse_term(&job->request.terms[GUIDANCE_CFG], &before));
    TRY(parse_term(cfg, &after));
    TRY(term_join(&before, &after, job->timesteps, job->level_count, done, 1, q->limits->diffusion_steps - 1, &joined));
    if (done == 0) return STATUS_OK;
    cfg->scale = joined.scale;
    guidance_show_interval(&joined, cfg->interval, sizeof cfg->interval);
    guidance_show_schedule(&joined, cfg->schedule, sizeof cfg->schedule);
    return STATUS_OK;
}

static Status check_cfg(Jobs *q, const Job *job, const JobTerm *cfg)
{
    JobRequest changed = job->request; /* borrowed */
    changed.terms[GUIDANCE_CFG] = *cfg;
    return request_check(&changed, q->limits);
}

static Status change(Jobs *q, Job *job, const JobTerm *cfg)
{
    const char *fixed = job_fixed(job);
    TRY(check_cfg(q, job, cfg));
    if (job->state == JOB_QUEUED && !job->request.resume.x) {
        job->request.terms[GUIDANCE_CFG] = *cfg;
        return STATUS_OK;
    }
    if (fixed) return status_fail(STATUS_BAD_INPUT, "guidance cannot be changed on the way: %s", fixed);
    if (job->state != JOB_RUNNING) return status_fail(STATUS_BAD_INPUT, "the job is %s", job_state_name(job->state));
    if (job->upsampling) return status_fail(STATUS_BAD_INPUT, "the base model has taken all its steps; go on from one of them");
    JobTerm joined = *cfg;
    if (job->level_count) TRY(join(q, job, job->step, &joined)); /* whether it can be said at all */
    job->changed_cfg = *cfg;
    job->change = true;
    return STATUS_OK;
}

Status jobs_change(Jobs *q, Job *job, const JobTerm *cfg)
{
    pthread_mutex_lock(&q->lock);
    Status s = change(q, job, cfg);
    pthread_mutex_unlock(&q->lock);
    return s;
}

static Status copy_floats(const float *from, int64_t n, float **out)
{
    if (!from) return STATUS_OK;
    *out = malloc((size_t)n * sizeof **out);
    if (!*out) return status_fail(STATUS_NO_MEMORY, "out of memory for a step's pictures");
    memcpy(*out, from, (size_t)n * sizeof **out);
    return STATUS_OK;
}

static Status copy_state(const SamplerState *in, SamplerState *out)
{
    *out = *in;
    out->x = NULL;
    memset(out->memory, 0, sizeof out->memory);
    TRY(copy_floats(in->x, in->size, &out->x));
    for (int i = 0; i < SAMPLER_MEMORY; i++) TRY(copy_floats(in->memory[i], in->size, &out->memory[i]));
    return STATUS_OK;
}

static Status copy_picture(const GlidePicture *in, GlidePicture *out)
{
    size_t bytes = (size_t)in->width * (size_t)in->height * 3;
    *out = (GlidePicture){0};
    if (!in->rgb) return STATUS_OK;
    *out = (GlidePicture){.width = in->width, .height = in->height, .rgb = malloc(bytes)};
    if (!out->rgb) return status_fail(STATUS_NO_MEMORY, "out of memory for a picture");
    memcpy(out->rgb, in->rgb, bytes);
    return STATUS_OK;
}

static Status fill_branch(const Jobs *q, const Job *job, int done, const JobTerm *cfg, JobRequest *out)
{
    const SamplerState *state = NULL;
    for (int i = 0; i < job->state_count; i++)
        if (job->states[i].done == done && done <= job->saved && job->states[i].x) state = &job->states[i];
    if (job->request.resume.x && job->request.resume.done == done) state = &job->request.resume;
    if (done > 0 && !state)
        return status_fail(STATUS_BAD_INPUT, "step: expected one that is kept, up to %d, found %d", job->saved, done);
    TRY(request_set_text(&out->prompt, job->request.prompt));
    TRY(request_set_text(&out->negative_prompt, job->request.negative_prompt));
    TRY(copy_picture(&job->request.picture, &out->picture));
    if (state) TRY(copy_state(state, &out->resume));
    out->terms[GUIDANCE_CFG] = *cfg;
    TRY(join(q, job, done, &out->terms[GUIDANCE_CFG]));
    return request_check(out, q->limits);
}

Status jobs_branch(Jobs *q, Job *job, int done, const JobTerm *cfg, JobRequest *out)
{
    const char *fixed = job_fixed(job);
    if (fixed) return status_fail(STATUS_BAD_INPUT, "nothing can go on from this job's steps: %s", fixed);
    pthread_mutex_lock(&q->lock);
    *out = job->request;
    out->prompt = out->negative_prompt = NULL;
    out->picture = (GlidePicture){0};
    out->mask = (GlideMask){0};
    out->resume = (SamplerState){0};
    out->parent = job->id;
    Status s = fill_branch(q, job, done, cfg, out);
    pthread_mutex_unlock(&q->lock);
    if (s != STATUS_OK) request_release(out);
    return s;
}
