/* Enlarging measured: ways of making pictures larger (methods) on the same pictures, every measure with its 95 % interval over
 * pictures, and one of the methods against each of the others, picture by picture. No clock, no files.
 *
 *     QualityTable t;
 *     TRY(quality_table_init(&t, names, methods, own, pictures));
 *     for each picture and method: TRY(quality_measure(&eye, &original, &small, &result, 4, values));
 *                                  values[QUALITY_SECONDS] = ...; quality_table_put(&t, method, picture, values);
 *     Status s = quality_table_summarise(&t);
 *     if (s == STATUS_OK) quality_table_print(&t, stdout);           or quality_table_json(&t, &json)
 *     quality_table_release(&t); */
#ifndef GLIDE_QUALITY_QUALITY_TABLE_H
#define GLIDE_QUALITY_QUALITY_TABLE_H

#include "common/image.h"
#include "glide/ablation/judge.h"
#include "glide/quality/seam_score.h"

#include <jansson.h>
#include <stdio.h>

typedef enum {
    QUALITY_PSNR,        /* picture_quality.h, in dB */
    QUALITY_SSIM,        /* picture_quality.h */
    QUALITY_JUDGE,       /* judge_distance.h */
    QUALITY_CONSISTENCY, /* picture_quality.h, in dB */
    QUALITY_COLOUR,      /* colour_difference.h, pixel by pixel against the original: on photos mostly detail that was lost */
    QUALITY_TINT,        /* the same of the result, reduced by means and rounded, against what it was made of: what colours shifted
                            by. Means over larger areas differ by less */
    QUALITY_EDGES,       /* picture_quality.h */
    QUALITY_SECONDS,     /* wall time of making the picture */
    QUALITY_MEASURES
} QualityMeasure;

enum { QUALITY_MOST_METHODS = 5 };

/* Who looks. judge NULL: QUALITY_JUDGE stays unknown. */
typedef struct QualityEye {
    Judge *judge;
    Kernels *kernels;
} QualityEye;

/* All but QUALITY_SECONDS, which becomes NaN. `result` and `original` have one size, `scale` times that of `small`. */
Status quality_measure(const QualityEye *eye, const Image *original, const Image *small, const Image *result, int scale,
                       double values[QUALITY_MEASURES]);

typedef struct QualityValue {
    double value, low, high; /* a mean over pictures and its bootstrap interval (ablation/statistics.h) */
    int n;                   /* pictures that have the measure; without any all is NaN, with one the interval */
} QualityValue;

typedef struct QualityMethod {
    char name[48];
    double *values; /* (QUALITY_MEASURES,pictures); NaN: not measured */
    SeamScore seams;
    QualityValue summary[QUALITY_MEASURES];
    QualityValue against[QUALITY_MEASURES]; /* table.own minus this, or for QUALITY_JUDGE the geometric mean of own / this */
} QualityMethod;

typedef struct QualityTable {
    QualityMethod methods[QUALITY_MOST_METHODS];
    int method_count, own, pictures;
} QualityTable;

/* names (method_count); `own`: which of them is compared with the others. */
Status quality_table_init(QualityTable *t, const char *const *names, int method_count, int own, int pictures);
void quality_table_release(QualityTable *t); /* zeroed is fine */
void quality_table_put(QualityTable *t, int method, int picture, const double values[QUALITY_MEASURES]);
Status quality_table_summarise(QualityTable *t);

/* After quality_table_summarise(): three tables of up to 132 columns. */
void quality_table_print(const QualityTable *t, FILE *out);
/* {"methods": [...], "against": [...]}, null where nothing is known. */
Status quality_table_json(const QualityTable *t, json_t **out);

/* Name of a measure in JSON: "psnr". */
const char *quality_measure_name(QualityMeasure m);

#endif
