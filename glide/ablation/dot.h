/* Sum of products in eight lanes: an order of its own, the same on every machine, that compilers may vectorise. */
#ifndef GLIDE_ABLATION_DOT_H
#define GLIDE_ABLATION_DOT_H

static inline double dot(const double *a, const double *b, int n)
{
    double lane[8] = {0}, rest = 0;
    int i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) lane[k] += a[i + k] * b[i + k];
    for (; i < n; i++) rest += a[i] * b[i];
    return (((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]))) + rest;
}

#endif
