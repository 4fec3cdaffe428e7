/* The summary in words. It says that one mode is ahead of another only where the corrected paired test does. */
#include "glide/ablation/report_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double SIGNIFICANT = 0.05;

static void add_escaped(Report *r, const char *before, const char *text, const char *after)
{
    text_buffer_add(&r->out, "%s", before);
    text_buffer_add_escaped(&r->out, text);
    text_buffer_add(&r->out, "%s", after);
}

static void add_value(Report *r, const ScoreValue *v)
{
    char value[32], low[32], high[32];
    text_buffer_add(&r->out, "%s [%s, %s]", report_number(v->value, value, sizeof value), report_number(v->low, low, sizeof low),
                    report_number(v->high, high, sizeof high));
}

/* --- who is ahead ------------------------------------------------------------------------------------- */

static bool is_clear(const ScorePair *p)
{
    return p->p_holm < SIGNIFICANT;
}

/* "classifier 8 (0.80, -0.11)", of the pairs against the best by this metric that are clear or not; how many. Not tested are those
 * whose pictures are the best's own. */
static int list_rivals(Report *r, ScoreMetricId metric, bool clear, bool write)
{
    int count = 0;
    char value[32], difference[32];
    for (int i = 0; i < r->table->pair_count; i++) {
        const ScorePair *p = &r->table->pairs[i];
        if (p->kind != SCORE_AGAINST_BEST || p->metric != metric || is_clear(p) != clear || isnan(p->p)) continue;
        count++;
        if (!write) continue;
        add_escaped(r, count > 1 ? ", " : "", r->results->condition[p->condition].label, "");
        text_buffer_add(&r->out, " (%s, %s%s)",
                        report_number(score_value(r->table, p->condition, metric)->value, value, sizeof value),
                        p->difference > 0 ? "+" : "", report_number(p->difference, difference, sizeof difference));
    }
    return count;
}

static int best_of(const Report *r, ScoreMetricId metric)
{
    for (int i = 0; i < r->table->pair_count; i++)
        if (r->table->pairs[i].kind == SCORE_AGAINST_BEST && r->table->pairs[i].metric == metric) return r->table->pairs[i].against;
    return -1;
}

static void add_cost(Report *r, int c)
{
    char number[32];
    int none = report_none(r);
    double seconds = score_value(r->table, c, SCORE_SECONDS)->value,
           base = none >= 0 ? score_value(r->table, none, SCORE_SECONDS)->value : NAN;
    double gradients = score_value(r->table, c, SCORE_GRADIENTS)->value;
    text_buffer_add(&r->out, " Its price: %s evaluations",
                    report_number(score_value(r->table, c, SCORE_EVALUATIONS)->value, number, sizeof number));
    if (gradients > 0) text_buffer_add(&r->out, ", %s guide gradients", report_number(gradients, number, sizeof number));
    if (isfinite(seconds)) text_buffer_add(&r->out, ", %s s a picture", report_number(seconds, number, sizeof number));
    if (isfinite(seconds) && base > 0 && c != none) text_buffer_add(&r->out, " (%.1f times none)", seconds / base);
    text_buffer_add(&r->out, ".");
}

static void add_winner(Report *r, ScoreMetricId metric)
{
    const ScoreMetric *m = score_metric(metric);
    int best = best_of(r, metric), clear = list_rivals(r, metric, true, false), unclear = list_rivals(r, metric, false, false);
    char title[64];
    if (best < 0) return;
    snprintf(title, sizeof title, "%s", m->title);
    if (title[0] >= 'a' && title[0] <= 'z') title[0] = (char)(title[0] - 32);
    text_buffer_add(&r->out, "<li><b>%s</b> (%s is better): ", title, m->better > 0 ? "more" : "less");
    const AblationCondition *a = &r->results->condition[best];
    if (clear && !unclear) add_escaped(r, "<b>", a->mode, "</b> wins");
    else text_buffer_add(&r->out, clear ? "the best is" : "no mode is clearly ahead; the best is");
    if (!clear || unclear || strcmp(a->mode, a->label) != 0) add_escaped(r, clear && !unclear ? " with " : " ", a->label, "");
    text_buffer_add(&r->out, ", ");
    add_value(r, score_value(r->table, best, metric));
    if (clear) {
        text_buffer_add(&r->out, "; clearly behind are the best of other modes, ");
        list_rivals(r, metric, true, true);
    }
    if (unclear) {
        text_buffer_add(&r->out, clear ? "; the paired test does not tell it from "
                                       : "; the paired test does not tell it from the best of other modes, ");
        list_rivals(r, metric, false, true);
    }
    text_buffer_add(&r->out, ".");
    add_cost(r, best);
    text_buffer_add(&r->out, "</li>\n");
}

/* --- what the scale does ------------------------------------------------------------------------------ */

static void add_change(Report *r, const ScoreTrend *t, bool first)
{
    char number[32];
    bool clear = t->p_holm < SIGNIFICANT;
    text_buffer_add(&r->out, "%s%s ", first ? "" : ", ", score_metric(t->metric)->title);
    if (clear)
        text_buffer_add(&r->out, "%s by %s", t->change > 0 ? "rises" : "falls",
                        report_number(fabs(t->change), number, sizeof number));
    else text_buffer_add(&r->out, "shows no clear trend");
}

/* Of each plain series: what its trends are in the measures that matter most. */
static void add_trends(Report *r)
{
    const ScoreMetricId shown[] = {report_agreement(r), SCORE_DIVERSITY, SCORE_KID,
                                   SCORE_PRECISION,     SCORE_RECALL,    SCORE_SATURATION};
    for (int k = 0; k < r->series_count; k++) {
        const ReportSeries *s = &r->series[k];
        bool first = true;
        if (s->narrow || s->dash) continue;
        for (size_t m = 0; m < sizeof shown / sizeof *shown; m++)
            for (int i = 0; i < r->table->trend_count; i++) {
                const ScoreTrend *t = &r->table->trends[i];
                if (t->metric != shown[m] ||
                    !score_same_series(&r->results->condition[t->first], &r->results->condition[s->conditions[0]]))
                    continue;
                if (first) add_escaped(r, "<li>With the scale of <b>", s->name, "</b>");
                if (first)
                    text_buffer_add(&r->out, " from %g to %g: ", r->results->condition[s->conditions[0]].scale,
                                    r->results->condition[s->conditions[s->count - 1]].scale);
                add_change(r, t, first);
                first = false;
            }
        if (!first) text_buffer_add(&r->out, ".</li>\n");
    }
}

/* --- the rest ----------------------------------------------------------------------------------------- */

/* Conditions that no other one beats in agreement and judge KID at once. */
static void add_front(Report *r)
{
    ScoreMetricId agreement = report_agreement(r);
    int listed = 0;
    if (!r->table->judged || r->table->real_count < 2) return;
    for (int c = 0; c < r->results->conditions; c++) {
        const double *a = &score_value(r->table, c, agreement)->value, *k = &score_value(r->table, c, SCORE_KID)->value;
        bool beaten = !report_is_plain(r, c) || isnan(*a) || isnan(*k);
        for (int o = 0; o < r->results->conditions && !beaten; o++) {
            double other_a = score_value(r->table, o, agreement)->value, other_k = score_value(r->table, o, SCORE_KID)->value;
            bool better = (other_a >= *a && other_k < *k) || (other_a > *a && other_k <= *k);
            beaten = report_is_plain(r, o) && (better || (o < c && other_a == *a && other_k == *k));
        }
        if (beaten) continue;
        add_escaped(r,
                    listed++
                        ? ", "
                        : "<li>No other condition is at once closer to the prompts and to the held-out pictures (judge KID) than ",
                    r->results->condition[c].label, "");
    }
    if (listed) text_buffer_add(&r->out, ". These are point estimates: see their intervals.</li>\n");
}

static void add_checks(Report *r)
{
    int marks[4] = {0};
    for (int i = 0; i < r->table->check_count; i++) marks[r->table->checks[i].mark]++;
    text_buffer_add(&r->out,
                    "<li><a href=\"#checks\">Controls and honesty checks</a>: %d pass, %d warn, %d fail, %d could not be made.",
                    marks[SCORE_PASS], marks[SCORE_WARN], marks[SCORE_FAIL], marks[SCORE_MISSING]);
    for (int i = 0; i < r->table->check_count; i++)
        if (r->table->checks[i].mark == SCORE_FAIL) add_escaped(r, " <b class=\"fail\">", r->table->checks[i].text, "</b>");
    if (*r->table->related) add_escaped(r, " <b class=\"warn\">The judge is related to a guide: ", r->table->related, ".</b>");
    text_buffer_add(&r->out, "</li>\n");
}

void report_words(Report *r)
{
    const AblationResults *a = r->results;
    double seconds = 0;
    char number[32];
    int plain = 0;
    for (int c = 0; c < a->conditions; c++) {
        plain += report_is_plain(r, c);
        if (a->condition[c].equals < 0 && isfinite(r->table->seconds[c])) seconds += r->table->seconds[c];
    }
    text_buffer_add(
        &r->out,
        "<p class=\"lead\">%d conditions and %d controls, %d prompts, %d seeds each: %lld pictures of %dx%d in %d steps; pictures "
        "of a prompt and seed begin with the same noise in every condition. ",
        plain, a->conditions - plain, a->prompts, a->seeds, (long long)ablation_cells(a), a->side, a->side, a->steps);
    if (seconds > 0) text_buffer_add(&r->out, "Alone each, they would take %s s. ", report_number(seconds, number, sizeof number));
    text_buffer_add(
        &r->out,
        "In brackets: 95 %% intervals over prompts. A difference counts where its paired sign-flip test over prompts is below 0.05 "
        "after Holm's correction for all %d tests of this page.</p>\n<ul>\n",
        r->table->tested);
    if (!r->table->judged)
        text_buffer_add(&r->out, "<li>The study has no judge: nothing is said about agreement and quality.</li>\n");
    static const ScoreMetricId shown[] = {SCORE_TOP1,      SCORE_TOP5,   SCORE_KID,      SCORE_FRECHET,
                                          SCORE_PRECISION, SCORE_RECALL, SCORE_DIVERSITY};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) add_winner(r, shown[i]);
    add_front(r);
    add_trends(r);
    add_checks(r);
    text_buffer_add(&r->out, "</ul>\n<p class=\"note\">The best of each mode was picked by the pictures it is compared on, which "
                             "flatters winners a little; "
                             "trends are straight lines over the ranks of the scales, corrected among themselves.</p>\n");
}
