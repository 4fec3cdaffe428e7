/* One block of a study: its conditions one after the other on the same rows, so that what they share is at hand.
 *
 *     StudyBlock b;
 *     TRY(study_block_init(&b, study, block));
 *     for each condition that is missing, in their order:
 *         TRY(study_block_sample(&b, condition, wanted, progress, ctx, &shard, &seconds));
 *     study_block_release(&b);
 */
#ifndef GLIDE_STUDY_BLOCK_H
#define GLIDE_STUDY_BLOCK_H

#include "glide/ablation/cell_shard.h"
#include "glide/ablation/study.h"

/* The beginning that some conditions share: what its first one leaves behind. */
typedef struct StudyFork {
    int condition;      /* that takes the steps */
    SamplerState state; /* its `done` is how many; empty until it did */
    float *telemetry;   /* (n,done,columns) */
    double evaluations, gradients; /* of a picture */
    double seconds;     /* of all */
} StudyFork;

typedef struct StudyBlock {
    const Study *study;
    int block, n, first;
    SamplerRow *rows;      /* (n) */
    const char **prompts;  /* (3n) their own, other ones, none: by ConditionPrompt */
    int32_t *labels;       /* (n) */
    StudyFork *forks;      /* (conditions) the one that a condition begins with; unused where it shares nothing */
    float *x;              /* (n,side,side,3) */
} StudyBlock;

Status study_block_init(StudyBlock *b, const Study *s, int block);
void study_block_release(StudyBlock *b);

/* Pictures and telemetry of a condition, and what they took as if made alone. wanted (conditions): which ones are going to be
 * sampled in this block later on, so that only what they need is kept. progress(ctx, share of the condition's work) stops by
 * nonzero; may be NULL. `out` was made with cell_shard_alloc() for b->n rows. */
Status study_block_sample(StudyBlock *b, int condition, const bool *wanted, int (*progress)(void *ctx, double share), void *ctx,
                          CellShard *out, double *seconds);

#endif
