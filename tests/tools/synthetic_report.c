/* Writes the report of a made-up study, to look at: synthetic_report OUT.html [SHEET.png ...] */
#include "glide/ablation/report.h"
#include "tests/support_synthetic.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 10) return fprintf(stderr, "usage: %s OUT.html [SHEET.png ...]\n", argv[0]), 2;
    SyntheticOptions o = synthetic_defaults();
    Synthetic s;
    ScoreTable *table = NULL;
    ReportSheet sheets[8];
    ReportOptions options = {.title = "Guidance ablation (made up)", .sheets = sheets, .sheet_count = argc - 2};
    for (int i = 2; i < argc; i++) sheets[i - 2] = (ReportSheet){argv[i], "a contact sheet: modes from top to bottom, scales from left to right"};
    synthetic_init(&s, &o);
    Status status = ablation_score(&s.results, &s.sight, &table);
    if (status == STATUS_OK) status = report_write(&s.results, table, &options, argv[1]);
    if (status != STATUS_OK) fprintf(stderr, "%s\n", status_message());
    score_free(table);
    synthetic_release(&s);
    return status != STATUS_OK;
}
