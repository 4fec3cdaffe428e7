#include "common/simd.h"
#include "common/simd_math.h"

/* x + a * b. Where the processor does it with one rounding, the results are PyTorch's to the bit. */
#ifdef __FMA__
#define ADD_PRODUCT(x, a, b) fmaf(a, b, x)
#else
#define ADD_PRODUCT(x, a, b) ((x) + (a) * (b))
#endif

/* In the order of torch.optim.AdamW's operations; what does not depend on i is in double until it is used. */
static void adamw(int64_t n, float *value, const float *grad, float *m, float *v, const AdamWStep *step)
{
    float keep = (float)(1 - step->lr * step->weight_decay), rate = (float)(step->lr / step->bias1);
    float root = (float)sqrt(step->bias2), eps = (float)step->eps, scale = step->grad_scale;
    float beta1 = (float)step->beta1, rate1 = (float)(1 - step->beta1);
    float beta2 = (float)step->beta2, rate2 = (float)(1 - step->beta2);
#pragma omp parallel for simd schedule(static) if (parallel : n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * scale;
        m[i] = ADD_PRODUCT(m[i] * beta1, g, rate1);
        v[i] = ADD_PRODUCT(v[i] * beta2, rate2 * g, g);
        value[i] = value[i] * keep - rate * (m[i] / (sqrtf(v[i]) / root + eps));
    }
}

static void ema(int64_t n, double decay, const float *value, float *average)
{
    float keep = (float)decay, rate = (float)(1 - decay);
#pragma omp parallel for simd schedule(static) if (parallel : n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i++) average[i] = ADD_PRODUCT(average[i] * keep, value[i], rate);
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
