/* Attention in bf16 for CPUs that multiply bf16 themselves (AVX512-BF16: Zen 4, Cooper Lake, Sapphire Rapids and
 * later), see attention_bf16.h.
 *
 * Softmax takes no pass over scores in memory: a tile of scores becomes probabilities in the registers that summed it,
 * exp(scale * (score - top)), where `top` is the largest score of the row's first panel. Which one is subtracted makes
 * no difference to the result, as floats lose no digits by growing, as long as nothing overflows; rows in which a later
 * score is larger by so much are done again. */
#include "common/attention_bf16.h"

#ifdef __x86_64__

#include <omp.h>

#define LARGE_SUM 0x1p64f

/* --- a block of queries --- */

/* What the rows of a block remember from panel to panel. */
typedef struct RowState {
    float shift[QUERIES];   /* -top * scale * log2(e) */
    _Alignas(64) float sum[QUERIES][16]; /* of the probabilities, before they are rounded */
} RowState;

/* Starts row i with its scores x0, x1 of the first panel, of which it sees those in the mask. */
INLINE void row_start(const Job *job, RowState *state, int64_t i, __mmask32 seen, __m512 x0, __m512 x1)
{
    __m512 none = _mm512_set1_ps(-INFINITY), top = _mm512_mask_mov_ps(none, (__mmask16)seen, x0);
    top = _mm512_mask_max_ps(top, (__mmask16)(seen >> 16), top, x1);
    state->shift[i] = -_mm512_reduce_max_ps(top) * job->scale * log2_e;
    _mm512_storeu_ps(state->sum[i], _mm512_setzero_ps());
}

/* p (PANEL) of row i with the scores x0, x1; factor: scale * log2(e) */
INLINE void row_probabilities(RowState *state, int64_t i, __m512 factor, __mmask32 seen, __m512 x0, __m512 x1, Bf16 *p)
{
    __m512 shift = _mm512_set1_ps(state->shift[i]);
    x0 = exp2_of(_mm512_fmadd_ps(x0, factor, shift));
    x1 = exp2_of(_mm512_fmadd_ps(x1, factor, shift));
    if (seen != 0xffffffffu) {
        x0 = _mm512_maskz_mov_ps((__mmask16)seen, x0);
        x1 = _mm512_maskz_mov_ps((__mmask16)(seen >> 16), x1);
    }
    _mm512_storeu_ps(state->sum[i], _mm512_add_ps(_mm512_loadu_ps(state->sum[i]), _mm512_add_ps(x0, x1)));
    _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(x1, x0));
}

/* TILE rows from row i on of the block from query `first` on, for the panel of keys from j on. */
INLINE void tile_probabilities(const Job *job, const Workspace *w, RowState *state, int64_t first, int64_t i, int64_t j,
                               bool masked)
{
    __m512 sum[TILE][2], factor = _mm512_set1_ps(job->scale * log2_e);
    int64_t p_row = job->p_row;
    Bf16 *p = w->p + i * p_row + j;
#pragma GCC unroll 8
    for (int r = 0; r < TILE; r++) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    tile_add(w->q + i * job->width, job->width, w->keys_by_d + j * job->width, job->width / 2, sum);
#pragma GCC unroll 8
    for (int r = 0; r < TILE; r++) {
        __mmask32 seen = masked ? below(seen_by(job, first + i + r), j) : 0xffffffffu;
        if (masked && j == 0) row_start(job, state, i + r, seen, sum[r][0], sum[r][1]);
        row_probabilities(state, i + r, factor, seen, sum[r][0], sum[r][1], p + r * p_row);
    }
}

/* Panels of which not every row sees all, and the first one, which starts the rows. */
TARGET static void panel_masked(const Job *job, const Workspace *w, RowState *state, int64_t first, int64_t rows, int64_t j)
{
    for (int64_t i = 0; i < rows; i += TILE) tile_probabilities(job, w, state, first, i, j, true);
}

TARGET static void panel_whole(const Job *job, const Workspace *w, RowState *state, int64_t first, int64_t rows, int64_t j)
{
    for (int64_t i = 0; i < rows; i += TILE) tile_probabilities(job, w, state, first, i, j, false);
}

/* --- rows whose scores grow far beyond those of their first panel --- */

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

/* p (columns) = exp(scale * (scores - max)) in bf16, zeros from `seen` on. Returns the sum and sets `shift`. */
INLINE float softmax_row(const Job *job, const float *scores, int64_t seen, int64_t columns, Bf16 *p,
                         float *shift)
{
    __m512 sum = _mm512_setzero_ps(), factor = _mm512_set1_ps(job->scale * log2_e);
    float top = largest(scores, seen);
    *shift = -top * job->scale * log2_e;
    for (int64_t j = 0; j < columns; j += 16) {
        __m512 x = exp2_of(_mm512_fmadd_ps(_mm512_loadu_ps(scores + j), factor, _mm512_set1_ps(*shift)));
        if (j + 16 > seen) x = _mm512_maskz_mov_ps(lanes_below(seen, j), x);
        sum = _mm512_add_ps(sum, x);
        _mm256_storeu_si256((void *)(p + j), (__m256i)_mm512_cvtneps_pbh(x));
    }
    return _mm512_reduce_add_ps(sum);
}

/* Rows whose top lies so far below their largest score that their sum overflows, or might when it weighs values: once
 * more, from that score. Such a row's sum is no longer below LARGE_SUM; a NaN's never is. */
TARGET static void repeat_large_rows(const Job *job, const Workspace *w, RowState *state, int64_t first, int64_t count,
                                     float sums[QUERIES])
{
    int64_t columns = columns_of(job, first);
    bool large = false;
    for (int64_t i = 0; i < count; i++) large |= !(sums[i] < LARGE_SUM);
    for (int64_t j = 0; large && j < columns; j += PANEL)
        product(w->q, job->width, w->keys_by_d + j * job->width, job->width / 2, w->scores + j, job->score_row,
                round_up(count, TILE));
    for (int64_t i = 0; large && i < count; i++)
        if (!(sums[i] < LARGE_SUM))
            sums[i] = softmax_row(job, w->scores + i * job->score_row, seen_by(job, first + i), columns,
                                  w->p + i * job->p_row, &state->shift[i]);
}

/* Before the long product of probabilities and values: the rows wanted right after it. */
INLINE void prefetch_rows(const Job *job, const Rows *q, const Rows *y, int64_t count)
{
    for (int64_t i = 0; i < QUERIES; i++)
        for (int64_t d = 0; d < job->width; d += 32) {
            prefetch_row(q, i + QUERIES, d);
            if (i < count) __builtin_prefetch(row_at(y, i) + d, 1);
        }
}

TARGET static void attend_block(const Job *job, int64_t pair, int64_t block, const Workspace *w)
{
    int64_t first = block * QUERIES, T = job->s->T, width = job->width, count = min_of(QUERIES, T - first);
    int64_t columns = columns_of(job, first), rows = round_up(count, TILE), whole = seen_by(job, first);
    Rows q = rows_from(part_rows(job, pair, 0, NULL, job->qkv), first);
    Rows y = rows_from(out_rows(job, pair, job->y), first);
    RowState state;
    float sums[QUERIES];
    read_block(job, &q, w->q, NULL);
    panel_masked(job, w, &state, first, rows, 0);
    for (int64_t j = PANEL; j < columns; j += PANEL)
        (j + PANEL <= whole ? panel_whole : panel_masked)(job, w, &state, first, rows, j);
    for (int64_t i = 0; i < count; i++) sums[i] = _mm512_reduce_add_ps(_mm512_loadu_ps(state.sum[i]));
    repeat_large_rows(job, w, &state, first, count, sums);
    prefetch_rows(job, &q, &y, count);
    for (int64_t d = 0; d < width; d += PANEL)
        product(w->p, job->p_row, w->values_by_key + d * job->columns, columns / 2, w->out + d, width, rows);
    for (int64_t i = 0; i < count; i++) {
        Bf16 *row = (Bf16 *)(uintptr_t)row_at(&y, i);
        __m512 factor = _mm512_set1_ps(1 / sums[i]);
        if (job->lse) job->lse[pair * T + first + i] = logf(sums[i]) - state.shift[i] / log2_e;
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
    k->attention_backward = attention_avx512bf16_backward;
}

#else

void attention_avx512bf16_install(Kernels *k)
{
    (void)k;
}

#endif
