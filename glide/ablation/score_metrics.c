/* Every metric of every condition, prompt by prompt, and then as a value with an interval. */
#include "glide/ablation/picture_stats.h"
#include "glide/ablation/score_internal.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* --- agreement ---------------------------------------------------------------------------------------- */

static double similarity(const AblationSight *s, int64_t cell, int prompt)
{
    const float *a = s->picture_embedding + cell * s->embedding, *b = s->prompt_embedding + (int64_t)prompt * s->embedding;
    double sum = 0;
    for (int i = 0; i < s->embedding; i++) sum += (double)a[i] * b[i];
    return sum;
}

/* Of `closer` prompts that are more similar and `ties` as similar as the own one: the chance to be among the first k. */
static double top_credit(int closer, int ties, int k)
{
    return closer >= k ? 0 : fmin(1, (double)(k - closer) / (ties + 1));
}

Retrieval score_retrieve(const AblationSight *sight, int prompts, int64_t cell, int own)
{
    double right = similarity(sight, cell, own);
    int closer = 0, ties = 0;
    for (int p = 0; p < prompts; p++) {
        double other = p == own ? right : similarity(sight, cell, p);
        closer += other > right;
        ties += p != own && other == right;
    }
    return (Retrieval){top_credit(closer, ties, 1), top_credit(closer, ties, 5), right};
}

static void measure_agreement(const Scoring *s, int c, int p)
{
    const AblationResults *r = s->results;
    Retrieval sum = {0};
    for (int k = 0; k < r->seeds; k++) {
        Retrieval one = score_retrieve(s->sight, r->prompts, score_cells(r) * c + (int64_t)p * r->seeds + k, p);
        sum.top1 += one.top1;
        sum.top5 += one.top5;
        sum.similarity += one.similarity;
    }
    score_prompts(s->t, c, SCORE_TOP1)[p] = sum.top1 / r->seeds;
    score_prompts(s->t, c, SCORE_TOP5)[p] = sum.top5 / r->seeds;
    score_prompts(s->t, c, SCORE_SIMILARITY)[p] = sum.similarity / r->seeds;
}

/* Mean distance of the pictures of a prompt in features, as a multiple of that of held-out pictures. */
static double feature_diversity(const Scoring *s, int c, int p)
{
    const AblationResults *r = s->results;
    int d = s->sight->features;
    const float *first = s->sight->picture + (score_cells(r) * c + (int64_t)p * r->seeds) * d;
    double sum = 0, unit = s->real ? real_set_mean_distance(s->real) : 0;
    for (int a = 0; a < r->seeds; a++)
        for (int b = 0; b < a; b++) {
            double squares = 0;
            for (int i = 0; i < d; i++) squares += pow((double)first[(int64_t)a * d + i] - first[(int64_t)b * d + i], 2);
            sum += sqrt(squares);
        }
    return r->seeds < 2 || !(unit > 0) ? NAN : sum / (r->seeds * (r->seeds - 1) / 2.0) / unit;
}

/* --- pictures and telemetry --------------------------------------------------------------------------- */

static int telemetry_index(const AblationResults *r, const char *name)
{
    for (int i = 0; i < r->telemetry_count && r->telemetry && r->telemetry_name; i++)
        if (strcmp(r->telemetry_name[i], name) == 0) return i;
    return -1;
}

/* Mean over a cell's steps of what was measured; NaN when nothing was. */
static double telemetry_mean(const AblationResults *r, int64_t cell, int index)
{
    double sum = 0;
    int count = 0;
    for (int step = 0; step < r->steps; step++) {
        float v = r->telemetry[(cell * r->steps + step) * r->telemetry_count + index];
        if (isfinite(v)) sum += v, count++;
    }
    return count ? sum / count : NAN;
}

/* Telemetry serves only if it says of every cell what was clipped: conditions must be comparable. */
static int clipped_index(const AblationResults *r)
{
    int index = telemetry_index(r, "clipped");
    for (int64_t cell = 0; index >= 0 && cell < ablation_cells(r); cell++)
        if (isnan(telemetry_mean(r, cell, index))) return -1;
    return index;
}

static void measure_pictures(const Scoring *s, int c, int p, int clipped)
{
    const AblationResults *r = s->results;
    int64_t pixels = (int64_t)r->side * r->side, cell = score_cells(r) * c + (int64_t)p * r->seeds;
    PictureStats sum = {0};
    for (int k = 0; k < r->seeds; k++) {
        PictureStats one = picture_measure(r->pictures + (cell + k) * pixels * 3, pixels);
        sum.saturation += one.saturation;
        sum.contrast += one.contrast;
        sum.clipped += clipped >= 0 ? telemetry_mean(r, cell + k, clipped) : one.clipped;
    }
    score_prompts(s->t, c, SCORE_SATURATION)[p] = sum.saturation / r->seeds;
    score_prompts(s->t, c, SCORE_CONTRAST)[p] = sum.contrast / r->seeds;
    score_prompts(s->t, c, SCORE_CLIPPED)[p] = sum.clipped / r->seeds;
    score_prompts(s->t, c, SCORE_PIXEL_DIVERSITY)[p] = pictures_diversity(r->pictures + cell * pixels * 3, r->seeds, pixels);
}

/* Of those that are known. */
static double mean_of(const float *values, int64_t first, int64_t count)
{
    double sum = 0;
    int64_t known = 0;
    for (int64_t i = first; i < first + count && values; i++)
        if (!isnan(values[i])) sum += values[i], known++;
    return known ? sum / (double)known : NAN;
}

static void measure_cost(const Scoring *s, int c, int p)
{
    const AblationResults *r = s->results;
    int64_t cell = score_cells(r) * c + (int64_t)p * r->seeds;
    score_prompts(s->t, c, SCORE_EVALUATIONS)[p] = mean_of(r->evaluations, cell, r->seeds);
    score_prompts(s->t, c, SCORE_GRADIENTS)[p] = mean_of(r->gradients, cell, r->seeds);
    score_prompts(s->t, c, SCORE_SECONDS)[p] = mean_of(r->seconds, cell, r->seeds);
}

/* --- a condition -------------------------------------------------------------------------------------- */

static void copy_values(const Scoring *s, int from, int to)
{
    for (int m = 0; m < SCORE_METRICS; m++) {
        if (score_metric((ScoreMetricId)m)->cost) continue;
        memcpy(score_prompts(s->t, to, (ScoreMetricId)m), score_prompts(s->t, from, (ScoreMetricId)m),
               (size_t)s->results->prompts * sizeof(double));
    }
}

static Status measure_set(const Scoring *s, int c)
{
    static const ScoreMetricId ids[SET_DISTANCES] = {SCORE_KID, SCORE_FRECHET, SCORE_PRECISION, SCORE_RECALL};
    const AblationResults *r = s->results;
    double distance[SET_DISTANCES], *of_group = malloc(SET_DISTANCES * (size_t)r->prompts * sizeof *of_group);
    if (!of_group) return status_fail(STATUS_NO_MEMORY, "out of memory for the scores");
    const float *features = s->sight->picture + score_cells(r) * c * s->sight->features;
    Status status = set_distance(s->real, features, r->prompts, r->seeds, distance, of_group);
    for (int k = 0; k < SET_DISTANCES && status == STATUS_OK; k++)
        memcpy(score_prompts(s->t, c, ids[k]), of_group + (int64_t)k * r->prompts, (size_t)r->prompts * sizeof(double));
    free(of_group);
    return status;
}

static Status measure_condition(const Scoring *s, int c, int clipped)
{
    const AblationResults *r = s->results;
    for (int m = 0; m < SCORE_METRICS; m++)
        for (int p = 0; p < r->prompts; p++) score_prompts(s->t, c, (ScoreMetricId)m)[p] = NAN;
    for (int p = 0; p < r->prompts; p++) {
        measure_cost(s, c, p);
        if (r->condition[c].equals >= 0) continue;
        measure_pictures(s, c, p, clipped);
        if (s->sight) measure_agreement(s, c, p);
        if (s->sight) score_prompts(s->t, c, SCORE_DIVERSITY)[p] = feature_diversity(s, c, p);
    }
    return s->real && r->condition[c].equals < 0 ? measure_set(s, c) : STATUS_OK;
}

static void fill_value(const Scoring *s, int c, ScoreMetricId m)
{
    const ScoreMetric *metric = score_metric(m);
    ScoreValue *v = &s->t->value[(int64_t)c * SCORE_METRICS + (int64_t)m];
    v->value = resampling_interval(s->resampling, score_prompts(s->t, c, m), &v->low, &v->high);
    if (v->low < metric->floor) v->low = fmin(metric->floor, v->value);
    if (v->high > metric->ceiling) v->high = fmax(metric->ceiling, v->value);
    v->n = isnan(v->value) ? 0 : score_cells(s->results);
}

Status score_fill_values(const Scoring *s)
{
    const AblationResults *r = s->results;
    int clipped = clipped_index(r), failed = -1;
    s->t->clipped_of_pictures = clipped < 0;
#pragma omp parallel for schedule(dynamic, 1)
    for (int c = 0; c < r->conditions; c++)
        if (measure_condition(s, c, clipped) != STATUS_OK) {
#pragma omp critical
            failed = c;
        }
    for (int c = 0; c < r->conditions; c++) {
        if (failed >= 0) TRY(measure_condition(s, c, clipped)); /* again, for the message is the thread's that met it */
    }
    for (int c = 0; c < r->conditions; c++) {
        if (r->condition[c].equals >= 0) copy_values(s, r->condition[c].equals, c);
        s->t->seconds[c] = mean_of(r->seconds, score_cells(r) * c, score_cells(r)) * (double)score_cells(r);
    }
#pragma omp parallel for schedule(dynamic, 4)
    for (int i = 0; i < r->conditions * SCORE_METRICS; i++) fill_value(s, i / SCORE_METRICS, (ScoreMetricId)(i % SCORE_METRICS));
    return STATUS_OK;
}
