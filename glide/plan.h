/* What a call of glide_sample() will cost, before it starts: evaluations counted as the sampler will ask for them, memory by a formula
 * over the models' configurations, time by a short measurement on this machine. */
#ifndef GLIDE_PLAN_H
#define GLIDE_PLAN_H

#include "glide/glide.h"

#include "common/status.h"
#include "text_transformer/text_unet.h"

typedef struct PlanStage {
    bool takes_part;
    int side, steps;
    int rows;                           /* pictures at once */
    double answers, weaker, gradients;  /* of one picture: evaluations of the model, of a weaker one, of guides */
    double activation_bytes;            /* at once, about */
    double seconds_a_picture;           /* measured; 0: not yet */
} PlanStage;

typedef struct Plan {
    PlanStage base, upsampler;
    int pictures;
    double weight_bytes; /* packed copies; the files themselves are mapped, and given back where memory is short */
    double bytes;        /* of everything at once, about */
    double seconds;      /* all pictures; 0: not measured */
} Plan;

/* Counts and memory. Fails as glide_sample() does where options are wrong. */
Status plan_sample(Glide *g, const GlideSampleOptions *options, Plan *out);
/* STATUS_NO_MEMORY, with the need and what there is, when the call would not fit. */
Status plan_fits(Glide *g, const GlideSampleOptions *options);
/* And time: two steps of each stage twice, some seconds. Guides' gradients are measured with the rest. */
Status plan_measure(Glide *g, const char *prompt, const GlideSampleOptions *options, Plan *plan);

/* Of activations of a model shown `rows` pictures of its own size at once, about. */
double plan_activation_bytes(const TextUNetConfig *config, DType type, double rows);

/* Memory that this process may still take: what the system has, the control group's and the process's own limit. */
double plan_free_bytes(void);
/* STATUS_NO_MEMORY with the need and what there is, where `bytes` are more than that. */
Status plan_check_memory(double bytes);

#endif
