#include "glide/ablation/study_verdict.h"

#include "glide/ablation/score.h"
#include "glide/ablation/study.h"
#include "glide/ablation/study_judge.h"
#include "glide/ablation/study_sheet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 4096 };

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

static Status write_files(const StudyData *d, const StudySight *sight, const StudyVerdict *v, const char *folder)
{
    char path[PATH];
    ScoreTable *table;
    TRY(ablation_score(study_results(d), v->judged ? &sight->sight : NULL, &table));
    snprintf(path, sizeof path, "%s/metrics.csv", folder);
    Status s = score_write_csv(table, path);
    if (s == STATUS_OK && v->json) s = score_write_json(table, v->json);
    score_free(table);
    return s;
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
