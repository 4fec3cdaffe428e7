/* Gradients of attention in bf16, see attention_bf16.h. */
#include "common/attention_bf16.h"

#ifdef __x86_64__

#include <omp.h>

/* Backward: the blocks of a pair come in up to GROUPS groups, of which each has gradients of its own for keys and
 * values, added up in order. Their number depends on T alone, so that bits do not depend on the batch or the threads.
 * When there are FEW_PAIRS, threads share out groups instead of pairs. */
enum { FEW_PAIRS = 8, GROUPS = 4, GROUP_BLOCKS = 4 };

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

Status attention_avx512bf16_backward(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv,
                                     const void *y, const float *lse, const void *d_y, void *d_qkv,
                                     void *d_encoder_kv)
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

#endif
