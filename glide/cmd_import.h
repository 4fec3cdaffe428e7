/* What the files of `glide import` share: its options, and one model that is on its way from PyTorch to HDF5. */
#ifndef GLIDE_GLIDE_CMD_IMPORT_H
#define GLIDE_GLIDE_CMD_IMPORT_H

#include "common/pt_reader.h"
#include "common/weights.h"
#include "glide/cli_options.h"

enum { IMPORT_MOST_FILES = 2 };

typedef struct ImportCommand {
    const char *output, *config, *vocab, *bpe, *key, *schedule, *licence, *attribution, *trained_with;
    int as, store;
    int64_t head_channels, heads, heads_upsample, xf_heads, res_blocks, image_size, diffusion_steps;
    bool new_order, old_order, half, quiet;
} ImportCommand;

/* The order of --as. */
typedef enum {
    IMPORT_AUTO, IMPORT_BASE, IMPORT_UPSAMPLER, IMPORT_BASE_INPAINT, IMPORT_UPSAMPLER_INPAINT, IMPORT_DIFFUSION,
    IMPORT_CLASSIFIER, IMPORT_CLIP
} ImportAs;

extern const char *const import_kinds[]; /* by ImportAs, NULL at the end */

typedef struct ImportFile {
    const char *path;
    StateDict *dict;
} ImportFile;

typedef struct Import {
    CliArgs *args;
    const ImportCommand *c;
    ImportFile files[IMPORT_MOST_FILES];
    int file_count;
    /* filled by the kind: */
    struct TextUNet *unet; /* one of these three, with names and shapes alone */
    struct Classifier *classifier;
    struct Clip *clip;
    struct ClipBpe *clip_bpe;
    ParamSet *params;      /* of that one */
    const char *kind;      /* of the weights file */
    bool no_tokenizer;     /* one could be given */
    struct ImportSource {
        StateDict *dict;
        const StateTensor *tensor;
    } *sources;            /* (params->count) where each parameter comes from */
    int64_t steps, batch;  /* of its training; 0: not known */
} Import;

/* What the files hold, by their names. STATUS_BAD_INPUT: nothing known, or not what --as says. */
Status import_detect(const Import *i, ImportAs *out);

/* Configuration, tokenizer, and where every parameter comes from. Errors: usage, when an option is missing; else
 * STATUS_BAD_INPUT. */
Status import_text_unet(Import *i, ImportAs as);
Status import_classifier(Import *i);
Status import_clip(Import *i);

/* The configuration and the tokenizer into the new file. */
Status import_write_header(const Import *i, H5File *file);
void import_release(Import *i);

#endif
