/* What an ablation's pictures are worth: every measure of every condition with its interval, paired differences with p-values,
 * controls and honesty checks. A pure function of the results and of what a judge sees in them; no clock, no files.
 *
 *     ScoreTable *table;
 *     TRY(ablation_score(&results, &sight, &table));      sight NULL: only what needs no judge
 *     Status s = score_write_csv(table, "metrics.csv");
 *     score_free(table);
 *
 * One scheme serves all measures. A measure's value in a condition comes with a value for each prompt whose mean it is: the mean
 * over the prompt's seeds where the measure is a mean over pictures, else a linearisation over prompts (set_distance.h). Then
 *   - the interval (95 %) is a percentile bootstrap that draws prompts, not pictures, for pictures of one prompt are not
 * independent;
 *   - a paired difference is the mean over prompts of differences on the same noise, its p-value a two-sided sign-flip permutation
 *     test over prompts: exact up to 16 prompts, else with random flips (statistics.h; p is at least 1/524289);
 *   - Holm's correction runs over all p-values of the table at once.
 * The held-out pictures are taken as given: no interval says how much another held-out set would change.
 *
 * The same input gives the same numbers on any number of threads. */
#ifndef GLIDE_ABLATION_SCORE_H
#define GLIDE_ABLATION_SCORE_H

#include "common/status.h"
#include "glide/ablation/results.h"

#include <stdbool.h>

typedef enum {
    SCORE_TOP1,       /* the judge's retrieval: share of pictures whose own prompt is the most similar of all the study's prompts */
    SCORE_TOP5,       /* ... is among the five most similar; ties count as chance would break them */
    SCORE_SIMILARITY, /* dot product of a picture's embedding with its prompt's */
    SCORE_KID,        /* unbiased MMD^2, cubic polynomial kernel, on the judge's features (arXiv 1801.01401): judge KID */
    SCORE_FRECHET,    /* Frechet distance of Gaussians on the judge's features (arXiv 1706.08500): judge Frechet distance */
    SCORE_PRECISION,  /* share of pictures inside the manifold of the held-out ones, k = 3 (arXiv 1904.06991) */
    SCORE_RECALL,     /* share of held-out pictures inside the manifold of the condition's */
    SCORE_DIVERSITY,  /* mean distance of two pictures of a prompt in features; 1 is the mean distance of two held-out pictures */
    SCORE_PIXEL_DIVERSITY, /* root mean square difference of two pictures of a prompt, in codes / 255 */
    SCORE_SATURATION,      /* mean of max(R,G,B) - min(R,G,B), in codes / 255 */
    SCORE_CONTRAST,        /* standard deviation of luma (Rec. 709 weights on codes / 255) */
    SCORE_CLIPPED, /* share of values outside [-1,1] before the clamp, mean over steps (telemetry); without it of codes 0 and 255 */
    SCORE_EVALUATIONS, /* of the diffusion model, per picture */
    SCORE_GRADIENTS,   /* of guides, per picture */
    SCORE_SECONDS,     /* wall time per picture */
    SCORE_METRICS
} ScoreMetricId;

typedef struct ScoreMetric {
    const char *name;  /* "judge_kid": in files */
    const char *title; /* "judge KID": on pages */
    const char *unit;  /* "" where it has none */
    const char *what;  /* a sentence */
    int better;        /* 1 higher, -1 lower, 0 neither is */
    bool judged;       /* needs a judge */
    bool cost;         /* of the computation, not of the pictures: differences without p-values */
    double floor, ceiling; /* possible values; intervals do not go beyond. NaN: no such limit */
} ScoreMetric;

const ScoreMetric *score_metric(ScoreMetricId id);

typedef struct ScoreValue {
    double value, low, high; /* NaN where it cannot be known (no judge, one seed for diversity) */
    int64_t n;               /* pictures it is of; 0 with NaN */
} ScoreValue;

typedef enum {
    SCORE_AGAINST_FIRST,    /* the study's first condition */
    SCORE_AGAINST_NEIGHBOUR, /* the next lower scale of the same mode, variant and interval */
    SCORE_AGAINST_BEST      /* the best condition by this metric; `condition` is the best of another mode. Both were picked by the
                               pictures they are compared on, which flatters the winner */
} ScorePairKind;

typedef struct ScorePair {
    ScorePairKind kind;
    ScoreMetricId metric;
    int condition, against;
    double difference, low, high; /* condition - against */
    double p, p_holm;             /* NaN: not tested (a cost; pictures equal by definition) */
} ScorePair;

/* How a metric moves with the scale of a mode: the straight line through the scales' ranks. */
typedef struct ScoreTrend {
    int first;            /* a condition of the series: its mode, variant and interval */
    int scales;           /* how many */
    ScoreMetricId metric;
    double change, low, high; /* from the lowest scale to the highest, along the line */
    double p, p_holm;     /* in a correction of their own */
} ScoreTrend;

typedef enum { SCORE_PASS, SCORE_WARN, SCORE_FAIL, SCORE_MISSING } ScoreMark;

/* A control or an honesty check. */
typedef struct ScoreCheck {
    char name[64];     /* "scale 0 equals none" */
    char text[256];    /* what was found, a sentence */
    ScoreMark mark;
    bool control;      /* else an honesty check */
    double value, low, high, expected; /* NaN where there is none */
} ScoreCheck;

typedef struct ScoreTable {
    const AblationResults *results; /* borrowed: must live as long as the table */
    bool judged;
    int features, real_count;       /* of the sight; 0 without one */
    bool clipped_of_pictures;       /* no telemetry said what was clipped */
    char related[256];              /* why the judge is not independent, or "" */
    double prompt_chance[2];        /* top-1 and top-5 of guessing */
    ScoreValue *value;              /* (conditions, SCORE_METRICS) */
    double *per_prompt;             /* (conditions, SCORE_METRICS, prompts), whose means are the values; NaN where those are */
    double *seconds;                /* (conditions) that its pictures took in all */
    ScorePair *pairs;
    int pair_count, tested;         /* tested: p-values in Holm's correction */
    ScoreTrend *trends;
    int trend_count;
    ScoreCheck *checks;
    int check_count;
} ScoreTable;

/* sight may be NULL. Errors: counts below 1, arrays missing, a condition that `equals` a later one, embeddings that are not finite
 * (STATUS_BAD_INPUT); no memory. */
Status ablation_score(const AblationResults *results, const AblationSight *sight, ScoreTable **out);
void score_free(ScoreTable *t); /* NULL is fine */

const ScoreValue *score_value(const ScoreTable *t, int condition, ScoreMetricId metric);
/* The pair of that kind, or NULL. */
const ScorePair *score_pair(const ScoreTable *t, ScorePairKind kind, int condition, ScoreMetricId metric);

/* Whether two conditions differ in nothing but the scale. */
bool score_same_series(const AblationCondition *a, const AblationCondition *b);
/* Whether the pictures of both are the same by definition (AblationCondition.equals). */
bool score_same_pictures(const AblationResults *r, int a, int b);

/* Long form, one number a line:
 *     condition,against,metric,value,low,high,n,seconds,p,p_holm
 * `against` is empty for a condition's own value; else the value is the paired difference condition - against. seconds: what the
 * pictures took. Unknown is empty. Apart from `seconds` and the metric "seconds" the bytes depend on the pictures alone. */
Status score_write_csv(const ScoreTable *t, const char *path);
/* Everything as JSON, null where nothing is known; path "-" is standard output. */
Status score_write_json(const ScoreTable *t, const char *path);

#endif
