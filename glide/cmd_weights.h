/* Writing a model's weights one parameter at a time: what init and import share. */
#ifndef GLIDE_GLIDE_CMD_WEIGHTS_H
#define GLIDE_GLIDE_CMD_WEIGHTS_H

#include "common/weights.h"

typedef struct CliWeights {
    const char *output, *kind; /* path and kind of the new file */
    ParamSet *params;          /* with shapes_only; its values come and go one at a time */
    Status (*header)(void *ctx, H5File *file); /* configuration, tokenizer, provenance */
    Status (*fill)(void *ctx, Param *param, int index); /* all of its values */
    H5Kind (*store)(void *ctx, int index);     /* how it is stored; NULL: H5KIND_F32 */
    void *ctx;
    const char *label; /* of the progress bar, which large models have */
    bool quiet;
} CliWeights;

/* The file appears whole or not at all; Ctrl-C leaves nothing behind (STATUS_INTERRUPTED). */
Status cli_weights_write(const CliWeights *w);

#endif
