/* Which conditions make a line, in which colour, and how numbers are written. */
#include "glide/ablation/chart.h"
#include "glide/ablation/report_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool report_is_plain(const Report *r, int c)
{
    return r->results->condition[c].control == ABLATION_PLAIN;
}

bool report_is_none(const Report *r, int c)
{
    return strcmp(r->results->condition[c].mode, "none") == 0;
}

/* Its interval is not the study's widest. */
static bool is_narrow(const Report *r, int c)
{
    double low = INFINITY, high = -INFINITY;
    for (int o = 0; o < r->results->conditions; o++) {
        low = fmin(low, r->results->condition[o].low);
        high = fmax(high, r->results->condition[o].high);
    }
    return r->results->condition[c].low > low || r->results->condition[c].high < high;
}

int report_none(const Report *r)
{
    for (int c = 0; c < r->results->conditions; c++)
        if (report_is_plain(r, c) && report_is_none(r, c)) return c;
    return -1;
}

ScoreMetricId report_agreement(const Report *r)
{
    double most = 0;
    for (int c = 0; c < r->results->conditions; c++)
        if (report_is_plain(r, c)) most = fmax(most, score_value(r->table, c, SCORE_TOP1)->value);
    return most >= fmax(0.1, 2 * r->table->prompt_chance[0]) ? SCORE_TOP1 : SCORE_TOP5;
}

/* --- series ------------------------------------------------------------------------------------------- */

/* The five modes have their colours in every report; joined ones take the others in turn. */
static int colour_of(const Report *r, int c)
{
    static const char *const modes[] = {"none", "cfg", "classifier", "clip", "autoguidance"};
    const char *mode = r->results->condition[c].mode;
    int other = 5;
    for (int i = 0; i < 5; i++)
        if (strcmp(mode, modes[i]) == 0) return i;
    for (int s = 0; s < r->series_count; s++) {
        const char *earlier = r->results->condition[r->series[s].conditions[0]].mode;
        if (strcmp(earlier, mode) == 0) return r->series[s].colour;
        if (r->series[s].colour >= other) other = r->series[s].colour + 1;
    }
    return other < CHART_COLOURS ? other : 5 + other % 3;
}

/* Variants have the same dashes with every mode. */
static int dash_of(const Report *r, int c)
{
    const char *variant = r->results->condition[c].variant;
    int most = 0;
    if (!*variant) return 0;
    for (int s = 0; s < r->series_count; s++) {
        if (strcmp(r->results->condition[r->series[s].conditions[0]].variant, variant) == 0) return r->series[s].dash;
        if (!r->series[s].narrow && r->series[s].dash > most) most = r->series[s].dash;
    }
    return most + 1 < CHART_DASHES ? most + 1 : 1;
}

static void add_condition(const Report *r, ReportSeries *s, int c)
{
    int at = s->count;
    if (s->count == REPORT_SCALES_MOST) return;
    for (; at > 0 && r->results->condition[s->conditions[at - 1]].scale > r->results->condition[c].scale; at--)
        s->conditions[at] = s->conditions[at - 1];
    s->conditions[at] = c;
    s->count++;
}

Status report_find_series(Report *r)
{
    r->series = calloc(REPORT_SERIES_MOST, sizeof *r->series);
    if (!r->series) return status_fail(STATUS_NO_MEMORY, "out of memory for the report");
    for (int c = 0; c < r->results->conditions; c++) {
        const AblationCondition *a = &r->results->condition[c];
        int s = 0;
        if (!report_is_plain(r, c)) continue;
        while (s < r->series_count && !score_same_series(a, &r->results->condition[r->series[s].conditions[0]])) s++;
        if (s == REPORT_SERIES_MOST) continue;
        if (s == r->series_count) {
            ReportSeries *new = &r->series[s];
            snprintf(new->name, sizeof new->name, "%.60s%s%.32s", a->mode, *a->variant ? ", " : "", a->variant);
            new->colour = colour_of(r, c);
            new->narrow = is_narrow(r, c);
            new->dash = new->narrow ? 1 : dash_of(r, c);
            r->series_count++;
        }
        add_condition(r, &r->series[s], c);
    }
    return STATUS_OK;
}

/* --- numbers ------------------------------------------------------------------------------------------ */

const char *report_number(double value, char *text, size_t size)
{
    double m = fabs(value);
    const char *sign = value < 0 ? "−" : "";
    bool whole = m == floor(m) && (m >= 10 || m == 0);
    if (isnan(value)) snprintf(text, size, "–");
    else if (m >= 1e7 || (m < 0.0005 && m > 0)) snprintf(text, size, "%s%.1e", sign, m);
    else snprintf(text, size, "%s%.*f", sign, m >= 100 || whole ? 0 : m >= 10 ? 1 : m >= 1 ? 2 : 3, m);
    return text;
}

const char *report_p(double p, char *text, size_t size)
{
    if (isnan(p)) snprintf(text, size, "–");
    else if (p < 0.0001) snprintf(text, size, "p &lt; 0.0001");
    else snprintf(text, size, p < 0.01 ? "p = %.4f" : p < 0.995 ? "p = %.2f" : "p = 1", p);
    return text;
}
