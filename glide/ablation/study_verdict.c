#include "glide/ablation/study_verdict.h"

#include "data/dataset.h"
#include "glide/ablation/judge.h"
#include "glide/ablation/report.h"
#include "glide/ablation/score.h"
#include "glide/ablation/study.h"
#include "glide/ablation/study_judge.h"
#include "glide/ablation/study_sheet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 4096, SHEETS = 12, CAPTION = 1200 };

/* --- the judge ------------------------------------------------------------------------------------------------- */

static Status note_judge(StudyData *d, const StudyVerdict *v, const StudySight *sight, const char *data)
{
    char text[64];
    if (!v->judge) return study_note(d, "judge", "none: agreement, distances, precision and recall are not known");
    snprintf(text, sizeof text, "%016llx", (unsigned long long)sight->judge_hash);
    TRY(study_note(d, "judge", text));
    if (!data) return study_note(d, "held-out pictures", "none: no data set was named");
    snprintf(text, sizeof text, "%d, of the split test_pair", sight->sight.real_count);
    return study_note(d, "held-out pictures", text);
}

static Status judge(StudyData *d, Kernels *kernels, StudyVerdict *v, StudySight *sight)
{
    const char *data = v->data, *named = study_facts_find(&study_data_spec(d)->facts, "data");
    if (!data && named && access(named, R_OK) == 0) data = named;
    v->judged = v->judge != NULL;
    if (v->judge) TRY(study_judge(d, v->judge, data, kernels, v->progress, v->ctx, sight));
    return note_judge(d, v, sight, data);
}

/* --- files ----------------------------------------------------------------------------------------------------- */

/* The first sheets go into the page. */
static Status write_report(const StudyData *d, const ScoreTable *table, const char *folder)
{
    static const ReportOptions none = {0};
    const StudySpec *spec = study_data_spec(d);
    int count = spec->prompts < SHEETS ? spec->prompts : SHEETS;
    ReportSheet *sheets = calloc((size_t)count, sizeof *sheets);
    char (*texts)[2][CAPTION] = calloc((size_t)count, sizeof *texts), path[PATH], name[40];
    Status s = sheets && texts ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a report");
    for (int i = 0; i < count && s == STATUS_OK; i++) {
        snprintf(texts[i][0], CAPTION, "%.1100s/%s", folder, study_sheet_name(i, name, sizeof name));
        snprintf(texts[i][1], CAPTION, "%.1100s, first seed", spec->prompt[i]);
        sheets[i] = (ReportSheet){texts[i][0], texts[i][1]};
    }
    if (s == STATUS_OK) {
        ReportOptions o = none;
        o.sheets = sheets;
        o.sheet_count = count;
        snprintf(path, sizeof path, "%s/report.html", folder);
        s = report_write(study_results(d), table, &o, path);
    }
    free(texts);
    free(sheets);
    return s;
}

static Status write_files(const StudyData *d, const StudySight *sight, const StudyVerdict *v, const char *folder)
{
    char path[PATH];
    ScoreTable *table;
    TRY(ablation_score(study_results(d), v->judged ? &sight->sight : NULL, &table));
    snprintf(path, sizeof path, "%s/metrics.csv", folder);
    Status s = score_write_csv(table, path);
    if (s == STATUS_OK) s = write_report(d, table, folder);
    if (s == STATUS_OK && v->json) s = score_write_json(table, v->json);
    score_free(table);
    return s;
}

Status study_verdict_check(const StudyVerdict *v)
{
    Judge *judge = NULL;
    Dataset *data = NULL;
    if (v->judge) TRY(judge_load(v->judge, &judge));
    judge_free(judge);
    if (v->data) TRY(dataset_open(v->data, &data));
    dataset_free(data);
    return STATUS_OK;
}

Status study_verdict(const char *folder, Kernels *kernels, StudyVerdict *v)
{
    StudyData *d;
    StudySight sight = {0};
    TRY(study_open(folder, &d));
    Status s = study_sheets_write(d, folder);
    if (s == STATUS_OK) s = judge(d, kernels, v, &sight);
    if (s == STATUS_OK) s = write_files(d, &sight, v, folder);
    study_sight_release(&sight);
    study_close(d);
    return s;
}
