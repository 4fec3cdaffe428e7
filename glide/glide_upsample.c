#include "glide/call.h"

#include <omp.h>

GlideUpsampleOptions glide_upsample_defaults(void)
{
    return (GlideUpsampleOptions){.label = -1, .image = 1, .sampler = CASCADE_UPSAMPLER, .steps = CASCADE_UPSAMPLER_STEPS, .upsample_temp = CASCADE_UPSAMPLE_TEMP,
                                  .colour_cells = CASCADE_COLOUR_CELLS, .guidance = {.cfg.scale = 1}};
}

static Status upsample(Glide *g, const Image *small, const GlideUpsampleOptions *in, GlidePicture *out)
{
    CascadeOptions o;
    cascade_options_defaults(&o);
    TRY(call_check_image(in->image, 1));
    TRY(call_check_temperature(in->upsample_temp));
    TRY(call_check_cells(in->colour_cells));
    TRY(call_fill_guidance(&in->guidance, "", &o.upsampler));
    TRY(context_load(g, true));
    TRY(call_load_guides(g, &in->guidance, &g->upsampler, &o.upsampler));
    TRY(call_check_label(g, false, true, in->guidance.classifier_weights != NULL, in->label));
    if (in->sampler) o.upsampler.sampler = in->sampler;
    if (in->steps) o.upsampler.steps = in->steps;
    o.upsampler.temperature = (float)in->upsample_temp;
    o.upsampler.colour_cells = in->colour_cells;
    o.upsampler.precision = g->precision;
    const char *prompt = in->prompt ? in->prompt : "";
    int32_t label = in->label;
    SamplerRow row = {.seed = in->seed, .image = in->image - 1};
    GlideCallbacks callbacks = in->callbacks;
    callbacks.picture = NULL;
    Call call = {.glide = g, .callbacks = &callbacks, .prompt = prompt, .rows = &row, .options = &o, .label = in->label,
                 .upsampler_guidance = &in->guidance, .upsampler = true, .upsample_temp = in->upsample_temp,
                 .task = "upsample", .input = small, .pictures = out};
    CascadeHooks hooks = call_hooks(&call);
    TRY(call_begin_trace(&call, in->trace, &o));
    return call_end_trace(&call, cascade_upsample(&(Cascade){g->kernels, NULL, g->upsampler.net}, &o, small, prompt, &label, &row,
                                                  &hooks));
}

GlideStatus glide_upsample(Glide *g, const GlidePicture *in, const GlideUpsampleOptions *options, GlidePicture *out)
{
    GlideUpsampleOptions defaults = glide_upsample_defaults();
    Image small = picture_view(in);
    *out = (GlidePicture){0};
    if (!in->rgb || in->width < 1 || in->height < 1)
        return (GlideStatus)status_fail(STATUS_BAD_INPUT, "there is no picture to upsample");
    int threads = context_enter(g);
    Status s = upsample(g, &small, options ? options : &defaults, out);
    omp_set_num_threads(threads);
    return (GlideStatus)s;
}
