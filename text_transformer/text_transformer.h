/* GLIDE's text transformer (arXiv 2112.10741, section 2): captions as tokens -> features for the U-Net's attention, and one
 * pooled vector that joins the time embedding. Parameters carry the names of the released checkpoints. */
#ifndef GLIDE_TEXT_TRANSFORMER_H
#define GLIDE_TEXT_TRANSFORMER_H

#include "common/ops.h"

typedef struct TextConfig {
    int n_vocab; /* ids 0..n_vocab-1; the last is the end token */
    int ctx;     /* tokens per caption, longer ones are cut */
    int width;   /* 0: the model takes no text */
    int layers, heads;
    bool final_ln; /* layer norm at the end */
    bool padding;  /* a learned embedding replaces padding positions; else they are embedded like tokens */
} TextConfig;

void text_config_defaults(TextConfig *c); /* GLIDE's: 512 wide, 16 layers, 8 heads, 128 tokens, vocabulary 50,257 */

typedef struct TextTransformer TextTransformer;

/* Registers parameters in `params`. pooled_width: 4 * the U-Net's channels. */
Status text_transformer_new(const TextConfig *config, int64_t pooled_width, ParamSet *params, TextTransformer **out);
void text_transformer_free(TextTransformer *x); /* NULL is fine */

typedef struct TextFeatures {
    Tensor *sequence; /* (N,T,width) */
    Tensor *pooled;   /* (N,pooled_width), made from the last position */
} TextFeatures;

/* Called with "xf_in", "resblock.0", ...: for tests. */
typedef struct TextTrace {
    void (*block)(void *ctx, const char *name, const Tensor *x);
    void *ctx;
} TextTrace;

/* tokens (N,ctx), mask (N,ctx) 1 = token, 0 = padding. trace may be NULL. */
TextFeatures text_transformer_forward(Tape *t, const TextTransformer *x, const int32_t *tokens, const uint8_t *mask, int64_t N,
                                      const TextTrace *trace);

#endif
