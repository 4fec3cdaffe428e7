#include "glide/quality/quality_table.h"

#include "glide/ablation/statistics.h"
#include "glide/quality/colour_difference.h"
#include "glide/quality/judge_distance.h"
#include "glide/quality/picture_quality.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_DISTANCE 1e-6 /* of the judge, so that equal pictures have a ratio */

/* --- a picture ------------------------------------------------------------------------------------------ */

static Status measure_tint(const Image *result, const Image *small, int scale, double *out)
{
    Image reduced = {0};
    TRY(image_block_mean(result, scale, &reduced));
    Status s = picture_colour_difference(&reduced, small, out);
    image_release(&reduced);
    return s;
}

Status quality_measure(const QualityEye *eye, const Image *original, const Image *small, const Image *result, int scale,
                       double values[QUALITY_MEASURES])
{
    for (int i = 0; i < QUALITY_MEASURES; i++) values[i] = NAN;
    values[QUALITY_PSNR] = picture_psnr(result, original);
    values[QUALITY_CONSISTENCY] = picture_consistency(result, small, scale);
    values[QUALITY_EDGES] = picture_edge_ratio(result, original);
    TRY(picture_ssim(result, original, &values[QUALITY_SSIM]));
    TRY(picture_colour_difference(result, original, &values[QUALITY_COLOUR]));
    TRY(measure_tint(result, small, scale, &values[QUALITY_TINT]));
    if (!eye->judge) return STATUS_OK;
    return judge_picture_distance(eye->judge, eye->kernels, result, original, &values[QUALITY_JUDGE]);
}

/* --- the table ------------------------------------------------------------------------------------------ */

Status quality_table_init(QualityTable *t, const char *const *names, int method_count, int own, int pictures)
{
    assert(method_count > 0 && method_count <= QUALITY_MOST_METHODS && own >= 0 && own < method_count && pictures > 0);
    *t = (QualityTable){.method_count = method_count, .own = own, .pictures = pictures};
    for (int m = 0; m < method_count; m++) {
        QualityMethod *method = &t->methods[m];
        snprintf(method->name, sizeof method->name, "%s", names[m]);
        method->values = malloc(QUALITY_MEASURES * (size_t)pictures * sizeof *method->values);
        if (!method->values) {
            quality_table_release(t);
            return status_fail(STATUS_NO_MEMORY, "out of memory for the measures of %d pictures", pictures);
        }
        for (int i = 0; i < QUALITY_MEASURES * pictures; i++) method->values[i] = NAN;
    }
    return STATUS_OK;
}

void quality_table_release(QualityTable *t)
{
    for (int m = 0; m < t->method_count; m++) {
        free(t->methods[m].values);
        seam_score_release(&t->methods[m].seams);
    }
    *t = (QualityTable){0};
}

void quality_table_put(QualityTable *t, int method, int picture, const double values[QUALITY_MEASURES])
{
    assert(method >= 0 && method < t->method_count && picture >= 0 && picture < t->pictures);
    for (int i = 0; i < QUALITY_MEASURES; i++) t->methods[method].values[i * t->pictures + picture] = values[i];
}

/* Of those of v (n) that are known; `all` serves n units. v is put in order. */
static Status summarise(const Resampling *all, double *v, int n, QualityValue *out)
{
    Resampling *some = NULL;
    int known = 0;
    for (int i = 0; i < n; i++)
        if (!isnan(v[i])) v[known++] = v[i];
    *out = (QualityValue){NAN, NAN, NAN, known};
    if (known == 0) return STATUS_OK;
    if (known < n) TRY(resampling_new(known, &some));
    out->value = resampling_interval(some ? some : all, v, &out->low, &out->high);
    resampling_free(some);
    return STATUS_OK;
}

static double compare(QualityMeasure m, double own, double other)
{
    return m == QUALITY_JUDGE ? log((own + LEAST_DISTANCE) / (other + LEAST_DISTANCE)) : own - other;
}

static Status summarise_method(const QualityTable *t, const Resampling *r, QualityMethod *method, double *v)
{
    const double *own = t->methods[t->own].values;
    const int n = t->pictures;
    for (int m = 0; m < QUALITY_MEASURES; m++) {
        memcpy(v, method->values + m * n, (size_t)n * sizeof *v);
        TRY(summarise(r, v, n, &method->summary[m]));
        for (int i = 0; i < n; i++) v[i] = compare(m, own[m * n + i], method->values[m * n + i]);
        TRY(summarise(r, v, n, &method->against[m]));
    }
    QualityValue *ratio = &method->against[QUALITY_JUDGE];
    *ratio = (QualityValue){exp(ratio->value), exp(ratio->low), exp(ratio->high), ratio->n};
    return STATUS_OK;
}

Status quality_table_summarise(QualityTable *t)
{
    Resampling *r;
    TRY(resampling_new(t->pictures, &r));
    double *v = malloc((size_t)t->pictures * sizeof *v);
    Status s = v ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for the measures of %d pictures", t->pictures);
    for (int m = 0; m < t->method_count && s == STATUS_OK; m++) s = summarise_method(t, r, &t->methods[m], v);
    free(v);
    resampling_free(r);
    return s;
}
