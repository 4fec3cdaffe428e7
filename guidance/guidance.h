/* Guidance: which modes act (guidance_mode.h), how strongly and where (guidance_term.h), and what is done to them
 * (modifiers.h). guided_denoiser.h carries it out.
 *
 *     Guidance g;
 *     guidance_defaults(&g);
 *     g.terms[GUIDANCE_CFG].scale = 3;
 *     g.rescale = 0.7;
 *     TRY(guidance_check(&g));
 *
 * Modes act together: eps = start + sum over modes by difference of (scale - neutral) * direction, then rescaled; gradients are
 * summed, each times its scale. Directions are all taken from the models' own answers, so their order does not matter. The
 * variance value is that of the answer that guidance starts from: the conditional one, as GLIDE has it. */
#ifndef GLIDE_GUIDANCE_GUIDANCE_H
#define GLIDE_GUIDANCE_GUIDANCE_H

#include "guidance/guidance_mode.h"
#include "guidance/guidance_term.h"
#include "guidance/modifiers.h"

typedef enum {
    GUIDANCE_THRESHOLD_STATIC,  /* x_0 is clamped to [-1,1] */
    GUIDANCE_THRESHOLD_DYNAMIC, /* guidance_threshold(), then the same */
    GUIDANCE_THRESHOLD_NONE     /* x_0 is left alone */
} GuidanceThreshold;

typedef struct Guidance {
    GuidanceTerm terms[GUIDANCE_MODES]; /* by GuidanceModeId */
    int last_timestep;                  /* of the model's process, where schedules begin. Default 999 */
    double rescale;                     /* phi, 0 to 1. Default 0: off */
    GuidanceThreshold threshold;
    double percentile;                  /* of dynamic thresholding. Default 0.995 */
    GuidanceApg apg;
    bool cfgpp; /* where classifier-free guidance acts, in its interval; its scale is lambda, 0 to 1 */
} Guidance;

void guidance_defaults(Guidance *g); /* every mode neutral: the conditional answer alone */
Status guidance_check(const Guidance *g); /* STATUS_BAD_INPUT names what cannot be */

/* "static", "dynamic", "dynamic:P", "none"; NULL or "": static. STATUS_BAD_INPUT. And back ("" for the default), in `text`. */
Status guidance_parse_threshold(const char *text, Guidance *g);
const char *guidance_show_threshold(const Guidance *g, char *text, size_t size);

/* Whether a mode ever does anything. */
bool guidance_acts(const Guidance *g, GuidanceModeId id);

/* --- at a level --- */
double guidance_scale_at(const Guidance *g, GuidanceModeId id, const NoiseLevel *level);
double guidance_strength_at(const Guidance *g, GuidanceModeId id, const NoiseLevel *level); /* scale - neutral: 0 is off */
bool guidance_cfgpp_at(const Guidance *g, const NoiseLevel *level);

/* Which answers are needed, and no others: with classifier-free guidance alone, scale 1 and whatever lies outside of its interval
 * need the conditional one, scale 0 the unconditional one. */
GuidanceAsks guidance_asks(const Guidance *g, const NoiseLevel *level);
int guidance_answers(GuidanceAsks asks);              /* how many they are */
int64_t guidance_rows(GuidanceAsks asks, int64_t n);  /* n for each */
/* Whether a mode by gradient acts. */
bool guidance_pulls(const Guidance *g, const NoiseLevel *level);
int guidance_most_answers(const Guidance *g); /* no level asks for more */
/* Answers a level needs, the mean over the process: what guidance costs, gradients not counted. */
double guidance_mean_answers(const Guidance *g);

#endif
