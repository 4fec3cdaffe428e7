#include "glide/ablation/condition_grid.h"

#include <stdlib.h>
#include <string.h>

/* --- which levels a sampler visits ---------------------------------------------------------------------- */

typedef struct Recorder {
    ConditionWalk *walk;
    int room, step;
    bool full;
} Recorder;

static Status visit(void *ctx, const float *x_t, const NoiseLevel *level, float *out)
{
    Recorder *r = ctx;
    (void)x_t;
    memset(out, 0, MODEL_CHANNELS * sizeof *out);
    if (r->walk->count == r->room) {
        r->full = true;
        return STATUS_OK;
    }
    r->walk->visits[r->walk->count++] = (ConditionVisit){r->step, *level};
    return STATUS_OK;
}

static int count_step(void *ctx, const SamplerProgress *p)
{
    Recorder *r = ctx;
    r->walk->timestep[r->step++] = (float)p->level.timestep;
    return 0;
}

Status condition_walk_init(ConditionWalk *w, const Diffusion *d, const SamplerKind *kind)
{
    Recorder r = {.walk = w, .room = d->num_timesteps * (kind->evaluations + 1) + 4};
    SamplerOptions o;
    Sampler s;
    float x[IMAGE_CHANNELS] = {0};
    *w = (ConditionWalk){.steps = d->num_timesteps, .visits = calloc((size_t)r.room, sizeof *w->visits),
                         .timestep = calloc((size_t)d->num_timesteps, sizeof *w->timestep)};
    if (!w->visits || !w->timestep) {
        condition_walk_release(w);
        return status_fail(STATUS_NO_MEMORY, "out of memory for %d steps", d->num_timesteps);
    }
    sampler_options_defaults(&o);
    o.kind = kind;
    o.progress = count_step;
    o.progress_ctx = &r;
    Status status = sampler_init(&s, &o, d, &(Denoiser){.predict = visit, .predict_ctx = &r}, 1, 1, 1);
    if (status == STATUS_OK) {
        status = sampler_run(&s, x);
        sampler_release(&s);
    }
    if (status == STATUS_OK && r.full) status = status_fail(STATUS_INTERNAL, "%s: more evaluations than expected", kind->name);
    if (status != STATUS_OK) condition_walk_release(w);
    return status;
}

void condition_walk_release(ConditionWalk *w)
{
    free(w->visits);
    free(w->timestep);
    *w = (ConditionWalk){0};
}

/* --- costs ---------------------------------------------------------------------------------------------- */

ConditionCost condition_cost(const ConditionWalk *w, const Guidance *g, int first)
{
    ConditionCost cost = {0};
    for (int i = 0; i < w->count; i++) {
        const NoiseLevel *level = &w->visits[i].level;
        if (w->visits[i].step < first) continue;
        GuidanceAsks asks = guidance_asks(g, level);
        cost.answers += guidance_answers(asks & GUIDANCE_BOTH);
        cost.weaker += asks & GUIDANCE_WEAKER ? 1 : 0;
        for (int m = 0; m < GUIDANCE_MODES; m++)
            if (guidance_mode((GuidanceModeId)m)->gradient && guidance_strength_at(g, (GuidanceModeId)m, level) != 0)
                cost.gradients[m]++;
    }
    return cost;
}

/* --- what is alike -------------------------------------------------------------------------------------- */

/* Whether some direction is added to the start, on which modifiers act. */
static bool moves(const Guidance *g, const NoiseLevel *level)
{
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        bool is_start = i == GUIDANCE_CFG && guidance_scale_at(g, GUIDANCE_CFG, level) == 0;
        if (guidance_mode((GuidanceModeId)i)->direction && !is_start && guidance_strength_at(g, (GuidanceModeId)i, level) != 0)
            return true;
    }
    return false;
}

static bool same_apg(const GuidanceApg *a, const GuidanceApg *b)
{
    if (!a->on || !b->on) return a->on == b->on;
    return a->eta == b->eta && a->norm == b->norm && a->momentum == b->momentum;
}

static bool alike(const Guidance *a, const Guidance *b, const NoiseLevel *level)
{
    for (int i = 0; i < GUIDANCE_MODES; i++)
        if (guidance_scale_at(a, (GuidanceModeId)i, level) != guidance_scale_at(b, (GuidanceModeId)i, level)) return false;
    if (a->threshold != b->threshold) return false;
    if (a->threshold == GUIDANCE_THRESHOLD_DYNAMIC && a->percentile != b->percentile) return false;
    if (guidance_cfgpp_at(a, level) != guidance_cfgpp_at(b, level)) return false;
    return !moves(a, level) || (a->rescale == b->rescale && same_apg(&a->apg, &b->apg));
}

int condition_shared(const ConditionWalk *w, const Guidance *a, const Guidance *b)
{
    for (int i = 0; i < w->count; i++)
        if (!alike(a, b, &w->visits[i].level)) return w->visits[i].step;
    return w->steps;
}

bool condition_forks(const Condition *c)
{
    return c->shown.control == ABLATION_PLAIN && !(c->guidance.apg.on && c->guidance.apg.momentum != 0);
}

void condition_grid_equate(ConditionGrid *g, const ConditionWalk *w)
{
    for (int i = 0; i < g->count; i++) {
        Condition *c = &g->items[i];
        c->shown.equals = -1;
        for (int k = 0; k < i && c->shown.control == ABLATION_PLAIN && c->shown.equals < 0; k++) {
            const Condition *before = &g->items[k];
            bool computed = before->shown.equals < 0 && before->shown.control == ABLATION_PLAIN;
            if (computed && condition_shared(w, &c->guidance, &before->guidance) == w->steps) c->shown.equals = k;
        }
    }
}
