/* Shared by the files that fill a ScoreTable; nobody else includes it. */
#ifndef GLIDE_ABLATION_SCORE_INTERNAL_H
#define GLIDE_ABLATION_SCORE_INTERNAL_H

#include "glide/ablation/score.h"
#include "glide/ablation/set_distance.h"
#include "glide/ablation/statistics.h"

typedef struct Scoring {
    ScoreTable *t;
    const AblationResults *results;
    const AblationSight *sight; /* NULL: none */
    RealSet *real;              /* NULL: none */
    Resampling *resampling;     /* over prompts */
} Scoring;

/* (prompts) of one condition and metric, in the table */
double *score_prompts(const ScoreTable *t, int condition, ScoreMetricId metric);
/* of a condition: prompts * seeds */
int64_t score_cells(const AblationResults *r);

Status score_fill_values(const Scoring *s); /* score_metrics.c */
Status score_fill_pairs(const Scoring *s);  /* score_pairs.c */
Status score_fill_trends(const Scoring *s); /* score_pairs.c; after pairs */
Status score_fill_checks(const Scoring *s); /* score_checks.c; after values */

/* Top-k credit and similarity of an embedding among the prompts', with prompt `own` as the right one. */
typedef struct Retrieval {
    double top1, top5, similarity;
} Retrieval;

Retrieval score_retrieve(const AblationSight *sight, int prompts, int64_t cell, int own);

#endif
