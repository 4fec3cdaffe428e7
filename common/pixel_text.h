/* Letters in pictures, for labels of contact sheets: five by seven pixels in a field of six by eight, ASCII only.
 *
 *     pixel_text_draw(&sheet, 4, 4, 1, "cfg 3", (const uint8_t[3]){0, 0, 0});
 *
 * What does not fit into the picture is cut off; other characters than printable ASCII are '?'. */
#ifndef GLIDE_COMMON_PIXEL_TEXT_H
#define GLIDE_COMMON_PIXEL_TEXT_H

#include "common/image.h"

enum { PIXEL_TEXT_WIDTH = 6, PIXEL_TEXT_HEIGHT = 8 }; /* of a field, at zoom 1 */

/* The first field's upper left corner at (x,y); each pixel of a letter becomes zoom x zoom. A character of several bytes is one
 * '?'. */
void pixel_text_draw(Image *image, int x, int y, int zoom, const char *text, const uint8_t colour[3]);
/* How many fields the text takes. */
int pixel_text_length(const char *text);

#endif
