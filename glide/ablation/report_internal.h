/* Shared by the files that write report.html; nobody else includes it. */
#ifndef GLIDE_ABLATION_REPORT_INTERNAL_H
#define GLIDE_ABLATION_REPORT_INTERNAL_H

#include "common/text_buffer.h"
#include "glide/ablation/report.h"

enum { REPORT_SERIES_MOST = 128, REPORT_SCALES_MOST = 64 };

/* Conditions that differ in nothing but the scale, which ascends. */
typedef struct ReportSeries {
    char name[96];    /* "cfg", "cfg, rescale 0.7" */
    int colour, dash; /* of chart.h: colours are of modes, dashes of variants */
    bool narrow;      /* acts in a part of the timesteps */
    int conditions[REPORT_SCALES_MOST], count;
} ReportSeries;

typedef struct Report {
    const AblationResults *results;
    const ScoreTable *table;
    const ReportOptions *options;
    TextBuffer out;
    ReportSeries *series; /* (series_count) of plain conditions */
    int series_count;
    int chart_count;      /* drawn so far; makes ids */
} Report;

/* report_series.c */
Status report_find_series(Report *r);
bool report_is_plain(const Report *r, int condition);
bool report_is_none(const Report *r, int condition);
int report_none(const Report *r);                      /* the first unguided condition, or -1 */
ScoreMetricId report_agreement(const Report *r);       /* top-1, or top-5 where guessing the first of many is beyond all modes */
/* "0.123", "−1.2e-05", "1234", or a dash for NaN: UTF-8. Returns text. */
const char *report_number(double value, char *text, size_t size);
const char *report_p(double p, char *text, size_t size); /* "p = 0.012", "p &lt; 0.0001": HTML */

void report_words(Report *r);  /* report_words.c: the summary */
void report_plots(Report *r);  /* report_plots.c */
void report_steps(Report *r);  /* report_steps.c: telemetry */
void report_tables(Report *r); /* report_tables.c: checks, values, differences, trends, facts */

#endif
