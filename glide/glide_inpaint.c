#include "glide/call.h"

#include <omp.h>
#include <stdlib.h>

GlideStatus glide_mask_read(const char *path, bool inverted, int width, int height, GlideMask *out)
{
    Mask mask = {0};
    *out = (GlideMask){0};
    if (width < 1 || height < 1)
        return (GlideStatus)status_fail(STATUS_BAD_INPUT, "%s: a mask for a picture of %dx%d pixels", path, width, height);
    Status s = mask_read(path, &mask);
    if (s == STATUS_OK) s = inpaint_fit_mask(&mask, inverted, width, height, &out->paint);
    if (s == STATUS_OK) *out = (GlideMask){width, height, out->paint};
    mask_release(&mask);
    return (GlideStatus)s;
}

void glide_mask_release(GlideMask *mask)
{
    free(mask->paint);
    *mask = (GlideMask){0};
}

GlideInpaintOptions glide_inpaint_defaults(void)
{
    GlideInpaintOptions o = {.sample = glide_sample_defaults(), .jump = CASCADE_JUMP, .repeats = CASCADE_REPEATS};
    o.sample.sampler = CASCADE_INPAINT_SAMPLER;
    o.sample.upsampler_sampler = CASCADE_INPAINT_UPSAMPLER;
    o.sample.upsampler_steps = CASCADE_INPAINT_UPSAMPLER_STEPS;
    o.sample.strength = 1;
    return o;
}

static Status check_inpaint(const GlidePicture *in, const GlideMask *mask, const GlideInpaintOptions *o)
{
    if (!in->rgb || in->width < 1 || in->height < 1) return status_fail(STATUS_BAD_INPUT, "there is no picture to paint on");
    if (!mask->paint || mask->width != in->width || mask->height != in->height)
        return status_fail(STATUS_BAD_INPUT, "the mask has %dx%d pixels, expected %dx%d as the picture", mask->width, mask->height,
                           in->width, in->height);
    if (o->sample.init_image) return status_fail(STATUS_BAD_INPUT, "init_image: expected none, the picture itself is given");
    if (!(o->sample.strength >= 0 && o->sample.strength <= 1))
        return status_fail(STATUS_BAD_INPUT, "strength: expected 0 to 1, found %g", o->sample.strength);
    if (o->jump < 1 || o->jump > 1000) return status_fail(STATUS_BAD_INPUT, "jump: expected 1 to 1000, found %d", o->jump);
    if (o->repeats >= 1 && o->repeats <= 16) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "repeats: expected 1 to 16, found %d", o->repeats);
}

static Status inpaint(Glide *g, const GlidePicture *in, const GlideMask *mask, const char *prompt,
                      const GlideInpaintOptions *options, GlidePicture *pictures)
{
    const GlideSampleOptions *so = &options->sample;
    Image whole = picture_view(in);
    Picture detail = picture_whole(in);
    CascadeOptions o;
    Inpaint part;
    TRY(check_inpaint(in, mask, options));
    TRY(call_fill_options(g, so, &o));
    o.base.jump = o.upsampler.jump = options->jump;
    o.base.repeats = options->repeats;
    o.base.strength = so->strength;
    o.base.close_seam = !*prompt;
    Call call = {.glide = g, .prompt = prompt, .options = &o, .upsampler = so->upsample, .whole = &whole,
                 .detail = in->detail ? &detail : NULL, .mask = mask->paint, .task = "inpaint", .pictures = pictures};
    TRY(context_load_both(g, &call.upsampler));
    TRY(inpaint_init(&part, &whole, mask->paint, context_side(&g->base), call.upsampler ? context_side(&g->upsampler) : 0));
    call.inpaint = &part;
    Status s = call_run(&call, so, &part.given);
    inpaint_release(&part);
    return s;
}

GlideStatus glide_inpaint(Glide *g, const GlidePicture *in, const GlideMask *mask, const char *prompt,
                          const GlideInpaintOptions *options, GlidePicture *pictures)
{
    GlideInpaintOptions defaults = glide_inpaint_defaults();
    if (!options) options = &defaults;
    for (int i = 0; i < options->sample.n; i++) pictures[i] = (GlidePicture){0};
    int threads = context_enter(g);
    Status s = inpaint(g, in, mask, prompt ? prompt : "", options, pictures);
    omp_set_num_threads(threads);
    return (GlideStatus)s;
}
