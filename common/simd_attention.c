#include "common/simd.h"
#include "common/simd_math.h"

#include <string.h>

/* Offsets of q, k and v (part 0, 1, 2) of one head within a row of `parts` parts. */
static int64_t part_offset(const AttentionShape *s, int head, int part, int parts)
{
    return s->split_first ? ((int64_t)part * s->heads + head) * s->D : ((int64_t)head * parts + part) * s->D;
}

/* Offset of key (part 0) or value (part 1) j, which is an encoder position when j < S; *encoder says which array. */
static int64_t kv_offset(const AttentionShape *s, int64_t n, int head, int part, int64_t j)
{
    int64_t C = (int64_t)s->heads * s->D;
    if (j < s->S) return (n * s->S + j) * 2 * C + part_offset(s, head, part, 2);
    return (n * s->T + j - s->S) * 3 * C + part_offset(s, head, part + 1, 3);
}

static float score(const AttentionShape *s, const void *qkv, const void *encoder_kv, int64_t n, int head, int64_t i,
                   int64_t j)
{
    int64_t q = (n * s->T + i) * 3 * s->heads * s->D + part_offset(s, head, 0, 3), at = kv_offset(s, n, head, 0, j);
    const void *keys = j < s->S ? encoder_kv : qkv;
    float sum = 0;
    for (int d = 0; d < s->D; d++) sum += load(s->dtype, qkv, q + d) * load(s->dtype, keys, at + d);
    return sum / sqrtf((float)s->D);
}

static Status attention(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv, void *y,
                        float *lse)
{
    int64_t C = (int64_t)s->heads * s->D, keys = s->S + s->T;
    float *all = kernels_scratch(k, sizeof(float) * (size_t)(s->N * s->heads * (keys + s->D)));
    if (!all) return STATUS_NO_MEMORY;
#pragma omp parallel for schedule(static)
    for (int64_t nh = 0; nh < s->N * s->heads; nh++) {
        int64_t n = nh / s->heads;
        int head = (int)(nh % s->heads);
        float *p = all + nh * (keys + s->D), *out = p + keys;
        for (int64_t i = 0; i < s->T; i++) {
            int64_t seen = s->causal ? i + 1 : keys;
            float max = -INFINITY, sum = 0;
            for (int64_t j = 0; j < seen; j++) max = fmaxf(max, p[j] = score(s, qkv, encoder_kv, n, head, i, j));
            for (int64_t j = 0; j < seen; j++) sum += p[j] = expf(p[j] - max);
            memset(out, 0, sizeof(float) * (size_t)s->D);
            for (int64_t j = 0; j < seen; j++)
                for (int d = 0; d < s->D; d++)
                    out[d] += p[j] * load(s->dtype, j < s->S ? encoder_kv : qkv, kv_offset(s, n, head, 1, j) + d);
            for (int d = 0; d < s->D; d++)
                store(s->dtype, y, (n * s->T + i) * C + (int64_t)head * s->D + d, out[d] / sum);
            if (lse) lse[nh * s->T + i] = max + logf(sum);
        }
    }
    return STATUS_OK;
}

static Status attention_backward(Kernels *k, const AttentionShape *s, const void *qkv, const void *encoder_kv,
                                 const void *y, const float *lse, const void *d_y, void *d_qkv, void *d_encoder_kv)
{
    int64_t C = (int64_t)s->heads * s->D, keys = s->S + s->T, D = s->D;
    int64_t each = (2 * keys + 1) * D;
    float *all = kernels_scratch(k, sizeof(float) * (size_t)(s->N * s->heads * each)), r = 1 / sqrtf((float)D);
    if (!all) return STATUS_NO_MEMORY;
#pragma omp parallel for schedule(static)
    for (int64_t nh = 0; nh < s->N * s->heads; nh++) {
        int64_t n = nh / s->heads;
        int head = (int)(nh % s->heads);
        float *dk = all + nh * each, *dv = dk + keys * D, *dq = dv + keys * D;
        memset(dk, 0, sizeof(float) * (size_t)each);
        for (int64_t i = 0; i < s->T; i++) {
            int64_t seen = s->causal ? i + 1 : keys, at = (n * s->T + i) * C + head * D;
            int64_t q_at = (n * s->T + i) * 3 * C + part_offset(s, head, 0, 3);
            float delta = 0;
            for (int d = 0; d < D; d++) delta += load(s->dtype, y, at + d) * load(s->dtype, d_y, at + d);
            memset(dq, 0, sizeof(float) * (size_t)D);
            for (int64_t j = 0; j < seen; j++) {
                const void *kv = j < s->S ? encoder_kv : qkv;
                int64_t k_at = kv_offset(s, n, head, 0, j), v_at = kv_offset(s, n, head, 1, j);
                float p = expf(score(s, qkv, encoder_kv, n, head, i, j) - lse[nh * s->T + i]), dp = 0;
                for (int d = 0; d < D; d++) dp += load(s->dtype, d_y, at + d) * load(s->dtype, kv, v_at + d);
                float ds = p * (dp - delta) * r;
                for (int d = 0; d < D; d++) {
                    dv[j * D + d] += p * load(s->dtype, d_y, at + d);
                    dk[j * D + d] += ds * load(s->dtype, qkv, q_at + d);
                    dq[d] += ds * load(s->dtype, kv, k_at + d);
                }
            }
            if (d_qkv)
                for (int d = 0; d < D; d++) store(s->dtype, d_qkv, q_at + d, dq[d]);
        }
        for (int64_t j = 0; j < keys; j++) {
            void *d_kv = j < s->S ? d_encoder_kv : d_qkv;
            if (!d_kv) continue;
            for (int d = 0; d < D; d++) {
                store(s->dtype, d_kv, kv_offset(s, n, head, 0, j) + d, dk[j * D + d]);
                store(s->dtype, d_kv, kv_offset(s, n, head, 1, j) + d, dv[j * D + d]);
            }
        }
    }
    return STATUS_OK;
}

void SIMD_NAME(simd_attention_install)(Kernels *k)
{
    k->attention = attention;
    k->attention_backward = attention_backward;
}
