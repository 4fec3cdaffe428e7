#include "common/simd.h"
#include "common/simd_math.h"

/* In the order of torch.optim.AdamW's operations. */
static void adamw(int64_t n, float *value, const float *grad, float *m, float *v, const AdamWStep *step)
{
    float keep = 1 - step->lr * step->weight_decay, rate = step->lr / step->bias1, root = sqrtf(step->bias2);
    float beta1 = (float)step->beta1, beta2 = (float)step->beta2, eps = step->eps, scale = step->grad_scale;
    float rate1 = (float)(1 - step->beta1), rate2 = (float)(1 - step->beta2);
#pragma omp parallel for simd schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * scale;
        m[i] = beta1 * m[i] + rate1 * g;
        v[i] = beta2 * v[i] + rate2 * (g * g);
        value[i] = value[i] * keep - rate * (m[i] / (sqrtf(v[i]) / root + eps));
    }
}

static void ema(int64_t n, float decay, const float *value, float *average)
{
#pragma omp parallel for simd schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i++) average[i] = decay * average[i] + (1 - decay) * value[i];
}

/* A fixed number of parts, so that the order of the additions is the same on any number of threads. */
static double sum_squares(int64_t n, const float *x)
{
    enum { PARTS = 64 };
    double part[PARTS], total = 0;
    int64_t size = (n + PARTS - 1) / PARTS;
#pragma omp parallel for schedule(static) if (n >= PARALLEL_FROM)
    for (int p = 0; p < PARTS; p++) {
        int64_t end = size * (p + 1) < n ? size * (p + 1) : n;
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = size * p; i < end; i++) sum += (double)x[i] * (double)x[i];
        part[p] = sum;
    }
    for (int p = 0; p < PARTS; p++) total += part[p];
    return total;
}

void SIMD_NAME(simd_optimizer_install)(Kernels *k)
{
    k->adamw = adamw;
    k->ema = ema;
    k->sum_squares = sum_squares;
}
