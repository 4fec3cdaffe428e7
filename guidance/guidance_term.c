#include "guidance/guidance_term.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const shapes[] = {"constant", "linear", "cosine"};

GuidanceTerm guidance_term(double scale)
{
    return (GuidanceTerm){.scale = scale, .high = INFINITY};
}

/* --- the scale at a level --- */

static double between_points(const GuidanceTerm *t, double timestep)
{
    const GuidancePoint *p = t->points, *last = &p[t->count - 1];
    if (timestep <= p->timestep) return p->scale;
    while (p < last && timestep > p[1].timestep) p++;
    if (p == last) return p->scale;
    if (timestep == p[1].timestep) return p[1].scale; /* which the line below may miss by a rounding */
    double share = (timestep - p->timestep) / (p[1].timestep - p->timestep);
    return p->scale + share * (p[1].scale - p->scale);
}

double guidance_term_scale(const GuidanceTerm *t, double neutral, double timestep, double last)
{
    double p = last > 0 ? fmin(fmax(1 - timestep / last, 0), 1) : 1;
    if (timestep < t->low || timestep > t->high) return neutral;
    switch (t->shape) {
    case GUIDANCE_LINEAR: return neutral + (t->scale - neutral) * p;
    case GUIDANCE_COSINE: return neutral + (t->scale - neutral) * (1 - cos(M_PI * p)) / 2;
    case GUIDANCE_POINTS: return between_points(t, timestep);
    default: return t->scale;
    }
}

bool guidance_term_acts(const GuidanceTerm *t, double neutral, double last)
{
    if (t->low > last) return false;
    if (t->shape != GUIDANCE_POINTS) return t->scale != neutral;
    for (int i = 0; i < t->count; i++)
        if (t->points[i].scale != neutral) return true;
    return false;
}

Status guidance_term_check(const GuidanceTerm *t, const char *name)
{
    if (!isfinite(t->scale)) return status_fail(STATUS_BAD_INPUT, "%s scale: expected a finite number, found %g", name, t->scale);
    if (!(t->low <= t->high))
        return status_fail(STATUS_BAD_INPUT, "%s interval: expected the lower timestep first, found %g:%g", name, t->low, t->high);
    return STATUS_OK;
}

/* --- texts --- */

/* A number that ends at `end`; nothing at all is `fallback`. */
static bool number(const char *text, const char *end, double fallback, double *out)
{
    char *rest;
    *out = fallback;
    if (text == end) return !isnan(fallback);
    *out = strtod(text, &rest);
    return rest == end && isfinite(*out) && *text != ' ';
}

static Status bad_interval(const char *text)
{
    return status_fail(STATUS_BAD_INPUT, "expected an interval of timesteps LO:HI such as 100:800, found \"%.40s\"", text);
}

Status guidance_parse_interval(const char *text, GuidanceTerm *t)
{
    t->low = 0;
    t->high = INFINITY;
    if (!text || !*text) return STATUS_OK;
    const char *colon = strchr(text, ':');
    if (!colon || !number(text, colon, 0, &t->low)) return bad_interval(text);
    if (!number(colon + 1, text + strlen(text), INFINITY, &t->high)) return bad_interval(text);
    return t->low >= 0 && t->low <= t->high ? STATUS_OK : bad_interval(text);
}

static Status bad_schedule(const char *text)
{
    return status_fail(STATUS_BAD_INPUT, "expected constant, linear, cosine, or points t:scale,t:scale,... with timesteps in order "
                       "(at most %d), found \"%.60s\"", GUIDANCE_MOST_POINTS, text);
}

/* Points as they are written; false where one is no point. */
static bool read_points(const char *text, GuidanceTerm *t)
{
    for (t->count = 0; t->count < GUIDANCE_MOST_POINTS;) {
        const char *end = text + strcspn(text, ","), *colon = strchr(text, ':');
        GuidancePoint *p = &t->points[t->count++];
        if (!colon || colon > end || !number(text, colon, NAN, &p->timestep) || p->timestep < 0) return false;
        if (!number(colon + 1, end, NAN, &p->scale)) return false;
        if (!*end) return true;
        text = end + 1;
    }
    return false;
}

/* Ascending, from either order. */
static bool order_points(GuidanceTerm *t)
{
    bool descending = t->points[0].timestep > t->points[t->count - 1].timestep;
    for (int i = 0, j = t->count - 1; descending && i < j; i++, j--) {
        GuidancePoint swap = t->points[i];
        t->points[i] = t->points[j];
        t->points[j] = swap;
    }
    for (int i = 1; i < t->count; i++)
        if (!(t->points[i - 1].timestep < t->points[i].timestep)) return false;
    return true;
}

Status guidance_parse_schedule(const char *text, GuidanceTerm *t)
{
    t->shape = GUIDANCE_CONSTANT;
    if (!text || !*text) return STATUS_OK;
    for (int i = 0; i < (int)(sizeof shapes / sizeof *shapes); i++) {
        if (strcmp(text, shapes[i]) != 0) continue;
        t->shape = (GuidanceShape)i;
        return STATUS_OK;
    }
    t->shape = GUIDANCE_POINTS;
    return read_points(text, t) && order_points(t) ? STATUS_OK : bad_schedule(text);
}

/* The shortest decimal that reads back as the same number. */
static int show_number(char *text, size_t size, double value)
{
    int n = 0;
    for (int digits = 6; digits <= 17; digits++) {
        n = snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    return n;
}

const char *guidance_show_interval(const GuidanceTerm *t, char *text, size_t size)
{
    char low[40] = "", high[40] = "";
    *text = 0;
    if (t->low <= 0 && isinf(t->high)) return text;
    show_number(low, sizeof low, t->low);
    if (!isinf(t->high)) show_number(high, sizeof high, t->high);
    snprintf(text, size, "%s:%s", low, high);
    return text;
}

const char *guidance_show_schedule(const GuidanceTerm *t, char *text, size_t size)
{
    char timestep[40], scale[40];
    size_t used = 0;
    *text = 0;
    if (t->shape == GUIDANCE_CONSTANT) return text;
    if (t->shape != GUIDANCE_POINTS) {
        snprintf(text, size, "%s", shapes[t->shape]);
        return text;
    }
    for (int i = 0; i < t->count && used < size; i++) {
        show_number(timestep, sizeof timestep, t->points[i].timestep);
        show_number(scale, sizeof scale, t->points[i].scale);
        used += (size_t)snprintf(text + used, size - used, "%s%s:%s", i ? "," : "", timestep, scale);
    }
    return text;
}
