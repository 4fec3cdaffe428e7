/* Strings of JSON from where anything may come: names of files, arguments, texts of pictures. */
#ifndef GLIDE_JSON_TEXT_H
#define GLIDE_JSON_TEXT_H

#include <jansson.h>

/* `text` with U+FFFD in the place of each byte that is not UTF-8, which json_string() refuses. NULL when out of memory. */
json_t *json_text(const char *text);

#endif
