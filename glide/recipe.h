/* How a picture was made: lines of key and value, which its PNG carries twice.
 *
 *     "glide"       all of it as one JSON object, which is what this program reads: {"version":"0.1.0","task":"sample",
 *                   "prompt":"red apple","seed":7,...}. Keys are those of the lines; numbers are JSON numbers (a seed of 2^53 or
 *                   more is a string), "cfgpp" is true, everything else is a string.
 *     "parameters"  the text that tools for AUTOMATIC1111's web UI read, made from it.
 *
 *     GlideRecipe *r;
 *     TRY(recipe_read("apple.png", &r));                      or recipe_decode() from memory, recipe_from_json()
 *     printf("%s\n", recipe_find(r, "prompt"));
 *     recipe_free(r);
 *
 * recipe_call.h turns one back into the options of the call that made the picture. What a picture was made of (weights, guides,
 * pictures, masks) is told by hashes; "KEY_file" beside a hash is the file's name without its folder, a hint where to look. */
#ifndef GLIDE_RECIPE_H
#define GLIDE_RECIPE_H

#include "common/image_read.h"
#include "common/png_write.h"
#include "glide/glide.h"

#define RECIPE_CHUNK       "glide"      /* keywords of the PNG's chunks */
#define RECIPE_A1111_CHUNK "parameters"

enum { RECIPE_MAX_LINES = 96, RECIPE_MAX_KEY = 64, RECIPE_MAX_BYTES = 1 << 20 };

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
    PngText lines[RECIPE_MAX_LINES]; /* keys and values are owned */
    bool failed;
};

/* --- making one: errors are sticky --- */
Status recipe_new(const char *task, GlideRecipe **out); /* with the lines "version" and "task": "sample", "inpaint", "upsample"; "grid" */
void recipe_free(GlideRecipe *r);                       /* NULL is fine */
Status recipe_copy(const GlideRecipe *r, GlideRecipe **out);

void recipe_add(GlideRecipe *r, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));
void recipe_add_text(GlideRecipe *r, const char *key, const char *value); /* of any length */
/* The shortest decimal that reads back as the same number. Returns `text`. */
enum { RECIPE_NUMBER = 32 };
const char *recipe_show_number(double value, char text[RECIPE_NUMBER]);
void recipe_add_number(GlideRecipe *r, const char *key, double value);
void recipe_add_hash(GlideRecipe *r, const char *key, uint64_t hash); /* 16 hex digits */
/* "KEY_file": the path's last part; nothing for NULL and "-". */
void recipe_add_file(GlideRecipe *r, const char *key, const char *path);
void recipe_set(GlideRecipe *r, const char *key, const char *value); /* instead of an older line; NULL takes the line out */
Status recipe_status(const GlideRecipe *r); /* STATUS_NO_MEMORY when a line could not be added */

const char *recipe_find(const GlideRecipe *r, const char *key); /* NULL when there is none */

/* Lines in which two recipes differ, names of files and "invert_mask" aside, which only say where to look: how many of them, the
 * first `room` in `out`. Values are borrowed; NULL: there is no such line. */
typedef struct RecipeDifference {
    const char *key, *a, *b;
} RecipeDifference;
int recipe_compare(const GlideRecipe *a, const GlideRecipe *b, RecipeDifference *out, int room);

/* Of a picture or a mask, `channels` bytes a pixel: FNV-1a over its size and bytes. */
uint64_t recipe_hash_pixels(int w, int h, int channels, const uint8_t *pixels);

/* --- as text --- */
/* One JSON object, in the lines' order; `indent` 0: on one line. Bytes that are not UTF-8 become U+FFFD. free(). */
Status recipe_to_json(const GlideRecipe *r, int indent, char **out);
/* `name` is for messages. STATUS_BAD_INPUT says what is not as it should be; unknown keys are kept. */
Status recipe_from_json(const char *name, const char *text, size_t size, GlideRecipe **out);

/* The text of AUTOMATIC1111's web UI for a picture of w x h pixels:
 *     red apple
 *     Negative prompt: green
 *     Steps: 24, Sampler: Euler a, CFG scale: 3, Seed: 7, Size: 256x256, Model hash: 0123456789abcdef, Model: base, ...,
 *     Version: glide 0.1.0      (in one line)
 * free(). */
Status recipe_to_a1111(const GlideRecipe *r, int w, int h, char **out);
/* "euler_ancestral" -> "Euler a"; the name itself where that program has none. And back; NULL when no sampler is meant. */
const char *recipe_a1111_sampler(const char *sampler);
const char *recipe_sampler_of_a1111(const char *name);

/* --- in PNGs --- */
/* Text chunks for png_write(). texts[i].value: free(). */
enum { RECIPE_CHUNKS = 2 };
Status recipe_to_png(const GlideRecipe *r, int w, int h, PngText texts[RECIPE_CHUNKS]);

/* Of text chunks. *out is NULL, with STATUS_OK, when the picture has no recipe of ours; a damaged one is an error. */
Status recipe_from_png(const char *name, const PngTexts *texts, GlideRecipe **out);
/* Of a file ("-": standard input) or its bytes. A file without one, a JPEG or no picture at all: STATUS_BAD_INPUT. */
Status recipe_read(const char *path, GlideRecipe **out);
Status recipe_decode(const char *name, const unsigned char *bytes, size_t size, GlideRecipe **out);

#endif
