/* What a study is: everything that its pictures depend on, as study.json in its folder holds it. A study that is gone on with must
 * have the same one; a reader needs nothing else but the shards.
 *
 * A cell is condition c, prompt p, seed s; rows are the cells of a condition, row = p * seeds + s. Row r starts from the noise of
 * SamplerRow{seed, r} in every condition. Blocks are `rows` rows; a condition's cells of a block lie in one shard. */
#ifndef GLIDE_STUDY_SPEC_H
#define GLIDE_STUDY_SPEC_H

#include "common/status.h"
#include "glide/ablation/results.h"

#include <stddef.h>

#define STUDY_FORMAT  "glide-ablation"
#define STUDY_VERSION 1

enum { STUDY_CELLS_MOST = 1 << 22 }; /* of a condition */

typedef struct StudyFact {
    char *name, *value;
} StudyFact;

typedef struct StudyFacts {
    StudyFact *items;
    int count, room;
} StudyFacts;

typedef struct StudySpec {
    int conditions, prompts, seeds, steps;
    int side, large_side; /* of pictures; large_side 0: no upsampler */
    int rows;             /* of a block */
    uint64_t seed;
    AblationCondition *condition; /* (conditions) */
    char **prompt;        /* (prompts) */
    int32_t *label;       /* (prompts) class for classifiers; -1: none */
    int32_t *picture;     /* (prompts) of the data set; -1: none */
    int32_t *other;       /* (prompts) which prompt the shuffled control draws; -1: none */
    float *timestep;      /* (steps) */
    StudyFacts settings;  /* what pictures depend on besides: hashes of weights, sampler, ... */
    StudyFacts facts;     /* what they do not: command, processor, version, notes. Not compared */
} StudySpec;

/* Arrays for the counts that are filled in. STATUS_NO_MEMORY: *s is released. */
Status study_spec_alloc(StudySpec *s);
void study_spec_release(StudySpec *s);

Status study_facts_add(StudyFacts *f, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
const char *study_facts_find(const StudyFacts *f, const char *name); /* NULL: none */

int study_rows(const StudySpec *s);   /* prompts * seeds */
int study_blocks(const StudySpec *s);
int study_block_rows(const StudySpec *s, int block, int *first); /* how many, and the first row of it */

Status study_spec_write(const StudySpec *s, const char *path);
/* Errors name the file and what in it is wrong. */
Status study_spec_read(const char *path, StudySpec *s);
/* Whether `asked` is the study at `path`, else STATUS_BAD_INPUT with the first thing that differs. */
Status study_spec_match(const StudySpec *asked, const char *path, const char *folder);

#endif
