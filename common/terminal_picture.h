/* Pictures as what terminals draw: bytes to write where the cursor is, which is left somewhere below or behind.
 *
 *     TerminalPlace place = {.columns = 32, .rows = 16, .cell_width = 8, .cell_height = 16, .colours = TERMINAL_RGB,
 * .utf8 = true}; TRY(terminal_picture(TERMINAL_SIXEL, &image, &place, &bytes, &size));
 *
 * kitty:  PNG in APC sequences of 4096 bytes of base64 at most (sw.kovidgoyal.net/kitty/graphics-protocol); the picture
 * is scaled by the terminal, the same id replaces an older picture, the cursor stays iTerm2: PNG in OSC 1337
 * (iterm2.com/documentation-images.html), scaled by the terminal sixel:  256 colours chosen by median cut, VT340's six
 * rows a time blocks: the upper half block, its colour and the one behind it; two pixels a cell. Without UTF-8 spaces
 * on their mean */
#ifndef GLIDE_COMMON_TERMINAL_PICTURE_H
#define GLIDE_COMMON_TERMINAL_PICTURE_H

#include "common/image.h"

#include <stdbool.h>

typedef enum { TERMINAL_BLOCKS, TERMINAL_SIXEL, TERMINAL_ITERM2, TERMINAL_KITTY } TerminalGraphics;
typedef enum { TERMINAL_256, TERMINAL_RGB } TerminalColours; /* of blocks */

typedef struct TerminalPlace {
    int columns, rows;           /* cells that the picture takes */
    int cell_width, cell_height; /* pixels of a cell, for sixel */
    unsigned id;                 /* for kitty, from 1 */
    TerminalColours colours;
    bool utf8;
} TerminalPlace;

/* The picture is stretched to the place. *bytes: free(). */
Status terminal_picture(TerminalGraphics kind, const Image *image, const TerminalPlace *place, char **bytes, size_t *size);

/* Sixel as it stands, every pixel one. */
Status terminal_sixel(const Image *image, char **bytes, size_t *size);

/* --- which of them -------------------------------------------------------------------------------------- */
/* What `env` (getenv) tells: *graphics, and whether that is certain. Where it is not, the terminal can be asked. */
bool terminal_guess(char *(*env)(const char *name), TerminalGraphics *graphics);
TerminalColours terminal_colours(char *(*env)(const char *name));
bool terminal_is_utf8(char *(*env)(const char *name));

/* The question: does it know kitty's graphics, and what are its attributes (DA1)? `apc` false: only the second. And what an answer
 * tells; `complete`: nothing more will come. */
const char *terminal_query(bool apc);
TerminalGraphics terminal_of_reply(const char *reply, bool *complete);

#endif
