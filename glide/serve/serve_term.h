/* Guidance that changes on the way, told as one schedule: a picture whose scale was changed at step k is the picture of a schedule
 * that had the old scales at the first k levels and the new ones at the rest, so its recipe makes it again from noise. */
#ifndef GLIDE_SERVE_TERM_H
#define GLIDE_SERVE_TERM_H

#include "guidance/guidance_term.h"

/* timesteps (steps): of the process's steps, from noise to picture. The first `taken` of them were sampled with `before`; the
 * others are to be with `after`. *out has, to the bit, before's scales at those and after's at these. `neutral` and `last` as for
 * guidance_term_scale(). STATUS_BAD_INPUT when that takes more points than a schedule has. */
Status term_join(const GuidanceTerm *before, const GuidanceTerm *after, const double *timesteps, int steps, int taken,
                 double neutral, double last, GuidanceTerm *out);

#endif
