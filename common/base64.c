#include "common/base64.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

size_t base64_length(size_t size)
{
    return (size + 2) / 3 * 4;
}

void base64_put(const unsigned char *bytes, size_t size, char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t bits =
            (uint32_t)bytes[i] << 16 | (i + 1 < size ? (uint32_t)bytes[i + 1] << 8 : 0) | (i + 2 < size ? bytes[i + 2] : 0);
        *text++ = digits[bits >> 18];
        *text++ = digits[bits >> 12 & 63];
        *text++ = i + 1 < size ? digits[bits >> 6 & 63] : '=';
        *text++ = i + 2 < size ? digits[bits & 63] : '=';
    }
    *text = 0;
}

char *base64_encode(const unsigned char *bytes, size_t size)
{
    char *text = malloc(base64_length(size) + 1);
    if (text) base64_put(bytes, size, text);
    return text;
}

static int base64_digit(unsigned char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

Status base64_decode(const char *text, unsigned char **bytes, size_t *size)
{
    const char *comma = strncmp(text, "data:", 5) ? NULL : strchr(text, ',');
    if (comma) text = comma + 1;
    *bytes = malloc(strlen(text) / 4 * 3 + 4);
    *size = 0;
    if (!*bytes) return status_fail(STATUS_NO_MEMORY, "out of memory for a picture");
    uint32_t bits = 0;
    int have = 0;
    for (; *text && *text != '='; text++) {
        if (strchr(" \t\r\n", *text)) continue;
        int digit = base64_digit((unsigned char)*text);
        if (digit < 0) {
            free(*bytes);
            *bytes = NULL;
            return status_fail(STATUS_BAD_INPUT, "expected base64");
        }
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have < 8) continue;
        have -= 8;
        (*bytes)[(*size)++] = (unsigned char)(bits >> have);
    }
    return STATUS_OK;
}
