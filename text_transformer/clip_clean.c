#include "text_transformer/clip_clean.h"

#include "text_transformer/html_entities.h"
#include "text_transformer/unicode.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { MOST_PARTS = 8 }; /* code points that a ligature or a full-width letter stands for: 3 in fact */

/* --- repairs (ftfy 6: remove_control_chars, fix_latin_ligatures, fix_character_width, uncurl_quotes, NFC) --- */

static bool is_control(int32_t c)
{
    return c <= 8 || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || (c >= 0x206a && c <= 0x206f) || c == 0xfeff ||
           (c >= 0xfff9 && c <= 0xfffc);
}

static bool has_plain_form(int32_t c)
{
    bool ligature = c == 0x132 || c == 0x133 || c == 0x149 || (c >= 0x1c4 && c <= 0x1cc) || (c >= 0x1f1 && c <= 0x1f3) ||
                    (c >= 0xfb00 && c <= 0xfb06);
    return ligature || (c >= 0xff01 && c <= 0xffef) || c == 0x3000;
}

static int32_t straight_quote(int32_t c)
{
    if (c == 0x2bc || (c >= 0x2018 && c <= 0x201b)) return '\'';
    return c >= 0x201c && c <= 0x201f ? '"' : c;
}

/* Where a character stands for several, it takes no fewer bytes than they do, but for U+0149 and the first long s, so twice
 * the size is room enough. */
static size_t put_repaired(int32_t c, char *to)
{
    utf8proc_int32_t parts[MOST_PARTS] = {c};
    utf8proc_ssize_t count = 1;
    size_t size = 0;
    if (is_control(c)) return 0;
    if (has_plain_form(c)) count = utf8proc_decompose_char(c, parts, MOST_PARTS, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, NULL);
    if (count < 1 || count > MOST_PARTS) parts[0] = c, count = 1;
    for (utf8proc_ssize_t i = 0; i < count; i++)
        size += (size_t)utf8proc_encode_char(straight_quote(parts[i]), (utf8proc_uint8_t *)to + size);
    return size;
}

static Status repair(const char *text, size_t size, char **out, size_t *out_size)
{
    if (size > UTF8_MAX_TEXT) return status_fail(STATUS_BAD_INPUT, "a text of %zu bytes is too long", size);
    char *fixed = malloc(4 * size + 4 * MOST_PARTS);
    size_t used = 0;
    if (!fixed) return status_fail(STATUS_NO_MEMORY, "out of memory for a text of %zu bytes", size);
    for (size_t at = 0; at < size;) used += put_repaired(utf8_next(text, size, &at), fixed + used);
    utf8proc_uint8_t *composed = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)fixed, (utf8proc_ssize_t)used, &composed,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    free(fixed);
    if (n < 0) return status_fail(STATUS_NO_MEMORY, "out of memory for a text of %zu bytes", size);
    *out = (char *)composed;
    *out_size = (size_t)n;
    return STATUS_OK;
}

/* --- white space --- */

/* In place; returns the new size. */
static size_t collapse_spaces(char *text, size_t size)
{
    size_t used = 0;
    bool pending = false;
    for (size_t at = 0, start; at < size;) {
        start = at;
        if (unicode_class(utf8_next(text, size, &at)) == UNICODE_SPACE) {
            pending = used > 0;
            continue;
        }
        if (pending) text[used++] = ' ';
        pending = false;
        memmove(text + used, text + start, at - start);
        used += at - start;
    }
    return used;
}

Status clip_clean(const char *text, size_t size, char **out, size_t *out_size)
{
    char *fixed = NULL, *once = NULL, *twice = NULL;
    size_t fixed_size = 0, once_size = 0, twice_size = 0;
    *out = NULL;
    TRY(repair(text, size, &fixed, &fixed_size));
    Status s = html_unescape(fixed, fixed_size, &once, &once_size);
    if (s == STATUS_OK) s = html_unescape(once, once_size, &twice, &twice_size);
    if (s == STATUS_OK) s = utf8_lower(twice, collapse_spaces(twice, twice_size), out, out_size);
    free(fixed);
    free(once);
    free(twice);
    return s;
}
