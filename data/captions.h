/* Captions of the data set's pictures: drawn anew at every training step from labels, keywords and style words.
 *
 *   label and style            "red apple, twemoji emoji"                  빨간 사과, 트위모지 이모지
 *   label, keywords and style  "red apple (fruit, ripe), twemoji emoji"    빨간 사과 (과일, 건강), 트위모지 이모지
 *   keywords and style         "fruit, ripe, red, twemoji emoji"           과일, 건강, 트위모지 이모지
 *   label                      "red apple" (any style)                     빨간 사과
 *
 * Of a photo's tile the style is the word "photo": "mountain lake, photo"; 호수, 사진.
 *
 * ": " in labels ("firefighter: dark skin tone") becomes ", ". A picture without Korean words gets an English caption,
 * one without enough keywords the first form. Captions end with a zero byte; what does not fit into `size` is cut
 * between characters. Functions return the length in bytes. */
#ifndef GLIDE_DATA_CAPTIONS_H
#define GLIDE_DATA_CAPTIONS_H

#include "common/rng.h"
#include "data/dataset.h"

#include <stdbool.h>
#include <stddef.h>

#define CAPTION_SIZE 1024 /* bytes that hold any caption of the default data set */

typedef enum {
    CAPTION_LABEL_STYLE,
    CAPTION_LABEL_TAGS_STYLE,
    CAPTION_TAGS_STYLE,
    CAPTION_LABEL,
    CAPTION_FORMS
} CaptionForm;

typedef struct CaptionOptions {
    float korean;                /* share of Korean captions, [0,1] */
    float shares[CAPTION_FORMS]; /* of the forms; need not add up to 1 */
} CaptionOptions;

CaptionOptions caption_options_defaults(void); /* korean 0.25; 0.6, 0.2, 0.1, 0.1 */

/* A caption of picture i. Depends on the key only (stream RNG_DATA); blocks 16 to 31 of its sequence are used, so that
 * the key that drew the picture may be used again. `options` NULL: the defaults. */
size_t caption_draw(const Dataset *d, int i, const CaptionOptions *options, const RngKey *key, char *out, size_t size);

/* "{label}, {style} emoji": for evaluation. */
size_t caption_plain(const Dataset *d, int i, bool korean, char *out, size_t size);

/* Text number k of an endless list with the same distribution as training's captions (the index's pictures only), for
 * the byte-pair vocabulary. 100,000 texts show every word of the default data set's labels. */
size_t caption_sample(const Dataset *d, const ConceptIndex *index, const CaptionOptions *options, uint64_t seed,
                      uint32_t k, char *out, size_t size);

/* "파이어폭스" of "fxemoji"; an unknown style is returned as it is. */
const char *caption_style_korean(const char *style);

#endif
