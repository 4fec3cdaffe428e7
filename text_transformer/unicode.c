#include "text_transformer/unicode.h"

#include <stdbool.h>
#include <stdlib.h>
#include <utf8proc.h>

#define SIGMA         0x3A3
#define FINAL_SIGMA   0x3C2
#define I_WITH_DOT    0x130
#define COMBINING_DOT 0x307

typedef struct Range {
    int32_t first, last;
} Range;

/* Cased through Other_Lowercase and Other_Uppercase, which utf8proc does not have: ordinals, Roman numerals, circled,
 * squared and negative letters. */
static const Range other_cased[] = {
    {0xAA, 0xAA},       {0xBA, 0xBA},       {0x2160, 0x217F},   {0x24B6, 0x24E9},
    {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189},
};

/* Case-ignorable through Word_Break = MidLetter, MidNumLet or Single_Quote, which utf8proc does not have. */
static const Range word_inner[] = {
    {0x27, 0x27},     {0x2E, 0x2E},     {0x3A, 0x3A},     {0xB7, 0xB7},     {0x387, 0x387},   {0x55F, 0x55F},
    {0x5F4, 0x5F4},   {0x2018, 0x2019}, {0x2024, 0x2024}, {0x2027, 0x2027}, {0xFE13, 0xFE13}, {0xFE52, 0xFE52},
    {0xFE55, 0xFE55}, {0xFF07, 0xFF07}, {0xFF0E, 0xFF0E}, {0xFF1A, 0xFF1A},
};

/* Marks, modifiers, format controls and small letters that Unicode 15 added: uncased in Unicode 14. */
static const Range added_in_15[] = {
    {0xECE, 0xECE},     {0x10EFD, 0x10EFF}, {0x11241, 0x11241}, {0x11F00, 0x11F01}, {0x11F36, 0x11F3A},
    {0x11F40, 0x11F40}, {0x11F42, 0x11F42}, {0x13439, 0x13440}, {0x13447, 0x13455}, {0x1DF25, 0x1DF2A},
    {0x1E030, 0x1E06D}, {0x1E08F, 0x1E08F}, {0x1E4EB, 0x1E4EF},
};

#define IN_RANGES(c, ranges) in_ranges(c, ranges, sizeof(ranges) / sizeof(ranges)[0])

static bool in_ranges(int32_t c, const Range *ranges, size_t count)
{
    for (size_t i = 0; i < count && c >= ranges[i].first; i++)
        if (c <= ranges[i].last) return true;
    return false;
}

UnicodeClass unicode_class(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return UNICODE_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return UNICODE_NUMBER;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return UNICODE_SPACE;
    default: /* White_Space among the controls: tab to carriage return, next line */
        return (c >= 0x09 && c <= 0x0D) || c == 0x85 ? UNICODE_SPACE : UNICODE_OTHER;
    }
}

UnicodeCase unicode_case(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
        return IN_RANGES(c, added_in_15) ? UNICODE_UNCASED : UNICODE_CASED;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return IN_RANGES(c, added_in_15) ? UNICODE_UNCASED : UNICODE_CASE_IGNORABLE;
    default:
        if (IN_RANGES(c, word_inner)) return UNICODE_CASE_IGNORABLE;
        return IN_RANGES(c, other_cased) ? UNICODE_CASED : UNICODE_UNCASED;
    }
}

int unicode_lower(int32_t c, int32_t lower[2])
{
    if (c == I_WITH_DOT) { /* the only lower-case form of two characters; utf8proc_tolower() gives one */
        lower[0] = 'i';
        lower[1] = COMBINING_DOT;
        return 2;
    }
    lower[0] = utf8proc_tolower(c);
    return 1;
}

int32_t utf8_next(const char *text, size_t size, size_t *at)
{
    const uint8_t *s = (const uint8_t *)text + *at;
    size_t left = size - *at;
    uint8_t lead = s[0], low = 0x80, high = 0xBF; /* range of the second byte */
    size_t length;
    (*at)++;
    if (lead < 0x80) return lead;
    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        length = 3;
        if (lead == 0xE0) low = 0xA0;  /* overlong */
        if (lead == 0xED) high = 0x9F; /* surrogates */
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        if (lead == 0xF0) low = 0x90;  /* overlong */
        if (lead == 0xF4) high = 0x8F; /* beyond U+10FFFF */
    } else {
        return UNICODE_REPLACEMENT;
    }
    int32_t c = lead & (0x7F >> length);
    for (size_t i = 1; i < length; i++) {
        if (i >= left || s[i] < low || s[i] > high) return UNICODE_REPLACEMENT;
        c = c << 6 | (s[i] & 0x3F);
        (*at)++;
        low = 0x80;
        high = 0xBF;
    }
    return c;
}

/* No character grows more than threefold: a broken byte becomes the 3 bytes of U+FFFD, U+0130 (2 bytes) becomes 3. */
static Status text_alloc(size_t size, char **out)
{
    *out = NULL;
    if (size > UTF8_MAX_TEXT)
        return status_fail(STATUS_BAD_INPUT, "text of %zu bytes, expected at most %zu", size, UTF8_MAX_TEXT);
    *out = malloc(3 * size + 1);
    return *out ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a text of %zu bytes", size);
}

static size_t text_put(char *out, size_t used, int32_t c)
{
    return used + (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)out + used);
}

static void text_end(char *out, size_t used, size_t *out_size)
{
    out[used] = '\0';
    if (out_size) *out_size = used;
}

Status utf8_repair(const char *text, size_t size, char **out, size_t *out_size)
{
    TRY(text_alloc(size, out));
    size_t used = 0;
    for (size_t at = 0; at < size;) used = text_put(*out, used, utf8_next(text, size, &at));
    text_end(*out, used, out_size);
    return STATUS_OK;
}

/* Is the first character from `at` on that is not case-ignorable cased? Each sigma looks only as far as the next one,
 * so all looks together are linear. */
static bool cased_follows(const char *text, size_t size, size_t at)
{
    while (at < size) {
        UnicodeCase next = unicode_case(utf8_next(text, size, &at));
        if (next != UNICODE_CASE_IGNORABLE) return next == UNICODE_CASED;
    }
    return false;
}

Status utf8_lower(const char *text, size_t size, char **out, size_t *out_size)
{
    TRY(text_alloc(size, out));
    size_t used = 0;
    bool after_cased = false; /* looking back past case-ignorable characters */
    for (size_t at = 0; at < size;) {
        int32_t c = utf8_next(text, size, &at), lower[2];
        int n = unicode_lower(c, lower);
        if (c == SIGMA && after_cased && !cased_follows(text, size, at)) lower[0] = FINAL_SIGMA;
        for (int i = 0; i < n; i++) used = text_put(*out, used, lower[i]);
        UnicodeCase kind = unicode_case(c);
        if (kind != UNICODE_CASE_IGNORABLE) after_cased = kind == UNICODE_CASED;
    }
    text_end(*out, used, out_size);
    return STATUS_OK;
}

const char *utf8_quote(const char *text, size_t size, char *quote, size_t room)
{
    size_t used = 0;
    for (size_t at = 0; at < size && used + 4 < room;) {
        int32_t c = utf8_next(text, size, &at);
        if (utf8proc_category(c) == UTF8PROC_CATEGORY_CC) c = UNICODE_REPLACEMENT;
        used = text_put(quote, used, c);
    }
    quote[used] = '\0';
    return quote;
}
