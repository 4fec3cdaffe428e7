/* Carrying a job out: what the worker thread does with the models. */
#ifndef GLIDE_SERVE_RUN_H
#define GLIDE_SERVE_RUN_H

#include "glide/serve/serve_jobs.h"

/* Runs the job to its end, telling its story to the queue. `gallery` is a folder or NULL. */
void run_job(Jobs *q, Job *job, Glide *glide, const char *gallery);

#endif
