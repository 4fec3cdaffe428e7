#include "glide/serve/serve_request.h"

#include "common/base64.h"
#include "common/image_read.h"
#include "common/respace.h"
#include "glide/call_guidance.h"
#include "glide/context.h"
#include "glide/inpaint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char *const kinds[] = {"sample", "inpaint", "upsample"};
static const char *const modes[GUIDANCE_MODES] = {"cfg", "autoguidance", "classifier", "clip"};

static void set(char *field, size_t size, const char *text)
{
    snprintf(field, size, "%s", text ? text : "");
}
#define SET(field, text) set(field, sizeof(field), text)

Status request_set_text(char **field, const char *text)
{
    char *copy = strdup(text ? text : "");
    if (!copy) return status_fail(STATUS_NO_MEMORY, "out of memory for a text");
    free(*field);
    *field = copy;
    return STATUS_OK;
}

static uint64_t draw_seed(void)
{
    uint32_t drawn = 0;
    while (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn) {
    }
    return drawn % 1000000000; /* short enough to be typed again */
}

void request_defaults(JobRequest *r, JobKind kind)
{
    GlideSampleOptions o = kind == JOB_INPAINT ? glide_inpaint_defaults().sample : glide_sample_defaults();
    *r = (JobRequest){.kind = kind,
                      .prompt = strdup(""),
                      .negative_prompt = strdup(""),
                      .n = 1,
                      .seed = draw_seed(),
                      .image = 1,
                      .label = -1,
                      .upsampler_scale = 1,
                      .upsample = true,
                      .upsample_temp = o.upsample_temp,
                      .strength = o.strength,
                      .colour_cells = o.colour_cells,
                      .jump = CASCADE_JUMP,
                      .repeats = CASCADE_REPEATS,
                      .scale = kind == JOB_UPSAMPLE ? 4 : 0,
                      .fidelity = 1,
                      .keep = true};
    r->terms[GUIDANCE_CFG].scale = o.guidance.cfg.scale;
    SET(r->sampler, o.sampler);
    SET(r->upsampler_sampler, o.upsampler_sampler);
    SET(r->upsampler_steps, o.upsampler_steps);
}

void request_release(JobRequest *r)
{
    free(r->prompt);
    free(r->negative_prompt);
    glide_picture_release(&r->picture);
    glide_mask_release(&r->mask);
    sampler_state_release(&r->resume);
    *r = (JobRequest){0};
}

size_t request_bytes(const JobRequest *r)
{
    return sizeof *r + (size_t)r->picture.width * (size_t)r->picture.height * 3 + (size_t)r->mask.width * (size_t)r->mask.height +
           (r->resume.x ? (size_t)r->resume.size * sizeof(float) * (1 + SAMPLER_MEMORY) : 0);
}

/* --- reading ---------------------------------------------------------------------------------------- */

static void read_text(Fields *f, const char *name, char *field, size_t size)
{
    const char *text = fields_text(f, name, size - 1, NULL);
    if (text) set(field, size, text);
}
#define READ_TEXT(f, name, field) read_text(f, name, field, sizeof(field))

void request_read_steps(Fields *f, const char *name, char *field, size_t size)
{
    json_t *value = f->rest ? json_object_get(f->rest, name) : NULL;
    if (json_is_integer(value))
        snprintf(field, size, "%lld", (long long)fields_int(f, name, 2, 65536, 2));
    else
        read_text(f, name, field, size);
}

Status request_read_term(const json_t *json, const char *where, JobTerm *term)
{
    Fields f;
    fields_init(&f, json, where);
    term->scale = fields_number(&f, "scale", -100, 100, term->scale);
    READ_TEXT(&f, "interval", term->interval);
    READ_TEXT(&f, "schedule", term->schedule);
    return fields_end(&f, true);
}

static Status read_apg(const json_t *json, JobRequest *r)
{
    Fields f;
    if (json_is_boolean(json)) {
        r->apg = json_is_true(json);
        return STATUS_OK;
    }
    fields_init(&f, json, "guidance.apg");
    r->apg = true;
    r->apg_eta = fields_number(&f, "eta", -100, 100, 0);
    r->apg_norm = fields_number(&f, "norm", 0, 1e9, 0);
    r->apg_momentum = fields_number(&f, "momentum", -0.999, 0.999, 0);
    return fields_end(&f, true);
}

static Status read_guidance(const json_t *json, JobRequest *r)
{
    Fields f;
    char where[64];
    fields_init(&f, json, "guidance");
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        const json_t *term = fields_any(&f, modes[i]);
        snprintf(where, sizeof where, "guidance.%s", modes[i]);
        Status s = term ? request_read_term(term, where, &r->terms[i]) : STATUS_OK;
        if (s != STATUS_OK) {
            fields_end(&f, false);
            return request_read_term(term, where, &r->terms[i]); /* its message again */
        }
    }
    r->rescale = fields_number(&f, "rescale", 0, 1, r->rescale);
    READ_TEXT(&f, "threshold", r->threshold);
    r->cfgpp = fields_bool(&f, "cfgpp", r->cfgpp);
    const json_t *apg = fields_any(&f, "apg");
    TRY(fields_end(&f, true));
    return apg ? read_apg(apg, r) : STATUS_OK;
}

static Status read_pictures(const char *picture, const char *mask, bool inverted, const RequestLimits *limits, JobRequest *r)
{
    unsigned char *bytes;
    size_t size;
    if (picture) {
        Status s = base64_decode(picture, &bytes, &size);
        if (s == STATUS_OK) {
            s = request_decode_picture(limits, bytes, size, &r->picture);
            free(bytes);
        }
        if (s != STATUS_OK) return status_prefix(s, "picture");
    }
    if (!mask) return STATUS_OK;
    Status s = base64_decode(mask, &bytes, &size);
    if (s == STATUS_OK) {
        s = request_decode_mask(limits, bytes, size, inverted, false, r);
        free(bytes);
    }
    return s == STATUS_OK ? s : status_prefix(s, "mask");
}

/* A number, or "SUBJECT, STYLE" in the words of the classifier. */
static void read_class(Fields *f, const RequestLimits *limits, int *label)
{
    if (!json_is_string(f->rest ? json_object_get(f->rest, "class") : NULL)) {
        *label = (int)fields_int(f, "class", -1, 1048575, *label);
        return;
    }
    const char *text = fields_text(f, "class", 200, "");
    if (!limits->class_names)
        fields_fail(f, "class", "expected a number");
    else if (classifier_parse_label(limits->class_names, text, label) != STATUS_OK)
        fields_fail(f, "class", "%s", status_message() + strcspn(status_message(), " ") + 1); /* begins with "class: " */
}

static Status read_fields(Fields *f, const RequestLimits *limits, JobRequest *r)
{
    const char *prompt = fields_text(f, "prompt", JOB_MOST_PROMPT, NULL);
    const char *negative = fields_text(f, "negative_prompt", JOB_MOST_PROMPT, NULL);
    r->n = (int)fields_int(f, "n", 1, limits->most_pictures, r->n);
    r->seed = (uint64_t)fields_int(f, "seed", 0, INT64_MAX, (int64_t)r->seed);
    r->image = (uint32_t)fields_int(f, "image", 1, 1000000000, r->image);
    read_class(f, limits, &r->label);
    READ_TEXT(f, "sampler", r->sampler);
    request_read_steps(f, "steps", r->steps, sizeof r->steps);
    r->upsample = fields_bool(f, "upsample", r->upsample);
    READ_TEXT(f, "upsampler_sampler", r->upsampler_sampler);
    request_read_steps(f, "upsampler_steps", r->upsampler_steps, sizeof r->upsampler_steps);
    r->upsampler_scale = fields_number(f, "upsampler_guidance_scale", -100, 100, r->upsampler_scale);
    r->upsample_temp = fields_number(f, "upsample_temp", 0, 10, r->upsample_temp);
    r->colour_cells = (int)fields_int(f, "colour_cells", 0, 1024, r->colour_cells);
    r->strength = fields_number(f, "strength", 0, 1, r->strength);
    r->jump = (int)fields_int(f, "jump", 1, 1000, r->jump);
    r->repeats = (int)fields_int(f, "repeats", 1, 16, r->repeats);
    r->keep = fields_bool(f, "keep", r->keep);
    r->scale = (int)fields_int(f, "scale", 0, 8, r->scale);
    r->width = (int)fields_int(f, "width", 0, 65536, r->width);
    r->height = (int)fields_int(f, "height", 0, 65536, r->height);
    r->fidelity = fields_number(f, "fidelity", 0, 1, r->fidelity);
    r->noise_level = fields_number(f, "noise_level", 0, 1, r->noise_level);
    const char *picture = fields_text(f, "picture", SIZE_MAX, NULL), *mask = fields_text(f, "mask", SIZE_MAX, NULL);
    bool inverted = fields_bool(f, "mask_inverted", false);
    const json_t *guidance = fields_any(f, "guidance");
    TRY(fields_end(f, true));
    if (prompt) TRY(request_set_text(&r->prompt, prompt));
    if (negative) TRY(request_set_text(&r->negative_prompt, negative));
    if (guidance) TRY(read_guidance(guidance, r));
    return read_pictures(picture, mask, inverted, limits, r);
}

Status request_from_json(const json_t *json, const RequestLimits *limits, JobRequest *r)
{
    Fields f;
    int kind = 0;
    fields_init(&f, json, "");
    const char *name = fields_text(&f, "kind", 16, kinds[0]);
    while (kind < 3 && strcmp(kinds[kind], name) != 0) kind++;
    if (kind == 3) {
        fields_fail(&f, "kind", "expected sample, inpaint or upsample, found %.16s", name);
        kind = 0;
    }
    request_defaults(r, (JobKind)kind);
    Status s = r->prompt && r->negative_prompt ? read_fields(&f, limits, r) : status_fail(STATUS_NO_MEMORY, "out of memory");
    if (s == STATUS_OK) s = request_check(r, limits);
    if (s != STATUS_OK) request_release(r);
    return s;
}

/* --- checking --------------------------------------------------------------------------------------- */

static Status check_process(const RequestLimits *limits, const char *what, const char *sampler, const char *steps)
{
    int count;
    const SamplerKind *kind = sampler_find(sampler);
    if (!kind || kind->ascending) return status_fail(STATUS_BAD_INPUT, "%ssampler: no sampler is called \"%.31s\"", what, sampler);
    Status s = respacing_count(limits->diffusion_steps, steps, NULL, &count);
    if (s != STATUS_OK) return status_prefix(s, "%ssteps", what);
    if (count >= 2 && count <= limits->most_steps) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%ssteps: expected 2 to %d, found %d", what, limits->most_steps, count);
}

static Status check_guidance(const JobRequest *r, const RequestLimits *limits)
{
    const char *const files[GUIDANCE_MODES] = {"", limits->guide_weights, limits->classifier, limits->clip};
    GlideGuidance guidance = request_guidance(r, limits);
    StageOptions o;
    stage_options_defaults(&o);
    for (int i = 1; i < GUIDANCE_MODES; i++)
        if (!files[i] && (r->terms[i].scale != 0 || *r->terms[i].schedule || *r->terms[i].interval))
            return status_fail(STATUS_BAD_INPUT, "guidance.%s: the server was started without a model for it", modes[i]);
    Status s = call_fill_guidance(&guidance, "", &o);
    return s == STATUS_OK ? s : status_prefix(s, "guidance");
}

Status request_result_size(const JobRequest *r, const RequestLimits *limits, int *width, int *height)
{
    double w = r->width, h = r->height, most = (double)limits->most_side * limits->most_side;
    *width = *height = limits->upsampler_side;
    if (r->scale == 0) return STATUS_OK;
    if (r->scale != 2 && r->scale != 4 && r->scale != 8)
        return status_fail(STATUS_BAD_INPUT, "scale: expected 2, 4 or 8, found %d", r->scale);
    if ((r->width > 0) != (r->height > 0)) return status_fail(STATUS_BAD_INPUT, "width, height: expected both or none");
    if (!r->width) w = (double)r->picture.width * r->scale, h = (double)r->picture.height * r->scale;
    if (w > 8.0 * r->picture.width || h > 8.0 * r->picture.height)
        return status_fail(STATUS_BAD_INPUT, "size: %.0fx%.0f is more than 8 times %dx%d", w, h, r->picture.width,
                r->picture.height);
    if (w * h > most)
        return status_fail(STATUS_BAD_INPUT, "size: the result would have %.0fx%.0f pixels, expected at most %.0f million", w, h,
                most * 1e-6);
    *width = (int)w;
    *height = (int)h;
    return STATUS_OK;
}

static Status check_pictures(const JobRequest *r, const RequestLimits *limits)
{
    int width, height;
    if (r->kind == JOB_UPSAMPLE && !limits->upsampler_side) return status_fail(STATUS_BAD_INPUT, "kind: there is no upsampler");
    if (r->kind != JOB_SAMPLE && !r->picture.rgb) return status_fail(STATUS_BAD_INPUT, "picture: expected one");
    if (r->kind == JOB_INPAINT && !r->mask.paint) return status_fail(STATUS_BAD_INPUT, "mask: expected one");
    if (r->kind != JOB_INPAINT && r->mask.paint) return status_fail(STATUS_BAD_INPUT, "mask: expected kind \"inpaint\" beside it");
    if (r->kind == JOB_UPSAMPLE && r->n != 1) return status_fail(STATUS_BAD_INPUT, "n: expected 1 picture to be enlarged");
    if (r->kind == JOB_UPSAMPLE) TRY(request_result_size(r, limits, &width, &height));
    for (int64_t i = 0; r->mask.paint && i < (int64_t)r->mask.width * r->mask.height; i++)
        if (r->mask.paint[i]) return STATUS_OK;
    return r->mask.paint ? status_fail(STATUS_BAD_INPUT, "mask: nothing is marked to be painted") : STATUS_OK;
}

Status request_check(const JobRequest *r, const RequestLimits *limits)
{
    if (r->n < 1 || r->n > limits->most_pictures)
        return status_fail(STATUS_BAD_INPUT, "n: expected 1 to %d, found %d", limits->most_pictures, r->n);
    if (!limits->text && *r->prompt) return status_fail(STATUS_BAD_INPUT, "prompt: the base model takes none");
    if (r->label >= 0 && r->label >= limits->classes && !limits->classifier)
        return status_fail(STATUS_BAD_INPUT, "class: the models know %d, found %d", limits->classes, r->label);
    if (limits->class_names && !limits->classes && r->label >= classifier_classes(&limits->class_names->config))
        return status_fail(STATUS_BAD_INPUT, "class: the classifier knows %d, found %d",
                           classifier_classes(&limits->class_names->config), r->label);
    if (limits->classes && r->label < 0 && r->kind != JOB_UPSAMPLE)
        return status_fail(STATUS_BAD_INPUT, "class: expected 0 to %d", limits->classes - 1);
    const char *steps = *r->steps ? r->steps : cascade_default_steps(r->sampler);
    if (r->kind != JOB_UPSAMPLE) TRY(check_process(limits, "", r->sampler, steps));
    if (r->upsample) TRY(check_process(limits, "upsampler_", r->upsampler_sampler, r->upsampler_steps));
    TRY(check_guidance(r, limits));
    return check_pictures(r, limits);
}

/* --- pictures --------------------------------------------------------------------------------------- */

/* What a PNG says of its size, before memory is asked for. */
static bool png_too_large(const unsigned char *b, size_t size, int most)
{
    static const unsigned char magic[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (size < 24 || memcmp(b, magic, 8) != 0) return false;
    uint32_t w = (uint32_t)b[16] << 24 | (uint32_t)b[17] << 16 | (uint32_t)b[18] << 8 | b[19];
    uint32_t h = (uint32_t)b[20] << 24 | (uint32_t)b[21] << 16 | (uint32_t)b[22] << 8 | b[23];
    return w > (uint32_t)most || h > (uint32_t)most;
}

static Status too_large(int most)
{
    return status_fail(STATUS_BAD_INPUT, "expected a picture of at most %d x %d pixels", most, most);
}

Status request_decode_picture(const RequestLimits *limits, const unsigned char *bytes, size_t size, GlidePicture *out)
{
    Image image = {0};
    *out = (GlidePicture){0};
    if (png_too_large(bytes, size, limits->most_side)) return too_large(limits->most_side);
    TRY(image_decode("the picture", bytes, size, &image));
    if (image.w > limits->most_side || image.h > limits->most_side) {
        image_release(&image);
        return too_large(limits->most_side);
    }
    picture_give(&image, out);
    return STATUS_OK;
}

Status request_decode_mask(const RequestLimits *limits, const unsigned char *bytes, size_t size, bool inverted, bool only_alpha,
                           JobRequest *r)
{
    Mask mask = {0};
    int w = r->picture.width, h = r->picture.height;
    if (!r->picture.rgb) return status_fail(STATUS_BAD_INPUT, "expected a picture beside it");
    if (png_too_large(bytes, size, limits->most_side)) return too_large(limits->most_side);
    TRY(mask_decode("the mask", bytes, size, &mask));
    Status s = mask.w > limits->most_side || mask.h > limits->most_side ? too_large(limits->most_side) : STATUS_OK;
    glide_mask_release(&r->mask);
    bool wanted = s == STATUS_OK && (mask.from_alpha || !only_alpha);
    if (wanted) s = inpaint_fit_mask(&mask, inverted, w, h, &r->mask.paint);
    if (wanted && s == STATUS_OK) r->mask = (GlideMask){w, h, r->mask.paint};
    mask_release(&mask);
    return s;
}

/* --- for the models --------------------------------------------------------------------------------- */

static GlideGuidanceTerm public_term(const JobTerm *t)
{
    return (GlideGuidanceTerm){t->scale, *t->interval ? t->interval : NULL, *t->schedule ? t->schedule : NULL};
}

GlideGuidance request_guidance(const JobRequest *r, const RequestLimits *limits)
{
    GlideGuidance g = glide_guidance_defaults();
    g.cfg = public_term(&r->terms[GUIDANCE_CFG]);
    g.autoguidance = public_term(&r->terms[GUIDANCE_AUTOGUIDANCE]);
    g.classifier = public_term(&r->terms[GUIDANCE_CLASSIFIER]);
    g.clip = public_term(&r->terms[GUIDANCE_CLIP]);
    bool weaker = r->terms[GUIDANCE_AUTOGUIDANCE].scale != 0 || g.autoguidance.schedule;
    bool classifier = r->terms[GUIDANCE_CLASSIFIER].scale != 0 || g.classifier.schedule;
    bool clip = r->terms[GUIDANCE_CLIP].scale != 0 || g.clip.schedule;
    g.guide_weights = weaker ? limits->guide_weights : NULL;
    g.classifier_weights = classifier ? limits->classifier : NULL;
    g.clip_weights = clip ? limits->clip : NULL;
    g.negative_prompt = *r->negative_prompt ? r->negative_prompt : NULL;
    g.rescale = r->rescale;
    g.threshold = *r->threshold ? r->threshold : NULL;
    g.apg = r->apg;
    g.apg_eta = r->apg_eta;
    g.apg_norm = r->apg_norm;
    g.apg_momentum = r->apg_momentum;
    g.cfgpp = r->cfgpp;
    return g;
}

/* What options of either kind call by the same names. */
#define TAKE_COMMON(o, r) \
    ((o).seed = (r)->seed, (o).image = (r)->image, (o).label = (r)->label, (o).upsample_temp = (r)->upsample_temp, \
     (o).colour_cells = (r)->colour_cells)

GlideSampleOptions request_sample_options(const JobRequest *r, const RequestLimits *limits)
{
    GlideSampleOptions o = glide_sample_defaults();
    TAKE_COMMON(o, r);
    o.n = r->n;
    o.guidance = request_guidance(r, limits);
    o.upsampler_guidance.cfg.scale = r->upsampler_scale;
    o.upsampler_guidance.negative_prompt = o.guidance.negative_prompt;
    o.sampler = r->sampler;
    o.steps = *r->steps ? r->steps : NULL;
    o.upsample = r->upsample;
    o.upsampler_sampler = r->upsampler_sampler;
    o.upsampler_steps = r->upsampler_steps;
    o.strength = r->strength;
    if (r->kind == JOB_SAMPLE && r->picture.rgb) o.init_image = &r->picture;
    return o;
}

GlideUpsampleOptions request_upsample_options(const JobRequest *r)
{
    GlideUpsampleOptions o = glide_upsample_defaults();
    TAKE_COMMON(o, r);
    o.prompt = r->prompt;
    o.sampler = r->upsampler_sampler;
    o.steps = r->upsampler_steps;
    o.guidance.cfg.scale = r->upsampler_scale;
    o.guidance.negative_prompt = *r->negative_prompt ? r->negative_prompt : NULL;
    o.scale = r->scale;
    o.width = r->width;
    o.height = r->height;
    o.fidelity = r->fidelity;
    o.noise_level = r->noise_level;
    return o;
}

/* How many windows of the upsampler's side an enlarged picture takes, about: they overlap by a quarter. */
static double count_windows(const JobRequest *r, const RequestLimits *limits)
{
    int width, height;
    double step = 0.75 * limits->upsampler_side;
    if (r->kind != JOB_UPSAMPLE || r->scale == 0 || request_result_size(r, limits, &width, &height) != STATUS_OK) return 1;
    bool twice = width > 4 * r->picture.width || height > 4 * r->picture.height;
    double w = 4.0 * r->picture.width / step, h = 4.0 * r->picture.height / step;
    return ceil(w) * ceil(h) + (twice ? ceil(2 * w) * ceil(2 * h) : 0);
}

void request_steps(const JobRequest *r, const RequestLimits *limits, int steps[2], double weight[2])
{
    const char *base = *r->steps ? r->steps : cascade_default_steps(r->sampler);
    GlideGuidance guidance = request_guidance(r, limits);
    StageOptions o;
    stage_options_defaults(&o);
    steps[0] = steps[1] = 0;
    weight[0] = weight[1] = 1;
    if (r->kind != JOB_UPSAMPLE && respacing_count(limits->diffusion_steps, base, NULL, &steps[0]) == STATUS_OK &&
        call_fill_guidance(&guidance, "", &o) == STATUS_OK)
        weight[0] = guidance_mean_answers(&o.guidance) * sampler_find(r->sampler)->evaluations;
    if (r->kind == JOB_INPAINT) steps[0] *= r->repeats;
    if (!limits->upsampler_side || !r->upsample) return;
    respacing_count(limits->diffusion_steps, r->upsampler_steps, NULL, &steps[1]);
    weight[1] = sampler_find(r->upsampler_sampler)->evaluations * count_windows(r, limits);
}
