/* Any text in ASCII, for letters that know no others (pixel_text.h): accents are dropped, Hangul is romanised syllable by syllable
 * (Revised Romanization without its changes between syllables: 빨간 사과 -> ppalgan sagwa), what is left becomes '?'. */
#ifndef GLIDE_COMMON_ASCII_TEXT_H
#define GLIDE_COMMON_ASCII_TEXT_H

#include <stddef.h>

/* `text` is UTF-8; cut where `out` ends. Returns `out`. */
const char *ascii_text(const char *text, char *out, size_t size);

#endif
