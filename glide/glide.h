/* glide: a prompt becomes a picture by two diffusion models, 64x64 first and then 256x256.
 *
 *     #include "glide/glide.h"
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         Glide *glide;
 *         GlidePicture apple = {0};
 *         GlideStatus status = glide_open(NULL, &glide);
 *         if (status == GLIDE_OK) {
 *             GlideSampleOptions options = glide_sample_defaults();
 *             options.seed = 7;
 *             status = glide_sample(glide, "red apple, fluent 3d emoji", &options, &apple);
 *         }
 *         if (status == GLIDE_OK) status = glide_picture_write(&apple, "apple.png");
 *         if (status == GLIDE_OK) printf("apple.png: %d x %d pixels\n", apple.width, apple.height);
 *         else fprintf(stderr, "%s\n", glide_message());
 *         glide_picture_release(&apple);
 *         glide_close(glide);
 *         return status == GLIDE_OK ? 0 : 1;
 *     }
 *
 * Link with -lglide. The same seed, prompt, options and weights give the same bytes on any number of threads, alone or
 * among others. A context may be used by one thread at a time; several threads may use several contexts at once. The
 * library prints nothing, never exits and installs no signal handlers. Texts are UTF-8. */
#ifndef GLIDE_GLIDE_H
#define GLIDE_GLIDE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GLIDE_API __attribute__((visibility("default")))
#else
#define GLIDE_API
#endif

/* --- errors --- */
typedef enum GlideStatus {
    GLIDE_OK = 0,
    GLIDE_BAD_INPUT, /* a file, an option or a picture is wrong */
    GLIDE_IO,        /* the system refused to read or write */
    GLIDE_NO_MEMORY,
    GLIDE_CANCELLED, /* a callback asked to stop; pictures that were finished are kept */
    GLIDE_INTERNAL
} GlideStatus;

/* One line about this thread's last failure: which file or option, what was expected and what was found. "" when there
 * was none. Valid until the next call that fails. */
GLIDE_API const char *glide_message(void);

/* More about it where one line is too few (parameters that do not fit a model): lines that each end in '\n', up to 4095 bytes;
 * mostly "". Valid as long as glide_message(). */
GLIDE_API const char *glide_details(void);

GLIDE_API const char *glide_version(void); /* "0.1.0" */

/* --- contexts --- */
typedef struct Glide Glide; /* the models and the memory they compute in */

typedef enum GlidePrecision {
    GLIDE_PRECISION_AUTO, /* bf16 where the processor multiplies it itself, else f32 */
    GLIDE_PRECISION_F32,
    GLIDE_PRECISION_BF16,
    GLIDE_PRECISION_INT8 /* bf16, but convolutions and projections inside the models multiply in 8 bits */
} GlidePrecision;

typedef struct GlideOptions {
    const char *weights;           /* file of the base model; NULL: base.h5 of the default weights, which are looked for
                                      in the folder that $GLIDE_WEIGHTS names, else in ../data/weights and ../share/glide
                                      beside the folder of the program or library */
    const char *upsampler_weights; /* file of the upsampler; NULL: upsampler.h5 likewise */
    GlidePrecision precision;      /* of activations; INT8 asks for a processor that has it (AVX512-VNNI) */
    int threads;                   /* 0: as OpenMP decides (OMP_NUM_THREADS, else all processors) */
} GlideOptions;

GLIDE_API GlideOptions glide_defaults(void);

/* options NULL: the defaults; copied. Files are read when they are first needed. *out is NULL after a failure. */
GLIDE_API GlideStatus glide_open(const GlideOptions *options, Glide **out);
GLIDE_API void glide_close(Glide *glide); /* NULL is fine */

/* --- pictures --- */
typedef struct GlideRecipe GlideRecipe;
typedef struct GlideDetail GlideDetail;

/* The fields are the caller's, who gives them back with glide_picture_release(). Start from {0}. */
typedef struct GlidePicture {
    int width, height;
    unsigned char *rgb;  /* (height,width,3), rows without padding; what is transparent lies on white */
    GlideRecipe *recipe; /* how it was made; NULL: not known */
    GlideDetail *detail; /* what files say besides: transparency, 16 bits, one value for a pixel, a colour profile. Files that are
                            written get it, glide_upsample() with a scale enlarges it, glide_inpaint() keeps it. NULL: nothing */
} GlidePicture;

/* A PNG, JPEG or WebP of any size, turned upright as its EXIF data asks; "-" is standard input. */
GLIDE_API GlideStatus glide_picture_read(const char *path, GlidePicture *out);

typedef struct GlideWriteOptions {
    int jpeg_quality; /* 1 to 100. Default 92; every pixel keeps its own colour (4:4:4) */
} GlideWriteOptions;

GLIDE_API GlideWriteOptions glide_write_defaults(void);

/* A JPEG where the name ends in .jpg or .jpeg, else a PNG. The recipe goes into a PNG as two text chunks, "parameters" as
 * AUTOMATIC1111's web UI writes it and "glide", JSON, and into a JPEG as a comment, "glide " and the JSON. JPEG has 8 bits and no
 * transparency, so it gets what `rgb` shows. The file appears whole or not at all. "-" is standard output. */
GLIDE_API GlideStatus glide_picture_write(const GlidePicture *picture, const char *path); /* with the defaults */
GLIDE_API GlideStatus glide_picture_write_with(const GlidePicture *picture, const char *path, const GlideWriteOptions *options);
GLIDE_API void glide_picture_release(GlidePicture *picture); /* leaves it empty; fine on an empty one */

/* A line of the recipe: "version", "task" ("sample", "inpaint", "upsample"), "prompt", "seed", "image", "class", "sampler", "steps",
 * "guidance_scale", "upsampler_sampler", "upsampler_steps", "upsample_temp", "colour_cells", "strength", "jump", "repeats",
 * "precision", "weights" and "upsampler_weights" (hashes), "weights_file" and "upsampler_weights_file" (names without folders),
 * "init_image", "input" and "mask" (hashes of pixels); of guidance what differs from the defaults: "guidance_interval",
 * "guidance_schedule", "negative_prompt", "guidance_rescale", "threshold", "apg" (eta:norm:momentum), "cfgpp", "guide_weights",
 * "classifier" and "clip" (hashes), and "autoguidance_scale", "..._interval", "..._schedule" and so on; of the upsampler's with
 * "upsampler_" in front. NULL when there is none. */
GLIDE_API const char *glide_picture_recipe(const GlidePicture *picture, const char *key);

/* --- progress --- */
typedef enum GlideStage { GLIDE_STAGE_BASE, GLIDE_STAGE_UPSAMPLER } GlideStage;

enum { GLIDE_MOST_PREVIEW = 512 };

typedef struct GlideProgress {
    GlideStage stage;
    int step, steps;  /* done and in all, of this stage and the pictures in work */
    int first, count; /* the pictures in work: which of the call's, from 0 */
    double fraction;  /* of the whole call's work that is done, 0 to 1, estimated */
    int side;                     /* of the pictures in work; their width */
    int height;                   /* as side, but for pictures that glide_upsample() makes with a scale */
    const unsigned char *preview; /* (count,preview_height,preview_width,3) what the model expects so far, borrowed; NULL unless
                                     asked for. Pictures beyond GLIDE_MOST_PREVIEW pixels a side are shown smaller */
    int preview_width, preview_height;
} GlideProgress;

typedef struct GlideCallbacks {
    bool (*progress)(void *context, const GlideProgress *progress); /* after each step; false cancels. May be NULL */
    bool previews;                                                  /* whether progress() wants them */
    /* After each picture, `index` of the call's from 0. It may write and release it at once, so that thousands need no
     * more memory than one. False cancels. May be NULL */
    bool (*picture)(void *context, int index, GlidePicture *picture);
    void *context;
} GlideCallbacks;

/* --- guidance --- */
/* How strong one mode is. Timesteps are those of the process that the model was trained on, however many steps are taken: 0 is
 * the picture, 999 is noise. Outside of its interval a mode does nothing, and costs nothing. */
typedef struct GlideGuidanceTerm {
    double scale;
    const char *interval; /* "LO:HI" in timesteps, as "100:800". NULL: everywhere */
    const char *schedule; /* "constant", "linear" or "cosine": rising from nothing at noise to scale at the picture; or points
                             "timestep:scale,timestep:scale,..." with straight lines between them, which take scale's place.
                             NULL: constant */
} GlideGuidanceTerm;

/* Modes act together. Files are read when they are first needed and kept by the context; a mode whose file is NULL is off. */
typedef struct GlideGuidance {
    GlideGuidanceTerm cfg;          /* classifier-free: 1 leaves guidance out, 0 ignores the prompt, above 1 follows it closely */
    const char *negative_prompt;    /* what it moves away from instead of no prompt at all. NULL: none */
    GlideGuidanceTerm autoguidance; /* away from a weaker version of the model: 0 nothing; 1 is w = 2 of arXiv 2406.02507 */
    const char *guide_weights;      /* of the weaker model */
    GlideGuidanceTerm classifier;   /* towards the class `label`, by the gradient of a noise-aware classifier */
    const char *classifier_weights; /* "": the default ones, data/weights/classifier.h5 */
    GlideGuidanceTerm clip;         /* towards the prompt, by the gradient of a noise-aware CLIP */
    const char *clip_weights;       /* "": the default ones, data/weights/clip.h5 */
    double rescale;                 /* 0 to 1: how much of the unguided prediction's spread is put back (arXiv 2305.08891) */
    const char *threshold;          /* of the expected picture: "static" clamps to [-1,1], "dynamic" or "dynamic:P" is Imagen's with
                                       percentile P (0.995), "none" leaves it alone. NULL: static */
    bool apg;                       /* orthogonal projection (arXiv 2410.02416) of cfg and autoguidance, with the share of the
                                       parallel part, the largest norm of a change (0: any), and the momentum. All 0 */
    double apg_eta, apg_norm, apg_momentum;
    bool cfgpp;                     /* CFG++ (arXiv 2406.08070); cfg.scale is then 0 to 1 */
} GlideGuidance;

GLIDE_API GlideGuidance glide_guidance_defaults(void); /* every mode off: cfg.scale 1, the others 0 */

/* --- a prompt -> pictures --- */
typedef struct GlideSampleOptions {
    int n;                  /* pictures. Default 1 */
    uint64_t seed;          /* default 0 */
    uint32_t image;         /* number of the first one, from 1: picture 3 of a seed is the same however it is asked for */
    int label;              /* of class-conditional models (guided-diffusion's), and what the classifier that guides is asked
                               for: 0 to classes - 1. Default -1, none */
    GlideGuidance guidance;           /* of the base model. Default: cfg.scale 3 */
    GlideGuidance upsampler_guidance; /* default: none */
    const char *trace;      /* file for what happened at every step (HDF5, described in glide/trace.h); NULL: none */
    const char *sampler;    /* of the base model: "ddpm", "ddim", "dpmpp_2m", "heun", ...: those of glide sample --sampler */
    const char *steps;      /* "50", or a respacing as "logsnr20", "karras20", "fast27", "ddim50", "10,10,3". NULL, the default: what
                               suits the sampler, "100" for ddpm, else "logsnr24" */
    bool upsample;          /* false: stop at 64x64. The default upsampler is for models that take text only */
    const char *upsampler_sampler; /* default "ddim" */
    const char *upsampler_steps;   /* default "logsnr8" */
    double upsample_temp;   /* the upsampler starts from this times standard noise. Default 0.997 */
    int colour_cells;       /* it keeps the mean colours of so many cells a side; 0: it is left alone. Default 16 */
    const GlidePicture *init_image; /* both stages start from it instead of noise (SDEdit); any size, made square. Or NULL */
    double strength;        /* how much of it is drawn anew, 0 to 1. Default 0.6 */
    GlideCallbacks callbacks;
} GlideSampleOptions;

GLIDE_API GlideSampleOptions glide_sample_defaults(void);

/* pictures[options->n] are overwritten: finished ones, empty ones after a failure. options NULL: the defaults. An empty
 * prompt gives what the model makes of no caption; a longer one than the model takes is cut (glide_prompt_tokens). */
GLIDE_API GlideStatus glide_sample(Glide *glide, const char *prompt, const GlideSampleOptions *options,
                                   GlidePicture *pictures);

/* What the model of a stage is told besides noise. */
typedef struct GlideModelInfo {
    int side;    /* of its pictures */
    bool text;   /* takes prompts */
    int classes; /* takes labels below this; 0: none */
    uint64_t hash; /* of its weights, as recipes tell it in 16 hex digits */
} GlideModelInfo;

GLIDE_API GlideStatus glide_model_info(Glide *glide, GlideStage stage, GlideModelInfo *out);

/* How many tokens the base model's tokenizer makes of a prompt, and how many of them the model reads. */
GLIDE_API GlideStatus glide_prompt_tokens(Glide *glide, const char *prompt, int64_t *tokens, int *limit);

/* --- a part of a picture -> the same part, painted anew --- */
typedef struct GlideMask {
    int width, height;
    unsigned char *paint; /* (height,width): not 0 where the picture is to be painted */
} GlideMask;

/* A PNG, JPEG or WebP of any size, fitted to a picture of width x height: what is transparent is painted, or, in a file without
 * transparent pixels, what is nearer to white than to black. `inverted`: the rest is. Release with glide_mask_release(). */
GLIDE_API GlideStatus glide_mask_read(const char *path, bool inverted, int width, int height, GlideMask *out);
GLIDE_API void glide_mask_release(GlideMask *mask);

typedef struct GlideInpaintOptions {
    GlideSampleOptions sample; /* init_image must be NULL; defaults: "ddpm" with "100", then "ddim" with "6", and strength 1: the
                                  base model starts from noise alone, below 1 from the colours around the mask */
    int jump, repeats;         /* models not trained for masks: stretches of `jump` steps are taken `repeats` times, 1 to 16, so
                                  that what is painted comes to fit the rest (RePaint). Default 10 and 4; the upsampler takes its
                                  steps once */
} GlideInpaintOptions;

GLIDE_API GlideInpaintOptions glide_inpaint_defaults(void);

/* The models see a square part around the mask; pixels outside the mask come back unchanged to the bit, with transparency, 16 bits and
 * the colour profile. What is painted keeps the transparency that was there; but where all that is painted was more transparent than
 * opaque, it becomes opaque. A grey picture gets colours, unless it has a profile. The mask must have the picture's size.
 * pictures[sample.n] as in glide_sample(). */
GLIDE_API GlideStatus glide_inpaint(Glide *glide, const GlidePicture *in, const GlideMask *mask, const char *prompt,
                                    const GlideInpaintOptions *options, GlidePicture *pictures);

/* --- a picture -> a larger one --- */
typedef struct GlideUpsampleOptions {
    const char *prompt; /* what it shows; NULL: no caption */
    int label;          /* of class-conditional upsamplers, and of the classifier that guides. Default -1, none */
    uint64_t seed;
    uint32_t image;     /* from 1 */
    const char *sampler, *steps; /* default "dpmpp_2m", "logsnr8" */
    double upsample_temp;
    int colour_cells;
    GlideGuidance guidance; /* default: none */
    const char *trace;      /* as in GlideSampleOptions */
    GlideCallbacks callbacks; /* picture() is not called */
    int scale;              /* 2, 4 or 8: the picture keeps its shape and becomes so many times as large, in windows of `tile` pixels
                               if it must. Default 0: it is resized to what the base model makes and enlarged as glide_sample()
                               does, to a square of the upsampler's size */
    int width, height;      /* with a scale: a size that is wanted instead, up to 8 times the picture's. 0: what scale gives */
    double fidelity;        /* with a scale, 0 to 1: how much of what the result, reduced, lacks of the picture is put right at every
                               step; above 0 all of it is in the end. Default 1 */
    double noise_level;     /* 0 to 1: noise that is added to the picture (standard deviation, of values in [-1,1]) and that the
                               upsampler is told of, if it takes that; hides noise and JPEG's blocks. Default 0 */
    int tile;               /* a multiple of 16. Default 0: the size that the upsampler was trained for */
} GlideUpsampleOptions;

GLIDE_API GlideUpsampleOptions glide_upsample_defaults(void);

/* What glide_upsample() will make of a picture of width x height, before it starts. */
typedef struct GlideUpsamplePlan {
    int width, height; /* of the result */
    int64_t windows;   /* that the upsampler is shown at every step */
    uint64_t bytes;    /* of memory, about, besides the weights */
} GlideUpsamplePlan;

GLIDE_API GlideStatus glide_upsample_plan(Glide *glide, int width, int height, const GlideUpsampleOptions *options,
                                          GlideUpsamplePlan *out);

/* Without a scale `in` of any size is resized to 64x64 first, each axis on its own; *out is overwritten, empty after a failure. */
GLIDE_API GlideStatus glide_upsample(Glide *glide, const GlidePicture *in, const GlideUpsampleOptions *options,
                                     GlidePicture *out);

#ifdef __cplusplus
}
#endif

#endif
