#include "glide/serve/serve_term.h"

#include <math.h>

typedef struct Points {
    GuidancePoint at[GUIDANCE_MOST_POINTS];
    int count;
    bool full;
} Points;

/* From noise to picture, so timesteps fall; what lies between two equal ones says nothing new. */
static void add(Points *p, double timestep, double scale)
{
    int n = p->count;
    if (timestep < 1e-9) timestep = 0; /* where a level's own rounding would be all there is to read */
    if (n >= 2 && p->at[n - 1].scale == scale && p->at[n - 2].scale == scale) n--;
    if (n == GUIDANCE_MOST_POINTS)
        p->full = true;
    else
        p->at[n++] = (GuidancePoint){timestep, scale};
    p->count = n;
}

static void give(const Points *p, GuidanceTerm *out)
{
    *out = guidance_term(p->at[p->count - 1].scale);
    out->shape = GUIDANCE_POINTS;
    out->count = p->count;
    for (int i = 0; i < p->count; i++) out->points[i] = p->at[p->count - 1 - i];
}

Status term_join(const GuidanceTerm *before, const GuidanceTerm *after, const double *timesteps, int steps, int taken,
                 double neutral, double last, GuidanceTerm *out)
{
    Points whole = {0}, past;
    *out = *after;
    if (taken <= 0) return STATUS_OK;
    for (int i = 0; i < taken && i < steps; i++)
        add(&whole, timesteps[i], guidance_term_scale(before, neutral, timesteps[i], last));
    past = whole;
    for (int i = taken; i < steps; i++) add(&whole, timesteps[i], guidance_term_scale(after, neutral, timesteps[i], last));
    if (whole.full && !past.full && after->shape == GUIDANCE_POINTS && after->low <= 0 && isinf(after->high) && taken < steps) {
        whole = past; /* the rest's own points instead of each level's */
        add(&whole, timesteps[taken], guidance_term_scale(after, neutral, timesteps[taken], last));
        for (int i = after->count - 1; i >= 0; i--)
            if (after->points[i].timestep < timesteps[taken]) add(&whole, after->points[i].timestep, after->points[i].scale);
    }
    if (whole.full)
        return status_fail(STATUS_BAD_INPUT,
                           "the scales of %d steps and the new ones make more than %d points, expected a curve "
                           "with fewer corners",
                           taken, GUIDANCE_MOST_POINTS);
    give(&whole, out);
    return STATUS_OK;
}
