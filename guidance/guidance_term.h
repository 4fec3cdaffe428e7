/* How strong one mode of guidance is at each noise level: a scale, an interval of noise levels outside of which the mode is off
 * (arXiv 2404.07724), and a schedule over the levels (as arXiv 2404.13040 compares them).
 *
 *     GuidanceTerm cfg = guidance_term(3);
 *     TRY(guidance_parse_interval("100:800", &cfg));
 *     TRY(guidance_parse_schedule("cosine", &cfg));
 *     double scale = guidance_term_scale(&cfg, 1, level->timestep, 999);
 *
 * Levels are told as timesteps of the process that the model was trained on, however many steps a sampler takes: 0 is the
 * picture, `last` (999 of GLIDE's models) is noise. A trace (glide/trace.h) tells alpha and sigma of each.
 *
 * "Neutral" is the scale that changes nothing: 1 for classifier-free guidance, 0 for what adds to a prediction. */
#ifndef GLIDE_GUIDANCE_GUIDANCE_TERM_H
#define GLIDE_GUIDANCE_GUIDANCE_TERM_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { GUIDANCE_MOST_POINTS = 32, GUIDANCE_MOST_TEXT = 2048 };

/* With p from 0 at the noisiest level to 1 at the picture, and n the neutral scale:
 *   constant   scale
 *   linear     n + (scale - n) p
 *   cosine     n + (scale - n) (1 - cos(pi p)) / 2
 *   points     straight lines between (timestep, scale) points, constant before the first and behind the last */
typedef enum { GUIDANCE_CONSTANT, GUIDANCE_LINEAR, GUIDANCE_COSINE, GUIDANCE_POINTS } GuidanceShape;

typedef struct GuidancePoint {
    double timestep, scale;
} GuidancePoint;

typedef struct GuidanceTerm {
    double scale;     /* not used by points */
    double low, high; /* timesteps, both inside */
    GuidanceShape shape;
    int count;
    GuidancePoint points[GUIDANCE_MOST_POINTS]; /* timesteps ascend */
} GuidanceTerm;

GuidanceTerm guidance_term(double scale); /* constant at every level */

/* The scale at a level; `last`: the noisiest timestep. */
double guidance_term_scale(const GuidanceTerm *t, double neutral, double timestep, double last);
/* Whether it differs from neutral anywhere from timestep 0 to `last`. */
bool guidance_term_acts(const GuidanceTerm *t, double neutral, double last);
/* STATUS_BAD_INPUT: a scale or an interval that no one can mean; `name` is the mode's, for the message. */
Status guidance_term_check(const GuidanceTerm *t, const char *name);

/* "LO:HI", either may be missing: ":800". NULL or "": every level. STATUS_BAD_INPUT says what was expected. */
Status guidance_parse_interval(const char *text, GuidanceTerm *t);
/* "constant", "linear", "cosine", or "t:scale,t:scale,..." with ascending or descending timesteps. NULL or "": constant. */
Status guidance_parse_schedule(const char *text, GuidanceTerm *t);
/* What they would read as the same again: "" where it is the default. Return `text` (GUIDANCE_MOST_TEXT bytes are enough). */
const char *guidance_show_interval(const GuidanceTerm *t, char *text, size_t size);
const char *guidance_show_schedule(const GuidanceTerm *t, char *text, size_t size);

#endif
