/* What a study will cost, before it runs: counted exactly by the sampler's steps, timed by a short measurement. */
#ifndef GLIDE_STUDY_PLAN_H
#define GLIDE_STUDY_PLAN_H

#include "glide/ablation/study.h"

#include <stdio.h>

typedef struct StudyPlan {
    int conditions, computed;       /* computed: the others equal one of them */
    int64_t cells;                  /* pictures to be made */
    ConditionCost alone, shared;    /* evaluations of all of them: each by itself, and with what they share */
    double upsampler;               /* evaluations of the upsampler */
    double seconds_answer, seconds_weaker, seconds_gradient[GUIDANCE_MODES], seconds_upsampler; /* measured, of one evaluation */
    double seconds;                 /* expected of the whole run, scores not counted */
    double sampling_bytes;          /* the program's memory while it samples: the most while it was measured */
    double results_bytes;           /* and the pictures and telemetry when they are scored */
    double disk_bytes;              /* at most */
} StudyPlan;

/* Memory of sampling, about, before anything is measured (glide/plan.h). */
double study_bytes(const Study *s);
/* Samples a few steps of each kind; some seconds. */
Status study_plan(const Study *s, StudyPlan *out);
void study_plan_print(const Study *s, const StudyPlan *p, FILE *out);

#endif
