/* Fixtures in JSON. What is not there fails the test. */
#ifndef GLIDE_TESTS_SUPPORT_JSON_H
#define GLIDE_TESTS_SUPPORT_JSON_H

#include <jansson.h>

json_t *load_json(const char *path); /* json_decref() */
json_t *field(const json_t *object, const char *name); /* borrowed */

#endif
