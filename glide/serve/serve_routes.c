#include "glide/serve/serve_faces.h"

#include <ctype.h>
#include <string.h>

static const Route table[] = {
#define SERVE_ENTRY(method, path, face, large, open, handler) {method, path, FACE_##face, large, open, handler},
    SERVE_ROUTES(SERVE_ENTRY)};

const Route *routes(int *count)
{
    *count = sizeof table / sizeof *table;
    return table;
}

/* A segment for {name}: no folders, nothing hidden; for the others: a number. */
static bool fits(const char *kind, const char *text, size_t n)
{
    bool name = !strncmp(kind, "{name}", 6);
    if (n == 0 || n >= REQUEST_PARAM_ROOM || (!name && n > 18)) return false;
    if (name && *text == '.') return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!isdigit(c) && !(name && (isalpha(c) || c == '-' || c == '_' || c == '.'))) return false;
    }
    return true;
}

static bool matches(const char *pattern, const char *path, char params[REQUEST_PARAMS][REQUEST_PARAM_ROOM])
{
    int count = 0;
    while (*pattern == '/' && *path == '/') {
        size_t n = strcspn(++pattern, "/"), m = strcspn(++path, "/");
        if (*pattern != '{') {
            if (n != m || memcmp(pattern, path, n) != 0) return false;
        } else {
            if (count == REQUEST_PARAMS || !fits(pattern, path, m)) return false;
            memcpy(params[count], path, m);
            params[count++][m] = 0;
        }
        pattern += n;
        path += m;
    }
    return !*pattern && !*path;
}

const Route *route_find(const char *method, const char *path, char params[REQUEST_PARAMS][REQUEST_PARAM_ROOM], bool *known)
{
    *known = false;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!matches(table[i].path, path, params)) continue;
        *known = true;
        if (!strcmp(table[i].method, method)) return &table[i];
    }
    return NULL;
}
