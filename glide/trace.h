/* Traces of sampling, for research: an HDF5 file with x_t, x_0 and what guidance did at every step.
 *
 *     Trace *trace;
 *     TRY(trace_create("run.h5", &trace));
 *     trace_note(trace, "prompt", "red apple");
 *     ... trace_step() after each step of each stage ...
 *     TRY(trace_commit(trace))   or   trace_discard(trace);
 *
 * Layout, P pictures, S steps, side x side pixels; all f32 unless said otherwise:
 *
 *     /                       attributes: format "glide-trace", format_version 1, and lines of the recipe as text (prompt, ...)
 *     /base, /upsampler       a group for each stage that took part; attributes pictures, steps, side
 *       timestep   (S) f64    of the model's process where each step began; alpha, sigma (S) f64: x_t = alpha x_0 + sigma eps
 *       x_t        (P,S,side,side,3)   what the step began with, channels last
 *       x_0        (P,S,side,side,3)   the picture that the step expected, clamped, as the sampler used it
 *       telemetry/NAME  (P,S)          by picture and step (guidance/telemetry.h); NaN where there was nothing to measure
 *
 * With h5py:  f = h5py.File("run.h5"); f["base/telemetry/cosine"][0]; f["base/x_0"][0, -1]
 *
 * Of a step that evaluates the model several times (Heun's) telemetry and x_t are those of its first evaluation. Values are stored
 * plain, not compressed. The file appears whole or not at all. */
#ifndef GLIDE_TRACE_H
#define GLIDE_TRACE_H

#include "guidance/guided_denoiser.h"

#define TRACE_FORMAT  "glide-trace"
#define TRACE_VERSION 1

typedef struct Trace Trace;

/* Rows of a stage's datasets. */
typedef struct TraceRows {
    const char *stage; /* "base" or "upsampler" */
    int64_t pictures;  /* P */
    int64_t first;     /* of the pictures in work */
} TraceRows;

Status trace_create(const char *path, Trace **out);
Status trace_note(Trace *t, const char *key, const char *value);
/* The step that `guided` has recorded and `progress` tells about, of the pictures rows.first, rows.first+1, ... */
Status trace_step(Trace *t, const TraceRows *rows, const GuidedDenoiser *guided, const SamplerProgress *progress);
Status trace_commit(Trace *t);  /* frees it, whether it succeeds or not */
void trace_discard(Trace *t);   /* the file never appears; NULL is fine */

#endif
