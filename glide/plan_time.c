#include "glide/plan.h"

#include "glide/call.h"
#include "upsampler/upsampler.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_WATCHED = 4 };

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- watching steps ------------------------------------------------------------------------------------- */

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

static double step_seconds(const Watch *w)
{
    return w->steps > 0 ? w->seconds / (w->steps * w->pictures) : 0;
}

/* A gradient is a guide's forward and backward pass. */
static double evaluations(const PlanStage *s)
{
    return s->answers + s->weaker + 2 * s->gradients;
}

/* Every mode everywhere: the steps that are measured are then as expensive as any. */
static void widen(GlideGuidance *g)
{
    GlideGuidanceTerm *const terms[] = {&g->cfg, &g->autoguidance, &g->classifier, &g->clip};
    for (int i = 0; i < 4; i++) terms[i]->interval = NULL;
}

/* --- both stages ---------------------------------------------------------------------------------------- */

typedef struct TimedCall {
    Glide *glide;
    const char *prompt;
    const GlideSampleOptions *sample;
    const GlideInpaintOptions *inpaint; /* NULL: glide_sample() */
    const GlidePicture *in;
    const GlideMask *mask;
} TimedCall;

static GlideStatus run_call(const TimedCall *c, const GlideSampleOptions *o, bool repeats, GlidePicture *pictures)
{
    if (!c->inpaint) return glide_sample(c->glide, c->prompt, o, pictures);
    GlideInpaintOptions i = *c->inpaint;
    i.sample = *o;
    if (!repeats) i.repeats = 1;
    return glide_inpaint(c->glide, c->in, c->mask, c->prompt, &i, pictures);
}

/* Seconds of one step of one picture, of the steps' mean number of evaluations; the call is cut off. */
static Status time_stage(const TimedCall *c, GlideStage stage, double *seconds)
{
    Watch w = {.stage = stage};
    GlideSampleOptions o = *c->sample;
    GlidePicture pictures[CASCADE_BATCH] = {{0}};
    bool base = stage == GLIDE_STAGE_BASE;
    o.n = base && o.n < CASCADE_BATCH ? o.n : base ? CASCADE_BATCH : 1;
    o.callbacks = (GlideCallbacks){.progress = on_progress, .context = &w};
    o.trace = NULL;
    if (!base) o.steps = "2", o.sampler = "ddim", o.guidance = glide_guidance_defaults(); /* only to get there */
    GlideStatus s = run_call(c, &o, base, pictures);
    for (int i = 0; i < o.n; i++) glide_picture_release(&pictures[i]);
    if (s != GLIDE_OK && s != GLIDE_CANCELLED) return (Status)s;
    *seconds = step_seconds(&w);
    return STATUS_OK;
}

static Status measure(TimedCall *c, Plan *plan)
{
    PlanStage *const stages[] = {&plan->base, &plan->upsampler};
    GlideSampleOptions wide = *c->sample;
    Plan all;
    widen(&wide.guidance);
    widen(&wide.upsampler_guidance);
    c->sample = &wide;
    GlideInpaintOptions repeated = c->inpaint ? *c->inpaint : glide_inpaint_defaults();
    repeated.sample = wide;
    TRY(c->inpaint ? plan_inpaint(c->glide, &repeated, &all) : plan_sample(c->glide, &wide, &all));
    plan->seconds = 0;
    for (int i = 0; i < 2; i++) {
        const PlanStage *full = i == 0 ? &all.base : &all.upsampler;
        double step;
        if (!stages[i]->takes_part || evaluations(full) <= 0) continue;
        TRY(time_stage(c, i == 0 ? GLIDE_STAGE_BASE : GLIDE_STAGE_UPSAMPLER, &step));
        stages[i]->seconds_a_picture = step * stages[i]->steps * evaluations(stages[i]) / evaluations(full);
        plan->seconds += stages[i]->seconds_a_picture * plan->pictures;
    }
    return STATUS_OK;
}

Status plan_measure(Glide *g, const char *prompt, const GlideSampleOptions *in, Plan *plan)
{
    TimedCall c = {.glide = g, .prompt = prompt, .sample = in};
    return measure(&c, plan);
}

Status plan_measure_inpaint(Glide *g, const GlidePicture *in, const GlideMask *mask, const char *prompt,
                            const GlideInpaintOptions *options, Plan *plan)
{
    TimedCall c = {.glide = g, .prompt = prompt, .sample = &options->sample, .inpaint = options, .in = in, .mask = mask};
    return measure(&c, plan);
}

/* --- pictures that are enlarged --------------------------------------------------------------------------- */

/* The upper left corner, as large as one window enlarges. */
static Status cut_piece(const GlidePicture *in, int side, GlidePicture *out)
{
    int w = in->width < side ? in->width : side, h = in->height < side ? in->height : side;
    *out = (GlidePicture){.width = w, .height = h, .rgb = malloc((size_t)w * (size_t)h * 3)};
    if (!out->rgb) return status_fail(STATUS_NO_MEMORY, "out of memory for a picture of %dx%d", w, h);
    for (int y = 0; y < h; y++)
        memcpy(out->rgb + (size_t)y * (size_t)w * 3, in->rgb + (size_t)y * (size_t)in->width * 3, (size_t)w * 3);
    return STATUS_OK;
}

Status plan_measure_upsample(Glide *g, const GlidePicture *in, const GlideUpsampleOptions *options, Plan *plan)
{
    Watch w = {.stage = GLIDE_STAGE_UPSAMPLER};
    GlideUpsampleOptions o = *options;
    GlidePicture piece, made = {0};
    Plan all;
    PlanStage *stage = &plan->upsampler;
    widen(&o.guidance);
    o.trace = NULL;
    o.callbacks = (GlideCallbacks){.progress = on_progress, .context = &w};
    TRY(plan_upsample(g, in->width, in->height, &o, &all));
    if (o.scale > 0) o.scale = 4, o.width = o.height = 0;
    int tile = o.tile > 0 ? o.tile : context_side(&g->upsampler);
    TRY(cut_piece(in, o.scale > 0 ? tile / UPSAMPLER_FACTOR : tile, &piece));
    Status s = (Status)glide_upsample(g, &piece, &o, &made);
    glide_picture_release(&piece);
    glide_picture_release(&made);
    if (s != STATUS_OK && s != STATUS_INTERRUPTED) return s;
    double share = evaluations(&all.upsampler) > 0 ? evaluations(stage) / evaluations(&all.upsampler) : 0;
    stage->seconds_a_picture = step_seconds(&w) * stage->steps * (double)stage->windows * share;
    plan->seconds = stage->seconds_a_picture * plan->pictures;
    return STATUS_OK;
}
