#include "common/params_match.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LISTED = 3, NAME_MAX_COMPARED = 96 };

/* A text that grows up to a limit and then ends in "...". Names come from files: control characters become '?'. */
typedef struct Line {
    char text[760];
    size_t used;
} Line;

static void line_add(Line *line, const char *text)
{
    size_t room = sizeof line->text - line->used, length = strlen(text);
    if (length < room) {
        for (size_t i = 0; i <= length; i++)
            line->text[line->used + i] = (char)(text[i] && ((unsigned char)text[i] < 32 || text[i] == 127) ? '?' : text[i]);
        line->used += length;
    } else if (line->used + 4 <= sizeof line->text) {
        memcpy(line->text + line->used, "...", 4);
        line->used = sizeof line->text;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const NamedShape *const *)a)->name, (*(const NamedShape *const *)b)->name);
}

static int name_against(const void *key, const void *item)
{
    return strcmp(key, (*(const NamedShape *const *)item)->name);
}

/* Levenshtein distance of the names' beginnings. */
static int edit_distance(const char *a, const char *b)
{
    int row[NAME_MAX_COMPARED + 1], n = (int)strnlen(b, NAME_MAX_COMPARED);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; a[i - 1] && i <= NAME_MAX_COMPARED; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            int shorter = row[j - 1] < row[j] ? row[j - 1] + 1 : row[j] + 1;
            row[j] = replaced < shorter ? replaced : shorter;
        }
    }
    return row[n];
}

/* The unused name nearest to a missing one, if it is near enough to be a misspelling. */
static const char *nearest(const char *name, const NamedShape *found, int count, const bool *used)
{
    const char *best = NULL;
    int best_distance = (int)strlen(name) / 4 + 1, compared = 0;
    for (int i = 0; i < count && compared < 2000; i++) {
        if (used[i]) continue;
        int distance = edit_distance(name, found[i].name);
        compared++;
        if (distance < best_distance) {
            best_distance = distance;
            best = found[i].name;
        }
    }
    return best;
}

static bool same_shape(const Param *param, const NamedShape *found)
{
    bool same = param->ndim == found->ndim;
    for (int i = 0; i < param->ndim && same; i++) same = param->dims[i] == found->dims[i];
    return same;
}

static void shape_text(int ndim, const int64_t *dims, char text[80])
{
    size_t used = (size_t)snprintf(text, 80, "(");
    for (int i = 0; i < ndim && used < 60; i++)
        used += (size_t)snprintf(text + used, 80 - used, "%s%lld", i ? "," : "", (long long)dims[i]);
    snprintf(text + (used < 78 ? used : 78), 2, ")");
}

static void list_missing(const ParamSet *params, const NamedShape *found, int count, const bool *used, const int *index,
                         Line *line, int total)
{
    char text[200];
    int listed = 0;
    snprintf(text, sizeof text, "%d missing (", total);
    line_add(line, text);
    for (int i = 0; i < params->count && listed < LISTED; i++) {
        if (index[i] >= 0) continue;
        const char *near = nearest(params->items[i]->name, found, count, used);
        snprintf(text, sizeof text, "%s%.80s%s%.80s%s", listed ? "; " : "", params->items[i]->name,
                 near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
        line_add(line, text);
        listed++;
    }
    line_add(line, total > listed ? "; ...)" : ")");
}

static void list_unexpected(const NamedShape *found, int count, const bool *used, Line *line, int total)
{
    char text[120];
    int listed = 0;
    snprintf(text, sizeof text, "%s%d unexpected (", line->used ? ", " : "", total);
    line_add(line, text);
    for (int i = 0; i < count && listed < LISTED; i++) {
        if (used[i]) continue;
        snprintf(text, sizeof text, "%s%.80s", listed ? "; " : "", found[i].name);
        line_add(line, text);
        listed++;
    }
    line_add(line, total > listed ? "; ...)" : ")");
}

static void list_misshapen(const ParamSet *params, const NamedShape *found, const int *index, Line *line, int total)
{
    char text[320], is[80], expected[80];
    int listed = 0;
    snprintf(text, sizeof text, "%s%d of another shape (", line->used ? ", " : "", total);
    line_add(line, text);
    for (int i = 0; i < params->count && listed < LISTED; i++) {
        const Param *param = params->items[i];
        if (index[i] < 0 || same_shape(param, &found[index[i]])) continue;
        shape_text(found[index[i]].ndim, found[index[i]].dims, is);
        shape_text(param->ndim, param->dims, expected);
        snprintf(text, sizeof text, "%s%.80s is %s, expected %s", listed ? "; " : "", param->name, is, expected);
        line_add(line, text);
        listed++;
    }
    line_add(line, total > listed ? "; ...)" : ")");
}

Status params_match(const ParamSet *params, const char *path, const NamedShape *found, int count, int *index)
{
    const NamedShape **sorted = malloc((size_t)(count + 1) * sizeof *sorted);
    bool *used = calloc((size_t)count + 1, sizeof *used);
    if (!sorted || !used) {
        free(sorted);
        free(used);
        return status_fail(STATUS_NO_MEMORY, "%s: out of memory for %d names", path, count);
    }
    for (int i = 0; i < count; i++) sorted[i] = &found[i];
    qsort(sorted, (size_t)count, sizeof *sorted, by_name);
    int matched = 0, misshapen = 0;
    for (int i = 0; i < params->count; i++) {
        const NamedShape **hit = bsearch(params->items[i]->name, sorted, (size_t)count, sizeof *sorted, name_against);
        index[i] = hit ? (int)(*hit - found) : -1;
        if (!hit) continue;
        used[index[i]] = true;
        matched++;
        misshapen += !same_shape(params->items[i], *hit);
    }
    Line line = {.used = 0};
    int missing = params->count - matched, unexpected = 0;
    for (int i = 0; i < count; i++) unexpected += !used[i];
    if (missing) list_missing(params, found, count, used, index, &line, missing);
    if (unexpected) list_unexpected(found, count, used, &line, unexpected);
    if (misshapen) list_misshapen(params, found, index, &line, misshapen);
    free(sorted);
    free(used);
    if (!line.used) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: the weights do not fit the model: %s", path, line.text);
}

Status params_check_finite(const char *path, const char *name, const float *values, size_t count)
{
    size_t bad = 0;
    for (size_t i = 0; i < count; i++) bad += !isfinite(values[i]);
    if (!bad) return STATUS_OK;
    size_t first = 0;
    while (isfinite(values[first])) first++;
    return status_fail(STATUS_BAD_INPUT, "%s: %s holds %zu value(s) that are not finite (the first, number %zu of %zu, is %g)",
                       path, name, bad, first + 1, count, (double)values[first]);
}
