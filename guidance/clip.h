/* GLIDE's noise-aware CLIP (arXiv 2112.10741, section 2.4; CLIP: arXiv 2103.00020): an image encoder that reads noised pictures
 * x_t at timestep t, and a text encoder; both end in vectors of unit length whose product tells how well text and picture fit.
 * Its gradient with respect to the picture steers sampling (guidance/guide.h). Parameters carry the names of the released
 * clip_image_enc.pt and clip_text_enc.pt, with "image_enc." and "text_enc." in front.
 *
 *     Clip *m;
 *     TRY(clip_load("clip.h5", &m, NULL));                                                     guidance/clip_file.h
 *     Tensor *text = op_unit_length(t, clip_text_encode(t, m, tokens, lengths, N, NULL));      (N,n_embd)
 *     Tensor *image = op_unit_length(t, clip_image_encode(t, m, x, timesteps, NULL));          (N,n_embd)
 *     similarity of row n = m->config.logit_scale * text[n] . image[n]
 *     clip_free(m);
 *
 * The reference pads sequences to a multiple of 32 and gives padding a score of -1e10; its weight in the softmax is then
 * exactly 0, so nothing is padded here. */
#ifndef GLIDE_GUIDANCE_CLIP_H
#define GLIDE_GUIDANCE_CLIP_H

#include "guidance/clip_blocks.h"

#define CLIP_IMAGE_PREFIX "image_enc."
#define CLIP_TEXT_PREFIX  "text_enc."

typedef struct ClipConfig {
    int n_embd;                /* length of the embeddings */
    int image_size, patch_size; /* pixels per side; the second divides the first */
    ClipStack image, text;     /* the two transformers: width (n_state), heads, layers */
    int n_vocab, max_text_len; /* of the text; a row of tokens is max_text_len long */
    int n_timesteps;           /* the noise levels that the image encoder tells apart */
    char beta_schedule[32];    /* of the noise it was trained on */
    double logit_scale;
} ClipConfig;

void clip_config_defaults(ClipConfig *c); /* the released one */

typedef struct Clip {
    ClipConfig config;
    ParamSet params;
    /* image encoder */
    Param *time_embedding; /* (n_timesteps,width): stands where CLIP has its class token */
    float pixel_scale[3], pixel_shift[3]; /* of each colour, from [-1,1] */
    Linear patches;         /* (width,3,patch,patch), no bias */
    Param *image_positions; /* (1+patches,width) */
    Norm image_norm;
    ClipLayers image;
    /* text encoder */
    Param *tokens, *text_positions; /* (n_vocab,width), (max_text_len,width) */
    ClipLayers text;
} Clip;

/* All parameters zero, without gradients. STATUS_BAD_INPUT names the field that is wrong. */
Status clip_new(const ClipConfig *config, Clip **out);
/* The same with names and shapes of the parameters alone (ParamSet.shapes_only). */
Status clip_new_shapes(const ClipConfig *config, Clip **out);
void clip_free(Clip *m); /* NULL is fine */

/* Called with "input", "block_0", ...: (N,T,width). For tests. */
typedef struct ClipTrace {
    void (*block)(void *ctx, const char *name, const Tensor *x);
    void *ctx;
} ClipTrace;

/* x (N,image_size,image_size,3) in [-1,1], f32; timesteps (N) in [0,n_timesteps), rounded to the nearest whole one
 * -> (N,n_embd), f32, of any length. trace may be NULL. Needs memory for its gradient when the tape records and x wants one. */
Tensor *clip_image_encode(Tape *t, const Clip *m, Tensor *x, const float *timesteps, const ClipTrace *trace);

/* tokens (N,max_text_len): start, text, end, then anything (the reference: 0); lengths (N): how many of them count, start and
 * end included -> (N,n_embd), f32, of any length. A position sees only those before it; the last one that counts answers. */
Tensor *clip_text_encode(Tape *t, const Clip *m, const int32_t *tokens, const int32_t *lengths, int64_t N,
                         const ClipTrace *trace);

#endif
