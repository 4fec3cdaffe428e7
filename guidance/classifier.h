/* Guided-diffusion's noise-aware classifier (arXiv 2105.05233, section 4; its EncoderUNetModel): the encoder half of a U-Net
 * and a head. It tells what is on a noised picture x_t at timestep t; the gradient of log p(y|x_t,t) steers sampling
 * (guidance/guide.h). Parameters carry the names of the released checkpoints.
 *
 *     Classifier *m;
 *     TRY(classifier_load("classifier.h5", &m, NULL));                   guidance/classifier_file.h
 *     Tensor *logits = classifier_forward(t, m, x, timesteps, NULL);     (N,H,W,3) -> (N,classes)
 *     classifier_free(m);
 */
#ifndef GLIDE_GUIDANCE_CLASSIFIER_H
#define GLIDE_GUIDANCE_CLASSIFIER_H

#include "common/unet_encoder.h"

/* Heads, by guided-diffusion's names ("pool"). With C channels in the middle, h*w pixels there, F channels in all input
 * blocks and the middle together:
 *   attention    norm, SiLU; the mean is put in front of the h*w pixels, positions are added; attention; the answer of the
 *                mean's place is projected. Only for pictures of image_size
 *   adaptive     norm, SiLU; mean over pixels, projection
 *   spatial      means over the pixels of every block's result, (F); linear, ReLU, linear
 *   spatial_v2   the same means; linear, norm, SiLU, linear */
typedef enum { POOL_ATTENTION, POOL_ADAPTIVE, POOL_SPATIAL, POOL_SPATIAL_V2 } ClassifierPool;

typedef struct ClassifierConfig {
    UNetConfig unet;         /* out_channels: classes; no text, no labels */
    char pool[16];           /* "attention", "adaptive", "spatial", "spatial_v2" */
    int pool_width;          /* of the hidden layer of the spatial heads: 2048 in guided-diffusion */
    char noise_schedule[32]; /* of the noise it was trained on: "linear" or "squaredcos_cap_v2" */
    int diffusion_steps;
    int styles; /* > 0: the last `styles` of out_channels tell the style, those before it the subject, and a class is one of each:
                   class = subject * styles + style, its logit the sum of the two, so that the softmax over classes is the product
                   of two softmaxes. 0 (guided-diffusion's): out_channels are the classes */
} ClassifierConfig;

void classifier_config_defaults(ClassifierConfig *c); /* the released 64x64 classifier, 1000 classes */

typedef struct Classifier {
    ClassifierConfig config;
    ParamSet params;
    UNetEncoder encoder;
    ClassifierPool pool;
    Norm norm;             /* attention, adaptive: C; spatial_v2: pool_width */
    Param *positions;      /* attention: (C,1+h*w) */
    Linear qkv, out;       /* attention: (3C,C,1); all but adaptive: to the classes */
    Linear hidden;         /* spatial heads: (pool_width,F) */
    Conv2d out_conv;       /* adaptive: (classes,C,1,1) */
    char **subject_names, **style_names; /* (out_channels - styles), (styles): one block each; NULL: not known */
} Classifier;

/* All parameters zero, without gradients. STATUS_BAD_INPUT names the field that is wrong. */
Status classifier_new(const ClassifierConfig *config, Classifier **out);
/* The same with names and shapes of the parameters alone (ParamSet.shapes_only). */
Status classifier_new_shapes(const ClassifierConfig *config, Classifier **out);
void classifier_free(Classifier *m); /* NULL is fine */

/* Labels are below this. */
int classifier_classes(const ClassifierConfig *c);
/* Names of a classifier with styles, copied: subjects (out_channels - styles), styles (styles). */
Status classifier_set_names(Classifier *m, const char *const *subjects, const char *const *styles);
/* The label of a subject in a style, such as "food-fruit" and "noto"; -1 when it knows no such. */
int classifier_label(const Classifier *m, const char *subject, const char *style);
/* Of "food-fruit, noto", or of a number. STATUS_BAD_INPUT says what is not known. */
Status classifier_parse_label(const Classifier *m, const char *text, int *label);

/* x (N,H,W,in_channels), timesteps (N) in steps of the original process -> logits (N,classifier_classes()), f32. The encoder runs
 * in the tape's dtype, the head in f32. trace (may be NULL) is called with "time_embed", "input_blocks.i", "middle_block", "out". */
Tensor *classifier_forward(Tape *t, const Classifier *m, Tensor *x, const float *timesteps, const UNetTrace *trace);

#endif
