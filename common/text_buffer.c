#include "common/text_buffer.h"

#include "common/base64.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool make_room(TextBuffer *text, size_t more)
{
    if (text->failed) return false;
    if (text->size + more + 1 <= text->room) return true;
    size_t room = (text->room + more) * 2 + 4096;
    char *larger = realloc(text->data, room);
    text->failed = !larger;
    if (!larger) return false;
    text->data = larger;
    text->room = room;
    return true;
}

void text_buffer_add(TextBuffer *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n >= 0 && make_room(text, (size_t)n)) {
        vsnprintf(text->data + text->size, (size_t)n + 1, format, again);
        text->size += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

void text_buffer_add_bytes(TextBuffer *text, const char *bytes, size_t size)
{
    if (!make_room(text, size)) return;
    memcpy(text->data + text->size, bytes, size);
    text->size += size;
    text->data[text->size] = 0;
}

/* Bytes of the UTF-8 character at s, 0 where there is none (also for surrogates and overlong forms). */
static size_t utf8_length(const unsigned char *s)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    unsigned code = length < 2 ? s[0] : s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (s[i] >> 6 != 2) return 0;
        code = code << 6 | (s[i] & 63u);
    }
    bool allowed = code >= least[length] && code < 0x110000 && !(code >= 0xd800 && code < 0xe000);
    return allowed ? length : 0;
}

void text_buffer_add_escaped(TextBuffer *text, const char *s)
{
    while (*s) {
        size_t length = utf8_length((const unsigned char *)s);
        if (*s == '<') text_buffer_add_bytes(text, "&lt;", 4);
        else if (*s == '>') text_buffer_add_bytes(text, "&gt;", 4);
        else if (*s == '&') text_buffer_add_bytes(text, "&amp;", 5);
        else if (*s == '"') text_buffer_add_bytes(text, "&quot;", 6);
        else if (length == 0) text_buffer_add_bytes(text, "?", 1);
        else if (length == 1 && (unsigned char)*s < 32)
            text_buffer_add_bytes(text, " ", 1); /* XML has no other control characters */
        else text_buffer_add_bytes(text, s, length);
        s += length ? length : 1;
    }
}

void text_buffer_add_base64(TextBuffer *text, const unsigned char *bytes, size_t size)
{
    if (!make_room(text, base64_length(size))) return;
    base64_put(bytes, size, text->data + text->size);
    text->size += base64_length(size);
}

void text_buffer_release(TextBuffer *text)
{
    free(text->data);
    *text = (TextBuffer){0};
}
