/* Profiles of steps (common/profile.h) as tables: seconds of a step by kind of op and by block of the network. */
#ifndef GLIDE_BENCH_PROFILE_H
#define GLIDE_BENCH_PROFILE_H

#include "common/profile.h"
#include "common/status.h"

enum { BENCH_PROFILE_PARTS = 8 };

typedef struct BenchProfile {
    Profile *parts[BENCH_PROFILE_PARTS]; /* one for each worker that computes at the same time */
    int count;
    double seconds; /* the steps' by the clock, all of them */
    int steps;
} BenchProfile;

/* All zero at first. One more part, borrowed; NULL when there are enough or memory ran out: that worker is left out. p may be NULL. */
Profile *bench_profile_add(BenchProfile *p);
void bench_profile_release(BenchProfile *p);
/* Of all parts, while no worker runs. p may be NULL. */
void bench_profile_start(BenchProfile *p);
void bench_profile_stop(BenchProfile *p);
void bench_profile_mark(BenchProfile *p, const char *block, const char *op);

typedef struct BenchProfileRow {
    char name[64];
    double seconds; /* of a step, in the mean of the parts */
    double gflop;   /* of all parts, in that time */
    double calls;
} BenchProfileRow;

/* Most expensive first. free(*rows). */
Status bench_profile_rows(const BenchProfile *p, bool by_block, BenchProfileRow **rows, int *count);

#endif
