/* Attention in bf16 for CPUs that multiply bf16 themselves (AVX512-BF16: Zen 4, Cooper Lake, Sapphire Rapids and
 * later).
 *
 * One head of one image ("pair") at a time; its keys and values are packed once into panels, then blocks of QUERIES
 * rows go through: all scores of a block, softmax, weighted values. The instruction adds the products of two
 * neighbouring bf16 numbers to an f32, so every product has its left matrix by rows, and its right one in panels of
 * PANEL columns in which two neighbouring terms of the sum stand side by side: (pairs,PANEL,2). Scores, softmax and
 * sums are f32, probabilities are rounded to bf16. A row is computed in the same order wherever it stands, so results
 * do not depend on the batch or the threads. */
#include "common/kernels.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define INLINE TARGET __attribute__((always_inline)) static inline

enum { QUERIES = 32, PANEL = 32, TILE = 8 };
/* Backward: the blocks of a pair come in up to GROUPS groups, of which each has gradients of its own for keys and
 * values, added up in order. Their number depends on T alone, so that bits do not depend on the batch or the threads.
 * When there are FEW_PAIRS, threads share out groups instead of pairs. */
enum { FEW_PAIRS = 8, GROUPS = 4, GROUP_BLOCKS = 4 };

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

static int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static Job job_new(const AttentionShape *s, const void *qkv, const void *encoder_kv)
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

static char *take(char **at, int64_t bytes)
{
    char *p = *at;
    *at += round_up(bytes, 64);
    return p;
}

/* Divides the memory at `start`; returns its end, so that workspace_at(job, NULL, ...) tells the size. */
static char *workspace_at(const Job *job, bool backward, char *start, Workspace *w)
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

static int64_t workspace_bytes(const Job *job, bool backward)
{
    Workspace w;
    return workspace_at(job, backward, (char *)64, &w) - (char *)64;
}

/* --- places --- */

/* Element 0 of part `part` of `parts` (q, k, v: 3; k, v: 2) of the pair's head, in row `row`. */
static int64_t part_at(const Job *job, int64_t pair, int64_t row, int64_t part, int64_t parts)
{
    const AttentionShape *s = job->s;
    int64_t head = pair % s->heads;
    return (row * parts * s->heads + (s->split_first ? part * s->heads + head : head * parts + part)) * s->D;
}

/* Part 0, 1 or 2 (q, k, v) of the pair: of the T positions, after the S encoder positions for k and v. */
static Rows part_rows(const Job *job, int64_t pair, int part, const Bf16 *encoder_kv, const Bf16 *qkv)
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
static Rows out_rows(const Job *job, int64_t pair, const Bf16 *y)
{
    const AttentionShape *s = job->s;
    int64_t C = (int64_t)s->heads * s->D;
    return (Rows){.b = y + pair / s->heads * s->T * C + pair % s->heads * s->D, .b_stride = C, .count = s->T};
}

static const Bf16 *row_at(const Rows *r, int64_t j)
{
    return j < r->split ? r->a + j * r->a_stride : r->b + (j - r->split) * r->b_stride;
}

static Rows rows_from(Rows r, int64_t first) /* only for rows without a split */
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
TARGET static void pack_by_d(const Job *job, const Rows *rows, Bf16 *panels)
{
    for (int64_t j = 0; j < job->columns; j += 16)
        for (int64_t d = 0; d < job->width; d += 32) {
            __m512i r[16];
            Bf16 *to = panels + j / PANEL * PANEL * job->width + j % PANEL * 2 + d * PANEL;
            for (int i = 0; i < 16; i++) r[i] = load_row(rows, j + i, d, job->s->D);
            transpose(r);
            for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + i * 2 * PANEL, r[i]);
        }
}

/* Panels of the rows, summed over them. */
TARGET static void pack_by_row(const Job *job, const Rows *rows, Bf16 *panels)
{
    for (int64_t j = 0; j < job->columns; j += 2)
        for (int64_t d = 0; d < job->width; d += PANEL) {
            __m512i x = load_row(rows, j, d, job->s->D), y = load_row(rows, j + 1, d, job->s->D);
            Bf16 *to = panels + d * job->columns + j * PANEL;
            _mm512_storeu_si512(to, interleave(x, y, false));
            _mm512_storeu_si512(to + PANEL, interleave(x, y, true));
        }
}

/* A block of rows (QUERIES,width) and, when asked for, its columns (width,QUERIES). */
TARGET static void read_block(const Job *job, const Rows *rows, Bf16 *block, Bf16 *columns)
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

/* c (TILE,PANEL) (+)= a (TILE,2*pairs) times the panel b (pairs,PANEL,2) */
INLINE void tile_product(const Bf16 *a, int64_t a_row, const Bf16 *b, int64_t pairs, float *c, int64_t c_row, bool add)
{
    __m512 sum[TILE][2];
#pragma GCC unroll 8
    for (int i = 0; i < TILE; i++) {
        sum[i][0] = add ? _mm512_loadu_ps(c + i * c_row) : _mm512_setzero_ps();
        sum[i][1] = add ? _mm512_loadu_ps(c + i * c_row + 16) : _mm512_setzero_ps();
    }
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
#pragma GCC unroll 8
    for (int i = 0; i < TILE; i++) {
        _mm512_storeu_ps(c + i * c_row, sum[i][0]);
        _mm512_storeu_ps(c + i * c_row + 16, sum[i][1]);
    }
}

/* c (rows,PANEL) = a (rows,2*pairs) times the panel b */
TARGET static void product(const Bf16 *a, int64_t a_row, const Bf16 *b, int64_t pairs, float *c, int64_t c_row,
                           int64_t rows)
{
    for (int64_t i = 0; i < rows; i += TILE) tile_product(a + i * a_row, a_row, b, pairs, c + i * c_row, c_row, false);
}

TARGET static void product_add(const Bf16 *a, int64_t a_row, const Bf16 *b, int64_t pairs, float *c, int64_t c_row,
                               int64_t rows)
{
    for (int64_t i = 0; i < rows; i += TILE) tile_product(a + i * a_row, a_row, b, pairs, c + i * c_row, c_row, true);
}

/* --- softmax --- */

/* 2^x, relative error 2e-7; 0 far below, NaN stays. The polynomial is the minimax one on [-1/2,1/2]. */
INLINE __m512 exp2_of(__m512 x)
{
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(1.33335581e-3f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.61812911e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.55041087e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40226507e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93147181e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, n);
}

/* Keys that query i sees, and columns that a block of queries from `first` on needs. */
static int64_t seen_by(const Job *job, int64_t i)
{
    return i >= job->s->T ? 0 : job->s->causal ? min_of(job->keys, i + 1) : job->keys;
}

static int64_t columns_of(const Job *job, int64_t first)
{
    return job->s->causal ? min_of(job->columns, round_up(first + QUERIES, PANEL)) : job->columns;
}

INLINE __mmask16 lanes_below(int64_t seen, int64_t j)
{
    return (__mmask16)below(min_of(seen, j + 16), j);
}

/* The largest of the scores before `seen`; four at a time, since each waits for the one before. */
INLINE float largest(const float *scores, int64_t seen)
{
    __m512 max[4];
    int64_t j = 0;
    for (int i = 0; i < 4; i++) max[i] = _mm512_set1_ps(-INFINITY);
    for (; j + 64 <= seen; j += 64)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) max[i] = _mm512_max_ps(max[i], _mm512_loadu_ps(scores + j + 16 * i));
    for (; j < seen; j += 16) max[0] = _mm512_mask_max_ps(max[0], lanes_below(seen, j), max[0], _mm512_loadu_ps(scores + j));
    return _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(max[0], max[1]), _mm512_max_ps(max[2], max[3])));
}

/* p (columns) = exp(scale * (scores - max)) in bf16, zeros from `seen` on. Returns the sum and sets lse. */
INLINE float softmax_row(const Job *job, const float *scores, int64_t seen, int64_t columns, Bf16 *p, float *lse)
{
    __m512 sum = _mm512_setzero_ps(), factor = _mm512_set1_ps(job->scale * log2_e);
    float top = largest(scores, seen);
    __m512 shift = _mm512_set1_ps(-top * job->scale * log2_e);
    for (int64_t j = 0; j < columns; j += 16) {
        __m512 x = exp2_of(_mm512_fmadd_ps(_mm512_loadu_ps(scores + j), factor, shift));
        if (j + 16 > seen) x = _mm512_maskz_mov_ps(lanes_below(seen, j), x);
        sum = _mm512_add_ps(sum, x);
        _mm256_storeu_si256((void *)(p + j), (__m256i)_mm512_cvtneps_pbh(x));
    }
    float total = _mm512_reduce_add_ps(sum);
    *lse = top * job->scale + logf(total);
    return total;
}

/* scores -> probabilities, in place. Returns the sum of p * d_p. */
INLINE float softmax_row_again(const Job *job, float *scores, const float *d_p, int64_t seen, int64_t columns,
                               float lse)
{
    __m512 sum = _mm512_setzero_ps(), factor = _mm512_set1_ps(job->scale * log2_e),
           shift = _mm512_set1_ps(-lse * log2_e);
    for (int64_t j = 0; j < columns; j += 16) {
        __m512 x = exp2_of(_mm512_fmadd_ps(_mm512_loadu_ps(scores + j), factor, shift));
        x = _mm512_maskz_mov_ps(lanes_below(seen, j), x);
        sum = _mm512_fmadd_ps(x, _mm512_loadu_ps(d_p + j), sum);
        _mm512_storeu_ps(scores + j, x);
    }
    return _mm512_reduce_add_ps(sum);
}

/* --- forward --- */

TARGET static void attend_block(const Job *job, int64_t pair, int64_t block, const Workspace *w)
{
    int64_t first = block * QUERIES, T = job->s->T, width = job->width, count = min_of(QUERIES, T - first);
    int64_t columns = columns_of(job, first), rows = round_up(count, TILE);
    Rows q = rows_from(part_rows(job, pair, 0, NULL, job->qkv), first);
    Rows y = rows_from(out_rows(job, pair, job->y), first);
    float sums[QUERIES];
    read_block(job, &q, w->q, NULL);
    for (int64_t j = 0; j < columns; j += PANEL)
        product(w->q, width, w->keys_by_d + j * width, width / 2, w->scores + j, job->score_row, rows);
    for (int64_t i = 0; i < rows; i++) {
        float lse;
        sums[i] = softmax_row(job, w->scores + i * job->score_row, seen_by(job, first + i), columns,
                              w->p + i * job->p_row, &lse);
        if (job->lse && i < count) job->lse[pair * T + first + i] = lse;
    }
    for (int64_t d = 0; d < width; d += PANEL)
        product(w->p, job->p_row, w->values_by_key + d * job->columns, columns / 2, w->out + d, width, rows);
    for (int64_t i = 0; i < count; i++) {
        Bf16 *row = (Bf16 *)(uintptr_t)row_at(&y, i);
        __m512 factor = _mm512_set1_ps(1 / sums[i]);
        for (int64_t d = 0; d < width; d += 16)
            store_row(row, d, job->s->D, _mm512_mul_ps(factor, _mm512_loadu_ps(w->out + i * width + d)));
    }
}

static Status attention(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv, void *y,
                        float *lse)
{
    if (s->dtype != DTYPE_BF16) return k->attention_f32(k, s, qkv, encoder_kv, y, lse);
    Job job = job_new(s, qkv, encoder_kv);
    job.y = y;
    job.lse = lse;
    int64_t threads = omp_get_max_threads(), bytes = workspace_bytes(&job, false);
    char *scratch = kernels_scratch(k, (size_t)(threads * bytes));
    if (!scratch) return STATUS_NO_MEMORY;
    /* Uneven numbers of pairs are shared out by halves, which packs keys and values twice. */
    int64_t parts = job.pairs % threads == 0 || job.pairs >= 8 * threads ? 1 : min_of(threads, job.blocks);
#pragma omp parallel for schedule(static)
    for (int64_t unit = 0; unit < job.pairs * parts; unit++) {
        Workspace w;
        int64_t pair = unit / parts, part = unit % parts;
        Rows keys = part_rows(&job, pair, 1, job.encoder_kv, job.qkv),
             values = part_rows(&job, pair, 2, job.encoder_kv, job.qkv);
        workspace_at(&job, false, scratch + omp_get_thread_num() * bytes, &w);
        pack_by_d(&job, &keys, w.keys_by_d);
        pack_by_row(&job, &values, w.values_by_key);
        for (int64_t b = job.blocks * part / parts; b < job.blocks * (part + 1) / parts; b++)
            attend_block(&job, pair, b, &w);
    }
    return STATUS_OK;
}

/* --- backward --- */

/* Panels, summed over queries, of two rows of f32. */
INLINE void store_pair(Bf16 *panels, int64_t i, int64_t j, __m512 even, __m512 odd)
{
    __m512i x = (__m512i)_mm512_cvtne2ps_pbh(odd, even);
    x = interleave(x, _mm512_castsi256_si512(_mm512_extracti64x4_epi64(x, 1)), false);
    _mm512_storeu_si512(panels + j / PANEL * PANEL * QUERIES + j % PANEL * 2 + i * PANEL, x);
}

/* Rows i and i+1 of the block: probabilities and the gradient of the scores, d_s = p * (d_p - sum of p * d_p), as the
 * products want them. */
TARGET static void softmax_backward(const Job *job, int64_t pair, int64_t first, int64_t i, int64_t columns,
                                    const Workspace *w)
{
    float *p = w->scores + i * job->score_row, *d_p = w->d_p + i * job->score_row;
    float *p1 = p + job->score_row, *d_p1 = d_p + job->score_row, mean[2];
    Bf16 *d_s = w->p + i * job->p_row, *d_s1 = d_s + job->p_row;
    for (int r = 0; r < 2; r++) {
        int64_t query = first + i + r, row = r * job->score_row;
        float lse = query < job->s->T ? job->lse_in[pair * job->s->T + query] : 0;
        mean[r] = softmax_row_again(job, p + row, d_p + row, seen_by(job, query), columns, lse);
    }
    for (int64_t j = 0; j < columns; j += 16) {
        __m512 x = _mm512_loadu_ps(p + j), x1 = _mm512_loadu_ps(p1 + j);
        __m512 d = _mm512_mul_ps(x, _mm512_sub_ps(_mm512_loadu_ps(d_p + j), _mm512_set1_ps(mean[0])));
        __m512 d1 = _mm512_mul_ps(x1, _mm512_sub_ps(_mm512_loadu_ps(d_p1 + j), _mm512_set1_ps(mean[1])));
        store_pair(w->p_by_query, i, j, x, x1);
        store_pair(w->d_s_by_query, i, j, d, d1);
        _mm256_storeu_si256((void *)(d_s + j), (__m256i)_mm512_cvtneps_pbh(d));
        _mm256_storeu_si256((void *)(d_s1 + j), (__m256i)_mm512_cvtneps_pbh(d1));
    }
}

TARGET static void attend_block_backward(const Job *job, int64_t pair, int64_t block, const Workspace *w)
{
    int64_t first = block * QUERIES, width = job->width, count = min_of(QUERIES, job->s->T - first);
    int64_t columns = columns_of(job, first);
    Rows q = rows_from(part_rows(job, pair, 0, NULL, job->qkv), first),
         d_y = rows_from(out_rows(job, pair, job->d_y), first);
    read_block(job, &q, w->q, w->q_columns);
    read_block(job, &d_y, w->d_y, w->d_y_columns);
    for (int64_t j = 0; j < columns; j += PANEL) {
        product(w->q, width, w->keys_by_d + j * width, width / 2, w->scores + j, job->score_row, QUERIES);
        product(w->d_y, width, w->values_by_d + j * width, width / 2, w->d_p + j, job->score_row, QUERIES);
    }
    for (int64_t i = 0; i < QUERIES; i += 2) softmax_backward(job, pair, first, i, columns, w);
    for (int64_t j = 0; j < columns; j += PANEL) {
        product_add(w->d_y_columns, QUERIES, w->p_by_query + j * QUERIES, QUERIES / 2, w->d_values + j * width, PANEL,
                    width);
        product_add(w->q_columns, QUERIES, w->d_s_by_query + j * QUERIES, QUERIES / 2, w->d_keys + j * width, PANEL,
                    width);
    }
    if (!job->d_qkv) return;
    Rows d_q = rows_from(part_rows(job, pair, 0, NULL, job->d_qkv), first);
    for (int64_t d = 0; d < width; d += PANEL)
        product(w->p, job->p_row, w->keys_by_key + d * job->columns, columns / 2, w->out + d, width, QUERIES);
    for (int64_t i = 0; i < count; i++)
        for (int64_t d = 0; d < width; d += 16)
            store_row((Bf16 *)(uintptr_t)row_at(&d_q, i), d, job->s->D,
                      _mm512_mul_ps(_mm512_set1_ps(job->scale), _mm512_loadu_ps(w->out + i * width + d)));
}

/* Adds up the groups' gradients (groups, 2, columns*width) in order and stores part 1 (keys) or 2 (values). */
TARGET static void write_kv_gradients(const Job *job, int64_t pair, int part, const float *gradients)
{
    int64_t size = job->columns * job->width, stride = round_up(2 * size, 16), D = job->s->D;
    Rows rows = part_rows(job, pair, part, job->d_encoder_kv, job->d_qkv);
    __m512 factor = _mm512_set1_ps(part == 1 ? job->scale : 1);
    for (int64_t j = 0; j < job->keys; j += 16)
        for (int64_t d = 0; d < job->width; d += 16) {
            __m512i r[16];
            const float *from = gradients + (part - 1) * size + (j / PANEL * job->width + d) * PANEL + j % PANEL;
            for (int i = 0; i < 16; i++) {
                __m512 sum = _mm512_loadu_ps(from + i * PANEL);
                for (int64_t g = 1; g < job->groups; g++)
                    sum = _mm512_add_ps(sum, _mm512_loadu_ps(from + g * stride + i * PANEL));
                r[i] = _mm512_castps_si512(_mm512_mul_ps(factor, sum));
            }
            transpose(r);
            for (int i = 0; i < 16 && j + i < job->keys; i++)
                if (j + i < rows.split ? rows.a != NULL : rows.b != NULL)
                    store_row((Bf16 *)(uintptr_t)row_at(&rows, j + i), d, D, _mm512_castsi512_ps(r[i]));
        }
}

/* One group's share of the queries of a pair: d_q, and its part of the gradients of keys and values. */
static void attend_group_backward(const Job *job, int64_t pair, int64_t group, char *memory, float *gradients)
{
    Workspace w;
    Rows keys = part_rows(job, pair, 1, job->encoder_kv, job->qkv),
         values = part_rows(job, pair, 2, job->encoder_kv, job->qkv);
    int64_t size = job->columns * job->width;
    workspace_at(job, true, memory, &w);
    w.d_keys = gradients;
    w.d_values = gradients + size;
    memset(gradients, 0, sizeof(float) * 2 * (size_t)size);
    pack_by_d(job, &keys, w.keys_by_d);
    pack_by_row(job, &keys, w.keys_by_key);
    pack_by_d(job, &values, w.values_by_d);
    for (int64_t b = job->blocks * group / job->groups; b < job->blocks * (group + 1) / job->groups; b++)
        attend_block_backward(job, pair, b, &w);
}

static Status attention_backward(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv,
                                 const void *y, const float *lse, const void *d_y, void *d_qkv, void *d_encoder_kv)
{
    if (s->dtype != DTYPE_BF16)
        return k->attention_f32_backward(k, s, qkv, encoder_kv, y, lse, d_y, d_qkv, d_encoder_kv);
    Job job = job_new(s, qkv, encoder_kv);
    job.lse_in = lse;
    job.d_y = d_y;
    job.d_qkv = d_qkv;
    job.d_encoder_kv = d_encoder_kv;
    job.groups = min_of(GROUPS, (job.blocks + GROUP_BLOCKS - 1) / GROUP_BLOCKS);
    int64_t threads = omp_get_max_threads(), bytes = workspace_bytes(&job, true);
    bool spread = job.pairs < FEW_PAIRS && job.groups > 1;
    int64_t kv = round_up(2 * job.columns * job.width, 16), sets = (spread ? job.pairs : threads) * job.groups;
    char *scratch = kernels_scratch(k, (size_t)(threads * bytes + sets * kv * 4));
    if (!scratch) return STATUS_NO_MEMORY;
    float *gradients = (float *)(scratch + threads * bytes); /* (sets,2,columns/PANEL,width,PANEL) */
#pragma omp parallel
    {
        char *memory = scratch + omp_get_thread_num() * bytes;
#pragma omp for schedule(static)
        for (int64_t unit = 0; unit < (spread ? job.pairs * job.groups : 0); unit++)
            attend_group_backward(&job, unit / job.groups, unit % job.groups, memory, gradients + unit * kv);
#pragma omp for schedule(static)
        for (int64_t pair = 0; pair < job.pairs; pair++) {
            float *mine = gradients + (spread ? pair : omp_get_thread_num()) * job.groups * kv;
            for (int64_t g = 0; g < job.groups && !spread; g++)
                attend_group_backward(&job, pair, g, memory, mine + g * kv);
            write_kv_gradients(&job, pair, 1, mine);
            write_kv_gradients(&job, pair, 2, mine);
        }
    }
    return STATUS_OK;
}

void attention_avx512bf16_install(Kernels *k)
{
    __builtin_cpu_init();
    bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                     __builtin_cpu_supports("avx512bf16");
    if (!supported) return;
    k->attention_f32 = k->attention;
    k->attention_f32_backward = k->attention_backward;
    k->attention = attention;
    k->attention_backward = attention_backward;
}

#else

void attention_avx512bf16_install(Kernels *k)
{
    (void)k;
}

#endif
