/* Painting on a part of a picture: which part of it the models are shown, what of that is known, and how their answer gets
 * back into the picture without touching anything outside the mask.
 *
 *     Inpaint p;
 *     TRY(inpaint_init(&p, &photo, paint, 64, 256));
 *     in.given = &p.given;                                  for cascade_sample()
 *     inpaint_paste(&p, &photo, &answer, &result);          for each of its pictures
 *     inpaint_release(&p);
 */
#ifndef GLIDE_INPAINT_H
#define GLIDE_INPAINT_H

#include "common/image_read.h"
#include "glide/cascade.h"

#include <stdbool.h>

typedef struct Inpaint {
    int w, h;                   /* of the picture */
    const uint8_t *paint;       /* (h,w) borrowed: not 0 where it is to be painted */
    int x, y, part_w, part_h;   /* the part that the models see: square as far as the picture allows, around the mask */
    CascadeGiven given;         /* that part in their sizes; a pixel is known if nothing under it is to be painted; the others
                                   have the colours around them */
} Inpaint;

/* large_side 0: no upsampler. STATUS_BAD_INPUT: the mask marks nothing. *p is released already then. */
Status inpaint_init(Inpaint *p, const Image *picture, const uint8_t *paint, int small_side, int large_side);
void inpaint_release(Inpaint *p);

/* *out = the picture with the masked pixels from `answer`, which shows the part in any size, in colours that meet those around
 * (seam.h). */
Status inpaint_paste(const Inpaint *p, const Image *picture, const Image *answer, Image *out);

/* A mask of any size for a picture of w x h: paint (w*h, free()) is 1 where the nearest value of `mask` is 128 or more, or where
 * it is less, if inverted. */
Status inpaint_fit_mask(const Mask *mask, bool inverted, int w, int h, uint8_t **paint);

#endif
