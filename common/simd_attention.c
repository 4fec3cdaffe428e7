#include "common/simd.h"
#include "common/simd_gemm.h"

#include <omp.h>
#include <string.h>

/* One head of one image ("pair") at a time: its keys and values are converted to f32 rows of `width` floats, padded
 * with zeros. Queries come in blocks of TILE_COLUMNS, whose scores stand as (keys,TILE_COLUMNS): a column is a query,
 * so that the softmax works on whole vectors and no key needs transposing. All keys of a block are there at once, so
 * the softmax is the plain one and the backward pass gets its row sums exactly. */

typedef struct AttentionJob {
    const AttentionShape *s;
    const void *qkv, *encoder_kv, *d_y;
    void *y, *d_qkv, *d_encoder_kv;
    float *lse;
    int64_t pairs, blocks;         /* blocks of queries per pair */
    int64_t keys, key_rows, width; /* S + T; rounded up to TILE_ROWS; D rounded up to TILE_COLUMNS */
    float scale;                   /* D^-1/2, applied to the queries */
    int64_t groups;                /* backward: parts that the blocks of a pair are divided into */
} AttentionJob;

/* Where one thread works. */
typedef struct Workspace {
    float *keys, *values;   /* (key_rows,width) */
    float *queries, *d_out; /* (D,TILE_COLUMNS): columns are queries; queries are scaled */
    float *p, *d_p;         /* (key_rows,TILE_COLUMNS) */
    float *out;             /* (TILE_COLUMNS,width) */
    float *query_rows, *d_out_rows;
} Workspace;

static const float masked = -1e30f; /* a score that the softmax makes 0 */

static int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static AttentionJob job_new(const AttentionShape *s, const void *qkv, const void *encoder_kv)
{
    AttentionJob job = {.s = s, .qkv = qkv, .encoder_kv = encoder_kv, .pairs = s->N * s->heads, .keys = s->S + s->T};
    job.blocks = (s->T + TILE_COLUMNS - 1) / TILE_COLUMNS;
    job.key_rows = round_up(job.keys, TILE_ROWS);
    job.width = round_up(s->D, TILE_COLUMNS);
    job.scale = 1 / sqrtf((float)s->D);
    return job;
}

static int64_t kv_floats(const AttentionJob *job)
{
    return 2 * job->key_rows * job->width;
}

static int64_t block_floats(const AttentionJob *job, bool backward)
{
    int64_t transposed = job->s->D * TILE_COLUMNS, scores = job->key_rows * TILE_COLUMNS,
            rows = TILE_COLUMNS * job->width;
    return round_up(backward ? 2 * transposed + 2 * scores + 3 * rows : transposed + scores + rows, 16);
}

static Workspace workspace_at(const AttentionJob *job, float *kv, float *block)
{
    int64_t transposed = job->s->D * TILE_COLUMNS, scores = job->key_rows * TILE_COLUMNS,
            rows = TILE_COLUMNS * job->width;
    Workspace w = {.keys = kv, .values = kv + job->key_rows * job->width, .out = block};
    w.queries = w.out + rows;
    w.p = w.queries + transposed;
    w.d_out = w.p + scores; /* from here on for the backward pass only */
    w.d_p = w.d_out + transposed;
    w.query_rows = w.d_p + scores;
    w.d_out_rows = w.query_rows + rows;
    return w;
}

/* --- between the arrays and f32 rows --- */

/* Place of element 0 of part `part` of `parts` (q, k, v: 3; k, v: 2) of the pair's head, in row `row`. */
static int64_t part_at(const AttentionJob *job, int64_t pair, int64_t row, int64_t part, int64_t parts)
{
    const AttentionShape *s = job->s;
    int64_t head = pair % s->heads;
    return (row * parts * s->heads + (s->split_first ? part * s->heads + head : head * parts + part)) * s->D;
}

static int64_t query_at(const AttentionJob *job, int64_t pair, int64_t i)
{
    return part_at(job, pair, pair / job->s->heads * job->s->T + i, 0, 3);
}

/* Place of key (part 0) or value (part 1) j in encoder_kv when j < S, else in qkv. */
static int64_t kv_at(const AttentionJob *job, int64_t pair, int64_t j, int64_t part)
{
    int64_t n = pair / job->s->heads, S = job->s->S;
    return j < S ? part_at(job, pair, n * S + j, part, 2) : part_at(job, pair, n * job->s->T + j - S, part + 1, 3);
}

/* Place of row i of the pair's output. */
static int64_t out_at(const AttentionJob *job, int64_t pair, int64_t i)
{
    const AttentionShape *s = job->s;
    return ((pair / s->heads * s->T + i) * s->heads + pair % s->heads) * s->D;
}

/* row (width) = factor * x[at...at+D), then zeros. */
FORCE_INLINE void read_row(DType type, const void *x, int64_t at, int64_t D, int64_t width, float factor, float *row)
{
#pragma omp simd
    for (int64_t d = 0; d < D; d++) row[d] = factor * load(type, x, at + d);
    for (int64_t d = D; d < width; d++) row[d] = 0;
}

FORCE_INLINE void write_row(DType type, void *y, int64_t at, int64_t D, float factor, const float *row)
{
#pragma omp simd
    for (int64_t d = 0; d < D; d++) store(type, y, at + d, factor * row[d]);
}

static void read_kv(const AttentionJob *job, int64_t pair, int64_t from, int64_t to, Workspace *w)
{
    for (int64_t j = from; j < to; j++)
        for (int part = 0; part < 2; part++) {
            float *row = (part ? w->values : w->keys) + j * job->width;
            const void *x = j < job->s->S ? job->encoder_kv : job->qkv;
            if (j >= job->keys)
                memset(row, 0, sizeof(float) * (size_t)job->width);
            else
                WITH_DTYPE(job->s->dtype, TYPE,
                           read_row(TYPE, x, kv_at(job, pair, j, part), job->s->D, job->width, 1, row));
        }
}

/* columns (D,TILE_COLUMNS) = transposed rows (TILE_COLUMNS,width) */
static void transpose(const float *rows, int64_t D, int64_t width, float *columns)
{
    for (int64_t d = 0; d < D; d++)
        for (int q = 0; q < TILE_COLUMNS; q++) columns[d * TILE_COLUMNS + q] = rows[q * width + d];
}

/* The block's rows of x (at place_of each), times factor; rows after the last query are zero. */
static void read_block(const AttentionJob *job, int64_t pair, int64_t first, const void *x,
                       int64_t (*place_of)(const AttentionJob *, int64_t, int64_t), float factor, float *rows)
{
    int64_t count = min_of(TILE_COLUMNS, job->s->T - first), D = job->s->D, width = job->width;
    for (int64_t q = 0; q < count; q++) {
        int64_t at = place_of(job, pair, first + q);
        WITH_DTYPE(job->s->dtype, TYPE, read_row(TYPE, x, at, D, width, factor, rows + q * width));
    }
    memset(rows + count * width, 0, sizeof(float) * (size_t)((TILE_COLUMNS - count) * width));
}

/* --- the products --- */

/* Keys that the block of queries from `first` on can see. */
static int64_t seen_keys(const AttentionJob *job, int64_t first)
{
    return job->s->causal ? min_of(job->keys, first + TILE_COLUMNS) : job->keys;
}

/* scores (seen,TILE_COLUMNS) = rows (seen,width) times columns (D,TILE_COLUMNS) */
static void scores_of(const AttentionJob *job, const float *rows, const float *columns, int64_t seen, float *scores)
{
    for (int64_t j = 0; j < seen; j += TILE_ROWS) {
        Product p = {.a = rows + j * job->width,
                     .a_row = job->width,
                     .a_k = 1,
                     .b = columns,
                     .b_k = TILE_COLUMNS,
                     .segments = 1,
                     .K = job->s->D};
        tile_product(&p, scores + j * TILE_COLUMNS, TILE_COLUMNS, false);
    }
}

/* out (TILE_COLUMNS,width) = transposed weights (seen,TILE_COLUMNS) times rows (seen,width) */
static void weighted_rows(const AttentionJob *job, const float *weights, const float *rows, int64_t seen, float *out)
{
    for (int64_t d = 0; d < job->width; d += TILE_COLUMNS)
        for (int64_t q = 0; q < TILE_COLUMNS; q += TILE_ROWS) {
            Product p = {.a = weights + q,
                         .a_row = 1,
                         .a_k = TILE_COLUMNS,
                         .b = rows + d,
                         .b_k = job->width,
                         .segments = 1,
                         .K = seen};
            tile_product(&p, out + q * job->width + d, job->width, false);
        }
}

/* sums (seen,width) += weights (seen,TILE_COLUMNS) times rows (TILE_COLUMNS,width) */
static void add_outer(const AttentionJob *job, const float *weights, const float *rows, int64_t seen, float *sums)
{
    for (int64_t j = 0; j < seen; j += TILE_ROWS)
        for (int64_t d = 0; d < job->width; d += TILE_COLUMNS) {
            Product p = {.a = weights + j * TILE_COLUMNS,
                         .a_row = TILE_COLUMNS,
                         .a_k = 1,
                         .b = rows + d,
                         .b_k = job->width,
                         .segments = 1,
                         .K = TILE_COLUMNS};
            tile_product(&p, sums + j * job->width + d, job->width, true);
        }
}

/* Query q of the block from `first` on sees keys up to first + q. */
static void mask_future(const AttentionJob *job, int64_t first, int64_t seen, float value, float *p)
{
    if (!job->s->causal) return;
    for (int64_t j = first + 1; j < seen; j++)
        for (int64_t q = 0; q < j - first; q++) p[j * TILE_COLUMNS + q] = value;
}

/* --- forward --- */

/* p = exp(p - max); sum and max of each column. */
static void softmax_columns(const AttentionJob *job, int64_t first, int64_t seen, float *p, float *max, float *sum)
{
    for (int q = 0; q < TILE_COLUMNS; q++) max[q] = -INFINITY, sum[q] = 0;
    mask_future(job, first, seen, masked, p);
    for (int64_t j = 0; j < seen; j++)
#pragma omp simd
        for (int q = 0; q < TILE_COLUMNS; q++)
            max[q] = p[j * TILE_COLUMNS + q] > max[q] ? p[j * TILE_COLUMNS + q] : max[q];
    for (int64_t j = 0; j < seen; j++)
#pragma omp simd
        for (int q = 0; q < TILE_COLUMNS; q++) {
            float score = p[j * TILE_COLUMNS + q] - max[q];
            p[j * TILE_COLUMNS + q] = exp_clamped(DTYPE_F32, score);
            sum[q] += score - score; /* 0, or NaN, which the exponential would hide */
        }
    mask_future(job, first, seen, 0, p);
    for (int64_t j = 0; j < seen; j++)
#pragma omp simd
        for (int q = 0; q < TILE_COLUMNS; q++) sum[q] += p[j * TILE_COLUMNS + q];
}

static void attend_block(const AttentionJob *job, int64_t pair, int64_t block, const Workspace *w)
{
    int64_t first = block * TILE_COLUMNS, seen = seen_keys(job, first), D = job->s->D;
    float max[TILE_COLUMNS], sum[TILE_COLUMNS];
    read_block(job, pair, first, job->qkv, query_at, job->scale, w->out);
    transpose(w->out, D, job->width, w->queries);
    scores_of(job, w->keys, w->queries, seen, w->p);
    softmax_columns(job, first, seen, w->p, max, sum);
    weighted_rows(job, w->p, w->values, seen, w->out);
    for (int64_t q = 0; q < min_of(TILE_COLUMNS, job->s->T - first); q++) {
        const float *row = w->out + q * job->width;
        WITH_DTYPE(job->s->dtype, TYPE, write_row(TYPE, job->y, out_at(job, pair, first + q), D, 1 / sum[q], row));
        if (job->lse) job->lse[pair * job->s->T + first + q] = max[q] + logf(sum[q]);
    }
}

static Status attention(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv, void *y,
                        float *lse)
{
    AttentionJob job = job_new(s, qkv, encoder_kv);
    job.y = y;
    job.lse = lse;
    int64_t threads = omp_get_max_threads(), kv = kv_floats(&job), each = kv + block_floats(&job, false);
    float *scratch = kernels_scratch(k, sizeof(float) * (size_t)(threads * each));
    if (!scratch) return STATUS_NO_MEMORY;
    bool small = job.pairs * s->T * job.keys * s->D < 1 << 17;           /* too little for a team of threads */
    if (small || job.pairs % threads == 0 || job.pairs >= 4 * threads) { /* keys and values stay in one core's cache */
#pragma omp parallel for schedule(static) if (!small)
        for (int64_t pair = 0; pair < job.pairs; pair++) {
            float *mine = scratch + omp_get_thread_num() * each;
            Workspace w = workspace_at(&job, mine, mine + kv);
            read_kv(&job, pair, 0, job.key_rows, &w);
            for (int64_t block = 0; block < job.blocks; block++) attend_block(&job, pair, block, &w);
        }
        return STATUS_OK;
    }
    for (int64_t pair = 0; pair < job.pairs; pair++) {
#pragma omp parallel
        {
            Workspace w = workspace_at(&job, scratch, scratch + omp_get_thread_num() * each + kv);
#pragma omp for schedule(static)
            for (int64_t j = 0; j < job.key_rows; j += TILE_ROWS) read_kv(&job, pair, j, j + TILE_ROWS, &w);
#pragma omp for schedule(static)
            for (int64_t block = 0; block < job.blocks; block++) attend_block(&job, pair, block, &w);
        }
    }
    return STATUS_OK;
}

/* --- backward --- */

/* p: scores -> probabilities; d_p: gradient of the probabilities -> of the scores. Columns after the last query have a
 * gradient of zero. */
static void softmax_backward(const AttentionJob *job, int64_t pair, int64_t first, int64_t seen, float *p, float *d_p)
{
    float lse[TILE_COLUMNS] = {0}, mean[TILE_COLUMNS] = {0};
    int64_t count = min_of(TILE_COLUMNS, job->s->T - first);
    for (int64_t q = 0; q < count; q++) lse[q] = job->lse[pair * job->s->T + first + q];
    mask_future(job, first, seen, masked, p);
    for (int64_t j = 0; j < seen; j++)
#pragma omp simd
        for (int q = 0; q < TILE_COLUMNS; q++)
            p[j * TILE_COLUMNS + q] = exp_clamped(DTYPE_F32, p[j * TILE_COLUMNS + q] - lse[q]);
    mask_future(job, first, seen, 0, p);
    for (int64_t j = 0; j < seen; j++)
#pragma omp simd
        for (int q = 0; q < TILE_COLUMNS; q++) mean[q] += p[j * TILE_COLUMNS + q] * d_p[j * TILE_COLUMNS + q];
    for (int64_t j = 0; j < seen; j++)
#pragma omp simd
        for (int q = 0; q < TILE_COLUMNS; q++)
            d_p[j * TILE_COLUMNS + q] = p[j * TILE_COLUMNS + q] * (d_p[j * TILE_COLUMNS + q] - mean[q]);
}

/* The tiles read and add up whole rows of TILE_ROWS keys: those after the last one must count for nothing. */
static void clear_rows(float *scores, int64_t seen)
{
    memset(scores + seen * TILE_COLUMNS, 0,
           sizeof(float) * (size_t)((round_up(seen, TILE_ROWS) - seen) * TILE_COLUMNS));
}

static void attend_block_backward(const AttentionJob *job, int64_t pair, int64_t block, const Workspace *w,
                                  float *d_keys, float *d_values)
{
    int64_t first = block * TILE_COLUMNS, seen = seen_keys(job, first), D = job->s->D;
    read_block(job, pair, first, job->qkv, query_at, job->scale, w->query_rows);
    read_block(job, pair, first, job->d_y, out_at, 1, w->d_out_rows);
    transpose(w->query_rows, D, job->width, w->queries);
    transpose(w->d_out_rows, D, job->width, w->d_out);
    scores_of(job, w->keys, w->queries, seen, w->p);
    scores_of(job, w->values, w->d_out, seen, w->d_p);
    softmax_backward(job, pair, first, seen, w->p, w->d_p);
    clear_rows(w->p, seen);
    clear_rows(w->d_p, seen);
    add_outer(job, w->p, w->d_out_rows, seen, d_values);
    add_outer(job, w->d_p, w->query_rows, seen, d_keys);
    if (!job->d_qkv) return;
    weighted_rows(job, w->d_p, w->keys, seen, w->out);
    for (int64_t q = 0; q < min_of(TILE_COLUMNS, job->s->T - first); q++) {
        const float *row = w->out + q * job->width;
        WITH_DTYPE(job->s->dtype, TYPE,
                   write_row(TYPE, job->d_qkv, query_at(job, pair, first + q), D, job->scale, row));
    }
}

/* Adds up the groups' gradients (groups,2,key_rows,width) in order and stores those of keys from..to. */
static void write_kv_gradients(const AttentionJob *job, int64_t pair, int64_t from, int64_t to, float *gradients)
{
    int64_t size = job->key_rows * job->width;
    for (int64_t j = from; j < to; j++)
        for (int part = 0; part < 2; part++) {
            float *row = gradients + part * size + j * job->width;
            void *out = j < job->s->S ? job->d_encoder_kv : job->d_qkv;
            if (!out) continue;
            for (int64_t g = 1; g < job->groups; g++)
                for (int64_t d = 0; d < job->width; d++) row[d] += row[g * 2 * size + d];
            WITH_DTYPE(job->s->dtype, TYPE, write_row(TYPE, out, kv_at(job, pair, j, part), job->s->D, 1, row));
        }
}

/* The blocks of a pair are divided into groups with gradients of their own, as many for any batch and number of threads. */
static Status attention_backward(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv,
                                 const void *y, const float *lse, const void *d_y, void *d_qkv, void *d_encoder_kv)
{
    enum { PAIRS = 8, GROUPS = 4, GROUP_BLOCKS = 4 };
    AttentionJob job = job_new(s, qkv, encoder_kv);
    (void)y; /* the row sums that others take from y * d_y are computed from the probabilities: y may be rounded to bf16
              */
    job.lse = (float *)(uintptr_t)lse; /* only read */
    job.d_y = d_y;
    job.d_qkv = d_qkv;
    job.d_encoder_kv = d_encoder_kv;
    job.groups = min_of(GROUPS, (job.blocks + GROUP_BLOCKS - 1) / GROUP_BLOCKS);
    int64_t threads = omp_get_max_threads(), kv = kv_floats(&job), each = kv + block_floats(&job, true);
    float *scratch = kernels_scratch(k, sizeof(float) * (size_t)(threads * each + PAIRS * job.groups * kv));
    if (!scratch) return STATUS_NO_MEMORY;
    float *gradients = scratch + threads * each; /* (PAIRS,groups,2,key_rows,width) */
    for (int64_t start = 0; start < job.pairs; start += PAIRS) {
        int64_t count = min_of(PAIRS, job.pairs - start);
#pragma omp parallel if (job.pairs * s->T * job.keys * s->D >= 1 << 17)
        {
            float *mine = scratch + omp_get_thread_num() * each;
            Workspace w = workspace_at(&job, mine, mine + kv);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < count * job.groups; i++) {
                int64_t pair = start + i / job.groups, group = i % job.groups;
                float *d_keys = gradients + i * kv;
                memset(d_keys, 0, sizeof(float) * (size_t)kv);
                read_kv(&job, pair, 0, job.key_rows, &w);
                for (int64_t b = job.blocks * group / job.groups; b < job.blocks * (group + 1) / job.groups; b++)
                    attend_block_backward(&job, pair, b, &w, d_keys, d_keys + kv / 2);
            }
#pragma omp for schedule(static)
            for (int64_t i = 0; i < count; i++)
                write_kv_gradients(&job, start + i, 0, job.keys, gradients + i * job.groups * kv);
        }
    }
    return STATUS_OK;
}

void SIMD_NAME(simd_attention_install)(Kernels *k)
{
    k->attention = attention;
    k->attention_backward = attention_backward;
}
