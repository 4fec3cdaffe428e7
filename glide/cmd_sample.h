/* glide sample, as other ways to run it see it: sheets over options (cmd_grid.h) and plans. */
#ifndef GLIDE_CMD_SAMPLE_H
#define GLIDE_CMD_SAMPLE_H

#include "glide/cmd_guidance.h"
#include "glide/cmd_sampling.h"

typedef struct SampleCommand {
    const char *output, *steps, *upsampler_steps, *weights, *upsampler_weights, *init_image, *from;
    int64_t n, seed, image, threads, colour_cells, quality;
    const char *class_name;
    double upsampler_guidance_scale, upsample_temp, strength;
    CliGuidance guidance;
    CliTexts grid;
    CliShowOptions show;
    int sampler, upsampler_sampler, precision;
    bool no_upsample, quiet;
} SampleCommand;

/* What can be told without models; STATUS_BAD_INPUT is a usage error. */
Status sample_check(CliArgs *args);
/* Guidance and class as the options say them; -1: no class. */
Status sample_guidance(CliArgs *args, GlideGuidance *guidance, int *label);
/* What is asked must be what the models take. */
Status sample_check_model(Glide *g, CliArgs *args, const GlideGuidance *guidance, int label);
/* Texts are borrowed from the options; no callbacks, no picture to start from. */
GlideSampleOptions sample_options(const SampleCommand *c, const GlideGuidance *guidance, uint64_t seed, int label);

#endif
