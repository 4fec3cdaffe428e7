#include "common/params_match.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LISTED = 3, NAME_MAX_COMPARED = 96, NAMES_MAX_COMPARED = 2000 };

/* A text that grows up to a limit and then ends in "...". Names come from files: control characters become '?'. */
typedef struct Line {
    char text[1500];
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

const char *name_nearest(const char *name, const char *const *names, int count)
{
    const char *best = NULL;
    int best_distance = (int)strlen(name) / 4 + 1;
    for (int i = 0; i < count && i < NAMES_MAX_COMPARED; i++) {
        int distance = edit_distance(name, names[i]);
        if (distance >= best_distance) continue;
        best_distance = distance;
        best = names[i];
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

/* Names that one side has alone, each with the nearest of those that the other side has alone. */
typedef struct Names {
    const char **items;
    int count;
} Names;

static void list_names(Line *line, const char *what, const Names *names, const Names *others, const char *before,
                       const char *after)
{
    char text[220];
    if (!names->count) return;
    snprintf(text, sizeof text, "%s%d %s (", line->used ? ", " : "", names->count, what);
    line_add(line, text);
    for (int i = 0; i < names->count && i < LISTED; i++) {
        const char *near = name_nearest(names->items[i], others->items, others->count);
        snprintf(text, sizeof text, "%s%.80s%s%.80s%s", i ? "; " : "", names->items[i], near ? before : "", near ? near : "",
                 near ? after : "");
        line_add(line, text);
    }
    line_add(line, names->count > LISTED ? "; ...)" : ")");
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

/* What the comparison needs: three arrays of names that live as long as it does. */
typedef struct Match {
    const NamedShape **sorted; /* what was found, by name */
    bool *used;                /* (count) */
    Names missing, spare;
} Match;

static void match_release(Match *m)
{
    free(m->sorted);
    free(m->used);
    free(m->missing.items);
    free(m->spare.items);
}

static Status match_init(Match *m, const ParamSet *params, const char *path, const NamedShape *found, int count)
{
    *m = (Match){.sorted = malloc((size_t)(count + 1) * sizeof *m->sorted),
                 .used = calloc((size_t)count + 1, sizeof *m->used),
                 .missing.items = malloc((size_t)(params->count + 1) * sizeof *m->missing.items),
                 .spare.items = malloc((size_t)(count + 1) * sizeof *m->spare.items)};
    if (!m->sorted || !m->used || !m->missing.items || !m->spare.items)
        return status_fail(STATUS_NO_MEMORY, "%s: out of memory for %d names", path, count);
    for (int i = 0; i < count; i++) m->sorted[i] = &found[i];
    qsort(m->sorted, (size_t)count, sizeof *m->sorted, by_name);
    return STATUS_OK;
}

/* Returns how many parameters were found with another shape. */
static int match_names(Match *m, const ParamSet *params, const NamedShape *found, int count, int *index)
{
    int misshapen = 0;
    for (int i = 0; i < params->count; i++) {
        const NamedShape **hit = bsearch(params->items[i]->name, m->sorted, (size_t)count, sizeof *m->sorted, name_against);
        index[i] = hit ? (int)(*hit - found) : -1;
        if (hit) m->used[index[i]] = true;
        else m->missing.items[m->missing.count++] = params->items[i]->name;
        misshapen += hit && !same_shape(params->items[i], *hit);
    }
    for (int i = 0; i < count; i++)
        if (!m->used[i]) m->spare.items[m->spare.count++] = found[i].name;
    return misshapen;
}

Status params_match(const ParamSet *params, const char *path, const NamedShape *found, int count, int *index)
{
    Match m;
    Line line = {.used = 0};
    Status s = match_init(&m, params, path, found, count);
    if (s == STATUS_OK) {
        int misshapen = match_names(&m, params, found, count, index);
        list_names(&line, "missing", &m.missing, &m.spare, ", did you mean ", "?");
        list_names(&line, "unexpected", &m.spare, &m.missing, ", near ", "");
        if (misshapen) list_misshapen(params, found, index, &line, misshapen);
    }
    match_release(&m);
    if (s != STATUS_OK || !line.used) return s;
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
