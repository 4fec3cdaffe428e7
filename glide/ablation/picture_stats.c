#include "glide/ablation/picture_stats.h"

#include <math.h>

PictureStats picture_measure(const uint8_t *picture, int64_t pixels)
{
    int64_t chroma = 0, clipped = 0;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < pixels; i++) {
        const uint8_t *p = picture + 3 * i;
        int low = p[0] < p[1] ? p[0] : p[1], high = p[0] > p[1] ? p[0] : p[1];
        if (p[2] < low) low = p[2];
        if (p[2] > high) high = p[2];
        chroma += high - low;
        for (int c = 0; c < 3; c++) clipped += p[c] == 0 || p[c] == 255;
        double luma = (0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2]) / 255;
        sum += luma;
        squares += luma * luma;
    }
    double n = (double)pixels, mean = sum / n;
    return (PictureStats){(double)chroma / (255 * n), sqrt(fmax(squares / n - mean * mean, 0)), (double)clipped / (3 * n)};
}

double pictures_diversity(const uint8_t *pictures, int count, int64_t pixels)
{
    double sum = 0;
    for (int a = 0; a < count; a++)
        for (int b = 0; b < a; b++) {
            const uint8_t *p = pictures + (int64_t)a * pixels * 3, *q = pictures + (int64_t)b * pixels * 3;
            int64_t squares = 0;
            for (int64_t i = 0; i < 3 * pixels; i++) squares += (p[i] - q[i]) * (p[i] - q[i]);
            sum += sqrt((double)squares / (double)(3 * pixels)) / 255;
        }
    return count < 2 ? NAN : sum / (count * (count - 1) / 2.0);
}
