#include "common/simd.h"
#include "common/simd_math.h"

/* Below this many elements a team of threads costs more than it saves. */
enum { PARALLEL_FROM = 1 << 15 };

static void adamw(int64_t n, float *value, const float *grad, float *m, float *v, const AdamWStep *step)
{
    float keep = 1 - step->lr * step->weight_decay, rate = step->lr / step->bias1, root = 1 / sqrtf(step->bias2);
    float beta1 = step->beta1, beta2 = step->beta2, eps = step->eps, scale = step->grad_scale;
#pragma omp parallel for simd schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * scale;
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * g * g;
        value[i] = value[i] * keep - rate * m[i] / (sqrtf(v[i]) * root + eps);
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
#pragma omp parallel for schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t p = 0; p < PARTS; p++) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = n * p / PARTS; i < n * (p + 1) / PARTS; i++) sum += (double)x[i] * x[i];
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
