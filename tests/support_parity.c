#include "tests/support_parity.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- memory --- */

typedef struct ParityBlock {
    struct ParityBlock *next;
    void *memory;
} ParityBlock;

void *parity_keep(Parity *p, void *block)
{
    ParityBlock *b = malloc(sizeof *b);
    if (!b || !block) {
        fputs("parity: out of memory\n", stderr);
        abort();
    }
    *b = (ParityBlock){p->blocks, block};
    p->blocks = b;
    return block;
}

void *parity_alloc(Parity *p, int64_t count, size_t size)
{
    return parity_keep(p, calloc((size_t)count + 1, size));
}

const char *parity_text(Parity *p, const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) text = NULL;
    va_end(args);
    return parity_keep(p, text);
}

void parity_forget(Parity *p)
{
    while (p->blocks) {
        ParityBlock *b = p->blocks;
        p->blocks = b->next;
        free(b->memory);
        free(b);
    }
}

/* --- reporting --- */

static void verdict(Parity *p, const char *item, double error, const char *tolerance, bool ok)
{
    *(ok ? &p->passed : &p->failed) += 1;
    if (p->out) fprintf(p->out, "%-64s error %-9.3g tolerance %-9s %s\n", item, error, tolerance, ok ? "ok" : "FAILED");
}

/* The value that counts: the one whose error is the largest share of its tolerance. */
typedef struct Worst {
    double share, error, tolerance;
} Worst;

static void weigh(Worst *w, double found, double expected, double rms, Tolerance t)
{
    double error = fabs(found - expected), allowed = t.absolute + t.relative * fabs(expected) + t.of_rms * rms;
    if (isnan(error)) error = found == expected ? 0 : INFINITY; /* equal infinities */
    double share = error == 0 ? 0 : isinf(error) ? INFINITY : error / allowed;
    if (share < w->share) return;
    *w = (Worst){share, error, allowed};
}

static void compare(Parity *p, const char *item, const float *found, const float *expected, const double *found64,
                    const double *expected64, int64_t n, Tolerance t)
{
    double sum = 0;
    Worst worst = {0};
    char text[32];
    for (int64_t i = 0; i < n; i++) sum += expected ? (double)expected[i] * expected[i] : expected64[i] * expected64[i];
    double rms = n ? sqrt(sum / (double)n) : 0;
    for (int64_t i = 0; i < n; i++)
        weigh(&worst, found ? found[i] : found64[i], expected ? expected[i] : expected64[i], rms, t);
    snprintf(text, sizeof text, "%.3g", worst.tolerance);
    verdict(p, item, worst.error, text, worst.share <= 1);
}

void parity_compare(Parity *p, const char *item, const float *found, const float *expected, int64_t n, Tolerance tolerance)
{
    compare(p, item, found, expected, NULL, NULL, n, tolerance);
}

void parity_compare_f64(Parity *p, const char *item, const double *found, const double *expected, int64_t n,
                        Tolerance tolerance)
{
    compare(p, item, NULL, NULL, found, expected, n, tolerance);
}

void parity_exact(Parity *p, const char *item, int64_t wrong, int64_t count, const char *first)
{
    *(wrong ? &p->failed : &p->passed) += 1;
    if (!p->out) return;
    fprintf(p->out, "%-64s %lld of %lld differ, exact %s", item, (long long)wrong, (long long)count, wrong ? "FAILED" : "ok");
    if (wrong && first) fprintf(p->out, " (%s)", first);
    fputc('\n', p->out);
}

void parity_broken(Parity *p, const char *item)
{
    p->failed++;
    if (p->out) fprintf(p->out, "%-64s not computed FAILED (%s)\n", item, status_message());
}

void parity_skip(Parity *p, const char *item, const char *why)
{
    p->skipped++;
    if (p->out) fprintf(p->out, "%-64s skipped: %s\n", item, why);
}

/* --- files --- */

const char *parity_path(Parity *p, const char *name)
{
    return parity_text(p, "%s/%s", p->dir, name);
}

bool parity_has(Parity *p, const char *name)
{
    return access(parity_path(p, name), F_OK) == 0;
}

Status parity_open(Parity *p, const char *name, H5File **out)
{
    return h5file_open(parity_path(p, name), out);
}

Status parity_wrong(const H5File *file, const char *what, const char *name)
{
    return status_fail(STATUS_BAD_INPUT, "%s: %s: %s", h5file_path(file), name, what);
}

/* --- arrays --- */

static int64_t product(int ndim, const int64_t *dims)
{
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) n *= dims[i];
    return n;
}

/* Checks the shape before memory is asked for. */
static Status load(Parity *p, const H5File *file, const char *name, H5Kind kind, size_t size, int ndim, const int64_t *dims,
                   void **out)
{
    H5Info info;
    char found[96];
    TRY(h5file_stat(file, name, &info));
    bool same = info.ndim == ndim;
    for (int i = 0; i < ndim && same; i++) same = info.dims[i] == dims[i];
    if (!same) {
        const char *expected = parity_text(p, "%s", "(");
        for (int i = 0; i < ndim; i++) expected = parity_text(p, "%s%s%lld", expected, i ? "," : "", (long long)dims[i]);
        return status_fail(STATUS_BAD_INPUT, "%s: %s is %s, expected %s)", h5file_path(file), name,
                           h5info_describe(&info, found, sizeof found), expected);
    }
    *out = parity_alloc(p, product(ndim, dims), size);
    return h5file_read(file, name, kind, ndim, dims, *out);
}

Status parity_f32(Parity *p, const H5File *file, const char *name, int ndim, const int64_t *dims, float **out)
{
    void *data = NULL;
    Status s = load(p, file, name, H5KIND_F32, sizeof(float), ndim, dims, &data);
    *out = data;
    return s;
}

Status parity_i32(Parity *p, const H5File *file, const char *name, int ndim, const int64_t *dims, int32_t **out)
{
    void *data = NULL;
    Status s = load(p, file, name, H5KIND_I32, sizeof(int32_t), ndim, dims, &data);
    *out = data;
    return s;
}

Status parity_u8(Parity *p, const H5File *file, const char *name, int ndim, const int64_t *dims, uint8_t **out)
{
    void *data = NULL;
    Status s = load(p, file, name, H5KIND_U8, 1, ndim, dims, &data);
    *out = data;
    return s;
}

Status parity_shape(const H5File *file, const char *name, int ndim, int64_t *dims)
{
    H5Info info;
    TRY(h5file_stat(file, name, &info));
    if (info.ndim != ndim || info.size < 1)
        return status_fail(STATUS_BAD_INPUT, "%s: %s: expected %d dimensions, none of them 0", h5file_path(file), name, ndim);
    memcpy(dims, info.dims, (size_t)ndim * sizeof *dims);
    return STATUS_OK;
}

Status parity_vector(Parity *p, const H5File *file, const char *name, float **out, int64_t *n)
{
    H5Info info;
    TRY(h5file_load_f32(file, name, out, &info));
    parity_keep(p, *out);
    *n = info.size;
    return STATUS_OK;
}

float *parity_transposed(Parity *p, const float *x, int64_t N, int64_t C, int64_t pixels)
{
    float *y = parity_alloc(p, N * C * pixels, sizeof *y);
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++)
            for (int64_t i = 0; i < pixels; i++) y[(n * pixels + i) * C + c] = x[(n * C + c) * pixels + i];
    return y;
}

Status parity_channels_last(Parity *p, const H5File *file, const char *name, int ndim, const int64_t *dims, float **out)
{
    float *stored;
    *out = NULL;
    TRY(parity_f32(p, file, name, ndim, dims, &stored));
    *out = parity_transposed(p, stored, dims[0], dims[1], product(ndim - 2, dims + 2));
    return STATUS_OK;
}

Status parity_whole_numbers(Parity *p, const H5File *file, const char *object, const char *name, int **out, int *count)
{
    double *values;
    TRY(h5file_attr_f64s(file, object, name, &values, count));
    parity_keep(p, values);
    *out = parity_alloc(p, *count, sizeof **out);
    for (int i = 0; i < *count; i++) {
        if (!(fabs(values[i]) <= INT32_MAX) || values[i] != rint(values[i])) return parity_wrong(file, "expected whole numbers", name);
        (*out)[i] = (int)values[i];
    }
    return STATUS_OK;
}

Status parity_list(Parity *p, const H5File *file, const char *group, unsigned what, char ***names, int *count)
{
    TRY(h5file_list(file, group, what, names, count));
    parity_keep(p, *names);
    return STATUS_OK;
}
