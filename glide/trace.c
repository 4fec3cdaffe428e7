#include "glide/trace.h"

#include "common/h5file.h"

#include <stdio.h>
#include <stdlib.h>

struct Trace {
    H5File *file;
};

Status trace_create(const char *path, Trace **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out) return status_fail(STATUS_NO_MEMORY, "out of memory for a trace");
    Status s = h5file_create(path, &(*out)->file);
    if (s == STATUS_OK) s = h5file_set_text((*out)->file, "/", "format", TRACE_FORMAT);
    if (s == STATUS_OK) s = h5file_set_i64((*out)->file, "/", "format_version", TRACE_VERSION);
    if (s == STATUS_OK) return s;
    trace_discard(*out);
    *out = NULL;
    return s;
}

Status trace_note(Trace *t, const char *key, const char *value)
{
    return h5file_set_text(t->file, "/", key, value);
}

Status trace_commit(Trace *t)
{
    Status s = h5file_commit_cached(t->file);
    free(t);
    return s;
}

void trace_discard(Trace *t)
{
    if (!t) return;
    h5file_close(t->file);
    free(t);
}

/* --- datasets ----------------------------------------------------------------------------------------- */

enum { COLUMN = 64, NAME = COLUMN + 40 };

static Status create(Trace *t, const char *stage, const char *what, H5Kind kind, int ndim, const int64_t *dims)
{
    char name[NAME];
    snprintf(name, sizeof name, "%.16s/%s", stage, what);
    return h5file_create_rows(t->file, name, kind, ndim, dims, 0, 0);
}

static Status begin_stage(Trace *t, const TraceRows *rows, const SamplerProgress *p)
{
    char column[COLUMN], name[COLUMN + 16];
    const int64_t pictures[5] = {rows->pictures, p->total, p->height, p->width, IMAGE_CHANNELS}, steps = p->total;
    TRY(h5file_make_group(t->file, rows->stage));
    TRY(h5file_set_i64(t->file, rows->stage, "pictures", rows->pictures));
    TRY(h5file_set_i64(t->file, rows->stage, "steps", steps));
    TRY(h5file_set_i64(t->file, rows->stage, "side", p->width));
    TRY(create(t, rows->stage, "timestep", H5KIND_F64, 1, &steps));
    TRY(create(t, rows->stage, "alpha", H5KIND_F64, 1, &steps));
    TRY(create(t, rows->stage, "sigma", H5KIND_F64, 1, &steps));
    TRY(create(t, rows->stage, "x_t", H5KIND_F32, 5, pictures));
    TRY(create(t, rows->stage, "x_0", H5KIND_F32, 5, pictures));
    for (int i = 0; telemetry_name(i, column, sizeof column); i++) {
        if (!*column) continue;
        snprintf(name, sizeof name, "telemetry/%s", column);
        TRY(create(t, rows->stage, name, H5KIND_F32, 2, pictures));
    }
    return STATUS_OK;
}

/* One value per step. */
static Status put_level(Trace *t, const char *stage, const char *what, int64_t step, double value)
{
    char name[NAME];
    snprintf(name, sizeof name, "%.16s/%s", stage, what);
    return h5file_write_rows(t->file, name, step, 1, 1, &value);
}

/* The values (n,size) of the step's pictures. */
static Status put(Trace *t, const TraceRows *rows, const char *what, int64_t step, int64_t n, int ndim, const int64_t *row,
                  const float *values)
{
    char name[NAME];
    int64_t start[5] = {rows->first, step}, count[5] = {n, 1};
    for (int i = 2; i < ndim; i++) count[i] = row[i - 2];
    snprintf(name, sizeof name, "%.16s/%s", rows->stage, what);
    return h5file_write_part(t->file, name, ndim, start, count, values);
}

static Status put_telemetry(Trace *t, const TraceRows *rows, int64_t step, const GuidedDenoiser *g)
{
    char column[COLUMN], name[COLUMN + 16];
    float *values = malloc((size_t)g->n * sizeof *values);
    Status s = values ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a trace");
    for (int i = 0; s == STATUS_OK && telemetry_name(i, column, sizeof column); i++) {
        if (!*column) continue;
        snprintf(name, sizeof name, "telemetry/%s", column);
        for (int64_t row = 0; row < g->n; row++) values[row] = (float)telemetry_value(&g->telemetry[row], i);
        s = put(t, rows, name, step, g->n, 2, NULL, values);
    }
    free(values);
    return s;
}

Status trace_step(Trace *t, const TraceRows *rows, const GuidedDenoiser *guided, const SamplerProgress *p)
{
    const int64_t row[3] = {p->height, p->width, IMAGE_CHANNELS}, step = p->done - 1;
    if (!h5file_has_group(t->file, rows->stage)) TRY(begin_stage(t, rows, p));
    TRY(put_level(t, rows->stage, "timestep", step, guided->level.timestep));
    TRY(put_level(t, rows->stage, "alpha", step, guided->level.alpha));
    TRY(put_level(t, rows->stage, "sigma", step, guided->level.sigma));
    TRY(put(t, rows, "x_t", step, p->n, 5, row, guided->x_t));
    TRY(put(t, rows, "x_0", step, p->n, 5, row, p->x_0));
    return put_telemetry(t, rows, step, guided);
}
