#include "glide/ablation/study_guides.h"

#include "common/rng.h"
#include "data/subgroups.h"
#include "glide/call_guidance.h"
#include "glide/weights_path.h"
#include "guidance/guide.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNTRAINED_CLASSES = 8, UNTRAINED_SEED = 20211220 };

/* --- costs ------------------------------------------------------------------------------------------------ */

/* Of the large convolutions; a U-Net's decoder has about as many as its encoder. */
static double unet_cost(const UNetConfig *c, bool decoder)
{
    double cost = 0, side = c->image_size;
    for (int level = 0; level < c->levels; level++, side /= 2) cost += side * side * pow(c->channels * c->mult[level], 2);
    return cost * c->res_blocks * 18 * (decoder ? 2.2 : 1);
}

static double clip_cost(const Clip *m)
{
    double tokens = pow(m->config.image_size / m->config.patch_size, 2) + 1;
    return tokens * 12 * m->config.image.layers * pow(m->config.image.width, 2);
}

static void estimate_costs(Study *s)
{
    enum { WITH_GRADIENT = 3 };
    const StageGuides *g = &s->options.base.guides;
    const Classifier *classifier = g->classifier ? g->classifier : s->untrained;
    s->base_cost = unet_cost(&s->glide->base.net->config.unet, true);
    if (g->weaker) s->weaker_cost = unet_cost(&g->weaker->config.unet, true);
    if (classifier) s->guide_cost[GUIDANCE_CLASSIFIER] = WITH_GRADIENT * unet_cost(&classifier->config.unet, false);
    if (g->clip) s->guide_cost[GUIDANCE_CLIP] = WITH_GRADIENT * clip_cost(g->clip);
    if (s->upsampler_steps) s->upsampler_cost = s->upsampler_steps * unet_cost(&s->glide->upsampler.net->config.unet, true);
}

/* --- files ------------------------------------------------------------------------------------------------ */

static Status guide_path(const char *given, const char *usual, const char *mode, const char *option, char *path)
{
    if (given) {
        snprintf(path, PATH_MAX, "%s", given);
        return STATUS_OK;
    }
    if (usual && weights_path_default(usual, path, PATH_MAX) == STATUS_OK) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "--modes: %s: expected --%s beside it%s%s", mode, option,
                       usual ? "; there are no default weights " : "", usual ? usual : "");
}

static Status note_hash(Study *s, GuidesKind kind, const char *name, const char *path)
{
    const GuideFile *f;
    TRY(guides_load(s->glide, kind, path, &f));
    return study_facts_add(&s->spec.settings, name, "%016llx", (unsigned long long)f->hash);
}

static Status load_files(Study *s, const StudyAsk *ask)
{
    char weaker[PATH_MAX], classifier[PATH_MAX], clip[PATH_MAX];
    const bool *uses = s->grid.uses;
    GlideGuidance in = glide_guidance_defaults();
    StageOptions *o = &s->options.base;
    if (uses[GUIDANCE_AUTOGUIDANCE]) {
        TRY(guide_path(ask->guide_weights, NULL, "autoguidance", "guide-weights", weaker));
        in.guide_weights = weaker;
    }
    if (uses[GUIDANCE_CLASSIFIER]) {
        TRY(guide_path(ask->classifier, "classifier.h5", "classifier", "classifier", classifier));
        in.classifier_weights = classifier;
    }
    if (uses[GUIDANCE_CLIP]) {
        TRY(guide_path(ask->clip, "clip.h5", "clip", "clip", clip));
        in.clip_weights = clip;
    }
    for (int i = 0; i < GUIDANCE_MODES; i++) o->guidance.terms[i].scale += uses[i] ? 1 : 0;
    TRY(call_load_guides(s->glide, &in, &s->glide->base, o));
    guidance_defaults(&o->guidance);
    if (in.guide_weights) TRY(note_hash(s, GUIDES_WEAKER, "guide_weights", weaker));
    if (in.classifier_weights) TRY(note_hash(s, GUIDES_CLASSIFIER, "classifier", classifier));
    return in.clip_weights ? note_hash(s, GUIDES_CLIP, "clip", clip) : STATUS_OK;
}

/* --- the classifier that nobody trained ------------------------------------------------------------------- */

static void small_config(int side, ClassifierConfig *c)
{
    classifier_config_defaults(c);
    snprintf(c->pool, sizeof c->pool, "adaptive");
    c->unet = (UNetConfig){.image_size = side, .in_channels = 3, .out_channels = UNTRAINED_CLASSES, .channels = 32, .levels = 3,
                           .mult = {1, 2, 2}, .res_blocks = 1, .head_channels = 32, .heads = 1, .heads_upsample = -1,
                           .scale_shift_norm = true, .resblock_updown = true};
}

/* Layers that training starts at zero would leave no gradient. */
static Status fill_zeros(ParamSet *set)
{
    for (int i = 0; i < set->count; i++) {
        Param *p = set->items[i];
        if (p->init != INIT_ZERO || p->ndim < 2) continue;
        float scale = 1 / sqrtf((float)p->size / (float)p->dims[0]), *values = param_fetch(p);
        if (!values) return status_fail(STATUS_NO_MEMORY, "out of memory for a classifier");
        rng_normal(&(RngKey){.seed = UNTRAINED_SEED, .stream = RNG_PARAMS, .image = (uint32_t)i, .step = 1}, values,
                   (int64_t)p->size);
        for (size_t k = 0; k < p->size; k++) values[k] *= scale;
    }
    params_touch(set);
    return STATUS_OK;
}

/* Root mean square of log p's gradient, for noise at the timestep. */
static Status gradient_norm(const Study *s, const Classifier *m, double share, double *out)
{
    enum { ROWS = 4 };
    const int side = context_side(&s->glide->base), size = side * side * IMAGE_CHANNELS;
    const int32_t labels[ROWS] = {0};
    float timesteps[ROWS], *x = calloc(2 * ROWS * (size_t)size, sizeof *x), *gradient = x + ROWS * size;
    double sum = 0;
    Guide g;
    if (!x) return status_fail(STATUS_NO_MEMORY, "out of memory for a gradient");
    rng_normal(&(RngKey){.seed = UNTRAINED_SEED, .stream = RNG_PARAMS, .step = 2}, x, ROWS * size);
    for (int i = 0; i < ROWS; i++) timesteps[i] = (float)floor(share * m->config.diffusion_steps);
    Status status = guide_classifier(&g, s->glide->kernels, DTYPE_F32, m, labels, ROWS);
    if (status == STATUS_OK) {
        status = guide_gradient(&g, x, side, side, timesteps, gradient, NULL);
        guide_release(&g);
    }
    for (int i = 0; i < ROWS * size; i++) sum += (double)gradient[i] * gradient[i];
    *out = sqrt(sum / (ROWS * size));
    free(x);
    return status;
}

static void multiply(Param *p, double factor)
{
    float *values = p ? param_fetch(p) : NULL;
    for (size_t i = 0; values && i < p->size; i++) values[i] *= (float)factor;
}

/* A guide so weak that it does nothing would be no control: the last layer is scaled until the gradient is as strong as the
 * classifier's, for noise at three levels. Not quite linear in the layer, so it takes some rounds. */
static Status match_strength(const Study *s, const Classifier *trained, Classifier *m)
{
    static const double shares[] = {0.9, 0.7, 0.5};
    const bool conv = m->pool == POOL_ADAPTIVE;
    for (int round = 0; round < 4; round++) {
        double log_ratio = 0, wanted, found;
        for (int i = 0; i < 3; i++) {
            TRY(gradient_norm(s, trained, shares[i], &wanted));
            TRY(gradient_norm(s, m, shares[i], &found));
            if (!(wanted > 0 && found > 0)) return STATUS_OK;
            log_ratio += log(wanted / found) / 3;
        }
        multiply(conv ? m->out_conv.weight : m->out.weight, exp(log_ratio));
        multiply(conv ? m->out_conv.bias : m->out.bias, exp(log_ratio));
        params_touch(&m->params);
    }
    return STATUS_OK;
}

static Status make_untrained(Study *s)
{
    const Classifier *trained = s->options.base.guides.classifier;
    ClassifierConfig config;
    if (trained) config = trained->config;
    else small_config(context_side(&s->glide->base), &config);
    TRY(classifier_new(&config, &s->untrained));
    params_randomize(&s->untrained->params, UNTRAINED_SEED);
    TRY(fill_zeros(&s->untrained->params));
    if (trained) TRY(match_strength(s, trained, s->untrained));
    return study_facts_add(&s->spec.facts, "untrained classifier", "random weights of seed %d%s", UNTRAINED_SEED,
                           trained ? ", otherwise as the classifier; its gradient is made as strong, measured on noise"
                                   : ", a small network, asked for classes that mean nothing");
}

Status study_guides_load(Study *s, const StudyAsk *ask)
{
    TRY(load_files(s, ask));
    if (s->grid.untrained) TRY(make_untrained(s));
    estimate_costs(s);
    return STATUS_OK;
}

/* --- classes ---------------------------------------------------------------------------------------------- */

static Status label_of_line(const Classifier *m, const StudyPrompts *p, int i, const char *source, int *out)
{
    Status s = classifier_parse_label(m, p->of_class[i] ? p->of_class[i] : "", out);
    return s == STATUS_OK ? s : status_prefix(s, "--prompts: %s: \"%.60s\": behind a TAB", source, p->text[i]);
}

static Status label_of_picture(const Classifier *m, const Subgroups *subgroups, const DatasetItem *item, int *out)
{
    const char *subject = subgroups_of(subgroups, item);
    *out = classifier_label(m, subject, item->style);
    if (*out >= 0) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "--prompts: the classifier has no class for \"%.40s, %.40s\"; expected a file with "
                       "classes behind TABs", subject, item->style);
}

static Status label_all(const Classifier *m, const StudyPrompts *p, const Dataset *d, const char *source, int32_t *labels)
{
    char path[PATH_MAX];
    Subgroups *subgroups = NULL;
    Status s = STATUS_OK;
    if (p->picture[0] >= 0) {
        TRY(data_path_default("subgroups.tsv", path, sizeof path));
        TRY(subgroups_load(path, &subgroups));
    }
    for (int i = 0; i < p->count && s == STATUS_OK; i++) {
        int label = -1;
        if (p->picture[i] < 0) s = label_of_line(m, p, i, source, &label);
        else s = label_of_picture(m, subgroups, dataset_item(d, p->picture[i]), &label);
        labels[i] = label;
    }
    subgroups_free(subgroups);
    return s;
}

Status study_guides_label(Study *s, const StudyPrompts *prompts, const Dataset *d, const char *source)
{
    const Classifier *m = s->options.base.guides.classifier;
    for (int i = 0; i < prompts->count; i++)
        s->spec.label[i] = s->untrained ? i % classifier_classes(&s->untrained->config) : -1;
    return m ? label_all(m, prompts, d, source, s->spec.label) : STATUS_OK;
}
