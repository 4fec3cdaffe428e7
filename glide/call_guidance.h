/* Private to the public API's files: guidance as callers tell it, as stages want it, and as recipes keep it. */
#ifndef GLIDE_CALL_GUIDANCE_H
#define GLIDE_CALL_GUIDANCE_H

#include "glide/cascade.h"
#include "glide/guides.h"
#include "glide/recipe.h"

/* o->guidance and o->negative_prompt of the caller's; `stage` is "" or "upsampler ", for messages. No file is read.
 * STATUS_BAD_INPUT. */
Status call_fill_guidance(const GlideGuidance *in, const char *stage, StageOptions *o);

/* o->guides: reads the files of the modes that act and checks that they suit `model`. A model without text has nothing to
 * leave out: classifier-free guidance is turned off. */
Status call_load_guides(Glide *g, const GlideGuidance *in, const Model *model, StageOptions *o);

/* Whether the classifier's gradient acts, so that a class is needed. */
bool call_guided_by_class(const StageOptions *o);

/* Lines about what differs from the defaults; the scale of classifier-free guidance always for the base model, and for the
 * upsampler where it is not 1. */
void call_recipe_guidance(GlideRecipe *r, Glide *g, const GlideGuidance *in, const StageOptions *o, bool upsampler);

#endif
