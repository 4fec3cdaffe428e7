#include "glide/call_guidance.h"

#include <stdio.h>
#include <string.h>

/* What public settings call the modes, and their files. */
typedef struct TermOf {
    GuidanceModeId id;
    const GlideGuidanceTerm *term;
    const char *path; /* as in glide.h; of a mode that needs no file: a text; NULL: the mode is off */
    GuidesKind kind;
    bool needs_file;
} TermOf;

static int terms_of(const GlideGuidance *in, TermOf terms[GUIDANCE_MODES])
{
    terms[0] = (TermOf){GUIDANCE_CFG, &in->cfg, "none", 0, false};
    terms[1] = (TermOf){GUIDANCE_AUTOGUIDANCE, &in->autoguidance, in->guide_weights, GUIDES_WEAKER, true};
    terms[2] = (TermOf){GUIDANCE_CLASSIFIER, &in->classifier, in->classifier_weights, GUIDES_CLASSIFIER, true};
    terms[3] = (TermOf){GUIDANCE_CLIP, &in->clip, in->clip_weights, GUIDES_CLIP, true};
    return GUIDANCE_MODES;
}

static Status fill_term(const GlideGuidanceTerm *in, GuidanceTerm *out)
{
    *out = guidance_term(in->scale);
    TRY(guidance_parse_interval(in->interval, out));
    return guidance_parse_schedule(in->schedule, out);
}

Status call_fill_guidance(const GlideGuidance *in, const char *stage, StageOptions *o)
{
    TermOf terms[GUIDANCE_MODES];
    Guidance *g = &o->guidance;
    guidance_defaults(g);
    for (int i = 0; i < terms_of(in, terms); i++) {
        if (!terms[i].path) continue;
        Status s = fill_term(terms[i].term, &g->terms[terms[i].id]);
        if (s != STATUS_OK) return status_prefix(s, "%s%s", stage, guidance_mode(terms[i].id)->name);
    }
    g->rescale = in->rescale;
    g->apg = (GuidanceApg){in->apg, in->apg_eta, in->apg_norm, in->apg_momentum};
    g->cfgpp = in->cfgpp;
    o->negative_prompt = in->negative_prompt;
    Status s = guidance_parse_threshold(in->threshold, g);
    if (s != STATUS_OK) return status_prefix(s, "%sthreshold", stage);
    s = guidance_check(g);
    return s == STATUS_OK || !*stage ? s : status_prefix(s, "%s", "upsampler");
}

/* --- models that guide -------------------------------------------------------------------------------- */

static Status check_weaker(const GuideFile *f, const TextUNet *model)
{
    const TextUNetConfig *a = &f->weaker->config, *b = &model->config;
    const char *wrong = a->low_res != b->low_res ? "is not of the same stage"
                        : a->unet.image_size != b->unet.image_size ? "draws pictures of another size"
                        : (f->weaker->text != NULL) != (model->text != NULL) || a->unet.num_classes != b->unet.num_classes
                            ? "is not told the same"
                        : strcmp(a->noise_schedule, b->noise_schedule) != 0 || a->diffusion_steps != b->diffusion_steps
                            ? "was trained on another noise schedule"
                            : NULL;
    if (!wrong) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: expected a weaker version of the model it guides, but it %s", f->path, wrong);
}

static Status check_classifier(const GuideFile *f, int side)
{
    const UNetConfig *c = &f->classifier->config.unet;
    int multiple = 1 << (c->levels - 1);
    if (f->classifier->pool == POOL_ATTENTION && c->image_size != side)
        return status_fail(STATUS_BAD_INPUT, "%s: a classifier of pictures of %d pixels a side, expected %d", f->path,
                           c->image_size, side);
    if (side % multiple == 0) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: a classifier of sides that are multiples of %d, the pictures have %d", f->path,
                       multiple, side);
}

static Status take_guide(const GuideFile *f, const TextUNet *model, StageGuides *out)
{
    int side = model->config.unet.image_size;
    if (f->weaker) TRY(check_weaker(f, model));
    if (f->classifier) TRY(check_classifier(f, side));
    if (f->clip && f->clip->config.image_size != side)
        return status_fail(STATUS_BAD_INPUT, "%s: a CLIP for pictures of %d pixels a side, expected %d", f->path,
                           f->clip->config.image_size, side);
    if (f->weaker) out->weaker = f->weaker;
    if (f->classifier) out->classifier = f->classifier;
    if (f->clip) {
        out->clip = f->clip;
        out->clip_bpe = f->clip_bpe;
    }
    return STATUS_OK;
}

Status call_load_guides(Glide *g, const GlideGuidance *in, const Model *model, StageOptions *o)
{
    TermOf terms[GUIDANCE_MODES];
    const GuideFile *f;
    if (!model->net->text) o->guidance.terms[GUIDANCE_CFG] = guidance_term(1);
    o->guidance.last_timestep = model->net->config.diffusion_steps - 1;
    for (int i = 0; i < terms_of(in, terms); i++) {
        if (!terms[i].path || !terms[i].needs_file || !guidance_acts(&o->guidance, terms[i].id)) continue;
        TRY(guides_load(g, terms[i].kind, terms[i].path, &f));
        TRY(take_guide(f, model->net, &o->guides));
    }
    return STATUS_OK;
}

bool call_guided_by_class(const StageOptions *o)
{
    return guidance_acts(&o->guidance, GUIDANCE_CLASSIFIER);
}

/* --- recipes ------------------------------------------------------------------------------------------ */

static void add_unless_empty(GlideRecipe *r, RecipeKey key, bool upsampler, const char *text)
{
    if (text && *text) recipe_add_text(r, recipe_key(key, upsampler), text);
}

static void add_term(GlideRecipe *r, RecipeKey first, bool upsampler, const GuidanceTerm *t, bool with_scale)
{
    char text[GUIDANCE_MOST_TEXT];
    if (with_scale && t->shape != GUIDANCE_POINTS) recipe_add_number(r, recipe_key(first, upsampler), t->scale);
    add_unless_empty(r, first + 1, upsampler, guidance_show_interval(t, text, sizeof text));
    add_unless_empty(r, first + 2, upsampler, guidance_show_schedule(t, text, sizeof text));
}

/* The file's hash, and the term. */
static void add_guide(GlideRecipe *r, Glide *g, const TermOf *t, const StageOptions *o, RecipeKey file, bool upsampler)
{
    const GuideFile *f;
    if (!t->path || !guidance_acts(&o->guidance, t->id) || guides_load(g, t->kind, t->path, &f) != STATUS_OK) return;
    recipe_add_hash(r, recipe_key(file, upsampler), f->hash);
    recipe_add_file(r, recipe_key(file, upsampler), f->path);
    add_term(r, file + 1, upsampler, &o->guidance.terms[t->id], true);
}

void call_recipe_guidance(GlideRecipe *r, Glide *g, const GlideGuidance *in, const StageOptions *o, bool upsampler)
{
    const Guidance *guidance = &o->guidance;
    char text[64];
    TermOf terms[GUIDANCE_MODES];
    terms_of(in, terms);
    add_term(r, RECIPE_GUIDANCE_SCALE, upsampler, &guidance->terms[GUIDANCE_CFG],
             !upsampler || guidance_acts(guidance, GUIDANCE_CFG));
    if (guidance_acts(guidance, GUIDANCE_CFG)) add_unless_empty(r, RECIPE_NEGATIVE_PROMPT, upsampler, o->negative_prompt);
    if (guidance->rescale > 0) recipe_add_number(r, recipe_key(RECIPE_GUIDANCE_RESCALE, upsampler), guidance->rescale);
    add_unless_empty(r, RECIPE_THRESHOLD, upsampler, guidance_show_threshold(guidance, text, sizeof text));
    char apg[3][RECIPE_NUMBER];
    if (guidance->apg.on)
        recipe_add(r, recipe_key(RECIPE_APG, upsampler), "%s:%s:%s", recipe_show_number(guidance->apg.eta, apg[0]),
                   recipe_show_number(guidance->apg.norm, apg[1]), recipe_show_number(guidance->apg.momentum, apg[2]));
    if (guidance->cfgpp) recipe_add_text(r, recipe_key(RECIPE_CFGPP, upsampler), "yes");
    add_guide(r, g, &terms[1], o, RECIPE_GUIDE_WEIGHTS, upsampler);
    add_guide(r, g, &terms[2], o, RECIPE_CLASSIFIER, upsampler);
    add_guide(r, g, &terms[3], o, RECIPE_CLIP, upsampler);
}
