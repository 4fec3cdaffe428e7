/* Private to attention_avx512bf16*.c: what attention in bf16 and its gradients share.
 *
 * One head of one image ("pair") at a time; its keys and values are packed once into panels, then blocks of QUERIES
 * rows go through. The instruction adds the products of two neighbouring bf16 numbers to an f32, so every product has
 * its left matrix by rows, and its right one in panels of PANEL columns in which two neighbouring terms of the sum
 * stand side by side: (pairs,PANEL,2). Scores, softmax and sums are f32, probabilities are rounded to bf16. A row is
 * computed in the same order wherever it stands, so results do not depend on the batch or the threads. */
#ifndef GLIDE_COMMON_ATTENTION_BF16_H
#define GLIDE_COMMON_ATTENTION_BF16_H

#include "common/kernels.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define INLINE TARGET __attribute__((always_inline)) static inline

enum { QUERIES = 32, PANEL = 32, TILE = 8, AHEAD = 32 /* rows from a prefetch to its use */ };
typedef uint16_t Bf16;

static const float log2_e = 1.44269504f;

/* Rows of D numbers: `split` of them at a, the others at b. */
typedef struct Rows {
    const Bf16 *a, *b;
    int64_t split, a_stride, b_stride, count;
} Rows;

typedef struct Job {
    const AttentionShape *s;
    const Bf16 *qkv, *encoder_kv, *d_y;
    Bf16 *y, *d_qkv, *d_encoder_kv;
    float *lse;
    const float *lse_in;
    int64_t pairs, blocks, groups;
    int64_t keys, columns, width; /* S + T; rounded up to PANEL; D rounded up to PANEL */
    int64_t score_row, p_row;     /* elements from row to row: off powers of two, which would share cache sets */
    float scale;                  /* D^-1/2 */
} Job;

/* Where one thread works. Those of the second half are for the backward pass only. */
typedef struct Workspace {
    Bf16 *keys_by_d, *values_by_key; /* panels, summed over D (width/2 pairs) and over keys (columns/2 pairs) */
    Bf16 *q, *p;                     /* (QUERIES,width), (QUERIES,p_row): probabilities, or gradient of scores */
    float *scores, *out;             /* (QUERIES,score_row), (QUERIES,width) */
    Bf16 *keys_by_key, *values_by_d;
    Bf16 *d_y, *q_columns, *d_y_columns; /* (QUERIES,width), (width,QUERIES) */
    Bf16 *p_by_query, *d_s_by_query;     /* panels, summed over queries (QUERIES/2 pairs) */
    float *d_p;                          /* (QUERIES,score_row) */
    float *d_keys, *d_values;            /* (columns/PANEL,width,PANEL): transposed, in panels */
} Workspace;

static inline int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static inline int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline Job job_new(const AttentionShape *s, const void *qkv, const void *encoder_kv)
{
    Job job = {.s = s, .qkv = qkv, .encoder_kv = encoder_kv, .pairs = s->N * s->heads, .keys = s->S + s->T};
    job.blocks = (s->T + QUERIES - 1) / QUERIES;
    job.columns = round_up(job.keys, PANEL);
    job.width = round_up(s->D, PANEL);
    job.score_row = job.columns + 16;
    job.p_row = job.columns + 32;
    job.scale = 1 / sqrtf((float)s->D);
    return job;
}

/* --- memory --- */

static inline char *take(char **at, int64_t bytes)
{
    char *p = *at;
    *at += round_up(bytes, 64);
    return p;
}

/* Divides the memory at `start`; returns its end, so that workspace_at(job, NULL, ...) tells the size. */
static inline char *workspace_at(const Job *job, bool backward, char *start, Workspace *w)
{
    char *at = start;
    int64_t panels = 2 * job->columns * job->width, block = 2 * QUERIES * job->width,
            scores = 4 * QUERIES * job->score_row;
    w->keys_by_d = (Bf16 *)take(&at, panels);
    w->values_by_key = (Bf16 *)take(&at, panels);
    w->q = (Bf16 *)take(&at, block);
    w->p = (Bf16 *)take(&at, 2 * QUERIES * job->p_row);
    w->scores = (float *)take(&at, scores);
    w->out = (float *)take(&at, 2 * block);
    if (!backward) return at;
    w->keys_by_key = (Bf16 *)take(&at, panels);
    w->values_by_d = (Bf16 *)take(&at, panels);
    w->d_y = (Bf16 *)take(&at, block);
    w->q_columns = (Bf16 *)take(&at, block);
    w->d_y_columns = (Bf16 *)take(&at, block);
    w->p_by_query = (Bf16 *)take(&at, 2 * QUERIES * job->columns);
    w->d_s_by_query = (Bf16 *)take(&at, 2 * QUERIES * job->columns);
    w->d_p = (float *)take(&at, scores);
    return at;
}

static inline int64_t workspace_bytes(const Job *job, bool backward)
{
    Workspace w;
    return workspace_at(job, backward, (char *)64, &w) - (char *)64;
}

/* --- places --- */

/* Element 0 of part `part` of `parts` (q, k, v: 3; k, v: 2) of the pair's head, in row `row`. */
static inline int64_t part_at(const Job *job, int64_t pair, int64_t row, int64_t part, int64_t parts)
{
    const AttentionShape *s = job->s;
    int64_t head = pair % s->heads;
    return (row * parts * s->heads + (s->split_first ? part * s->heads + head : head * parts + part)) * s->D;
}

/* Part 0, 1 or 2 (q, k, v) of the pair: of the T positions, after the S encoder positions for k and v. */
static inline Rows part_rows(const Job *job, int64_t pair, int part, const Bf16 *encoder_kv, const Bf16 *qkv)
{
    const AttentionShape *s = job->s;
    int64_t n = pair / s->heads, C = (int64_t)s->heads * s->D;
    Rows r = {.a_stride = 2 * C, .b_stride = 3 * C, .split = part ? s->S : 0};
    r.count = r.split + s->T;
    if (r.split && encoder_kv) r.a = encoder_kv + part_at(job, pair, n * s->S, part - 1, 2);
    if (qkv) r.b = qkv + part_at(job, pair, n * s->T, part, 3);
    return r;
}

/* Rows of y (N,T,C). */
static inline Rows out_rows(const Job *job, int64_t pair, const Bf16 *y)
{
    const AttentionShape *s = job->s;
    int64_t C = (int64_t)s->heads * s->D;
    return (Rows){.b = y + pair / s->heads * s->T * C + pair % s->heads * s->D, .b_stride = C, .count = s->T};
}

static inline const Bf16 *row_at(const Rows *r, int64_t j)
{
    return j < r->split ? r->a + j * r->a_stride : r->b + (j - r->split) * r->b_stride;
}

static inline Rows rows_from(Rows r, int64_t first) /* only for rows without a split */
{
    r.b += first * r.b_stride;
    r.count -= first;
    return r;
}

/* --- loading, storing, turning --- */

/* Which of 32 numbers from d on are below D. */
INLINE __mmask32 below(int64_t D, int64_t d)
{
    return D - d >= 32 ? 0xffffffffu : D <= d ? 0 : (1u << (D - d)) - 1;
}

/* Numbers d...d+31 of row j; zeros from D on, and for rows that are not there. */
INLINE __m512i load_row(const Rows *r, int64_t j, int64_t d, int64_t D)
{
    if (j >= r->count) return _mm512_setzero_si512();
    return _mm512_maskz_loadu_epi16(below(D, d), row_at(r, j) + d);
}

/* Rows of one head lie far apart, so the hardware does not foresee them. Always inline: gcc takes a function that does
 * nothing but prefetch for one without effect, and leaves out its calls. */
INLINE void prefetch_row(const Rows *r, int64_t j, int64_t d)
{
    if (j < r->count) __builtin_prefetch(row_at(r, j) + d);
}

/* Stores numbers d...d+15, those below D. */
INLINE void store_row(Bf16 *row, int64_t d, int64_t D, __m512 x)
{
    _mm256_mask_storeu_epi16(row + d, (__mmask16)below(D, d), (__m256i)_mm512_cvtneps_pbh(x));
}

/* 16x16 of 32 bits */
INLINE void transpose(__m512i r[16])
{
    __m512i t[16];
    for (int i = 0; i < 16; i += 4) {
        __m512i a = _mm512_unpacklo_epi32(r[i], r[i + 1]), b = _mm512_unpackhi_epi32(r[i], r[i + 1]);
        __m512i c = _mm512_unpacklo_epi32(r[i + 2], r[i + 3]), d = _mm512_unpackhi_epi32(r[i + 2], r[i + 3]);
        t[i] = _mm512_unpacklo_epi64(a, c);
        t[i + 1] = _mm512_unpackhi_epi64(a, c);
        t[i + 2] = _mm512_unpacklo_epi64(b, d);
        t[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    for (int i = 0; i < 4; i++) {
        __m512i a = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x88),
                d = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xdd);
        r[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
}

/* x0 y0 x1 y1 ...: the lower (upper) halves of two rows side by side */
INLINE __m512i interleave(__m512i x, __m512i y, bool upper)
{
    __m512i lanes = _mm512_setr_epi32(0x200000, 0x210001, 0x220002, 0x230003, 0x240004, 0x250005, 0x260006, 0x270007,
                                      0x280008, 0x290009, 0x2a000a, 0x2b000b, 0x2c000c, 0x2d000d, 0x2e000e, 0x2f000f);
    if (upper) lanes = _mm512_add_epi16(lanes, _mm512_set1_epi16(16));
    return _mm512_permutex2var_epi16(x, lanes, y);
}

/* Panels of the transposed rows, summed over D. */
TARGET static inline void pack_by_d(const Job *job, const Rows *rows, Bf16 *panels)
{
    for (int64_t j = 0; j < job->columns; j += 16)
        for (int64_t d = 0; d < job->width; d += 32) {
            __m512i r[16];
            Bf16 *to = panels + j / PANEL * PANEL * job->width + j % PANEL * 2 + d * PANEL;
            for (int i = 0; i < 16; i++) {
                prefetch_row(rows, j + i + AHEAD, d);
                r[i] = load_row(rows, j + i, d, job->s->D);
            }
            transpose(r);
            for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + i * 2 * PANEL, r[i]);
        }
}

/* Panels of the rows, summed over them. */
TARGET static inline void pack_by_row(const Job *job, const Rows *rows, Bf16 *panels)
{
    for (int64_t j = 0; j < job->columns; j += 2)
        for (int64_t d = 0; d < job->width; d += PANEL) {
            __m512i x = load_row(rows, j, d, job->s->D), y = load_row(rows, j + 1, d, job->s->D);
            Bf16 *to = panels + d * job->columns + j * PANEL;
            for (int i = 0; i < 2; i++) prefetch_row(rows, j + i + AHEAD, d);
            _mm512_storeu_si512(to, interleave(x, y, false));
            _mm512_storeu_si512(to + PANEL, interleave(x, y, true));
        }
}

/* A block of rows (QUERIES,width) and, when asked for, its columns (width,QUERIES). */
TARGET static inline void read_block(const Job *job, const Rows *rows, Bf16 *block, Bf16 *columns)
{
    int64_t width = job->width;
    for (int64_t q = 0; q < QUERIES; q++)
        for (int64_t d = 0; d < width; d += 32)
            _mm512_storeu_si512(block + q * width + d, load_row(rows, q, d, job->s->D));
    for (int64_t d = 0; columns && d < width; d += 16) {
        __m512i r[16];
        for (int i = 0; i < 16; i++) {
            const Bf16 *x = block + 2 * i * width + d;
            r[i] = interleave(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)x)),
                              _mm512_castsi256_si512(_mm256_loadu_si256((const void *)(x + width))), false);
        }
        transpose(r);
        for (int i = 0; i < 16; i++) _mm512_storeu_si512(columns + (d + i) * QUERIES, r[i]);
    }
}

/* --- products --- */

/* sum (TILE,PANEL) += a (TILE,2*pairs) times the panel b (pairs,PANEL,2) */
INLINE void tile_add(const Bf16 *a, int64_t a_row, const Bf16 *b, int64_t pairs, __m512 sum[TILE][2])
{
    for (int64_t k = 0; k < pairs; k++) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(b + k * 2 * PANEL);
        __m512bh b1 = (__m512bh)_mm512_loadu_si512(b + k * 2 * PANEL + PANEL);
#pragma GCC unroll 8
        for (int i = 0; i < TILE; i++) {
            int32_t pair;
            memcpy(&pair, a + i * a_row + 2 * k, sizeof pair);
            __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, b0);
            sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, b1);
        }
    }
}

/* c (TILE,PANEL) (+)= a times b */
INLINE void tile_product(const Bf16 *a, int64_t a_row, const Bf16 *b, int64_t pairs, float *c, int64_t c_row, bool add)
{
    __m512 sum[TILE][2];
#pragma GCC unroll 8
    for (int i = 0; i < TILE; i++) {
        sum[i][0] = add ? _mm512_loadu_ps(c + i * c_row) : _mm512_setzero_ps();
        sum[i][1] = add ? _mm512_loadu_ps(c + i * c_row + 16) : _mm512_setzero_ps();
    }
    tile_add(a, a_row, b, pairs, sum);
#pragma GCC unroll 8
    for (int i = 0; i < TILE; i++) {
        _mm512_storeu_ps(c + i * c_row, sum[i][0]);
        _mm512_storeu_ps(c + i * c_row + 16, sum[i][1]);
    }
}

/* c (rows,PANEL) = a (rows,2*pairs) times the panel b */
TARGET static inline void product(const Bf16 *a, int64_t a_row, const Bf16 *b, int64_t pairs, float *c, int64_t c_row,
                           int64_t rows)
{
    for (int64_t i = 0; i < rows; i += TILE) tile_product(a + i * a_row, a_row, b, pairs, c + i * c_row, c_row, false);
}

TARGET static inline void product_add(const Bf16 *a, int64_t a_row, const Bf16 *b, int64_t pairs, float *c, int64_t c_row,
                               int64_t rows)
{
    for (int64_t i = 0; i < rows; i += TILE) tile_product(a + i * a_row, a_row, b, pairs, c + i * c_row, c_row, true);
}

/* --- softmax --- */

/* 2^x, relative error 2.6e-6, a thousandth of what rounding to bf16 adds; 0 far below, NaN stays. The polynomial is the
 * minimax one on [-1/2,1/2]. */
INLINE __m512 exp2_of(__m512 x)
{
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = _mm512_sub_ps(x, n);
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(9.57010197e-3f), f, _mm512_set1_ps(5.59178608e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40247448e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93121815e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.99999261e-1f));
    return _mm512_scalef_ps(p, n);
}

/* Keys that query i sees, and columns that a block of queries from `first` on needs. */
static inline int64_t seen_by(const Job *job, int64_t i)
{
    return i >= job->s->T ? 0 : job->s->causal ? min_of(job->keys, i + 1) : job->keys;
}

static inline int64_t columns_of(const Job *job, int64_t first)
{
    return job->s->causal ? min_of(job->columns, round_up(first + QUERIES, PANEL)) : job->columns;
}

INLINE __mmask16 lanes_below(int64_t seen, int64_t j)
{
    return (__mmask16)below(min_of(seen, j + 16), j);
}

Status attention_avx512bf16_backward(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv,
                                     const void *y, const float *lse, const void *d_y, void *d_qkv,
                                     void *d_encoder_kv);

#endif
#endif
