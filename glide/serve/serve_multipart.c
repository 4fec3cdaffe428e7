#include "glide/serve/serve_multipart.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *find(const char *in, size_t n, const char *what, size_t m)
{
    return n >= m ? memmem(in, n, what, m) : NULL;
}

/* The value of `key` in a header's parameters: key=value or key="value". */
static Status parameter(const char *header, size_t n, const char *key, char *out, size_t size)
{
    size_t length = strlen(key);
    for (size_t i = 0; i + length + 1 < n; i++) {
        if (strncasecmp(header + i, key, length) != 0 || header[i + length] != '=') continue;
        if (i > 0 && header[i - 1] != ' ' && header[i - 1] != ';') continue; /* the end of another one, as of filename= */
        const char *at = header + i + length + 1, *end = header + n;
        const char *stop = "\";\r\n";
        if (*at == '"') at++, stop = "\"\r\n";
        size_t used = 0;
        while (at < end && !strchr(stop, *at) && used + 1 < size) out[used++] = *at++;
        out[used] = 0;
        if (used > 0 && (at == end || strchr(stop, *at))) return STATUS_OK;
        break;
    }
    return status_fail(STATUS_BAD_INPUT, "multipart: expected %s=...", key);
}

/* Headers end with an empty line; only the name is of interest. */
static Status parse_part(const char *part, size_t n, MultipartPart *out)
{
    const char *end = find(part, n, "\r\n\r\n", 4), *line = part;
    if (!end) return status_fail(STATUS_BAD_INPUT, "multipart: a part without headers");
    out->bytes = end + 4;
    out->size = (size_t)(part + n - out->bytes);
    while (line < end) {
        const char *next = find(line, (size_t)(end - line), "\r\n", 2);
        size_t length = (size_t)((next ? next : end) - line);
        if (length > 20 && !strncasecmp(line, "Content-Disposition:", 20))
            return parameter(line, length, "name", out->name, sizeof out->name);
        line += length + 2;
    }
    return status_fail(STATUS_BAD_INPUT, "multipart: a part without a name");
}

Status multipart_parse(const char *type, const char *body, size_t size, Multipart *out)
{
    char boundary[80] = "\r\n--";
    out->count = 0;
    if (!type || strncasecmp(type, "multipart/form-data", 19) != 0 || !body)
        return status_fail(STATUS_BAD_INPUT, "body: expected multipart/form-data");
    TRY(parameter(type, strlen(type), "boundary", boundary + 4, sizeof boundary - 4));
    size_t n = strlen(boundary);
    const char *end = body + size, *at = body;
    if (size < n - 2 || memcmp(body, boundary + 2, n - 2) != 0)
        return status_fail(STATUS_BAD_INPUT, "multipart: expected the boundary first");
    at += n - 2;
    while (end - at >= 2 && memcmp(at, "--", 2) != 0) {
        const char *next = find(at, (size_t)(end - at), boundary, n);
        if (memcmp(at, "\r\n", 2) != 0 || !next) return status_fail(STATUS_BAD_INPUT, "multipart: a part that does not end");
        if (out->count == MULTIPART_PARTS)
            return status_fail(STATUS_BAD_INPUT, "multipart: expected at most %d parts", MULTIPART_PARTS);
        const char *from = at + 2 <= next ? at + 2 : next;
        TRY(parse_part(from, (size_t)(next - from), &out->parts[out->count]));
        out->count++;
        at = next + n;
    }
    return end - at >= 2 ? STATUS_OK : status_fail(STATUS_BAD_INPUT, "multipart: the body ends before its last boundary");
}

const MultipartPart *multipart_find(const Multipart *m, const char *name)
{
    size_t n = strlen(name);
    for (int i = 0; i < m->count; i++) {
        const char *found = m->parts[i].name;
        if (!strncmp(found, name, n) && (!found[n] || !strcmp(found + n, "[]"))) return &m->parts[i];
    }
    return NULL;
}
