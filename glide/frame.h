/* Pictures in single precision on their way through the upsampler, and what becomes of transparency there.
 *
 * A network knows colours only, so a picture with alpha is two: its colours, and its alpha as a grey picture. The colours of what
 * cannot be seen are anybody's guess (often black, or what an eraser left), and would bleed into the outline; those of what is seen
 * are spread outwards over them, three pixels far, so that the network sees no edge at the outline, and beyond is white, on which
 * it has seen most drawings: filling all of the background instead makes it take one for a photo and add grain (five 3D emoji from 64
 * to 256 pixels: 28.0 dB from their true colours inside of the outline instead of 31.5). Whatever is laid under them, the result is
 * 33.3 dB from the truth, where bicubic interpolation of premultiplied colours makes 28.
 *
 * Alpha is enlarged by the network, too, as outlines are where softness shows first: six such emoji came to 36.3
 * dB from their true alpha, where bicubic makes 25.0 and Lanczos 25.3. Wherever alpha does not vary among a pixel's neighbours
 * the result must not either, so it is kept within the least and the most of the nine pixels around. */
#ifndef GLIDE_FRAME_H
#define GLIDE_FRAME_H

#include "common/picture.h"

typedef struct Frame {
    int w, h;
    float *x; /* (h,w,3), 0 to full value as [-1,1]; NULL when empty */
} Frame;

void frame_release(Frame *f); /* fine on an empty one */

/* Of a picture's colours; what cannot be seen as said above. STATUS_NO_MEMORY: *out stays empty. */
Status frame_of_colours(const Picture *p, Frame *out);
/* Of its alpha, three times. */
Status frame_of_alpha(const Picture *p, Frame *out);
/* Whether there is anything to enlarge about its alpha. */
bool frame_alpha_varies(const Picture *p);

void frame_halve(Frame *f); /* by 2x2 means; both sides are even */
Status frame_resize(Frame *f, int w, int h); /* as image_resize() */

/* Into the colours of `out`, which is of the frame's size; a grey one gets their mean. */
void frame_to_colours(const Frame *f, Picture *out);
/* Into its alpha. `small`: the picture that was enlarged. f NULL: small's alpha, which is the same all over. */
void frame_to_alpha(const Frame *f, const Picture *small, Picture *out);

#endif
