#include "tests/support_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void clear(double *x, int64_t n)
{
    if (x) memset(x, 0, sizeof(double) * (size_t)n);
}

static double *new_doubles(int64_t n)
{
    double *x = calloc((size_t)(n + 1), sizeof(double));
    if (!x) abort();
    return x;
}

/* --- convolution --- */

typedef void (*ConvVisit)(void *context, int64_t x_at, int64_t weight_at, int64_t y_at);

/* Calls visit for every product x[x_at] * weight[weight_at] that is part of y[y_at]. */
static void conv_products(const ConvShape *s, ConvVisit visit, void *context)
{
    int64_t H2 = (s->H + s->stride - 1) / s->stride, W2 = (s->W + s->stride - 1) / s->stride, K = s->kernel;
    for (int64_t row = 0; row < s->N * H2; row++)
        for (int64_t ox = 0; ox < W2; ox++)
            for (int64_t ky = 0; ky < K; ky++)
                for (int64_t kx = 0; kx < K; kx++) {
                    int64_t iy = row % H2 * s->stride + ky - K / 2, ix = ox * s->stride + kx - K / 2;
                    if (iy < 0 || iy >= s->H || ix < 0 || ix >= s->W) continue;
                    int64_t x_at = ((row / H2 * s->H + iy) * s->W + ix) * s->Cin, y_at = (row * W2 + ox) * s->Cout;
                    for (int64_t co = 0; co < s->Cout; co++)
                        for (int64_t ci = 0; ci < s->Cin; ci++)
                            visit(context, x_at + ci, ((co * s->Cin + ci) * K + ky) * K + kx, y_at + co);
                }
}

typedef struct ConvArrays {
    const double *x, *weight, *d_y;
    double *y, *d_x, *d_weight;
} ConvArrays;

static void add_forward(void *context, int64_t x_at, int64_t weight_at, int64_t y_at)
{
    ConvArrays *a = context;
    a->y[y_at] += a->x[x_at] * a->weight[weight_at];
}

static void add_backward(void *context, int64_t x_at, int64_t weight_at, int64_t y_at)
{
    ConvArrays *a = context;
    if (a->d_x) a->d_x[x_at] += a->d_y[y_at] * a->weight[weight_at];
    if (a->d_weight) a->d_weight[weight_at] += a->d_y[y_at] * a->x[x_at];
}

static int64_t conv_outputs(const ConvShape *s)
{
    return s->N * ((s->H + s->stride - 1) / s->stride) * ((s->W + s->stride - 1) / s->stride) * s->Cout;
}

void reference_conv2d(const ConvShape *s, const double *x, const double *weight, const double *bias,
                      const double *residual, double *y)
{
    for (int64_t i = 0; i < conv_outputs(s); i++) y[i] = (bias ? bias[i % s->Cout] : 0) + (residual ? residual[i] : 0);
    conv_products(s, add_forward, &(ConvArrays){.x = x, .weight = weight, .y = y});
}

void reference_conv2d_backward(const ConvShape *s, const double *x, const double *weight, const double *d_y,
                               double *d_x, double *d_weight, double *d_bias)
{
    clear(d_x, s->N * s->H * s->W * s->Cin);
    clear(d_weight, s->Cout * s->Cin * s->kernel * s->kernel);
    clear(d_bias, s->Cout);
    conv_products(s, add_backward,
                  &(ConvArrays){.x = x, .weight = weight, .d_y = d_y, .d_x = d_x, .d_weight = d_weight});
    for (int64_t i = 0; d_bias && i < conv_outputs(s); i++) d_bias[i % s->Cout] += d_y[i];
}

ConvShape reference_linear_shape(const LinearShape *s)
{
    return (ConvShape){.N = 1, .H = 1, .W = s->rows, .Cin = s->in, .Cout = s->out, .kernel = 1, .stride = 1};
}

/* --- attention --- */

/* Place of element 0 of part `part` of `parts` (q, k, v: 3; k, v: 2) of a head, in row `row`. */
static int64_t part_at(const AttentionShape *s, int64_t row, int64_t head, int64_t part, int64_t parts)
{
    return (row * parts * s->heads + (s->split_first ? part * s->heads + head : head * parts + part)) * s->D;
}

typedef struct HeadView { /* one head of one image: where its rows start in the arrays */
    const AttentionShape *s;
    int64_t n, head, keys; /* keys = S + T */
} HeadView;

static int64_t query_at(const HeadView *h, int64_t i)
{
    return part_at(h->s, h->n * h->s->T + i, h->head, 0, 3);
}

static bool from_encoder(const HeadView *h, int64_t j)
{
    return j < h->s->S;
}

/* part 0: key, 1: value */
static int64_t kv_at(const HeadView *h, int64_t j, int64_t part)
{
    if (from_encoder(h, j)) return part_at(h->s, h->n * h->s->S + j, h->head, part, 2);
    return part_at(h->s, h->n * h->s->T + j - h->s->S, h->head, part + 1, 3);
}

/* p (keys): softmax of query i's scores. Returns the log of the denominator. */
static double probabilities(const HeadView *h, const double *qkv, const double *encoder_kv, int64_t i, double *p)
{
    const AttentionShape *s = h->s;
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < h->keys; j++) {
        const double *key = (from_encoder(h, j) ? encoder_kv : qkv) + kv_at(h, j, 0), *query = qkv + query_at(h, i);
        p[j] = 0;
        for (int d = 0; d < s->D; d++) p[j] += query[d] * pow(s->D, -0.25) * key[d] * pow(s->D, -0.25);
        if (s->causal && j > i) p[j] = -INFINITY;
        max = fmax(max, p[j]);
    }
    for (int64_t j = 0; j < h->keys; j++) sum += p[j] = exp(p[j] - max);
    for (int64_t j = 0; j < h->keys; j++) p[j] /= sum;
    return max + log(sum);
}

void reference_attention(const AttentionShape *s, const double *qkv, const double *encoder_kv, double *y, double *lse)
{
    int64_t C = (int64_t)s->heads * s->D;
    double *p = new_doubles(s->S + s->T);
    clear(y, s->N * s->T * C);
    for (int64_t nh = 0; nh < s->N * s->heads; nh++)
        for (int64_t i = 0; i < s->T; i++) {
            HeadView h = {s, nh / s->heads, nh % s->heads, s->S + s->T};
            double log_sum = probabilities(&h, qkv, encoder_kv, i, p);
            if (lse) lse[nh * s->T + i] = log_sum;
            for (int64_t j = 0; j < h.keys; j++) {
                const double *value = (from_encoder(&h, j) ? encoder_kv : qkv) + kv_at(&h, j, 1);
                for (int d = 0; d < s->D; d++) y[(h.n * s->T + i) * C + h.head * s->D + d] += p[j] * value[d];
            }
        }
    free(p);
}

static void attention_backward_query(const HeadView *h, const double *qkv, const double *encoder_kv, const double *d_y,
                                     double *d_qkv, double *d_encoder_kv, int64_t i, double *p, double *d_p)
{
    const AttentionShape *s = h->s;
    const double *d_out = d_y + ((h->n * s->T + i) * s->heads + h->head) * s->D;
    double mean = 0;
    probabilities(h, qkv, encoder_kv, i, p);
    for (int64_t j = 0; j < h->keys; j++) {
        const double *value = (from_encoder(h, j) ? encoder_kv : qkv) + kv_at(h, j, 1);
        double *d_value = (from_encoder(h, j) ? d_encoder_kv : d_qkv) + kv_at(h, j, 1);
        d_p[j] = 0;
        for (int d = 0; d < s->D; d++) {
            d_p[j] += d_out[d] * value[d];
            d_value[d] += d_out[d] * p[j];
        }
        mean += p[j] * d_p[j];
    }
    for (int64_t j = 0; j < h->keys; j++) {
        double d_score = p[j] * (d_p[j] - mean) / sqrt(s->D);
        const double *key = (from_encoder(h, j) ? encoder_kv : qkv) + kv_at(h, j, 0);
        double *d_key = (from_encoder(h, j) ? d_encoder_kv : d_qkv) + kv_at(h, j, 0);
        for (int d = 0; d < s->D; d++) {
            d_qkv[query_at(h, i) + d] += d_score * key[d];
            d_key[d] += d_score * qkv[query_at(h, i) + d];
        }
    }
}

void reference_attention_backward(const AttentionShape *s, const double *qkv, const double *encoder_kv,
                                  const double *d_y, double *d_qkv, double *d_encoder_kv)
{
    int64_t C = (int64_t)s->heads * s->D, keys = s->S + s->T;
    double *p = new_doubles(keys), *d_p = new_doubles(keys);
    clear(d_qkv, s->N * s->T * 3 * C);
    clear(d_encoder_kv, s->N * s->S * 2 * C);
    for (int64_t nh = 0; nh < s->N * s->heads; nh++)
        for (int64_t i = 0; i < s->T; i++) {
            HeadView h = {s, nh / s->heads, nh % s->heads, keys};
            attention_backward_query(&h, qkv, encoder_kv, d_y, d_qkv, d_encoder_kv, i, p, d_p);
        }
    free(p);
    free(d_p);
}

/* --- activations --- */

double reference_activation(Activation act, double x)
{
    if (act == ACT_SILU) return x / (1 + exp(-x));
    if (act == ACT_GELU) return 0.5 * x * erfc(-x * M_SQRT1_2);
    return x;
}

double reference_activation_slope(Activation act, double x)
{
    if (act == ACT_SILU) return 1 / (1 + exp(-x)) * (1 + x / (1 + exp(x)));
    if (act == ACT_GELU) return 0.5 * erfc(-x * M_SQRT1_2) + x * exp(-0.5 * x * x) / sqrt(2 * M_PI);
    return 1;
}

/* --- normalisation --- */

void reference_group_norm(const GroupNormShape *s, const double *x, const double *gamma, const double *beta,
                          const double *film, double *y, double *stats)
{
    int64_t width = s->C / s->groups;
    for (int64_t n = 0; n < s->N; n++)
        for (int64_t g = 0; g < s->groups; g++) {
            double sum = 0, squares = 0, count = (double)(s->pixels * width);
            const double *image = x + n * s->pixels * s->C;
            for (int64_t p = 0; p < s->pixels; p++)
                for (int64_t c = g * width; c < (g + 1) * width; c++) sum += image[p * s->C + c];
            for (int64_t p = 0; p < s->pixels; p++)
                for (int64_t c = g * width; c < (g + 1) * width; c++)
                    squares += pow(image[p * s->C + c] - sum / count, 2);
            double rstd = 1 / sqrt(squares / count + 1e-5);
            for (int64_t p = 0; p < s->pixels; p++)
                for (int64_t c = g * width; c < (g + 1) * width; c++) {
                    double z = (image[p * s->C + c] - sum / count) * rstd * gamma[c] + beta[c];
                    if (film) z = z * (1 + film[n * 2 * s->C + c]) + film[n * 2 * s->C + s->C + c];
                    if (y) y[(n * s->pixels + p) * s->C + c] = reference_activation(s->act, z);
                }
            if (stats) stats[2 * (n * s->groups + g)] = sum / count;
            if (stats) stats[2 * (n * s->groups + g) + 1] = rstd;
        }
}

typedef struct GroupView { /* one group of one image */
    int64_t n, first, width;
    double mean, rstd;
} GroupView;

/* d_norm: gradient at the normalised x, before gamma, of the group's channels; adds up gradients of gamma, beta and
 * FiLM. */
static void group_norm_backward_affine(const GroupNormShape *s, const GroupView *v, const double *x,
                                       const double *gamma, const double *beta, const double *film, const double *d_y,
                                       double *d_norm, double *d_gamma, double *d_beta, double *d_film)
{
    for (int64_t p = 0; p < s->pixels; p++)
        for (int64_t c = v->first; c < v->first + v->width; c++) {
            int64_t at = (v->n * s->pixels + p) * s->C + c, f = v->n * 2 * s->C + c;
            double norm = (x[at] - v->mean) * v->rstd, affine = norm * gamma[c] + beta[c],
                   scale = film ? 1 + film[f] : 1;
            double z = affine * scale + (film ? film[f + s->C] : 0);
            double d_z = d_y[at] * reference_activation_slope(s->act, z);
            if (d_film) d_film[f] += d_z * affine;
            if (d_film) d_film[f + s->C] += d_z;
            if (d_gamma) d_gamma[c] += d_z * scale * norm;
            if (d_beta) d_beta[c] += d_z * scale;
            d_norm[at] = d_z * scale * gamma[c];
        }
}

void reference_group_norm_backward(const GroupNormShape *s, const double *x, const double *gamma, const double *beta,
                                   const double *film, const double *d_y, double *d_x, double *d_gamma, double *d_beta,
                                   double *d_film)
{
    int64_t width = s->C / s->groups;
    double *stats = new_doubles(s->N * s->groups * 2), *d_norm = new_doubles(s->N * s->pixels * s->C);
    reference_group_norm(s, x, gamma, beta, film, NULL, stats);
    clear(d_gamma, s->C);
    clear(d_beta, s->C);
    clear(d_film, s->N * 2 * s->C);
    for (int64_t ng = 0; ng < s->N * s->groups; ng++) {
        GroupView v = {ng / s->groups, ng % s->groups * width, width, stats[2 * ng], stats[2 * ng + 1]};
        double sum = 0, dot = 0, count = (double)(s->pixels * width);
        group_norm_backward_affine(s, &v, x, gamma, beta, film, d_y, d_norm, d_gamma, d_beta, d_film);
        for (int64_t p = 0; p < s->pixels; p++)
            for (int64_t c = v.first; c < v.first + width; c++) {
                int64_t at = (v.n * s->pixels + p) * s->C + c;
                sum += d_norm[at];
                dot += d_norm[at] * (x[at] - v.mean) * v.rstd;
            }
        for (int64_t p = 0; d_x && p < s->pixels; p++)
            for (int64_t c = v.first; c < v.first + width; c++) {
                int64_t at = (v.n * s->pixels + p) * s->C + c;
                d_x[at] = v.rstd * (d_norm[at] - sum / count - (x[at] - v.mean) * v.rstd * dot / count);
            }
    }
    free(stats);
    free(d_norm);
}

/* A layer norm over (rows,C) is a group norm of rows images with one pixel and one group. */
void reference_layer_norm(int64_t rows, int64_t C, const double *x, const double *gamma, const double *beta, double *y,
                          double *stats)
{
    GroupNormShape s = {.N = rows, .pixels = 1, .C = C, .groups = 1};
    reference_group_norm(&s, x, gamma, beta, NULL, y, stats);
}

void reference_layer_norm_backward(int64_t rows, int64_t C, const double *x, const double *gamma, const double *d_y,
                                   double *d_x, double *d_gamma, double *d_beta)
{
    GroupNormShape s = {.N = rows, .pixels = 1, .C = C, .groups = 1};
    double *beta = new_doubles(C);
    reference_group_norm_backward(&s, x, gamma, beta, NULL, d_y, d_x, d_gamma, d_beta, NULL);
    free(beta);
}

/* --- resampling --- */

void reference_upsample2x(int64_t N, int64_t H, int64_t W, int64_t C, const double *x, double *y)
{
    for (int64_t i = 0; i < N * 4 * H * W * C; i++) {
        int64_t c = i % C, ox = i / C % (2 * W), row = i / C / (2 * W); /* row of all images, N*2H of them */
        y[i] = x[(row / 2 * W + ox / 2) * C + c];
    }
}

void reference_upsample2x_backward(int64_t N, int64_t H, int64_t W, int64_t C, const double *d_y, double *d_x)
{
    clear(d_x, N * H * W * C);
    for (int64_t i = 0; i < N * 4 * H * W * C; i++) {
        int64_t c = i % C, ox = i / C % (2 * W), row = i / C / (2 * W);
        d_x[(row / 2 * W + ox / 2) * C + c] += d_y[i];
    }
}

void reference_avg_pool2x(int64_t N, int64_t H, int64_t W, int64_t C, const double *x, double *y)
{
    reference_upsample2x_backward(N, H, W, C, x, y);
    for (int64_t i = 0; i < N * H * W * C; i++) y[i] /= 4;
}

void reference_avg_pool2x_backward(int64_t N, int64_t H, int64_t W, int64_t C, const double *d_y, double *d_x)
{
    reference_upsample2x(N, H, W, C, d_y, d_x);
    for (int64_t i = 0; i < N * 4 * H * W * C; i++) d_x[i] /= 4;
}

/* Weight of input position i in output position o: half-pixel centres, positions beyond the border count as the border.
 */
static double bilinear_weight(int64_t in, int64_t out, int64_t o, int64_t i)
{
    double at = fmax(0, ((double)o + 0.5) * (double)in / (double)out - 0.5);
    at = fmin(at, (double)(in - 1));
    return fmax(0, 1 - fabs(at - (double)i));
}

/* Adds weights times x (N,H,W,C) to y (N,H2,W2,C), both from `from` to `to`, or y to x when backward. */
static void bilinear(int64_t N, int64_t H, int64_t W, int64_t C, int64_t H2, int64_t W2, bool backward,
                     const double *from, double *to)
{
    for (int64_t i = 0; i < N * H2 * W2 * C; i++) {
        int64_t c = i % C, ox = i / C % W2, oy = i / C / W2 % H2, n = i / C / W2 / H2;
        for (int64_t iy = 0; iy < H; iy++)
            for (int64_t ix = 0; ix < W; ix++) {
                double weight = bilinear_weight(H, H2, oy, iy) * bilinear_weight(W, W2, ox, ix);
                int64_t at = ((n * H + iy) * W + ix) * C + c;
                if (backward)
                    to[at] += weight * from[i];
                else
                    to[i] += weight * from[at];
            }
    }
}

void reference_resize_bilinear(int64_t N, int64_t H, int64_t W, int64_t C, const double *x, int64_t H2, int64_t W2,
                               double *y)
{
    clear(y, N * H2 * W2 * C);
    bilinear(N, H, W, C, H2, W2, false, x, y);
}

void reference_resize_bilinear_backward(int64_t N, int64_t H, int64_t W, int64_t C, const double *d_y, int64_t H2,
                                        int64_t W2, double *d_x)
{
    clear(d_x, N * H * W * C);
    bilinear(N, H, W, C, H2, W2, true, d_y, d_x);
}

/* --- optimiser: torch.optim.AdamW, single tensor, no amsgrad --- */

void reference_adamw(int64_t n, double *value, const double *grad, double *m, double *v, const AdamWStep *step)
{
    for (int64_t i = 0; i < n; i++) {
        double g = grad[i] * step->grad_scale;
        value[i] *= 1 - (double)step->lr * step->weight_decay;
        m[i] = step->beta1 * m[i] + (1 - (double)step->beta1) * g;
        v[i] = step->beta2 * v[i] + (1 - (double)step->beta2) * g * g;
        value[i] -= step->lr / (double)step->bias1 * m[i] / (sqrt(v[i]) / sqrt(step->bias2) + step->eps);
    }
}
