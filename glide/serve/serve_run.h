/* Carrying a job out: what the worker thread does with the models. */
#ifndef GLIDE_SERVE_RUN_H
#define GLIDE_SERVE_RUN_H

#include "glide/serve/serve_jobs.h"

/* One step of nothing: kernels arrange the weights for themselves when they first meet them, which the first job need not wait for.
 * What cannot be done so (a model that wants a class) is left to the jobs. */
void run_warm_up(Glide *glide);
/* Runs the job to its end, telling its story to the queue. `gallery` is a folder or NULL. */
void run_job(Jobs *q, Job *job, Glide *glide, const char *gallery);

#endif
