#include "glide/json_text.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

json_t *json_text(const char *text)
{
    json_t *plain = json_string(text);
    if (plain) return plain;
    char *copy = malloc(3 * strlen(text) + 1), *p = copy;
    while (copy && *text) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text, -1, &c);
        p += utf8proc_encode_char(n > 0 ? c : 0xfffd, (utf8proc_uint8_t *)p);
        text += n > 0 ? n : 1;
    }
    if (copy) *p = 0;
    json_t *value = copy ? json_string(copy) : NULL;
    free(copy);
    return value;
}
