#include "common/simd.h"
#include "common/simd_math.h"

#include <string.h>

enum {
    BLOCK = 4096,     /* elements per turn of a thread */
    SUM_COLUMNS = 64, /* of a thread that sums columns up */
    SUM_ROWS = 256
};

/* In these loops y may be the same array as an input, element by element: `omp simd` says that no other overlap
 * matters. */

FORCE_INLINE void activate_block(DType type, Activation act, int64_t from, int64_t to, const void *x, void *y)
{
#pragma omp simd
    for (int64_t i = from; i < to; i++) store_result(type, y, i, act_forward(type, act, load(type, x, i)));
}

FORCE_INLINE void activate_backward_block(DType type, Activation act, int64_t from, int64_t to, const void *x,
                                          const void *d_y, void *d_x)
{
#pragma omp simd
    for (int64_t i = from; i < to; i++)
        store_result(type, d_x, i, load(type, d_y, i) * act_derivative(type, act, load(type, x, i)));
}

FORCE_INLINE void scale_block(DType type, int64_t from, int64_t to, float a, const void *x, void *y)
{
#pragma omp simd
    for (int64_t i = from; i < to; i++) store_result(type, y, i, a * load(type, x, i));
}

FORCE_INLINE void axpby_block(DType type, int64_t from, int64_t to, float a, const void *x, float b, const void *z,
                              void *y)
{
#pragma omp simd
    for (int64_t i = from; i < to; i++) store_result(type, y, i, a * load(type, x, i) + b * load(type, z, i));
}

FORCE_INLINE void cast_block(DType from_type, DType to_type, int64_t from, int64_t to, const void *x, void *y)
{
#pragma omp simd
    for (int64_t i = from; i < to; i++) store(to_type, y, i, load(from_type, x, i));
}

static int64_t block_end(int64_t from, int64_t n)
{
    return from + BLOCK < n ? from + BLOCK : n;
}

static void activate(DType type, Activation act, int64_t n, const void *x, void *y)
{
#pragma omp parallel for schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i += BLOCK)
        WITH_DTYPE(type, TYPE, WITH_ACTIVATION(act, ACT, activate_block(TYPE, ACT, i, block_end(i, n), x, y)));
}

static void activate_backward(DType type, Activation act, int64_t n, const void *x, const void *d_y, void *d_x)
{
#pragma omp parallel for schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i += BLOCK)
        WITH_DTYPE(type, TYPE,
                   WITH_ACTIVATION(act, ACT, activate_backward_block(TYPE, ACT, i, block_end(i, n), x, d_y, d_x)));
}

static void axpby(DType type, int64_t n, float a, const void *x, float b, const void *z, void *y)
{
#pragma omp parallel for schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i += BLOCK) {
        if (z)
            WITH_DTYPE(type, TYPE, axpby_block(TYPE, i, block_end(i, n), a, x, b, z, y));
        else
            WITH_DTYPE(type, TYPE, scale_block(TYPE, i, block_end(i, n), a, x, y));
    }
}

static void cast(DType from, DType to, int64_t n, const void *x, void *y)
{
    size_t size = dtype_size(from);
#pragma omp parallel for schedule(static) if (n >= PARALLEL_FROM)
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t end = block_end(i, n);
        if (from == to)
            memmove((char *)y + (size_t)i * size, (const char *)x + (size_t)i * size, (size_t)(end - i) * size);
        else if (from == DTYPE_F32)
            cast_block(DTYPE_F32, DTYPE_BF16, i, end, x, y);
        else
            cast_block(DTYPE_BF16, DTYPE_F32, i, end, x, y);
    }
}

FORCE_INLINE void add_bias_row(DType type, int64_t row, int64_t C, const float *bias, void *y)
{
#pragma omp simd
    for (int64_t c = 0; c < C; c++) store_result(type, y, row * C + c, load(type, y, row * C + c) + bias[c]);
}

static void add_bias(DType type, int64_t rows, int64_t C, const float *bias, void *y)
{
#pragma omp parallel for schedule(static) if (rows * C >= PARALLEL_FROM)
    for (int64_t row = 0; row < rows; row++) WITH_DTYPE(type, TYPE, add_bias_row(TYPE, row, C, bias, y));
}

/* Few rows at a time, whose sum is added to the others': single precision is enough for any number of rows. */
FORCE_INLINE void sum_columns(DType type, int64_t rows, int64_t C, int64_t from, int64_t count, const void *x, float *sums)
{
    for (int64_t first = 0; first < rows; first += SUM_ROWS) {
        float part[SUM_COLUMNS] = {0};
        for (int64_t row = first; row < rows && row < first + SUM_ROWS; row++)
#pragma omp simd
            for (int64_t c = 0; c < count; c++) part[c] += load(type, x, row * C + from + c);
        for (int64_t c = 0; c < count; c++) sums[from + c] += part[c];
    }
}

static void add_bias_backward(DType type, int64_t rows, int64_t C, const void *d_y, float *d_bias)
{
#pragma omp parallel for schedule(static) if (rows * C >= PARALLEL_FROM)
    for (int64_t from = 0; from < C; from += SUM_COLUMNS) {
        int64_t count = C - from < SUM_COLUMNS ? C - from : SUM_COLUMNS;
        WITH_DTYPE(type, TYPE, sum_columns(TYPE, rows, C, from, count, d_y, d_bias));
    }
}

static void copy_columns(DType type, int64_t rows, int64_t C, const void *x, int64_t x_stride, void *y,
                         int64_t y_stride)
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
    k->add_bias = add_bias;
    k->add_bias_backward = add_bias_backward;
    k->copy_columns = copy_columns;
}
