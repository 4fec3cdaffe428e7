/* What a judge sees in a finished study: AblationSight for score.h, of all cells, the prompts, and held-out pictures of the data
 * set.
 *
 *     StudySight sight;
 *     TRY(study_judge(data, "judge.h5", "emoji.h5", kernels, &sight));
 *     TRY(ablation_score(study_results(data), &sight.sight, &table));
 *     study_sight_release(&sight);
 */
#ifndef GLIDE_STUDY_JUDGE_H
#define GLIDE_STUDY_JUDGE_H

#include "common/kernels.h"
#include "glide/ablation/study.h"

enum { STUDY_REAL_MOST = 2000 };

typedef struct StudySight {
    AblationSight sight;
    float *memory[4];
    uint64_t judge_hash;
} StudySight;

/* dataset NULL: no held-out pictures. They are those of the split test_pair, from which prompts are taken, STUDY_REAL_MOST at most.
 * progress(ctx, share) stops by nonzero; may be NULL. Errors name the file. */
Status study_judge(const StudyData *d, const char *judge, const char *dataset, Kernels *kernels,
                   int (*progress)(void *ctx, double share), void *ctx, StudySight *out);
void study_sight_release(StudySight *s);

#endif
