/* UTF-8 and the Unicode properties that the tokenizers' rules are written in.
 *
 * Properties come from utf8proc. The models' vocabularies were made with Unicode 14 (lower-casing, as Python 3.11 does
 * it) and Unicode 15 (letters, numbers, white space, as the regex package 2022.10 has them), which utf8proc 2.8 equals
 * but for the exceptions in unicode.c. A newer utf8proc also knows characters that were added later: only texts with
 * such a character may then be cut into other pieces.
 *
 * Any bytes are accepted as text: what is not UTF-8 reads as U+FFFD, once per maximal subpart (The Unicode Standard,
 * section 3.9), which is what Python's errors="replace" does. Texts may contain NUL. */
#ifndef GLIDE_TEXT_TRANSFORMER_UNICODE_H
#define GLIDE_TEXT_TRANSFORMER_UNICODE_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

#define UNICODE_REPLACEMENT 0xFFFD

/* Classes of the tokenizers' patterns: \p{L}, \p{N}, \s and the rest (marks, punctuation, controls, unassigned). */
typedef enum { UNICODE_LETTER, UNICODE_NUMBER, UNICODE_SPACE, UNICODE_OTHER } UnicodeClass;

/* For the final sigma rule. Case-ignorable characters that are cased as well count as ignorable. */
typedef enum { UNICODE_UNCASED, UNICODE_CASED, UNICODE_CASE_IGNORABLE } UnicodeCase;

UnicodeClass unicode_class(int32_t c);
UnicodeCase unicode_case(int32_t c);
/* Full lower-case form of one character without context; how many code points it has (1 or 2). */
int unicode_lower(int32_t c, int32_t lower[2]);

/* The character at text[*at], *at < size; moves *at behind it. */
int32_t utf8_next(const char *text, size_t size, size_t *at);

/* Copy with U+FFFD in place of what is not UTF-8. *out is NUL-terminated and the caller's to free(); *out_size (without
 * the NUL) may be NULL. Errors: STATUS_NO_MEMORY; STATUS_BAD_INPUT for more than UTF8_MAX_TEXT bytes. */
Status utf8_repair(const char *text, size_t size, char **out, size_t *out_size);
/* Lower case with all rules of Unicode that do not depend on a language (Python's str.lower()): utf8_repair(), then
 * each character's full mapping, and U+03A3 as U+03C2 at the end of a word. Results and errors as utf8_repair(). */
Status utf8_lower(const char *text, size_t size, char **out, size_t *out_size);

/* For messages: the beginning of a text on one line, as many whole characters as fit, control characters and what is
 * not UTF-8 as U+FFFD. Returns `quote`, which has room for `room` >= 1 bytes. */
const char *utf8_quote(const char *text, size_t size, char *quote, size_t room);

#define UTF8_MAX_TEXT ((size_t)1 << 28) /* so that three times as many bytes fit an int32_t */

#endif
