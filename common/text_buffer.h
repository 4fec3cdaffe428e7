/* A text that grows, for what is written as a whole: SVG, HTML, CSV.
 *
 *     TextBuffer out = {0};
 *     text_buffer_add(&out, "<p>%d</p>\n", n);
 *     if (out.failed) ...                      asked once, at the end
 *     text_buffer_release(&out); */
#ifndef GLIDE_COMMON_TEXT_BUFFER_H
#define GLIDE_COMMON_TEXT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct TextBuffer { /* after running out of memory it stays as it is and `failed` says so */
    char *data;             /* ends in 0; NULL while nothing was added */
    size_t size, room;
    bool failed;
} TextBuffer;

/* One piece by printf; of any length. */
void text_buffer_add(TextBuffer *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_buffer_add_bytes(TextBuffer *text, const char *bytes, size_t size);
/* As text of XML and HTML: <, >, & and " escaped, control characters as spaces, bytes that are not UTF-8 as question marks. */
void text_buffer_add_escaped(TextBuffer *text, const char *s);
/* Base64 with its padding, as in data URIs. */
void text_buffer_add_base64(TextBuffer *text, const unsigned char *bytes, size_t size);
void text_buffer_release(TextBuffer *text);

#endif
