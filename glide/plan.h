/* What a call of the library will cost, before it starts: evaluations counted as the sampler will ask for them, memory by a formula
 * over the models' configurations, time by a short measurement on this machine.
 *
 * The formula is one of what the process has in memory at its peak, mapped weights included: the program, the weights as the
 * file has them and as the kernels want them, those of guides (which are read for it), and the feature maps that a network works
 * on at once, whose number was measured (plan.c).
 * tests/test_cli_plan.c holds it against measured peaks, within PLAN_MEMORY_FACTOR either way. */
#ifndef GLIDE_PLAN_H
#define GLIDE_PLAN_H

#include "glide/glide.h"

#include "common/status.h"
#include "text_transformer/text_unet.h"

#define PLAN_MEMORY_FACTOR 1.6 /* of the default models and of what they guide by */

typedef struct PlanStage {
    bool takes_part;
    int width, height, steps;
    int rows;                           /* pictures at once */
    int64_t windows;                    /* that a picture is made in */
    double answers, weaker, gradients;  /* of one picture: evaluations of the model, of a weaker one, of guides */
    double activation_bytes;            /* at once, about */
    double seconds_a_picture;           /* measured; 0: not yet */
} PlanStage;

typedef struct Plan {
    PlanStage base, upsampler;
    int pictures;
    double weight_bytes; /* of the files and of packed copies */
    double bytes;        /* of everything at once, about */
    double seconds;      /* all pictures; 0: not measured */
} Plan;

/* Counts and memory. Fails as glide_sample() does where options are wrong. */
Status plan_sample(Glide *g, const GlideSampleOptions *options, Plan *out);
/* The same of glide_inpaint(): stretches that are repeated count as often. */
Status plan_inpaint(Glide *g, const GlideInpaintOptions *options, Plan *out);
/* And of glide_upsample() of a picture of width x height: evaluations are those of windows. */
Status plan_upsample(Glide *g, int width, int height, const GlideUpsampleOptions *options, Plan *out);
/* Of `rows` rows of the base model at once, everything else included: for what calls stages itself. */
double plan_base_bytes(const Glide *g, double rows);

/* Seconds, too, by some steps of each stage. Guides' gradients are measured with the rest. A picture to enlarge is measured by a
 * piece of it that is one window. */
Status plan_measure(Glide *g, const char *prompt, const GlideSampleOptions *options, Plan *plan);
Status plan_measure_inpaint(Glide *g, const GlidePicture *in, const GlideMask *mask, const char *prompt,
                            const GlideInpaintOptions *options, Plan *plan);
Status plan_measure_upsample(Glide *g, const GlidePicture *in, const GlideUpsampleOptions *options, Plan *plan);

/* Of activations of a model shown `rows` pictures of its own size at once, about. */
double plan_activation_bytes(const TextUNetConfig *config, DType type, double rows);

/* STATUS_NO_MEMORY with the need and what there is, where `bytes` are more than memory_free(). */
Status plan_check_memory(double bytes);

#endif
