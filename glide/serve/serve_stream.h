/* Server-sent events: what happens, told while it happens. */
#ifndef GLIDE_SERVE_STREAM_H
#define GLIDE_SERVE_STREAM_H

#include "glide/serve/serve_http.h"

/* Of one job (the reference is taken over): its events from number `after` + 1 on, and the end when it is over. Steps carry their
 * pictures as base64 PNGs ("previews"), if wanted. */
void stream_job(Request *r, Job *job, int after, bool previews, Reply *out);
/* Of the queue: the list of jobs, again whenever it changes. */
void stream_queue(Request *r, Reply *out);

#endif
