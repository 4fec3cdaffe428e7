#include "glide/cmd_weights.h"

#include "common/interrupt.h"
#include "common/progress.h"

#include <stdlib.h>

/* Models below this are written in well under a second. */
#define WORTH_A_BAR 32000000

/* One buffer serves every parameter: taking and giving back so many large blocks leaves holes that add up. */
static Status new_buffer(const ParamSet *params, float **out)
{
    size_t most = 1;
    for (int i = 0; i < params->count; i++)
        if (params->items[i]->size > most) most = params->items[i]->size;
    *out = aligned_alloc(64, (most * sizeof **out + 63) / 64 * 64);
    return *out ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a parameter of %zu values", most);
}

static Status write_one(const CliWeights *w, H5File *file, int i, float *buffer)
{
    Param *param = w->params->items[i];
    param->value = buffer;
    Status s = w->fill(w->ctx, param, i);
    if (s == STATUS_OK) s = weights_write_param(file, param, w->store ? w->store(w->ctx, i) : H5KIND_F32);
    param->value = NULL;
    return s;
}

static Status write_all(const CliWeights *w, H5File *file, Progress *bar)
{
    int64_t done = 0;
    float *buffer;
    Status s = new_buffer(w->params, &buffer);
    for (int i = 0; i < w->params->count && s == STATUS_OK; i++) {
        if (interrupt_requested()) s = status_fail(STATUS_INTERRUPTED, "stopped; %s was not written", w->output);
        else s = write_one(w, file, i, buffer);
        done += (int64_t)w->params->items[i]->size;
        if (s == STATUS_OK) progress_update(bar, done, NULL);
    }
    free(buffer);
    return s;
}

Status cli_weights_write(const CliWeights *w)
{
    H5File *file;
    Progress bar;
    ProgressOptions options = progress_defaults(stderr);
    options.label = w->label;
    options.unit = NULL;
    options.total = (int64_t)w->params->total;
    if (w->quiet || w->params->total < WORTH_A_BAR) options.style = PROGRESS_QUIET;
    TRY(weights_create(w->output, w->kind, &file));
    interrupt_install(NULL);
    progress_start(&bar, &options);
    Status s = w->header(w->ctx, file);
    if (s == STATUS_OK) s = write_all(w, file, &bar);
    if (s == STATUS_OK) s = h5file_commit(file);
    else h5file_close(file);
    if (s == STATUS_OK) progress_finish(&bar);
    else progress_abort(&bar);
    if (s != STATUS_INTERRUPTED) interrupt_restore(); /* else main() asks which signal it was */
    return s;
}
