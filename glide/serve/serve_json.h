/* Reading JSON objects of requests: each field is asked for by name, with its limits; the first wrong one is remembered.
 *
 *     Fields f;
 *     fields_init(&f, object, "guidance");
 *     double scale = fields_number(&f, "scale", -100, 100, 3);
 *     TRY(fields_end(&f, true));      true: a field that was not asked for is an error, too */
#ifndef GLIDE_SERVE_JSON_H
#define GLIDE_SERVE_JSON_H

#include "common/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Fields {
    json_t *rest;      /* what was not asked for yet */
    const char *where; /* for messages; "" at the top */
    Status status;
    char message[256];
} Fields;

void fields_init(Fields *f, const json_t *object, const char *where); /* anything but an object is an error */
/* A field that is missing or null gives the fallback. Texts are borrowed from the object. */
const char *fields_text(Fields *f, const char *name, size_t most, const char *fallback);
int64_t fields_int(Fields *f, const char *name, int64_t low, int64_t high, int64_t fallback);
double fields_number(Fields *f, const char *name, double low, double high, double fallback);
bool fields_bool(Fields *f, const char *name, bool fallback);
json_t *fields_any(Fields *f, const char *name); /* borrowed, NULL when missing or null */
void fields_fail(Fields *f, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
Status fields_end(Fields *f, bool strict); /* releases it */

/* Any JSON text, at most 40 levels deep. */
Status json_parse(const char *text, size_t size, json_t **out);

json_t *json_number_or_null(double value); /* NaN and infinities are null */

#endif
