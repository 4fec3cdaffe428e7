/* The conditions of a study: modes x scales x variants and the controls, from the texts of the command line.
 *
 *     ConditionGrid grid;
 *     TRY(condition_grid_init(&grid, &(ConditionTexts){"none,cfg,clip", "0,1,2,4;clip=50,100", "plain;rescale=0.7", true}, 999));
 *     TRY(condition_walk_init(&walk, &diffusion, kind));
 *     condition_grid_equate(&grid, &walk);              finds what equals something before it
 *     condition_grid_release(&grid);
 *
 * modes     names of guidance_mode.h and "none", ',' between; "cfg+clip" is both at once
 * scales    "0,1,2": of every mode; "clip=50,100" after a ';' of that mode alone, "cfgpp=0.4,0.6" of that variant. A joined mode
 *           takes one number for all of its modes or one for each: "cfg+clip=3+100"
 * variants  ';' between: "plain", or changes joined by '+': rescale=PHI, interval=LO:HI, schedule=linear|cosine, apg or
 *           apg=ETA:NORM:MOM, threshold=none|static|dynamic|dynamic:P, cfgpp. A mode that a change cannot act on is left out of
 *           the variant, so is a scale above 1 with cfgpp; "none" is plain only
 *
 * "None" is the model's answer to the prompt, without guidance. Of modes that add to it scale 0 is none; classifier-free guidance
 * is none at scale 1 and the model without the prompt at scale 0. The controls are conditions of their own, computed through the
 * mode's machinery, whatever they equal by definition:
 *   control: MODE 0         each gradient mode and autoguidance at 0, and cfg at 1: must match none bit for bit
 *   control: no prompt      unguided answers to the empty caption: must match cfg at 0, where the study has it
 *   control: shuffled ...   the first mode with cfg (else the first) at its largest scale, drawing another prompt than the one that
 *                           it is judged by, on the same noise
 *   control: untrained ...  a classifier with random weights at the classifier's largest scale */
#ifndef GLIDE_CONDITION_GRID_H
#define GLIDE_CONDITION_GRID_H

#include "glide/ablation/results.h"
#include "common/sampler.h"
#include "guidance/guidance.h"

enum { CONDITIONS_MOST = 400 };

typedef struct ConditionTexts {
    const char *modes, *scales, *variants;
    bool controls;
} ConditionTexts;

typedef enum {
    CONDITION_OWN_PROMPT,
    CONDITION_OTHER_PROMPT, /* StudyPrompts' shuffled ones */
    CONDITION_NO_PROMPT
} ConditionPrompt;

typedef struct Condition {
    AblationCondition shown;
    Guidance guidance;
    ConditionPrompt prompt;
    bool untrained; /* the classifier is the one with random weights */
} Condition;

typedef struct ConditionGrid {
    Condition *items;
    int count;
    bool uses[GUIDANCE_MODES]; /* which modes act in any of them, the untrained classifier not counted */
    bool untrained;            /* whether it does */
} ConditionGrid;

/* STATUS_BAD_INPUT begins with the option's name ("--modes: expected ..."); *g is then empty. last_timestep: of the model. */
Status condition_grid_init(ConditionGrid *g, const ConditionTexts *texts, int last_timestep);
void condition_grid_release(ConditionGrid *g);

/* For a prompt alone there is no other: takes the shuffled control out. */
void condition_grid_drop_shuffled(ConditionGrid *g);

/* --- what they ask of the models --- */

/* An evaluation that a sampler makes. */
typedef struct ConditionVisit {
    int step; /* in the order they are taken, from 0 */
    NoiseLevel level;
} ConditionVisit;

/* All of a run's, found by a run with a model of one pixel. */
typedef struct ConditionWalk {
    int steps, count;
    ConditionVisit *visits; /* (count) */
    float *timestep;        /* (steps) where each began */
} ConditionWalk;

Status condition_walk_init(ConditionWalk *w, const Diffusion *d, const SamplerKind *kind);
void condition_walk_release(ConditionWalk *w);

typedef struct ConditionCost {
    double answers;                   /* of the model */
    double weaker;                    /* of the weaker one */
    double gradients[GUIDANCE_MODES]; /* of guides */
} ConditionCost;

/* Of one picture, from step `first` on. */
ConditionCost condition_cost(const ConditionWalk *w, const Guidance *g, int first);

/* How many steps both take alike from the first one on: steps, if they are the same altogether. */
int condition_shared(const ConditionWalk *w, const Guidance *a, const Guidance *b);
/* Whether a run may be taken up in the middle: not with momentum, which is no part of SamplerState. */
bool condition_forks(const Condition *c);

/* Sets `equals` of what would come out the same as an earlier condition that is computed. Controls are always computed. */
void condition_grid_equate(ConditionGrid *g, const ConditionWalk *w);

#endif
