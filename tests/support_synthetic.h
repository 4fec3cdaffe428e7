/* A study made up to look like one: agreement rises with the scale and diversity falls, distances have a best scale, modes differ.
 * For tests of scores and reports, which need neither a model nor a judge. */
#ifndef GLIDE_TESTS_SUPPORT_SYNTHETIC_H
#define GLIDE_TESTS_SUPPORT_SYNTHETIC_H

#include "glide/ablation/results.h"

#include <stdbool.h>

typedef struct SyntheticOptions {
    int prompts, seeds, steps, side, real_count;
    bool variants;  /* rescale, apg and a grid of intervals besides the modes */
    bool controls;
    double effect;  /* 1: as described; 0: all conditions alike but for independent noise (null) */
    uint64_t seed;
} SyntheticOptions;

SyntheticOptions synthetic_defaults(void); /* 32 prompts, 4 seeds, 20 steps, side 16, 300 held out, everything */

typedef struct Synthetic {
    AblationResults results;
    AblationSight sight;
    void *memory[24]; /* what both point to */
    int memory_count;
} Synthetic;

void synthetic_init(Synthetic *s, const SyntheticOptions *o); /* asserts on running out of memory */
void synthetic_release(Synthetic *s);

#endif
