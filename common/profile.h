/* Where the time goes: a stopwatch that at any moment runs for one thing, an op in a block of a network, until another is named.
 * So the parts add up to the whole. A tape with a profile (tape_set_profile()) names its ops by itself, in both directions:
 *
 *     Profile *p = profile_new();
 *     tape_set_profile(tape, p);
 *     profile_start(p);                      all that was is forgotten
 *     ... run the model ...
 *     profile_stop(p);
 *     int n = profile_entries(p, &entries);  in the order in which they came up
 *
 * One thread's. Every function takes NULL for no profile at all. */
#ifndef GLIDE_COMMON_PROFILE_H
#define GLIDE_COMMON_PROFILE_H

#include <stdbool.h>

typedef struct Profile Profile;

typedef struct ProfileEntry {
    const char *op;    /* "conv 3x3" */
    const char *block; /* "input_blocks.3", "text" */
    bool backward;     /* the op's gradients */
    double seconds, flops;
    long calls;
} ProfileEntry;

/* What the stopwatch runs for. */
typedef struct ProfileMark {
    const char *op, *block; /* the profile's own */
    bool backward;
} ProfileMark;

Profile *profile_new(void); /* NULL when out of memory */
void profile_free(Profile *p);

void profile_start(Profile *p);
void profile_stop(Profile *p); /* until profile_start() nothing is timed */

/* From here on the time is that of op, forward, in the current block; a string that lives as long as p. */
void profile_op(Profile *p, const char *op);
/* From here on ops belong to GROUP.i, or to GROUP when i < 0. When memory runs out they stay where they were. */
void profile_block(Profile *p, const char *group, int i);
void profile_count_flops(Profile *p, double flops);

ProfileMark profile_mark(const Profile *p);
void profile_resume(Profile *p, ProfileMark mark);

/* Borrowed, until p runs again. Returns how many. */
int profile_entries(const Profile *p, const ProfileEntry **out);

#endif
