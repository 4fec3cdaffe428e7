/* How a picture's small version comes about in the world: what the upsampler is trained to undo. A row of training is a square
 * crop; its low-resolution side is made by
 *
 *   blur        Gaussian, of a random standard deviation
 *   reduction   by 4: block means, bicubic, Lanczos, or means of the blocks' middles alone (nearly nearest neighbours, so aliased)
 *   noise       Gaussian, alike in the three channels or not
 *   JPEG        encoded and decoded, its grid of blocks anywhere
 *   8 bits
 *
 * each with a probability and a random strength (a simpler form of Real-ESRGAN's, arXiv 2107.10833); a share of the rows is spared
 * all of it: exact block means. After that comes noise whose level the model is told, where it takes that (conditioning
 * augmentation, Cascaded Diffusion, arXiv 2106.15282, section 4.2). Everything depends on the row's key alone. */
#ifndef GLIDE_UPSAMPLER_DEGRADE_H
#define GLIDE_UPSAMPLER_DEGRADE_H

#include "common/rng.h"
#include "common/status.h"

enum { DEGRADE_FACTOR = 4 };

typedef enum { REDUCE_BLOCK_MEAN, REDUCE_BICUBIC, REDUCE_LANCZOS, REDUCE_MIDDLE, REDUCE_FILTERS } ReduceFilter;

typedef struct DegradeOptions {
    float clean;                   /* share of rows that are block means and nothing else */
    float blur, blur_sigma[2];     /* share of the others; standard deviation, in pixels of the crop, between these */
    float filters[REDUCE_FILTERS]; /* shares; need not add up to 1 */
    float noise, noise_sigma;      /* share; standard deviation up to this, small ones more often (of values in [-1,1]) */
    float grey_noise;              /* share of noisy rows whose noise is grey */
    float jpeg;                    /* share */
    int jpeg_quality[2];           /* from, to */
    float halved_colours;          /* share of JPEG rows with 4:2:0 */
    float untold_level;            /* share of rows at noise level 0, where the model is told levels */
    float level;                   /* the others' is up to this, small ones more often */
} DegradeOptions;

DegradeOptions degrade_defaults(void);

/* The degraded small version of x (side,side,3) in [-1,1]: low (side/4,side/4,3) in [-1,1]; side is a multiple of 4. `row` is a
 * row of a step; its stream is not looked at. */
Status degrade_row(const DegradeOptions *o, const float *x, int side, const RngKey *row, float *low);

/* Noise level of a row in training. */
float degrade_draw_level(const DegradeOptions *o, const RngKey *row);

/* low (n values) += level times standard normal noise from the key. The result is not clamped: the model knows the level. */
Status degrade_add_noise(float *low, int64_t n, float level, const RngKey *key);
RngKey degrade_level_key(const RngKey *row); /* of that noise in training */

/* One step of the above, without randomness. x (h,w,3) in place; work: as large. */
void degrade_blur(float *x, int h, int w, float sigma, float *work);
/* x (h,w,3), both multiples of 4 -> low (h/4,w/4,3), clamped to [-1,1]; work (h,w/4,3). Edges are repeated. */
void degrade_reduce(ReduceFilter filter, const float *x, int h, int w, float *low, float *work);
/* x (side,side,3) in place: encoded and decoded, with the grid of blocks moved up and left by 0 to 15 pixels. */
Status degrade_jpeg(float *x, int side, int quality, int halved_colours, int top, int left);

#endif
