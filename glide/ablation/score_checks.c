/* Controls (what must not differ, what must be at chance) and honesty checks (how far the numbers can be trusted). */
#include "glide/ablation/score_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIXED_CHECKS = 24, FEW_PROMPTS = 16, FEW_FOR_KID = 50, FEW_FOR_MANIFOLDS = 100 };

static ScoreCheck *add_check(ScoreTable *t, bool control, ScoreMark mark, const char *name, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static ScoreCheck *add_check(ScoreTable *t, bool control, ScoreMark mark, const char *name, const char *format, ...)
{
    ScoreCheck *c = &t->checks[t->check_count++];
    *c = (ScoreCheck){.mark = mark, .control = control, .value = NAN, .low = NAN, .high = NAN, .expected = NAN};
    snprintf(c->name, sizeof c->name, "%s", name);
    va_list args;
    va_start(args, format);
    vsnprintf(c->text, sizeof c->text, format, args);
    va_end(args);
    return c;
}

/* " [low, high]", or nothing where they are not known. */
static const char *show_interval(double low, double high, char *text, size_t size)
{
    *text = 0;
    if (!isnan(low) && !isnan(high)) snprintf(text, size, " [%.3f, %.3f]", low, high);
    return text;
}

static int find_none(const AblationResults *r)
{
    for (int c = 0; c < r->conditions; c++)
        if (r->condition[c].control == ABLATION_PLAIN && strcmp(r->condition[c].mode, "none") == 0) return c;
    return -1;
}

/* --- controls ----------------------------------------------------------------------------------------- */

static int64_t count_different(const AblationResults *r, int a, int b)
{
    int64_t cells = score_cells(r), bytes = (int64_t)r->side * r->side * 3, different = 0;
    for (int64_t i = 0; i < cells; i++)
        different += memcmp(r->pictures + (cells * a + i) * bytes, r->pictures + (cells * b + i) * bytes, (size_t)bytes) != 0;
    return different;
}

static void check_scale_0(const Scoring *s)
{
    static const char name[] = "scale 0 equals none";
    const AblationResults *r = s->results;
    int found = 0;
    for (int c = 0; c < r->conditions; c++) {
        const AblationCondition *condition = &r->condition[c];
        if (condition->control != ABLATION_SCALE_0) continue;
        int other = condition->must_equal;
        found++;
        if (other < 0) {
            add_check(s->t, true, SCORE_MISSING, name, "%s: the study has no condition that it must equal.", condition->label);
            continue;
        }
        int64_t different = count_different(r, c, other);
        bool computed = !score_same_pictures(r, c, other);
        ScoreCheck *check = add_check(s->t, true, different ? SCORE_FAIL : computed ? SCORE_PASS : SCORE_WARN, name,
                                      "%s: %lld of %lld pictures differ from those of %s in any bit%s.", condition->label,
                                      (long long)different, (long long)score_cells(r), r->condition[other].label,
                                      computed ? "" : ", but they were taken over, not computed");
        check->value = (double)different;
        check->expected = 0;
    }
    if (!found)
        add_check(s->t, true, SCORE_MISSING, name, "The study has no condition at scale 0 that was computed for comparison.");
}

/* Few prompts leave no room between chance and certainty for the first five. */
static ScoreMetricId chance_metric(const AblationResults *r)
{
    return r->prompts >= 20 ? SCORE_TOP5 : SCORE_TOP1;
}

static void add_at_chance(const Scoring *s, const char *what, double value, double low, double high, double right)
{
    ScoreMetricId metric = chance_metric(s->results);
    double chance = s->t->prompt_chance[metric == SCORE_TOP5];
    char matched[64] = "", interval[48];
    if (!isnan(right)) snprintf(matched, sizeof matched, "; with the right prompts %.3f", right);
    ScoreCheck *check = add_check(s->t, true, low <= chance || isnan(low) ? SCORE_PASS : SCORE_FAIL, "shuffled prompts",
                                  "%s: %s is %.3f%s, chance is %.3f%s.", what, score_metric(metric)->title, value,
                                  show_interval(low, high, interval, sizeof interval), chance, matched);
    check->value = value;
    check->low = low;
    check->high = high;
    check->expected = chance;
}

/* The condition that agrees best, judged by other prompts' texts: the measure must not find what is not there. */
static Status check_relabelled(const Scoring *s)
{
    const AblationResults *r = s->results;
    ScoreMetricId metric = chance_metric(r);
    int best = 0, *other = malloc((size_t)r->prompts * sizeof *other);
    double *credit = calloc((size_t)r->prompts, sizeof *credit), low, high;
    Status status = other && credit ? derangement(r->prompts, other) : status_fail(STATUS_NO_MEMORY, "out of memory for controls");
    for (int c = 0; c < r->conditions; c++)
        if (r->condition[c].control == ABLATION_PLAIN &&
            score_value(s->t, c, metric)->value > score_value(s->t, best, metric)->value)
            best = c;
    for (int p = 0; p < r->prompts && status == STATUS_OK; p++)
        for (int k = 0; k < r->seeds; k++) {
            Retrieval one = score_retrieve(s->sight, r->prompts, score_cells(r) * best + (int64_t)p * r->seeds + k, other[p]);
            credit[p] += (metric == SCORE_TOP5 ? one.top5 : one.top1) / r->seeds;
        }
    if (status == STATUS_OK) {
        char what[160];
        double value = resampling_interval(s->resampling, credit, &low, &high);
        snprintf(what, sizeof what, "Pictures of %s, judged by other prompts", r->condition[best].label);
        add_at_chance(s, what, value, low, high, score_value(s->t, best, metric)->value);
    }
    free(other);
    free(credit);
    return status;
}

static Status check_shuffled(const Scoring *s)
{
    const AblationResults *r = s->results;
    if (!s->sight || r->prompts < 2) {
        add_check(s->t, true, SCORE_MISSING, "shuffled prompts", "Needs a judge and two prompts.");
        return STATUS_OK;
    }
    for (int c = 0; c < r->conditions; c++) {
        const ScoreValue *v = score_value(s->t, c, chance_metric(r));
        if (r->condition[c].control == ABLATION_SHUFFLED_PROMPTS)
            add_at_chance(s, r->condition[c].label, v->value, v->low, v->high, NAN);
    }
    return check_relabelled(s);
}

/* A guide with random weights must not improve agreement. */
static Status check_untrained(const Scoring *s)
{
    static const char name[] = "untrained guide";
    const AblationResults *r = s->results;
    int none = find_none(r), found = 0;
    double *difference = malloc((size_t)r->prompts * sizeof *difference);
    if (!difference) return status_fail(STATUS_NO_MEMORY, "out of memory for controls");
    for (int c = 0; c < r->conditions && s->sight && none >= 0; c++) {
        if (r->condition[c].control != ABLATION_UNTRAINED) continue;
        ScoreMetricId metric = chance_metric(r);
        const double *a = score_prompts(s->t, c, metric), *b = score_prompts(s->t, none, metric);
        double low, high;
        char interval[48];
        for (int p = 0; p < r->prompts; p++) difference[p] = a[p] - b[p];
        double value = resampling_interval(s->resampling, difference, &low, &high),
               p = resampling_sign_flip(s->resampling, difference);
        ScoreMark mark = value > 0 && p < 0.05 ? SCORE_FAIL : SCORE_PASS;
        ScoreCheck *check = add_check(s->t, true, mark, name, "%s: %s changes by %+.3f%s against %s, p = %.3g.",
                                      r->condition[c].label, score_metric(metric)->title, value,
                                      show_interval(low, high, interval, sizeof interval), r->condition[none].label, p);
        check->value = value;
        check->low = low;
        check->high = high;
        check->expected = 0;
        found++;
    }
    free(difference);
    if (!found)
        add_check(s->t, true, SCORE_MISSING, name,
                  "The study has no condition whose guide has random weights (or no judge, or "
                  "nothing unguided to compare with).");
    return STATUS_OK;
}

/* --- distances that should be small ------------------------------------------------------------------- */

static const ScoreMetricId floor_metrics[] = {SCORE_KID, SCORE_FRECHET};
static const SetDistance floor_distances[] = {DISTANCE_KID, DISTANCE_FRECHET};

static double smallest(const ScoreTable *t, ScoreMetricId metric)
{
    double least = NAN;
    for (int c = 0; c < t->results->conditions; c++)
        if (t->results->condition[c].control == ABLATION_PLAIN) least = fmin(least, score_value(t, c, metric)->value);
    return least;
}

/* near: how much of the smallest distance of a condition may pass as 0. */
static void add_floor(const Scoring *s, const char *name, const char *what, const double distance[SET_DISTANCES], double near)
{
    for (int k = 0; k < 2; k++) {
        double value = distance[floor_distances[k]], least = smallest(s->t, floor_metrics[k]);
        ScoreMark mark = isnan(value) || isnan(least) ? SCORE_MISSING : fabs(value) <= near * fabs(least) ? SCORE_PASS : SCORE_WARN;
        if (mark == SCORE_MISSING) {
            add_check(s->t, false, mark, name, "%s: %s is not known of so few pictures.", what,
                      score_metric(floor_metrics[k])->title);
            continue;
        }
        ScoreCheck *check = add_check(s->t, false, mark, name, "%s: %s is %.3g; the closest condition has %.3g.", what,
                                      score_metric(floor_metrics[k])->title, value, least);
        check->value = value;
        check->expected = 0;
    }
}

/* Rows of `from` whose number is even (odd) to `half`; group rows in a row stay together. Returns how many. */
static int take_half(const float *from, int rows, int group, int width, int odd, float *half)
{
    int count = 0;
    for (int i = 0; i < rows; i++)
        if (i / group % 2 == odd)
            memcpy(half + (size_t)count++ * (size_t)width, from + (size_t)i * (size_t)width, (size_t)width * sizeof *half);
    return count;
}

static Status split_halves(const float *x, int rows, int group, int width, double distance[SET_DISTANCES])
{
    float *even = malloc((size_t)rows * (size_t)width * sizeof *even), *odd = malloc((size_t)rows * (size_t)width * sizeof *odd);
    Status status = even && odd ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for halves");
    if (status == STATUS_OK) {
        int n_even = take_half(x, rows, group, width, 0, even), n_odd = take_half(x, rows, group, width, 1, odd);
        status = set_distance_plain(even, n_even, odd, n_odd, width, distance);
    }
    free(even);
    free(odd);
    return status;
}

static Status check_floors(const Scoring *s)
{
    const AblationResults *r = s->results;
    const AblationSight *sight = s->sight;
    double distance[SET_DISTANCES];
    char what[192];
    TRY(set_distance(s->real, sight->real, sight->real_count, 1, distance, NULL));
    distance[DISTANCE_KID] -= real_set_own_kid(s->real);
    add_floor(s, "held-out pictures against themselves",
              "The held-out pictures against themselves (KID without the pairs of a picture "
              "with itself)",
              distance, 0.01);
    TRY(split_halves(sight->real, sight->real_count, 1, sight->features, distance));
    snprintf(what, sizeof what, "Two halves of the held-out pictures (%d each)", sight->real_count / 2);
    add_floor(s, "noise floor, held-out halves", what, distance, 0.5);
    int cells = (int)score_cells(r), by_seed = r->seeds > 1;
    TRY(split_halves(sight->picture, cells, by_seed ? 1 : r->seeds, sight->features, distance));
    snprintf(what, sizeof what, "Two halves of %s (%d each, %s)", r->condition[0].label, cells / 2,
             by_seed && r->seeds % 2 == 0 ? "other seeds of the same prompts" : by_seed ? "every other picture" : "other prompts");
    add_floor(s, "noise floor, a condition's halves", what, distance, 0.5);
    return STATUS_OK;
}

/* --- is there enough, is it independent --------------------------------------------------------------- */

static void check_sizes(const Scoring *s)
{
    const AblationResults *r = s->results;
    int n = (int)score_cells(r), real = s->sight ? s->sight->real_count : 0, d = s->sight ? s->sight->features : 0;
    add_check(s->t, false, r->prompts < FEW_PROMPTS ? SCORE_WARN : SCORE_PASS, "enough prompts",
              "%d prompts are what intervals and tests rest on; below %d they are coarse.", r->prompts, FEW_PROMPTS);
    if (r->seeds < 2)
        add_check(s->t, false, SCORE_WARN, "enough seeds", "With one seed nothing is known about diversity within a prompt.");
    if (!s->sight) return;
    add_check(s->t, false, n < 2 * d || real < 2 * d ? SCORE_WARN : SCORE_PASS, "enough for the Fréchet distance",
              "%d pictures a condition and %d held-out ones for %d features; below twice the features the distance is biased "
              "upwards, and "
              "only sets of one size compare.",
              n, real, d);
    add_check(s->t, false, n < FEW_FOR_KID || real < FEW_FOR_KID ? SCORE_WARN : SCORE_PASS, "enough for KID",
              "%d pictures a condition and %d held-out ones; below %d KID is mostly noise.", n, real, FEW_FOR_KID);
    add_check(
        s->t, false, n < FEW_FOR_MANIFOLDS || real < FEW_FOR_MANIFOLDS ? SCORE_WARN : SCORE_PASS, "enough for precision and recall",
        "%d pictures a condition and %d held-out ones; below %d the manifolds are blobs. Recall grows with the number of pictures.",
        n, real, FEW_FOR_MANIFOLDS);
}

static void check_judge(const Scoring *s)
{
    if (!s->sight)
        add_check(s->t, false, SCORE_MISSING, "independent judge", "The study has no judge: agreement and distances are unknown.");
    else if (s->sight->related)
        add_check(s->t, false, SCORE_WARN, "independent judge", "The judge is related to a guide: %s.", s->sight->related);
    else
        add_check(s->t, false, SCORE_PASS, "independent judge",
                  "The judge guides no condition and shares no training with a guide.");
    if (s->t->clipped_of_pictures)
        add_check(s->t, false, SCORE_WARN, "clipped share",
                  "No telemetry of what was clipped in every picture; the share is of pixel "
                  "values 0 and 255, which white grounds have too.");
}

Status score_fill_checks(const Scoring *s)
{
    s->t->checks = calloc((size_t)s->results->conditions + FIXED_CHECKS, sizeof *s->t->checks);
    if (!s->t->checks) return status_fail(STATUS_NO_MEMORY, "out of memory for controls");
    check_scale_0(s);
    TRY(check_shuffled(s));
    TRY(check_untrained(s));
    if (s->real) TRY(check_floors(s));
    check_sizes(s);
    check_judge(s);
    return STATUS_OK;
}
