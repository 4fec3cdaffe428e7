/* A picture of any size and shape -> one 2, 4 or 8 times as large, or of a size between: photos, scans, icons.
 *
 * The upsampler enlarges 4 times. Its process runs on the whole result at once, with one field of noise, but the model is shown
 * windows of it (glide/tiles.h), so that there are no seams and the network's memory does not grow with the picture. What grows is
 * what the process itself needs (EnlargePlan.bytes): two pictures in single precision, x_t and x_0, or 24 bytes a pixel, and 3 of
 * the picture that is given; one more of 12 bytes for each that the sampler remembers (dpmpp_2m: 1) and for noise (ddpm), six with
 * guidance. Sizes that the network cannot take are padded by repeating edges, and cut off again. For 2 the result is halved by
 * 2x2 means; for 8 that is enlarged once more; another size is resized to from the next larger one. With back-projection the result,
 * reduced by block means, is the picture that was given (up to 8 bits and clamping): what is lacking is added to it as a bilinear
 * surface until nothing is.
 *
 * All that a Picture says is kept: 16 bits are read and written as such, a grey picture stays grey, the profile goes with the
 * colours, which are taken as they are, and alpha is enlarged as a picture of its own (glide/frame.h). */
#ifndef GLIDE_ENLARGE_H
#define GLIDE_ENLARGE_H

#include "common/picture.h"
#include "glide/cascade.h"

enum { ENLARGE_OVERLAP = 64 /* pixels that windows overlap by, of the default tile */ };

typedef struct EnlargeOptions {
    int scale;              /* 2, 4 or 8 */
    int width, height;      /* of the result; 0: what `scale` gives. Both or none; `scale` is then not looked at */
    bool back_projection;   /* at the end; StageOptions.fidelity does it at every step */
    int tile;               /* pixels a side of a window, a multiple of 16; 0: the size that the model was trained for */
} EnlargeOptions;

/* What becomes of a picture of w x h. */
typedef struct EnlargePlan {
    int scale;         /* 2, 4 or 8 */
    int width, height; /* of the result */
    int64_t windows;   /* of the last pass over the picture */
    size_t bytes;      /* of memory, about, besides the model's weights */
} EnlargePlan;

/* `stage`: sampler, guidance and trace, which say how much memory is needed. STATUS_BAD_INPUT: a scale or a size that cannot be, or a
 * result beyond the limits of common/image.h. */
Status enlarge_plan(const TextUNet *m, const StageOptions *stage, const EnlargeOptions *o, int w, int h, EnlargePlan *plan);

/* Where windows of the last pass begin and end inside of the result, for whoever looks for seams. */
typedef struct EnlargeBorders {
    int *x, *y; /* (x_count), (y_count) rising: a border is between this pixel and the one before */
    int x_count, y_count;
    int unit;   /* they are multiples of it */
} EnlargeBorders;

/* Of a result of `scale` times w x h. */
Status enlarge_borders_init(EnlargeBorders *b, const TextUNet *m, const EnlargeOptions *o, int w, int h);
void enlarge_borders_release(EnlargeBorders *b); /* zeroed is fine */

/* `stage`: sampler, steps, temperature, guidance, precision, colour_cells (a side of the model's own size), fidelity, noise level.
 * hooks->finished() is not called. After a failure *out is empty. */
Status enlarge_picture(const Cascade *c, const StageOptions *stage, const EnlargeOptions *o, const Picture *in,
                       const char *prompt, const int32_t *label, const SamplerRow *row, const CascadeHooks *hooks, Picture *out);

#endif
