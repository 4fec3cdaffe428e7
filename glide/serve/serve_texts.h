/* Files of this folder that are compiled into the program (the Makefile turns page.html into page_html). */
#ifndef GLIDE_SERVE_TEXTS_H
#define GLIDE_SERVE_TEXTS_H

#include <stddef.h>

extern const unsigned char page_html[], openapi_json[];
extern const size_t page_html_size, openapi_json_size;

#endif
