#include "text_transformer/html_entities.h"
#include "text_transformer/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { NAME_MOST = 32 }; /* characters of a name that are looked at, as in Python's pattern */

/* The text being written. A reference of n bytes makes at most 2n: "&nGt;" is the worst. */
typedef struct Output {
    char *bytes;
    size_t size;
} Output;

static void put(Output *o, int32_t c)
{
    o->size += (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)o->bytes + o->size);
}

static void put_bytes(Output *o, const char *bytes, size_t size)
{
    memcpy(o->bytes + o->size, bytes, size);
    o->size += size;
}

/* --- numbers --- */

/* Windows-1252 in the place of the C1 controls; its five gaps stay controls. */
static const uint16_t windows_1252[32] = {
    0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6,  0x2030, 0x160,  0x2039, 0x152,  0x8d,   0x17d, 0x8f,
    0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e, 0x178};

/* The standard calls these parse errors; Python drops them. */
static bool is_dropped(int32_t c)
{
    bool control = (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f;
    return control || (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
}

static void put_number(Output *o, int32_t c)
{
    if (c == 0 || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff) put(o, UNICODE_REPLACEMENT);
    else if (c >= 0x80 && c <= 0x9f) put(o, windows_1252[c - 0x80]);
    else if (!is_dropped(c)) put(o, c);
}

static int digit_of(char c, int base)
{
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : base;
    return digit < base ? digit : -1;
}

/* "#123;" or "#x7b" at `text`; how long it is, 0 when it is none. */
static size_t read_number(Output *o, const char *text, size_t size)
{
    int base = size > 1 && (text[1] == 'x' || text[1] == 'X') ? 16 : 10;
    size_t start = base == 16 ? 2 : 1, at = start;
    int32_t c = 0;
    for (; at < size && digit_of(text[at], base) >= 0; at++)
        c = c > 0x10ffff ? c : c * base + digit_of(text[at], base);
    if (at == start) return 0;
    put_number(o, c);
    return at < size && text[at] == ';' ? at + 1 : at;
}

/* --- names --- */

static void put_entity(Output *o, const HtmlEntity *entity)
{
    put(o, entity->first);
    if (entity->second) put(o, entity->second);
}

static const HtmlEntity *find_name(const char *text, size_t size)
{
    char name[HTML_ENTITY_LONGEST + 1];
    if (size == 0 || size > HTML_ENTITY_LONGEST) return NULL;
    memcpy(name, text, size);
    name[size] = 0;
    return strlen(name) == size ? html_entity_find(name) : NULL;
}

/* A name at `text`, behind the "&"; how long it and its semicolon are, 0 when it is none. Without a semicolon the longest
 * beginning that is a name counts. */
static size_t read_name(Output *o, const char *text, size_t size)
{
    size_t length = 0;
    for (int characters = 0; length < size && !strchr("\t\n\f <&#;", text[length]) && characters < NAME_MOST; characters++)
        utf8_next(text, size, &length);
    bool closed = length < size && text[length] == ';';
    const HtmlEntity *entity = find_name(text, length);
    if (entity && (closed || entity->bare)) {
        put_entity(o, entity);
        return length + closed;
    }
    for (size_t part = closed ? length : length - (length > 0); part > 1; part--) {
        entity = find_name(text, part);
        if (!entity || !entity->bare) continue;
        put_entity(o, entity);
        return part;
    }
    return 0;
}

Status html_unescape(const char *text, size_t size, char **out, size_t *out_size)
{
    Output o = {.bytes = malloc(2 * size + 1)};
    *out = NULL;
    if (!o.bytes) return status_fail(STATUS_NO_MEMORY, "out of memory for a text of %zu bytes", size);
    for (size_t at = 0; at < size;) {
        const char *and = memchr(text + at, '&', size - at);
        size_t plain = and ? (size_t)(and - text) - at : size - at;
        put_bytes(&o, text + at, plain);
        at += plain;
        if (at == size) break;
        size_t rest = size - at - 1;
        const char *behind = text + at + 1;
        size_t used = rest == 0 ? 0 : *behind == '#' ? read_number(&o, behind, rest) : read_name(&o, behind, rest);
        if (used == 0) put_bytes(&o, "&", 1);
        at += 1 + used;
    }
    o.bytes[o.size] = 0;
    *out = o.bytes;
    *out_size = o.size;
    return STATUS_OK;
}
