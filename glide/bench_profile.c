#include "glide/bench_profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Profile *bench_profile_add(BenchProfile *p)
{
    Profile *part = p && p->count < BENCH_PROFILE_PARTS ? profile_new() : NULL;
    if (part) p->parts[p->count++] = part;
    return part;
}

void bench_profile_release(BenchProfile *p)
{
    for (int i = 0; i < p->count; i++) profile_free(p->parts[i]);
    *p = (BenchProfile){0};
}

void bench_profile_start(BenchProfile *p)
{
    for (int i = 0; p && i < p->count; i++) profile_start(p->parts[i]);
}

void bench_profile_stop(BenchProfile *p)
{
    for (int i = 0; p && i < p->count; i++) profile_stop(p->parts[i]);
}

void bench_profile_mark(BenchProfile *p, const char *block, const char *op)
{
    for (int i = 0; p && i < p->count; i++) {
        profile_block(p->parts[i], block, -1);
        profile_op(p->parts[i], op);
    }
}

static BenchProfileRow *row_named(BenchProfileRow *rows, int *count, const char *name)
{
    for (int i = 0; i < *count; i++)
        if (!strcmp(rows[i].name, name)) return &rows[i];
    BenchProfileRow *row = &rows[(*count)++];
    snprintf(row->name, sizeof row->name, "%s", name);
    return row;
}

static int dearest_first(const void *a, const void *b)
{
    double x = ((const BenchProfileRow *)a)->seconds, y = ((const BenchProfileRow *)b)->seconds;
    return (x < y) - (x > y);
}

Status bench_profile_rows(const BenchProfile *p, bool by_block, BenchProfileRow **rows, int *count)
{
    const ProfileEntry *entries;
    int most = 0, steps = p->steps > 0 ? p->steps : 1;
    for (int i = 0; i < p->count; i++) most += profile_entries(p->parts[i], &entries);
    *count = 0;
    *rows = calloc((size_t)most + 1, sizeof **rows);
    if (!*rows) return status_fail(STATUS_NO_MEMORY, "out of memory for a profile");
    for (int i = 0; i < p->count; i++) {
        int n = profile_entries(p->parts[i], &entries);
        for (int j = 0; j < n; j++) {
            const ProfileEntry *e = &entries[j];
            char name[64];
            snprintf(name, sizeof name, "%s%s", by_block ? e->block : e->op, e->backward && !by_block ? ", backward" : "");
            BenchProfileRow *row = row_named(*rows, count, name);
            row->seconds += e->seconds / (steps * p->count);
            row->gflop += e->flops * 1e-9 / steps;
            row->calls += (double)e->calls / steps;
        }
    }
    qsort(*rows, (size_t)*count, sizeof **rows, dearest_first);
    return STATUS_OK;
}
