/* Guidance on the command line, the same for every command that samples.
 *
 *     typedef struct SampleCommand { CliGuidance guidance; ... } SampleCommand;
 *     static const CliOption options[] = {CLI_GUIDANCE_OPTIONS(SampleCommand, guidance, "3"), ...};
 *     TRY(cli_guidance(args, &c->guidance, &o.guidance)); */
#ifndef GLIDE_CMD_GUIDANCE_H
#define GLIDE_CMD_GUIDANCE_H

#include "glide/cli_options.h"
#include "glide/glide.h"

typedef struct CliGuidance {
    double scale, rescale, autoguidance_scale, classifier_scale, clip_scale;
    const char *interval, *schedule, *negative_prompt, *threshold, *apg, *trace;
    const char *guide_weights, *autoguidance_interval, *autoguidance_schedule;
    const char *classifier, *classifier_interval, *classifier_schedule;
    const char *clip, *clip_interval, *clip_schedule;
    bool cfgpp;
} CliGuidance;

#define CLI_GUIDANCE_CFGPP_SCALE 0.6 /* with --cfgpp, unless --guidance-scale says another */

/* Rows of a command's table; `scale`: the default of --guidance-scale. */
#define CLI_GUIDANCE_OPTIONS(S, f, scale_)                                                                                       \
    CLI_DOUBLE(S, f.scale, 'g', "guidance-scale", "G", 0, 100, scale_, "how closely to follow the prompt; 1 is without guidance " \
               "and twice as fast"),                                                                                             \
    CLI_TEXT(S, f.negative_prompt, 0, "negative-prompt", "TEXT", NULL, "what the picture is to move away from"),                 \
    CLI_TEXT(S, f.interval, 0, "guidance-interval", "LO:HI", NULL, "timesteps at which --guidance-scale acts, from 0, the "      \
             "picture, to 999, noise: 100:800; either may be missing"),                                                          \
    CLI_TEXT(S, f.schedule, 0, "guidance-schedule", "WORD", NULL, "constant; linear or cosine, which rise from none at noise; or " \
             "t:scale,t:scale,... with timesteps, instead of a scale"),                                                          \
    CLI_DOUBLE(S, f.rescale, 0, "guidance-rescale", "PHI", 0, 1, "0", "how much of the prediction's spread is put back after "   \
               "guidance"),                                                                                                      \
    CLI_TEXT(S, f.threshold, 0, "threshold", "WORD", "static", "of the expected picture: none, static, or dynamic:P with a "     \
             "percentile such as 0.995"),                                                                                        \
    CLI_TEXT(S, f.apg, 0, "apg", "ETA:NORM:MOM", NULL, "guidance by orthogonal projection: share of the parallel part, largest " \
             "change, momentum; 0, 0:15 and 0:15:-0.5 are fine"),                                                                \
    CLI_FLAG(S, f.cfgpp, 0, "cfgpp", "CFG++; --guidance-scale is then 0 to 1, by default 0.6"),                                  \
    CLI_FILE(S, f.guide_weights, 0, "guide-weights", "FILE", NULL, "a weaker version of the model, to move away from "           \
             "(autoguidance)"),                                                                                                  \
    CLI_DOUBLE(S, f.autoguidance_scale, 0, "autoguidance-scale", "S", 0, 100, "1", "how far; 0 is off"),                         \
    CLI_TEXT(S, f.autoguidance_interval, 0, "autoguidance-interval", "LO:HI", NULL, "where it acts"),                            \
    CLI_TEXT(S, f.autoguidance_schedule, 0, "autoguidance-schedule", "WORD", NULL, "how its scale changes"),                     \
    CLI_FILE(S, f.classifier, 0, "classifier", "FILE", NULL, "a noise-aware classifier that guides towards --class "             \
             "(default: data/weights/classifier.h5, if another of its options is given)"),                                       \
    CLI_DOUBLE(S, f.classifier_scale, 0, "classifier-scale", "S", 0, 10000, "1", "how much it does; 0 is off"),                  \
    CLI_TEXT(S, f.classifier_interval, 0, "classifier-interval", "LO:HI", NULL, "where it acts"),                                \
    CLI_TEXT(S, f.classifier_schedule, 0, "classifier-schedule", "WORD", NULL, "how its scale changes"),                         \
    CLI_FILE(S, f.clip, 0, "clip", "FILE", NULL, "a noise-aware CLIP that guides towards the prompt (default: "                  \
             "data/weights/clip.h5, likewise)"),                                                                                 \
    CLI_DOUBLE(S, f.clip_scale, 0, "clip-scale", "S", 0, 10000, "1", "how much it does; 0 is off"),                              \
    CLI_TEXT(S, f.clip_interval, 0, "clip-interval", "LO:HI", NULL, "where it acts"),                                            \
    CLI_TEXT(S, f.clip_schedule, 0, "clip-schedule", "WORD", NULL, "how its scale changes"),                                     \
    CLI_OUTPUT(S, f.trace, 0, "trace", "FILE", NULL, "write what guidance did, x_t and the expected picture at every step to this " \
             "HDF5 file")

/* Checks the options and fills *out. A bad value or combination is a usage error. */
Status cli_guidance(CliArgs *args, const CliGuidance *c, GlideGuidance *out);

/* The number that --class means: a number, or "SUBJECT, STYLE" in the words of the classifier that guides. */
Status cli_class(CliArgs *args, const char *text, const GlideGuidance *guidance, int *label);

#endif
