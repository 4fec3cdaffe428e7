/* Ablations of guidance: modes x scales x variants x prompts x seeds on identical noise, into a folder that can be killed and gone
 * on with at any time.
 *
 *     StudyAsk ask = study_ask_defaults();
 *     ask.conditions.modes = "none,cfg"; ...
 *     Study *study;
 *     TRY(study_new(glide, &ask, &study));           reads the models, chooses the prompts
 *     Status s = study_run(study, "folder", &hooks);  computes what is missing
 *     study_free(study);
 *     StudyData *data;
 *     TRY(study_open("folder", &data));               -> study_results(data), for score.h and report.h
 *     study_close(data);
 *
 * The folder:
 *     study.json       what the pictures depend on (study_spec.h); a run that asks for something else is refused
 *     journal          which shards are finished; timings.csv what they took (study_journal.h)
 *     cells/...h5      pictures and telemetry of a condition and a block of rows (cell_shard.h)
 *     sheets/...png    mode x scale on the same noise, one for each prompt (study_sheet.h)
 * Of two folders of the same study everything but timings.csv (and what is made of it) is equal byte for byte, however often one of
 * them was interrupted, and on any number of threads but for study.json's facts.
 *
 * Conditions that do the same until a mode's interval begins, or after a common beginning inside of it, share those steps: the
 * first of them leaves its state behind (SamplerState) and the others go on from there. After a kill that state is gone, and they
 * take the steps themselves, with the same bits. Prompts are encoded once for a batch. */
#ifndef GLIDE_STUDY_H
#define GLIDE_STUDY_H

#include "glide/ablation/condition_grid.h"
#include "glide/ablation/study_spec.h"
#include "glide/cascade.h"
#include "glide/context.h"

typedef struct StudyAsk {
    ConditionTexts conditions;
    const char *prompts;         /* a number or a file */
    int seeds;
    uint64_t seed;
    const char *sampler, *steps; /* NULL: as glide sample has it */
    bool upsample;
    const char *upsampler_sampler, *upsampler_steps;
    const char *data;            /* the data set; NULL with prompts from a file */
    const char *classifier, *clip, *guide_weights; /* NULL: the default weights; there are none of the last */
    const char *command;         /* for provenance */
    int rows;                    /* of a block; 0: as suits the models */
} StudyAsk;

StudyAsk study_ask_defaults(void);

typedef struct Study {
    Glide *glide; /* borrowed, as the texts of the options */
    CascadeOptions options; /* base: with guides, but no guidance */
    Classifier *untrained;  /* of the control; NULL: none */
    ConditionGrid grid;
    ConditionWalk walk;
    StudySpec spec;
    int upsampler_steps;    /* evaluations of it for a picture; 0: none */
    double base_cost, weaker_cost, guide_cost[GUIDANCE_MODES], upsampler_cost; /* multiplications, roughly: of an
                               evaluation, but the upsampler's are those of a picture */
} Study;

/* STATUS_BAD_INPUT names the option or file. */
Status study_new(Glide *g, const StudyAsk *ask, Study **out);
void study_free(Study *s); /* NULL is fine */

/* --- running ---------------------------------------------------------------------------------------------- */

typedef struct StudyProgress {
    int condition, block, blocks; /* in work */
    int64_t cells_done, cells;    /* pictures to be computed in all, those of earlier runs included */
    double done, total;           /* the same in estimated multiplications */
    double resumed;               /* of which earlier runs made so many */
    const char *label;
} StudyProgress;

typedef struct StudyHooks {
    int (*progress)(void *ctx, const StudyProgress *progress); /* nonzero stops with STATUS_INTERRUPTED; may be NULL */
    void *ctx;
} StudyHooks;

/* Makes the folder (its parent must exist) or goes on with it. STATUS_BAD_INPUT: another study or other files are in it; STATUS_IO:
 * cannot be written, is in use. What is finished is kept whatever happens. */
Status study_run(Study *s, const char *folder, const StudyHooks *hooks);

/* Multiplications of a condition's picture from step `first` on, as the progress counts them. */
double study_work(const Study *s, int condition, int first);
/* The condition whose beginning c shares, and how many steps of it; -1 and 0: takes all steps itself. */
int study_shares(const Study *s, int condition, int *steps);

/* --- reading ---------------------------------------------------------------------------------------------- */

typedef struct StudyData StudyData;

/* Everything of a finished folder in memory. STATUS_BAD_INPUT: no study, not finished, or a damaged shard, which it names. */
Status study_open(const char *folder, StudyData **out);
void study_close(StudyData *d); /* NULL is fine */
const AblationResults *study_results(const StudyData *d);
const StudySpec *study_data_spec(const StudyData *d);
/* The upsampler's picture of a cell (large_side,large_side,3). */
Status study_large(const StudyData *d, int condition, int row, uint8_t *rgb);
/* Another line of provenance (the judge's hash), before scoring. */
Status study_note(StudyData *d, const char *name, const char *value);

#endif
