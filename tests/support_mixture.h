/* A model whose eps is known exactly: x_0 is drawn from a mixture of round Gaussians over pictures of 3 x 5 pixels. */
#ifndef GLIDE_TESTS_SUPPORT_MIXTURE_H
#define GLIDE_TESTS_SUPPORT_MIXTURE_H

#include "common/sampler.h"

enum { MIXTURE_H = 3, MIXTURE_W = 5, MIXTURE_PIXELS = MIXTURE_H * MIXTURE_W, MIXTURE_SIZE = MIXTURE_PIXELS * 3, MIXTURE_COMPONENTS = 3 };

typedef struct Mixture {
    int components;
    int64_t rows; /* N */
    double weights[MIXTURE_COMPONENTS], stds[MIXTURE_COMPONENTS];
    double means[MIXTURE_COMPONENTS][MIXTURE_SIZE];
    float v; /* of the variance, everywhere; NAN: some other value for each element */
    int calls;
} Mixture;

Mixture mixture_make(int components, int64_t rows);
/* log p(x_t), or with `eps` its gradient times -sigma. */
double mixture_at(const Mixture *m, const double *x, double alpha, double sigma, double *eps);
Denoiser mixture_denoiser(Mixture *m);

#endif
