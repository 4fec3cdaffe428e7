/* How a picture was made, as lines of key and value: what PNGs carry in text chunks and `glide info` prints.
 *
 *     GlideRecipe *r;
 *     TRY(recipe_new(&r));
 *     recipe_add(r, "seed", "%llu", seed);       errors are sticky
 *     TRY(recipe_status(r)); */
#ifndef GLIDE_RECIPE_H
#define GLIDE_RECIPE_H

#include "common/image_read.h"
#include "common/png_write.h"
#include "glide/glide.h"

#define RECIPE_SOFTWARE_KEY "Software" /* the PNG specification's keyword for the program; ours begins with "glide " */

enum { RECIPE_MAX_LINES = 72 };

/* What is said of the guidance of a stage, in this order; the upsampler's lines have "upsampler_" in front. Behind the scale of
 * a mode come its interval and schedule; a guide's file is told by its hash. */
typedef enum {
    RECIPE_GUIDANCE_SCALE, RECIPE_GUIDANCE_INTERVAL, RECIPE_GUIDANCE_SCHEDULE, RECIPE_NEGATIVE_PROMPT,
    RECIPE_GUIDANCE_RESCALE, RECIPE_THRESHOLD, RECIPE_APG, RECIPE_CFGPP,
    RECIPE_GUIDE_WEIGHTS, RECIPE_AUTOGUIDANCE_SCALE, RECIPE_AUTOGUIDANCE_INTERVAL, RECIPE_AUTOGUIDANCE_SCHEDULE,
    RECIPE_CLASSIFIER, RECIPE_CLASSIFIER_SCALE, RECIPE_CLASSIFIER_INTERVAL, RECIPE_CLASSIFIER_SCHEDULE,
    RECIPE_CLIP, RECIPE_CLIP_SCALE, RECIPE_CLIP_INTERVAL, RECIPE_CLIP_SCHEDULE, RECIPE_GUIDANCE_KEYS
} RecipeKey;

const char *recipe_key(RecipeKey key, bool upsampler); /* a literal */

struct GlideRecipe {
    int count;
    PngText lines[RECIPE_MAX_LINES]; /* keys are literals, values are owned */
    bool failed;
};

Status recipe_new(GlideRecipe **out); /* with its line "Software" */
void recipe_free(GlideRecipe *r);     /* NULL is fine */

/* `key` is a literal. */
void recipe_add(GlideRecipe *r, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));
void recipe_add_text(GlideRecipe *r, const char *key, const char *value); /* of any length */
/* The shortest decimal that reads back as the same number. */
void recipe_add_number(GlideRecipe *r, const char *key, double value);
Status recipe_status(const GlideRecipe *r); /* STATUS_NO_MEMORY when a line could not be added */

const char *recipe_find(const GlideRecipe *r, const char *key); /* NULL when there is none */

/* The text chunks of a PNG that this program wrote, in their order. *out is NULL, with STATUS_OK, when it is not ours. */
Status recipe_from_png(const PngTexts *texts, GlideRecipe **out);

#endif
