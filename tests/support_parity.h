/* Comparison with what the reference implementations computed: the checks behind `make parity FIXTURES=DIR`
 * (tests/tools/parity.c) and test_parity.c.
 *
 * A folder of fixtures holds inputs, weights and results; every configuration, size, seed and text comes from its files.
 * Each check of a file reports one line per item: name, largest error, tolerance, "ok" or "FAILED". Which items there are
 * is what the file holds. Arrays in the files are channels first (NCHW) and are turned to channels last when read.
 *
 * A check returns a failure only when the folder is at fault (a file that is missing or wrong); what the engine gets wrong,
 * or refuses to compute, is counted in `failed`. */
#ifndef GLIDE_TESTS_SUPPORT_PARITY_H
#define GLIDE_TESTS_SUPPORT_PARITY_H

#include "common/h5file.h"
#include "common/kernels.h"
#include "guidance/guide.h"
#include "text_transformer/text_unet.h"

#include <stdio.h>

typedef struct Parity {
    const char *dir;
    FILE *out;        /* where the lines go; NULL: nowhere */
    Kernels *kernels; /* borrowed */
    int passed, failed, skipped;
    struct ParityBlock *blocks; /* memory of the current file's arrays */
} Parity;

/* Largest difference allowed at a value of a group: absolute + relative * |value| + of_rms * rms(group). */
typedef struct Tolerance {
    double absolute, relative, of_rms;
} Tolerance;

/* --- the checks, one per kind of file; `name` is the file in p->dir --- */
Status parity_tokenizer(Parity *p, const char *name);
Status parity_clip_tokenizer(Parity *p, const char *name); /* and clip_bpe.txt.gz beside it, if it is there */
Status parity_merges(Parity *p, const char *name, const char *tokenizer); /* vocab.bpe.gz against the JSON's merges */
Status parity_unicode(Parity *p, const char *name);
Status parity_schedules(Parity *p, const char *name);
Status parity_layers(Parity *p, const char *name);
Status parity_text_transformer(Parity *p, const char *name);
Status parity_unet(Parity *p, const char *name); /* GLIDE's and guided-diffusion's */
Status parity_classifier(Parity *p, const char *name); /* guided-diffusion's classifiers: logits and gradients */
Status parity_clip(Parity *p, const char *name);       /* the noise-aware CLIP: embeddings and gradients */
Status parity_samplers(Parity *p, const char *name);
Status parity_training(Parity *p, const char *name);
Status parity_checkpoint(Parity *p, const char *name); /* the groups checkpoint*: does the .pt read as it was written? */
Status parity_pt_formats(Parity *p, const char *name);

/* All of them in order, for all files of the folder. A file that must be there and is not is a failure; one that may be
 * missing is listed as skipped. */
Status parity_all(Parity *p);

/* --- reporting --- */
/* One line; the error shown is that of the value that comes nearest to its tolerance (or exceeds it most). */
void parity_compare(Parity *p, const char *item, const float *found, const float *expected, int64_t n, Tolerance tolerance);
void parity_compare_f64(Parity *p, const char *item, const double *found, const double *expected, int64_t n,
                        Tolerance tolerance);
/* `wrong` of `count` things differ, `first` (may be NULL) tells about the first. */
void parity_exact(Parity *p, const char *item, int64_t wrong, int64_t count, const char *first);
/* The engine could not compute it: status_message() is the reason. */
void parity_broken(Parity *p, const char *item);
/* Neither passed nor failed. */
void parity_skip(Parity *p, const char *item, const char *why);

/* --- memory: freed together by parity_forget(); out of memory ends the program --- */
void *parity_alloc(Parity *p, int64_t count, size_t size); /* zero-filled */
void *parity_keep(Parity *p, void *block);                 /* made by malloc */
const char *parity_text(Parity *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void parity_forget(Parity *p);

/* --- files --- */
const char *parity_path(Parity *p, const char *name);
bool parity_has(Parity *p, const char *name);
Status parity_open(Parity *p, const char *name, H5File **out);
Status parity_wrong(const H5File *file, const char *what, const char *name); /* "FILE: NAME: WHAT" */

/* --- arrays, kept by p. Shapes must be exactly as given --- */
Status parity_f32(Parity *p, const H5File *file, const char *name, int ndim, const int64_t *dims, float **out);
Status parity_i32(Parity *p, const H5File *file, const char *name, int ndim, const int64_t *dims, int32_t **out);
Status parity_u8(Parity *p, const H5File *file, const char *name, int ndim, const int64_t *dims, uint8_t **out);
/* Shape of a dataset that must have `ndim` dimensions, none of them 0. */
Status parity_shape(const H5File *file, const char *name, int ndim, int64_t *dims);
/* Any shape; `n` elements. */
Status parity_vector(Parity *p, const H5File *file, const char *name, float **out, int64_t *n);
/* (N,C,pixels) -> (N,pixels,C) */
float *parity_transposed(Parity *p, const float *x, int64_t N, int64_t C, int64_t pixels);
/* dims (N,C,...) as stored -> (N,...,C). */
Status parity_channels_last(Parity *p, const H5File *file, const char *name, int ndim, const int64_t *dims, float **out);
/* A list of whole numbers in an attribute, of any width. */
Status parity_whole_numbers(Parity *p, const H5File *file, const char *object, const char *name, int **out, int *count);
/* The names of a group's datasets or groups (H5LIST_...). */
Status parity_list(Parity *p, const H5File *file, const char *group, unsigned what, char ***names, int *count);

/* --- gradients of parameters --- */
/* GROUP/NAME, each a parameter's gradient or its first elements. */
Status parity_grads(Parity *p, const H5File *file, const char *file_name, const char *group, const ParamSet *params);
/* GROUP/names and GROUP/grad_norms: must name every parameter. */
Status parity_grad_norms(Parity *p, const H5File *file, const char *file_name, const char *group, const ParamSet *params);

/* --- guides --- */
/* The group "classifier" of training.h5: noised pictures, cross entropy and gradients of classifier_attention.pt. */
Status parity_classifier_training(Parity *p, const H5File *file, const char *file_name);

/* A run of guided sampling: the gradient it adds, times `scale`. */
typedef struct ParityGuide {
    Guide guide;
    GuidanceModeId mode;
    Classifier *classifier;
    Clip *clip;
    double scale;
} ParityGuide;

/* `guidance`: "classifier" or "clip". What the file's root names (classifier, clip_image, clip_text), configured as the file of
 * the same name with .h5, or clip.h5, says; labels or texts of N rows from the group; the scale from the run. When the engine
 * cannot make it, that is a failed item `run`, and *made is false. */
Status parity_guide_load(Parity *p, const H5File *file, const char *group, const char *run, const char *guidance, int64_t N,
                         ParityGuide *out, bool *made);
void parity_guide_release(ParityGuide *g); /* a zeroed one is fine */

/* --- models --- */
/* Configuration from the attributes of a file about a model, GLIDE's or guided-diffusion's. */
Status parity_config(Parity *p, const H5File *file, TextUNetConfig *c);
/* The model of a file about one, with the weights of `checkpoint` (NULL: the one it names). The caller frees it. When the
 * engine cannot make it of them, that is a failed item `item`, and *out is NULL. */
Status parity_model(Parity *p, const H5File *file, const char *checkpoint, const char *item, TextUNet **out);
/* A caption batch: GROUP/tokens and GROUP/mask with the given prefix ("" or "uncond_"), (N,ctx); NULL without text. */
Status parity_captions(Parity *p, const H5File *file, const char *group, const char *prefix, const TextUNet *m, int64_t N,
                       int32_t **tokens, uint8_t **mask);

/* --- traces: the output of each block is compared with the dataset of its name, as it comes --- */
typedef struct ParityTrace {
    Parity *p;
    const H5File *file;
    const char *item, *group; /* group: "trace" or "" */
    Tolerance tolerance;
    int found;
    Status status;
} ParityTrace;

/* To be called with each block. Stored channels first, perhaps the first channels only; _tokens: as they are, (N,T,W). */
void parity_trace_block(void *trace, const char *name, const Tensor *x);
void parity_trace_tokens(void *trace, const char *name, const Tensor *x);
/* A trace that misses blocks (renamed ones, say) must not pass. */
void parity_trace_count(ParityTrace *c, int expected);

#endif
