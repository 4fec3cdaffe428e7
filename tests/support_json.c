#include "tests/support_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

json_t *load_json(const char *path)
{
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (!root) fail_msg("%s:%d: %s", path, error.line, error.text);
    return root;
}

json_t *field(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    if (!value) fail_msg("no field %s", name);
    return value;
}
