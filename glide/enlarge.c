#include "glide/enlarge.h"

#include "glide/frame.h"
#include "glide/plan.h"
#include "glide/stage_hooks.h"
#include "glide/tiles.h"
#include "upsampler/upsampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_SIDE = 64, MOST_SCALE = 8, PROJECTIONS = 12, DEEP_PROJECTIONS = 48 };
enum { OUTPUT_BYTES_A_PIXEL = 12 };
enum { ALPHA_STAGES = 8 /* noise of its own */ };
#define LEAST_LACK (0.25f / 127.5f) /* a quarter of an 8-bit step */
#define DEEP_LACK  (LEAST_LACK / 32) /* of 16-bit pictures: 2 of their steps */

/* --- sizes ------------------------------------------------------------------------------------------- */

static int64_t round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* Pixels a side of the cells whose mean colours are kept. */
static int colour_cell(const TextUNet *m, int cells)
{
    int side = m->config.unet.image_size;
    return cells > 0 && side % cells == 0 ? side / cells : 0;
}

/* The result of a pass has sides that are multiples of it. */
static int64_t side_unit(const TextUNet *m, int cell)
{
    int64_t unit = TILE_STEP, deepest = (int64_t)1 << (m->config.unet.levels - 1);
    if (unit < deepest) unit = deepest;
    return cell > unit && cell % unit == 0 ? cell : unit;
}

static int tile_side(const TextUNet *m, const EnlargeOptions *o)
{
    return o->tile > 0 ? o->tile : m->config.unet.image_size;
}

static int64_t overlap_of(int tile)
{
    int64_t overlap = tile / 4 / TILE_STEP * TILE_STEP;
    return overlap < ENLARGE_OVERLAP ? overlap : ENLARGE_OVERLAP;
}

/* Side of the large picture of a pass over `n` pixels. */
static int64_t large_side(const TextUNet *m, int64_t n, int64_t unit)
{
    int64_t least = LEAST_SIDE < m->config.unet.image_size ? LEAST_SIDE : m->config.unet.image_size;
    int64_t side = round_up(UPSAMPLER_FACTOR * n, unit);
    return side < least ? round_up(least, unit) : side;
}

static Status check_size(int64_t w, int64_t h)
{
    if (w <= IMAGE_MAX_SIDE && h <= IMAGE_MAX_SIDE && w * h <= IMAGE_MAX_PIXELS) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "the result would have %lldx%lld pixels, expected sides up to %d and at most %lld million",
                       (long long)w, (long long)h, IMAGE_MAX_SIDE, (long long)(IMAGE_MAX_PIXELS / 1000000));
}

static Status choose_scale(const EnlargeOptions *o, int w, int h, EnlargePlan *plan)
{
    *plan = (EnlargePlan){.scale = o->scale};
    if (o->width == 0 && o->height == 0) {
        if (o->scale != 2 && o->scale != 4 && o->scale != 8)
            return status_fail(STATUS_BAD_INPUT, "scale: expected 2, 4 or 8, found %d", o->scale);
        TRY(check_size((int64_t)w * o->scale, (int64_t)h * o->scale));
        plan->width = w * o->scale;
        plan->height = h * o->scale;
        return STATUS_OK;
    }
    if (o->width < 1 || o->height < 1)
        return status_fail(STATUS_BAD_INPUT, "size: expected a width and a height of 1 or more, found %dx%d", o->width, o->height);
    double factor = fmax((double)o->width / w, (double)o->height / h);
    for (plan->scale = 2; plan->scale < factor; plan->scale *= 2) {}
    if (plan->scale > MOST_SCALE)
        return status_fail(STATUS_BAD_INPUT, "size: %dx%d is more than %d times %dx%d", o->width, o->height, MOST_SCALE, w, h);
    plan->width = o->width;
    plan->height = o->height;
    return check_size((int64_t)w * plan->scale, (int64_t)h * plan->scale);
}

/* Of the last pass: over the picture, or at scale 8 over its double. */
static Status last_windows(const TextUNet *m, const EnlargeOptions *o, int scale, int w, int h, Tiles *t)
{
    int tile = tile_side(m, o), shown = scale == 8 ? 2 : 1;
    if (tile < TILE_STEP || tile % TILE_STEP || tile % (1 << (m->config.unet.levels - 1)) || tile > 4096)
        return status_fail(STATUS_BAD_INPUT, "tile: expected a multiple of %d up to 4096, found %d",
                           (int)side_unit(m, 0), tile);
    int64_t unit = side_unit(m, 0), height = large_side(m, (int64_t)shown * h, unit);
    int64_t width = large_side(m, (int64_t)shown * w, unit);
    TRY(check_size(width, height));
    return tiles_init(t, height, width, tile, overlap_of(tile));
}

/* Pictures of one value a colour that the whole result takes while it is sampled: x_t, x_0 and what the sampler remembers; with
 * guidance the answers, what is between them, and what the sampler makes of them. */
static int pictures_of(const StageOptions *stage)
{
    const SamplerKind *kind = sampler_find(stage->sampler);
    int answers = guidance_most_answers(&stage->guidance), pictures = 2;
    if (kind) pictures += kind->memory + sampler_adds_noise(kind, stage->eta);
    if (answers > 1) pictures += answers * MODEL_CHANNELS / IMAGE_CHANNELS + 1;
    if (answers > 1 || (kind && kind->variance) || stage->trace) pictures += MODEL_CHANNELS / IMAGE_CHANNELS;
    return pictures;
}

Status enlarge_plan(const TextUNet *m, const StageOptions *stage, const EnlargeOptions *o, int w, int h, EnlargePlan *plan)
{
    Tiles t;
    TRY(choose_scale(o, w, h, plan));
    TRY(last_windows(m, o, plan->scale, w, h, &t));
    plan->windows = tiles_count(&t);
    double side = m->config.unet.image_size, rows = guidance_most_answers(&stage->guidance);
    double whole = plan_activation_bytes(&m->config, stage->precision, rows);
    size_t window = (size_t)(whole * (double)(t.y.tile * t.x.tile) / (side * side)), picture = sizeof(float) * IMAGE_CHANNELS;
    size_t large = (size_t)(t.y.length * t.x.length), low = large / (UPSAMPLER_FACTOR * UPSAMPLER_FACTOR);
    plan->bytes = large * picture * (size_t)pictures_of(stage) + window + 4 * low * picture; /* low: what is enlarged or lacking */
    size_t after = large * (picture + OUTPUT_BYTES_A_PIXEL);
    if (after > plan->bytes) plan->bytes = after;
    tiles_release(&t);
    return STATUS_OK;
}

static int compare_ints(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Both ends of an axis's windows, where they are inside of `side` pixels of a result reduced by `halved`; each place once. */
static int *axis_borders(const TileAxis *a, int halved, int side, int *count)
{
    int *at = malloc(2 * (size_t)a->count * sizeof *at), n = 0;
    *count = 0;
    for (int i = 0; at && i < 2 * a->count; i++) {
        int64_t border = (a->starts[i / 2] + (i % 2 ? a->tile : 0)) / halved;
        if (border > 0 && border < side) at[n++] = (int)border;
    }
    if (at) qsort(at, (size_t)n, sizeof *at, compare_ints);
    for (int i = 0; i < n; i++)
        if (*count == 0 || at[i] != at[*count - 1]) at[(*count)++] = at[i];
    return at;
}

Status enlarge_borders_init(EnlargeBorders *b, const TextUNet *m, const EnlargeOptions *o, int w, int h)
{
    Tiles t;
    int halved = o->scale == 2 ? 2 : 1;
    *b = (EnlargeBorders){.unit = TILE_STEP / halved};
    TRY(last_windows(m, o, o->scale, w, h, &t));
    b->x = axis_borders(&t.x, halved, w * o->scale, &b->x_count);
    b->y = axis_borders(&t.y, halved, h * o->scale, &b->y_count);
    tiles_release(&t);
    if (b->x && b->y) return STATUS_OK;
    enlarge_borders_release(b);
    return status_fail(STATUS_NO_MEMORY, "out of memory for the borders of windows");
}

void enlarge_borders_release(EnlargeBorders *b)
{
    free(b->x);
    free(b->y);
    *b = (EnlargeBorders){0};
}

/* --- a pass ------------------------------------------------------------------------------------------ */

typedef struct Pass {
    const Cascade *cascade;
    const CascadeHooks *hooks;
    StageOptions stage;
    StageInput input;
    float *low, *large, *error; /* (low_side,low_width,3), (side,width,3), as low */
    bool back_projection;
    bool quiet;                 /* no previews */
    int shown_width, shown_height; /* of `large`, without its padding */
    bool deep;                  /* of 16 bits */
    int steps;                  /* of a pass */
    double done, work, total;   /* steps times pixels: before this pass, of a step, of all passes */
} Pass;

static void pass_release(Pass *p)
{
    free(p->low);
    free(p->large);
    free(p->error);
    p->low = p->large = p->error = NULL;
}

static int show_progress(void *ctx, const SamplerProgress *s)
{
    const Pass *p = ctx;
    CascadeProgress out = {.upsampling = true, .step = s->done, .steps = s->total, .count = 1, .side = s->width,
                           .height = s->height};
    out.fraction = fmin(1, (p->done + s->done * p->work) / p->total);
    out.shown_width = p->shown_width;
    out.shown_height = p->shown_height;
    out.x_0 = p->quiet ? NULL : s->x_0;
    return p->hooks->progress(p->hooks->ctx, &out);
}

static int clamp(int64_t i, int n)
{
    return i < n ? (int)i : n - 1;
}

/* The picture with its edges repeated to the pass's size. */
static Status pass_init(Pass *p, const TextUNet *m, const Frame *in)
{
    int64_t unit = side_unit(m, p->stage.colour_cell);
    int64_t side = large_side(m, in->h, unit), width = large_side(m, in->w, unit);
    int64_t low_side = side / UPSAMPLER_FACTOR, low_width = width / UPSAMPLER_FACTOR;
    p->input.side = side;
    p->input.width = width;
    p->input.low_side = low_side;
    p->input.low_width = low_width;
    p->low = malloc((size_t)(low_side * low_width * IMAGE_CHANNELS) * sizeof(float));
    p->error = malloc((size_t)(low_side * low_width * IMAGE_CHANNELS) * sizeof(float));
    p->large = malloc((size_t)(side * width * IMAGE_CHANNELS) * sizeof(float));
    if (!p->low || !p->error || !p->large)
        return status_fail(STATUS_NO_MEMORY, "out of memory for a picture of %lldx%lld", (long long)width, (long long)side);
    for (int64_t y = 0; y < low_side; y++)
        for (int64_t x = 0; x < low_width; x++) {
            size_t at = (size_t)clamp(y, in->h) * (size_t)in->w + (size_t)clamp(x, in->w);
            memcpy(p->low + (y * low_width + x) * IMAGE_CHANNELS, in->x + at * IMAGE_CHANNELS, IMAGE_CHANNELS * sizeof(float));
        }
    p->input.low_res = p->low;
    return STATUS_OK;
}

/* Adds what the result's block means lack of the picture, until that is less than the picture's bits tell, or about. */
static void project_back(Pass *p)
{
    int64_t size = p->input.side * p->input.width * IMAGE_CHANNELS;
    int64_t low_size = p->input.low_side * p->input.low_width * IMAGE_CHANNELS;
    float worst = INFINITY, enough = p->deep ? DEEP_LACK : LEAST_LACK;
    for (int i = 0; i < (p->deep ? DEEP_PROJECTIONS : PROJECTIONS) && worst > enough; i++) {
#pragma omp parallel for schedule(static)
        for (int64_t k = 0; k < size; k++) p->large[k] = p->large[k] < -1 ? -1 : p->large[k] > 1 ? 1 : p->large[k];
        stage_match_low_res(&p->input, 1, p->error, p->large);
        worst = 0;
        for (int64_t k = 0; k < low_size; k++) worst = fmaxf(worst, fabsf(p->error[k]));
    }
}

/* The upper left part of the result, in its place. */
static void give_result(Pass *p, int w, int h, Frame *out)
{
    size_t row = (size_t)w * IMAGE_CHANNELS;
    size_t padded = (size_t)p->input.width * IMAGE_CHANNELS;
    for (size_t y = 1; y < (size_t)h; y++) memmove(p->large + y * row, p->large + y * padded, row * sizeof(float));
    *out = (Frame){w, h, p->large};
    p->large = NULL;
}

/* *picture becomes its enlargement by 4. */
static Status run_pass(Pass *p, Frame *picture)
{
    const TextUNet *m = p->cascade->upsampler;
    int w = UPSAMPLER_FACTOR * picture->w, h = UPSAMPLER_FACTOR * picture->h;
    p->shown_width = w;
    p->shown_height = h;
    Status s = pass_init(p, m, picture);
    frame_release(picture);
    p->stage.progress = p->hooks->progress ? show_progress : NULL;
    p->stage.progress_ctx = p;
    p->work = (double)p->input.side * (double)p->input.width;
    if (s == STATUS_OK) s = stage_sample(p->cascade->kernels, m, &p->stage, &p->input, p->large);
    if (s == STATUS_OK && p->back_projection) project_back(p);
    if (s == STATUS_OK) give_result(p, w, h, picture);
    p->done += p->steps * p->work;
    pass_release(p);
    return s;
}

/* --- all of it --------------------------------------------------------------------------------------- */

/* *picture becomes what the plan says. */
static Status run_passes(Pass *p, const EnlargePlan *plan, uint32_t stage, Frame *picture)
{
    p->stage.stage = stage;
    TRY(run_pass(p, picture));
    if (plan->scale != 4) frame_halve(picture);
    if (plan->scale == 8) {
        p->stage.stage++; /* noise of its own */
        TRY(run_pass(p, picture));
    }
    return plan->width == picture->w && plan->height == picture->h ? STATUS_OK : frame_resize(picture, plan->width, plan->height);
}

/* Pixels of all passes at a step, padding too. */
static double work_of(const Pass *p, const EnlargePlan *plan, int w, int h)
{
    const TextUNet *m = p->cascade->upsampler;
    int64_t unit = side_unit(m, p->stage.colour_cell);
    double work = (double)large_side(m, w, unit) * (double)large_side(m, h, unit);
    if (plan->scale == 8) work += (double)large_side(m, 2 * (int64_t)w, unit) * (double)large_side(m, 2 * (int64_t)h, unit);
    return work;
}

static Status make_colours(Pass *p, const EnlargePlan *plan, const Picture *in, Picture *out)
{
    Frame colours = {0};
    TRY(frame_of_colours(in, &colours));
    Status s = run_passes(p, plan, CASCADE_STAGE_UPSAMPLER, &colours);
    if (s == STATUS_OK) s = picture_init(plan->width, plan->height, in->channels, in->bits, out);
    if (s == STATUS_OK) {
        out->grey = in->grey;
        frame_to_colours(&colours, out);
        s = picture_set_profile(out, in->icc, in->icc_size);
    }
    frame_release(&colours);
    return s;
}

/* No caption tells of it, and nobody traces it. */
static Status make_alpha(Pass *p, const EnlargePlan *plan, const Picture *in, Picture *out)
{
    Frame alpha = {0};
    p->input.prompts = NULL;
    p->stage.trace = NULL;
    p->quiet = true;
    TRY(frame_of_alpha(in, &alpha));
    Status s = run_passes(p, plan, CASCADE_STAGE_UPSAMPLER + ALPHA_STAGES, &alpha);
    if (s == STATUS_OK) frame_to_alpha(&alpha, in, out);
    frame_release(&alpha);
    return s;
}

Status enlarge_picture(const Cascade *c, const StageOptions *stage, const EnlargeOptions *o, const Picture *in, const char *prompt,
                       const int32_t *label, const SamplerRow *row, const CascadeHooks *hooks, Picture *out)
{
    EnlargePlan plan;
    Pass p = {.cascade = c, .hooks = hooks, .stage = *stage, .back_projection = o->back_projection, .deep = in->bits == 16};
    bool alpha = frame_alpha_varies(in);
    *out = (Picture){0};
    TRY(enlarge_plan(c->upsampler, stage, o, in->w, in->h, &plan));
    TRY(cascade_check_steps(c->upsampler, stage, "upsampler", &p.steps));
    p.input = (StageInput){.n = 1, .prompts = &prompt, .labels = label, .rows = row};
    p.stage.max_rows = 0;
    p.stage.tile = tile_side(c->upsampler, o);
    p.stage.overlap = overlap_of((int)p.stage.tile);
    p.stage.colour_cell = colour_cell(c->upsampler, stage->colour_cells);
    p.stage.trace_rows = (TraceRows){"upsampler", 1, 0};
    p.total = p.steps * work_of(&p, &plan, in->w, in->h) * (alpha ? 2 : 1);
    if (plan.scale == 8 && stage->trace) return status_fail(STATUS_BAD_INPUT, "trace: expected a scale of 2 or 4, found 8");
    Status s = make_colours(&p, &plan, in, out);
    if (s == STATUS_OK && alpha) s = make_alpha(&p, &plan, in, out);
    else if (s == STATUS_OK && in->channels == 4) frame_to_alpha(NULL, in, out);
    if (s != STATUS_OK) picture_release(out);
    return s;
}
