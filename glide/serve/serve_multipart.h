/* Bodies of multipart/form-data (RFC 7578), as forms with files send them. */
#ifndef GLIDE_SERVE_MULTIPART_H
#define GLIDE_SERVE_MULTIPART_H

#include "common/status.h"

#include <stddef.h>

enum { MULTIPART_PARTS = 32 };

typedef struct MultipartPart {
    char name[64];
    const char *bytes; /* (size) borrowed from the body */
    size_t size;
} MultipartPart;

typedef struct Multipart {
    int count;
    MultipartPart parts[MULTIPART_PARTS];
} Multipart;

/* type: the Content-Type header. STATUS_BAD_INPUT: it is none, or the body is not what it says, or has too many parts. */
Status multipart_parse(const char *type, const char *body, size_t size, Multipart *out);
const MultipartPart *multipart_find(const Multipart *m, const char *name); /* "image" finds "image[]", too; NULL: none */

#endif
