#include "common/state_names.h"

#include "common/params_match.h"
#include "common/pickle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const StateTensor *names_find(const StateNames *n, const char *format, ...)
{
    char name[160];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return state_dict_find(n->dict, name);
}

static Status absent(const StateNames *n, const char *name)
{
    const char **names = malloc((size_t)(n->dict->count + 1) * sizeof *names), *near = NULL;
    for (int i = 0; names && i < n->dict->count; i++) names[i] = n->dict->items[i].name;
    char quote[64];
    if (names) near = name_nearest(name, names, n->dict->count);
    status_fail(STATUS_BAD_INPUT, "%s: no parameter %s: not %s%s%s%s", n->path, name, n->model,
                near ? " (the nearest name is " : "", near ? pickle_quote(near, strlen(near), quote) : "", near ? ")" : "");
    free(names);
    return STATUS_BAD_INPUT;
}

Status names_shape(const StateNames *n, const char *name, int ndim, int *dims)
{
    const StateTensor *tensor = state_dict_find(n->dict, name);
    if (!tensor) return absent(n, name);
    bool fits = tensor->ndim == ndim;
    for (int i = 0; i < ndim && fits; i++) {
        fits = tensor->dims[i] > 0 && tensor->dims[i] <= 1 << 24;
        dims[i] = (int)tensor->dims[i];
    }
    if (fits) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: %s has %d dimensions or an odd size, expected %d dimensions", n->path, name,
                       tensor->ndim, ndim);
}

Status names_expect(const StateNames *n, const char *name, int ndim, const int *expected)
{
    int d[PT_MAX_DIMS];
    TRY(names_shape(n, name, ndim, d));
    for (int i = 0; i < ndim; i++)
        if (d[i] != expected[i])
            return status_fail(STATUS_BAD_INPUT, "%s: %s: dimension %d is %d, expected %d", n->path, name, i, d[i],
                               expected[i]);
    return STATUS_OK;
}
