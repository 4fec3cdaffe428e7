/* Paired differences between conditions, trends along the scale, and Holm's correction over all of them. */
#include "glide/ablation/score_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool score_same_series(const AblationCondition *a, const AblationCondition *b)
{
    return strcmp(a->mode, b->mode) == 0 && strcmp(a->variant, b->variant) == 0 && a->low == b->low && a->high == b->high &&
           a->control == b->control;
}

static int original(const AblationResults *r, int c)
{
    while (r->condition[c].equals >= 0) c = r->condition[c].equals;
    return c;
}

bool score_same_pictures(const AblationResults *r, int a, int b)
{
    return original(r, a) == original(r, b);
}

static bool is_plain(const AblationResults *r, int c)
{
    return r->condition[c].control == ABLATION_PLAIN;
}

/* --- pairs -------------------------------------------------------------------------------------------- */

static void list_pair(ScoreTable *t, ScorePairKind kind, ScoreMetricId metric, int condition, int against)
{
    t->pairs[t->pair_count++] = (ScorePair){.kind = kind, .metric = metric, .condition = condition, .against = against};
}

/* The condition with the next lower scale of the same series, or -1. */
static int lower_neighbour(const AblationResults *r, int c)
{
    int found = -1;
    for (int o = 0; o < r->conditions; o++) {
        const AblationCondition *other = &r->condition[o];
        if (score_same_series(other, &r->condition[c]) && other->scale < r->condition[c].scale &&
            (found < 0 || other->scale > r->condition[found].scale))
            found = o;
    }
    return found;
}

/* The best plain condition of a mode (NULL: of all) by a metric, the first of equals; -1: none is known. */
static int best_condition(const ScoreTable *t, const char *mode, ScoreMetricId metric)
{
    const AblationResults *r = t->results;
    int best = -1;
    for (int c = 0; c < r->conditions; c++) {
        double v = score_value(t, c, metric)->value * score_metric(metric)->better;
        if (!is_plain(r, c) || isnan(v) || (mode && strcmp(mode, r->condition[c].mode) != 0)) continue;
        if (best < 0 || v > score_value(t, best, metric)->value * score_metric(metric)->better) best = c;
    }
    return best;
}

static void list_rivals(ScoreTable *t, ScoreMetricId metric)
{
    const AblationResults *r = t->results;
    int best = best_condition(t, NULL, metric);
    for (int c = 0; c < r->conditions && best >= 0; c++) {
        const char *mode = r->condition[c].mode;
        bool first = is_plain(r, c) && strcmp(mode, r->condition[best].mode) != 0; /* of its mode: one pair for each */
        for (int o = 0; o < c; o++) first &= !(is_plain(r, o) && strcmp(r->condition[o].mode, mode) == 0);
        int rival = first ? best_condition(t, mode, metric) : -1;
        if (rival >= 0) list_pair(t, SCORE_AGAINST_BEST, metric, rival, best);
    }
}

static void list_pairs(ScoreTable *t)
{
    const AblationResults *r = t->results;
    for (int m = 0; m < SCORE_METRICS; m++) {
        ScoreMetricId id = (ScoreMetricId)m;
        for (int c = 0; c < r->conditions; c++) {
            if (!is_plain(r, c) || isnan(score_value(t, c, id)->value)) continue;
            int neighbour = lower_neighbour(r, c);
            if (c > 0) list_pair(t, SCORE_AGAINST_FIRST, id, c, 0);
            if (neighbour >= 0) list_pair(t, SCORE_AGAINST_NEIGHBOUR, id, c, neighbour);
        }
        if (score_metric(id)->better && !score_metric(id)->cost) list_rivals(t, id);
    }
}

static void compare(const Scoring *s, ScorePair *pair, double *difference)
{
    const double *a = score_prompts(s->t, pair->condition, pair->metric), *b = score_prompts(s->t, pair->against, pair->metric);
    for (int p = 0; p < s->results->prompts; p++) difference[p] = a[p] - b[p];
    pair->difference = resampling_interval(s->resampling, difference, &pair->low, &pair->high);
    bool tested = !score_metric(pair->metric)->cost && !score_same_pictures(s->results, pair->condition, pair->against);
    pair->p = tested ? resampling_sign_flip(s->resampling, difference) : NAN;
}

/* work() for each of `count` numbers, in any order, each with room for a value of each prompt. */
static Status over_prompts(const Scoring *s, int count, void (*work)(const Scoring *s, int number, double *room))
{
    int failed = 0;
#pragma omp parallel reduction(+ : failed)
    {
        double *room = malloc((size_t)s->results->prompts * sizeof *room);
        failed += !room;
#pragma omp for schedule(dynamic, 4)
        for (int i = 0; i < count; i++)
            if (room) work(s, i, room);
        free(room);
    }
    return failed ? status_fail(STATUS_NO_MEMORY, "out of memory for the scores' differences") : STATUS_OK;
}

static void compare_number(const Scoring *s, int number, double *room)
{
    compare(s, &s->t->pairs[number], room);
}

Status score_fill_pairs(const Scoring *s)
{
    ScoreTable *t = s->t;
    size_t most = 3 * (size_t)s->results->conditions * SCORE_METRICS;
    t->pairs = calloc(most, sizeof *t->pairs);
    double *p = malloc(most * sizeof *p);
    Status status = t->pairs && p ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for the scores' differences");
    if (status == STATUS_OK) {
        list_pairs(t);
        status = over_prompts(s, t->pair_count, compare_number);
    }
    for (int i = 0; i < t->pair_count && status == STATUS_OK; i++) p[i] = t->pairs[i].p;
    if (status == STATUS_OK) status = holm_correct(p, t->pair_count, p, &t->tested);
    for (int i = 0; i < t->pair_count && status == STATUS_OK; i++) t->pairs[i].p_holm = p[i];
    free(p);
    return status;
}

/* --- trends ------------------------------------------------------------------------------------------- */

/* Rank of condition c's scale in its series, from 0, and how many scales there are. */
static int scale_rank(const AblationResults *r, int c, int *scales)
{
    int rank = 0;
    *scales = 0;
    for (int o = 0; o < r->conditions; o++) {
        if (!score_same_series(&r->condition[o], &r->condition[c])) continue;
        ++*scales;
        rank += r->condition[o].scale < r->condition[c].scale || (r->condition[o].scale == r->condition[c].scale && o < c);
    }
    return rank;
}

/* Least squares over ranks: what the line changes from the first scale to the last. */
static void measure_trend(const Scoring *s, int number, double *room)
{
    ScoreTrend *trend = &s->t->trends[number];
    const AblationResults *r = s->results;
    int k = trend->scales, scales;
    double square = k * ((double)k * k - 1) / 12;
    memset(room, 0, (size_t)r->prompts * sizeof *room);
    for (int c = 0; c < r->conditions; c++) {
        if (!score_same_series(&r->condition[c], &r->condition[trend->first])) continue;
        double weight = (scale_rank(r, c, &scales) - (k - 1) / 2.0) / square * (k - 1);
        const double *v = score_prompts(s->t, c, trend->metric);
        for (int p = 0; p < r->prompts; p++) room[p] += weight * v[p];
    }
    trend->change = resampling_interval(s->resampling, room, &trend->low, &trend->high);
    trend->p = resampling_sign_flip(s->resampling, room);
}

Status score_fill_trends(const Scoring *s)
{
    ScoreTable *t = s->t;
    const AblationResults *r = s->results;
    size_t most = (size_t)r->conditions * SCORE_METRICS;
    t->trends = calloc(most, sizeof *t->trends);
    double *p = malloc(most * sizeof *p);
    Status status = t->trends && p ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for the scores' trends");
    for (int c = 0; c < r->conditions && status == STATUS_OK; c++) {
        int scales, rank = scale_rank(r, c, &scales);
        if (!is_plain(r, c) || rank > 0 || scales < 3) continue;
        for (int m = 0; m < SCORE_METRICS; m++) {
            if (score_metric((ScoreMetricId)m)->cost || isnan(score_value(t, c, (ScoreMetricId)m)->value)) continue;
            t->trends[t->trend_count++] = (ScoreTrend){.first = c, .scales = scales, .metric = (ScoreMetricId)m};
        }
    }
    if (status == STATUS_OK) status = over_prompts(s, t->trend_count, measure_trend);
    for (int i = 0; i < t->trend_count && status == STATUS_OK; i++) p[i] = t->trends[i].p;
    if (status == STATUS_OK) status = holm_correct(p, t->trend_count, p, NULL);
    for (int i = 0; i < t->trend_count && status == STATUS_OK; i++) t->trends[i].p_holm = p[i];
    free(p);
    return status;
}
