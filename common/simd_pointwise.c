#include "common/simd.h"
#include "common/simd_math.h"

#include <string.h>

/* Below this many elements a team of threads costs more than it saves. */
enum { PARALLEL_FROM = 1 << 15 };

static void activate(DType type, Activation act, int64_t n, const void *x, void *y)
{
#pragma omp parallel for schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i++) store(type, y, i, act_forward(act, load(type, x, i)));
}

static void activate_backward(DType type, Activation act, int64_t n, const void *x, const void *d_y, void *d_x)
{
#pragma omp parallel for schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i++) store(type, d_x, i, load(type, d_y, i) * act_derivative(act, load(type, x, i)));
}

static void axpby(DType type, int64_t n, float a, const void *x, float b, const void *z, void *y)
{
#pragma omp parallel for simd schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i++) store(type, y, i, a * load(type, x, i) + (z ? b * load(type, z, i) : 0.0f));
}

static void cast(DType from, DType to, int64_t n, const void *x, void *y)
{
#pragma omp parallel for simd schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i++) store(to, y, i, load(from, x, i));
}

static void copy_columns(DType type, int64_t rows, int64_t C, const void *x, int64_t x_stride, void *y, int64_t y_stride)
{
    int64_t size = (int64_t)dtype_size(type);
#pragma omp parallel for schedule(static) if (rows * C >= PARALLEL_FROM)
    for (int64_t r = 0; r < rows; r++)
        memcpy((char *)y + r * y_stride * size, (const char *)x + r * x_stride * size, (size_t)(C * size));
}

void SIMD_NAME(simd_pointwise_install)(Kernels *k)
{
    k->activate = activate;
    k->activate_backward = activate_backward;
    k->axpby = axpby;
    k->cast = cast;
    k->copy_columns = copy_columns;
}
