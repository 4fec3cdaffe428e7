#include "glide/plan.h"

#include "glide/ablation/condition_grid.h"
#include "glide/call.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { PROGRAM_BYTES = 48 << 20, SCRATCH_PIXELS = 6 }; /* pictures of the first level's channels that a block works on */

/* --- memory ------------------------------------------------------------------------------------------- */

/* Activations of `rows` rows at once: what the encoder keeps for the decoder, and what the largest block works on. */
double plan_activation_bytes(const TextUNetConfig *config, DType type, double rows)
{
    const UNetConfig *c = &config->unet;
    double kept = 0, side = c->image_size, width = (double)unet_level_channels(c, 0);
    double working = SCRATCH_PIXELS * side * side * width;
    for (int level = 0; level < c->levels; level++, side /= 2)
        kept += (c->res_blocks + 1) * side * side * (double)unet_level_channels(c, level);
    return rows * (kept + working) * (type == DTYPE_BF16 ? 2 : 4);
}

static double packed_bytes(const TextUNet *m, DType type)
{
    return (double)m->params.total * (type == DTYPE_BF16 ? 2 : 4);
}

double plan_free_bytes(void)
{
    char line[256];
    double free_bytes = 1e18, limit, used;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lf", &limit) == 1) free_bytes = limit * 1024;
    if (f) fclose(f);
    FILE *most = fopen("/sys/fs/cgroup/memory.max", "r"), *now = fopen("/sys/fs/cgroup/memory.current", "r");
    if (most && now && fscanf(most, "%lf", &limit) == 1 && fscanf(now, "%lf", &used) == 1 && limit - used < free_bytes)
        free_bytes = limit - used;
    if (most) fclose(most);
    if (now) fclose(now);
    struct rlimit r;
    f = fopen("/proc/self/statm", "r");
    if (getrlimit(RLIMIT_AS, &r) == 0 && r.rlim_cur != RLIM_INFINITY && f && fscanf(f, "%lf", &used) == 1 &&
        (double)r.rlim_cur - 4096 * used < free_bytes)
        free_bytes = (double)r.rlim_cur - 4096 * used;
    if (f) fclose(f);
    return free_bytes > 0 ? free_bytes : 0;
}

Status plan_check_memory(double bytes)
{
    double there = plan_free_bytes();
    if (bytes <= there) return STATUS_OK;
    return status_fail(STATUS_NO_MEMORY, "needs about %.2f GB of memory, and %.2f GB are free", bytes * 1e-9, there * 1e-9);
}

/* --- counts ------------------------------------------------------------------------------------------- */

static Status count_stage(const Model *model, const StageOptions *o, bool start, int rows, PlanStage *out)
{
    const TextUNetConfig *c = &model->net->config;
    Diffusion d;
    ConditionWalk walk;
    const SamplerKind *kind = sampler_find(o->sampler);
    Guidance g = o->guidance;
    if (!kind) return status_fail(STATUS_BAD_INPUT, "no sampler is called %s", o->sampler);
    TRY(diffusion_init(&d, c->noise_schedule, c->diffusion_steps, o->steps));
    int steps = start ? stage_steps_from(o, &d) : d.num_timesteps;
    Status s = condition_walk_init(&walk, &d, kind);
    if (s == STATUS_OK) {
        g.last_timestep = c->diffusion_steps - 1;
        ConditionCost cost = condition_cost(&walk, &g, d.num_timesteps - steps);
        *out = (PlanStage){true, c->unet.image_size, steps, rows, cost.answers, cost.weaker, 0, 0, 0};
        for (int m = 0; m < GUIDANCE_MODES; m++) out->gradients += cost.gradients[m];
        out->activation_bytes = plan_activation_bytes(c, o->precision, (double)rows * guidance_most_answers(&g));
        condition_walk_release(&walk);
    }
    diffusion_release(&d);
    return s;
}

Status plan_sample(Glide *g, const GlideSampleOptions *in, Plan *out)
{
    CascadeOptions o;
    bool upsampler = in->upsample;
    *out = (Plan){.pictures = in->n};
    TRY(call_fill_options(g, in, &o));
    TRY(context_load_both(g, &upsampler));
    if (!g->base.net->text) o.base.guidance.terms[GUIDANCE_CFG] = guidance_term(1);
    o.base.strength = o.upsampler.strength = in->init_image ? in->strength : 1;
    TRY(count_stage(&g->base, &o.base, in->init_image != NULL, in->n < CASCADE_BATCH ? in->n : CASCADE_BATCH, &out->base));
    out->weight_bytes = packed_bytes(g->base.net, g->precision);
    if (upsampler) {
        TRY(count_stage(&g->upsampler, &o.upsampler, in->init_image != NULL, 1, &out->upsampler));
        out->weight_bytes += packed_bytes(g->upsampler.net, g->precision);
    }
    double most = out->base.activation_bytes > out->upsampler.activation_bytes ? out->base.activation_bytes
                                                                               : out->upsampler.activation_bytes;
    out->bytes = PROGRAM_BYTES + out->weight_bytes + most;
    return STATUS_OK;
}

Status plan_fits(Glide *g, const GlideSampleOptions *options)
{
    Plan plan;
    TRY(plan_sample(g, options, &plan));
    return plan_check_memory(plan.bytes);
}

/* --- time --------------------------------------------------------------------------------------------- */

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum { MOST_WATCHED = 4 };

/* Ends of steps; the first step packs weights and is left out. */
typedef struct Watch {
    GlideStage stage;
    double last, seconds;
    int steps, pictures;
} Watch;

static bool on_progress(void *ctx, const GlideProgress *p)
{
    Watch *w = ctx;
    double now = now_seconds();
    if (p->stage != w->stage) return true;
    if (p->step > 1) w->seconds += now - w->last, w->steps++;
    w->pictures = p->count;
    w->last = now;
    return p->step < p->steps && w->steps + 1 < MOST_WATCHED;
}

/* Seconds of one step of one picture, of the steps' mean number of evaluations; the call is cut off. */
static Status time_stage(Glide *g, const char *prompt, const GlideSampleOptions *in, GlideStage stage, double *seconds)
{
    Watch w = {.stage = stage};
    GlideSampleOptions o = *in;
    GlidePicture pictures[CASCADE_BATCH] = {{0}};
    bool base = stage == GLIDE_STAGE_BASE;
    o.n = base && in->n < CASCADE_BATCH ? in->n : base ? CASCADE_BATCH : 1;
    o.callbacks = (GlideCallbacks){.progress = on_progress, .context = &w};
    o.trace = NULL;
    if (!base) o.steps = "2", o.sampler = "ddim", o.guidance = glide_guidance_defaults(); /* only to get there */
    GlideStatus s = glide_sample(g, prompt, &o, pictures);
    for (int i = 0; i < o.n; i++) glide_picture_release(&pictures[i]);
    if (s != GLIDE_OK && s != GLIDE_CANCELLED) return (Status)s;
    *seconds = w.steps > 0 ? w.seconds / (w.steps * w.pictures) : 0;
    return STATUS_OK;
}

/* Every mode everywhere: the steps that are measured are then as expensive as any. */
static void widen(GlideGuidance *g)
{
    GlideGuidanceTerm *const terms[] = {&g->cfg, &g->autoguidance, &g->classifier, &g->clip};
    for (int i = 0; i < 4; i++) terms[i]->interval = NULL;
}

/* A gradient is a guide's forward and backward pass. */
static double evaluations(const PlanStage *s)
{
    return s->answers + s->weaker + 2 * s->gradients;
}

Status plan_measure(Glide *g, const char *prompt, const GlideSampleOptions *in, Plan *plan)
{
    PlanStage *const stages[] = {&plan->base, &plan->upsampler};
    GlideSampleOptions wide = *in;
    Plan all;
    widen(&wide.guidance);
    widen(&wide.upsampler_guidance);
    TRY(plan_sample(g, &wide, &all));
    plan->seconds = 0;
    for (int i = 0; i < 2; i++) {
        const PlanStage *full = i == 0 ? &all.base : &all.upsampler;
        double step;
        if (!stages[i]->takes_part || evaluations(full) <= 0) continue;
        TRY(time_stage(g, prompt, &wide, i == 0 ? GLIDE_STAGE_BASE : GLIDE_STAGE_UPSAMPLER, &step));
        stages[i]->seconds_a_picture = step * stages[i]->steps * evaluations(stages[i]) / evaluations(full);
        plan->seconds += stages[i]->seconds_a_picture * plan->pictures;
    }
    return STATUS_OK;
}
