#include "glide/ablation/condition_grid.h"

#include "glide/ablation/condition_words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- adding ---------------------------------------------------------------------------------------------- */

static Status add(ConditionGrid *g, const Condition *c)
{
    if (g->count == CONDITIONS_MOST)
        return status_fail(STATUS_BAD_INPUT, "--modes: more than %d conditions with these scales and variants", CONDITIONS_MOST);
    for (int i = 0; i < g->count; i++)
        if (!strcmp(g->items[i].shown.label, c->shown.label))
            return status_fail(STATUS_BAD_INPUT, "--modes: \"%s\" is asked for twice", c->shown.label);
    g->items[g->count++] = *c;
    for (int m = 0; m < GUIDANCE_MODES; m++) {
        bool guides = guidance_acts(&c->guidance, (GuidanceModeId)m);
        if (c->untrained && m == GUIDANCE_CLASSIFIER) g->untrained = g->untrained || guides;
        else g->uses[m] = g->uses[m] || guides;
    }
    return STATUS_OK;
}

static Condition unguided(int last_timestep)
{
    Condition c = {.shown = {.label = "none", .mode = "none", .high = last_timestep, .must_equal = -1, .equals = -1}};
    guidance_defaults(&c.guidance);
    c.guidance.last_timestep = last_timestep;
    return c;
}

/* "cfg 3", "cfg+clip 3+100", with the variant behind it. */
static Status name_it(Condition *c, const ConditionMode *mode, const ConditionVariant *v, const ConditionScale *s)
{
    char scale[64];
    int n = snprintf(scale, sizeof scale, "%g", s->of[0]);
    for (int i = 1; i < mode->count && !s->same; i++) n += snprintf(scale + n, sizeof scale - (size_t)n, "+%g", s->of[i]);
    n = snprintf(c->shown.label, sizeof c->shown.label, "%s %s%s%s", mode->name, scale, *v->text ? " " : "", v->text);
    if (n < (int)sizeof c->shown.label) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "--variants: \"%.40s...\" is too long a name with \"%.40s\"", v->text, mode->name);
}

static Status combine(const ConditionMode *mode, const ConditionVariant *v, const ConditionScale *s, int last_timestep,
                      Condition *c)
{
    *c = unguided(last_timestep);
    snprintf(c->shown.mode, sizeof c->shown.mode, "%s", mode->name);
    snprintf(c->shown.variant, sizeof c->shown.variant, "%s", v->text);
    c->shown.scale = s->of[0];
    c->shown.low = fmax(v->term.low, 0);
    c->shown.high = fmin(v->term.high, last_timestep);
    c->guidance.rescale = v->guidance.rescale;
    c->guidance.threshold = v->guidance.threshold;
    c->guidance.percentile = v->guidance.percentile;
    c->guidance.apg = v->guidance.apg;
    c->guidance.cfgpp = v->guidance.cfgpp;
    for (int i = 0; i < mode->count; i++) {
        c->guidance.terms[mode->of[i]] = v->term;
        c->guidance.terms[mode->of[i]].scale = s->of[i];
    }
    TRY(name_it(c, mode, v, s));
    Status status = guidance_check(&c->guidance);
    return status == STATUS_OK ? status : status_prefix(status, "%s", c->shown.label);
}

/* --- the grid -------------------------------------------------------------------------------------------- */

static bool has_mode(const ConditionMode *mode, GuidanceModeId id)
{
    for (int i = 0; i < mode->count; i++)
        if (mode->of[i] == id) return true;
    return false;
}

/* Whether a variant can change anything about a mode. */
static bool applies(const ConditionVariant *v, const ConditionMode *mode)
{
    bool differs = has_mode(mode, GUIDANCE_CFG) || has_mode(mode, GUIDANCE_AUTOGUIDANCE);
    if (v->guidance.cfgpp && !has_mode(mode, GUIDANCE_CFG)) return false;
    return differs || !(v->guidance.rescale > 0 || v->guidance.apg.on);
}

static double cfg_scale(const ConditionMode *mode, const ConditionScale *s)
{
    for (int i = 0; i < mode->count; i++)
        if (mode->of[i] == GUIDANCE_CFG) return s->of[i];
    return 0;
}

static Status add_scales(ConditionGrid *g, const ConditionWords *w, const ConditionMode *mode, const ConditionVariant *v,
                         int last_timestep)
{
    ConditionScales scales;
    int added = 0;
    TRY(condition_scales_for(w, mode, v, &scales));
    for (int i = 0; i < scales.count; i++) {
        Condition c;
        if (v->guidance.cfgpp && cfg_scale(mode, &scales.items[i]) > 1) continue;
        TRY(combine(mode, v, &scales.items[i], last_timestep, &c));
        TRY(add(g, &c));
        added++;
    }
    if (added > 0) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "--scales: expected some from 0 to 1 for %s with %s, such as \";cfgpp=0.4,0.6,0.8\"",
                       mode->name, v->text);
}

static Status add_grid(ConditionGrid *g, const ConditionWords *w, bool none, int last_timestep)
{
    Condition c = unguided(last_timestep);
    if (none || w->none) TRY(add(g, &c));
    for (int v = 0; v < w->variant_count; v++)
        for (int m = 0; m < w->mode_count; m++)
            if (applies(&w->variants[v], &w->modes[m])) TRY(add_scales(g, w, &w->modes[m], &w->variants[v], last_timestep));
    return STATUS_OK;
}

/* --- controls -------------------------------------------------------------------------------------------- */

static int find(const ConditionGrid *g, const char *label)
{
    for (int i = 0; i < g->count; i++)
        if (!strcmp(g->items[i].shown.label, label)) return i;
    return -1;
}

static Status add_control(ConditionGrid *g, Condition *c, AblationControl control, int must_equal, const char *words)
{
    c->shown.control = control;
    c->shown.must_equal = must_equal;
    snprintf(c->shown.label, sizeof c->shown.label, "control: %.86s", words);
    return add(g, c);
}

/* Each mode at the scale that leaves it out. */
static Status add_neutral(ConditionGrid *g, const ConditionWords *w, int last_timestep)
{
    char words[80];
    for (int id = 0; id < GUIDANCE_MODES; id++) {
        const GuidanceMode *mode = guidance_mode((GuidanceModeId)id);
        bool used = false;
        for (int m = 0; m < w->mode_count; m++) used = used || has_mode(&w->modes[m], (GuidanceModeId)id);
        if (!used) continue;
        Condition c = unguided(last_timestep);
        c.guidance.terms[id].scale = c.shown.scale = mode->neutral;
        snprintf(c.shown.mode, sizeof c.shown.mode, "%s", mode->name);
        snprintf(words, sizeof words, "%s %g", mode->name, mode->neutral);
        TRY(add_control(g, &c, ABLATION_SCALE_0, find(g, "none"), words));
    }
    Condition c = unguided(last_timestep);
    int without = find(g, "cfg 0");
    c.prompt = CONDITION_NO_PROMPT;
    return without < 0 ? STATUS_OK : add_control(g, &c, ABLATION_SCALE_0, without, "no prompt");
}

/* The plain condition of the largest scale of a mode: the first one with cfg, or the first one. -1: none. */
static int strongest(const ConditionGrid *g, bool any, GuidanceModeId id)
{
    int best = -1;
    for (int i = 0; i < g->count; i++) {
        const Condition *c = &g->items[i];
        bool fits = any || strstr(c->shown.mode, guidance_mode(id)->name) != NULL;
        if (!fits || *c->shown.variant || c->shown.control != ABLATION_PLAIN || !strcmp(c->shown.mode, "none")) continue;
        bool same = best >= 0 && !strcmp(c->shown.mode, g->items[best].shown.mode);
        if (best < 0 || (same && c->shown.scale > g->items[best].shown.scale)) best = i;
    }
    return best;
}

static Status add_shuffled(ConditionGrid *g, int last_timestep)
{
    char words[sizeof g->items->shown.label];
    int of = strongest(g, false, GUIDANCE_CFG);
    if (of < 0) of = strongest(g, true, 0);
    Condition c = of < 0 ? unguided(last_timestep) : g->items[of];
    c.prompt = CONDITION_OTHER_PROMPT;
    snprintf(words, sizeof words, "shuffled %.80s", c.shown.label);
    return add_control(g, &c, ABLATION_SHUFFLED_PROMPTS, -1, words);
}

static Status add_untrained(ConditionGrid *g, int last_timestep)
{
    char words[80];
    int of = strongest(g, false, GUIDANCE_CLASSIFIER);
    double scale = of < 0 ? 1 : g->items[of].guidance.terms[GUIDANCE_CLASSIFIER].scale;
    Condition c = unguided(last_timestep);
    c.untrained = true;
    snprintf(c.shown.mode, sizeof c.shown.mode, "classifier");
    c.guidance.terms[GUIDANCE_CLASSIFIER].scale = c.shown.scale = scale > 0 ? scale : 1;
    snprintf(words, sizeof words, "untrained classifier %g", c.shown.scale);
    return add_control(g, &c, ABLATION_UNTRAINED, -1, words);
}

/* --- all ------------------------------------------------------------------------------------------------- */

static Status fill(ConditionGrid *g, const ConditionTexts *texts, int last_timestep)
{
    ConditionWords words;
    TRY(condition_words_init(&words, texts->modes, texts->scales, texts->variants));
    Status s = add_grid(g, &words, texts->controls, last_timestep);
    if (s == STATUS_OK && texts->controls) s = add_neutral(g, &words, last_timestep);
    if (s == STATUS_OK && texts->controls) s = add_shuffled(g, last_timestep);
    if (s == STATUS_OK && texts->controls) s = add_untrained(g, last_timestep);
    condition_words_release(&words);
    return s;
}

Status condition_grid_init(ConditionGrid *g, const ConditionTexts *texts, int last_timestep)
{
    *g = (ConditionGrid){.items = calloc(CONDITIONS_MOST, sizeof *g->items)};
    if (!g->items) return status_fail(STATUS_NO_MEMORY, "out of memory for conditions");
    Status s = fill(g, texts, last_timestep);
    if (s != STATUS_OK) condition_grid_release(g);
    return s;
}

void condition_grid_release(ConditionGrid *g)
{
    free(g->items);
    *g = (ConditionGrid){0};
}

void condition_grid_drop_shuffled(ConditionGrid *g)
{
    int kept = 0;
    for (int i = 0; i < g->count; i++)
        if (g->items[i].shown.control != ABLATION_SHUFFLED_PROMPTS) g->items[kept++] = g->items[i];
    g->count = kept;
}
