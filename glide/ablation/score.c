#include "glide/ablation/score_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ScoreMetric metrics[SCORE_METRICS] = {
    {"judge_top1", "agreement, top-1", "share", "The judge finds a picture's own prompt first among all prompts of the study.", 1,
     true, false, 0, 1},
    {"judge_top5", "agreement, top-5", "share", "The judge finds a picture's own prompt among the first five.", 1, true, false, 0,
     1},
    {"judge_similarity", "similarity", "cosine", "Cosine between the judge's embeddings of picture and prompt.", 1, true, false, -1,
     1},
    {"judge_kid", "judge KID", "",
     "Unbiased squared maximum mean discrepancy of the judge's features from held-out pictures', cubic "
     "polynomial kernel. Not comparable with KID on Inception features.",
     -1, true, false, NAN, NAN},
    {"judge_frechet", "judge Fréchet distance", "",
     "Fréchet distance of the judge's features from held-out pictures'. Not comparable "
     "with FID.",
     -1, true, false, 0, NAN},
    {"precision", "precision", "share", "Pictures that lie in the manifold of held-out ones (judge's features, k = 3).", 1, true,
     false, 0, 1},
    {"recall", "recall", "share", "Held-out pictures that lie in the manifold of the condition's.", 1, true, false, 0, 1},
    {"diversity", "diversity", "of held-out",
     "Mean distance of two pictures of the same prompt in the judge's features; 1 is the mean "
     "distance of two held-out pictures.",
     1, true, false, 0, NAN},
    {"pixel_diversity", "pixel diversity", "of full scale", "Root mean square difference of two pictures of the same prompt.", 0,
     false, false, 0, 1},
    {"saturation", "saturation", "of full scale", "Mean over pixels of max(R,G,B) - min(R,G,B).", 0, false, false, 0, 1},
    {"contrast", "contrast", "of full scale", "Standard deviation of luma over a picture.", 0, false, false, 0, 1},
    {"clipped", "clipped share", "of values",
     "Values of the expected picture outside of [-1,1] before they are clamped, mean over steps.", -1, false, false, 0, 1},
    {"evaluations", "function evaluations", "per picture", "Answers asked of the diffusion model.", -1, false, true, 0, NAN},
    {"gradients", "guide gradients", "per picture", "Evaluations of a guide with its gradient.", -1, false, true, 0, NAN},
    {"seconds", "time", "s per picture", "Wall time.", -1, false, true, 0, NAN},
};

const ScoreMetric *score_metric(ScoreMetricId id)
{
    return &metrics[id];
}

int64_t score_cells(const AblationResults *r)
{
    return (int64_t)r->prompts * r->seeds;
}

double *score_prompts(const ScoreTable *t, int condition, ScoreMetricId metric)
{
    return t->per_prompt + ((int64_t)condition * SCORE_METRICS + (int64_t)metric) * t->results->prompts;
}

const ScoreValue *score_value(const ScoreTable *t, int condition, ScoreMetricId metric)
{
    return &t->value[(int64_t)condition * SCORE_METRICS + (int64_t)metric];
}

const ScorePair *score_pair(const ScoreTable *t, ScorePairKind kind, int condition, ScoreMetricId metric)
{
    for (int i = 0; i < t->pair_count; i++)
        if (t->pairs[i].kind == kind && t->pairs[i].condition == condition && t->pairs[i].metric == metric) return &t->pairs[i];
    return NULL;
}

/* --- what comes in ------------------------------------------------------------------------------------ */

static Status check_results(const AblationResults *r)
{
    if (r->conditions < 1 || r->prompts < 1 || r->seeds < 1 || r->side < 1 || r->steps < 0 || r->telemetry_count < 0)
        return status_fail(STATUS_BAD_INPUT, "ablation of %d conditions, %d prompts, %d seeds: expected 1 or more of each",
                           r->conditions, r->prompts, r->seeds);
    if (ablation_cells(r) > INT32_MAX / 4)
        return status_fail(STATUS_BAD_INPUT, "ablation of %lld cells: expected at most %d", (long long)ablation_cells(r),
                           INT32_MAX / 4);
    if (!r->condition || !r->prompt || !r->pictures)
        return status_fail(STATUS_BAD_INPUT, "ablation: its conditions, prompts or pictures are missing");
    for (int c = 0; c < r->conditions; c++) {
        const AblationCondition *a = &r->condition[c];
        if (a->equals >= c)
            return status_fail(STATUS_BAD_INPUT, "condition %s equals number %d: expected an earlier one", a->label, a->equals);
        if (a->control == ABLATION_SCALE_0 && a->must_equal >= r->conditions)
            return status_fail(STATUS_BAD_INPUT, "condition %s must equal number %d: expected one of %d", a->label, a->must_equal,
                               r->conditions);
    }
    return STATUS_OK;
}

static Status check_sight(const AblationResults *r, const AblationSight *s)
{
    if (s->features < 1 || s->embedding < 1 || !s->picture || !s->picture_embedding || !s->prompt_embedding ||
        (s->real_count > 0 && !s->real))
        return status_fail(STATUS_BAD_INPUT, "what the judge saw: features, embeddings or held-out pictures are missing");
    const float *arrays[] = {s->picture, s->picture_embedding, s->prompt_embedding};
    int64_t sizes[] = {ablation_cells(r) * s->features, ablation_cells(r) * s->embedding, (int64_t)r->prompts * s->embedding};
    const char *names[] = {"features of the pictures", "embeddings of the pictures", "embeddings of the prompts"};
    for (int a = 0; a < 3; a++)
        for (int64_t i = 0; i < sizes[a]; i++)
            if (!isfinite(arrays[a][i]))
                return status_fail(STATUS_BAD_INPUT, "what the judge saw: the %s are not all finite (number %lld)", names[a],
                                   (long long)i);
    return STATUS_OK;
}

/* --- the table ---------------------------------------------------------------------------------------- */

static Status table_new(const AblationResults *r, const AblationSight *sight, ScoreTable **out)
{
    ScoreTable *t = calloc(1, sizeof *t);
    *out = t;
    if (!t) return status_fail(STATUS_NO_MEMORY, "out of memory for the scores");
    size_t values = (size_t)r->conditions * SCORE_METRICS;
    t->results = r;
    t->judged = sight != NULL;
    t->features = sight ? sight->features : 0;
    t->real_count = sight ? sight->real_count : 0;
    if (sight && sight->related) snprintf(t->related, sizeof t->related, "%s", sight->related);
    t->prompt_chance[0] = 1.0 / r->prompts;
    t->prompt_chance[1] = fmin(1, 5.0 / r->prompts);
    t->value = calloc(values, sizeof *t->value);
    t->per_prompt = calloc(values * (size_t)r->prompts, sizeof *t->per_prompt);
    t->seconds = calloc((size_t)r->conditions, sizeof *t->seconds);
    if (!t->value || !t->per_prompt || !t->seconds) return status_fail(STATUS_NO_MEMORY, "out of memory for the scores");
    return STATUS_OK;
}

static Status fill(Scoring *s)
{
    const AblationSight *sight = s->sight;
    TRY(resampling_new(s->results->prompts, &s->resampling));
    if (sight && sight->real_count >= 2) TRY(real_set_new(sight->real, sight->real_count, sight->features, &s->real));
    TRY(score_fill_values(s));
    TRY(score_fill_pairs(s));
    TRY(score_fill_trends(s));
    return score_fill_checks(s);
}

Status ablation_score(const AblationResults *results, const AblationSight *sight, ScoreTable **out)
{
    *out = NULL;
    TRY(check_results(results));
    if (sight) TRY(check_sight(results, sight));
    Scoring scoring = {.results = results, .sight = sight};
    Status s = table_new(results, sight, &scoring.t);
    if (s == STATUS_OK) s = fill(&scoring);
    real_set_free(scoring.real);
    resampling_free(scoring.resampling);
    if (s == STATUS_OK) *out = scoring.t;
    else score_free(scoring.t);
    return s;
}

void score_free(ScoreTable *t)
{
    if (!t) return;
    free(t->value);
    free(t->per_prompt);
    free(t->seconds);
    free(t->pairs);
    free(t->trends);
    free(t->checks);
    free(t);
}
