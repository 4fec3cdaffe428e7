/* A sheet of crops, one row a picture in two columns of rows: what interpolation makes of the small picture, what a method made
 * of it, and the original. */
#ifndef GLIDE_QUALITY_QUALITY_SHEET_H
#define GLIDE_QUALITY_QUALITY_SHEET_H

#include "common/image.h"

enum { QUALITY_SHEET_PICTURES = 10, QUALITY_SHEET_SIDE = 160 /* pixels of a crop, at most */ };

typedef struct QualityCrop {
    char name[64];
    Image parts[3]; /* interpolated, made, original; of one size */
} QualityCrop;

typedef struct QualitySheet {
    QualityCrop crops[QUALITY_SHEET_PICTURES];
    int count;
} QualitySheet;

/* The middle of three pictures of one size. More than fit are not taken. */
Status quality_sheet_add(QualitySheet *s, const char *name, const Image *interpolated, const Image *made, const Image *original);
void quality_sheet_release(QualitySheet *s); /* zeroed is fine */

/* titles (3) stand above the columns. STATUS_BAD_INPUT for an empty sheet. */
Status quality_sheet_draw(const QualitySheet *s, const char *const *titles, Image *out);

#endif
