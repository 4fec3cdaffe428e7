/* Private to the public API's files: a call of glide_sample() and its like under way. It turns public options into the cascade's,
 * writes recipes, and passes progress and pictures on to the caller. */
#ifndef GLIDE_CALL_H
#define GLIDE_CALL_H

#include "glide/call_guidance.h"
#include "glide/cascade.h"
#include "glide/context.h"
#include "glide/inpaint.h"

typedef struct Call {
    Glide *glide;
    const GlideCallbacks *callbacks;
    const char *prompt;
    const SamplerRow *rows;
    int label; /* -1: none */
    const CascadeOptions *options;
    const GlideGuidance *guidance, *upsampler_guidance; /* as they were given */
    Trace *trace; /* NULL: none */
    bool base, upsampler; /* which stages take part */
    double upsample_temp; /* as it was given; the options hold it in single precision */
    double strength;      /* likewise */
    const Image *start;   /* the picture that all start from; NULL: noise */
    const Image *input;   /* that is enlarged; NULL: none */
    const GlideUpsampleOptions *enlarge; /* to a size of its own; NULL: no */
    const uint8_t *mask;  /* (H,W) of `whole`, what is painted */
    const char *task;     /* for the recipe; NULL: "sample" */
    const Inpaint *inpaint; /* on a part of `whole`; NULL: no such thing */
    const Image *whole;
    const Picture *detail; /* all that is known of `whole`; NULL: no more than that */
    GlidePicture *pictures;
    GlideRecipe **only_recipe; /* where that of the first picture goes, and nothing is sampled; NULL: pictures are made */
} Call;

/* Checks of single options, and all of them. */
Status call_check_image(uint32_t image, int n);
Status call_check_temperature(double t);
Status call_check_cells(int cells);
Status call_fill_options(const Glide *g, const GlideSampleOptions *in, CascadeOptions *o);

CascadeHooks call_hooks(Call *c);

/* Does the label suit the stages that take part? `guides`: a classifier is asked for it. */
Status call_check_label(const Glide *g, bool base, bool upsampler, bool guides, int label);

/* A trace for both stages, if `path` is one; and its end, given how the run ended: the recipe's lines are added and the file
 * appears, or it never does. */
Status call_begin_trace(Call *c, const char *path, CascadeOptions *o);
Status call_end_trace(Call *c, Status s);

/* The recipe of picture `index`. */
Status call_recipe(const Call *c, int64_t index, GlideRecipe **out);

/* Samples in->n pictures into c->pictures. Models are loaded; `c` and `given` (may be NULL) say what is special about the call. */
Status call_run(Call *c, const GlideSampleOptions *in, const CascadeGiven *given);

/* glide_sample() whose base model is watched (NULL: by no one), for programs that change guidance on the way. With states to save or
 * to go on from there are at most CASCADE_BATCH pictures. */
Status call_sample(Glide *g, const char *prompt, const GlideSampleOptions *options, const StageWatch *watch, GlidePicture *pictures);

#endif
