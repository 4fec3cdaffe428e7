/* What the subjects of glide evaluate share: its options. */
#ifndef GLIDE_CMD_EVALUATE_H
#define GLIDE_CMD_EVALUATE_H

#include "glide/cli_commands.h"

typedef struct EvaluateCommand {
    const char *data, *subgroups, *pairs, *outside, *outside_name, *sheet, *judge, *steps, *weights;
    int64_t limit, threads, crop, tile, seed;
    double fidelity, noise_level, upsample_temp;
    int split, scale, sampler, precision;
    bool json, captions, quiet;
} EvaluateCommand;

extern const char *const evaluate_splits[]; /* in the order of Split */

Status evaluate_guide(CliArgs *args);
Status evaluate_upsample(CliArgs *args);

#endif
