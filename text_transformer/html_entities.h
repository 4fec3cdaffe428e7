/* The named character references of HTML 5 (section 13.5 of the HTML standard: 2125 names, of which 106 may stand without a
 * semicolon), and html.unescape() as Python 3.11 does it: CLIP's tokenizer applies that to every text. */
#ifndef GLIDE_TEXT_TRANSFORMER_HTML_ENTITIES_H
#define GLIDE_TEXT_TRANSFORMER_HTML_ENTITIES_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTML_ENTITY_LONGEST = 31 }; /* characters of a name */

typedef struct HtmlEntity {
    const char *name; /* without & and ; */
    int32_t first, second; /* code points; second 0: there is only one */
    bool bare;             /* may stand without a semicolon */
} HtmlEntity;

const HtmlEntity *html_entity_find(const char *name); /* NULL when there is none */

/* Replace every character reference of a UTF-8 text once. *out is NUL-terminated and the caller's to free(). Unknown names stay
 * as they are; numbers that are no character become U+FFFD or nothing, as browsers have it. STATUS_NO_MEMORY. */
Status html_unescape(const char *text, size_t size, char **out, size_t *out_size);

#endif
