/* The judge's two networks on the tape, for judge.c and for training (glide/train_judge.c). Neither is like a guide's, so that
 * what fools a guide need not fool the judge:
 *
 *   pictures  a residual convolutional network that sees no timestep: a 3x3 convolution of stride 2, then levels of residual blocks
 *             (norm, SiLU, 3x3 convolution, twice), each level after the first at half the side; norm, SiLU, mean over pixels: the
 *             features; a linear layer: the embedding
 *   texts     tokens of a tokenizer of its own, each seen with its neighbours (a convolution of width 3 over the text: the three
 *             embeddings side by side), two layers with SiLU, the mean over the text, a linear layer: the embedding */
#ifndef GLIDE_ABLATION_JUDGE_MODEL_H
#define GLIDE_ABLATION_JUDGE_MODEL_H

#include "common/ops.h"
#include "common/weights.h"
#include "glide/ablation/judge.h"
#include "text_transformer/bpe.h"

#define JUDGE_KIND "judge"

enum { JUDGE_MOST_LEVELS = 6, JUDGE_MOST_BLOCKS = 16 };

typedef struct JudgeConfig {
    int image_size;                  /* pixels per side; 2^levels divides it */
    int channels[JUDGE_MOST_LEVELS]; /* of each level, multiples of 32; the last one's are the features */
    int levels;
    int blocks;                      /* of each level */
    int embedding;
    int n_vocab, text_ctx;           /* tokens there are, and tokens that are read */
    int text_width, text_hidden;     /* of a token's embedding, and of the two layers */
    double logit_scale;              /* of the contrastive loss it was trained with */
} JudgeConfig;

void judge_config_defaults(JudgeConfig *c);

typedef struct JudgeBlock {
    Norm norm[2];
    Conv2d conv[2];
} JudgeBlock;

typedef struct JudgeLevel {
    Conv2d down; /* stride 2 */
    JudgeBlock blocks[JUDGE_MOST_BLOCKS];
} JudgeLevel;

struct Judge {
    JudgeConfig config;
    ParamSet params;
    JudgeLevel levels[JUDGE_MOST_LEVELS];
    Norm out_norm;
    Linear out;
    Param *tokens; /* (n_vocab,text_width) */
    Linear text_layers[2], text_out;
    Bpe *bpe; /* owned; NULL until known */
};

/* All parameters zero, or names and shapes alone. STATUS_BAD_INPUT names the field that is wrong. */
Status judge_new(const JudgeConfig *config, bool shapes_only, Judge **out);

/* x (N,side,side,3) in [-1,1] -> (N,embedding) of unit length, f32. *features (may be NULL): (N,features), f32. The convolutions
 * run in the tape's dtype. */
Tensor *judge_image_forward(Tape *t, const Judge *j, Tensor *x, Tensor **features);
/* The same network up to the end of each level: maps[l] (N,side/2^(l+1),side/2^(l+1),channels[l]) in the tape's dtype, for
 * l < config.levels. All NULL after an error. */
void judge_image_maps(Tape *t, const Judge *j, Tensor *x, Tensor *maps[JUDGE_MOST_LEVELS]);
/* tokens, mask (N,text_ctx) as bpe_encode_padded() makes them -> (N,embedding) of unit length, f32. */
Tensor *judge_text_forward(Tape *t, const Judge *j, const int32_t *tokens, const uint8_t *mask, int64_t N);

/* Configuration and tokenizer into an open weights file, and back: a model with values of zero. */
Status judge_write_header(H5File *file, const Judge *j);
Status judge_read_header(const H5File *file, Judge **out);

#endif
