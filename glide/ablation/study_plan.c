#include "glide/ablation/study_plan.h"

#include "common/progress.h"
#include "glide/ablation/cell_shard.h"
#include "glide/ablation/study_block.h"
#include "glide/plan.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { STEPS = 2, SHARD_BYTES = 8192 };
#define STEPS_TEXT "2"

/* --- counts ------------------------------------------------------------------------------------------------------ */

static void add_cost(ConditionCost *sum, const ConditionCost *c, double times)
{
    sum->answers += times * c->answers;
    sum->weaker += times * c->weaker;
    for (int m = 0; m < GUIDANCE_MODES; m++) sum->gradients[m] += times * c->gradients[m];
}

static void count(const Study *s, StudyPlan *p)
{
    const StudySpec *spec = &s->spec;
    double rows = study_rows(spec), pixels = 3.0 * spec->side * spec->side + 3.0 * spec->large_side * spec->large_side;
    p->conditions = spec->conditions;
    for (int c = 0; c < spec->conditions; c++) {
        int steps;
        const Guidance *g = &s->grid.items[c].guidance;
        if (spec->condition[c].equals >= 0) continue;
        study_shares(s, c, &steps);
        ConditionCost alone = condition_cost(&s->walk, g, 0), shared = condition_cost(&s->walk, g, steps);
        add_cost(&p->alone, &alone, rows);
        add_cost(&p->shared, &shared, rows);
        p->computed++;
    }
    double telemetry = 4.0 * spec->steps * shard_telemetry_count();
    p->cells = (int64_t)p->computed * study_rows(spec);
    p->results_bytes = spec->conditions * rows * (3.0 * spec->side * spec->side + telemetry + 12);
    p->disk_bytes = (double)p->cells * (pixels + telemetry) + (double)p->computed * study_blocks(spec) * SHARD_BYTES +
                    spec->prompts * spec->conditions * fmax(pixels, 3 * 64 * 64);
}

double study_bytes(const Study *s)
{
    int most = 1;
    for (int c = 0; c < s->spec.conditions; c++) {
        int answers = guidance_most_answers(&s->grid.items[c].guidance);
        if (answers > most) most = answers;
    }
    int rows = s->spec.rows < study_rows(&s->spec) ? s->spec.rows : study_rows(&s->spec);
    return plan_base_bytes(s->glide, (double)rows * most);
}

/* --- times ------------------------------------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The second of two runs: the first one packs weights. */
static Status time_base(const StudyBlock *b, const Guidance *g, const Classifier *untrained, double *seconds)
{
    const Study *s = b->study;
    StageOptions o = s->options.base;
    o.guidance = *g;
    o.steps = STEPS_TEXT;
    if (untrained) o.guides.classifier = untrained;
    StageInput in = {.n = b->n, .side = s->spec.side, .prompts = b->prompts, .labels = b->labels, .rows = b->rows};
    for (int i = 0; i < 2; i++) {
        double before = now();
        TRY(stage_sample(s->glide->kernels, s->glide->base.net, &o, &in, b->x));
        *seconds = (now() - before) / (STEPS * b->n);
    }
    return STATUS_OK;
}

static Status time_upsampler(const StudyBlock *b, double *seconds)
{
    const Study *s = b->study;
    size_t side = (size_t)s->spec.large_side;
    StageOptions o = s->options.upsampler;
    float *x = calloc(side * side, 3 * sizeof *x);
    if (!x) return status_fail(STATUS_NO_MEMORY, "out of memory for a picture");
    o.steps = STEPS_TEXT;
    o.stage = CASCADE_STAGE_UPSAMPLER;
    StageInput in = {.n = 1, .side = s->spec.large_side, .prompts = b->prompts, .rows = b->rows, .low_res = b->x,
                     .low_side = s->spec.side};
    Status status = STATUS_OK;
    for (int i = 0; i < 2 && status == STATUS_OK; i++) {
        double before = now();
        status = stage_sample(s->glide->kernels, s->glide->upsampler.net, &o, &in, x);
        *seconds = (now() - before) / STEPS;
    }
    free(x);
    return status;
}

/* What a mode takes longer than no guidance. */
static Status time_mode(const StudyBlock *b, GuidanceModeId id, const Classifier *untrained, double plain, double *seconds)
{
    Guidance g;
    guidance_defaults(&g);
    g.last_timestep = b->study->grid.items[0].guidance.last_timestep;
    g.terms[id].scale += 1;
    TRY(time_base(b, &g, untrained, seconds));
    *seconds = fmax(*seconds - plain, 0);
    return STATUS_OK;
}

static Status measure(const StudyBlock *b, StudyPlan *p)
{
    const Study *s = b->study;
    Guidance none;
    guidance_defaults(&none);
    TRY(time_base(b, &none, NULL, &p->seconds_answer));
    double plain = p->seconds_answer;
    if (s->grid.uses[GUIDANCE_AUTOGUIDANCE]) TRY(time_mode(b, GUIDANCE_AUTOGUIDANCE, NULL, plain, &p->seconds_weaker));
    for (int m = 0; m < GUIDANCE_MODES; m++) {
        bool untrained = m == GUIDANCE_CLASSIFIER && s->grid.untrained && !s->grid.uses[m];
        if (guidance_mode((GuidanceModeId)m)->gradient && (s->grid.uses[m] || untrained))
            TRY(time_mode(b, (GuidanceModeId)m, untrained ? s->untrained : NULL, plain, &p->seconds_gradient[m]));
    }
    return s->spec.large_side ? time_upsampler(b, &p->seconds_upsampler) : STATUS_OK;
}

Status study_plan(const Study *s, StudyPlan *out)
{
    struct rusage usage;
    StudyBlock b;
    *out = (StudyPlan){0};
    count(s, out);
    TRY(study_block_init(&b, s, 0));
    int before = context_enter(s->glide);
    Status status = measure(&b, out);
    omp_set_num_threads(before);
    study_block_release(&b);
    TRY(status);
    getrusage(RUSAGE_SELF, &usage);
    out->sampling_bytes = 1024.0 * (double)usage.ru_maxrss;
    out->seconds = out->shared.answers * out->seconds_answer + out->shared.weaker * out->seconds_weaker;
    for (int m = 0; m < GUIDANCE_MODES; m++) out->seconds += out->shared.gradients[m] * out->seconds_gradient[m];
    if (s->spec.large_side) out->upsampler = (double)out->cells * s->upsampler_steps;
    out->seconds += out->upsampler * out->seconds_upsampler;
    return STATUS_OK;
}

/* --- showing ----------------------------------------------------------------------------------------------------- */

static void print_condition(const Study *s, int c, FILE *out)
{
    int steps, from = study_shares(s, c, &steps);
    const AblationCondition *shown = &s->spec.condition[c];
    ConditionCost cost = condition_cost(&s->walk, &s->grid.items[c].guidance, 0);
    double gradients = 0;
    for (int m = 0; m < GUIDANCE_MODES; m++) gradients += cost.gradients[m];
    fprintf(out, "  %-44s ", shown->label);
    if (shown->equals >= 0) {
        fprintf(out, "is %s\n", s->spec.condition[shown->equals].label);
        return;
    }
    fprintf(out, "%4g evaluations", cost.answers + cost.weaker);
    if (gradients > 0) fprintf(out, ", %g gradients", gradients);
    if (from >= 0 && steps > 0) fprintf(out, "; its first %d steps are those of %s", steps, s->spec.condition[from].label);
    fputc('\n', out);
}

static void print_line(FILE *out, const char *name, double count, double seconds)
{
    if (count > 0) fprintf(out, "  %-28s %9.0f   %8.1f ms each\n", name, count, 1000 * seconds);
}

void study_plan_print(const Study *s, const StudyPlan *p, FILE *out)
{
    const double MiB = 1 << 20;
    char time[32], name[64];
    fprintf(out, "%d conditions, %d of them to be computed, each with %d prompts x %d seeds:\n", p->conditions, p->computed,
            s->spec.prompts,
            s->spec.seeds);
    for (int c = 0; c < s->spec.conditions; c++) print_condition(s, c, out);
    fprintf(out, "%lld pictures of %d x %d in %d steps", (long long)p->cells, s->spec.side, s->spec.side, s->spec.steps);
    if (s->spec.large_side) fprintf(out, ", enlarged to %d x %d", s->spec.large_side, s->spec.large_side);
    fprintf(out, "\n");
    print_line(out, "answers of the base model", p->shared.answers, p->seconds_answer);
    print_line(out, "answers of the weaker model", p->shared.weaker, p->seconds_weaker);
    for (int m = 0; m < GUIDANCE_MODES; m++) {
        snprintf(name, sizeof name, "gradients, %s", guidance_mode((GuidanceModeId)m)->name);
        print_line(out, name, p->shared.gradients[m], p->seconds_gradient[m]);
    }
    print_line(out, "answers of the upsampler", p->upsampler, p->seconds_upsampler);
    double saved = p->alone.answers + p->alone.weaker - p->shared.answers - p->shared.weaker;
    if (saved > 0) fprintf(out, "  %-28s %9.0f\n", "answers saved by sharing", saved);
    fprintf(out, "memory %.0f MiB while sampling, and %.0f MiB for the results when they are scored\n", p->sampling_bytes / MiB,
            p->results_bytes / MiB);
    fprintf(out, "disk %.0f MiB at most\n", p->disk_bytes / MiB);
    fprintf(out, "time %s as fast as just measured, judging not counted\n", progress_format_time(p->seconds, time, sizeof time));
}
