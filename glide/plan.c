#include "glide/plan.h"

#include "common/system_memory.h"
#include "glide/ablation/condition_grid.h"
#include "glide/call.h"
#include "glide/guides.h"

#include <math.h>
#include <stdio.h>

enum {
    PROGRAM_BYTES = 40 << 20,
    /* Feature maps of the first level that a block and the kernels' scratch take at once, measured with the default models: peaks
     * of f32 hold transformed copies (Winograd), those of bf16 less of them. */
    MAPS_BF16 = 10,
    MAPS_F32 = 15,
    MAPS_CLIP = 16 /* tokens of a layer's width that are kept for the way back */
};

/* --- memory ------------------------------------------------------------------------------------------- */

/* What the encoder keeps for the decoder, or for the way back, and what the largest block works on. */
static double unet_activation_bytes(const UNetConfig *c, DType type, double rows)
{
    double pixels = (double)c->image_size * c->image_size, kept = 0;
    double working = (type == DTYPE_BF16 ? MAPS_BF16 : MAPS_F32) * pixels * (double)unet_level_channels(c, 0);
    for (int level = 0; level < c->levels; level++, pixels /= 4)
        kept += (c->res_blocks + 1) * pixels * (double)unet_level_channels(c, level);
    return rows * (kept + working) * (type == DTYPE_BF16 ? 2 : 4);
}

double plan_activation_bytes(const TextUNetConfig *config, DType type, double rows)
{
    return unet_activation_bytes(&config->unet, type, rows);
}

/* What guides keep of `rows` pictures until their gradients are known. */
static double guides_activation_bytes(const StageGuides *guides, DType type, double rows)
{
    double bytes = guides->classifier ? unet_activation_bytes(&guides->classifier->config.unet, type, rows) : 0;
    if (guides->clip) {
        const ClipConfig *c = &guides->clip->config;
        double side = (double)c->image_size / c->patch_size, tokens = 1 + side * side;
        bytes += rows * MAPS_CLIP * tokens * c->image.width * c->image.layers * (type == DTYPE_BF16 ? 2 : 4);
    }
    return bytes;
}

/* The mapped file, or the parameters read from it, and what the kernels make of them. */
static double model_bytes(const Glide *g, const TextUNet *m)
{
    double total = (double)m->params.total, there = m->params.map ? (double)m->params.map_size : 4 * total;
    return there + total * (g->int8 ? 1 : g->precision == DTYPE_BF16 ? 2 : 4);
}

/* All that were read: parameters, and what the kernels make of them for each way through. */
static double guides_bytes(const Glide *g)
{
    double bytes = 0;
    for (const GuideFile *f = g->guides; f; f = f->next) {
        const ParamSet *params = f->classifier ? &f->classifier->params : f->clip ? &f->clip->params : NULL;
        if (f->weaker) bytes += model_bytes(g, f->weaker);
        else if (params) bytes += (double)params->total * (4 + 2 * (g->precision == DTYPE_BF16 ? 2 : 4));
    }
    return bytes;
}

double plan_base_bytes(const Glide *g, double rows)
{
    const TextUNet *m = g->base.net;
    return PROGRAM_BYTES + model_bytes(g, m) + guides_bytes(g) + plan_activation_bytes(&m->config, g->precision, rows);
}

Status plan_check_memory(double bytes)
{
    double there = memory_free();
    if (bytes <= there) return STATUS_OK;
    return status_fail(STATUS_NO_MEMORY, "needs about %.2f GB of memory, and %.2f GB are free", bytes * 1e-9, there * 1e-9);
}

/* --- counts ------------------------------------------------------------------------------------------- */

static Status count_stage(const Model *model, const StageOptions *o, int rows, PlanStage *out)
{
    const TextUNetConfig *c = &model->net->config;
    Diffusion d;
    ConditionWalk walk;
    const SamplerKind *kind = sampler_find(o->sampler);
    Guidance g = o->guidance;
    if (!kind) return status_fail(STATUS_BAD_INPUT, "no sampler is called %s", o->sampler);
    TRY(diffusion_init(&d, c->noise_schedule, c->diffusion_steps, o->steps));
    int steps = stage_steps_from(o, &d), side = c->unet.image_size;
    Status s = condition_walk_init(&walk, &d, kind);
    if (s == STATUS_OK) {
        g.last_timestep = c->diffusion_steps - 1;
        ConditionCost cost = condition_cost(&walk, &g, d.num_timesteps - steps);
        *out = (PlanStage){true, side, side, steps, rows, 1, cost.answers, cost.weaker, 0, 0, 0};
        for (int m = 0; m < GUIDANCE_MODES; m++) out->gradients += cost.gradients[m];
        out->activation_bytes = plan_activation_bytes(c, o->precision, (double)rows * guidance_most_answers(&g)) +
                                guides_activation_bytes(&o->guides, o->precision, rows);
        condition_walk_release(&walk);
    }
    diffusion_release(&d);
    return s;
}

static void sum_bytes(const Glide *g, Plan *p)
{
    p->weight_bytes = p->base.takes_part ? model_bytes(g, g->base.net) : 0;
    if (p->upsampler.takes_part) p->weight_bytes += model_bytes(g, g->upsampler.net);
    p->weight_bytes += guides_bytes(g);
    p->bytes = PROGRAM_BYTES + p->weight_bytes + fmax(p->base.activation_bytes, p->upsampler.activation_bytes);
}

/* strength: what the stages draw anew, 1 all of it. */
static Status plan_stages(Glide *g, const GlideSampleOptions *in, double base_strength, double upsampler_strength, Plan *out)
{
    CascadeOptions o;
    bool upsampler = in->upsample;
    *out = (Plan){.pictures = in->n};
    TRY(call_fill_options(g, in, &o));
    TRY(context_load_both(g, &upsampler));
    TRY(call_load_guides(g, &in->guidance, &g->base, &o.base));
    if (upsampler) TRY(call_load_guides(g, &in->upsampler_guidance, &g->upsampler, &o.upsampler));
    o.base.strength = base_strength;
    o.upsampler.strength = upsampler_strength;
    TRY(count_stage(&g->base, &o.base, in->n < CASCADE_BATCH ? in->n : CASCADE_BATCH, &out->base));
    if (upsampler) TRY(count_stage(&g->upsampler, &o.upsampler, 1, &out->upsampler));
    sum_bytes(g, out);
    return STATUS_OK;
}

Status plan_sample(Glide *g, const GlideSampleOptions *in, Plan *out)
{
    double strength = in->init_image ? in->strength : 1;
    return plan_stages(g, in, strength, strength, out);
}

Status plan_inpaint(Glide *g, const GlideInpaintOptions *in, Plan *out)
{
    TRY(plan_stages(g, &in->sample, in->sample.strength, 1, out));
    PlanStage *base = &out->base;
    int times = g->base.net->config.inpaint ? 1 : in->repeats;
    base->steps *= times;
    base->answers *= times;
    base->weaker *= times;
    base->gradients *= times;
    return STATUS_OK;
}

/* Windows of all passes; for 8 times the first one enlarges 4 times, and is halved. */
static Status count_windows(Glide *g, int w, int h, const GlideUpsampleOptions *in, GlideUpsamplePlan *out, int64_t *windows)
{
    GlideUpsampleOptions first = *in;
    GlideUpsamplePlan before;
    TRY((Status)glide_upsample_plan(g, w, h, in, out));
    *windows = out->windows;
    if (in->scale == 0 || fmax((double)out->width / w, (double)out->height / h) <= 4) return STATUS_OK;
    first.scale = 4;
    first.width = first.height = 0;
    TRY((Status)glide_upsample_plan(g, w, h, &first, &before));
    *windows += before.windows;
    return STATUS_OK;
}

Status plan_upsample(Glide *g, int w, int h, const GlideUpsampleOptions *in, Plan *out)
{
    StageOptions o;
    GlideUpsamplePlan size;
    int64_t windows;
    stage_options_defaults(&o);
    *out = (Plan){.pictures = 1};
    TRY(call_fill_guidance(&in->guidance, "", &o));
    TRY(count_windows(g, w, h, in, &size, &windows));
    if (in->sampler) o.sampler = in->sampler;
    if (in->steps) o.steps = in->steps;
    o.precision = g->precision;
    TRY(call_load_guides(g, &in->guidance, &g->upsampler, &o));
    PlanStage *p = &out->upsampler;
    TRY(count_stage(&g->upsampler, &o, 1, p));
    p->width = size.width;
    p->height = size.height;
    p->windows = windows;
    p->answers *= (double)windows;
    p->weaker *= (double)windows;
    p->gradients *= (double)windows;
    if (in->scale > 0) p->activation_bytes = (double)size.bytes;
    sum_bytes(g, out);
    return STATUS_OK;
}
