/* Private to simd_*.c: the inner loop of every matrix product, a tile of the result held in registers.
 *
 * Matrices are f32 with free strides, so one loop serves convolution, linear layers and attention with all their
 * gradients: only the vectors along the columns of b and c must be contiguous. It is written with vector types (a
 * language extension of gcc and clang, lowered to what the instruction set has) because compilers keep such tiles in
 * registers dependably. A row of c is the same sum in the same order, whatever the other rows of its tile are. */
#ifndef GLIDE_COMMON_SIMD_GEMM_H
#define GLIDE_COMMON_SIMD_GEMM_H

#include "common/simd_math.h"

#if defined __AVX512F__
#define VEC_BYTES 64
#define TILE_ROWS 8
#elif defined __AVX__
#define VEC_BYTES 32
#define TILE_ROWS 4
#else
#define VEC_BYTES 16
#define TILE_ROWS 4
#endif
#define VEC_FLOATS   (VEC_BYTES / 4)
#define TILE_COLUMNS (2 * VEC_FLOATS)

typedef float Vec __attribute__((vector_size(VEC_BYTES), aligned(4), may_alias));

/* c[m][j] (+)= sum over segments s and k < K of a(s,m,k) * b(s,k,j). */
typedef struct Product {
    const float *a; /* a(s,m,k) = a[s * a_segment + m * a_row + k * a_k] */
    int64_t a_segment, a_row, a_k;
    const float *b; /* b(s,k,j) = b[s * b_segment + k * b_k + j] */
    int64_t b_segment, b_k;
    int64_t segments, K;
} Product;

/* One tile: TILE_ROWS rows of TILE_COLUMNS at c, c_row elements from row to row. Reads a for all its rows. */
static inline void tile_product(const Product *p, float *c, int64_t c_row, bool add)
{
    Vec sum[TILE_ROWS][2];
    for (int m = 0; m < TILE_ROWS; m++) {
        sum[m][0] = add ? *(const Vec *)(c + m * c_row) : (Vec){0};
        sum[m][1] = add ? *(const Vec *)(c + m * c_row + VEC_FLOATS) : (Vec){0};
    }
    for (int64_t s = 0; s < p->segments; s++) {
        const float *a = p->a + s * p->a_segment, *b = p->b + s * p->b_segment;
        int64_t a_row = p->a_row;
        for (int64_t k = 0; k < p->K; k++, a += p->a_k, b += p->b_k) {
            Vec b0 = *(const Vec *)b, b1 = *(const Vec *)(b + VEC_FLOATS);
#pragma GCC unroll 8
            for (int m = 0; m < TILE_ROWS; m++) {
                sum[m][0] += a[m * a_row] * b0;
                sum[m][1] += a[m * a_row] * b1;
            }
        }
    }
    for (int m = 0; m < TILE_ROWS; m++) {
        *(Vec *)(c + m * c_row) = sum[m][0];
        *(Vec *)(c + m * c_row + VEC_FLOATS) = sum[m][1];
    }
}

#endif
