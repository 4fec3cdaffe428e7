/* report.html of an ablation: one page with everything in it (plots as SVG, contact sheets as data URIs), which asks nothing of
 * the network or of scripts.
 *
 *     ReportSheet sheets[] = {{"sheet_p000_s0.png", "red apple, seed 0: mode x scale"}};
 *     ReportOptions options = {.title = "...", .sheets = sheets, .sheet_count = 1};
 *     TRY(report_write(&results, table, &options, "report.html"));
 *
 * The words at the top are made from the numbers: they say that a mode wins only where the corrected paired test does. */
#ifndef GLIDE_ABLATION_REPORT_H
#define GLIDE_ABLATION_REPORT_H

#include "glide/ablation/score.h"

typedef struct ReportSheet {
    const char *path;    /* a PNG or JPEG file; its bytes go into the page */
    const char *caption; /* UTF-8, also what a screen reader says */
} ReportSheet;

typedef struct ReportOptions {
    const char *title; /* NULL: "Guidance ablation" */
    const ReportSheet *sheets;
    int sheet_count;   /* those that would make the page larger than 5 MB are left out, and the page says so */
} ReportOptions;

/* options may be NULL. `results` are those of the table. Written whole or not at all. Errors: a sheet that cannot be read or is
 * no picture (named), no memory, I/O. */
Status report_write(const AblationResults *results, const ScoreTable *table, const ReportOptions *options, const char *path);

#endif
