/* A tiny data set for tests: 12 pictures, 3 styles, 5 concepts, every split, labels in two languages. */
#ifndef GLIDE_TESTS_SUPPORT_DATASET_H
#define GLIDE_TESTS_SUPPORT_DATASET_H

#include "common/status.h"

#include <stdint.h>

#define TINY_COUNT  12
#define TINY_PHOTOS 6 /* four tiles of two photos to train on, two of one held out */

/* What to spoil while writing. NULL texts leave a thing as it should be. */
typedef struct TinyFaults {
    const char *omit;   /* dataset or attribute that is left out */
    const char *column; /* string dataset whose row 3 becomes `text` */
    const char *text;
    const char *one_less; /* string dataset with a row less */
    int small_side;       /* of images64; 0: 64 */
    int version;          /* 0: the right one */
    int photos;           /* 1: TINY_PHOTOS tiles of photos at the end */
} TinyFaults;

/* Write it to `path`. `faults` may be NULL. */
Status tiny_dataset_write(const char *path, const TinyFaults *faults);

/* Channel c of pixel (y,x) of picture i at 256 px. */
uint8_t tiny_pixel(int i, int y, int x, int c);

#endif
