/* The queue: jobs that wait, the one in work, and some that are finished, with all that happened to them.
 *
 * One lock guards everything in Jobs and in every Job; `changed` is told whenever something happens. Threads hold references to
 * jobs (jobs_find() and jobs_add() give one, job_put() gives it back); the worker takes jobs with jobs_next() and tells their
 * story with jobs_event(). */
#ifndef GLIDE_SERVE_JOBS_H
#define GLIDE_SERVE_JOBS_H

#include "glide/serve/serve_gallery.h"
#include "glide/serve/serve_request.h"

#include <pthread.h>

enum { JOBS_ROOM = 512, JOBS_FINISHED = 48, JOBS_WITH_STATES = 6, JOB_MOST_STATES = 128, JOB_BATCH = 4 };

typedef enum { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELLED } JobState;

/* Pictures as the model expected them at a step. */
typedef struct JobFrame {
    int first, count;       /* which of the job's */
    int width, height;
    int done;               /* steps of the base model, from the process's first; 0: a frame of the upsampler */
    unsigned char *rgb;     /* (count,height,width,3) */
} JobFrame;

size_t frame_size(const JobFrame *f); /* bytes of one of its pictures */

typedef struct JobEvent {
    const char *type; /* "queued", "started", "step", "changed", "picture", "done", "failed", "cancelled" */
    char *json;       /* an object */
    JobFrame *frame;  /* NULL: none, or not kept */
} JobEvent;

typedef struct JobPicture {
    unsigned char *png; /* NULL: not there yet */
    size_t size;
    int width, height;
    char name[GALLERY_NAME]; /* in the gallery; "": not kept there */
} JobPicture;

typedef struct Job {
    uint64_t id;
    int refs;
    JobRequest request;
    JobState state;
    bool cancel;
    double created, started, finished; /* seconds since 1970 */
    char error[256];
    Status status;
    /* where it stands */
    bool upsampling;
    int step, steps, first, count, pictures_done;
    double fraction;
    int stage_steps[2];
    double weight[2]; /* evaluations of a picture in a step */
    JobEvent *events;
    int event_count, event_room;
    JobPicture *pictures; /* (request.n) */
    size_t bytes;         /* of frames, states and pictures */
    /* going on from steps */
    double *timesteps;    /* (level_count) of the base model's steps, from noise to picture */
    int level_count;
    SamplerState *states; /* (state_count), .done set; made while the job runs */
    int state_count, saved; /* those up to step `saved` are there and stay */
    bool change;          /* asked to go on with `changed_cfg` */
    JobTerm changed_cfg;
} Job;

typedef struct Jobs {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    Job *list[JOBS_ROOM]; /* oldest first */
    int count, most_queued;
    size_t most_memory;
    uint64_t next_id, version; /* version: grows with every change that lists of jobs show */
    bool stopping;
    double seconds[2]; /* of an evaluation of one picture by a stage, so far; 0: not known yet */
    const RequestLimits *limits;
} Jobs;

Status jobs_init(Jobs *q, const RequestLimits *limits, int most_queued, size_t most_memory);
void jobs_release(Jobs *q); /* no thread uses it any more */
void jobs_stop(Jobs *q);    /* cancels everything, wakes everyone */

typedef enum { JOBS_ADDED, JOBS_FULL, JOBS_STOPPED } JobsAdd;

/* Takes the request over if it is added. */
JobsAdd jobs_add(Jobs *q, JobRequest *request, Job **out);
Job *jobs_find(Jobs *q, uint64_t id); /* NULL: no such job */
void job_put(Jobs *q, Job *job);
void jobs_cancel(Jobs *q, Job *job);
/* Whether the job is over; waits up to `seconds` for it. */
bool jobs_wait(Jobs *q, Job *job, double seconds);

/* Another scale for the base model's remaining steps: at once for a job in work, before it starts for one that waits.
 * STATUS_BAD_INPUT says why not. */
Status jobs_change(Jobs *q, Job *job, const JobTerm *cfg);
/* A request that goes on from step `done` of a job with another scale. */
Status jobs_branch(Jobs *q, Job *job, int done, const JobTerm *cfg, JobRequest *out);
/* Why such a thing cannot be done with the job, or NULL. */
const char *job_fixed(const Job *job);

/* --- for the worker --- */
Job *jobs_next(Jobs *q); /* waits; NULL when the server stops. The reference is the worker's */
void jobs_finish(Jobs *q, Job *job, Status status, const char *message);
/* `json` and `frame` are taken over. With the lock held. */
void jobs_event(Jobs *q, Job *job, const char *type, json_t *json, JobFrame *frame);
void jobs_measure(Jobs *q, bool upsampling, double seconds);
double jobs_now(void);

/* --- with the lock held --- */
bool job_over(const Job *job);
int jobs_position(const Jobs *q, const Job *job); /* 0: in work or over; 1: next */
double jobs_seconds_left(const Jobs *q, const Job *job); /* until it is over; NAN: not known */
json_t *jobs_show(const Jobs *q, const Job *job);
const char *job_state_name(JobState state);

#endif
