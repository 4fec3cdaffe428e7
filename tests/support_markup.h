/* A small check of markup that is written as XML would be (XHTML, SVG): tags balanced, attributes quoted and each once, no
 * character that should have been escaped. Any fault fails the test and shows the place. */
#ifndef GLIDE_TESTS_SUPPORT_MARKUP_H
#define GLIDE_TESTS_SUPPORT_MARKUP_H

#include <stddef.h>

/* Text between <style> and </style> is not looked at. Returns the number of elements. */
int assert_markup(const char *text);

/* How often `part` occurs. */
int count_text(const char *text, const char *part);

#endif
