/* From a recipe back to the call that made the picture, and ahead to the recipe that a call would write.
 *
 *     RecipeCall call;
 *     TRY(recipe_call(r, &call));
 *     call.sample.guidance.guide_weights = "weaker.h5";   files are told by hashes in recipes: the caller has to find them
 *     TRY(glide_sample(glide, call.prompt, &call.sample, &picture)); */
#ifndef GLIDE_RECIPE_CALL_H
#define GLIDE_RECIPE_CALL_H

#include "glide/recipe.h"

typedef enum { RECIPE_SAMPLE, RECIPE_INPAINT, RECIPE_UPSAMPLE } RecipeTask;

/* Options of the one picture. Texts are borrowed from the recipe. Which files the call needs besides is told by the recipe's lines
 * "init_image", "input", "mask", "guide_weights", "classifier", "clip" (recipe_find()): paths and pictures here are NULL. */
typedef struct RecipeCall {
    RecipeTask task;
    const char *prompt;
    GlidePrecision precision;
    GlideSampleOptions sample;     /* of RECIPE_SAMPLE */
    GlideInpaintOptions inpaint;   /* of RECIPE_INPAINT */
    GlideUpsampleOptions upsample; /* of RECIPE_UPSAMPLE */
} RecipeCall;

/* STATUS_BAD_INPUT names a line that cannot be, such as an unknown task or a seed that is no number. */
Status recipe_call(const GlideRecipe *r, RecipeCall *out);

/* What the first picture of glide_sample() with these options would carry; nothing is sampled. Fails as that does. */
Status recipe_expect(Glide *glide, const char *prompt, const GlideSampleOptions *options, GlideRecipe **out);

#endif
