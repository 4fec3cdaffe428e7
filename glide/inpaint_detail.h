/* What a picture says besides 8-bit colours, kept when a part of it is painted. */
#ifndef GLIDE_INPAINT_DETAIL_H
#define GLIDE_INPAINT_DETAIL_H

#include "common/picture.h"

/* *out = `before` with the colours of `painted` (of its size) in the pixels that paint (h,w) marks; every value of the others, and the
 * profile, stay to the bit. Marked pixels keep their alpha, and their colours are those that, laid on white, look as `painted` does;
 * but where no marked pixel is more opaque than transparent, as in a mask that is the picture's own transparent part, all of
 * them become opaque. A grey picture gets colours, but stays grey where it has a profile, which would not be one of colours. */
Status inpaint_detail(const Picture *before, const uint8_t *paint, const Image *painted, Picture *out);

#endif
