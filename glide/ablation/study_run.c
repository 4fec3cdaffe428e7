#include "glide/ablation/study.h"

#include "glide/ablation/study_block.h"
#include "glide/ablation/study_journal.h"

#include <dirent.h>
#include <errno.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH = 4096 };

double study_work(const Study *s, int condition, int first)
{
    const Condition *c = &s->grid.items[condition];
    ConditionCost cost = condition_cost(&s->walk, &c->guidance, first);
    double work = cost.answers * s->base_cost + cost.weaker * s->weaker_cost;
    for (int m = 0; m < GUIDANCE_MODES; m++) work += cost.gradients[m] * s->guide_cost[m];
    return work + (s->spec.large_side ? s->upsampler_cost : 0);
}

/* --- the folder ------------------------------------------------------------------------------------------------ */

static Status make_folder(const char *path)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST) return STATUS_OK;
    return status_fail(STATUS_IO, "%s: cannot be made: %s", path, strerror(errno));
}

/* As file_write.h names its temporary files. */
static bool is_leftover(const char *name)
{
    size_t n = strlen(name);
    return !strncmp(name, ".glide-", 7) && n > 4 && !strcmp(name + n - 4, ".tmp");
}

/* What a killed run left half written; a shard's ".part" is replaced when the shard is made. */
static void sweep(const char *folder)
{
    char path[PATH];
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;)
        if (is_leftover(e->d_name) && (size_t)snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < sizeof path) unlink(path);
    if (dir) closedir(dir);
}

/* Other people's files are left alone. A folder that a run was killed in before study.json was there holds a journal at most. */
static Status check_empty(const char *folder)
{
    DIR *dir = opendir(folder);
    char found[64] = "";
    if (!dir) return status_fail(STATUS_IO, "%s: cannot be read: %s", folder, strerror(errno));
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && strcmp(e->d_name, "journal") && strcmp(e->d_name, "timings.csv") &&
            !is_leftover(e->d_name))
            snprintf(found, sizeof found, "%.60s", e->d_name);
    closedir(dir);
    if (!*found) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: expected a new or empty folder or that of a study, found %s in it", folder, found);
}

static Status open_folder(const Study *s, const char *folder, StudyJournal *journal)
{
    char path[PATH];
    struct stat st;
    TRY(make_folder(folder));
    if ((size_t)snprintf(path, sizeof path, "%s/study.json", folder) >= sizeof path - 64)
        return status_fail(STATUS_BAD_INPUT, "%.80s...: expected a shorter path", folder);
    bool old = stat(path, &st) == 0;
    TRY(old ? study_spec_match(&s->spec, path, folder) : check_empty(folder));
    TRY(study_journal_open(folder, &s->spec, journal));
    sweep(folder);
    Status status = old ? STATUS_OK : study_spec_write(&s->spec, path);
    snprintf(path, sizeof path, "%s/cells", folder);
    if (status == STATUS_OK) status = make_folder(path);
    sweep(path);
    snprintf(path, sizeof path, "%s/sheets", folder);
    if (status == STATUS_OK) status = make_folder(path);
    sweep(path);
    if (status != STATUS_OK) study_journal_close(journal);
    return status;
}

/* --- the run --------------------------------------------------------------------------------------------------- */

typedef struct Run {
    const Study *study;
    const char *folder;
    const StudyHooks *hooks;
    StudyJournal journal;
    StudyProgress at;
    double in_work; /* of the condition in work */
    bool *wanted;   /* (conditions) missing in the block in work */
} Run;

static bool is_computed(const Study *s, int condition)
{
    return s->grid.items[condition].shown.equals < 0;
}

static char *shard_path(const Run *r, int condition, int block, char *path)
{
    char name[40];
    snprintf(path, PATH, "%s/%s", r->folder, study_shard_name(condition, block, name, sizeof name));
    return path;
}

static bool is_done(const Run *r, int condition, int block)
{
    char path[PATH];
    return r->journal.done[condition * r->journal.blocks + block] && access(shard_path(r, condition, block, path), R_OK) == 0;
}

/* Of a block's cells; what one that is missing, too, begins with need not be done again. */
static double work_of(const Run *r, int condition, int block, bool missing)
{
    int steps, first, from = study_shares(r->study, condition, &steps), n = study_block_rows(&r->study->spec, block, &first);
    return n * study_work(r->study, condition, missing && from >= 0 && r->wanted[from] ? steps : 0);
}

static int find_missing(Run *r, int block)
{
    int missing = 0;
    for (int c = 0; c < r->study->spec.conditions; c++) {
        r->wanted[c] = is_computed(r->study, c) && !is_done(r, c, block);
        missing += r->wanted[c];
    }
    return missing;
}

static void count_work(Run *r)
{
    const StudySpec *spec = &r->study->spec;
    int first;
    r->at.blocks = study_blocks(spec);
    for (int b = 0; b < r->at.blocks; b++) {
        int n = study_block_rows(spec, b, &first);
        find_missing(r, b);
        for (int c = 0; c < spec->conditions; c++) {
            if (!is_computed(r->study, c)) continue;
            double work = work_of(r, c, b, r->wanted[c]);
            r->at.cells += n;
            r->at.cells_done += r->wanted[c] ? 0 : n;
            r->at.total += work;
            r->at.done += r->wanted[c] ? 0 : work;
        }
    }
    r->at.resumed = r->at.done;
}

static int tell_progress(void *ctx, double share)
{
    Run *r = ctx;
    StudyProgress p = r->at;
    if (!r->hooks || !r->hooks->progress) return 0;
    p.done += share * r->in_work;
    return r->hooks->progress(r->hooks->ctx, &p);
}

static Status compute(Run *r, StudyBlock *b, int condition)
{
    const StudySpec *spec = &r->study->spec;
    char path[PATH];
    CellShard shard;
    double seconds = 0;
    r->at.condition = condition;
    r->at.block = b->block;
    r->at.label = spec->condition[condition].label;
    r->in_work = work_of(r, condition, b->block, true);
    TRY(cell_shard_alloc(spec, b->n, &shard));
    Status s = study_block_sample(b, condition, r->wanted, tell_progress, r, &shard, &seconds);
    if (s == STATUS_OK) s = cell_shard_write(spec, shard_path(r, condition, b->block, path), r->at.label, &shard);
    if (s == STATUS_OK) s = study_journal_add(&r->journal, condition, b->block, b->n, cell_shard_hash(spec, &shard), seconds);
    cell_shard_release(&shard);
    r->at.done += s == STATUS_OK ? r->in_work : 0;
    r->at.cells_done += s == STATUS_OK ? b->n : 0;
    return s == STATUS_OK && tell_progress(r, 0) ? status_fail(STATUS_INTERRUPTED, "stopped") : s;
}

static Status compute_block(Run *r, int block)
{
    int conditions = r->study->spec.conditions;
    StudyBlock b;
    if (find_missing(r, block) == 0) return STATUS_OK;
    TRY(study_block_init(&b, r->study, block));
    Status s = STATUS_OK;
    for (int c = 0; c < conditions && s == STATUS_OK; c++)
        if (r->wanted[c]) s = compute(r, &b, c);
    study_block_release(&b);
    return s;
}

static Status explain(const Run *r, Status s)
{
    if (s != STATUS_INTERRUPTED) return s;
    return status_fail(s, "stopped; %lld of %lld pictures are in %s; the same command goes on", (long long)r->at.cells_done,
                       (long long)r->at.cells, r->folder);
}

Status study_run(Study *s, const char *folder, const StudyHooks *hooks)
{
    Run r = {.study = s, .folder = folder, .hooks = hooks};
    TRY(open_folder(s, folder, &r.journal));
    r.wanted = calloc((size_t)s->spec.conditions, sizeof *r.wanted);
    Status status = r.wanted ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for conditions");
    int before = context_enter(s->glide);
    if (status == STATUS_OK) count_work(&r);
    for (int b = 0; b < r.at.blocks && status == STATUS_OK; b++) status = compute_block(&r, b);
    omp_set_num_threads(before);
    status = explain(&r, status);
    free(r.wanted);
    study_journal_close(&r.journal);
    return status;
}
