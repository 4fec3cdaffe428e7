/* What guidance did at a step to one row, in numbers.
 *
 * Norms are root mean squares over the row's pixels and channels; answers are eps. What was not asked for or did not act at that
 * step is NaN. */
#ifndef GLIDE_GUIDANCE_TELEMETRY_H
#define GLIDE_GUIDANCE_TELEMETRY_H

#include "guidance/guidance_mode.h"

#include <stddef.h>

typedef struct GuidanceTelemetry {
    double cond_norm, uncond_norm, weaker_norm, guided_norm;
    double difference_norm; /* of cond - uncond */
    double cosine;          /* between cond and uncond; 0 where one of them is 0 */
    /* the change that guidance made to x_0 (guided - start, before any clamp): its parts along the start's x_0 and across it */
    double parallel_norm, orthogonal_norm;
    double clipped;         /* share of the guided x_0's values that lie outside [-1,1] */
    double scale[GUIDANCE_MODES];
    double gradient_norm[GUIDANCE_MODES]; /* of modes by gradient, before the scale */
    double score[GUIDANCE_MODES];         /* their log p */
} GuidanceTelemetry;

/* Everything above but clipped and the arrays, which are left alone. guided (N,H,W,6); telemetry (N). */
void telemetry_measure(const GuidanceStep *s, const float *guided, GuidanceTelemetry *telemetry);
/* clipped, of x_0 (N,H,W,3). */
void telemetry_measure_x_0(const float *x_0, int64_t n, int64_t pixels, GuidanceTelemetry *telemetry);
/* gradient_norm and score of a mode; gradient (N,H,W,3), score (N). */
void telemetry_measure_gradient(const float *gradient, const float *score, int64_t n, int64_t pixels, int mode,
                                GuidanceTelemetry *telemetry);
void telemetry_clear(GuidanceTelemetry *telemetry, int64_t n); /* NaN everywhere */

/* By number, for files: the name ("cosine", "cfg_scale", ...) in `text`, "" for what a mode cannot have (cfg's gradient), NULL
 * behind the last; and the value. */
const char *telemetry_name(int index, char *text, size_t size);
double telemetry_value(const GuidanceTelemetry *t, int index);

#endif
