#include "guidance/guidance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the table --- */

const GuidanceMode *guidance_mode(GuidanceModeId id)
{
#define MODE_CASE(id_, name) case GUIDANCE_##id_: return guidance_mode_##name();
    switch (id) {
        GUIDANCE_MODE_LIST(MODE_CASE)
    default: return NULL;
    }
}

void guidance_difference(const GuidanceStep *s, const float *a, const float *b, float *out)
{
    int64_t pixels = s->n * s->height * s->width;
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < pixels; p++)
        for (int c = 0; c < IMAGE_CHANNELS; c++)
            out[p * IMAGE_CHANNELS + c] = a[p * MODEL_CHANNELS + c] - b[p * MODEL_CHANNELS + c];
}

/* --- settings --- */

void guidance_defaults(Guidance *g)
{
    *g = (Guidance){.last_timestep = 999, .percentile = 0.995};
    for (int i = 0; i < GUIDANCE_MODES; i++) g->terms[i] = guidance_term(guidance_mode((GuidanceModeId)i)->neutral);
}

/* lambda is a mean's weight. */
static Status check_cfgpp(const GuidanceTerm *t)
{
    double found = t->scale;
    for (int i = 0; t->shape == GUIDANCE_POINTS && i < t->count; i++)
        if (i == 0 || t->points[i].scale < 0 || t->points[i].scale > 1) found = t->points[i].scale;
    if (found >= 0 && found <= 1) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "cfgpp: expected a guidance scale from 0 to 1, found %g", found);
}

Status guidance_check(const Guidance *g)
{
    for (int i = 0; i < GUIDANCE_MODES; i++)
        TRY(guidance_term_check(&g->terms[i], i == GUIDANCE_CFG ? "guidance" : guidance_mode((GuidanceModeId)i)->name));
    if (!(g->rescale >= 0 && g->rescale <= 1))
        return status_fail(STATUS_BAD_INPUT, "guidance rescale: expected 0 to 1, found %g", g->rescale);
    if (g->threshold == GUIDANCE_THRESHOLD_DYNAMIC && !(g->percentile > 0 && g->percentile <= 1))
        return status_fail(STATUS_BAD_INPUT, "threshold: expected a percentile above 0, at most 1, found %g", g->percentile);
    if (!isfinite(g->apg.eta) || !(g->apg.norm >= 0) || !(fabs(g->apg.momentum) < 1))
        return status_fail(STATUS_BAD_INPUT, "apg: expected a norm of 0 or more and a momentum between -1 and 1, found %g and %g",
                           g->apg.norm, g->apg.momentum);
    return g->cfgpp ? check_cfgpp(&g->terms[GUIDANCE_CFG]) : STATUS_OK;
}

Status guidance_parse_threshold(const char *text, Guidance *g)
{
    char *end;
    if (!text || !*text || !strcmp(text, "static")) g->threshold = GUIDANCE_THRESHOLD_STATIC;
    else if (!strcmp(text, "none")) g->threshold = GUIDANCE_THRESHOLD_NONE;
    else if (!strcmp(text, "dynamic")) g->threshold = GUIDANCE_THRESHOLD_DYNAMIC;
    else {
        double share = strncmp(text, "dynamic:", 8) ? -1 : strtod(text + 8, &end);
        if (!(share > 0 && share <= 1) || end == text + 8 || *end)
            return status_fail(STATUS_BAD_INPUT, "expected none, static, dynamic, or dynamic:P with P above 0, at most 1, found "
                               "\"%.40s\"", text);
        g->threshold = GUIDANCE_THRESHOLD_DYNAMIC;
        g->percentile = share;
    }
    return STATUS_OK;
}

const char *guidance_show_threshold(const Guidance *g, char *text, size_t size)
{
    *text = 0;
    if (g->threshold == GUIDANCE_THRESHOLD_NONE) snprintf(text, size, "none");
    if (g->threshold == GUIDANCE_THRESHOLD_DYNAMIC) snprintf(text, size, "dynamic:%g", g->percentile);
    return text;
}

bool guidance_acts(const Guidance *g, GuidanceModeId id)
{
    return guidance_term_acts(&g->terms[id], guidance_mode(id)->neutral, g->last_timestep);
}

/* --- at a level --- */

double guidance_scale_at(const Guidance *g, GuidanceModeId id, const NoiseLevel *level)
{
    return guidance_term_scale(&g->terms[id], guidance_mode(id)->neutral, level->timestep, g->last_timestep);
}

double guidance_strength_at(const Guidance *g, GuidanceModeId id, const NoiseLevel *level)
{
    return guidance_scale_at(g, id, level) - guidance_mode(id)->neutral;
}

bool guidance_cfgpp_at(const Guidance *g, const NoiseLevel *level)
{
    const GuidanceTerm *t = &g->terms[GUIDANCE_CFG];
    return g->cfgpp && level->timestep >= t->low && level->timestep <= t->high && guidance_scale_at(g, GUIDANCE_CFG, level) != 0;
}

GuidanceAsks guidance_asks(const Guidance *g, const NoiseLevel *level)
{
    bool unconditional = guidance_scale_at(g, GUIDANCE_CFG, level) == 0;
    unsigned asks = unconditional ? GUIDANCE_UNCONDITIONAL : GUIDANCE_CONDITIONAL;
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        bool is_start = i == GUIDANCE_CFG && unconditional;
        if (!is_start && guidance_strength_at(g, (GuidanceModeId)i, level) != 0) asks |= guidance_mode((GuidanceModeId)i)->needs;
    }
    if (guidance_cfgpp_at(g, level)) asks |= GUIDANCE_UNCONDITIONAL;
    return (GuidanceAsks)asks;
}

int guidance_answers(GuidanceAsks asks)
{
    return __builtin_popcount((unsigned)asks);
}

int64_t guidance_rows(GuidanceAsks asks, int64_t n)
{
    return guidance_answers(asks) * n;
}

bool guidance_pulls(const Guidance *g, const NoiseLevel *level)
{
    for (int i = 0; i < GUIDANCE_MODES; i++)
        if (guidance_mode((GuidanceModeId)i)->gradient && guidance_strength_at(g, (GuidanceModeId)i, level) != 0) return true;
    return false;
}

int guidance_most_answers(const Guidance *g)
{
    unsigned asks = GUIDANCE_CONDITIONAL;
    for (int i = 0; i < GUIDANCE_MODES; i++)
        if (guidance_acts(g, (GuidanceModeId)i)) asks |= guidance_mode((GuidanceModeId)i)->needs;
    return guidance_answers((GuidanceAsks)(g->cfgpp ? asks | GUIDANCE_BOTH : asks));
}

double guidance_mean_answers(const Guidance *g)
{
    double sum = 0;
    for (int t = 0; t <= g->last_timestep; t++) sum += guidance_answers(guidance_asks(g, &(NoiseLevel){.timestep = t}));
    return sum / (g->last_timestep + 1);
}
