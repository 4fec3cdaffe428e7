/* Autoguidance: arXiv 2406.02507, equation 3, with a weaker model D_0 (smaller, or trained for less time) told the same:
 *     D = w D_1 + (1 - w) D_0 = D_1 + scale * (D_1 - D_0), scale = w - 1
 * eps is linear in D, so the same holds for eps. The scale here is 0 where the paper's w is 1: then nothing changes. */
#include "guidance/guidance_mode.h"

static void direction(const GuidanceStep *s, float *out)
{
    guidance_difference(s, s->start, s->weaker, out);
}

const GuidanceMode *guidance_mode_autoguidance(void)
{
    static const GuidanceMode mode = {.name = "autoguidance",
                                      .about = "away from what a weaker model makes of the same prompt",
                                      .neutral = 0,
                                      .needs = GUIDANCE_WEAKER,
                                      .direction = direction};
    return &mode;
}
