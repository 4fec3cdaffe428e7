#include "glide/ablation/study.h"

#include "glide/ablation/cell_shard.h"
#include "glide/ablation/study_journal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH = 4096, NAME = 64 };

struct StudyData {
    char *folder;
    StudySpec spec;
    AblationResults results;
    uint8_t *pictures;
    float *seconds, *evaluations, *gradients, *telemetry;
    char names[SHARD_TELEMETRY_MOST][NAME];
    const char *name[SHARD_TELEMETRY_MOST];
    const char *(*facts)[2];
};

/* --- memory ---------------------------------------------------------------------------------------------------- */

static Status alloc(StudyData *d)
{
    const StudySpec *s = &d->spec;
    size_t cells = (size_t)s->conditions * (size_t)study_rows(s), columns = (size_t)shard_telemetry_count();
    d->pictures = calloc(cells, (size_t)s->side * (size_t)s->side * 3);
    d->seconds = calloc(cells, sizeof *d->seconds);
    d->evaluations = calloc(cells, sizeof *d->evaluations);
    d->gradients = calloc(cells, sizeof *d->gradients);
    d->telemetry = calloc(cells, (size_t)s->steps * columns * sizeof *d->telemetry);
    if (d->pictures && d->seconds && d->evaluations && d->gradients && d->telemetry) return STATUS_OK;
    return status_fail(STATUS_NO_MEMORY, "%s: out of memory for %lld pictures", d->folder, (long long)cells);
}

void study_close(StudyData *d)
{
    if (!d) return;
    study_spec_release(&d->spec);
    free(d->folder);
    free(d->pictures);
    free(d->seconds);
    free(d->evaluations);
    free(d->gradients);
    free(d->telemetry);
    free(d->facts);
    free(d);
}

/* --- shards ---------------------------------------------------------------------------------------------------- */

static void shard_path(const StudyData *d, int condition, int block, char *path)
{
    char name[40];
    snprintf(path, PATH, "%s/%s", d->folder, study_shard_name(condition, block, name, sizeof name));
}

static Status read_shard(StudyData *d, const StudyJournal *j, int condition, int block)
{
    const StudySpec *s = &d->spec;
    char path[PATH];
    CellShard shard;
    int first, n = study_block_rows(s, block, &first), columns = shard_telemetry_count();
    size_t cell = (size_t)condition * (size_t)study_rows(s) + (size_t)first, size = (size_t)s->side * (size_t)s->side * 3;
    shard_path(d, condition, block, path);
    TRY(cell_shard_alloc(s, n, &shard));
    Status status = cell_shard_read(s, path, &shard);
    int at = condition * j->blocks + block;
    if (status == STATUS_OK && cell_shard_hash(s, &shard) != j->hash[at])
        status = status_fail(STATUS_BAD_INPUT, "%s: is not what the journal says it was; delete it and run the same command "
                             "again", path);
    if (status == STATUS_OK) {
        memcpy(d->pictures + cell * size, shard.pictures, (size_t)n * size);
        memcpy(d->telemetry + cell * (size_t)(s->steps * columns), shard.telemetry,
               (size_t)n * (size_t)(s->steps * columns) * sizeof(float));
        for (size_t i = cell; i < cell + (size_t)n; i++) {
            d->seconds[i] = (float)(j->seconds[at] / n);
            d->evaluations[i] = (float)shard.evaluations;
            d->gradients[i] = (float)shard.gradients;
        }
    }
    cell_shard_release(&shard);
    return status;
}

static void copy_condition(StudyData *d, int from, int to)
{
    const StudySpec *s = &d->spec;
    size_t n = (size_t)study_rows(s), a = (size_t)from * n, b = (size_t)to * n, size = (size_t)s->side * (size_t)s->side * 3;
    size_t row = (size_t)(s->steps * shard_telemetry_count());
    memcpy(d->pictures + b * size, d->pictures + a * size, n * size);
    memcpy(d->telemetry + b * row, d->telemetry + a * row, n * row * sizeof(float));
    memcpy(d->seconds + b, d->seconds + a, n * sizeof(float));
    memcpy(d->evaluations + b, d->evaluations + a, n * sizeof(float));
    memcpy(d->gradients + b, d->gradients + a, n * sizeof(float));
}

static Status read_shards(StudyData *d, const StudyJournal *j)
{
    const StudySpec *s = &d->spec;
    int missing = 0, all = 0;
    for (int c = 0; c < s->conditions; c++) {
        for (int b = 0; b < j->blocks && s->condition[c].equals < 0; b++, all++) missing += !j->done[c * j->blocks + b];
    }
    if (missing > 0)
        return status_fail(STATUS_BAD_INPUT, "%s: is not finished, %d of %d parts are missing; the command that began it goes "
                           "on", d->folder,
                           missing, all);
    for (int c = 0; c < s->conditions; c++) {
        for (int b = 0; b < j->blocks && s->condition[c].equals < 0; b++) TRY(read_shard(d, j, c, b));
        if (s->condition[c].equals >= 0) copy_condition(d, s->condition[c].equals, c);
    }
    return STATUS_OK;
}

/* --- results --------------------------------------------------------------------------------------------------- */

/* Settings, then facts. */
static Status list_facts(StudyData *d)
{
    const StudyFacts *lists[] = {&d->spec.facts, &d->spec.settings};
    int count = 0;
    free(d->facts);
    d->facts = calloc((size_t)(lists[0]->count + lists[1]->count + 1), sizeof *d->facts);
    if (!d->facts) return status_fail(STATUS_NO_MEMORY, "out of memory for facts");
    for (int l = 0; l < 2; l++)
        for (int i = 0; i < lists[l]->count; i++, count++) {
            d->facts[count][0] = lists[l]->items[i].name;
            d->facts[count][1] = lists[l]->items[i].value;
        }
    d->results.facts = (const char *const (*)[2])d->facts;
    d->results.fact_count = count;
    return STATUS_OK;
}

Status study_note(StudyData *d, const char *name, const char *value)
{
    TRY(study_facts_add(&d->spec.facts, name, "%s", value));
    return list_facts(d);
}

static Status fill_results(StudyData *d)
{
    const StudySpec *s = &d->spec;
    int columns = shard_telemetry_count();
    for (int i = 0; i < columns; i++) d->name[i] = shard_telemetry_name(i, d->names[i], NAME);
    d->results = (AblationResults){.conditions = s->conditions, .prompts = s->prompts, .seeds = s->seeds, .steps = s->steps,
                                   .side = s->side,
                                   .condition = s->condition, .prompt = (const char *const *)s->prompt, .pictures = d->pictures,
                                   .seconds = d->seconds, .evaluations = d->evaluations, .gradients = d->gradients,
                                   .telemetry_count = columns, .telemetry_name = d->name, .timestep = s->timestep,
                                   .telemetry = d->telemetry};
    return list_facts(d);
}

static Status read_folder(StudyData *d)
{
    char path[PATH];
    struct stat st;
    StudyJournal j;
    snprintf(path, sizeof path, "%s/study.json", d->folder);
    if (stat(path, &st) != 0) return status_fail(STATUS_BAD_INPUT, "%s: holds no study: there is no study.json", d->folder);
    TRY(study_spec_read(path, &d->spec));
    TRY(alloc(d));
    TRY(study_journal_read(d->folder, &d->spec, &j));
    Status s = read_shards(d, &j);
    study_journal_close(&j);
    return s == STATUS_OK ? fill_results(d) : s;
}

Status study_open(const char *folder, StudyData **out)
{
    StudyData *d = calloc(1, sizeof *d);
    *out = NULL;
    if (d) d->folder = strdup(folder);
    Status s = d && d->folder ? read_folder(d) : status_fail(STATUS_NO_MEMORY, "out of memory for a study");
    if (s == STATUS_OK) *out = d;
    else study_close(d);
    return s;
}

const AblationResults *study_results(const StudyData *d)
{
    return &d->results;
}

const StudySpec *study_data_spec(const StudyData *d)
{
    return &d->spec;
}

Status study_large(const StudyData *d, int condition, int row, uint8_t *rgb)
{
    char path[PATH];
    const StudySpec *s = &d->spec;
    int of = s->condition[condition].equals >= 0 ? s->condition[condition].equals : condition;
    shard_path(d, of, row / s->rows, path);
    return cell_shard_read_large(s, path, row % s->rows, rgb);
}
