/* Comparing a model block by block as it runs. */
#include "tests/support_parity.h"

#include <string.h>

static const char *dataset_of(const ParityTrace *c, const char *name)
{
    return *c->group ? parity_text(c->p, "%s/%s", c->group, name) : name;
}

/* x (N,...,C); stored (N,C',...), C' <= C: some traces keep the first channels only. */
static Status compare_block(ParityTrace *c, const char *name, const Tensor *x)
{
    int64_t stored[4] = {0}, C = tensor_channels(x), N = x->dims[0], kept;
    float *expected;
    TRY(parity_shape(c->file, name, x->ndim, stored));
    kept = stored[1];
    if (kept > C) return parity_wrong(c->file, "more channels than the model has", name);
    int64_t dims[4] = {N, kept};
    for (int i = 1; i < x->ndim - 1; i++) dims[i + 1] = x->dims[i];
    TRY(parity_channels_last(c->p, c->file, name, x->ndim, dims, &expected));
    int64_t rows = tensor_rows(x);
    float *found = parity_alloc(c->p, rows * kept, sizeof *found);
    for (int64_t i = 0; i < rows; i++)
        memcpy(found + i * kept, (const float *)x->data + i * C, (size_t)kept * sizeof *found);
    parity_compare(c->p, parity_text(c->p, "%s %s", c->item, name), found, expected, rows * kept, c->tolerance);
    return STATUS_OK;
}

void parity_trace_block(void *ctx, const char *name, const Tensor *x)
{
    ParityTrace *c = ctx;
    const char *path = dataset_of(c, name);
    if (c->status != STATUS_OK || !h5file_has_dataset(c->file, path)) return;
    c->found++;
    c->status = compare_block(c, path, x);
}

void parity_trace_tokens(void *ctx, const char *name, const Tensor *x)
{
    ParityTrace *c = ctx;
    float *expected;
    const char *path = dataset_of(c, name);
    if (c->status != STATUS_OK || !h5file_has_dataset(c->file, path)) return;
    c->status = parity_f32(c->p, c->file, path, x->ndim, x->dims, &expected);
    if (c->status != STATUS_OK) return;
    c->found++;
    parity_compare(c->p, parity_text(c->p, "%s %s", c->item, path), x->data, expected, tensor_size(x), c->tolerance);
}

void parity_trace_count(ParityTrace *c, int expected)
{
    const char *item = parity_text(c->p, "%s %s%sblocks compared", c->item, c->group, *c->group ? " " : "");
    parity_exact(c->p, item, expected - c->found, expected, NULL);
}
