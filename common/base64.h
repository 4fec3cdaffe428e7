/* Base64 (RFC 4648), for data URIs and JSON. */
#ifndef GLIDE_COMMON_BASE64_H
#define GLIDE_COMMON_BASE64_H

#include "common/status.h"

#include <stddef.h>

/* Characters that `size` bytes become, the zero byte at the end not counted. */
size_t base64_length(size_t size);
/* With padding and a zero byte: base64_length(size) + 1 bytes of text. */
void base64_put(const unsigned char *bytes, size_t size, char *text);
char *base64_encode(const unsigned char *bytes, size_t size); /* to be freed; NULL: out of memory */

/* With or without "data:...;base64," in front, of either alphabet, white space ignored. *bytes is to be freed and has room for a
 * zero byte at its end. STATUS_BAD_INPUT: other characters. */
Status base64_decode(const char *text, unsigned char **bytes, size_t *size);

#endif
