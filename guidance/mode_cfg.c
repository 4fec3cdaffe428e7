/* Classifier-free guidance: arXiv 2207.12598; GLIDE (arXiv 2112.10741), equation 2:
 *     eps = uncond + scale * (cond - uncond) = cond + (scale - 1) * (cond - uncond)
 * A negative prompt stands in the place of the empty caption, so that the picture moves away from what it says. */
#include "guidance/guidance_mode.h"

static void direction(const GuidanceStep *s, float *out)
{
    guidance_difference(s, s->cond, s->uncond, out);
}

const GuidanceMode *guidance_mode_cfg(void)
{
    static const GuidanceMode mode = {.name = "cfg",
                                      .about = "classifier-free: away from what the model makes without the prompt",
                                      .neutral = 1,
                                      .needs = GUIDANCE_BOTH,
                                      .direction = direction};
    return &mode;
}
