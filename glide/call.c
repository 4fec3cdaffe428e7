#include "glide/call.h"

#include "glide/inpaint_detail.h"
#include "glide/recipe.h"

#include <math.h>
#include <stdlib.h>

static void add_model(GlideRecipe *r, const char *key, const Model *m, bool upsampler)
{
    recipe_add_hash(r, key, m->hash);
    recipe_add_file(r, key, m->path ? m->path : upsampler ? "upsampler.h5" : "base.h5");
}

static void add_picture(GlideRecipe *r, const char *key, const Image *image)
{
    if (image) recipe_add_hash(r, key, recipe_hash_pixels(image->w, image->h, 3, image->pixels));
}

static void add_upsampler(GlideRecipe *r, const Call *c)
{
    recipe_add_text(r, "upsampler_sampler", c->options->upsampler.sampler);
    recipe_add_text(r, "upsampler_steps", c->options->upsampler.steps);
    recipe_add_number(r, "upsample_temp", c->upsample_temp);
    recipe_add(r, "colour_cells", "%d", c->options->upsampler.colour_cells);
    const GlideUpsampleOptions *e = c->enlarge;
    if (!e) return;
    recipe_add(r, "scale", "%d", e->scale);
    if (e->width) recipe_add(r, "width", "%d", e->width);
    if (e->height) recipe_add(r, "height", "%d", e->height);
    recipe_add_number(r, "fidelity", e->fidelity);
    if (e->noise_level > 0) recipe_add_number(r, "noise_level", e->noise_level);
    if (e->tile) recipe_add(r, "tile", "%d", e->tile);
}

/* What the picture was made of besides the prompt. */
static void add_pictures(GlideRecipe *r, const Call *c)
{
    add_picture(r, "input", c->whole ? c->whole : c->input);
    if (c->mask) recipe_add_hash(r, "mask", recipe_hash_pixels(c->whole->w, c->whole->h, 1, c->mask));
    add_picture(r, "init_image", c->start);
    if (c->start || (c->inpaint && c->strength < 1)) recipe_add_number(r, "strength", c->strength);
    if (c->inpaint) {
        recipe_add(r, "jump", "%d", c->options->base.jump);
        recipe_add(r, "repeats", "%d", c->options->base.repeats);
    }
}

/* Nothing about threads or about how many pictures were made together: the same picture is the same file. */
Status call_recipe(const Call *c, int64_t index, GlideRecipe **out)
{
    const Glide *g = c->glide;
    TRY(recipe_new(c->task ? c->task : "sample", out));
    GlideRecipe *r = *out;
    recipe_add_text(r, "prompt", c->prompt);
    recipe_add(r, "seed", "%llu", (unsigned long long)c->rows[index].seed);
    recipe_add(r, "image", "%u", c->rows[index].image + 1);
    if (c->label >= 0) recipe_add(r, "class", "%d", c->label);
    if (c->base) {
        recipe_add_text(r, "sampler", c->options->base.sampler);
        recipe_add_text(r, "steps", c->options->base.steps);
        call_recipe_guidance(r, c->glide, c->guidance, &c->options->base, false);
    }
    if (c->upsampler) {
        add_upsampler(r, c);
        call_recipe_guidance(r, c->glide, c->upsampler_guidance, &c->options->upsampler, true);
    }
    add_pictures(r, c);
    recipe_add_text(r, "precision", g->int8 ? "int8" : g->precision == DTYPE_BF16 ? "bf16" : "f32");
    if (c->base) add_model(r, "weights", &g->base, false);
    if (c->upsampler) add_model(r, "upsampler_weights", &g->upsampler, true);
    Status s = recipe_status(r);
    if (s == STATUS_OK) return s;
    recipe_free(r);
    *out = NULL;
    return s;
}

/* The answer for a part, in its place in the whole picture. */
static Status give_painted(const Call *c, Image *answer, GlidePicture *out)
{
    Image painted = {0};
    Picture whole;
    TRY(inpaint_paste(c->inpaint, c->whole, answer, &painted));
    image_release(answer);
    if (!c->detail) {
        picture_give(&painted, out);
        return STATUS_OK;
    }
    Status s = inpaint_detail(c->detail, c->mask, &painted, &whole);
    image_release(&painted);
    return s == STATUS_OK ? picture_give_whole(&whole, out) : s;
}

static Status take_picture(void *ctx, int64_t index, Image *image)
{
    const Call *c = ctx;
    GlidePicture *p = &c->pictures[index];
    if (c->inpaint) TRY(give_painted(c, image, p));
    else picture_give(image, p);
    Status s = call_recipe(c, index, &p->recipe);
    if (s != STATUS_OK) {
        glide_picture_release(p);
        return s;
    }
    if (!c->callbacks->picture || c->callbacks->picture(c->callbacks->context, (int)index, p)) return STATUS_OK;
    return status_fail(STATUS_INTERRUPTED, "stopped after picture %d", (int)index + 1);
}

/* Pixel (x,y) of a picture's preview: the mean of dx x dy of its pixels. */
static void preview_pixel(const float *x_0, int64_t width, int64_t x, int64_t y, int64_t dx, int64_t dy, unsigned char out[3])
{
    for (int c = 0; c < IMAGE_CHANNELS; c++) {
        float sum = 0;
        for (int64_t i = y * dy; i < (y + 1) * dy; i++)
            for (int64_t j = x * dx; j < (x + 1) * dx; j++) sum += x_0[(i * width + j) * IMAGE_CHANNELS + c];
        sum = (sum / (float)(dx * dy) + 1) * 127.5f;
        out[c] = sum > 0 ? (unsigned char)fminf(sum + 0.5f, 255) : 0; /* not a number: black */
    }
}

/* The pictures one below the other, without their padding, none larger than GLIDE_MOST_PREVIEW. */
static Status make_previews(const CascadeProgress *p, GlideProgress *out, unsigned char **previews)
{
    int64_t w = p->shown_width ? p->shown_width : p->side, h = p->shown_height ? p->shown_height : p->height;
    int64_t step = ((w > h ? w : h) + GLIDE_MOST_PREVIEW - 1) / GLIDE_MOST_PREVIEW;
    int64_t dx = step < w ? step : w, dy = step < h ? step : h, across = w / dx, down = h / dy;
    unsigned char *all = malloc((size_t)(p->count * across * down * IMAGE_CHANNELS));
    if (!all) return status_fail(STATUS_NO_MEMORY, "out of memory for previews");
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < p->count * down; row++)
        for (int64_t x = 0; x < across; x++)
            preview_pixel(p->x_0 + row / down * p->side * p->height * IMAGE_CHANNELS, p->side, x, row % down, dx, dy,
                          all + (row * across + x) * IMAGE_CHANNELS);
    out->preview = *previews = all;
    out->preview_width = (int)across;
    out->preview_height = (int)down;
    return STATUS_OK;
}

static int tell_progress(void *ctx, const CascadeProgress *p)
{
    const Call *c = ctx;
    unsigned char *previews = NULL;
    GlideProgress out = {.stage = p->upsampling ? GLIDE_STAGE_UPSAMPLER : GLIDE_STAGE_BASE, .step = p->step, .steps = p->steps,
                         .first = (int)p->first, .count = (int)p->count, .fraction = p->fraction,
                         .side = (int)p->side, .height = (int)p->height};
    if (c->callbacks->previews && p->x_0) (void)make_previews(p, &out, &previews);
    bool go_on = c->callbacks->progress(c->callbacks->context, &out);
    free(previews);
    return !go_on;
}

CascadeHooks call_hooks(Call *c)
{
    return (CascadeHooks){.progress = c->callbacks->progress ? tell_progress : NULL, .finished = take_picture, .ctx = c};
}

/* --- traces ----------------------------------------------------------------------------------------- */

Status call_begin_trace(Call *c, const char *path, CascadeOptions *o)
{
    c->trace = NULL;
    if (path) TRY(trace_create(path, &c->trace));
    o->base.trace = o->upsampler.trace = c->trace;
    return STATUS_OK;
}

/* Lines of the first picture's recipe. */
static Status note_recipe(const Call *c)
{
    GlideRecipe *r = NULL;
    Status s = call_recipe(c, 0, &r);
    for (int i = 0; s == STATUS_OK && i < r->count; i++) s = trace_note(c->trace, r->lines[i].key, r->lines[i].value);
    recipe_free(r);
    return s;
}

Status call_end_trace(Call *c, Status s)
{
    if (!c->trace) return s;
    if (s == STATUS_OK) s = note_recipe(c);
    if (s == STATUS_OK) s = trace_commit(c->trace);
    else trace_discard(c->trace);
    c->trace = NULL;
    return s;
}

/* --- options ---------------------------------------------------------------------------------------- */

Status call_check_image(uint32_t image, int n)
{
    if (n < 1) return status_fail(STATUS_BAD_INPUT, "n: expected 1 or more pictures, found %d", n);
    if (image < 1 || image > UINT32_MAX - (uint32_t)n)
        return status_fail(STATUS_BAD_INPUT, "image: expected a number from 1, found %u", image);
    return STATUS_OK;
}

Status call_check_temperature(double t)
{
    if (t >= 0 && t <= 10) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "upsample_temp: expected 0 to 10, found %g", t);
}

Status call_check_cells(int cells)
{
    if (cells >= 0 && cells <= 1024) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "colour_cells: expected 0 to 1024, found %d", cells);
}

Status call_fill_options(const Glide *g, const GlideSampleOptions *in, CascadeOptions *o)
{
    TRY(call_check_image(in->image, in->n));
    TRY(call_check_temperature(in->upsample_temp));
    TRY(call_check_cells(in->colour_cells));
    cascade_options_defaults(o);
    if (in->sampler) o->base.sampler = in->sampler;
    o->base.steps = in->steps ? in->steps : cascade_default_steps(o->base.sampler);
    if (in->upsampler_sampler) o->upsampler.sampler = in->upsampler_sampler;
    if (in->upsampler_steps) o->upsampler.steps = in->upsampler_steps;
    o->upsampler.temperature = (float)in->upsample_temp;
    o->upsampler.colour_cells = in->colour_cells;
    o->base.precision = o->upsampler.precision = g->precision;
    TRY(call_fill_guidance(&in->guidance, "", &o->base));
    return call_fill_guidance(&in->upsampler_guidance, "upsampler ", &o->upsampler);
}

/* --- running ---------------------------------------------------------------------------------------- */

/* What each of the n pictures is made of. */
typedef struct Rows {
    SamplerRow *rows;
    const char **prompts;
    int32_t *labels;
} Rows;

static void rows_release(Rows *r)
{
    free(r->rows);
    free(r->prompts);
    free(r->labels);
}

static Status rows_init(Rows *r, const Call *c, const GlideSampleOptions *o)
{
    size_t n = (size_t)o->n;
    *r = (Rows){calloc(n, sizeof *r->rows), calloc(n, sizeof *r->prompts), calloc(n, sizeof *r->labels)};
    if (!r->rows || !r->prompts || !r->labels) {
        rows_release(r);
        return status_fail(STATUS_NO_MEMORY, "out of memory for %d pictures", o->n);
    }
    for (size_t i = 0; i < n; i++) {
        r->rows[i] = (SamplerRow){.seed = o->seed, .image = o->image - 1 + (uint32_t)i};
        r->prompts[i] = c->prompt;
        r->labels[i] = o->label;
    }
    return STATUS_OK;
}

static Status check_label(const char *what, const Model *m, bool guides, int label)
{
    int classes = m->net->config.unet.num_classes;
    if (guides && classes == 0) return label >= 0 ? STATUS_OK : status_fail(STATUS_BAD_INPUT, "class: the classifier wants one");
    if (classes == 0 && label >= 0) return status_fail(STATUS_BAD_INPUT, "class: the %s takes none, found %d", what, label);
    if (classes == 0 || (label >= 0 && label < classes)) return STATUS_OK;
    if (label < 0) return status_fail(STATUS_BAD_INPUT, "class: the %s wants one, expected 0 to %d", what, classes - 1);
    return status_fail(STATUS_BAD_INPUT, "class: the %s knows %d, expected 0 to %d, found %d", what, classes, classes - 1, label);
}

Status call_check_label(const Glide *g, bool base, bool upsampler, bool guides, int label)
{
    bool some = base && g->base.net->config.unet.num_classes > 0;
    if (base) TRY(check_label("base model", &g->base, guides, label));
    bool takes_none = upsampler && g->upsampler.net->config.unet.num_classes == 0;
    if (!upsampler || (takes_none && (some || guides))) return STATUS_OK; /* the label is the base model's or the classifier's */
    return check_label("upsampler", &g->upsampler, false, label);
}

static bool hears_label(const Model *m, const StageOptions *o)
{
    return m->net->config.unet.num_classes > 0 || call_guided_by_class(o);
}

Status call_run(Call *c, const GlideSampleOptions *in, const CascadeGiven *given)
{
    Glide *g = c->glide;
    Rows r;
    CascadeOptions o = *c->options;
    TRY(call_load_guides(g, &in->guidance, &g->base, &o.base));
    if (c->upsampler) TRY(call_load_guides(g, &in->upsampler_guidance, &g->upsampler, &o.upsampler));
    bool guides = in->guidance.classifier_weights || (c->upsampler && in->upsampler_guidance.classifier_weights);
    TRY(call_check_label(g, true, c->upsampler, guides, in->label));
    TRY(rows_init(&r, c, in));
    c->options = &o;
    c->guidance = &in->guidance;
    c->upsampler_guidance = &in->upsampler_guidance;
    c->callbacks = &in->callbacks;
    c->rows = r.rows;
    bool heard = hears_label(&g->base, &o.base) || (c->upsampler && hears_label(&g->upsampler, &o.upsampler));
    c->label = heard ? in->label : -1; /* a classifier of scale 0 leaves no trace */
    c->base = true;
    c->upsample_temp = in->upsample_temp;
    c->strength = in->strength;
    CascadeHooks hooks = call_hooks(c);
    Cascade cascade = {g->kernels, g->base.net, c->upsampler ? g->upsampler.net : NULL};
    CascadeInput input = {.n = in->n, .prompts = r.prompts, .labels = r.labels, .rows = r.rows, .given = given};
    Status s = c->only_recipe ? call_recipe(c, 0, c->only_recipe) : call_begin_trace(c, in->trace, &o);
    if (s == STATUS_OK && !c->only_recipe) s = call_end_trace(c, cascade_sample(&cascade, &o, &input, &hooks));
    rows_release(&r);
    return s;
}
