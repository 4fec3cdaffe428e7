#include "common/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOTHING "else" /* what is timed before the first op is named */

struct Profile {
    ProfileEntry *entries;
    int count, capacity;
    int now; /* the entry whose time it is; -1: none */
    char **blocks; /* names, each at an address of its own: entries and marks point at them */
    int block_count, block_capacity;
    ProfileMark mark;
    double since; /* on the clock */
    bool running;
};

static double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Room for one more of `size` bytes; NULL: there is none, and what was stays. */
static void *with_room(void *items, int count, int *capacity, size_t size)
{
    if (count < *capacity) return items;
    int wanted = *capacity ? 2 * *capacity : 64;
    void *grown = realloc(items, (size_t)wanted * size);
    if (grown) *capacity = wanted;
    return grown;
}

/* NULL when out of memory. */
static const char *block_named(Profile *p, const char *name)
{
    for (int i = 0; i < p->block_count; i++)
        if (!strcmp(p->blocks[i], name)) return p->blocks[i];
    char **blocks = with_room(p->blocks, p->block_count, &p->block_capacity, sizeof *blocks);
    char *copy = blocks ? strdup(name) : NULL;
    if (blocks) p->blocks = blocks;
    if (copy) p->blocks[p->block_count++] = copy;
    return copy;
}

Profile *profile_new(void)
{
    Profile *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->now = -1;
    p->mark = (ProfileMark){NOTHING, block_named(p, NOTHING), false};
    if (p->mark.block) return p;
    profile_free(p);
    return NULL;
}

void profile_free(Profile *p)
{
    if (!p) return;
    for (int i = 0; i < p->block_count; i++) free(p->blocks[i]);
    free(p->blocks);
    free(p->entries);
    free(p);
}

/* --- the stopwatch ----------------------------------------------------------------------------------- */

static int entry_of(Profile *p, ProfileMark m)
{
    for (int i = 0; i < p->count; i++) {
        const ProfileEntry *e = &p->entries[i];
        if (e->block == m.block && e->backward == m.backward && !strcmp(e->op, m.op)) return i;
    }
    ProfileEntry *entries = with_room(p->entries, p->count, &p->capacity, sizeof *entries);
    if (!entries) return p->now;
    p->entries = entries;
    entries[p->count] = (ProfileEntry){.op = m.op, .block = m.block, .backward = m.backward};
    return p->count++;
}

static void book(Profile *p)
{
    double now = clock_seconds();
    if (p->running && p->now >= 0) p->entries[p->now].seconds += now - p->since;
    p->since = now;
}

void profile_resume(Profile *p, ProfileMark mark)
{
    if (!p || !mark.op) return;
    p->mark = mark;
    if (!p->running) return;
    book(p);
    p->now = entry_of(p, mark);
    if (p->now >= 0) p->entries[p->now].calls++;
}

void profile_start(Profile *p)
{
    if (!p) return;
    p->count = 0;
    p->now = -1;
    p->running = true;
    profile_resume(p, p->mark);
}

void profile_stop(Profile *p)
{
    if (!p) return;
    book(p);
    p->running = false;
}

/* --- what it runs for -------------------------------------------------------------------------------- */

void profile_op(Profile *p, const char *op)
{
    if (p) profile_resume(p, (ProfileMark){op, p->mark.block, false});
}

void profile_block(Profile *p, const char *group, int i)
{
    char name[48];
    if (!p) return;
    if (i < 0) snprintf(name, sizeof name, "%s", group);
    else snprintf(name, sizeof name, "%s.%d", group, i);
    const char *block = block_named(p, name);
    if (block) p->mark.block = block;
}

void profile_count_flops(Profile *p, double flops)
{
    if (p && p->running && p->now >= 0) p->entries[p->now].flops += flops;
}

ProfileMark profile_mark(const Profile *p)
{
    return p ? p->mark : (ProfileMark){0};
}

int profile_entries(const Profile *p, const ProfileEntry **out)
{
    *out = p ? p->entries : NULL;
    return p ? p->count : 0;
}
