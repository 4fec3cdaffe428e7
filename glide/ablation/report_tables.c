/* Tables: checks, values, paired differences, trends, provenance. */
#include "glide/ablation/report_internal.h"
#include "glide/ablation/statistics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void add_escaped(Report *r, const char *before, const char *text, const char *after)
{
    text_buffer_add(&r->out, "%s", before);
    text_buffer_add_escaped(&r->out, text);
    text_buffer_add(&r->out, "%s", after);
}

static void begin_table(Report *r, const char *class, const char *caption)
{
    text_buffer_add(&r->out, "<div class=\"wide\"><table class=\"%s\">\n<caption>%s</caption>\n<thead><tr>", class, caption);
}

static void end_table(Report *r)
{
    text_buffer_add(&r->out, "</tbody></table></div>\n");
}

static bool is_known(const Report *r, ScoreMetricId metric)
{
    for (int c = 0; c < r->results->conditions; c++)
        if (isfinite(score_value(r->table, c, metric)->value)) return true;
    return false;
}

/* --- checks ------------------------------------------------------------------------------------------- */

static void add_checks(Report *r, bool control)
{
    static const char *const marks[] = {"pass", "warn", "fail", "missing"}, *const signs[] = {"✓ pass", "! warning", "✗ fail",
                                                                                              "– not made"};
    begin_table(r, "texts",
                control ? "Negative controls: what must not have an effect" : "Honesty checks: how far the numbers can be trusted");
    text_buffer_add(
        &r->out,
        "<th scope=\"col\">result</th><th scope=\"col\">%s</th><th scope=\"col\">what was found</th></tr></thead>\n<tbody>\n",
        control ? "control" : "check");
    for (int i = 0; i < r->table->check_count; i++) {
        const ScoreCheck *c = &r->table->checks[i];
        if (c->control != control) continue;
        text_buffer_add(&r->out, "<tr><td class=\"%s\">%s</td><th scope=\"row\">", marks[c->mark], signs[c->mark]);
        add_escaped(r, "", c->name, "</th><td class=\"text\">");
        add_escaped(r, "", c->text, "</td></tr>\n");
    }
    end_table(r);
}

/* --- values ------------------------------------------------------------------------------------------- */

static int best_condition(const Report *r, ScoreMetricId metric)
{
    int best = -1;
    for (int c = 0; c < r->results->conditions; c++) {
        double v = score_value(r->table, c, metric)->value * score_metric(metric)->better;
        if (!report_is_plain(r, c) || isnan(v)) continue;
        if (best < 0 || v > score_value(r->table, best, metric)->value * score_metric(metric)->better) best = c;
    }
    return best;
}

static void add_metric_heads(Report *r, bool cost)
{
    for (int m = 0; m < SCORE_METRICS; m++) {
        const ScoreMetric *metric = score_metric((ScoreMetricId)m);
        if (!is_known(r, (ScoreMetricId)m) || (metric->cost && !cost)) continue;
        add_escaped(r, "<th scope=\"col\" title=\"", metric->what, "\">");
        add_escaped(r, "", metric->title, "");
        add_escaped(r, *metric->unit ? "<br/><small>" : "", metric->unit, *metric->unit ? "</small></th>" : "</th>");
    }
}

static void add_value(Report *r, const ScoreValue *v, bool best)
{
    char value[32], low[32], high[32];
    text_buffer_add(&r->out, best ? "<td class=\"best\">%s" : "<td>%s", report_number(v->value, value, sizeof value));
    if (isfinite(v->low) && isfinite(v->high) && v->low < v->high)
        text_buffer_add(&r->out, "<br/><small>%s to %s</small>", report_number(v->low, low, sizeof low),
                        report_number(v->high, high, sizeof high));
    text_buffer_add(&r->out, "</td>");
}

static void add_values(Report *r)
{
    char number[32];
    text_buffer_add(&r->out, "<h2 id=\"values\">Values</h2>\n");
    begin_table(r, "numbers",
                "Every measure of every condition with its 95 % interval; the best of a column is bold, controls stand last");
    text_buffer_add(&r->out, "<th scope=\"col\">condition</th>");
    add_metric_heads(r, true);
    text_buffer_add(&r->out, "<th scope=\"col\">N<br/><small>pictures</small></th><th scope=\"col\">seconds<br/><small>in "
                             "all</small></th></tr></thead>\n<tbody>\n");
    for (int pass = 0; pass < 2; pass++)
        for (int c = 0; c < r->results->conditions; c++) {
            if (report_is_plain(r, c) != (pass == 0)) continue;
            add_escaped(r, "<tr><th scope=\"row\">", r->results->condition[c].label, "</th>");
            for (int m = 0; m < SCORE_METRICS; m++) {
                bool ranked = score_metric((ScoreMetricId)m)->better && !score_metric((ScoreMetricId)m)->cost;
                if (is_known(r, (ScoreMetricId)m))
                    add_value(r, score_value(r->table, c, (ScoreMetricId)m), ranked && best_condition(r, (ScoreMetricId)m) == c);
            }
            text_buffer_add(&r->out, "<td>%lld</td><td>%s</td></tr>\n", (long long)r->results->prompts * r->results->seeds,
                            report_number(r->table->seconds[c], number, sizeof number));
        }
    end_table(r);
    text_buffer_add(&r->out, "<details><summary>What the measures are</summary><dl>\n");
    for (int m = 0; m < SCORE_METRICS; m++) {
        add_escaped(r, "<dt>", score_metric((ScoreMetricId)m)->title, "</dt>");
        add_escaped(r, "<dd>", score_metric((ScoreMetricId)m)->what, "</dd>\n");
    }
    text_buffer_add(&r->out, "</dl></details>\n");
}

/* --- differences -------------------------------------------------------------------------------------- */

static void add_difference(Report *r, const ScorePair *p)
{
    char difference[32], low[32], high[32], raw[32], corrected[32];
    if (!p || isnan(p->difference)) {
        text_buffer_add(&r->out, "<td>–</td>");
        return;
    }
    if (isnan(p->p)) {
        text_buffer_add(&r->out, "<td>%s<br/><small>by definition</small></td>",
                        report_number(p->difference, difference, sizeof difference));
        return;
    }
    text_buffer_add(&r->out, "<td%s title=\"95 %% interval %s to %s; %s before correction\">%s%s<br/><small>%s</small></td>",
                    p->p_holm < 0.05 ? " class=\"clear\"" : "", report_number(p->low, low, sizeof low),
                    report_number(p->high, high, sizeof high), report_p(p->p, raw, sizeof raw), p->difference > 0 ? "+" : "",
                    report_number(p->difference, difference, sizeof difference), report_p(p->p_holm, corrected, sizeof corrected));
}

static void add_pairs(Report *r, ScorePairKind kind, const char *caption)
{
    begin_table(r, "numbers", caption);
    text_buffer_add(&r->out, "<th scope=\"col\">condition</th><th scope=\"col\">against</th>");
    add_metric_heads(r, false);
    text_buffer_add(&r->out, "</tr></thead>\n<tbody>\n");
    for (int c = 0; c < r->results->conditions; c++) {
        const ScorePair *any = NULL;
        for (int m = 0; m < SCORE_METRICS && !any; m++) any = score_pair(r->table, kind, c, (ScoreMetricId)m);
        if (!any) continue;
        add_escaped(r, "<tr><th scope=\"row\">", r->results->condition[c].label, "</th>");
        add_escaped(r, "<td>", r->results->condition[any->against].label, "</td>");
        for (int m = 0; m < SCORE_METRICS; m++)
            if (is_known(r, (ScoreMetricId)m) && !score_metric((ScoreMetricId)m)->cost)
                add_difference(r, score_pair(r->table, kind, c, (ScoreMetricId)m));
        text_buffer_add(&r->out, "</tr>\n");
    }
    end_table(r);
}

/* The best condition of each mode, measure by measure. */
static void add_rivals(Report *r)
{
    begin_table(r, "numbers", "The best condition of each mode against the best of all, measure by measure");
    text_buffer_add(&r->out, "<th scope=\"col\">measure</th><th scope=\"col\">condition</th><th scope=\"col\">against</th><th "
                             "scope=\"col\">difference</th>"
                             "</tr></thead>\n<tbody>\n");
    for (int i = 0; i < r->table->pair_count; i++) {
        const ScorePair *p = &r->table->pairs[i];
        if (p->kind != SCORE_AGAINST_BEST) continue;
        add_escaped(r, "<tr><th scope=\"row\">", score_metric(p->metric)->title, "</th>");
        add_escaped(r, "<td>", r->results->condition[p->condition].label, "</td>");
        add_escaped(r, "<td>", r->results->condition[p->against].label, "</td>");
        add_difference(r, p);
        text_buffer_add(&r->out, "</tr>\n");
    }
    end_table(r);
}

static void add_trends(Report *r)
{
    begin_table(r, "numbers",
                "How measures move with the scale: change along the straight line over the ranks of the scales, from the lowest to "
                "the highest");
    text_buffer_add(&r->out, "<th scope=\"col\">series</th>");
    add_metric_heads(r, false);
    text_buffer_add(&r->out, "</tr></thead>\n<tbody>\n");
    for (int k = 0; k < r->series_count; k++) {
        int found = 0;
        for (int m = 0; m < SCORE_METRICS; m++) {
            if (!is_known(r, (ScoreMetricId)m) || score_metric((ScoreMetricId)m)->cost) continue;
            ScorePair shown = {.difference = NAN};
            for (int i = 0; i < r->table->trend_count; i++) {
                const ScoreTrend *t = &r->table->trends[i];
                if (t->metric == (ScoreMetricId)m &&
                    score_same_series(&r->results->condition[t->first], &r->results->condition[r->series[k].conditions[0]]))
                    shown = (ScorePair){.difference = t->change, .low = t->low, .high = t->high, .p = t->p, .p_holm = t->p_holm};
            }
            if (isnan(shown.difference) && !found) continue;
            if (!found++) add_escaped(r, "<tr><th scope=\"row\">", r->series[k].name, "</th>");
            add_difference(r, &shown);
        }
        if (found) text_buffer_add(&r->out, "</tr>\n");
    }
    end_table(r);
}

static void add_facts(Report *r)
{
    text_buffer_add(&r->out, "<h2 id=\"provenance\">Provenance</h2>\n");
    begin_table(r, "texts", "Where the numbers come from");
    text_buffer_add(&r->out, "<th scope=\"col\">what</th><th scope=\"col\">value</th></tr></thead>\n<tbody>\n");
    for (int i = 0; i < r->results->fact_count; i++) {
        add_escaped(r, "<tr><th scope=\"row\">", r->results->facts[i][0], "</th>");
        add_escaped(r, "<td class=\"text\"><code>", r->results->facts[i][1], "</code></td></tr>\n");
    }
    text_buffer_add(&r->out, "<tr><th scope=\"row\">prompts</th><td class=\"text\"><details><summary>%d</summary><ol>",
                    r->results->prompts);
    for (int p = 0; p < r->results->prompts; p++) add_escaped(r, "<li>", r->results->prompt[p], "</li>");
    text_buffer_add(&r->out, "</ol></details></td></tr>\n");
    end_table(r);
}

void report_tables(Report *r)
{
    double least = r->results->prompts > RESAMPLING_EXACT_UNITS ? 1.0 / (RESAMPLING_FLIPS + 1) : pow(0.5, r->results->prompts - 1);
    text_buffer_add(&r->out, "<h2 id=\"checks\">Controls and honesty checks</h2>\n");
    add_checks(r, true);
    add_checks(r, false);
    add_values(r);
    text_buffer_add(
        &r->out,
        "<h2 id=\"differences\">Paired differences</h2>\n<p>On the same prompts and the same noise: mean over prompts of the "
        "difference, "
        "p by a two-sided sign-flip permutation test over prompts (all flips up to %d prompts, else up to %d random ones), "
        "corrected by Holm for all %d tests; below 0.05 is bold, %.2g is the least that can come out. Values of prompts for KID, "
        "Fréchet distance and recall are linearised "
        "(jackknife, influence function). Rest on a number for its interval and uncorrected p.</p>\n",
        RESAMPLING_EXACT_UNITS, RESAMPLING_FLIPS, r->table->tested, fmin(1, r->table->tested * least));
    add_pairs(r, SCORE_AGAINST_FIRST, "Against the study's first condition");
    add_pairs(r, SCORE_AGAINST_NEIGHBOUR, "Against the next lower scale of the same mode");
    add_rivals(r);
    add_trends(r);
    add_facts(r);
}
