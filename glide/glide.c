#include "glide/glide.h"

#include "glide/cascade.h"
#include "glide/inpaint.h"
#include "glide/recipe.h"
#include "glide/version.h"
#include "glide/weights_path.h"
#include "text_transformer/text_unet_file.h"

#include <assert.h>
#include <limits.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)GLIDE_OK == STATUS_OK && (int)GLIDE_BAD_INPUT == STATUS_BAD_INPUT && (int)GLIDE_IO == STATUS_IO &&
                   (int)GLIDE_NO_MEMORY == STATUS_NO_MEMORY && (int)GLIDE_CANCELLED == STATUS_INTERRUPTED &&
                   (int)GLIDE_INTERNAL == STATUS_INTERNAL,
               "the public codes are the internal ones");

typedef struct Model {
    char *path; /* NULL: the default */
    TextUNet *net;
    uint64_t hash;
} Model;

struct Glide {
    Model base, upsampler;
    Kernels *kernels;
    DType precision;
    int threads;
};

const char *glide_message(void)
{
    return status_message();
}

const char *glide_version(void)
{
    return GLIDE_VERSION;
}

/* --- contexts --------------------------------------------------------------------------------------- */

GlideOptions glide_defaults(void)
{
    return (GlideOptions){.precision = GLIDE_PRECISION_AUTO};
}

static Status copy_path(const char *path, char **out)
{
    *out = path ? strdup(path) : NULL;
    return path && !*out ? status_fail(STATUS_NO_MEMORY, "out of memory for a path") : STATUS_OK;
}

static Status open_context(const GlideOptions *o, Glide *g)
{
    if (o->threads < 0) return status_fail(STATUS_BAD_INPUT, "threads: expected 0 or more, found %d", o->threads);
    g->threads = o->threads;
    TRY(copy_path(o->weights, &g->base.path));
    TRY(copy_path(o->upsampler_weights, &g->upsampler.path));
    TRY(kernels_new(KERNELS_BEST, &g->kernels));
    bool bf16 = o->precision == GLIDE_PRECISION_BF16 || (o->precision == GLIDE_PRECISION_AUTO && g->kernels->native_bf16);
    g->precision = bf16 ? DTYPE_BF16 : DTYPE_F32;
    return STATUS_OK;
}

GlideStatus glide_open(const GlideOptions *options, Glide **out)
{
    GlideOptions defaults = glide_defaults();
    *out = NULL;
    Glide *g = calloc(1, sizeof *g);
    if (!g) return (GlideStatus)status_fail(STATUS_NO_MEMORY, "out of memory for a context");
    Status s = open_context(options ? options : &defaults, g);
    if (s == STATUS_OK) *out = g;
    else glide_close(g);
    return (GlideStatus)s;
}

void glide_close(Glide *g)
{
    if (!g) return;
    text_unet_free(g->base.net); /* their packed parameters before the kernels that packed them */
    text_unet_free(g->upsampler.net);
    kernels_free(g->kernels);
    free(g->base.path);
    free(g->upsampler.path);
    free(g);
}

static Status load_model(Glide *g, bool upsampler)
{
    Model *m = upsampler ? &g->upsampler : &g->base;
    char path[PATH_MAX];
    TextUNet *net;
    if (m->net) return STATUS_OK;
    if (!m->path) TRY(weights_path_default(upsampler ? "upsampler.h5" : "base.h5", path, sizeof path));
    const char *name = m->path ? m->path : path;
    TRY(text_unet_load(name, upsampler ? "upsampler" : "base", &net, &m->hash));
    Status s = cascade_check_model(net, upsampler, name);
    if (s == STATUS_OK) m->net = net;
    else text_unet_free(net);
    return s;
}

/* OpenMP's number of threads is a setting of the calling thread: borrowed for the time of a call. */
static int enter_threads(const Glide *g)
{
    int before = omp_get_max_threads();
    if (g->threads > 0) omp_set_num_threads(g->threads);
    return before;
}

/* --- pictures --------------------------------------------------------------------------------------- */

static void give_picture(Image *image, GlidePicture *out)
{
    *out = (GlidePicture){.width = image->w, .height = image->h, .rgb = image->pixels};
    *image = (Image){0};
}

/* A borrowed view. */
static Image as_image(const GlidePicture *p)
{
    return (Image){p->width, p->height, p->rgb};
}

GlideStatus glide_picture_read(const char *path, GlidePicture *out)
{
    Image image = {0};
    *out = (GlidePicture){0};
    Status s = image_read(path, &image);
    if (s == STATUS_OK) give_picture(&image, out);
    return (GlideStatus)s;
}

GlideStatus glide_picture_write(const GlidePicture *p, const char *path)
{
    if (!p->rgb) return (GlideStatus)status_fail(STATUS_BAD_INPUT, "%s: there is no picture to write", path);
    Image image = as_image(p);
    return (GlideStatus)png_write(path, &image, p->recipe ? p->recipe->lines : NULL, p->recipe ? p->recipe->count : 0);
}

void glide_picture_release(GlidePicture *p)
{
    free(p->rgb);
    recipe_free(p->recipe);
    *p = (GlidePicture){0};
}

const char *glide_picture_recipe(const GlidePicture *p, const char *key)
{
    return p->recipe ? recipe_find(p->recipe, key) : NULL;
}

/* --- a call under way ------------------------------------------------------------------------------- */

typedef struct Call {
    Glide *glide;
    const GlideCallbacks *callbacks;
    const char *prompt;
    const SamplerRow *rows;
    const CascadeOptions *options;
    bool base, upsampler; /* which stages take part */
    double upsample_temp; /* as it was given; the options hold it in single precision */
    bool start;           /* from a picture */
    const Inpaint *inpaint; /* on a part of `whole`; NULL: no such thing */
    const Image *whole;
    GlidePicture *pictures;
} Call;

/* Nothing about threads or about how many pictures were made together: the same picture is the same file. */
static Status write_recipe(const Call *c, int64_t index, GlideRecipe **out)
{
    const Glide *g = c->glide;
    TRY(recipe_new(out));
    GlideRecipe *r = *out;
    recipe_add_text(r, "prompt", c->prompt);
    recipe_add(r, "seed", "%llu", (unsigned long long)c->rows[index].seed);
    recipe_add(r, "image", "%u", c->rows[index].image + 1);
    if (c->base) {
        recipe_add_text(r, "sampler", c->options->base.sampler);
        recipe_add_text(r, "steps", c->options->base.steps);
        recipe_add_number(r, "guidance_scale", c->options->base.guidance.scale);
    }
    if (c->upsampler) {
        recipe_add_text(r, "upsampler_steps", c->options->upsampler.steps);
        recipe_add_number(r, "upsample_temp", c->upsample_temp);
        recipe_add(r, "colour_cells", "%d", c->options->upsampler.colour_cells);
    }
    if (c->start) recipe_add_number(r, "strength", c->options->base.strength);
    if (c->inpaint) {
        recipe_add(r, "jump", "%d", c->options->base.jump);
        recipe_add(r, "repeats", "%d", c->options->base.repeats);
    }
    recipe_add_text(r, "precision", g->precision == DTYPE_BF16 ? "bf16" : "f32");
    if (c->base) recipe_add(r, "weights", "%016llx", (unsigned long long)g->base.hash);
    if (c->upsampler) recipe_add(r, "upsampler_weights", "%016llx", (unsigned long long)g->upsampler.hash);
    return recipe_status(r);
}

static Status take_picture(void *ctx, int64_t index, Image *image)
{
    const Call *c = ctx;
    GlidePicture *p = &c->pictures[index];
    Image painted = {0};
    if (c->inpaint) {
        TRY(inpaint_paste(c->inpaint, c->whole, image, &painted));
        image_release(image);
        *image = painted;
    }
    give_picture(image, p);
    Status s = write_recipe(c, index, &p->recipe);
    if (s != STATUS_OK) {
        glide_picture_release(p);
        return s;
    }
    if (!c->callbacks->picture || c->callbacks->picture(c->callbacks->context, (int)index, p)) return STATUS_OK;
    return status_fail(STATUS_INTERRUPTED, "stopped after picture %d", (int)index + 1);
}

static Status make_previews(const CascadeProgress *p, unsigned char **out)
{
    Image all = {0}; /* the pictures one below the other */
    TRY(image_from_f32(p->x_0, (int)p->side, (int)(p->side * p->count), &all));
    *out = all.pixels;
    return STATUS_OK;
}

static int tell_progress(void *ctx, const CascadeProgress *p)
{
    const Call *c = ctx;
    unsigned char *previews = NULL;
    if (c->callbacks->previews && make_previews(p, &previews) != STATUS_OK) previews = NULL;
    GlideProgress out = {.stage = p->upsampling ? GLIDE_STAGE_UPSAMPLER : GLIDE_STAGE_BASE, .step = p->step, .steps = p->steps,
                         .first = (int)p->first, .count = (int)p->count, .fraction = p->fraction,
                         .side = (int)p->side, .preview = previews};
    bool go_on = c->callbacks->progress(c->callbacks->context, &out);
    free(previews);
    return !go_on;
}

static CascadeHooks call_hooks(Call *c)
{
    return (CascadeHooks){.progress = c->callbacks->progress ? tell_progress : NULL, .finished = take_picture, .ctx = c};
}

/* --- sampling --------------------------------------------------------------------------------------- */

GlideSampleOptions glide_sample_defaults(void)
{
    return (GlideSampleOptions){.n = 1, .image = 1, .guidance_scale = CASCADE_GUIDANCE, .sampler = CASCADE_SAMPLER,
                                .steps = CASCADE_STEPS, .upsample = true, .upsampler_steps = CASCADE_UPSAMPLER_STEPS,
                                .upsample_temp = CASCADE_UPSAMPLE_TEMP, .colour_cells = CASCADE_COLOUR_CELLS,
                                .strength = CASCADE_STRENGTH};
}

static Status check_first_image(uint32_t image, int n)
{
    if (n < 1) return status_fail(STATUS_BAD_INPUT, "n: expected 1 or more pictures, found %d", n);
    if (image < 1 || image > UINT32_MAX - (uint32_t)n)
        return status_fail(STATUS_BAD_INPUT, "image: expected a number from 1, found %u", image);
    return STATUS_OK;
}

static Status check_temperature(double t)
{
    if (t >= 0 && t <= 10) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "upsample_temp: expected 0 to 10, found %g", t);
}

static Status check_cells(int cells)
{
    if (cells >= 0 && cells <= 1024) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "colour_cells: expected 0 to 1024, found %d", cells);
}

static Status fill_options(const Glide *g, const GlideSampleOptions *in, CascadeOptions *o)
{
    TRY(check_first_image(in->image, in->n));
    TRY(check_temperature(in->upsample_temp));
    TRY(check_cells(in->colour_cells));
    cascade_options_defaults(o);
    if (in->sampler) o->base.sampler = in->sampler;
    if (in->steps) o->base.steps = in->steps;
    if (in->upsampler_steps) o->upsampler.steps = in->upsampler_steps;
    o->base.guidance.scale = in->guidance_scale;
    o->upsampler.temperature = (float)in->upsample_temp;
    o->upsampler.colour_cells = in->colour_cells;
    o->base.precision = o->upsampler.precision = g->precision;
    return guidance_check(&o->base.guidance);
}

/* n times the prompt, and the rows of the pictures from o->image on. One block: free() the rows. */
static Status make_rows(const char *prompt, const GlideSampleOptions *o, SamplerRow **rows, const char ***prompts)
{
    size_t n = (size_t)o->n;
    SamplerRow *r = calloc(n, sizeof *r + sizeof *prompts);
    if (!r) return status_fail(STATUS_NO_MEMORY, "out of memory for %d pictures", o->n);
    const char **p = (const char **)(r + n);
    for (size_t i = 0; i < n; i++) {
        r[i] = (SamplerRow){.seed = o->seed, .image = o->image - 1 + (uint32_t)i};
        p[i] = prompt;
    }
    *rows = r;
    *prompts = p;
    return STATUS_OK;
}

static Status load_models(Glide *g, bool upsampler)
{
    TRY(load_model(g, false));
    return upsampler ? load_model(g, true) : STATUS_OK;
}

/* Models are loaded; `call` and `given` (may be NULL) say what is special about it. */
static Status run_cascade(Call *call, const GlideSampleOptions *in, const CascadeGiven *given)
{
    Glide *g = call->glide;
    SamplerRow *rows = NULL;
    const char **prompts = NULL;
    TRY(make_rows(call->prompt, in, &rows, &prompts));
    call->callbacks = &in->callbacks;
    call->rows = rows;
    call->base = true;
    call->upsampler = in->upsample;
    call->upsample_temp = in->upsample_temp;
    CascadeHooks hooks = call_hooks(call);
    Cascade cascade = {g->kernels, g->base.net, in->upsample ? g->upsampler.net : NULL};
    CascadeInput input = {.n = in->n, .prompts = prompts, .rows = rows, .given = given};
    Status s = cascade_sample(&cascade, call->options, &input, &hooks);
    free(rows);
    return s;
}

static int side_of(const Model *m)
{
    return m->net->config.unet.image_size;
}

static Status square_f32(const GlidePicture *in, int side, float **out)
{
    Image picture = as_image(in), square = {0};
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
    call->start = true;
    Status s = square_f32(in->init_image, side_of(&g->base), &small);
    if (s == STATUS_OK && in->upsample) s = square_f32(in->init_image, side_of(&g->upsampler), &large);
    if (s == STATUS_OK) s = run_cascade(call, in, &(CascadeGiven){.small = small, .large = large});
    free(small);
    free(large);
    return s;
}

static Status sample(Glide *g, const char *prompt, const GlideSampleOptions *in, GlidePicture *pictures)
{
    CascadeOptions o;
    Call call = {.glide = g, .prompt = prompt, .options = &o, .pictures = pictures};
    TRY(fill_options(g, in, &o));
    TRY(load_models(g, in->upsample));
    return in->init_image ? sample_from(&call, in, &o) : run_cascade(&call, in, NULL);
}

GlideStatus glide_sample(Glide *g, const char *prompt, const GlideSampleOptions *options, GlidePicture *pictures)
{
    GlideSampleOptions defaults = glide_sample_defaults();
    if (!options) options = &defaults;
    for (int i = 0; i < options->n; i++) pictures[i] = (GlidePicture){0};
    int threads = enter_threads(g);
    Status s = sample(g, prompt ? prompt : "", options, pictures);
    omp_set_num_threads(threads);
    return (GlideStatus)s;
}

GlideStatus glide_prompt_tokens(Glide *g, const char *prompt, int64_t *tokens, int *limit)
{
    size_t count;
    *tokens = *limit = 0;
    Status s = load_model(g, false);
    if (s == STATUS_OK) s = bpe_encode(g->base.net->bpe, prompt, strlen(prompt), NULL, 0, &count);
    if (s != STATUS_OK) return (GlideStatus)s;
    *tokens = (int64_t)count;
    *limit = g->base.net->config.text.ctx;
    return GLIDE_OK;
}

/* --- inpainting ------------------------------------------------------------------------------------- */

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
    return (GlideInpaintOptions){.sample = glide_sample_defaults(), .jump = CASCADE_JUMP, .repeats = CASCADE_REPEATS};
}

static Status check_inpaint(const GlidePicture *in, const GlideMask *mask, const GlideInpaintOptions *o)
{
    if (!in->rgb || in->width < 1 || in->height < 1) return status_fail(STATUS_BAD_INPUT, "there is no picture to paint on");
    if (!mask->paint || mask->width != in->width || mask->height != in->height)
        return status_fail(STATUS_BAD_INPUT, "the mask has %dx%d pixels, expected %dx%d as the picture", mask->width, mask->height,
                           in->width, in->height);
    if (o->sample.init_image) return status_fail(STATUS_BAD_INPUT, "init_image: expected none, the picture itself is given");
    if (o->jump < 1 || o->jump > 1000) return status_fail(STATUS_BAD_INPUT, "jump: expected 1 to 1000, found %d", o->jump);
    if (o->repeats >= 1 && o->repeats <= 16) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "repeats: expected 1 to 16, found %d", o->repeats);
}

static Status inpaint(Glide *g, const GlidePicture *in, const GlideMask *mask, const char *prompt,
                      const GlideInpaintOptions *options, GlidePicture *pictures)
{
    const GlideSampleOptions *so = &options->sample;
    Image whole = as_image(in);
    CascadeOptions o;
    Inpaint part;
    TRY(check_inpaint(in, mask, options));
    TRY(fill_options(g, so, &o));
    o.base.jump = o.upsampler.jump = options->jump;
    o.base.repeats = options->repeats;
    TRY(load_models(g, so->upsample));
    TRY(inpaint_init(&part, &whole, mask->paint, side_of(&g->base), so->upsample ? side_of(&g->upsampler) : 0));
    Call call = {.glide = g, .prompt = prompt, .options = &o, .inpaint = &part, .whole = &whole, .pictures = pictures};
    Status s = run_cascade(&call, so, &part.given);
    inpaint_release(&part);
    return s;
}

GlideStatus glide_inpaint(Glide *g, const GlidePicture *in, const GlideMask *mask, const char *prompt,
                          const GlideInpaintOptions *options, GlidePicture *pictures)
{
    GlideInpaintOptions defaults = glide_inpaint_defaults();
    if (!options) options = &defaults;
    for (int i = 0; i < options->sample.n; i++) pictures[i] = (GlidePicture){0};
    int threads = enter_threads(g);
    Status s = inpaint(g, in, mask, prompt ? prompt : "", options, pictures);
    omp_set_num_threads(threads);
    return (GlideStatus)s;
}

/* --- upsampling ------------------------------------------------------------------------------------- */

GlideUpsampleOptions glide_upsample_defaults(void)
{
    return (GlideUpsampleOptions){.image = 1, .steps = CASCADE_UPSAMPLER_STEPS, .upsample_temp = CASCADE_UPSAMPLE_TEMP,
                                  .colour_cells = CASCADE_COLOUR_CELLS};
}

static Status upsample(Glide *g, const Image *small, const GlideUpsampleOptions *in, GlidePicture *out)
{
    CascadeOptions o;
    cascade_options_defaults(&o);
    TRY(check_first_image(in->image, 1));
    TRY(check_temperature(in->upsample_temp));
    TRY(check_cells(in->colour_cells));
    TRY(load_model(g, true));
    if (in->steps) o.upsampler.steps = in->steps;
    o.upsampler.temperature = (float)in->upsample_temp;
    o.upsampler.colour_cells = in->colour_cells;
    o.upsampler.precision = g->precision;
    const char *prompt = in->prompt ? in->prompt : "";
    SamplerRow row = {.seed = in->seed, .image = in->image - 1};
    GlideCallbacks callbacks = in->callbacks;
    callbacks.picture = NULL;
    Call call = {.glide = g, .callbacks = &callbacks, .prompt = prompt, .rows = &row, .options = &o, .upsampler = true,
                 .upsample_temp = in->upsample_temp, .pictures = out};
    CascadeHooks hooks = call_hooks(&call);
    return cascade_upsample(&(Cascade){g->kernels, NULL, g->upsampler.net}, &o, small, prompt, &row, &hooks);
}

GlideStatus glide_upsample(Glide *g, const GlidePicture *in, const GlideUpsampleOptions *options, GlidePicture *out)
{
    GlideUpsampleOptions defaults = glide_upsample_defaults();
    Image small = as_image(in);
    *out = (GlidePicture){0};
    if (!in->rgb || in->width < 1 || in->height < 1)
        return (GlideStatus)status_fail(STATUS_BAD_INPUT, "there is no picture to upsample");
    int threads = enter_threads(g);
    Status s = upsample(g, &small, options ? options : &defaults, out);
    omp_set_num_threads(threads);
    return (GlideStatus)s;
}
