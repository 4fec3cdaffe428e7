/* Counter-based random numbers (Philox 4x32-10 from Random123), so that a number depends only on its key and index:
 * never on threads, batch size or what was drawn before. */
#ifndef GLIDE_COMMON_RNG_H
#define GLIDE_COMMON_RNG_H

#include <stdint.h>

typedef enum {
    RNG_INIT_NOISE = 1, /* x_T */
    RNG_STEP_NOISE,     /* noise of a sampler's step */
    RNG_DROPOUT,
    RNG_DATA,           /* order of the data, choice of captions, crops */
    RNG_DIFFUSION,      /* timestep and noise of a training example */
    RNG_AUGMENT,        /* degradation of the low-resolution input */
    RNG_PARAMS,         /* initial weights */
    RNG_TEST,
    RNG_KNOWN_NOISE,    /* of the known part of a picture that is painted on */
    RNG_JUMP_NOISE,     /* of going back to more noise */
    RNG_MASKS,          /* what training an inpainting model erases */
    RNG_RESAMPLING,     /* of an ablation's statistics */
    RNG_LOW_RES_NOISE   /* what is added to the picture to enlarge */
} RngStream;

typedef struct RngKey {
    uint64_t seed;
    uint32_t stream; /* an RngStream */
    uint32_t image;  /* index of the image (or of the example, or of the parameter) */
    uint32_t step;
} RngKey;

/* 4 x 32 random bits number `index` of the key's sequence. */
void rng_bits(const RngKey *key, uint32_t index, uint32_t out[4]);
/* The index-th uniform number in [0,1) (24 bits). */
float rng_uniform(const RngKey *key, uint32_t index);
/* The index-th uniform whole number in [0,n), n >= 1. */
uint32_t rng_below(const RngKey *key, uint32_t index, uint32_t n);
/* n standard normal numbers (Box-Muller, in pairs). out[i] depends only on the key and i. Threaded. */
void rng_normal(const RngKey *key, float *out, int64_t n);
/* n uniform numbers in [0,1); out[i] depends only on the key and i. */
void rng_uniforms(const RngKey *key, float *out, int64_t n);

#endif
