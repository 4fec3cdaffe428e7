#include "glide/call.h"
#include "glide/enlarge.h"

#include <omp.h>

GlideUpsampleOptions glide_upsample_defaults(void)
{
    return (GlideUpsampleOptions){.label = -1, .image = 1, .sampler = CASCADE_UPSAMPLER, .steps = CASCADE_UPSAMPLER_STEPS,
                                  .upsample_temp = CASCADE_UPSAMPLE_TEMP, .colour_cells = CASCADE_COLOUR_CELLS,
                                  .guidance = {.cfg.scale = 1}, .fidelity = 1};
}

static EnlargeOptions enlarge_options(const GlideUpsampleOptions *in)
{
    return (EnlargeOptions){.scale = in->scale, .width = in->width, .height = in->height, .back_projection = in->fidelity > 0,
                            .tile = in->tile};
}

static Status check_enlarge(const GlideUpsampleOptions *in)
{
    if (!(in->fidelity >= 0 && in->fidelity <= 1))
        return status_fail(STATUS_BAD_INPUT, "fidelity: expected 0 to 1, found %g", in->fidelity);
    if (!(in->noise_level >= 0 && in->noise_level <= 1))
        return status_fail(STATUS_BAD_INPUT, "noise_level: expected 0 to 1, found %g", in->noise_level);
    return STATUS_OK;
}

/* The picture with all that it says. */
static Status enlarge(Call *call, const EnlargeOptions *e, const GlidePicture *in, const int32_t *label, const CascadeHooks *hooks)
{
    Glide *g = call->glide;
    Cascade cascade = {g->kernels, NULL, g->upsampler.net};
    Picture whole = picture_whole(in), large;
    TRY(enlarge_picture(&cascade, &call->options->upsampler, e, &whole, call->prompt, label, call->rows, hooks, &large));
    TRY(picture_give_whole(&large, call->pictures));
    Status s = call_recipe(call, 0, &call->pictures->recipe);
    if (s != STATUS_OK) glide_picture_release(call->pictures);
    return s;
}

static Status upsample(Glide *g, const GlidePicture *picture, const GlideUpsampleOptions *in, GlidePicture *out)
{
    CascadeOptions o;
    Image view = picture_view(picture), *small = &view;
    cascade_options_defaults(&o);
    TRY(call_check_image(in->image, 1));
    TRY(call_check_temperature(in->upsample_temp));
    TRY(call_check_cells(in->colour_cells));
    TRY(check_enlarge(in));
    TRY(call_fill_guidance(&in->guidance, "", &o.upsampler));
    TRY(context_load(g, true));
    TRY(call_load_guides(g, &in->guidance, &g->upsampler, &o.upsampler));
    TRY(call_check_label(g, false, true, in->guidance.classifier_weights != NULL, in->label));
    if (in->sampler) o.upsampler.sampler = in->sampler;
    if (in->steps) o.upsampler.steps = in->steps;
    o.upsampler.temperature = (float)in->upsample_temp;
    o.upsampler.colour_cells = in->colour_cells;
    o.upsampler.noise_level = in->noise_level;
    if (in->scale > 0) o.upsampler.fidelity = in->fidelity;
    o.upsampler.precision = g->precision;
    const char *prompt = in->prompt ? in->prompt : "";
    int32_t label = in->label;
    SamplerRow row = {.seed = in->seed, .image = in->image - 1};
    GlideCallbacks callbacks = in->callbacks;
    callbacks.picture = NULL;
    Call call = {.glide = g, .callbacks = &callbacks, .prompt = prompt, .rows = &row, .options = &o, .label = in->label,
                 .upsampler_guidance = &in->guidance, .upsampler = true, .upsample_temp = in->upsample_temp,
                 .task = "upsample", .input = small, .enlarge = in->scale > 0 ? in : NULL, .pictures = out};
    CascadeHooks hooks = call_hooks(&call);
    TRY(call_begin_trace(&call, in->trace, &o));
    Cascade cascade = {g->kernels, NULL, g->upsampler.net};
    EnlargeOptions e = enlarge_options(in);
    Status s = in->scale > 0 ? enlarge(&call, &e, picture, &label, &hooks)
                             : cascade_upsample(&cascade, &o, small, prompt, &label, &row, &hooks);
    return call_end_trace(&call, s);
}

static Status plan(Glide *g, int w, int h, const GlideUpsampleOptions *in, GlideUpsamplePlan *out)
{
    EnlargePlan p;
    CascadeOptions o;
    EnlargeOptions e = enlarge_options(in);
    cascade_options_defaults(&o);
    TRY(call_fill_guidance(&in->guidance, "", &o.upsampler));
    if (in->sampler) o.upsampler.sampler = in->sampler;
    o.upsampler.precision = g->precision;
    TRY(context_load(g, true));
    int side = g->upsampler.net->config.unet.image_size;
    *out = (GlideUpsamplePlan){.width = side, .height = side, .windows = 1};
    if (in->scale == 0) {
        e.scale = 4;
        w = h = (side + 3) / 4;
    }
    if (w < 1 || h < 1) return status_fail(STATUS_BAD_INPUT, "there is no picture to upsample");
    TRY(enlarge_plan(g->upsampler.net, &o.upsampler, &e, w, h, &p));
    *out = (GlideUpsamplePlan){.width = p.width, .height = p.height, .windows = p.windows, .bytes = p.bytes};
    return STATUS_OK;
}

GlideStatus glide_upsample_plan(Glide *g, int width, int height, const GlideUpsampleOptions *options, GlideUpsamplePlan *out)
{
    GlideUpsampleOptions defaults = glide_upsample_defaults();
    return (GlideStatus)plan(g, width, height, options ? options : &defaults, out);
}

GlideStatus glide_upsample(Glide *g, const GlidePicture *in, const GlideUpsampleOptions *options, GlidePicture *out)
{
    GlideUpsampleOptions defaults = glide_upsample_defaults();
    *out = (GlidePicture){0};
    if (!in->rgb || in->width < 1 || in->height < 1)
        return (GlideStatus)status_fail(STATUS_BAD_INPUT, "there is no picture to upsample");
    int threads = context_enter(g);
    Status s = upsample(g, in, options ? options : &defaults, out);
    omp_set_num_threads(threads);
    return (GlideStatus)s;
}
