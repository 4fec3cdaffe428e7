#include "common/ascii_text.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Hangul's letters as canonical decomposition leaves them. */
enum { INITIAL = 0x1100, INITIALS = 19, VOWEL = 0x1161, VOWELS = 21, FINAL = 0x11a8, FINALS = 27 };
static const char *const initials[INITIALS] = {"g", "kk", "n", "d", "tt", "r", "m",  "b", "pp", "s",
                                               "ss", "",  "j", "jj", "ch", "k", "t", "p", "h"};
static const char *const vowels[VOWELS] = {"a", "ae", "ya", "yae", "eo", "e", "yeo", "ye", "o",  "wa", "wae",
                                           "oe", "yo", "u", "wo",  "we", "wi", "yu", "eu", "ui", "i"};
static const char *const finals[FINALS] = {"k", "k", "k", "n", "n", "n", "t", "l", "k", "m", "l", "l",  "l", "p",
                                           "l", "m", "p", "p", "t", "t", "ng", "t", "t", "k", "t", "p", "t"};

static const char *letter_of(utf8proc_int32_t c, char one[2])
{
    if (c >= INITIAL && c < INITIAL + INITIALS) return initials[c - INITIAL];
    if (c >= VOWEL && c < VOWEL + VOWELS) return vowels[c - VOWEL];
    if (c >= FINAL && c < FINAL + FINALS) return finals[c - FINAL];
    one[0] = c >= ' ' && c < 127 ? (char)c : c == '\n' || c == '\t' ? ' ' : '?';
    one[1] = 0;
    return one;
}

const char *ascii_text(const char *text, char *out, size_t size)
{
    utf8proc_uint8_t *plain = NULL;
    size_t used = 0;
    utf8proc_option_t how = UTF8PROC_NULLTERM | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_STRIPMARK;
    const char *at = utf8proc_map((const utf8proc_uint8_t *)text, 0, &plain, how) >= 0 ? (const char *)plain : text;
    while (*at) {
        utf8proc_int32_t c;
        char one[2];
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)at, -1, &c);
        const char *letter = letter_of(n > 0 ? c : 0xfffd, one);
        at += n > 0 ? n : 1;
        if (used + strlen(letter) + 1 > size) break;
        memcpy(out + used, letter, strlen(letter));
        used += strlen(letter);
    }
    out[used] = 0;
    free(plain);
    return out;
}
