#include "glide/call.h"
#include "glide/recipe_call.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

GlideGuidance glide_guidance_defaults(void)
{
    return (GlideGuidance){.cfg.scale = 1};
}

GlideSampleOptions glide_sample_defaults(void)
{
    return (GlideSampleOptions){.n = 1, .image = 1, .label = -1, .guidance = {.cfg.scale = CASCADE_GUIDANCE},
                                .upsampler_guidance = {.cfg.scale = 1}, .sampler = CASCADE_SAMPLER,
                                .upsample = true, .upsampler_sampler = CASCADE_UPSAMPLER, .upsampler_steps = CASCADE_UPSAMPLER_STEPS,
                                .upsample_temp = CASCADE_UPSAMPLE_TEMP, .colour_cells = CASCADE_COLOUR_CELLS,
                                .strength = CASCADE_STRENGTH};
}

static Status square_f32(const GlidePicture *in, int side, float **out)
{
    Image picture = picture_view(in), square = {0};
    TRY(image_resize(&picture, side, side, &square));
    *out = malloc(image_bytes(&square) * sizeof **out);
    if (*out) image_to_f32(&square, *out);
    image_release(&square);
    return *out ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a picture of %d pixels a side", side);
}

static Status check_start(const GlideSampleOptions *o)
{
    if (!o->init_image->rgb || o->init_image->width < 1 || o->init_image->height < 1)
        return status_fail(STATUS_BAD_INPUT, "init_image: there is no picture to start from");
    if (o->strength >= 0 && o->strength <= 1) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "strength: expected 0 to 1, found %g", o->strength);
}

/* From a picture instead of noise. */
static Status sample_from(Call *call, const GlideSampleOptions *in, CascadeOptions *o)
{
    const Glide *g = call->glide;
    float *small = NULL, *large = NULL;
    TRY(check_start(in));
    o->base.strength = o->upsampler.strength = in->strength;
    Image start = picture_view(in->init_image);
    call->start = &start;
    Status s = square_f32(in->init_image, context_side(&g->base), &small);
    if (s == STATUS_OK && call->upsampler) s = square_f32(in->init_image, context_side(&g->upsampler), &large);
    if (s == STATUS_OK) s = call_run(call, in, &(CascadeGiven){.small = small, .large = large});
    free(small);
    free(large);
    return s;
}

static Status sample(Call *call, const GlideSampleOptions *in, const StageWatch *watch)
{
    CascadeOptions o;
    call->options = &o;
    call->upsampler = in->upsample;
    TRY(call_fill_options(call->glide, in, &o));
    o.base.watch = watch;
    TRY(context_load_both(call->glide, &call->upsampler));
    return in->init_image ? sample_from(call, in, &o) : call_run(call, in, NULL);
}

Status call_sample(Glide *g, const char *prompt, const GlideSampleOptions *options, const StageWatch *watch, GlidePicture *pictures)
{
    Call call = {.glide = g, .prompt = prompt, .pictures = pictures};
    for (int i = 0; i < options->n; i++) pictures[i] = (GlidePicture){0};
    int threads = context_enter(g);
    Status s = sample(&call, options, watch);
    omp_set_num_threads(threads);
    return s;
}

GlideStatus glide_sample(Glide *g, const char *prompt, const GlideSampleOptions *options, GlidePicture *pictures)
{
    GlideSampleOptions defaults = glide_sample_defaults();
    return (GlideStatus)call_sample(g, prompt ? prompt : "", options ? options : &defaults, NULL, pictures);
}

Status recipe_expect(Glide *g, const char *prompt, const GlideSampleOptions *options, GlideRecipe **out)
{
    Call call = {.glide = g, .prompt = prompt ? prompt : "", .only_recipe = out};
    *out = NULL;
    return sample(&call, options, NULL);
}

GlideStatus glide_model_info(Glide *g, GlideStage stage, GlideModelInfo *out)
{
    bool upsampler = stage == GLIDE_STAGE_UPSAMPLER;
    *out = (GlideModelInfo){0};
    Status s = context_load(g, upsampler);
    if (s != STATUS_OK) return (GlideStatus)s;
    const Model *model = upsampler ? &g->upsampler : &g->base;
    const TextUNet *m = model->net;
    *out = (GlideModelInfo){m->config.unet.image_size, m->text != NULL, m->config.unet.num_classes, model->hash};
    return GLIDE_OK;
}

GlideStatus glide_prompt_tokens(Glide *g, const char *prompt, int64_t *tokens, int *limit)
{
    size_t count;
    *tokens = *limit = 0;
    Status s = context_load(g, false);
    if (s == STATUS_OK && !g->base.net->bpe) return GLIDE_OK; /* takes no text */
    if (s == STATUS_OK) s = bpe_encode(g->base.net->bpe, prompt, strlen(prompt), NULL, 0, &count);
    if (s != STATUS_OK) return (GlideStatus)s;
    *tokens = (int64_t)count;
    *limit = g->base.net->config.text.ctx;
    return GLIDE_OK;
}
