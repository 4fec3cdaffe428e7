#include "common/params_match.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_COMPARED = 96, NAMES_MAX_COMPARED = 2000, NAME_SHOWN = 60 };

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
    int length = (int)strnlen(name, NAME_MAX_COMPARED), best_distance = length / 4 + 1;
    for (int i = 0; i < count && i < NAMES_MAX_COMPARED; i++) {
        if (abs((int)strnlen(names[i], NAME_MAX_COMPARED) - length) >= best_distance) continue;
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

/* --- the comparison --- */

typedef struct Names {
    const char **items;
    int count;
} Names;

typedef struct Match {
    const NamedShape **sorted; /* what was found, by name */
    bool *used;                /* (count) */
    Names missing, spare;      /* what one side has alone */
    int misshapen;             /* found with another shape */
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

static void match_names(Match *m, const ParamSet *params, const NamedShape *found, int count, int *index)
{
    for (int i = 0; i < params->count; i++) {
        const NamedShape **hit = bsearch(params->items[i]->name, m->sorted, (size_t)count, sizeof *m->sorted, name_against);
        index[i] = hit ? (int)(*hit - found) : -1;
        if (hit) m->used[index[i]] = true;
        else m->missing.items[m->missing.count++] = params->items[i]->name;
        m->misshapen += hit && !same_shape(params->items[i], *hit);
    }
    for (int i = 0; i < count; i++)
        if (!m->used[i]) m->spare.items[m->spare.count++] = found[i].name;
}

/* --- the report --- */

typedef struct Report {
    char text[STATUS_DETAILS_ROOM];
    size_t used;
} Report;

/* A line, whole or not at all. Names come from files: control characters become '?'. */
static void report_line(Report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void report_line(Report *r, const char *format, ...)
{
    char line[320];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    size_t length = strlen(line);
    if (length + 2 > sizeof r->text - r->used) return;
    for (size_t i = 0; i < length; i++) r->text[r->used++] = (char)((unsigned char)line[i] < 32 || line[i] == 127 ? '?' : line[i]);
    memcpy(r->text + r->used, "\n", 2);
    r->used++;
}

static bool inside_character(char c) /* a byte of UTF-8 that is not the first of its character */
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* A long name keeps its two ends. */
static const char *shown_name(const char *name, char out[NAME_SHOWN + 1])
{
    size_t length = strlen(name), head = NAME_SHOWN / 2 - 2, tail = NAME_SHOWN / 2 - 1;
    if (length <= NAME_SHOWN) return name;
    while (head > 0 && inside_character(name[head])) head--;
    while (tail > 0 && inside_character(name[length - tail])) tail--;
    snprintf(out, NAME_SHOWN + 1, "%.*s...%s", (int)head, name, name + length - tail);
    return out;
}

static void shape_text(int ndim, const int64_t *dims, char text[80])
{
    size_t used = (size_t)snprintf(text, 80, "(");
    for (int i = 0; i < ndim && used < 60; i++)
        used += (size_t)snprintf(text + used, 80 - used, "%s%lld", i ? "," : "", (long long)dims[i]);
    snprintf(text + (used < 78 ? used : 78), 2, ")");
}

static void list_names(Report *r, const char *what, const Names *names, const Names *others, int shown)
{
    char own[NAME_SHOWN + 1], other[NAME_SHOWN + 1];
    if (names->count) report_line(r, "  %s:", what);
    for (int i = 0; i < shown; i++) {
        const char *near = name_nearest(names->items[i], others->items, others->count);
        report_line(r, "    %s%s%s%s", shown_name(names->items[i], own), near ? " (near " : "",
                    near ? shown_name(near, other) : "", near ? ")" : "");
    }
    if (names->count > shown) report_line(r, "    and %d more", names->count - shown);
}

static void list_misshapen(Report *r, const ParamSet *params, const NamedShape *found, const int *index, int count, int shown)
{
    char name[NAME_SHOWN + 1], is[80], expected[80];
    if (count) report_line(r, "  of another shape:");
    for (int i = 0, listed = 0; listed < shown; i++) {
        const Param *param = params->items[i];
        if (index[i] < 0 || same_shape(param, &found[index[i]])) continue;
        shape_text(found[index[i]].ndim, found[index[i]].dims, is);
        shape_text(param->ndim, param->dims, expected);
        report_line(r, "    %s: found %s, expected %s", shown_name(param->name, name), is, expected);
        listed++;
    }
    if (count > shown) report_line(r, "    and %d more", count - shown);
}

/* How many of each list fit on the screen, in turns: the message is a line, and so are each list's title and its "and N more". */
static void share_lines(const int counts[3], int shown[3])
{
    int room = MATCH_LINES - 1;
    for (int k = 0; k < 3; k++) room -= counts[k] > 0 ? 2 : 0;
    for (bool any = true; any && room > 0;) {
        any = false;
        for (int k = 0; k < 3 && room > 0; k++) {
            if (shown[k] >= counts[k]) continue;
            shown[k]++;
            room--;
            any = true;
        }
    }
    for (int k = 0; k < 3; k++) shown[k] += counts[k] - shown[k] == 1; /* rather than "and 1 more" */
}

static Status report_mismatch(const Match *m, const ParamSet *params, const char *path, const NamedShape *found, const int *index)
{
    static const char *const words[3] = {"missing", "unexpected", "of another shape"};
    const int counts[3] = {m->missing.count, m->spare.count, m->misshapen};
    int shown[3] = {0};
    char summary[120] = "";
    Report r = {.used = 0};
    for (int k = 0; k < 3; k++) {
        size_t used = strlen(summary);
        if (counts[k]) snprintf(summary + used, sizeof summary - used, "%s%d %s", used ? ", " : "", counts[k], words[k]);
    }
    share_lines(counts, shown);
    list_names(&r, words[0], &m->missing, &m->spare, shown[0]);
    list_names(&r, words[1], &m->spare, &m->missing, shown[1]);
    list_misshapen(&r, params, found, index, counts[2], shown[2]);
    status_fail(STATUS_BAD_INPUT, "%s: the weights do not fit the model: %s", path, summary);
    return status_add_details(STATUS_BAD_INPUT, r.text);
}

Status params_match(const ParamSet *params, const char *path, const NamedShape *found, int count, int *index)
{
    Match m;
    Status s = match_init(&m, params, path, found, count);
    if (s == STATUS_OK) {
        match_names(&m, params, found, count, index);
        if (m.missing.count || m.spare.count || m.misshapen) s = report_mismatch(&m, params, path, found, index);
    }
    match_release(&m);
    return s;
}

/* --- values --- */

/* As whole numbers: eight at a time, where isfinite() costs a call each. */
static bool all_finite(const float *values, size_t count)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    return largest < 0x7f800000;
}

Status params_check_finite(const char *path, const char *name, const float *values, size_t count)
{
    if (all_finite(values, count)) return STATUS_OK;
    size_t bad = 0, first = 0;
    for (size_t i = 0; i < count; i++) bad += !isfinite(values[i]);
    while (isfinite(values[first])) first++;
    return status_fail(STATUS_BAD_INPUT, "%s: %s holds %zu value(s) that are not finite (the first, number %zu of %zu, is %g)",
                       path, name, bad, first + 1, count, (double)values[first]);
}
